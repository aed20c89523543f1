//! A value that is still in its encoded bytes.

use std::cmp::Ordering;
use std::fmt;

use crate::bin::reader::{Item, Reader};
use crate::{
    Address, DecodeError, Kind, Port, Subnet, Timespan, Timestamp, Value, compare, decode_prefix,
    validate,
};

/// A value that is still in its encoded bytes: walks them without building anything.
///
/// Finding an element means passing over those before it, so visit the elements in one pass where
/// there are many. Elements come in the order of the bytes; senders may write sets and tables in
/// any order, even though none is known that does not sort them.
///
/// Equality and order are those of the values, whatever the order inside of sets and tables.
///
/// ```
/// use broker_data::{Kind, View, to_bytes};
///
/// let bytes = to_bytes(&("ping", 7_u64, [true]))?;
/// let view = View::new(&bytes)?;
/// assert_eq!((view.kind(), view.len()), (Kind::Vector, 3));
/// assert_eq!(view.get(0).and_then(|name| name.as_str()), Some("ping"));
/// assert_eq!(view.elements().filter_map(|element| element.as_count()).sum::<u64>(), 7);
/// assert_eq!(view.to_string(), "(ping, 7, (T))");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct View<'a> {
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks that `bytes` are exactly one value.
    ///
    /// # Errors
    ///
    /// The same as those of [`validate`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        validate(bytes)?;
        Ok(Self { bytes })
    }

    /// Takes bytes that were checked before.
    ///
    /// With other bytes nothing bad happens, but what is read makes no sense: missing values read
    /// as none, containers end early.
    #[inline]
    #[must_use]
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns the encoded bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the whole value if it is a scalar, and the head of it if it is a container.
    #[inline]
    #[must_use]
    pub fn item(&self) -> Item<'a> {
        Reader::new(self.bytes).next_item().unwrap_or(Item::None)
    }

    /// Returns the kind.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        let tag = self.bytes.first().copied();
        tag.and_then(Kind::from_tag).unwrap_or(Kind::None)
    }

    /// Tells whether this is no value.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.kind() == Kind::None
    }

    /// Returns the boolean, when this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.item() {
            Item::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the unsigned number, when this is one.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match self.item() {
            Item::Count(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the signed number, when this is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self.item() {
            Item::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the floating-point number, when this is one.
    #[must_use]
    pub fn as_real(&self) -> Option<f64> {
        match self.item() {
            Item::Real(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the bytes of the string, when this is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.item() {
            Item::String(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the text of the string, when this is one and is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// Returns the address, when this is one.
    #[must_use]
    pub fn as_address(&self) -> Option<Address> {
        match self.item() {
            Item::Address(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the subnet, when this is one.
    #[must_use]
    pub fn as_subnet(&self) -> Option<Subnet> {
        match self.item() {
            Item::Subnet(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the port, when this is one.
    #[must_use]
    pub fn as_port(&self) -> Option<Port> {
        match self.item() {
            Item::Port(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the point in time, when this is one.
    #[must_use]
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        match self.item() {
            Item::Timestamp(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the duration, when this is one.
    #[must_use]
    pub fn as_timespan(&self) -> Option<Timespan> {
        match self.item() {
            Item::Timespan(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the bytes of the name, when this is a member of an enumeration.
    #[must_use]
    pub fn as_enum(&self) -> Option<&'a [u8]> {
        match self.item() {
            Item::EnumValue(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the number of elements or entries; zero for everything but containers.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.item() {
            Item::Set(count) | Item::Table(count) | Item::Vector(count) => count,
            _ => 0,
        }
    }

    /// Tells whether there are no elements or entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits the elements of a vector or set; there are none in anything else.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        let mut reader = Reader::new(self.bytes);
        let remaining = match reader.next_item() {
            Ok(Item::Set(count) | Item::Vector(count)) => count,
            _ => 0,
        };
        Elements { reader, remaining }
    }

    /// Visits keys and mapped values of a table; there are none in anything else.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        let mut reader = Reader::new(self.bytes);
        let remaining = match reader.next_item() {
            Ok(Item::Table(count)) => count,
            _ => 0,
        };
        Entries { reader, remaining }
    }

    /// Returns the element of a vector or set at this place, the first being 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Self> {
        self.elements().nth(index)
    }

    /// Builds the value; none when the bytes are not valid.
    #[must_use]
    pub fn to_value(&self) -> Value {
        decode_prefix(self.bytes)
            .map(|(value, _)| value)
            .unwrap_or_default()
    }
}

fn next_value<'a>(reader: &mut Reader<'a>) -> Option<View<'a>> {
    let before = reader.rest();
    reader.skip_value().ok()?;
    let size = before.len().saturating_sub(reader.remaining());
    before.get(..size).map(View::trusted)
}

/// Visits the elements of a vector or set; see [`View::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    remaining: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = View<'a>;

    fn next(&mut self) -> Option<View<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        next_value(&mut self.reader)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An announced number is not trusted to be there: nothing is allocated for it.
        (0, Some(self.remaining.min(self.reader.remaining())))
    }
}

/// Visits keys and mapped values of a table; see [`View::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    remaining: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (View<'a>, View<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let key = next_value(&mut self.reader)?;
        Some((key, next_value(&mut self.reader)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining.min(self.reader.remaining())))
    }
}

impl Ord for View<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes, other.bytes)
    }
}

impl PartialOrd for View<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for View<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for View<'_> {}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({self})")
    }
}
