//! Takes primitives and items off encoded bytes.

use crate::bin::real;
use crate::{
    Address, DecodeError, DecodeErrorKind, Kind, Port, Protocol, Subnet, Timespan, Timestamp,
};

/// Most bytes of a `varbyte`.
const VARBYTE_SIZE_MAX: u32 = 5;

/// Bytes of an item by its tag, the tag included; zero for those whose size is not fixed, or that need
/// a look at more than their size. Spec: wire 4.
const FIXED_SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    sizes[0] = 1;
    sizes[1] = 2;
    sizes[2] = 9;
    sizes[3] = 9;
    sizes[4] = 9;
    sizes[6] = 17;
    sizes[7] = 18;
    sizes[9] = 9;
    sizes[10] = 9;
    sizes
};

// What may be missing, as it stands in errors.
const A_BOOLEAN: &str = "a boolean";
const A_COUNT: &str = "a count";
const AN_INTEGER: &str = "an integer";
const A_REAL: &str = "a real";
const AN_ADDRESS: &str = "an address";
const A_SUBNET: &str = "a subnet";
const A_TIMESTAMP: &str = "a timestamp";
const A_TIMESPAN: &str = "a timespan";
const CONTENT: &str = "as many bytes as a string is long";

/// One item of an encoded value: a whole scalar, or the head of a container.
///
/// The elements of a container follow it as items of their own: as many as the count says for
/// sets and vectors, twice as many (key, mapped value, key, ...) for tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// No value.
    None,
    /// True or false.
    Boolean(bool),
    /// Unsigned number.
    Count(u64),
    /// Signed number.
    Integer(i64),
    /// Floating-point number.
    Real(f64),
    /// Bytes of a string.
    String(&'a [u8]),
    /// IP address.
    Address(Address),
    /// Network of addresses.
    Subnet(Subnet),
    /// Transport-level port.
    Port(Port),
    /// Point in time.
    Timestamp(Timestamp),
    /// Duration.
    Timespan(Timespan),
    /// Bytes of the name of a member of an enumeration.
    EnumValue(&'a [u8]),
    /// Announced number of elements of a set, not checked against the bytes that follow.
    Set(usize),
    /// Announced number of entries of a table, not checked against the bytes that follow.
    Table(usize),
    /// Announced number of elements of a vector, not checked against the bytes that follow.
    Vector(usize),
}

impl Item<'_> {
    /// Returns the kind of the value.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::None => Kind::None,
            Self::Boolean(_) => Kind::Boolean,
            Self::Count(_) => Kind::Count,
            Self::Integer(_) => Kind::Integer,
            Self::Real(_) => Kind::Real,
            Self::String(_) => Kind::String,
            Self::Address(_) => Kind::Address,
            Self::Subnet(_) => Kind::Subnet,
            Self::Port(_) => Kind::Port,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Timespan(_) => Kind::Timespan,
            Self::EnumValue(_) => Kind::EnumValue,
            Self::Set(_) => Kind::Set,
            Self::Table(_) => Kind::Table,
            Self::Vector(_) => Kind::Vector,
        }
    }
}

// Where items are taken in a loop, a call per item with its result in memory costs four times the
// work itself, hence `inline(always)`; without optimisation it would only make frames large.

