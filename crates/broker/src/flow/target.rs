//! Where a message can be handed to.

use std::sync::Arc;

use broker_proto::EndpointId;

use crate::flow::foreign::{Foreign, Language};
use crate::flow::mailbox::Mailbox;

/// Someone a message can be handed to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) kind: TargetKind,
}

/// What stands behind a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Peer,
    /// A native peer of this implementation: what goes there may carry marks. See ADR 0115.
    Sibling,
    /// A peer that another protocol is spoken with. The topics that belong to an endpoint mean nothing
    /// to it.
    Foreign(&'static Foreign),
    Local,
    /// A WebSocket client of this endpoint.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only WebSocket servers have such targets")
    )]
    Client,
    /// Somebody who looks at messages for a moment: what it does not take is no loss.
    Sample,
}

impl TargetKind {
    /// Whether the native protocol is spoken there.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self, Self::Peer | Self::Sibling)
    }

    /// What a native peer of that id is.
    pub(crate) fn native(peer: EndpointId) -> Self {
        if peer.is_recognizable() {
            Self::Sibling
        } else {
            Self::Peer
        }
    }

    /// Whether what goes there may carry marks that come back with copies. See ADR 0115.
    pub(crate) const fn keeps_marks(self) -> bool {
        match self {
            Self::Sibling => true,
            Self::Foreign(transport) => transport.keeps_marks,
            Self::Peer | Self::Local | Self::Client | Self::Sample => false,
        }
    }

    /// Whether it is a peer, of whatever protocol.
    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::Peer | Self::Sibling | Self::Foreign(_))
    }

    /// Whether another protocol is spoken there.
    pub(crate) const fn is_foreign(self) -> bool {
        matches!(self, Self::Foreign(_))
    }

    /// Whether commands of data stores reach through it.
    pub(crate) const fn carries_stores(self) -> bool {
        match self {
            Self::Peer | Self::Sibling => true,
            Self::Foreign(transport) => transport.carries_stores,
            Self::Local | Self::Client | Self::Sample => false,
        }
    }

    /// Whether it is a peer whose topics are known.
    pub(crate) const fn tells_filter(self) -> bool {
        match self {
            Self::Peer | Self::Sibling => true,
            Self::Foreign(transport) => transport.tells_filter,
            Self::Local | Self::Client | Self::Sample => false,
        }
    }

    /// Whether messages become JSON there.
    pub(crate) const fn reads_json(self) -> bool {
        match self {
            Self::Client => true,
            Self::Foreign(transport) => matches!(transport.speaks, Language::Json),
            Self::Peer | Self::Sibling | Self::Local | Self::Sample => false,
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mailbox, &other.mailbox)
    }
}

impl Eq for Target {}

/// How many of them read JSON.
pub(crate) fn json_readers<'t>(targets: impl Iterator<Item = &'t Target>) -> usize {
    targets.filter(|target| target.kind.reads_json()).count()
}
