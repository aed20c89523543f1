//! Peerings with the proxies of Zeek clusters that use ZeroMQ.
//!
//! | module | what it is |
//! |---|---|
//! | `peering` | the task of one peering |
//! | `conversation` | what comes and what goes: messages, topics, nodes |
//! | `dial` | from a URL to two sockets |
//!
//! What is said is decided by [`ProxySession`](broker_proto::zmtp::ProxySession), what it holds by
//! `broker_zeek::zeromq`. Spec: zeromq. See ADR 0250.

mod conversation;
mod dial;
mod peering;

pub(crate) use peering::start;

use crate::flow::foreign::{Foreign, Language, Transport, WhenFull};

/// Proxies, under `zmq://`.
pub(crate) static FOREIGN: Foreign = Foreign {
    transport: Transport::ZeroMq,
    peer: "a ZeroMQ proxy",
    speaks: Language::Values,
    carries_stores: false,
    tells_filter: true,
    // A proxy that is not read from forwards nothing to anybody. Spec: zeromq 6.1.
    when_full: WhenFull::Drop,
};
