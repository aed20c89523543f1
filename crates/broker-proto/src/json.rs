//! The conversation of WebSocket clients and servers in JSON: its messages, and both sides of it.
//!
//! Spec: websocket 2, 3.

pub mod client;
pub mod message;
pub mod server;
