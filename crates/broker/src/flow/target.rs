//! Where a message can be handed to.

use std::sync::Arc;

use broker_proto::EndpointId;

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
    /// A peer that another protocol is spoken with. Neither data stores nor the topics that belong
    /// to an endpoint mean anything to it.
    Foreign,
    Local,
    /// A WebSocket client of this endpoint.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only WebSocket servers have such targets")
    )]
    Client,
}

impl TargetKind {
    /// Whether the native protocol is spoken there, data stores included.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self, Self::Peer | Self::Sibling)
    }

    /// What a native peer of that id is.
    pub(crate) fn native(peer: EndpointId) -> Self {
        match peer.is_recognizable() {
            true => Self::Sibling,
            false => Self::Peer,
        }
    }

    /// Whether it is a peer, of whatever protocol.
    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::Peer | Self::Sibling | Self::Foreign)
    }

    /// Whether messages become JSON there.
    pub(crate) const fn reads_json(self) -> bool {
        matches!(self, Self::Client | Self::Foreign)
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
