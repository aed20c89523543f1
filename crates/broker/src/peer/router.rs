//! The way of what a peer sends through this endpoint: frames to runs, runs to targets.
//!
//! What a frame asks for, and which frames are one run, decide the pure functions of
//! `broker_proto::inbound`. Values are checked once, in there (never pass on what was not checked), and
//! decoded by the consumer that reads them.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use broker_proto::EndpointId;
use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{FRAME_LEN_SIZE, patch_hop, patch_receiver, shorten_payload, topic_of};
use broker_proto::inbound::{Inbound, Next, Useless, split_run};
use broker_proto::mark::Mark;
use broker_proto::routes::Origin;
use bytes::{Buf, Bytes, BytesMut};

use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::flow::inject::{push_to, push_unmarked};
use crate::flow::mailbox::Run;
use crate::flow::mailbox::run::RECEIVED_TRANSLATION_MIN;
use crate::flow::marking::MarkingLock;
use crate::flow::routing::{TargetList, Targets, TopicMemo, has_several_peers};
use crate::peer::command::Commands;
use crate::peer::judge::{self, Decided, Judge};
use crate::peer::reader::{LARGE_HANDSHAKE_FRAME_MAX, Verdict};
use crate::peer::recipients::{
    Recipients, command_targets, is_news, needs_marking_lock, special_targets,
};
use crate::peer::unsent::UnsentRun;
use crate::store::Node;

/// Largest message of a peer for the state machine. Only a filter can be large.
const CONTROL_FRAME_MAX: usize = LARGE_HANDSHAKE_FRAME_MAX;

/// Messages of one read that are shown to the search for circles if they may circle, and of more
/// one in so many: what circles comes again and again, and where little comes all of it is seen.
const WATCHED_FIRST: usize = 2;
/// See [`WATCHED_FIRST`].
const WATCHED_EVERY: usize = 1024;

/// Hands on what one peer sends.
pub(super) struct Router {
    connection: ConnectionId,
    peer: EndpointId,
    frame_max: usize,
    forwarding: bool,
    memo: TopicMemo,
    /// A run that is held up; nothing is routed before it is over.
    unsent: Option<UnsentRun>,
    commands: Commands,
    /// Resolves when stores of this endpoint can take more.
    store_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Held from the first marked message that was noted until all are handed on.
    marking_lock: MarkingLock,
    /// Whether a copy of a message came: the log is told of the first one only.
    had_copies: bool,
    handed_on: HandedOn,
    /// There if the peer is judged.
    judge: Option<Judge>,
    node: Node,
}

impl Router {
    pub(super) fn new(
        node: &Node,
        connection: ConnectionId,
        peer: EndpointId,
        link: &Link,
    ) -> Self {
        let options = &node.shared.options;
        let forwarding = !options.disable_forwarding;
        Self {
            connection,
            peer,
            frame_max: options.frame_bytes_max,
            forwarding,
            memo: TopicMemo::new(Origin::Peer(peer), forwarding),
            unsent: None,
            commands: Commands::default(),
            store_wait: None,
            marking_lock: MarkingLock::default(),
            had_copies: false,
            handed_on: HandedOn::default(),
            judge: link.take_pass().map(Judge::new),
            node: node.clone(),
        }
    }

    /// Routes the complete frames in the buffer, run by run.
    pub(super) fn route(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        shared: &Arc<Shared>,
        link: &Link,
    ) -> Verdict {
        let is_held_back = match &mut self.judge {
            Some(judge) => match judge.look_again(cx, shared, self.connection, self.peer) {
                Ok(may_read) => !may_read,
                Err(why) => return Verdict::Failed(why),
            },
            None => false,
        };
        if !self.unblock(cx, shared) || !self.stores_have_room(cx) {
            return Verdict::Blocked;
        }
        if is_held_back {
            // Others may note marked messages meanwhile.
            self.marking_lock.release();
            return Verdict::Blocked;
        }
        if self.marking_lock.is_waiting(cx) {
            return Verdict::Blocked;
        }
        let mut pass = Pass {
            router: self,
            cx,
            buffer,
            shared,
            open: None,
            consumed: 0,
            watched: Watched::default(),
        };
        let verdict = loop {
            if let ControlFlow::Break(verdict) = pass.step() {
                break verdict;
            }
        };
        if self.unsent.is_none() {
            self.marking_lock.release();
        }
        self.handed_on.count(shared, link);
        self.memo.flush_counts();
        if let Some(judge) = &mut self.judge {
            judge.flush_counts();
        }
        verdict
    }

