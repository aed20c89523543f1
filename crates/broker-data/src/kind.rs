//! The fifteen kinds of values and their tags.

use std::fmt;

/// Kind of a value; the number is the tag on the wire and the first criterion of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// No value.
    None = 0,
    /// True or false.
    Boolean = 1,
    /// Unsigned 64-bit number.
    Count = 2,
    /// Signed 64-bit number.
    Integer = 3,
    /// Double-precision floating-point number.
    Real = 4,
    /// Bytes, most often UTF-8.
    String = 5,
    /// IPv4 or IPv6 address.
    Address = 6,
    /// Network of addresses.
    Subnet = 7,
    /// Transport-level port.
    Port = 8,
    /// Point in time.
    Timestamp = 9,
    /// Duration.
    Timespan = 10,
    /// Name of a member of an enumeration.
    EnumValue = 11,
    /// Sorted unique values.
    Set = 12,
    /// Values by key, sorted by key.
    Table = 13,
    /// Sequence of values.
    Vector = 14,
}

impl Kind {
    /// All kinds in the order of their tags.
    pub const ALL: [Self; 15] = [
        Self::None,
        Self::Boolean,
        Self::Count,
        Self::Integer,
        Self::Real,
        Self::String,
        Self::Address,
        Self::Subnet,
        Self::Port,
        Self::Timestamp,
        Self::Timespan,
        Self::EnumValue,
        Self::Set,
        Self::Table,
        Self::Vector,
    ];

    /// Returns the kind with this tag; `None` for tags above 14.
    #[inline]
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            0 => Self::None,
            1 => Self::Boolean,
            2 => Self::Count,
            3 => Self::Integer,
            4 => Self::Real,
            5 => Self::String,
            6 => Self::Address,
            7 => Self::Subnet,
            8 => Self::Port,
            9 => Self::Timestamp,
            10 => Self::Timespan,
            11 => Self::EnumValue,
            12 => Self::Set,
            13 => Self::Table,
            14 => Self::Vector,
            _ => return None,
        })
    }

    /// Returns the tag on the wire.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// Returns the name, as JSON clients spell it: `count`, `enum-value`, ...
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Boolean => "boolean",
            Self::Count => "count",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::String => "string",
            Self::Address => "address",
            Self::Subnet => "subnet",
            Self::Port => "port",
            Self::Timestamp => "timestamp",
            Self::Timespan => "timespan",
            Self::EnumValue => "enum-value",
            Self::Set => "set",
            Self::Table => "table",
            Self::Vector => "vector",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_kinds_are_one_to_one() {
        for tag in 0..=u8::MAX {
            assert_eq!(
                Kind::from_tag(tag).map(Kind::tag),
                (tag < 15).then_some(tag)
            );
        }
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.tag()), index);
        }
    }
}