/// Reads encoded bytes from front to back, without recursion or allocation.
///
/// After an error the position is that of the last complete primitive; there is nothing sensible
/// to go on with.
///
/// ```
/// use broker_data::{Item, Reader, to_bytes};
///
/// let bytes = to_bytes(&["a", "bc"])?;
/// let mut reader = Reader::new(&bytes);
/// assert_eq!(reader.next_item()?, Item::Vector(2));
/// reader.skip_value()?;
/// assert_eq!(reader.next_item()?, Item::String(b"bc"));
/// assert_eq!(reader.remaining(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
        }
    }

    /// Returns the number of bytes taken.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        // The rest is always a part of the input.
        self.length.saturating_sub(self.rest.len())
    }

    /// Returns the number of bytes left.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Returns the bytes left.
    #[inline]
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Makes an error at the current position.
    #[cold]
    pub(crate) const fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.position(), kind)
    }

    /// Makes an error at the byte before the current position.
    #[cold]
    fn error_behind(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.position().saturating_sub(1), kind)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(self.error(DecodeErrorKind::Truncated(what))),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn slice(&mut self, size: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(size) {
            Some((slice, rest)) => {
                self.rest = rest;
                Ok(slice)
            }
            None => Err(self.error(DecodeErrorKind::Truncated(what))),
        }
    }

    /// Takes one byte.
    ///
    /// # Errors
    ///
    /// When there is none.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array("1 byte").map(|[byte]| byte)
    }

    /// Takes a two-byte number.
    ///
    /// # Errors
    ///
    /// When there are not as many bytes.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array("2 bytes").map(u16::from_be_bytes)
    }

    /// Takes an eight-byte number.
    ///
    /// # Errors
    ///
    /// When there are not as many bytes.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array("8 bytes").map(u64::from_be_bytes)
    }

    /// Takes a signed eight-byte number.
    ///
    /// # Errors
    ///
    /// When there are not as many bytes.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array("8 bytes").map(i64::from_be_bytes)
    }

    /// Takes a length or count: seven bits per byte, least significant group first.
    ///
    /// # Errors
    ///
    /// When it does not end, is longer than five bytes, or does not fit in 32 bits. The original
    /// reads longer ones and loses bits; see `docs/adr/0003-varbyte-limit.md`.
    #[inline]
    pub fn varbyte(&mut self) -> Result<u32, DecodeError> {
        // Nearly all lengths are below 128.
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u32::from(byte));
        }
        self.long_varbyte()
    }

    fn long_varbyte(&mut self) -> Result<u32, DecodeError> {
        // Spec: wire 3.1
        let start = self.clone();
        let mut value = 0_u64;
        for index in 0..VARBYTE_SIZE_MAX {
            let [byte] = self.array("the rest of a length")?;
            let group = u64::from(byte & 0x7f);
            value |= group.wrapping_shl(index.wrapping_mul(7));
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| start.error(DecodeErrorKind::Varbyte));
            }
        }
        Err(start.error(DecodeErrorKind::Varbyte))
    }

    /// Takes a length or count as a number of things in memory.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.varbyte()?;
        // Only a machine whose memory could not hold as many things has a smaller `usize`.
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Takes `size` bytes.
    ///
    /// # Errors
    ///
    /// When there are not as many.
    #[inline]
    pub fn bytes(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        self.slice(size, "more bytes")
    }

    /// Takes a length and as many bytes.
    ///
    /// # Errors
    ///
    /// When the length is malformed or there are not as many bytes.
    #[inline]
    pub fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count()?;
        self.slice(length, CONTENT)
    }

    /// Takes one item: a tag with a scalar, or a tag with the count of a container.
    ///
    /// # Errors
    ///
    /// When the tag is unknown or the item is not complete. Neither depth nor uniqueness is
    /// checked; [`validate`](crate::validate) does that.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn next_item(&mut self) -> Result<Item<'a>, DecodeError> {
        // Spec: wire 4
        let [tag] = self.array("a type tag")?;
        Ok(match tag {
            0 => Item::None,
            // Every number but zero is true, as in the original.
            1 => Item::Boolean(self.array(A_BOOLEAN).map(|[byte]| byte != 0)?),
            2 => Item::Count(self.array(A_COUNT).map(u64::from_be_bytes)?),
            3 => Item::Integer(self.array(AN_INTEGER).map(i64::from_be_bytes)?),
            4 => Item::Real(
                self.array(A_REAL)
                    .map(u64::from_be_bytes)
                    .map(real::from_wire)?,
            ),
            5 => Item::String(self.string()?),
            6 => Item::Address(self.array(AN_ADDRESS).map(Address::from_octets)?),
            7 => {
                let [octets @ .., length] = self.array::<17>(A_SUBNET)?;
                Item::Subnet(Subnet::from_raw(Address::from_octets(octets), length))
            }
            8 => Item::Port(self.port()?),
            9 => Item::Timestamp(
                self.array(A_TIMESTAMP)
                    .map(i64::from_be_bytes)
                    .map(Timestamp::from_ns)?,
            ),
            10 => Item::Timespan(
                self.array(A_TIMESPAN)
                    .map(i64::from_be_bytes)
                    .map(Timespan::from_ns)?,
            ),
            11 => Item::EnumValue(self.string()?),
            12 => Item::Set(self.count()?),
            13 => Item::Table(self.count()?),
            14 => Item::Vector(self.count()?),
            _ => return Err(self.error_behind(DecodeErrorKind::Tag(tag))),
        })
    }

    #[inline]
    fn port(&mut self) -> Result<Port, DecodeError> {
        let [high, low, protocol] = self.array("a port")?;
        let number = u16::from_be_bytes([high, low]);
        match Protocol::from_number(protocol) {
            Some(protocol) => Ok(Port::new(number, protocol)),
            None => Err(self.error_behind(DecodeErrorKind::Protocol(protocol))),
        }
    }

    /// Takes one item without looking at its value; returns how many items follow inside of it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn skip_item(&mut self) -> Result<Head, DecodeError> {
        // Nearly all items are of fixed size: one look into a table instead of a jump per type, and
        // one check for room.
        if let Some(tag) = self.rest.first()
            && let Some(size @ 1..) = FIXED_SIZES.get(usize::from(*tag))
            && let Some(rest) = self.rest.get(usize::from(*size)..)
        {
            self.rest = rest;
            return Ok(Head::Scalar);
        }
        // Nearly all others have a length or a count below 128.
        if let [tag @ (5 | 11..=14), count @ ..0x80, rest @ ..] = self.rest {
            let head = match tag {
                12 => Some(Head::Set(u32::from(*count))),
                13 => Some(Head::Table(u32::from(*count))),
                14 => Some(Head::Vector(u32::from(*count))),
                _ => None,
            };
            if let Some(head) = head {
                self.rest = rest;
                return Ok(head);
            }
            if let Some(rest) = rest.get(usize::from(*count)..) {
                self.rest = rest;
                return Ok(Head::Scalar);
            }
        }
        if let [8, _, _, 0..=3, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(Head::Scalar);
        }
        // By value: what a call could change through a reference is in no register.
        let (head, reader) = self.clone().skip_any_item()?;
        *self = reader;
        Ok(head)
    }

    /// As [`skip_item`](Self::skip_item), at any cost, and with what is wrong.
    #[cold]
    fn skip_any_item(mut self) -> Result<(Head, Self), DecodeError> {
        // Counts are 32 bits wide. Spec: wire 3.1
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let head = match self.next_item()? {
            Item::Set(elements) => Head::Set(count(elements)),
            Item::Table(entries) => Head::Table(count(entries)),
            Item::Vector(elements) => Head::Vector(count(elements)),
            Item::None
            | Item::Boolean(_)
            | Item::Count(_)
            | Item::Integer(_)
            | Item::Real(_)
            | Item::String(_)
            | Item::Address(_)
            | Item::Subnet(_)
            | Item::Port(_)
            | Item::Timestamp(_)
            | Item::Timespan(_)
            | Item::EnumValue(_) => Head::Scalar,
        };
        Ok((head, self))
    }

    /// Passes over one value with everything inside of it, however deep.
    ///
    /// # Errors
    ///
    /// When a tag is unknown or the value is not complete.
    pub fn skip_value(&mut self) -> Result<(), DecodeError> {
        // Items still to come. Each takes a byte at least, so the number is bounded by the input
        // long before it saturates.
        let mut pending = 1_u64;
        while pending > 0 {
            pending = pending.saturating_sub(1);
            let inside = match self.skip_item()? {
                Head::Scalar => continue,
                Head::Set(count) | Head::Vector(count) => u64::from(count),
                Head::Table(count) => u64::from(count).saturating_mul(2),
            };
            pending = pending.saturating_add(inside);
        }
        Ok(())
    }
}

