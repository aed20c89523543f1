//! A peer that is judged by the policy: what is decided about the frame that is next, and how long it waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{ENVELOPE_SIZE, Envelope, FRAME_LEN_SIZE, topic_of};
use broker_proto::inbound::Inbound;
use broker_proto::{EndpointId, Topic};
use tokio::time::{Sleep, sleep};

use crate::core::gate::{Judgement, Over, PeerPass};
use crate::core::shared::Shared;

/// Decides about the frames of a connection, each once.
pub(super) struct Judge {
    pass: Box<PeerPass>,
    /// What was decided about the frame that is next, until it is dealt with: what is before it may have
    /// to wait, and it is looked at again then.
    decided: Option<Decided>,
    /// Until when nothing is read because of a limit.
    wait: Option<Pin<Box<Sleep>>>,
}

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// It goes on.
    Admitted,
    /// It goes on with another payload.
    Rest(Vec<u8>),
    Refused,
    /// Its sender is told by the store that it is for.
    RefusedRequest,
}

/// What comes next for a frame.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes on as it is.
    GoOn,
    /// What is before it is handed on, and then it is looked at what was decided.
    Stop,
    /// As that, and the connection ends.
    End(Closed),
}

impl Judge {
    pub(super) fn new(pass: Box<PeerPass>) -> Self {
        Self {
            pass,
            decided: None,
            wait: None,
        }
    }

    /// What the peer may do.
    pub(super) fn pass(&mut self) -> &mut PeerPass {
        &mut self.pass
    }

    /// Follows the policy; `false`: nothing is to be read yet.
    pub(super) fn look_again(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Arc<Shared>,
        connection: ConnectionId,
        peer: EndpointId,
    ) -> Result<bool, Closed> {
        let version = self.pass.version();
        let changed = self.pass.look_again(cx);
        if let Some(granted) = changed.map_err(|over| self.ended(peer, over))? {
            let topics = granted.filter.len();
            tracing::info!(event = "peer-judged-again", %peer, topics);
            shared.grant(connection, peer, granted);
        }
        if self.pass.version() != version {
            // What waited may not be permitted any more.
            self.wait = None;
            self.decided = None;
        }
        Ok(self.is_wait_over(cx))
    }

    /// Whether limits let the frame that is next go on; if not, the task is woken when they do.
    pub(super) fn is_wait_over(&mut self, cx: &mut Context<'_>) -> bool {
        let is_over = self
            .wait
            .as_mut()
            .is_none_or(|wait| wait.as_mut().poll(cx).is_ready());
        if is_over {
            self.wait = None;
        }
        is_over
    }

    /// Whether a data message goes on with those before it.
    #[inline]
    pub(super) fn admits(&mut self, topic: &Topic, frame: &[u8]) -> bool {
        let around = FRAME_LEN_SIZE + ENVELOPE_SIZE + topic.as_bytes().len();
        self.pass.admits(topic, frame.len().saturating_sub(around))
    }

    /// Decides about a frame, unless that was done before.
    pub(super) fn decide(
        &mut self,
        what: Inbound,
        frame: &[u8],
        peer: EndpointId,
        topic: impl FnOnce(&[u8]) -> Topic,
    ) -> Next {
        if self.decided.is_none() {
            let judgement = match what {
                Inbound::Control | Inbound::Drop(_) => return Next::GoOn,
                Inbound::Data { .. } if self.admits(&topic(topic_of(frame)), frame) => {
                    Judgement::Go(Duration::ZERO)
                }
                Inbound::Data { .. } | Inbound::Special { .. } | Inbound::Command { .. } => {
                    self.judge(what, frame, peer)
                }
                Inbound::Probe(_) if self.pass.may_probe(topic_of(frame)) => return Next::GoOn,
                Inbound::Probe(_) => Judgement::Refused,
            };
            let (decided, wait) = match judgement {
                Judgement::Go(wait) => (Decided::Admitted, wait),
                Judgement::Rest(payload, wait) => (Decided::Rest(payload), wait),
                Judgement::Refused => (Decided::Refused, Duration::ZERO),
                Judgement::RefusedRequest => (Decided::RefusedRequest, Duration::ZERO),
                Judgement::End(_) => (Decided::Refused, Duration::ZERO),
            };
            self.decided = Some(decided);
            self.wait = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
        }
        if let Some(over) = self.pass.over() {
            return Next::End(self.ended(peer, over));
        }
        match self.decided {
            Some(Decided::Admitted) if self.wait.is_none() => Next::GoOn,
            _ => Next::Stop,
        }
    }

    fn judge(&mut self, what: Inbound, frame: &[u8], peer: EndpointId) -> Judgement {
        let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
        let Ok(envelope) = Envelope::parse(payload) else {
            return Judgement::Refused;
        };
        if matches!(what, Inbound::Command { .. }) {
            self.pass.command(envelope.topic, envelope.payload, peer)
        } else {
            self.pass.message(envelope.topic, envelope.payload)
        }
    }

    /// What was decided about the frame that is next.
    pub(super) fn take_decided(&mut self) -> Option<Decided> {
        self.decided.take()
    }

    /// What is left of the frame that is next goes on.
    pub(super) fn admit(&mut self) {
        self.decided = Some(Decided::Admitted);
    }

    /// The frame that was next is dealt with.
    pub(super) fn forget(&mut self) {
        self.decided = None;
    }

    /// Has the account of the principal know of messages that went on.
    pub(super) fn flush_counts(&mut self) {
        self.pass.flush_counts();
    }

    fn ended(&self, peer: EndpointId, over: Over) -> Closed {
        let (principal, cause) = (self.pass.principal(), over.reason());
        tracing::warn!(event = "peer-not-permitted", %peer, principal, cause);
        Closed::NotPermitted(cause)
    }
}
