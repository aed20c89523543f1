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
//! | `config`, `libraries`, `error`, `message` | options and files of them ([`broker_conf`]), what is compiled in, failures, what was received |
//! | [`recording`], `recorder` | files with recorded messages; an endpoint that records |
//! | [`policy`] | permissions: who may do what, as a file says it |
//! | `net` | TCP and TLS: listening, connecting, sockets |
//! | `flow` | the data path: publishing, routing, mailboxes, marks, buffers |
//! | `core` | the control plane: the protocol's state machine, what its outputs mean, answers that are pending |
//! | `peer` | one native connection |
//! | `transport` | connections to peers of other protocols |
//! | `http` | servers: for WebSocket clients, and for metrics and status |
//! | `stats` | what is counted, gathered |
//! | `durable` | durable topics: streams on servers of NATS, and cursors on them |
//! | [`store`] | data stores: handles, their machines, the thread of a file |
//! | `sqlite` | entries of a data store in a file |
//! | `zeromq` | the log stream, a forwarder and keys of clusters of Zeek that use ZeroMQ |
//! | [`zeek`] | what Zeek puts into messages: events, log records |
//! | [`log`] | the log, for programs without a subscriber of their own |
//! | `lock`, `sync` | mutexes under which no task is woken; what models of the mailbox replace |
//! | `signal` | conditions that threads and tasks wait for |
//!
//! Imports go one way: `net <- flow <- core <- {peer, transport, http, store} <- handles`. See ADR 0161.
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

mod config;
mod core;
#[cfg(feature = "nats")]
mod durable;
mod endpoint;
mod error;
mod flow;
#[cfg(feature = "http")]
mod http;
mod hub;
mod libraries;
mod lock;
#[cfg(feature = "log")]
pub mod log;
mod message;
mod net;
mod peer;
pub mod policy;
mod publisher;
mod recorder;
pub mod recording;
mod signal;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stats;
mod status_subscriber;
pub mod store;
mod subscriber;
mod sync;
mod transport;
pub mod zeek;
#[cfg(feature = "zeromq")]
pub mod zeromq;

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
pub use broker_proto::endpoint::PeerFailure;
pub use broker_proto::link_rules::LinkRules;
pub use broker_proto::{
    EndpointId, EndpointInfo, ErrorCode, Event, Fault, HandshakeFailures, Loss, NetworkAddress,
    PeerInfo, PeerStatus, RefusalCounts, Status, StatusCode, Topic,
};

/// The name that the original gives to [`Value`].
pub type Data = Value;

pub use crate::core::completion::{Completion, CompletionQueue, OperationId, Submitted};
#[cfg(feature = "nats")]
pub use crate::core::jet_stream::message::DurableMessage;
#[cfg(feature = "nats")]
pub use crate::core::nats_peers::NatsPeerCounts;
pub use crate::core::pending::Pending;
#[cfg(feature = "http")]
pub use crate::core::websocket_counts::{WebSocketCounts, WebSocketPeerCounts};
#[cfg(feature = "zeromq")]
pub use crate::core::zeromq_peers::ZeroMqPeerCounts;
#[cfg(feature = "nats")]
pub use broker_proto::store::replica::StaleReads;
pub use broker_proto::store::{CloneOptions, Contact};
#[cfg(feature = "status")]
pub use config::HttpOptions;
#[cfg(feature = "nats")]
pub use config::NatsPeerOptions;
pub use config::{
    AWAIT_PEER_TIMEOUT, AuditFailure, AuditOptions, AuditService, CONNECT_TIMEOUT, Capacity,
    DEAD_PEER_TIMEOUT, FRAME_BYTES_MAX, HANDSHAKE_TIMEOUT, MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX,
    OnLoss, Options, Overflow, PENDING_CONNECTIONS_MAX, PolicyOptions, RETRY_DEFAULT,
    RecordingOptions, SHUTDOWN_TIMEOUT, STALL_LIMIT, StoreOptions, TlsOptions, Verbosity,
    broker_conf,
};
#[cfg(feature = "http")]
pub use config::{WebSocketOptions, WebSocketPeerOptions, WebSocketTls, WebSocketTrust};
#[cfg(feature = "zeromq")]
pub use config::{ZeroMqMembership, ZeroMqPeerOptions};
#[cfg(feature = "nats")]
pub use durable::{
    Acknowledge, CursorReport, DurableError, DurableOptions, DurableStart, DurableSubscriber,
    DurableTopics, PublishOptions, ReplayOptions, RetainedOptions, StoredMessage, StreamDiscard,
    StreamOptions, StreamReader, StreamReport, StreamState,
};
pub use endpoint::{Builder, Endpoint, Retry};
pub use error::Error;
pub use flow::blocked::BlockedPublish;
pub use hub::Hub;
pub use libraries::{features, sqlite_library, tls_library, transports};
pub use message::{Message, MessageRef};
#[cfg(feature = "tls")]
pub use net::tls_probe::{Distrust, TlsProbe, TlsRefusal, probe_tls};
pub use net::tls_session::{PeerCertificate, TlsSession};
pub use publisher::Publisher;
#[cfg(feature = "sqlite")]
pub use sqlite::{
    BUSY_TIMEOUT, FailureMode, JournalMode, SqliteBackend, SqliteError, SqliteOpenError,
    SqliteOptions, Synchronous,
};
pub use stats::{
    COMMIT_SECONDS, CommitStats, ConsumerKind, ConsumerStats, Direction, Drops, LinkStats,
    ListenerKind, ListenerStats, PeerStats, Processed, ProgramCounter, QueueStats, ReadCounts,
    Stats, StoreOperations, StoreState, StoreStats, TopicStats, Traffic, Transport,
};
pub use status_subscriber::StatusSubscriber;
pub use store::{Backend, Store, StoreChange, StoreError, StoreEvent, StoreEvents};
#[cfg(feature = "nats")]
pub use store::{JetStreamOptions, PendingChange, ReplicaStanding};
pub use subscriber::{Room, Subscriber};