    /// Leaves noting marked messages to other connections, for a while in which nothing is read.
    pub(super) fn release_marking_lock(&mut self) {
        self.marking_lock = MarkingLock::default();
    }

    /// Tries again to hand on what is held up; `true` when nothing is any more.
    fn unblock(&mut self, cx: &mut Context<'_>, shared: &Shared) -> bool {
        if let Some(run) = &mut self.unsent
            && !run.is_over(cx, shared)
        {
            return false;
        }
        self.unsent = None;
        true
    }

    /// Whether stores of this endpoint can take more commands.
    fn stores_have_room(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.commands.waits.is_empty() {
            let waits = std::mem::take(&mut self.commands.waits);
            let before = self.store_wait.take();
            self.store_wait = Some(Box::pin(async move {
                if let Some(before) = before {
                    before.await;
                }
                for wait in waits {
                    wait.finished().await;
                }
            }));
        }
        let is_over = self
            .store_wait
            .as_mut()
            .is_none_or(|wait| wait.as_mut().poll(cx).is_ready());
        if is_over {
            self.store_wait = None;
        }
        is_over
    }
}

/// One pass over what is in the buffer.
struct Pass<'a, 'cx> {
    router: &'a mut Router,
    cx: &'a mut Context<'cx>,
    buffer: &'a mut BytesMut,
    shared: &'a Arc<Shared>,
    /// Frames at the start of the buffer that are not handed on yet.
    open: Option<OpenRun>,
    /// Bytes that were handled, and are no longer in the buffer.
    consumed: usize,
    watched: Watched,
}

/// Consecutive frames at the start of the buffer with the same targets.
struct OpenRun {
    end: usize,
    frames: usize,
    targets: TargetList,
}

/// A frame that has to be looked at by itself.
#[derive(Clone, Copy)]
struct Single {
    /// Where it is in the buffer: behind the open run.
    start: usize,
    size: usize,
    what: Inbound,
    /// Whether the search for circles is to see it.
    is_watched: bool,
}

/// What comes next, or how the pass ended.
type Step<T = ()> = ControlFlow<Verdict, T>;

impl Pass<'_, '_> {
    /// Takes the frames that go on together, and the one behind them.
    fn step(&mut self) -> Step {
        let mut frame = self.extend_run()?;
        if self.router.judge.is_some() {
            match self.judged(frame)? {
                Some(admitted) => frame = admitted,
                None => return ControlFlow::Continue(()),
            }
        }
        let recipients = self.recipients(&frame);
        frame.is_watched = frame.is_watched || self.is_to_be_watched(&recipients);
        if is_handled_once(&frame) && self.run_is_for_others(&recipients) {
            // Not when what is before it may have to wait: it would be looked at again.
            return self.close_run();
        }
        let targets = recipients.targets(&self.router.memo);
        if needs_marking_lock(frame.what, targets) && !self.router.marking_lock.is_held() {
            return self.lock_marking();
        }
        let recipients = self.without_copies(&frame, recipients);
        let recipients = self.without_circles(&frame, recipients);
        if self.joins_run(&recipients) {
            self.join_run(&frame);
            return ControlFlow::Continue(());
        }
        self.close_run_before(&frame, &recipients)?;
        let Some(targets) = recipients.targets(&self.router.memo).cloned() else {
            return self.handle_alone(&frame, recipients);
        };
        self.open_run(&frame, targets);
        ControlFlow::Continue(())
    }

