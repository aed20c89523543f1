//! JSON, version 1: values as objects with `@data-type` and `data`.
//!
//! This is what clients of the WebSocket interface read and write. Spec: websocket 4, 5.
//!
//! Both directions are streams: [`encode`] reads encoded bytes and appends text, [`decode`] reads
//! text and appends encoded bytes; no tree is built in between.
//!
//! ```
//! use broker_data::json::{self, Form};
//! use broker_data::{Timespan, to_bytes};
//!
//! let bytes = to_bytes(&("ping", 7_u64, Timespan::from_secs(300)))?;
//! let text = json::to_text(&bytes, Form::Compatible)?;
//! assert_eq!(
//!     text,
//!     concat!(
//!         r#"{"@data-type":"vector","data":[{"@data-type":"string","data":"ping"},"#,
//!         r#"{"@data-type":"count","data":7},{"@data-type":"timespan","data":"300s"}]}"#,
//!     )
//! );
//! assert_eq!(json::from_text(text.as_bytes(), Form::Compatible)?, bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is read
//!
//! All JSON, and of what the original reads beyond it that which has one obvious meaning: `+5`,
//! `.5`, `5.`, `00`, `nan`, `\v`, bytes that are not UTF-8. Numbers in other bases, which `010` is
//! to the original, are refused. Why a parser for JSON alone would not do:
//! `docs/adr/0050-json-scanner.md` and
//! `docs/adr/0051-json-dialect.md`.
//!
//! Fields come in any order; of fields with one name the first counts, unknown ones are skipped.
//! What came out of order in a set or table is sorted, what is there twice is refused.

// Text from the network is read here, so nothing may panic or wrap around unseen.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing
)]

mod decode;
mod encode;
mod error;
mod fields;
mod scalar;
mod scan;
mod string;

#[cfg(test)]
mod properties;

pub use decode::{decode, from_text};
pub use encode::{encode, encode_fields, to_text};
pub use error::{JsonError, JsonErrorKind};
pub use fields::{Field, decode_with, fields, strings};
pub use scalar::{put_timestamp, timespan, timestamp};
pub use string::{put_bytes, put_string, put_text};

use crate::bin::order::Equals;

/// Which spelling is written, and how much is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// What every known client reads. Spec: websocket 5.
    ///
    /// Times have milliseconds, bytes that are not UTF-8 become replacement characters, irregular
    /// subnets become regular. Reading stops at [`Form::LEVELS_COMPATIBLE`], like the original.
    #[default]
    Compatible,
    /// Nothing is lost: times have nanoseconds, and what has no text (strings and names that are
    /// not UTF-8, irregular subnets) is written as `{"hex":"..."}` of its bytes on the wire.
    ///
    /// Reads everything that the compatible form reads.
    Lossless,
    /// Written like [`Form::Compatible`]; also reads what servers of the original write although
    /// it is not JSON: bare `inf`, `-inf` and `-nan`, control characters in strings, and deeper
    /// nesting than they would accept themselves, and protocols of ports that are spelled
    /// otherwise as unknown ones. Of elements and keys that are equal, as their
    /// spelling makes some, the first stays; in the other forms that is an error. Spec: websocket
    /// 4.2, 4.3.
    Original,
}

impl Form {
    /// What becomes of elements and keys that are equal. A server of the original leaves out what
    /// makes them different (times have milliseconds, reals six decimals), and the message is worth
    /// more than one of them. From clients it is a fault. See ADR 0051.
    pub(crate) const fn equals(self) -> Equals {
        match self {
            Self::Original => Equals::KeepFirst,
            Self::Compatible | Self::Lossless => Equals::Refuse,
        }
    }

    /// Greatest number of JSON arrays and objects inside one another in the compatible form.
    ///
    /// It is the limit of the original, whose clients may rely on the refusal; two levels for each
    /// vector or set, three for each table, one for most scalars. Spec: websocket 4.1.
    pub const LEVELS_COMPATIBLE: usize = 128;

    /// Greatest number of JSON arrays and objects inside one another in the other forms.
    ///
    /// It lets [`DEPTH_MAX`](crate::DEPTH_MAX) tables through, with any scalar in the innermost:
    /// those of two levels are `none` and what has no text.
    pub const LEVELS_MAX: usize = 3 * crate::DEPTH_MAX + 2;

    const fn levels(self) -> usize {
        match self {
            Self::Compatible => Self::LEVELS_COMPATIBLE,
            Self::Lossless | Self::Original => Self::LEVELS_MAX,
        }
    }
}
