//! ZeroMQ as Zeek's clusters use it: peerings with their proxies, and what others connect to.
//!
//! | module | what it is |
//! |---|---|
//! | `peering` | the task of one peering |
//! | `conversation` | what comes and what goes: messages, topics, nodes |
//! | `dial` | from a URL to two sockets |
//! | `address` | addresses of other sockets, as text |
//! | `keys` | where the keys of CURVE come from |
//! | `connection` | one connection of these: a socket between its state machine and a mailbox |
//! | `listener` | sockets that others connect to |
//! | `log_receiver`, `log_sender` | the log stream as a logger gets it; batches for a logger |
//! | `forwarder` | a proxy between publishers and subscribers |
//!
//! What is said is decided by [`ProxySession`](broker_proto::zmtp::ProxySession), what it holds by
//! `broker_zeek::zeromq`. Spec: zeromq. See ADR 0250.

pub(crate) mod address;
pub(crate) mod connection;
mod conversation;
mod dial;
pub(crate) mod forwarder;
pub(crate) mod keys;
pub(crate) mod listener;
pub(crate) mod log_receiver;
pub(crate) mod log_sender;
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
    keeps_marks: false,
};