    /// The common case: more frames for the same targets, that are not looked at by themselves.
    #[inline]
    fn extend_run(&mut self) -> Step<Single> {
        let Router {
            memo,
            peer,
            frame_max,
            judge,
            ..
        } = &mut *self.router;
        let (shared, open, watched) = (self.shared, &self.open, &mut self.watched);
        let start = open.as_ref().map_or(0, |run| run.end);
        let rest = self.buffer.get_mut(start..).unwrap_or_default();
        let mut is_watched = false;
        let prefix = split_run(rest, *frame_max, shared.data.id, *peer, |frame| {
            let Some(run) = open else { return false };
            let entry = memo.entry(&shared.data.routes, topic_of(frame));
            let targets = &entry.targets;
            if !Arc::ptr_eq(&run.targets, targets) {
                return false;
            }
            if let Some(judge) = judge
                && !judge.admits(&entry.topic, frame)
            {
                return false;
            }
            if targets.is_watched() && watched.next(shared) {
                is_watched = true;
                return false;
            }
            rewrite(frame, shared, targets, None);
            memo.count_received(frame.len());
            true
        });
        if let Some(run) = &mut self.open {
            run.end += prefix.bytes;
            run.frames += prefix.frames;
        }
        match prefix.next {
            Next::Incomplete => {
                self.close_run()?;
                ControlFlow::Break(Verdict::Consumed(self.consumed))
            }
            Next::TooLarge { size } => {
                ControlFlow::Break(Verdict::Failed(self.router.too_large(size)))
            }
            Next::Frame { size, what } => ControlFlow::Continue(Single {
                start: start + prefix.bytes,
                size,
                what,
                is_watched,
            }),
        }
    }

    /// The frame if the peer may send it, or what may go on of it; `None`: it is dealt with.
    #[inline(never)]
    fn judged(&mut self, mut frame: Single) -> Step<Option<Single>> {
        let Router {
            memo, peer, judge, ..
        } = &mut *self.router;
        let Some(judge) = judge else {
            return ControlFlow::Continue(Some(frame));
        };
        let routes = &self.shared.data.routes;
        let topic = |topic: &[u8]| memo.entry(routes, topic).topic.clone();
        let next = judge.decide(frame.what, frame.bytes(self.buffer), *peer, topic);
        if matches!(next, judge::Next::GoOn) {
            return ControlFlow::Continue(Some(frame));
        }
        self.close_run()?;
        frame.start = 0;
        if let judge::Next::End(why) = next {
            return ControlFlow::Break(Verdict::Failed(why));
        }
        self.carry_out(&mut frame)
    }

    /// Does to a frame, which is the first in the buffer, what was decided about it.
    fn carry_out(&mut self, frame: &mut Single) -> Step<Option<Single>> {
        let decided = self.router.judge.as_mut().and_then(Judge::take_decided);
        match decided {
            None | Some(Decided::Admitted) => {}
            Some(Decided::Rest(payload)) => {
                let bytes = self.buffer.get_mut(..frame.size).unwrap_or_default();
                // A part of a payload is never larger than the whole.
                let Some(begin) = shorten_payload(bytes, &payload) else {
                    self.take_first(frame);
                    return ControlFlow::Continue(None);
                };
                self.buffer.advance(begin);
                self.consumed += begin;
                frame.size -= begin;
            }
            Some(Decided::Refused) => {
                self.take_first(frame);
                return ControlFlow::Continue(None);
            }
            Some(Decided::RefusedRequest) => {
                let bytes = self.take_first(frame);
                let Router { commands, node, .. } = &mut *self.router;
                commands.refuse(node, &bytes);
                return ControlFlow::Continue(None);
            }
        }
        if let Some(judge) = &mut self.router.judge {
            judge.admit();
            if !judge.is_wait_over(self.cx) {
                return ControlFlow::Break(match self.consumed {
                    0 => Verdict::Blocked,
                    consumed => Verdict::Consumed(consumed),
                });
            }
        }
        ControlFlow::Continue(Some(*frame))
    }

