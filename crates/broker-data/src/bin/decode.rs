//! Checks encoded values and builds the tree.

use std::cmp::Ordering;

use crate::bin::compare::compare_ordered;
use crate::bin::order::arrange;
use crate::bin::reader::{Head, Item, Reader};
use crate::{ByteString, DEPTH_MAX, DecodeError, DecodeErrorKind, EnumValue, Set, Table, Value};

/// Checks that `bytes` are exactly one value.
///
/// This is the check for messages from the network. It neither allocates nor looks at a byte twice as long as sets and tables are in ascending order, as every known
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

/// Checks the value at the start of `bytes`; returns the number of bytes it takes.
///
/// # Errors
///
/// The same as those of [`validate`], except that bytes may follow the value.
pub fn validate_prefix(bytes: &[u8]) -> Result<usize, DecodeError> {
    let found = scan(bytes)?;
    if found.unordered {
        arrange(bytes.get(..found.length).unwrap_or_default())?;
    }
    Ok(found.length)
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
#[inline]
pub(crate) fn scan(bytes: &[u8]) -> Result<Scan, DecodeError> {
    let mut scanner = Scanner {
        bytes,
        reader: Reader::new(bytes),
        room: DEPTH_MAX,
        room_min: DEPTH_MAX,
        unordered: false,
        error: None,
    };
    scanner.items(1);
    match scanner.error {
        Some(error) => Err(error),
        None => Ok(Scan {
            length: scanner.reader.position(),
            depth: DEPTH_MAX.saturating_sub(scanner.room_min),
            unordered: scanner.unordered,
        }),
    }
}

/// Vectors inside one another that one call walks, before it recurses: messages of every known sender
/// have fewer.
const LEVELS: usize = 8;

/// Walks a value. It keeps what it knows of a container in registers, and of the vectors around it only
/// how many elements are to come. Other containers, and vectors beyond [`LEVELS`], it enters by a call,
/// which the depth limit bounds to what fits a small stack.
struct Scanner<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    /// Number of containers that may still be opened here.
    room: usize,
    /// The least room there was.
    room_min: usize,
    /// A set or table is out of order; from there on order is not looked at.
    unordered: bool,
    /// Why the walk ended. It is kept here because results in every frame would be most of it.
    error: Option<DecodeError>,
}

// Every method tells whether the walk goes on.
impl Scanner<'_> {
    #[cold]
    fn fail(&mut self, error: DecodeError) -> bool {
        self.error = Some(error);
        false
    }

    #[inline]
    fn value(&mut self) -> bool {
        let position = self.reader.position();
        match self.reader.skip_item() {
            Ok(Head::Scalar) => true,
            Ok(head) => self.container(head, position),
            Err(error) => self.fail(error),
        }
    }

    fn container(&mut self, head: Head, position: usize) -> bool {
        let Some(room) = self.room.checked_sub(1) else {
            return self.fail(DecodeError::new(position, DecodeErrorKind::Depth));
        };
        self.room = room;
        self.room_min = self.room_min.min(room);
        let goes = match head {
            Head::Scalar => true,
            Head::Vector(count) => self.items(count),
            Head::Set(count) => self.keyed(count, false),
            Head::Table(count) => self.keyed(count, true),
        };
        self.room = self.room.saturating_add(1);
        goes
    }

    /// Walks so many values with all that is inside of them.
    #[inline(never)]
    fn items(&mut self, count: u32) -> bool {
        // A reader of its own stays in registers.
        let mut reader = self.reader.clone();
        // Elements to come in the vectors around the one that is walked.
        let mut around = [0; LEVELS];
        let around = around.get_mut(..self.room.min(LEVELS)).unwrap_or_default();
        let (mut level, mut level_max) = (0_usize, 0);
        let mut left = count;
        loop {
            let Some(behind) = left.checked_sub(1) else {
                let Some(outer) = level.checked_sub(1) else {
                    break;
                };
                level = outer;
                left = around.get(outer).copied().unwrap_or_default();
                continue;
            };
            left = behind;
            let position = reader.position();
            match reader.skip_item() {
                Ok(Head::Scalar) => {}
                Ok(head) => {
                    if let Head::Vector(count) = head
                        && let Some(place) = around.get_mut(level)
                    {
                        *place = left;
                        left = count;
                        level = level.wrapping_add(1);
                        level_max = level_max.max(level);
                        continue;
                    }
                    self.reader = reader;
                    self.room = self.room.saturating_sub(level);
                    if !self.container(head, position) {
                        return false;
                    }
                    self.room = self.room.saturating_add(level);
                    reader = self.reader.clone();
                }
                Err(error) => return self.fail(error),
            }
        }
        self.reader = reader;
        self.room_min = self.room_min.min(self.room.saturating_sub(level_max));
        true
    }

    /// Walks a set or, when something is mapped to the keys, a table.
    #[inline(never)]
    fn keyed(&mut self, count: u32, mapped: bool) -> bool {
        let mut previous = None;
        for _ in 0..count {
            let start = self.reader.position();
            let goes = self.value()
                && (self.unordered || self.check_order(&mut previous, start))
                && (!mapped || self.value());
            if !goes {
                return false;
            }
        }
        true
    }

    /// Compares the element or key that ends here with the one before it.
    fn check_order(&mut self, previous: &mut Option<(usize, usize)>, start: usize) -> bool {
        let key = (start, self.reader.position());
        let Some(before) = previous.replace(key) else {
            return true;
        };
        // All that is complete so far is in order, so this is a comparison of ordered encodings.
        let bytes = |(start, end): (usize, usize)| self.bytes.get(start..end).unwrap_or_default();
        match compare_ordered(bytes(before), bytes(key)) {
            Ordering::Less => true,
            Ordering::Equal => self.fail(DecodeError::new(start, DecodeErrorKind::Unique)),
            Ordering::Greater => {
                self.unordered = true;
                true
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
    let mut open: Vec<Unfinished> = Vec::new();
    loop {
        let item = reader.next_item()?;
        if let Some(container) = Unfinished::open(&item, reader.remaining()) {
            open.push(container);
            continue;
        }
        let mut value = scalar(item);
        // A value is complete, and perhaps the containers that it is the last of.
        loop {
            let Some(top) = open.last_mut() else {
                return Ok(value);
            };
            top.push(value);
            if top.remaining > 0 {
                break;
            }
            let Some(done) = open.pop() else {
                return Ok(Value::None);
            };
            value = done.finish();
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
