//! The native protocol of Broker as state machines over bytes and time.
//!
//! Nothing here performs I/O or looks at a clock: no sockets, threads, files or random numbers.
//! Bytes, time and randomness come in as arguments; what is to be done goes out as values. Nothing
//! iterates a hash map, so the same inputs give the same outputs in the same order.
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | [`id`], [`topic`] | names of endpoints and of what is published |
//! | [`filter`] | what an endpoint wants to receive; matching |
//! | [`frame`] | where a message ends, whom it is from and for |
//! | [`inbound`] | messages of a peer: what each asks for, which go on together |
//! | [`link_rules`] | rules of a link: which topics come in, which go out |
//! | [`mark`], [`duplicates`] | what tells copies of one message in a ring of endpoints from new messages |
//! | [`circle`] | circles through endpoints of other implementations: found and cut |
//! | [`message`] | the messages of the handshake; routing updates, pings, pongs |
//! | [`store`] | data stores: their commands, channels that number and repair them, masters, clones |
//! | [`routes`] | which peers and local consumers get a message |
//! | `tree` | an ordered map whose copies share what they have in common |
//! | [`status`] | events for the application; every code of the wire |
//! | [`json`] | what WebSocket clients and servers say to each other: messages, and both sides of the conversation |
//! | [`http`] | heads of HTTP requests; the one that opens a WebSocket, seen from both sides; frames of a WebSocket |
//! | [`peer_url`] | addresses of peers |
//! | [`nats`] | topics and messages of endpoints on NATS: subjects, subscriptions, headers |
//! | `zmtp` | what ZeroMQ speaks on a connection: greeting, CURVE, frames, subscriptions; with the feature `zeromq` |
//! | [`policy`] | permissions: which principal may publish, subscribe to, read and change what |
//! | [`recording`] | messages in files, with the times at which they came |
//! | [`endpoint`] | the state machine: connections, handshakes, peers, retries, goodbyes |
//! | `random`, `backoff` | numbers from a seed; pauses between attempts |
//! | [`config`] | every number of the protocol, with its unit |
//!
//! # The way of one message
//!
//! A published value becomes one frame ([`frame::write_envelope`]). The runtime asks its snapshot
//! of the [`routes::RoutingTable`] for targets and hands each of them the same bytes. At the
//! other end [`frame::frame_size`] finds the end of the frame and [`frame::Envelope::parse`] its
//! topic; data goes through the routing table there, everything else into
//! [`Endpoint::handle_frame`].

#![forbid(unsafe_code)]

mod backoff;
pub mod circle;
pub mod config;
pub mod duplicates;
pub mod endpoint;
pub mod filter;
pub mod frame;
pub mod http;
pub mod id;
pub mod inbound;
pub mod json;
pub mod link_rules;
pub mod mark;
pub mod message;
pub mod nats;
pub mod peer_url;
pub mod policy;
mod random;
pub mod recording;
pub mod routes;
pub mod status;
pub mod store;
pub mod topic;
mod tree;
#[cfg(feature = "zeromq")]
pub mod zmtp;

pub use crate::config::Config;
pub use crate::endpoint::{
    CloseCause, Closed, ConnectionId, Endpoint, HandshakeFailures, Outcome, Output, PeerInfo,
    RefusalCounts, RequestId, Retry, TimeoutReason,
};
pub use crate::filter::Filter;
pub use crate::frame::{Envelope, EnvelopeError, Tag};
pub use crate::id::EndpointId;
pub use crate::routes::{LocalId, LocalKind, Origin, RoutingTable};
pub use crate::status::{
    EndpointInfo, ErrorCode, Event, Fault, Loss, NetworkAddress, PeerStatus, Status, StatusCode,
};
pub use crate::topic::Topic;
