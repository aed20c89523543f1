//! The content of messages of Zeek: events, log records, identifier updates, and batches of them.
//!
//! Every message of Zeek is a vector `(1, kind, content)` published under some topic. This module
//! parses it into a checked type that borrows the bytes, and builds it. It does no I/O and knows no
//! endpoint: bytes in, values out. The crate `broker` has all of it as `broker::zeek`. Spec: zeek 1.
//!
//! | to | use |
//! |---|---|
//! | find out what a message is | [`Message::parse`] |
//! | send an event | [`EventBuilder`] |
//! | read the arguments of an event | [`Event::arguments`], `Event::arguments_as` with `serde` |
//! | turn a log stream into records | [`LogDecoder`], then [`LogRecord`] |
//! | know which topics to subscribe to for that | [`LOG_TOPIC`], [`logger_topic`] |
//! | send log records | [`Schema`], [`RecordWriter`], [`LogWrite`] |
//! | update a global variable of a script | [`IdentifierUpdate`] |
//! | send several messages at once | [`BatchBuilder`] |
//!
//! ```
//! use broker_data::{View, to_bytes};
//! use broker_zeek::{EventBuilder, Message};
//!
//! let bytes = to_bytes(&EventBuilder::new("ping").argument("hello").argument(&7_u64))?;
//! let Message::Event(event) = Message::parse(View::new(&bytes)?) else { panic!("an event") };
//! assert_eq!(event.name(), b"ping");
//! assert_eq!(event.arguments().get(1).and_then(|n| n.as_count()), Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Logs
//!
//! A Zeek process announces each of its logs with a *log create* message, which has the field list,
//! and then sends *log writes*, whose record is a blob of its own format. [`LogDecoder`] remembers
//! the field lists and turns the writes into records; what arrives before its field list waits.
//!
//! # Map
//!
//! - `message`: which kind of message, and what is wrong with it; `elements` takes one apart.
//! - `event`, `identifier`, `batch`, `log`: one kind each; `log` has both, create and write.
//! - `schema`: field lists and Zeek's types. `value`, `record`: what a record holds, and the whole
//!   of it. `blob`, `record_writer`: its bytes. `json`, `tsv`: the spellings of
//!   Zeek's JSON and ASCII logs.
//! - `decoder`: the stream. `encoded_value`: what it takes in.
//! - [`zeromq`]: messages, topics and members of clusters that use the backend ZeroMQ.

#![forbid(unsafe_code)]

mod batch;
mod blob;
mod decoder;
mod elements;
mod encoded_value;
mod event;
mod identifier;
mod json;
mod log;
mod message;
mod record;
mod record_writer;
mod schema;
mod tsv;
mod value;
pub mod zeromq;

pub use batch::{Batch, BatchBuilder, Messages};
pub use blob::ELEMENT_DEPTH_MAX;
pub use decoder::{
    ANNOUNCED_BEFORE_UNKNOWN, LogDecoder, LogError, SCHEMAS_PER_LOG_MAX, STREAMS_MAX, UnknownName,
    WAITING_BYTES_MAX,
};
pub use encoded_value::EncodedValue;
#[cfg(feature = "serde")]
pub use event::EventError;
pub use event::{Event, EventBuilder, Metadata, NETWORK_TIMESTAMP, USER_METADATA_START};
pub use identifier::IdentifierUpdate;
pub use json::{JsonEscape, JsonOptions, JsonTimes};
pub use log::{LOG_TOPIC, LogCreate, LogWrite, logger_topic};
pub use message::{BATCH_DEPTH_MAX, Invalid, Message, MessageKind, Problem, VERSION};
pub use record::{LogRecord, RecordError};
pub use record_writer::RecordWriter;
pub use schema::{Field, Schema, SchemaError, WriterInfo, ZeekType};
pub use value::{LogElements, LogValue, Values};
