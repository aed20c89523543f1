//! Errors of JSON texts that are no values.

use std::fmt;

use crate::DEPTH_MAX;

/// A text that is not what it should be, with the place where it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct JsonError {
    /// Offset of the byte, or of the missing byte, counted from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub kind: JsonErrorKind,
}

impl JsonError {
    /// Makes an error; for readers that build on this module.
    #[must_use]
    pub const fn new(offset: usize, kind: JsonErrorKind) -> Self {
        Self { offset, kind }
    }

    /// Returns the code that error messages to clients carry. Spec: websocket 3.2.
    ///
    /// The original has one code for all of them.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "deserialization_failed"
    }
}

/// What is wrong with a text.
///
/// The variants are the classes that the original tells apart; their texts start as its texts do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The text is not JSON; expected this.
    Syntax(&'static str),
    /// The text ended; expected this.
    Truncated(&'static str),
    /// An integer that does not fit in 64 bits.
    Integer,
    /// More arrays and objects inside one another than this.
    Levels(usize),
    /// The text is JSON but not an object.
    NotAnObject,
    /// The text is JSON but not a value; expected this.
    Data(&'static str),
    /// More than [`DEPTH_MAX`] containers inside one another.
    Depth,
    /// A string or container that has more bytes or elements than 32 bits can count.
    TooLong,
    /// A set or table that has the same element or key twice; the offset is that of its array.
    Unique,
}

impl fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(expected) => write!(f, "contained malformed JSON: expected {expected}"),
            Self::Truncated(expected) => write!(
                f,
                "contained malformed JSON: expected {expected}, found the end of the text"
            ),
            Self::Integer => {
                f.write_str("contained malformed JSON: expected an integer of at most 64 bits")
            }
            Self::Levels(limit) => write!(
                f,
                "contained malformed JSON: expected at most {limit} nested arrays and objects"
            ),
            Self::NotAnObject => f.write_str("expected a JSON object"),
            Self::Data(expected) => write!(f, "contained invalid data: expected {expected}"),
            Self::Depth => write!(
                f,
                "contained invalid data: expected at most {DEPTH_MAX} nested containers"
            ),
            Self::TooLong => {
                f.write_str("contained invalid data: expected a length of at most 32 bits")
            }
            Self::Unique => f.write_str(
                "contained invalid data: expected no element or key twice in a set or table",
            ),
        }
    }
}
