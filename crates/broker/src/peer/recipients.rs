//! Recipients of what a peer sent: the targets of its topic, others, or none because it is a copy.

use broker_proto::EndpointId;
use broker_proto::frame::topic_of;
use broker_proto::inbound::Inbound;
use broker_proto::mark::Mark;
use broker_proto::routes::Origin;

use crate::core::shared::Shared;
use crate::flow::routing::{
    TargetList, Targets, TopicMemo, audience, has_several_peers, has_strangers,
};

/// Who gets a frame.
pub(super) enum Recipients {
    /// The targets of its topic, which is the last that the memo looked up.
    OfTopic,
    /// Others than those of its topic.
    Picked(TargetList),
    /// None of them now: it may circle. Local consumers get it nonetheless.
    Held(TargetList),
    None,
}

impl Recipients {
    #[inline]
    pub(super) fn targets<'a>(&'a self, memo: &'a TopicMemo) -> Option<&'a TargetList> {
        match self {
            Self::OfTopic => Some(memo.last_targets()),
            Self::Picked(targets) => Some(targets),
            Self::Held(_) | Self::None => None,
        }
    }
}

/// Who gets a message to one endpoint, or with a sender that changes who gets it.
pub(super) fn special_targets(
    shared: &Shared,
    origin: Origin,
    receiver: EndpointId,
    frame: &[u8],
    forwarding: bool,
) -> TargetList {
    let table = shared.data.routes.load();
    let targets = audience(&table, origin, receiver, topic_of(frame), forwarding);
    if receiver.is_nil() {
        Targets::of_all(targets, has_several_peers(&table))
    } else {
        Targets::new(targets)
    }
}

/// Who else gets a command of a data store.
pub(super) fn command_targets(
    shared: &Shared,
    peer: EndpointId,
    receiver: EndpointId,
    mark: Option<Mark>,
    frame: &[u8],
    forwarding: bool,
) -> TargetList {
    let table = shared.data.routes.load();
    let origin = Origin::Peer(peer);
    let mut targets = audience(&table, origin, receiver, topic_of(frame), forwarding);
    targets.retain(|target| target.kind.carries_stores());
    if mark.is_some_and(|mark| mark.is_exhausted()) {
        targets.clear();
    }
    if !targets.is_empty()
        && receiver.is_nil()
        && has_strangers(&table)
        && !shared.may_pass_command(peer, frame)
    {
        targets.clear();
    }
    if receiver.is_nil() {
        Targets::of_all(targets, has_several_peers(&table))
    } else {
        Targets::new(targets)
    }
}

/// Whether marked messages must not overtake each other on their way from the noting of their marks.
pub(super) fn needs_marking_lock(what: Inbound, targets: Option<&TargetList>) -> bool {
    match what {
        // With one peer there is none to overtake.
        Inbound::Data { mark: Some(_) } => targets.is_some_and(|it| it.has_several_peers()),
        Inbound::Command { mark, .. } => mark.is_some(),
        Inbound::Data { mark: None }
        | Inbound::Special { .. }
        | Inbound::Probe(_)
        | Inbound::Control
        | Inbound::Drop(_) => false,
    }
}

/// Whether a marked message is no copy.
pub(super) fn is_news(
    shared: &Shared,
    mark: Mark,
    frame: &[u8],
    targets: &Targets,
    peer: EndpointId,
    had_copies: &mut bool,
) -> bool {
    // What is not heard here comes over another link, and is first there.
    if targets.is_closed() {
        return false;
    }
    let is_several = targets.has_several_peers();
    let is_first = shared.data.marking.is_first(mark, frame, is_several);
    if !is_first && !std::mem::replace(had_copies, true) {
        tell_copies(peer, frame);
    }
    is_first
}

/// Says that messages come in several ways, which is what rings and meshes are for.
#[cold]
fn tell_copies(peer: EndpointId, frame: &[u8]) {
    let topic = String::from_utf8_lossy(topic_of(frame));
    tracing::info!(
        event = "copies-dropped",
        %peer,
        %topic,
        "messages from this peer come in another way, too: copies are dropped"
    );
}