    /// Who gets a frame, if it is no copy.
    fn recipients(&mut self, frame: &Single) -> Recipients {
        let bytes = frame.bytes(self.buffer);
        let shared = self.shared;
        match frame.what {
            Inbound::Data { mark } => {
                let memo = &mut self.router.memo;
                let targets = memo.targets(&shared.data.routes, topic_of(bytes));
                if mark.is_some_and(|mark| mark.is_exhausted()) {
                    Recipients::Picked(targets.only(|target| !target.kind.is_native()))
                } else {
                    Recipients::OfTopic
                }
            }
            Inbound::Special { origin, receiver } => {
                let forwarding = self.router.forwarding;
                let targets = special_targets(shared, origin, receiver, bytes, forwarding);
                Recipients::Picked(targets)
            }
            // Those of a command are looked for once a store has seen it.
            Inbound::Command { .. } | Inbound::Probe(_) | Inbound::Control | Inbound::Drop(_) => {
                Recipients::None
            }
        }
    }

    fn is_to_be_watched(&mut self, recipients: &Recipients) -> bool {
        let targets = recipients.targets(&self.router.memo);
        targets.is_some_and(|targets| targets.is_watched()) && self.watched.next(self.shared)
    }

    /// Whether the open run, if there is one, has other targets.
    fn run_is_for_others(&self, recipients: &Recipients) -> bool {
        self.open.is_some() && !self.joins_run(recipients)
    }

    /// Whether a frame for these goes on with the open run.
    fn joins_run(&self, recipients: &Recipients) -> bool {
        match (&self.open, recipients.targets(&self.router.memo)) {
            (Some(run), Some(targets)) => Arc::ptr_eq(&run.targets, targets),
            (None, _) | (_, None) => false,
        }
    }

    /// Waits for the lock under which marked messages are noted, with nothing else held up meanwhile.
    fn lock_marking(&mut self) -> Step {
        self.close_run()?;
        let lock = &mut self.router.marking_lock;
        if lock.acquire(self.cx, &self.shared.data.marking) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(match self.consumed {
            0 => Verdict::Blocked,
            consumed => Verdict::Consumed(consumed),
        })
    }

    /// Notes a message that may come in several ways, and shows a command to the store it is for:
    /// there are no recipients if it is a copy, or must not be passed on.
    fn without_copies(&mut self, frame: &Single, recipients: Recipients) -> Recipients {
        let Router {
            peer,
            forwarding,
            memo,
            commands,
            had_copies,
            node,
            ..
        } = &mut *self.router;
        let (peer, shared, bytes) = (*peer, self.shared, frame.bytes(self.buffer));
        match frame.what {
            Inbound::Data { mark: Some(mark) } => {
                let targets = recipients.targets(memo);
                if targets.is_some_and(|it| is_news(shared, mark, bytes, it, peer, had_copies)) {
                    recipients
                } else {
                    Recipients::None
                }
            }
            Inbound::Command { receiver, mark } => {
                let is_several = has_several_peers(&shared.data.routes.load());
                if !commands.hand_to_store(node, bytes, peer, mark, is_several) {
                    return Recipients::None;
                }
                let targets = command_targets(shared, peer, receiver, mark, bytes, *forwarding);
                Recipients::Picked(targets)
            }
            Inbound::Data { mark: None }
            | Inbound::Special { .. }
            | Inbound::Probe(_)
            | Inbound::Control
            | Inbound::Drop(_) => recipients,
        }
    }

