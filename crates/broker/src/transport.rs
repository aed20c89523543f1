//! Connections to peers that speak another protocol.
//!
//! | module | what it is |
//! |---|---|
//! | `inbox` | what such a peer sends, into this endpoint |
//! | `websocket` | peerings with WebSocket servers |

pub(crate) mod inbox;
pub(crate) mod websocket;
