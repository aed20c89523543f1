//! Writes values as bytes, without a tree in between.

use std::cmp::Ordering;

use crate::bin::compare::compare_ordered;
use crate::bin::decode::scan;
use crate::bin::order::{Equals, arrange, places, settle};
use crate::bin::real;
use crate::{
    Address, DEPTH_MAX, DecodeError, DecodeErrorKind, EncodeError, Kind, Port, Source, Subnet,
    Timespan, Timestamp, Value,
};

/// Appends a length or count: seven bits per byte, least significant group first.
#[inline]
pub fn put_varbyte(out: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    while rest >= 0x80 {
        let [.., low] = rest.to_be_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [.., low] = rest.to_be_bytes();
    out.push(low);
}

/// Appends the length of `bytes` and the bytes.
///
/// # Errors
///
/// When the length does not fit in 32 bits; nothing is appended then.
#[inline]
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    put_varbyte(out, length_on_wire(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Fills the length or count into the one byte that was left for it in front of `content`.
///
/// # Errors
///
/// When it does not fit in 32 bits.
#[inline]
pub(crate) fn set_count(
    out: &mut Vec<u8>,
    content: usize,
    count: usize,
) -> Result<(), EncodeError> {
    let count = length_on_wire(count)?;
    let at = content.saturating_sub(1);
    match (u8::try_from(count), out.get_mut(at)) {
        (Ok(byte @ ..0x80), Some(place)) => *place = byte,
        _ => {
            let mut on_wire = Vec::new();
            put_varbyte(&mut on_wire, count);
            out.splice(at..content, on_wire);
        }
    }
    Ok(())
}

#[inline]
fn length_on_wire(length: usize) -> Result<u32, EncodeError> {
    u32::try_from(length).map_err(|_| EncodeError::TooLong { length })
}

/// Encodes one value of any type that can be one.
///
/// # Errors
///
/// The same as those of [`Encoder::encode`].
pub fn to_bytes<S: Source + ?Sized>(source: &S) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    Encoder::new(&mut out).encode(source)?;
    Ok(out)
}

/// Appends encoded values to a buffer.
///
/// Every method writes one value. A method that fails leaves the buffer as it was before.
///
/// ```
/// use broker_data::{EncodeError, Encoder, View};
///
/// let mut bytes = Vec::new();
/// Encoder::new(&mut bytes).vector(2, |enc| {
///     enc.string(b"ping")?;
///     enc.set(|set| {
///         [3, 1, 2, 1].iter().try_for_each(|number| {
///             set.element(|enc| {
///                 enc.count(*number);
///                 Ok::<(), EncodeError>(())
///             })
///         })
///     })
/// })?;
/// assert_eq!(View::new(&bytes)?.to_string(), "(ping, {1, 2, 3})");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// Number of containers around.
    depth: usize,
    /// Number of values written here, not counting what is inside of them.
    written: usize,
}

impl<'a> Encoder<'a> {
    /// Starts to append to `out`.
    #[inline]
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            depth: 0,
            written: 0,
        }
    }

    /// Writes no value.
    #[inline]
    pub fn none(&mut self) {
        self.fixed([Kind::None.tag()]);
    }

    /// Writes true or false.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.fixed([Kind::Boolean.tag(), u8::from(value)]);
    }

    /// Writes an unsigned number.
    #[inline]
    pub fn count(&mut self, value: u64) {
        self.number(Kind::Count, value.to_be_bytes());
    }

    /// Writes a signed number.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.number(Kind::Integer, value.to_be_bytes());
    }

    /// Writes a floating-point number.
    #[inline]
    pub fn real(&mut self, value: f64) {
        self.number(Kind::Real, real::to_wire(value).to_be_bytes());
    }

    /// Writes an address.
    #[inline]
    pub fn address(&mut self, value: Address) {
        self.written = self.written.saturating_add(1);
        self.out.push(Kind::Address.tag());
        self.out.extend_from_slice(&value.octets());
    }

    /// Writes a network, as it is.
    #[inline]
    pub fn subnet(&mut self, value: Subnet) {
        self.written = self.written.saturating_add(1);
        self.out.push(Kind::Subnet.tag());
        self.out.extend_from_slice(&value.network().octets());
        self.out.push(value.raw_length());
    }

    /// Writes a port.
    #[inline]
    pub fn port(&mut self, value: Port) {
        let [high, low] = value.number().to_be_bytes();
        self.fixed([Kind::Port.tag(), high, low, value.protocol().number()]);
    }

    /// Writes a point in time.
    #[inline]
    pub fn timestamp(&mut self, value: Timestamp) {
        self.number(Kind::Timestamp, value.ns().to_be_bytes());
    }

    /// Writes a duration.
    #[inline]
    pub fn timespan(&mut self, value: Timespan) {
        self.number(Kind::Timespan, value.ns().to_be_bytes());
    }

    /// Writes a string.
    ///
    /// # Errors
    ///
    /// When its length does not fit in 32 bits.
    #[inline]
    pub fn string(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.text(Kind::String, bytes)
    }

    /// Writes the name of a member of an enumeration.
    ///
    /// # Errors
    ///
    /// When its length does not fit in 32 bits.
    #[inline]
    pub fn enum_value(&mut self, name: &[u8]) -> Result<(), EncodeError> {
        self.text(Kind::EnumValue, name)
    }

    /// Writes a vector: `write` must write exactly `length` values.
    ///
    /// # Errors
    ///
    /// Those of `write`, and when it wrote another number of values, when `length` does not fit in
    /// 32 bits, or when there are more than [`DEPTH_MAX`] containers inside one another.
    #[inline]
    pub fn vector<E: From<EncodeError>>(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            return Err(EncodeError::TooDeep.into());
        }
        let start = self.out.len();
        let count = length_on_wire(length)?;
        self.out.push(Kind::Vector.tag());
        put_varbyte(self.out, count);
        let mut inside = Encoder {
            out: &mut *self.out,
            depth: self.depth.saturating_add(1),
            written: 0,
        };
        let mut result = write(&mut inside);
        let written = inside.written;
        if result.is_ok() && written != length {
            let announced = length;
            result = Err(EncodeError::Count { announced, written }.into());
        }
        self.finish(start, result)
    }

    /// Writes a set of elements that come in any order; of equal elements the first stays.
    ///
    /// Elements in ascending order cost one comparison each; others are sorted at the end.
    ///
    /// # Errors
    ///
    /// Those of `write`, and when there are more elements than 32 bits can count, or more than
    /// [`DEPTH_MAX`] containers inside one another.
    pub fn set<E: From<EncodeError>>(
        &mut self,
        write: impl FnOnce(&mut SetEncoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.out.len();
        let entries = Entries::open(self.out, self.depth, Kind::Set)?;
        let mut set = SetEncoder { entries };
        let result = write(&mut set).and_then(|()| set.entries.close(Equals::KeepFirst));
        self.finish(start, result)
    }

    /// Writes a table of entries that come in any order; of entries with equal keys the last
    /// stays.
    ///
    /// Entries in ascending order cost one comparison each; others are sorted at the end.
    ///
    /// # Errors
    ///
    /// Those of `write`, and when there are more entries than 32 bits can count, or more than
    /// [`DEPTH_MAX`] containers inside one another.
    pub fn table<E: From<EncodeError>>(
        &mut self,
        write: impl FnOnce(&mut TableEncoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.out.len();
        let entries = Entries::open(self.out, self.depth, Kind::Table)?;
        let mut table = TableEncoder { entries };
        let result = write(&mut table).and_then(|()| table.entries.close(Equals::KeepLast));
        self.finish(start, result)
    }

    /// Writes a value of any type that can be one.
    ///
    /// # Errors
    ///
    /// When a string or container is too long or too deep, or when `source` did not write exactly
    /// one value.
    #[inline]
    pub fn encode<S: Source + ?Sized>(&mut self, source: &S) -> Result<(), EncodeError> {
        let start = self.out.len();
        let before = self.written;
        let mut result = source.encode(self);
        let written = self.written.saturating_sub(before);
        if result.is_ok() && written != 1 {
            let announced = 1;
            result = Err(EncodeError::Count { announced, written });
        }
        if result.is_err() {
            self.out.truncate(start);
            self.written = before;
        }
        result
    }

    /// Appends one value that is encoded already.
    ///
    /// Nothing is checked: the bytes must be valid, must not bring the whole above [`DEPTH_MAX`]
    /// levels and, inside of a set or the key of a table, must be in the order that this encoder
    /// writes. To copy bytes of unknown origin encode a [`View`](crate::View), which ensures that.
    #[inline]
    pub fn encoded(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(1);
        self.out.extend_from_slice(bytes);
    }

    /// Appends one value that is encoded already, ordered, after a check of everything.
    pub(crate) fn copied(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let found = scan(bytes)?;
        if found.length != bytes.len() {
            return Err(DecodeError::new(found.length, DecodeErrorKind::End).into());
        }
        if self.depth.saturating_add(found.depth) > DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        if found.unordered {
            self.encoded(&arrange(bytes)?);
        } else {
            self.encoded(bytes);
        }
        Ok(())
    }

    /// Writes a value; its sets and tables are in the order of the wire.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), EncodeError> {
        self.restored(|enc| enc.put_value(value))
    }

    /// Writes the elements of a set, which are in the order of the wire.
    pub(crate) fn sorted_set(&mut self, values: &[Value]) -> Result<(), EncodeError> {
        self.restored(|enc| enc.put_values(Kind::Set, values))
    }

    /// Writes the entries of a table, which are in the order of the wire.
    pub(crate) fn sorted_table(&mut self, entries: &[(Value, Value)]) -> Result<(), EncodeError> {
        self.restored(|enc| enc.put_entries(entries))
    }

    /// Takes everything back when `write` fails.
    fn restored(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let (start, depth, written) = (self.out.len(), self.depth, self.written);
        let result = write(self);
        if result.is_err() {
            self.out.truncate(start);
            (self.depth, self.written) = (depth, written);
        }
        result
    }

    /// Recursion is bounded by the depth limit; what is not needed in it is kept out of it.
    fn put_value(&mut self, value: &Value) -> Result<(), EncodeError> {
        match value {
            Value::Vector(values) => self.put_values(Kind::Vector, values),
            Value::Set(values) => self.put_values(Kind::Set, values.as_slice()),
            Value::Table(table) => self.put_entries(table.as_slice()),
            scalar => self.put_scalar(scalar),
        }
    }

    fn put_values(&mut self, kind: Kind, values: &[Value]) -> Result<(), EncodeError> {
        let before = self.enter(kind, values.len())?;
        for value in values {
            self.put_value(value)?;
        }
        self.leave(before);
        Ok(())
    }

    fn put_entries(&mut self, entries: &[(Value, Value)]) -> Result<(), EncodeError> {
        let before = self.enter(Kind::Table, entries.len())?;
        for (key, mapped) in entries {
            self.put_value(key)?;
            self.put_value(mapped)?;
        }
        self.leave(before);
        Ok(())
    }

    fn put_scalar(&mut self, value: &Value) -> Result<(), EncodeError> {
        match value {
            Value::None => self.none(),
            Value::Boolean(value) => self.boolean(*value),
            Value::Count(value) => self.count(*value),
            Value::Integer(value) => self.integer(*value),
            Value::Real(value) => self.real(*value),
            Value::String(value) => return self.string(value.as_bytes()),
            Value::Address(value) => self.address(*value),
            Value::Subnet(value) => self.subnet(*value),
            Value::Port(value) => self.port(*value),
            Value::Timestamp(value) => self.timestamp(*value),
            Value::Timespan(value) => self.timespan(*value),
            Value::EnumValue(value) => return self.enum_value(value.as_bytes()),
            container => return self.put_value(container),
        }
        Ok(())
    }

    /// Writes the head of a container; returns what `leave` needs behind what is inside.
    fn enter(&mut self, kind: Kind, length: usize) -> Result<usize, EncodeError> {
        if self.depth >= DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        let count = length_on_wire(length)?;
        self.out.push(kind.tag());
        put_varbyte(self.out, count);
        self.depth = self.depth.saturating_add(1);
        Ok(self.written)
    }

    fn leave(&mut self, before: usize) {
        self.depth = self.depth.saturating_sub(1);
        self.written = before.saturating_add(1);
    }

    /// Counts a container that was written, or takes back what was written of it.
    #[inline]
    fn finish<E>(&mut self, start: usize, result: Result<(), E>) -> Result<(), E> {
        match result {
            Ok(()) => self.written = self.written.saturating_add(1),
            Err(_) => self.out.truncate(start),
        }
        result
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.written = self.written.saturating_add(1);
        self.out.extend_from_slice(&bytes);
    }

    #[inline]
    fn number(&mut self, kind: Kind, [a, b, c, d, e, f, g, h]: [u8; 8]) {
        // One append instead of two: one check for room.
        self.fixed([kind.tag(), a, b, c, d, e, f, g, h]);
    }

    #[inline]
    fn text(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), EncodeError> {
        let length = length_on_wire(bytes.len())?;
        self.written = self.written.saturating_add(1);
        self.out.push(kind.tag());
        put_varbyte(self.out, length);
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes the elements of a set; see [`Encoder::set`].
#[derive(Debug)]
pub struct SetEncoder<'a> {
    entries: Entries<'a>,
}

impl SetEncoder<'_> {
    /// Adds one element: `write` must write exactly one value.
    ///
    /// # Errors
    ///
    /// Those of `write`, and when it did not write one value.
    #[inline]
    pub fn element<E: From<EncodeError>>(
        &mut self,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.entries.out.len();
        self.entries.value(start, write)?;
        self.entries.close_key(start);
        Ok(())
    }
}

