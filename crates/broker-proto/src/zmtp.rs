//! ZMTP, what ZeroMQ speaks on a TCP connection: greeting, security, frames, subscriptions.
//!
//! One [`Connection`] is one connection, seen from either side. It has no socket, clock or random
//! source: bytes, time and [`Entropy`] come in, bytes and [`Event`]s go out. It speaks version 3.1,
//! and with peers of version 3.0 what those understand. Spec: zeromq 2, 8.
//!
//! | module | what it is |
//! |---|---|
//! | `connection` | the state machine |
//! | `config` | kinds of sockets, security, limits |
//! | `error` | why a connection cannot go on, for those who have to repair it |
//! | `greeting` | the first 64 bytes, and what other protocols send instead |
//! | `frame`, `command` | parts of messages; commands and the metadata in them |
//! | `message`, `encoded` | messages as they were received, and as they lie in queues |
//! | `curve` | the handshake and the boxes of CURVE; the cryptography is a library's |
//! | `key` | keys, their text form, and where Zeek keeps them |
//! | `subscriptions` | the prefixes that a peer wants |
//! | `proxy` | the two connections of a participant to a proxy, and when they are ready |
//! | `forwarder` | who wants what at a forwarder, and what its publishers are told of that |
//!
//! ```
//! use broker_data::Timestamp;
//! use broker_proto::zmtp::{Connection, ConnectionConfig, Entropy, Event, SocketType};
//!
//! let now = Timestamp::from_ns(0);
//! let entropy = || Entropy::new([0; Entropy::BYTES]); // Random bytes, where CURVE is used.
//! let mut publisher = Connection::new(ConnectionConfig::new(SocketType::Pub), entropy(), now);
//! let mut subscriber = Connection::new(ConnectionConfig::new(SocketType::Sub), entropy(), now);
//! subscriber.subscribe(b"news");
//!
//! // What a socket does.
//! for _ in 0..3 {
//!     let bytes = subscriber.take_output();
//!     publisher.handle_bytes(now, &bytes);
//!     while publisher.poll_event().is_some() {}
//!     let bytes = publisher.take_output();
//!     subscriber.handle_bytes(now, &bytes);
//!     while subscriber.poll_event().is_some() {}
//! }
//! assert!(publisher.subscriptions().matches(b"news/today"));
//!
//! publisher.send(&[b"news/today", b"rain"])?;
//! let bytes = publisher.take_output();
//! subscriber.handle_bytes(now, &bytes);
//! let Some(Event::Message(message)) = subscriber.poll_event() else { panic!("a message") };
//! assert!(message.parts().eq([&b"news/today"[..], b"rain"]));
//! # Ok::<(), broker_proto::zmtp::SendError>(())
//! ```

mod command;
mod config;
mod connection;
mod curve;
mod encoded;
mod error;
mod forwarder;
mod frame;
mod greeting;
mod key;
mod message;
mod proxy;
mod subscriptions;

pub use config::{Clients, ConnectionConfig, Entropy, Limits, Security, SocketType};
pub use connection::{Connection, Event, Peer, TimeoutReason};
pub use encoded::{EncodedMessage, EncodedMessages, write_message};
pub use error::{Error, Foreign, SendError, Stage};
pub use forwarder::{
    ConnectionId, FORWARDED_SUBSCRIPTION_BYTES_MAX, FORWARDED_SUBSCRIPTIONS_MAX, Forwarder,
    ForwarderOutput, TooManySubscriptions,
};

pub use key::{
    CurveKeys, KEY_CHARACTERS, KEY_FILES, KEY_VARIABLES, KeyError, KeyPair, PublicKey, SecretKey,
};
pub use message::{Message, Parts};
pub use proxy::{ProxyConfig, ProxyError, ProxyEvent, ProxySession, ProxySocket};
pub use subscriptions::Subscriptions;
