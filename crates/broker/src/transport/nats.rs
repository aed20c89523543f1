//! Peerings with NATS: an endpoint that is a member of the topic space on servers of NATS.
//!
//! | module | what it is |
//! |---|---|
//! | `dial` | from a URL to a server that has taken us in: addresses, TLS, log-in |
//! | `login` | who this endpoint is for a server: options, credentials, signatures |
//! | `peering` | the task of one peering |
//! | `conversation` | what comes and what goes: messages, subscriptions, reports |
//! | `jet_stream` | the task of the client of streams, with a connection of its own |
//!
//! What is said on a connection is decided by [`Connection`](broker_proto::nats::connection::Connection),
//! what messages hold by [`broker_proto::nats`]. See ADR 0350 to 0352.

mod conversation;
mod dial;
pub(crate) mod jet_stream;
mod login;
mod peering;

pub(crate) use peering::start;

use crate::flow::foreign::{Foreign, Language, Transport, WhenFull};

/// Servers of NATS, under `nats://`.
pub(crate) static FOREIGN: Foreign = Foreign {
    transport: Transport::Nats,
    peer: "a NATS server",
    speaks: Language::Values,
    carries_stores: false,
    // Servers do not tell what others are subscribed to.
    tells_filter: false,
    // A client that is not read from is cut off by its server, and others do not wait for it.
    when_full: WhenFull::Drop,
    keeps_marks: true,
};
