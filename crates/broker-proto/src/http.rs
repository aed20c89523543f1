//! HTTP as far as servers and clients of WebSockets need it: heads of requests and answers, the
//! upgrade seen from both sides, and the frames that follow it.
//!
//! Spec: websocket 1.

pub mod head;
pub mod request;
pub mod upgrade;
pub mod websocket;
