//! The control plane of an endpoint.
//!
//! | module | what it is |
//! |---|---|
//! | `shared` | what all parts of an endpoint have in common |
//! | `control` | the protocol's state machine, and what its outputs mean out here |
//! | `losses` | what is told of messages that a consumer did not take |
//! | `pending` | answers of control calls that are not there yet |
//! | `runtime` | where the tasks of an endpoint run |
//! | `websocket_counts` | counters of WebSocket clients and servers |

pub(crate) mod control;
pub(crate) mod losses;
pub(crate) mod pending;
pub(crate) mod runtime;
pub(crate) mod shared;
#[cfg(feature = "http")]
pub(crate) mod websocket_counts;