/// What an item is, without its value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    /// A value that is complete.
    Scalar,
    /// A set with as many elements.
    Set(u32),
    /// A table with as many entries.
    Table(u32),
    /// A vector with as many elements.
    Vector(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varbytes_end_after_five_bytes_and_32_bits() {
        for (bytes, value) in [
            (&b"\x00"[..], 0),
            (b"\x7f", 127),
            (b"\x80\x01", 128),
            (b"\xac\x02", 300),
            (b"\x80\x80\x01", 16384),
            (b"\xff\xff\xff\xff\x0f", u32::MAX),
            // Longer than need be, but not too long.
            (b"\x83\x80\x80\x80\x00", 3),
        ] {
            assert_eq!(Reader::new(bytes).varbyte(), Ok(value));
        }
        for bytes in [&b"\xff\xff\xff\xff\x10"[..], b"\x83\x80\x80\x80\x80\x00"] {
            let error = DecodeError::new(0, DecodeErrorKind::Varbyte);
            assert_eq!(Reader::new(bytes).varbyte(), Err(error));
        }
        assert!(Reader::new(b"").varbyte().is_err());
        assert!(Reader::new(b"\x80").varbyte().is_err());
    }

    #[test]
    fn errors_say_where_and_what() {
        for (bytes, text) in [
            (
                &b""[..],
                "at byte 0: expected a type tag, found the end of the input",
            ),
            (
                b"\x0f",
                "at byte 0: expected a type tag from 0 to 14, found 15",
            ),
            (
                b"\x02\x00",
                "at byte 1: expected a count, found the end of the input",
            ),
            (
                b"\x08\x00\x50\x04",
                "at byte 3: expected a port protocol from 0 to 3, found 4",
            ),
            (
                b"\x05\xff\xff\xff\xff\x10",
                "at byte 1: expected a length of at most 5 bytes and 32 bits",
            ),
            (
                b"\x05\x05abc",
                "at byte 2: expected as many bytes as a string is long, found the end of the input",
            ),
        ] {
            let by_item = Reader::new(bytes).next_item().expect_err(text);
            assert_eq!(by_item.to_string(), text);
            assert_eq!(Reader::new(bytes).skip_value(), Err(by_item));
        }
    }

    #[test]
    fn primitives_are_big_endian() {
        let mut reader =
            Reader::new(b"\x01\x01\x02\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\x02abc");
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.u64(), Ok(5));
        assert_eq!(reader.i64(), Ok(-1));
        assert_eq!(reader.string(), Ok(&b"ab"[..]));
        assert_eq!(
            (reader.position(), reader.remaining(), reader.rest()),
            (22, 1, &b"c"[..])
        );
        assert!(reader.bytes(2).is_err());
        assert_eq!(reader.bytes(1), Ok(&b"c"[..]));
    }

    #[test]
    fn skipping_needs_no_stack() {
        let mut bytes = [0x0e, 1].repeat(1_000_000);
        assert!(Reader::new(&bytes).skip_value().is_err());
        bytes.push(0);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.skip_value(), Ok(()));
        assert_eq!(reader.remaining(), 0);
    }
}
