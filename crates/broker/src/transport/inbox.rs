//! What a peer of another protocol brings into this endpoint.
//!
//! The half of the seam between transports that carries data; the other half, what is to be sent,
//! is the mailbox of the connection's [`Link`](crate::core::link::Link). Whoever speaks another protocol
//! turns it into a topic and an encoded value, and from there on the message is one of a peer like
//! any other. See ADR 0085.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
use broker_proto::{EndpointId, Origin, Topic};
use bytes::Bytes;

use crate::core::shared::Shared;
use crate::flow::inject::inject_run;
use crate::flow::mailbox::Run;
use crate::flow::routing::TopicMemo;
use crate::flow::target::Target;

/// Buffers that one large message blew up are given back beyond this.
const SCRATCH_MAX: usize = 64 * 1024;

/// What a message that waits costs beside its bytes.
const BACKLOG_ENTRY_BYTES: usize = 128;

/// Hands on what one foreign peer sends.
pub(crate) struct ForeignInbox {
    shared: Arc<Shared>,
    peer: EndpointId,
    memo: TopicMemo,
    frame: Vec<u8>,
    /// What some consumers have no room for.
    delivery: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Messages behind it, as frames, and their topics.
    /// Bound: that of the caller of `poll_ready`, beyond which it reads nothing.
    backlog: VecDeque<(Topic, Bytes)>,
    backlog_bytes: usize,
}

impl ForeignInbox {
    pub(crate) fn new(shared: Arc<Shared>, peer: EndpointId) -> Self {
        let forwarding = !shared.options.disable_forwarding;
        Self {
            memo: TopicMemo::new(Origin::Peer(peer), forwarding),
            shared,
            peer,
            frame: Vec::new(),
            delivery: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
        }
    }

    /// Resolves when another message can be taken: until then its sender is not read from. Messages
    /// of so many bytes may wait for consumers that have no room.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, backlog_max: usize) -> Poll<()> {
        match self.poll_delivered(cx) {
            Poll::Pending if self.backlog_bytes < backlog_max => Poll::Ready(()),
            polled => polled,
        }
    }

    /// Resolves when everything is handed on.
    pub(crate) fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(delivery) = &mut self.delivery {
                ready!(delivery.as_mut().poll(cx));
                self.delivery = None;
            }
            let Some((topic, frame)) = self.backlog.pop_front() else {
                return Poll::Ready(());
            };
            let size = frame.len().saturating_add(BACKLOG_ENTRY_BYTES);
            self.backlog_bytes = self.backlog_bytes.saturating_sub(size);
            self.hand_on(&topic, &frame);
        }
    }

    /// Hands on one message; the payload is one encoded value.
    ///
    /// # Errors
    ///
    /// When it does not fit into a frame.
    pub(crate) fn deliver(&mut self, topic: &Topic, payload: &[u8]) -> Result<(), EnvelopeError> {
        self.frame.clear();
        self.frame.shrink_to(SCRATCH_MAX);
        // As native peers have it: the sender of what is passed on is whoever passes it on.
        write_envelope(
            &mut self.frame,
            self.shared.data.id,
            EndpointId::NIL,
            Tag::Data,
            topic.as_bytes(),
            |out| -> Result<(), EnvelopeError> {
                out.extend_from_slice(payload);
                Ok(())
            },
        )?;
        if self.delivery.is_some() {
            let size = self.frame.len().saturating_add(BACKLOG_ENTRY_BYTES);
            self.backlog_bytes = self.backlog_bytes.saturating_add(size);
            let frame = Bytes::from(std::mem::take(&mut self.frame));
            self.backlog.push_back((topic.clone(), frame));
        } else {
            let mut frame = std::mem::take(&mut self.frame);
            let mut shared = Bytes::new();
            self.push(topic, Run::of_buffer(&mut frame, &mut shared));
            self.frame = frame;
        }
        Ok(())
    }

    /// Hands on a message that has waited.
    fn hand_on(&mut self, topic: &Topic, frame: &Bytes) {
        self.push(topic, Run::shared(frame, 1));
    }

    fn push(&mut self, topic: &Topic, run: Run<'_>) {
        let targets = self
            .memo
            .targets(&self.shared.data.routes, topic.as_bytes())
            .clone();
        let frame = run.as_slice();
        let is_held =
            targets.is_watched() && self.shared.is_held(self.peer, topic.as_bytes(), frame);
        let gets_it = |target: &&Target| !(is_held && target.kind.is_peer());
        if let Some(blocked) = inject_run(&self.shared.data, run, &targets, gets_it) {
            self.delivery = Some(Box::pin(blocked.finished()));
        }
    }
}
