//! Orders encoded values without building them.

use std::cmp::Ordering;

use crate::bin::order;
use crate::bin::reader::{Item, Reader};
use crate::value::compare_reals;

/// Open containers that are kept without allocating.
const LEVELS_INLINE: usize = 8;

/// Compares two encoded values the way [`Value`](crate::Value) compares decoded ones.
///
/// The bytes are trusted to be valid; the order of what is not is unspecified, but total. Sets and
/// tables may be in any order on the wire: they are compared as sets and tables. Bytes behind the
/// values are ignored.
///
/// ```
/// use std::cmp::Ordering;
/// use broker_data::{compare, to_bytes};
///
/// let (nine, ten) = (to_bytes(&9_u64)?, to_bytes(&10_u64)?);
/// assert_eq!(compare(&nine, &ten), Ordering::Less);
/// # Ok::<(), broker_data::EncodeError>(())
/// ```
#[must_use]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // Only containers can be out of order, and only those of the same kind are looked into.
    let (first, second) = (Reader::new(a).next_item(), Reader::new(b).next_item());
    if let (Ok(first), Ok(second)) = (first, second)
        && let Step::Decided(ordering) = step(first, second)
    {
        return ordering;
    }
    compare_ordered(&order::ordered(a), &order::ordered(b))
}

/// Compares two ordered encodings in one pass.
///
/// The order is total for any bytes at all: bytes that cannot be read come before what can, so a
/// sort never meets a contradiction.
pub(crate) fn compare_ordered(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (Reader::new(a), Reader::new(b));
    match next(&mut a, &mut b) {
        Step::Decided(ordering) => ordering,
        Step::Enter(items) => compare_inside(&mut a, &mut b, items),
    }
}

/// Goes on behind the heads of two containers of the same kind.
fn compare_inside(a: &mut Reader<'_>, b: &mut Reader<'_>, items: Pair) -> Ordering {
    let mut open = Open::default();
    let mut top = items;
    loop {
        // Lexicographic: the container that ends first comes first.
        match (top.0.checked_sub(1), top.1.checked_sub(1)) {
            (Some(rest_of_a), Some(rest_of_b)) => top = (rest_of_a, rest_of_b),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (None, None) => match open.pop() {
                Some(outer) => {
                    top = outer;
                    continue;
                }
                None => return Ordering::Equal,
            },
        }
        match next(a, b) {
            Step::Decided(Ordering::Equal) => {}
            Step::Decided(ordering) => return ordering,
            Step::Enter(items) => {
                open.push(top);
                top = items;
            }
        }
    }
}

/// Items still to come in two containers that are compared.
type Pair = (u64, u64);

enum Step {
    /// The order of the two items.
    Decided(Ordering),
    /// Two containers of the same kind, with as many items inside.
    Enter(Pair),
}

fn next(a: &mut Reader<'_>, b: &mut Reader<'_>) -> Step {
    match (a.next_item(), b.next_item()) {
        (Ok(a), Ok(b)) => step(a, b),
        (a, b) => Step::Decided(a.is_ok().cmp(&b.is_ok())),
    }
}

fn step(a: Item<'_>, b: Item<'_>) -> Step {
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Step::Decided(match (a, b) {
        (Item::None, Item::None) => Ordering::Equal,
        (Item::Boolean(a), Item::Boolean(b)) => a.cmp(&b),
        (Item::Count(a), Item::Count(b)) => a.cmp(&b),
        (Item::Integer(a), Item::Integer(b)) => a.cmp(&b),
        (Item::Real(a), Item::Real(b)) => compare_reals(a, b),
        (Item::String(a), Item::String(b)) | (Item::EnumValue(a), Item::EnumValue(b)) => a.cmp(b),
        (Item::Address(a), Item::Address(b)) => a.cmp(&b),
        (Item::Subnet(a), Item::Subnet(b)) => a.cmp(&b),
        (Item::Port(a), Item::Port(b)) => a.cmp(&b),
        (Item::Timestamp(a), Item::Timestamp(b)) => a.cmp(&b),
        (Item::Timespan(a), Item::Timespan(b)) => a.cmp(&b),
        (Item::Set(a), Item::Set(b)) | (Item::Vector(a), Item::Vector(b)) => {
            return Step::Enter((wide(a), wide(b)));
        }
        (Item::Table(a), Item::Table(b)) => {
            return Step::Enter((wide(a).saturating_mul(2), wide(b).saturating_mul(2)));
        }
        (a, b) => a.kind().cmp(&b.kind()),
    })
}

/// The containers around the current ones, outermost first.
#[derive(Default)]
struct Open {
    inline: [Pair; LEVELS_INLINE],
    depth: usize,
    /// Levels beyond those above.
    spilled: Vec<Pair>,
}

impl Open {
    fn push(&mut self, pair: Pair) {
        match self.inline.get_mut(self.depth) {
            Some(slot) => {
                *slot = pair;
                self.depth = self.depth.saturating_add(1);
            }
            None => self.spilled.push(pair),
        }
    }

    fn pop(&mut self) -> Option<Pair> {
        if let Some(pair) = self.spilled.pop() {
            return Some(pair);
        }
        self.depth = self.depth.checked_sub(1)?;
        self.inline.get(self.depth).copied()
    }
}
