//! WebSocket clients that speak JSON.
//!
//! | file | what it is |
//! |---|---|
//! | `options` | what can be chosen, with every default |
//! | `server` | from a TCP connection to a WebSocket: TLS, the HTTP request, refusals |
//! | `session` | one client: its task, what it gets and what it sends |
//! | `stream` | messages over a socket; nothing in it knows which side it is on |
//! | `counters` | what went on, by the name of the application |
//!
//! What is said is decided by the state machine of `broker_proto::json_session`; who gets it by
//! the routing table, in which a client is one more local consumer. Spec: websocket, endpoint 3.

mod counters;
mod options;
mod server;
mod session;
mod stream;

pub(crate) use counters::Counters;
pub use counters::WebSocketCounts;
pub use options::{WebSocketOptions, WebSocketTls};
pub(crate) use server::{start, start_configured};
