//! What one frame of a peer asks for: whom it is for, or that nobody is to get it.

use broker_data::validate;
use broker_proto::EndpointId;
use broker_proto::circle::Probe;
use broker_proto::frame::{ENVELOPE_SIZE, Envelope, FRAME_LEN_SIZE, Tag};
use broker_proto::mark::Mark;
use broker_proto::routes::Origin;
use broker_proto::topic::LOCAL_PREFIX;

/// What a frame asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A data message to everybody.
    Data { mark: Option<Mark> },
    /// A data message to one endpoint, or with a sender that changes who gets it.
    Special {
        origin: Origin,
        receiver: EndpointId,
    },
    /// A command of a data store: for a store here, and for peers.
    Command {
        receiver: EndpointId,
        mark: Option<Mark>,
    },
    /// To find circles.
    Probe(Probe),
    /// For the state machine.
    Control,
    /// Malformed, or of no use; only this message is lost. Spec: wire 6.3.
    Drop,
}

impl Step {
    pub(crate) const fn mark(self) -> Option<Mark> {
        match self {
            Self::Data { mark } | Self::Command { mark, .. } => mark,
            Self::Special { .. } | Self::Probe(_) | Self::Control | Self::Drop => None,
        }
    }
}

/// What a complete frame of a peer asks for.
pub(crate) fn classify(frame: &[u8], me: EndpointId, peer: EndpointId) -> Step {
    let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
    if payload.is_empty() {
        return Step::Drop;
    }
    let envelope = match Envelope::parse(payload) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::debug!(event = "message-dropped", %peer, %error);
            return Step::Drop;
        }
    };
    match envelope.tag {
        Tag::RoutingUpdate | Tag::Ping | Tag::Pong => Step::Control,
        Tag::Command => match Probe::parse(envelope.payload) {
            Ok(None) => {
                let (receiver, mark) = receiver_of(&envelope, peer);
                Step::Command { receiver, mark }
            }
            Ok(Some(probe)) => Step::Probe(probe),
            Err(error) => {
                tracing::debug!(event = "message-dropped", %peer, %error);
                Step::Drop
            }
        },
        Tag::Data => {
            if envelope.topic.starts_with(LOCAL_PREFIX.as_bytes()) {
                // Nobody but this endpoint makes its events. Spec: wire 8.2.
                tracing::debug!(event = "message-dropped", %peer, error = "local topic");
                return Step::Drop;
            }
            if let Err(error) = validate(envelope.payload) {
                tracing::debug!(event = "message-dropped", %peer, %error);
                return Step::Drop;
            }
            let spoofed = envelope.sender == EndpointId::NIL || envelope.sender == me;
            if !spoofed && envelope.receiver == EndpointId::NIL {
                return Step::Data { mark: None };
            }
            let (receiver, mark) = receiver_of(&envelope, peer);
            if !spoofed && mark.is_some() {
                return Step::Data { mark };
            }
            let origin = if spoofed {
                Origin::Spoofed(peer)
            } else {
                Origin::Peer(peer)
            };
            Step::Special { origin, receiver }
        }
    }
}

/// Whom a message is for, and its mark if it has one instead. Only siblings make marks.
pub(crate) fn receiver_of(envelope: &Envelope<'_>, peer: EndpointId) -> (EndpointId, Option<Mark>) {
    match Mark::from_receiver(envelope.receiver).filter(|_| peer.is_recognizable()) {
        Some(mark) => (EndpointId::NIL, Some(mark)),
        None => (envelope.receiver, None),
    }
}

/// The topic of a frame that was parsed before.
pub(crate) fn topic_of(frame: &[u8]) -> &[u8] {
    const LENGTH: usize = FRAME_LEN_SIZE + 35;
    const TOPIC: usize = FRAME_LEN_SIZE + ENVELOPE_SIZE;
    let Some(&[high, low]) = frame.get(LENGTH..LENGTH + 2) else {
        return &[];
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    frame.get(TOPIC..TOPIC + length).unwrap_or_default()
}
