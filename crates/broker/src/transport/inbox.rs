//! The inbox of peers of other protocols: their messages on the way into this endpoint.
//!
//! The half of the seam between transports that carries data; the other half, what is to be sent,
//! is the mailbox of the connection's [`Link`](crate::core::link::Link). A transport turns what came
//! into a topic and an encoded value, and from there on the message is one of a peer like any other.
//! What happens while a consumer has no room is for the transport to say: the message waits, or that
//! consumer loses it. See ADR 0085 and 0200.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(any(feature = "http", test))]
use std::task::{Context, Poll, ready};

use broker_proto::frame::{EnvelopeError, Tag, patch_hop, write_envelope};
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, Origin, Topic};
use bytes::Bytes;

use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::flow::foreign::WhenFull;
use crate::flow::inject::{inject_or_drop, inject_run};
use crate::flow::mailbox::Run;
use crate::flow::routing::TopicMemo;
use crate::flow::target::Target;

/// Buffers that one large message blew up are given back beyond this.
const SCRATCH_MAX: usize = 64 * 1024;

/// What a message that waits costs beside its bytes.
const BACKLOG_ENTRY_BYTES: usize = 128;

/// Names one message of an inbox. Messages are handed on in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InboxNumber(u64);

/// What became of a message that came with a mark.
#[cfg(feature = "nats")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It was handed on.
    On,
    /// It came before.
    Copy,
}

/// Hands on what one foreign peer sends.
pub(crate) struct ForeignInbox {
    shared: Arc<Shared>,
    /// The connection, which counts what comes.
    link: Arc<Link>,
    peer: EndpointId,
    when_full: WhenFull,
    memo: TopicMemo,
    frame: Vec<u8>,
    /// Messages that were taken, and those of them that were handed on, so far.
    taken: u64,
    handed_on: u64,
    /// Messages that consumers had no room for and lost, each as often as it was lost.
    dropped: u64,
    /// What some consumers have no room for.
    delivery: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Messages behind it, as frames, and their topics.
    /// Bound: that of the caller of `poll_ready`, beyond which it reads nothing.
    backlog: VecDeque<(Topic, Vec<u8>)>,
    backlog_bytes: usize,
    /// Whether what is delivered now is for this endpoint's own consumers only.
    stays_here: bool,
    /// The mark that what is delivered now came with.
    mark: Option<Mark>,
}

