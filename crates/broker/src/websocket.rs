//! WebSockets that speak JSON: clients of this endpoint, and servers that it peers with.
//!
//! | file | what it is |
//! |---|---|
//! | `options` | what can be chosen, with every default |
//! | `server` | from a TCP connection to a WebSocket: TLS, the HTTP request, refusals |
//! | `session` | one client: its task, what it gets and what it sends |
//! | `stream` | messages over a socket; nothing in it knows which side it is on |
//! | `counters` | what went on, by the name of the application |
//! | `remote` | a peering with a server: its task |
//! | `dial`, `line` | from a URL to a WebSocket; messages over it |
//! | `client_options` | what can be chosen about such peerings |
//!
//! What servers of ours say is decided by the state machine of `broker_proto::json_session`; who gets it by
//! the routing table, in which a client is one more local consumer. Spec: websocket, endpoint 3.

mod client_options;
mod counters;
mod dial;
mod line;
mod options;
mod remote;
mod server;
mod session;
mod stream;

pub use client_options::{WebSocketPeerOptions, WebSocketTrust};
pub(crate) use counters::Counters;
pub use counters::{WebSocketCounts, WebSocketPeerCounts};
pub use options::{WebSocketOptions, WebSocketTls};
pub(crate) use remote::start as join;
pub(crate) use server::{start, start_configured};
