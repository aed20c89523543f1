//! Typed publish/subscribe for Zeek and its tools: endpoints that peer over the native protocol.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! let endpoint = broker::Endpoint::new()?;
//! let subscriber = endpoint.subscriber(["/topic/test"])?;
//! endpoint.peer("127.0.0.1", 9999, broker::Retry::Never).wait()?;
//! endpoint.publish("/topic/test", &(1u64, "hello"))?;
//! if let Some(message) = subscriber.recv_timeout(Duration::from_secs(5))? {
//!     println!("{}", message.view());
//! }
//! # Ok::<(), broker::Error>(())
//! ```
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | `endpoint`, `publisher`, `subscriber`, `status_subscriber`, `hub` | the public handles, thin |
//! | `config`, `libraries`, `error`, `message`, `pending` | options, what is compiled in, failures, what was received, what will be |
//! | `control`, `shared`, `runtime` | the protocol's state machine and what its outputs mean out here; what all parts of an endpoint have in common; where its tasks run |
//! | `lock` | mutexes under which no task is woken |
//! | `listener`, `connector`, `tls`, `tls_session`, `socket` | how connections come to be, and how they are encrypted |
//! | `link`, `peer`, `inbound`, `spare` | one connection: its shared half, its task, what it reads, and into what |
//! | `routing`, `blocked` | the data path: who gets what, and the rest of a message that met a full mailbox |
//! | `marking` | what tells copies from news in rings and meshes of endpoints |
//! | `mailbox`, `queue`, `run`, `chunk`, `ready_fd` | queues, what is in them, who is told of it |
//! | `joint`, `shortcut`, `buffers` | small messages for many, messages for idle connections, memory used again |
//! | `websocket`, `foreign`, `translation` | JSON clients and servers: their connections, what foreign peers send, a message as JSON for all of them |
//! | [`store`] | data stores: handles, their machines, the thread of a file |
//! | `sqlite` | entries of a data store in a file |
//! | [`zeek`] | what Zeek puts into messages: events, log records |
//!
//! # The way of one message
//!
//! [`Endpoint::publish`] encodes the value into a complete frame on the caller's thread, looks up
//! who wants the topic, and appends the frame to their mailboxes. The task of a peer writes what its
//! mailbox holds. At the other end the task of that connection splits frames, checks their values,
//! and appends runs of them to mailboxes in the same way; [`Subscriber::recv`] takes a message out,
//! and [`Message::view`] reads its value where it lies.
//!
//! Nothing in here interprets a value to route it. No lock is held while waiting for a peer, a reader or
//! the network; the one that has stores attached one at a time is held while a file is opened.

mod blocked;
mod buffers;
mod chunk;
mod config;
mod connector;
mod control;
mod endpoint;
mod error;
#[cfg(feature = "http")]
mod foreign;
mod hub;
mod inbound;
mod joint;
mod libraries;
mod link;
mod listener;
mod lock;
mod mailbox;
mod marking;
mod message;
mod peer;
mod pending;
mod publisher;
mod queue;
mod ready_fd;
mod routing;
mod run;
mod runtime;
mod shared;
mod shortcut;
mod socket;
mod spare;
#[cfg(feature = "sqlite")]
mod sqlite;
mod status_subscriber;
pub mod store;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_session;
mod translation;
#[cfg(feature = "http")]
mod websocket;
pub mod zeek;

/// The Rust example of the README, which has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

pub use broker_data as data;
pub use broker_proto as proto;

pub use broker_data::{
    Address, ByteString, EncodeError, Encoder, EnumValue, Kind, Port, Protocol, Set, Source,
    Subnet, Table, Timespan, Timestamp, Value, View,
};
#[cfg(feature = "serde")]
pub use broker_data::{SerdeError, from_value, to_value};
pub use broker_proto::{
    EndpointId, EndpointInfo, ErrorCode, Event, Fault, NetworkAddress, PeerInfo, PeerStatus,
    RefusalCounts, Status, StatusCode, Topic,
};

/// The name that the original gives to [`Value`].
pub type Data = Value;

pub use blocked::BlockedPublish;
pub use broker_proto::store::{CloneOptions, Contact};
pub use config::{
    AWAIT_PEER_TIMEOUT, CONNECT_TIMEOUT, Capacity, DEAD_PEER_TIMEOUT, FRAME_BYTES_MAX,
    HANDSHAKE_TIMEOUT, MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX, OnLoss, Options, Overflow,
    PENDING_CONNECTIONS_MAX, RETRY_DEFAULT, SHUTDOWN_TIMEOUT, STALL_LIMIT, StoreOptions,
    TlsOptions, Verbosity,
};
pub use endpoint::{Builder, Endpoint, Retry};
pub use error::Error;
pub use hub::Hub;
pub use libraries::{sqlite_library, tls_library};
pub use message::{Message, MessageRef};
pub use pending::Pending;
pub use publisher::Publisher;
#[cfg(feature = "sqlite")]
pub use sqlite::{
    BUSY_TIMEOUT, FailureMode, JournalMode, SqliteBackend, SqliteError, SqliteOpenError,
    SqliteOptions, Synchronous,
};
pub use status_subscriber::StatusSubscriber;
pub use store::{Backend, Store, StoreChange, StoreError, StoreEvent, StoreEvents};
pub use subscriber::Subscriber;
#[cfg(feature = "tls")]
pub use tls_session::{PeerCertificate, TlsSession};
#[cfg(feature = "http")]
pub use websocket::{
    WebSocketCounts, WebSocketOptions, WebSocketPeerCounts, WebSocketPeerOptions, WebSocketTls,
    WebSocketTrust,
};
