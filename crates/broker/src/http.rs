//! The server for WebSocket clients that speak JSON.
//!
//! | module | what it is |
//! |---|---|
//! | `server` | the listener, and what becomes of a connection |
//! | `handshake` | from a TCP connection to a WebSocket: TLS, the head of a request, upgrade, refusal |
//! | `session` | one client: its task, what it gets and what it sends |
//! | `status` | metrics, status and health |
//! | `stream` | messages over a socket; nothing in it knows which side it is on |
//!
//! What is said is decided by the state machine of `broker_proto::json::server`; who gets it by the
//! routing table, in which a client is one more local consumer. Spec: websocket, endpoint 3.

mod handshake;
mod server;
mod session;
mod stream;

#[cfg(feature = "status")]
pub(crate) mod status;

pub(crate) use server::{start, start_configured, start_given};
