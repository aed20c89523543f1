//! One connection, from the first byte to the last.

use broker_data::Timestamp;

use crate::id::EndpointId;
use crate::status::NetworkAddress;

use super::attempt::{Attempt, AttemptId};
use super::handshake::Step;
use super::ping::Ping;
use super::{Retry, Transport};

/// Bytes of the payload of a goodbye. Spec: wire 9.1.
pub(super) type Token = [u8; 11];

/// A connection and what is known of its other end.
#[derive(Debug)]
pub(super) struct Connection {
    /// As the application knows it.
    pub(super) address: NetworkAddress,
    /// Whether the address is dialed again when the connection is lost.
    pub(super) retry: Retry,
    pub(super) transport: Transport,
    /// Since when it is a peering, and how many attempts failed before, or led to peerings that did
    /// not last: together they say how soon to try again.
    pub(super) joined: Option<Timestamp>,
    pub(super) failures: u32,
    /// The outgoing peering it is meant to establish.
    pub(super) attempt: Option<AttemptId>,
    /// What the other side says it is.
    pub(super) peer: Option<EndpointId>,
    /// Whether anything came that makes sense.
    pub(super) heard: bool,
    /// Pings of the application that the other end has not answered, the oldest first.
    pub(super) pings: Vec<Ping>,
    /// Whether the other side connected.
    pub(super) is_incoming: bool,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The runtime is to connect.
    Dialing,
    Handshake(Step),
    /// Another connection holds the id of its other end and has not finished its handshake.
    Paused,
    /// Installed.
    Peered {
        token: Token,
    },
    /// We said goodbye.
    Goodbye {
        token: Token,
        deadline: Timestamp,
    },
}

impl Connection {
    pub(super) fn accepted(remote: NetworkAddress) -> Self {
        Self {
            address: remote,
            retry: Retry::Never,
            transport: Transport::Native,
            joined: None,
            failures: 0,
            attempt: None,
            peer: None,
            heard: false,
            pings: Vec::new(),
            is_incoming: true,
            stage: Stage::Handshake(Step::Hello),
        }
    }

    pub(super) fn dialing(id: AttemptId, attempt: &Attempt) -> Self {
        Self {
            address: attempt.address.clone(),
            retry: attempt.retry,
            transport: attempt.transport.clone(),
            joined: None,
            failures: attempt.failures,
            attempt: Some(id),
            peer: None,
            heard: false,
            pings: Vec::new(),
            is_incoming: false,
            stage: Stage::Dialing,
        }
    }
}

impl Stage {
    pub(super) const fn dialed() -> Self {
        Self::Handshake(Step::HelloOrVersionSelect)
    }

    /// Whether the other end is a peer, welcome or not.
    pub(super) const fn is_peering(&self) -> bool {
        matches!(self, Self::Peered { .. } | Self::Goodbye { .. })
    }

    /// When a goodbye is no longer waited for.
    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Goodbye { deadline, .. } => Some(*deadline),
            Self::Dialing | Self::Handshake(_) | Self::Paused | Self::Peered { .. } => None,
        }
    }
}
