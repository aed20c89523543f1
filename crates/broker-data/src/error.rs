//! Errors of reading, writing, converting and parsing values.

use std::fmt;

use crate::{DEPTH_MAX, Kind};

/// Bytes that are not what they should be, with the place where it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct DecodeError {
    /// Offset of the byte, or of the missing byte, counted from the start of the input.
    pub offset: usize,
    /// What was expected there.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// Makes an error; for decoders that build on [`Reader`](crate::Reader).
    #[must_use]
    pub const fn new(offset: usize, kind: DecodeErrorKind) -> Self {
        Self { offset, kind }
    }
}

/// What a decoder expected and did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ended before this was complete.
    Truncated(&'static str),
    /// A type tag from 0 to 14; found this byte.
    Tag(u8),
    /// A port protocol from 0 to 3; found this byte.
    Protocol(u8),
    /// A length or count of at most five bytes and 32 bits.
    Varbyte,
    /// No more than [`DEPTH_MAX`] containers inside one another.
    Depth,
    /// An element or key that is not in the set or table yet.
    Unique,
    /// The end of the input.
    End,
    /// Something else, which this names.
    Other(&'static str),
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(what) => write!(f, "expected {what}, found the end of the input"),
            Self::Tag(found) => write!(f, "expected a type tag from 0 to 14, found {found}"),
            Self::Protocol(found) => {
                write!(f, "expected a port protocol from 0 to 3, found {found}")
            }
            Self::Varbyte => f.write_str("expected a length of at most 5 bytes and 32 bits"),
            Self::Depth => write!(f, "expected at most {DEPTH_MAX} nested containers"),
            Self::Unique => f.write_str("expected no element or key twice in a set or table"),
            Self::End => f.write_str("expected the end of the input"),
            Self::Other(what) => write!(f, "expected {what}"),
        }
    }
}

/// Values that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or container has more bytes or elements than 32 bits can count.
    #[error("length {length} does not fit in 32 bits")]
    TooLong {
        /// Number of bytes or elements.
        length: usize,
    },
    /// More than [`DEPTH_MAX`] containers inside one another.
    #[error("more than {DEPTH_MAX} nested containers")]
    TooDeep,
    /// A container, an element or an entry was announced with another number of values.
    #[error("{announced} values announced, {written} written")]
    Count {
        /// Number of values that had to be written.
        announced: usize,
        /// Number of values that were.
        written: usize,
    },
    /// A time or duration outside of what 64 bits of nanoseconds hold.
    #[error(transparent)]
    Time(#[from] TimeRangeError),
    /// Bytes to be copied as a value that are none.
    #[error("bytes to copy are not a value: {0}")]
    Invalid(#[from] DecodeError),
}

/// A value of another kind or range than the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The value is of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// Kind that the wanted type needs.
        expected: Kind,
        /// Kind of the value.
        found: Kind,
    },
    /// The string holds bytes that are not UTF-8.
    #[error("expected UTF-8, found other bytes at offset {offset}")]
    Utf8 {
        /// Number of bytes that are UTF-8.
        offset: usize,
    },
    /// The number, time or duration does not fit in the wanted type.
    #[error("{kind} does not fit in `{wanted}`")]
    Range {
        /// Kind of the value.
        kind: Kind,
        /// Name of the wanted type.
        wanted: &'static str,
    },
}

/// A time or duration outside of what 64 bits of nanoseconds, or the wanted type, can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time or duration out of range")]
pub struct TimeRangeError;

/// Text that is not in the form of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse `{text}`: expected {expected}")]
pub struct ParseError {
    pub(crate) text: String,
    pub(crate) expected: &'static str,
}

impl ParseError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            expected,
        }
    }
}
