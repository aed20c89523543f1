//! The values of a record, as they are read.

use std::fmt;

use broker_data::{Address, Port, Subnet, Timespan, Timestamp};

use super::ZeekType;
use super::blob::Cursor;

/// The value of a field of a log record.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LogValue<'a> {
    /// True or false.
    Bool(bool),
    /// Signed number.
    Int(i64),
    /// Unsigned number.
    Count(u64),
    /// Floating-point number.
    Double(f64),
    /// Seconds since the Unix epoch.
    Time(f64),
    /// Seconds.
    Interval(f64),
    /// Bytes, most often UTF-8.
    String(&'a [u8]),
    /// Fully qualified name of a member of an enumeration.
    Enum(&'a [u8]),
    /// Transport-level port.
    Port(Port),
    /// IP address.
    Addr(Address),
    /// Network of addresses.
    Subnet(Subnet),
    /// Name of a function and its source text.
    Func(&'a [u8]),
    /// Name of a file.
    File(&'a [u8]),
    /// Elements of a set, in the order they came.
    Set(LogElements<'a>),
    /// Elements of a vector.
    Vector(LogElements<'a>),
}

impl<'a> LogValue<'a> {
    /// Returns the type.
    #[must_use]
    pub const fn kind(&self) -> ZeekType {
        match self {
            Self::Bool(_) => ZeekType::Bool,
            Self::Int(_) => ZeekType::Int,
            Self::Count(_) => ZeekType::Count,
            Self::Double(_) => ZeekType::Double,
            Self::Time(_) => ZeekType::Time,
            Self::Interval(_) => ZeekType::Interval,
            Self::String(_) => ZeekType::String,
            Self::Enum(_) => ZeekType::Enum,
            Self::Port(_) => ZeekType::Port,
            Self::Addr(_) => ZeekType::Addr,
            Self::Subnet(_) => ZeekType::Subnet,
            Self::Func(_) => ZeekType::Func,
            Self::File(_) => ZeekType::File,
            Self::Set(_) => ZeekType::Table,
            Self::Vector(_) => ZeekType::Vector,
        }
    }

    /// Returns the bytes of a string, enum, function or file.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::String(bytes) | Self::Enum(bytes) | Self::Func(bytes) | Self::File(bytes) => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Returns the text of a string, enum, function or file, when it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// Returns the number of a count.
    #[must_use]
    pub const fn as_count(&self) -> Option<u64> {
        match self {
            Self::Count(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns a point in time, rounded to the microseconds that Zeek's clock has; `None` for other
    /// types and for times that do not fit.
    #[must_use]
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Time(seconds) => Some(Timestamp::from_ns(nanoseconds(*seconds)?)),
            _ => None,
        }
    }

    /// Returns a duration, rounded to microseconds; `None` for other types and for durations that
    /// do not fit.
    #[must_use]
    pub fn as_timespan(&self) -> Option<Timespan> {
        match self {
            Self::Interval(seconds) => Some(Timespan::from_ns(nanoseconds(*seconds)?)),
            _ => None,
        }
    }

    /// Returns it as a value of Broker.
    ///
    /// Functions and files become strings, times that do not fit the nearest that do, and nan none.
    #[must_use]
    pub fn to_value(&self) -> broker_data::Value {
        super::record::to_value(Some(*self))
    }

    /// Returns the elements of a set or vector.
    #[must_use]
    pub const fn as_elements(&self) -> Option<LogElements<'a>> {
        match self {
            Self::Set(elements) | Self::Vector(elements) => Some(*elements),
            _ => None,
        }
    }
}

/// Seconds as nanoseconds, rounded to microseconds: in this century a double has no more.
fn nanoseconds(seconds: f64) -> Option<i64> {
    const MICROSECONDS: f64 = 1e6;
    // A bit less than 64 bits of nanoseconds; beyond that the cast would saturate.
    const MICROSECONDS_MAX: f64 = 9.2e15;
    let microseconds = (seconds * MICROSECONDS).round_ties_even();
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (microseconds.abs() <= MICROSECONDS_MAX).then(|| (microseconds as i64).saturating_mul(1000))
}

/// The elements of a set or vector.
#[derive(Clone, Copy, PartialEq)]
pub struct LogElements<'a> {
    /// The elements, which were checked, without their number.
    pub(super) bytes: &'a [u8],
    pub(super) count: usize,
}

impl<'a> LogElements<'a> {
    /// Returns the number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Tells whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first type among the elements, set or not, that is another one.
    #[inline]
    pub(super) fn type_other_than(&self, expected: ZeekType) -> Option<ZeekType> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count)
            .map_while(|_| cursor.pass(0).ok())
            .find(|kind| *kind != expected)
    }

    /// Visits the elements; those of a vector can be unset.
    #[must_use]
    pub fn iter(&self) -> Values<'a> {
        Values {
            cursor: Cursor::new(self.bytes),
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for LogElements<'a> {
    type Item = Option<LogValue<'a>>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

impl fmt::Debug for LogElements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Visits values that were checked; `None` is an unset one.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) left: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = Option<LogValue<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.value(0).ok()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        // Checked values take at least nine bytes each, so the number is one that memory holds.
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}