    /// Holds a message that the search for circles wants to see come back first.
    fn without_circles(&self, frame: &Single, recipients: Recipients) -> Recipients {
        let targets = recipients.targets(&self.router.memo);
        if let Some(targets) = targets.filter(|_| frame.is_watched) {
            let bytes = frame.bytes(self.buffer);
            if self
                .shared
                .is_held(self.router.peer, topic_of(bytes), bytes)
            {
                return Recipients::Held(targets.clone());
            }
        }
        recipients
    }

    /// Lets a frame go on with the open run, which it follows.
    fn join_run(&mut self, frame: &Single) {
        if let Some(run) = &mut self.open {
            let end = frame.start + frame.size;
            let bytes = self.buffer.get_mut(frame.start..end).unwrap_or_default();
            rewrite(bytes, self.shared, &run.targets, frame.what.mark());
            run.end = end;
            run.frames += 1;
            self.router.count_received(frame);
            self.router.forget_decision();
        }
    }

    /// Begins a run with a frame, which is the first in the buffer.
    fn open_run(&mut self, frame: &Single, targets: TargetList) {
        let bytes = self.buffer.get_mut(..frame.size).unwrap_or_default();
        rewrite(bytes, self.shared, &targets, frame.what.mark());
        self.router.count_received(frame);
        self.router.forget_decision();
        self.open = Some(OpenRun {
            end: frame.size,
            frames: 1,
            targets,
        });
    }

    /// Hands on the open run, if there is one.
    fn close_run(&mut self) -> Step {
        if self.deliver() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(self.stop())
        }
    }

    /// As [`close_run`](Self::close_run), before a frame that does not go on with it.
    fn close_run_before(&mut self, frame: &Single, recipients: &Recipients) -> Step {
        if self.deliver() {
            return ControlFlow::Continue(());
        }
        let held_from = match recipients {
            Recipients::Held(targets) => Some(targets),
            Recipients::OfTopic | Recipients::Picked(_) | Recipients::None => None,
        };
        if frame.what.mark().is_some() || held_from.is_some() {
            // A copy, which the run before it need not wait for.
            let copy = self.take_first(frame);
            if let Some(targets) = held_from {
                self.shared.give_to_locals(&copy.freeze(), targets);
            }
        }
        // Any other frame stays where it is and is looked at again.
        ControlFlow::Break(self.stop())
    }

    /// Registers for room after a run met a full target.
    fn stop(&mut self) -> Verdict {
        if self.router.unblock(self.cx, self.shared) {
            Verdict::Consumed(self.consumed)
        } else {
            Verdict::Blocked
        }
    }

    /// Takes a frame, which is the first, out of the buffer.
    fn take_first(&mut self, frame: &Single) -> BytesMut {
        self.consumed += frame.size;
        self.router.forget_decision();
        self.buffer.split_to(frame.size)
    }

    /// A frame that goes to no target, and is the first in the buffer.
    fn handle_alone(&mut self, frame: &Single, recipients: Recipients) -> Step {
        let bytes = self.take_first(frame);
        if let Recipients::Held(targets) = recipients {
            self.shared.give_to_locals(&bytes.freeze(), &targets);
            return ControlFlow::Continue(());
        }
        let peer = self.router.peer;
        match frame.what {
            Inbound::Probe(probe) => self.shared.handle_probe(peer, topic_of(&bytes), probe),
            Inbound::Control => return self.control(&bytes),
            Inbound::Drop(Useless::Empty) => {}
            Inbound::Drop(error) => tracing::debug!(event = "message-dropped", %peer, %error),
            // A copy, or what must not be passed on.
            Inbound::Data { .. } | Inbound::Special { .. } | Inbound::Command { .. } => {}
        }
        ControlFlow::Continue(())
    }

    /// Hands a message to the state machine.
    fn control(&mut self, frame: &[u8]) -> Step {
        let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
        if payload.len() <= CONTROL_FRAME_MAX {
            let connection = self.router.connection;
            let pass = self.router.judge.as_mut().map(Judge::pass);
            self.shared.peer_message(connection, payload, pass);
            // It may have changed the routes, or ended the connection.
            return ControlFlow::Break(Verdict::Consumed(self.consumed));
        }
        let (peer, bytes) = (self.router.peer, payload.len());
        tracing::warn!(event = "control-message-dropped", %peer, bytes, "too large");
        ControlFlow::Continue(())
    }

    /// Hands the open run, if there is one, to its targets; `false` when some had no room.
    fn deliver(&mut self) -> bool {
        let Some(run) = self.open.take() else {
            return true;
        };
        self.consumed += run.end;
        let router = &mut *self.router;
        router.handed_on.messages += run.frames;
        router.handed_on.bytes += run.end;
        // A share of a large buffer keeps all of it: a small run is copied out instead.
        let is_sparse = run.end < self.buffer.capacity() / 8;
        let bytes = self.buffer.split_to(run.end);
        if run.targets.is_empty() {
            return true;
        }
        let bytes = if is_sparse {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes.freeze()
        };
        let frames = Run::shared(&bytes, run.frames);
        let data = &self.shared.data;
        let targets = &run.targets;
        let alone = frames.alone_if(targets.len() == 1);
        let mut unsent = push_to(data, alone, targets.iter(), RECEIVED_TRANSLATION_MIN);
        push_unmarked(data, frames, targets, &mut unsent);
        if unsent.is_empty() {
            return true;
        }
        let is_marked = run.targets.is_marked();
        router.unsent = UnsentRun::new(self.shared, run.frames, unsent, is_marked);
        router.unsent.is_none()
    }
}

