//! The data model of the Broker protocol: fifteen kinds of values, their bytes, order and text.
//!
//! This crate turns values into bytes and bytes into values, nothing else.
//! It never does I/O, reads no clock, has no unsafe code, and knows nothing of topics, peers or
//! connections.
//!
//! | to | use |
//! |---|---|
//! | hold a value | [`Value`], with [`Set`], [`Table`], [`Address`], [`Subnet`], [`Port`], ... |
//! | check a message that came in | [`validate`] |
//! | look into encoded bytes without building anything | [`View`], or [`Reader`] item by item |
//! | build a [`Value`] from bytes | [`decode`], [`View::to_value`] |
//! | write bytes straight from your own data | [`Encoder`], [`Source`], [`to_bytes`] |
//! | put encoded values in order | [`compare`] |
//! | tell whether two encodings are the same key | [`canonical`] |
//! | read and write JSON as WebSocket clients know it | [`json`] |
//!
//! The way of one message: the sender's type implements [`Source`] and writes itself through an
//! [`Encoder`]; the receiver runs [`validate`] once over the bytes and then either walks them as
//! a [`View`] or builds a [`Value`].
//!
//! ```
//! use broker_data::{Value, View, decode, to_bytes};
//!
//! let bytes = to_bytes(&("ping", [1_u64, 2]))?;
//! assert_eq!(View::new(&bytes)?.to_string(), "(ping, (1, 2))");
//!
//! let value = decode(&bytes)?;
//! assert_eq!(value.as_vector().map(|items| items.len()), Some(2));
//! assert_eq!(value, Value::Vector(vec!["ping".into(), vec![1_u64, 2].into()]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! - `value`, `set`, `table`: the tree of values, total order, equality, hash.
//! - `address`, `subnet`, `port`, `enum_value`, `time`, `byte_string`: one type each.
//! - `bin`: the binary encoding; `reader` takes items off bytes, `decode` validates and builds,
//!   `encode` writes, `compare` orders encoded values, `order` sorts sets and tables in place,
//!   `canonical` finds the encoding that is written.
//! - [`json`]: the JSON form; `scan` takes tokens off a text, `decode` and `encode` turn it into
//!   encoded bytes and back, `scalar` has the texts of addresses and times.
//! - `view`: a value still in its bytes. `source`: what can be written. `convert`: Rust types to
//!   and from [`Value`]. `text`: the text form. `error`: what can go wrong.
//! - `serde` (feature `serde`): your structs as records.

#![forbid(unsafe_code)]

mod address;
mod bin;
mod byte_string;
mod convert;
mod enum_value;
mod error;
pub mod json;
mod kind;
mod port;
#[cfg(feature = "serde")]
mod serde;
mod set;
mod source;
mod subnet;
mod table;
mod text;
mod time;
mod value;
mod view;

pub use address::Address;
pub use bin::canonical::canonical;
pub use bin::compare::compare;
pub use bin::decode::{decode, decode_prefix, validate, validate_prefix};
pub use bin::encode::{Encoder, SetEncoder, TableEncoder, put_string, put_varbyte, to_bytes};
pub use bin::reader::{Item, Reader};
pub use byte_string::ByteString;
pub use enum_value::EnumValue;
pub use error::{
    ConvertError, DecodeError, DecodeErrorKind, EncodeError, ParseError, TimeRangeError,
};
pub use kind::Kind;
pub use port::{Port, Protocol};
#[cfg(feature = "serde")]
pub use serde::{SerdeError, from_value, to_value};
pub use set::Set;
pub use source::Source;
pub use subnet::Subnet;
pub use table::{Iter as TableIter, Table};
pub use time::{Timespan, Timestamp};
pub use value::Value;
pub use view::{Elements, Entries, View};

/// Greatest number of containers inside one another, the outermost included.
///
/// Real traffic nests less than ten levels. The original has no limit and overflows its stack
/// instead; 256 levels leave ample room and bound every recursion over a value.
/// See `docs/adr/0002-depth-limit.md`.
pub const DEPTH_MAX: usize = 256;