impl ForeignInbox {
    pub(crate) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        peer: EndpointId,
        when_full: WhenFull,
    ) -> Self {
        let forwarding = !shared.options.disable_forwarding;
        Self {
            memo: TopicMemo::new(Origin::Peer(peer), forwarding),
            shared,
            link,
            peer,
            when_full,
            frame: Vec::new(),
            taken: 0,
            handed_on: 0,
            dropped: 0,
            delivery: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            stays_here: false,
            mark: None,
        }
    }

    /// As [`deliver`](Self::deliver), without passing it on to other peers.
    ///
    /// # Errors
    ///
    /// As `deliver`.
    #[cfg(feature = "zeromq")]
    pub(crate) fn deliver_here(
        &mut self,
        topic: &Topic,
        payload: &[u8],
    ) -> Result<InboxNumber, EnvelopeError> {
        debug_assert!(self.when_full == WhenFull::Drop, "nothing waits");
        self.stays_here = true;
        let delivered = self.deliver(topic, payload);
        self.stays_here = false;
        delivered
    }

    /// As [`deliver`](Self::deliver), for a message with the mark that it came with, unless it came
    /// before, over whatever connection. See ADR 0115.
    ///
    /// # Errors
    ///
    /// As `deliver`.
    #[cfg(feature = "nats")]
    pub(crate) fn deliver_marked(
        &mut self,
        topic: &Topic,
        mark: Option<Mark>,
        payload: &[u8],
    ) -> Result<Handed, EnvelopeError> {
        debug_assert!(self.when_full == WhenFull::Drop, "nothing waits");
        self.write(topic, payload)?;
        // Always looked up: several bridges may have passed on the same, whatever peers there are here.
        if let Some(mark) = mark
            && !self.shared.data.marking.is_first(mark, &self.frame, true)
        {
            return Ok(Handed::Copy);
        }
        self.stays_here = mark.is_some_and(|mark| mark.is_exhausted());
        self.mark = mark;
        self.pass_on(topic);
        self.mark = None;
        self.stays_here = false;
        Ok(Handed::On)
    }

    /// Resolves when another message can be taken: until then its sender is not read from. Messages
    /// of so many bytes may wait for consumers that have no room.
    #[cfg(feature = "http")]
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, backlog_max: usize) -> Poll<()> {
        match self.poll_empty(cx) {
            Poll::Pending if self.backlog_bytes < backlog_max => Poll::Ready(()),
            polled => polled,
        }
    }

    /// Resolves when that message is handed on: every consumer has it, or lost it to its policy.
    #[cfg(test)]
    pub(crate) fn poll_delivered(
        &mut self,
        cx: &mut Context<'_>,
        message: InboxNumber,
    ) -> Poll<()> {
        match self.poll_empty(cx) {
            Poll::Pending if self.handed_on <= message.0 => Poll::Pending,
            Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
        }
    }

    /// Losses of messages that consumers had no room for.
    #[cfg(any(feature = "zeromq", feature = "nats", test))]
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Resolves when everything is handed on.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(delivery) = &mut self.delivery {
                ready!(delivery.as_mut().poll(cx));
                self.delivery = None;
                self.handed_on += 1;
            }
            let Some((topic, mut frame)) = self.backlog.pop_front() else {
                return Poll::Ready(());
            };
            let size = frame.len().saturating_add(BACKLOG_ENTRY_BYTES);
            self.backlog_bytes = self.backlog_bytes.saturating_sub(size);
            self.push(&topic, &mut frame);
        }
    }

    /// Hands on one message; the payload is one encoded value. The number it returns is for
    /// [`poll_delivered`](Self::poll_delivered).
    ///
    /// # Errors
    ///
    /// When it does not fit into a frame.
    #[cfg(any(feature = "http", feature = "zeromq", test))]
    pub(crate) fn deliver(
        &mut self,
        topic: &Topic,
        payload: &[u8],
    ) -> Result<InboxNumber, EnvelopeError> {
        self.write(topic, payload)?;
        Ok(self.pass_on(topic))
    }

    /// Makes a frame of a message.
    fn write(&mut self, topic: &Topic, payload: &[u8]) -> Result<(), EnvelopeError> {
        self.frame.clear();
        self.frame.shrink_to(SCRATCH_MAX);
        // As native peers have it: the sender of what is passed on is the endpoint that passes it on. Whether
        // it is passed on is known when it is handed on.
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
        )
    }

    /// Hands on the frame, or has it wait behind others.
    fn pass_on(&mut self, topic: &Topic) -> InboxNumber {
        let number = InboxNumber(self.taken);
        self.link.received.count(1, self.frame.len());
        let received = &self.shared.data.totals.received;
        received.fetch_add(1, Ordering::Relaxed);
        self.taken += 1;
        if self.delivery.is_some() {
            let size = self.frame.len().saturating_add(BACKLOG_ENTRY_BYTES);
            self.backlog_bytes = self.backlog_bytes.saturating_add(size);
            let frame = std::mem::take(&mut self.frame);
            self.backlog.push_back((topic.clone(), frame));
        } else {
            let mut frame = std::mem::take(&mut self.frame);
            self.push(topic, &mut frame);
            self.frame = frame;
        }
        number
    }

    /// Hands on a message to those that want it now.
    fn push(&mut self, topic: &Topic, frame: &mut Vec<u8>) {
        let entry = self
            .memo
            .entry(&self.shared.data.routes, topic.as_bytes())
            .clone();
        entry.counter.count_received(1, frame.len() as u64);
        let targets = &entry.targets;
        // What stays here tells programs the peer, as what came from a native one does.
        if !targets.goes_on() {
            patch_hop(frame, self.peer);
        }
        let is_held =
            targets.is_watched() && self.shared.is_held(self.peer, topic.as_bytes(), frame);
        let stays_here = is_held || self.stays_here;
        let gets_it = |target: &&Target| !(stays_here && target.kind.is_peer());
        let data = &self.shared.data;
        let mut shared = Bytes::new();
        let run = Run::of_buffer(frame, &mut shared);
        let blocked = match self.when_full {
            WhenFull::Wait => inject_run(data, run, self.mark, targets, gets_it),
            WhenFull::Drop => {
                self.dropped += inject_or_drop(data, run, self.mark, targets, gets_it);
                None
            }
        };
        match blocked {
            Some(blocked) => self.delivery = Some(Box::pin(blocked.finished())),
            None => self.handed_on += 1,
        }
    }
}
