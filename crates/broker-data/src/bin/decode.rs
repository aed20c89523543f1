//! Checks encoded values and builds the tree.

use std::cmp::Ordering;

use crate::bin::compare::compare_ordered;
use crate::bin::order::arrange;
use crate::bin::reader::{Head, Item, Reader};
use crate::{ByteString, DEPTH_MAX, DecodeError, DecodeErrorKind, EnumValue, Set, Table, Value};

/// Open containers for which the first attempt has room. Messages of Zeek have up to six; every
/// level costs 40 bytes to clear per message, so room for all of [`DEPTH_MAX`] is only made when
/// it is needed.
const DEPTH_USUAL: usize = 8;

/// Checks that `bytes` are exactly one value.
///
/// This is the check for messages from the network. It needs no recursion, and neither allocates
/// nor looks at a byte twice as long as sets and tables are in ascending order, as every known
/// sender writes them. Other orders are valid too and cost O(n log n).
///
/// ```
/// use broker_data::{DecodeErrorKind, validate};
///
/// assert!(validate(b"\x01\x01").is_ok());
/// let error = validate(b"\x02\x00").unwrap_err();
/// assert_eq!(error.offset, 1);
/// assert_eq!(error.kind, DecodeErrorKind::Truncated("a count"));
/// ```
///
/// # Errors
///
/// When the bytes are malformed (Spec: wire 4), too deep, hold the same element or key twice in a
/// set or table, or go on behind the value.
pub fn validate(bytes: &[u8]) -> Result<(), DecodeError> {
    let found = scan(bytes)?;
    check_end(bytes, found.length)?;
    if found.unordered {
        arrange(bytes)?;
    }
    Ok(())
}

/// Reads a value from bytes that are exactly one.
///
/// Nothing is allocated before the whole input is known to be well formed.
///
/// # Errors
///
/// The same as those of [`validate`].
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let found = scan(bytes)?;
    check_end(bytes, found.length)?;
    build_scanned(bytes, found)
}

/// Reads a value from the start of `bytes`; returns it with the number of bytes it took.
///
/// # Errors
///
/// The same as those of [`validate`], except that bytes may follow the value.
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value, usize), DecodeError> {
    let found = scan(bytes)?;
    let length = found.length;
    let value = build_scanned(bytes.get(..length).unwrap_or_default(), found)?;
    Ok((value, length))
}

fn check_end(bytes: &[u8], length: usize) -> Result<(), DecodeError> {
    if length == bytes.len() {
        Ok(())
    } else {
        Err(DecodeError::new(length, DecodeErrorKind::End))
    }
}

/// What a scan found out about the value at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// Number of bytes that the value takes.
    pub(crate) length: usize,
    /// Greatest number of containers inside one another.
    pub(crate) depth: usize,
    /// A set or table is out of order, so nothing is known about duplicates.
    pub(crate) unordered: bool,
}

/// Checks everything but the uniqueness of elements and keys that are out of order.
pub(crate) fn scan(bytes: &[u8]) -> Result<Scan, DecodeError> {
    match Scanner::<DEPTH_USUAL>::new(bytes).run() {
        Err(error) if error.kind == DecodeErrorKind::Depth => {
            Scanner::<DEPTH_MAX>::new(bytes).run()
        }
        result => result,
    }
}

/// A container that is being scanned.
#[derive(Clone, Copy)]
struct Level {
    /// Elements, or keys and mapped values, still to come.
    remaining: u64,
    keys: Keys,
    /// Where the element or key that is being scanned starts.
    start: usize,
    /// Where the element or key before it starts and ends; the end of none is zero.
    previous: (usize, usize),
}

/// Which values inside of a container must be unique.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    None,
    All,
    EverySecond,
}

impl Level {
    const CLEAR: Self = Self {
        remaining: 0,
        keys: Keys::None,
        start: 0,
        previous: (0, 0),
    };
}

struct Scanner<'a, const DEPTH: usize> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    /// The containers around the innermost one, in front of `depth`.
    outer: [Level; DEPTH],
    /// The innermost container, when `depth` is not zero.
    top: Level,
    depth: usize,
    found: Scan,
}

