//! The control plane of an endpoint.
//!
//! | module | what it is |
//! |---|---|
//! | `shared` | what all parts of an endpoint have in common |
//! | `control` | the protocol's state machine, and what its outputs mean out here |
//! | `circles` | circles through peers of other implementations |
//! | `clock` | the clock that data stores go by |
//! | `listeners` | what it listens on, and where it could not |
//! | `link` | one connection as the control plane sees it |
//! | `link_rules` | links by the address of the peer: rules, counts |
//! | `gate` | permissions at the edges: principals, limits, the record of decisions |
//! | `jet_stream` | the client of streams on servers of NATS |
//! | `hooks` | what parts above do for it: outgoing connections, the end of data stores |
//! | `count` | counters that are only shown |
//! | `by_name` | counters by name, with a bound, and options of peerings by address |
//! | `shutdown` | the end of an endpoint |
//! | `completion` | what an event loop waits for, behind one descriptor |
//! | `reunions` | how often peerings were established again |
//! | `program_counters` | what the program around the endpoint counts |
//! | `pending` | answers of control calls that are not there yet |
//! | `runtime` | where the tasks of an endpoint run |
//! | `websocket_counts` | counters of WebSocket clients and servers |
//! | `forwarders` | forwarders of ZeroMQ messages, whose counters an endpoint tells |
//! | `nats_peers` | options, counters and servers of peerings with NATS |
//! | `zeromq_peers` | options, counters and nodes of peerings with ZeroMQ proxies |

#[cfg(any(feature = "http", feature = "nats", feature = "zeromq"))]
pub(crate) mod by_name;
pub(crate) mod circles;
pub(crate) mod clock;
pub(crate) mod completion;
pub(crate) mod control;
#[cfg(any(feature = "http", feature = "nats", feature = "zeromq"))]
pub(crate) mod count;
#[cfg(feature = "zeromq")]
pub(crate) mod forwarders;
#[cfg_attr(
    not(feature = "status"),
    expect(dead_code, reason = "the edges that ask are servers")
)]
pub(crate) mod gate;
pub(crate) mod hooks;
#[cfg(feature = "nats")]
pub(crate) mod jet_stream;
pub(crate) mod link;
pub(crate) mod link_rules;
pub(crate) mod listeners;
#[cfg(feature = "nats")]
pub(crate) mod nats_peers;
pub(crate) mod pending;
pub(crate) mod program_counters;
mod reunions;
pub(crate) mod runtime;
pub(crate) mod shared;
mod shutdown;
#[cfg(feature = "http")]
pub(crate) mod websocket_counts;
#[cfg(feature = "zeromq")]
pub(crate) mod zeromq_peers;
