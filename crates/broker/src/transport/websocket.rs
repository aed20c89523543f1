//! Peerings with WebSocket servers that speak JSON.
//!
//! | module | what it is |
//! |---|---|
//! | `peering` | the task of one peering |
//! | `dial` | from a URL to a WebSocket |
//! | `connection` | messages over it |
//!
//! What is said is decided by the state machine of `broker_proto::json::client`. Spec: websocket 6.

mod connection;
mod dial;
mod peering;

pub(crate) use peering::start;

use crate::flow::foreign::{Foreign, Language, Transport, WhenFull};

/// WebSocket servers, under `ws://` and `wss://`.
pub(crate) static FOREIGN: Foreign = Foreign {
    transport: Transport::WebSocket,
    peer: "a WebSocket server",
    speaks: Language::Json,
    carries_stores: false,
    tells_filter: false,
    when_full: WhenFull::Wait,
    keeps_marks: false,
};