impl Router {
    /// The frame that something was decided about is dealt with.
    fn forget_decision(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.forget();
        }
    }

    fn count_received(&mut self, frame: &Single) {
        if matches!(frame.what, Inbound::Data { .. }) {
            self.memo.count_received(frame.size);
        }
    }

    fn too_large(&self, size: usize) -> Closed {
        Closed::Broken(format!(
            "frame of {size} bytes is larger than the limit of {} bytes",
            self.frame_max
        ))
    }
}

impl Single {
    fn bytes<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        let end = self.start + self.size;
        buffer.get(self.start..end).unwrap_or_default()
    }
}

/// Messages of one read that may circle.
#[derive(Debug, Default)]
struct Watched(usize);

impl Watched {
    /// Counts one; whether it is to be looked at.
    #[inline]
    fn next(&mut self, shared: &Shared) -> bool {
        self.0 += 1;
        self.0 <= WATCHED_FIRST
            || self.0.is_multiple_of(WATCHED_EVERY)
            || shared.is_testing_circles.load(Ordering::Relaxed)
    }
}

/// Messages that were handed on and are not counted yet.
#[derive(Debug, Default)]
struct HandedOn {
    messages: usize,
    bytes: usize,
}

impl HandedOn {
    /// Counts them, once for a buffer of them.
    fn count(&mut self, shared: &Shared, link: &Link) {
        let Self { messages, bytes } = std::mem::take(self);
        if messages > 0 {
            link.received.count(messages, bytes);
            let received = &shared.data.totals.received;
            received.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }
}

/// Makes a frame what this endpoint sends: to all of the list, and with a mark if they take
/// one. What stays here keeps its sender, which tells programs the peer.
#[inline]
fn rewrite(frame: &mut [u8], shared: &Shared, targets: &Targets, mark: Option<Mark>) {
    if targets.goes_on() {
        patch_hop(frame, shared.data.id);
    }
    if targets.is_marked() {
        let mark = mark.map_or_else(|| shared.data.marking.next(), Mark::after_hop);
        patch_receiver(frame, mark.to_receiver());
    } else if mark.is_some() {
        patch_receiver(frame, EndpointId::NIL);
    }
}

/// Whether a look at a frame has effects, so that there must be no second one.
fn is_handled_once(frame: &Single) -> bool {
    let is_command = matches!(frame.what, Inbound::Command { .. });
    frame.what.mark().is_some() || frame.is_watched || is_command
}