/// Writes the entries of a table; see [`Encoder::table`].
#[derive(Debug)]
pub struct TableEncoder<'a> {
    entries: Entries<'a>,
}

impl TableEncoder<'_> {
    /// Adds one entry: `key` and `value` must write exactly one value each.
    ///
    /// # Errors
    ///
    /// Those of `key` and `value`, and when one of them did not write one value.
    #[inline]
    pub fn entry<E: From<EncodeError>>(
        &mut self,
        key: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
        value: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.entries.out.len();
        self.entries.value(start, key)?;
        let key_end = self.entries.out.len();
        self.entries.value(start, value)?;
        self.entries.close_entry(start, key_end);
        Ok(())
    }
}

/// Elements or entries on their way into a set or table.
///
/// As long as they come in ascending order only the last key is remembered. After that they are
/// merely appended; the places of all of them are found again when it is time to sort.
#[derive(Debug)]
struct Entries<'a> {
    out: &'a mut Vec<u8>,
    kind: Kind,
    depth: usize,
    /// Where the elements or entries start, behind a count of one byte.
    content: usize,
    /// Number of elements or entries that were written.
    count: usize,
    last_key: (usize, usize),
    ordered: bool,
}

impl<'a> Entries<'a> {
    fn open(out: &'a mut Vec<u8>, depth: usize, kind: Kind) -> Result<Self, EncodeError> {
        if depth >= DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        out.extend_from_slice(&[kind.tag(), 0]);
        Ok(Self {
            content: out.len(),
            out,
            kind,
            depth: depth.saturating_add(1),
            count: 0,
            last_key: (0, 0),
            ordered: true,
        })
    }