impl<'a, const DEPTH: usize> Scanner<'a, DEPTH> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            reader: Reader::new(bytes),
            outer: [Level::CLEAR; DEPTH],
            top: Level::CLEAR,
            depth: 0,
            found: Scan {
                length: 0,
                depth: 0,
                unordered: false,
            },
        }
    }

    #[inline]
    fn run(mut self) -> Result<Scan, DecodeError> {
        loop {
            let position = self.reader.position();
            let entered = match self.reader.skip_item()? {
                Head::Scalar => false,
                Head::Vector(count) => self.enter(Keys::None, u64::from(count), position)?,
                Head::Set(count) => self.enter(Keys::All, u64::from(count), position)?,
                Head::Table(count) => {
                    let items = u64::from(count).saturating_mul(2);
                    self.enter(Keys::EverySecond, items, position)?
                }
            };
            if !entered && self.close_value()? {
                self.found.length = self.reader.position();
                return Ok(self.found);
            }
        }
    }

    /// Opens a container; returns whether there is anything inside.
    #[inline]
    fn enter(&mut self, keys: Keys, items: u64, position: usize) -> Result<bool, DecodeError> {
        let Some(slot) = self.outer.get_mut(self.depth) else {
            return Err(DecodeError::new(position, DecodeErrorKind::Depth));
        };
        let inside = self.depth.saturating_add(1);
        self.found.depth = self.found.depth.max(inside);
        if items == 0 {
            return Ok(false);
        }
        *slot = self.top;
        self.depth = inside;
        self.top = Level {
            remaining: items,
            keys,
            start: self.reader.position(),
            previous: (0, 0),
        };
        Ok(true)
    }

    /// Notes that a value is complete, and perhaps the containers that it is the last of; returns
    /// whether that was all.
    #[inline]
    fn close_value(&mut self) -> Result<bool, DecodeError> {
        while self.depth > 0 {
            if self.top.keys != Keys::None {
                self.check_key()?;
            }
            self.top.remaining = self.top.remaining.saturating_sub(1);
            if self.top.remaining > 0 {
                return Ok(false);
            }
            self.depth = self.depth.saturating_sub(1);
            self.top = self.outer.get(self.depth).copied().unwrap_or(Level::CLEAR);
        }
        Ok(true)
    }

    /// Compares the value that has just been completed with the element or key before it.
    fn check_key(&mut self) -> Result<(), DecodeError> {
        let level = &mut self.top;
        let (start, end) = (level.start, self.reader.position());
        level.start = end;
        let is_mapped = level.keys == Keys::EverySecond && !level.remaining.is_multiple_of(2);
        if is_mapped || self.found.unordered {
            return Ok(());
        }
        let before = std::mem::replace(&mut level.previous, (start, end));
        if before.1 == 0 {
            return Ok(());
        }
        // All that is complete so far is in order, so this is a comparison of ordered encodings.
        let key = |(start, end): (usize, usize)| self.bytes.get(start..end).unwrap_or_default();
        match compare_ordered(key(before), key((start, end))) {
            Ordering::Less => Ok(()),
            Ordering::Equal => Err(DecodeError::new(start, DecodeErrorKind::Unique)),
            Ordering::Greater => {
                self.found.unordered = true;
                Ok(())
            }
        }
    }
}

/// Builds the value in `bytes`, which were scanned.
fn build_scanned(bytes: &[u8], found: Scan) -> Result<Value, DecodeError> {
    if found.unordered {
        build(&mut Reader::new(&arrange(bytes)?))
    } else {
        build(&mut Reader::new(bytes))
    }
}

/// A container that is being built.
struct Unfinished {
    /// Elements, or keys and mapped values, still to come.
    remaining: usize,
    content: Content,
}

enum Content {
    Vector(Vec<Value>),
    Set(Vec<Value>),
    /// Entries, and the key of the next one.
    Table(Vec<(Value, Value)>, Option<Value>),
}

impl Unfinished {
    /// Makes room for what is inside of a container; `None` for scalars and empty containers.
    fn open(item: &Item<'_>, rest: usize) -> Option<Self> {
        // The count was checked against the bytes; the bound costs nothing and needs no proof.
        let (remaining, content) = match *item {
            Item::Vector(count) => (count, Content::Vector(Vec::with_capacity(count.min(rest)))),
            Item::Set(count) => (count, Content::Set(Vec::with_capacity(count.min(rest)))),
            Item::Table(count) => {
                let entries = Vec::with_capacity(count.min(rest));
                (count.saturating_mul(2), Content::Table(entries, None))
            }
            _ => return None,
        };
        (remaining > 0).then_some(Self { remaining, content })
    }

    fn push(&mut self, value: Value) {
        self.remaining = self.remaining.saturating_sub(1);
        match &mut self.content {
            Content::Vector(values) | Content::Set(values) => values.push(value),
            Content::Table(entries, next) => match next.take() {
                Some(key) => entries.push((key, value)),
                None => *next = Some(value),
            },
        }
    }

    fn finish(self) -> Value {
        match self.content {
            Content::Vector(values) => Value::Vector(values),
            Content::Set(values) => Value::Set(Set::from_sorted(values)),
            Content::Table(entries, _) => Value::Table(Table::from_sorted(entries)),
        }
    }
}

/// Builds one value from ordered bytes. A stack of its own keeps that of the thread flat.
fn build(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
    let mut outer: Vec<Unfinished> = Vec::new();
    let mut top: Option<Unfinished> = None;
    loop {
        let item = reader.next_item()?;
        if let Some(inner) = Unfinished::open(&item, reader.remaining()) {
            outer.extend(top.replace(inner));
            continue;
        }
        let mut value = scalar(item);
        // A value is complete, and perhaps the containers that it is the last of.
        loop {
            let Some(mut container) = top.take() else {
                return Ok(value);
            };
            container.push(value);
            if container.remaining > 0 {
                top = Some(container);
                break;
            }
            value = container.finish();
            top = outer.pop();
        }
    }
}

/// Turns an item without anything inside into a value.
fn scalar(item: Item<'_>) -> Value {
    match item {
        Item::None => Value::None,
        Item::Boolean(value) => Value::Boolean(value),
        Item::Count(value) => Value::Count(value),
        Item::Integer(value) => Value::Integer(value),
        Item::Real(value) => Value::Real(value),
        Item::String(value) => Value::String(ByteString::from(value)),
        Item::Address(value) => Value::Address(value),
        Item::Subnet(value) => Value::Subnet(value),
        Item::Port(value) => Value::Port(value),
        Item::Timestamp(value) => Value::Timestamp(value),
        Item::Timespan(value) => Value::Timespan(value),
        Item::EnumValue(value) => Value::EnumValue(EnumValue::new(value)),
        Item::Set(_) => Value::Set(Set::new()),
        Item::Table(_) => Value::Table(Table::new()),
        Item::Vector(_) => Value::Vector(Vec::new()),
    }
}
