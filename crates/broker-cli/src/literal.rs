//! Values as they are written on a command line.
//!
//! ```
//! use broker::Value;
//! use broker_cli::literal;
//!
//! let value = literal::parse("[\"ping\", 5c, 443/tcp, {10.0.0.1: 1.5min}]")?;
//! assert_eq!(literal::to_text(&value), "[\"ping\", 5c, 443/tcp, {10.0.0.1: 90s}]");
//! let error = literal::parse("[1, 10.0.0.300]").unwrap_err();
//! assert_eq!(error.column(), 4);
//! # Ok::<(), literal::LiteralError>(())
//! ```
//!
//! | written | value |
//! |---|---|
//! | `true`, `false`, `none` | bool, nil |
//! | `-5` or `int:5`; `5c` or `count:5`; `1.5` or `real:5` | int, count, real |
//! | `"text"`, a bare word that is nothing else, `str:10.0.0.1`, `hex:00ff` | string |
//! | `10.0.0.1`, `[2001:db8::1]` or `addr:2001:db8::1` | address |
//! | `10.0.0.0/8`, `[2001:db8::]/32`; `443/tcp` | subnet; port |
//! | `5s`, `1.5min`, `250ms`, `2d` | timespan |
//! | `2026-01-02T03:04:05Z`, `@1700000000.5` | timestamp |
//! | `enum:Notice::LOG` | enum |
//! | `[a, b]`, `{a, b}`, `{k: v}`, `{:}` | vector, set, table, table without entries |
//! | `json:{"@data-type":...}` | what the tagged JSON says |
//!
//! What [`write()`] makes is read back by [`parse`] as the same value. A text that could be a slip (a word
//! that begins like a number, a key without a blank behind its colon) is an error, not a string: a
//! receiver in Zeek drops events with values of the wrong type, and does not say so.
//!
//! Map: `parse` reads, `scalar` tells the words apart, `write` is the other direction, `error` shows
//! where a text is wrong.

mod error;
mod parse;
mod scalar;
mod write;

#[cfg(test)]
mod properties;

pub use error::LiteralError;
pub(crate) use parse::Parser;
pub use parse::parse;
pub use write::{to_text, write};
pub(crate) use write::{write_elements, write_string};