    /// Writes one value; on failure the buffer is cut back to `start`.
    #[inline]
    fn value<E: From<EncodeError>>(
        &mut self,
        start: usize,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut encoder = Encoder {
            out: &mut *self.out,
            depth: self.depth,
            written: 0,
        };
        let mut result = write(&mut encoder);
        let written = encoder.written;
        if result.is_ok() && written != 1 {
            let announced = 1;
            result = Err(EncodeError::Count { announced, written }.into());
        }
        if result.is_err() {
            self.out.truncate(start);
        }
        result
    }

    fn order_of(&self, key: (usize, usize)) -> Ordering {
        let bytes = |(start, end): (usize, usize)| self.out.get(start..end).unwrap_or_default();
        compare_ordered(bytes(self.last_key), bytes(key))
    }

    fn close_key(&mut self, start: usize) {
        let key = (start, self.out.len());
        if self.ordered && self.count > 0 {
            match self.order_of(key) {
                Ordering::Less => {}
                Ordering::Equal => {
                    self.out.truncate(start);
                    return;
                }
                Ordering::Greater => self.ordered = false,
            }
        }
        self.last_key = key;
        self.count = self.count.saturating_add(1);
    }

    fn close_entry(&mut self, start: usize, key_end: usize) {
        let key = (start, key_end);
        if self.ordered && self.count > 0 && self.order_of(key) != Ordering::Less {
            self.ordered = false;
        }
        self.last_key = key;
        self.count = self.count.saturating_add(1);
    }

    /// Sorts what needs it and fills the count in.
    fn close<E: From<EncodeError>>(self, equals: Equals) -> Result<(), E> {
        let count = if self.ordered {
            self.count
        } else {
            let mapped = self.kind == Kind::Table;
            let entries =
                places(self.out, self.content, self.count, mapped).map_err(EncodeError::Invalid)?;
            settle(self.out, self.content, entries, equals)
                .map_err(|at| DecodeError::new(at, DecodeErrorKind::Unique))
                .map_err(EncodeError::Invalid)?
        };
        Ok(set_count(self.out, self.content, count)?)
    }
}
