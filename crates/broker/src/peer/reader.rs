//! The reading half of a connection: bytes to frames, frames to runs, runs to targets.
//!
//! Consecutive data frames that go to the same targets are one run: they are checked one by one and
//! handed on together. Values are checked once here (never pass on what was not checked) and decoded
//! by whoever reads them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use broker_proto::EndpointId;
use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{Envelope, FRAME_LEN_SIZE, frame_size, patch_hop, patch_receiver};
use broker_proto::mark::Mark;
use broker_proto::routes::Origin;
use broker_proto::store::command::Command;
use bytes::{Bytes, BytesMut};
use tokio::time::{Sleep, sleep};

use crate::core::link::{Link, Side, ended};
use crate::core::shared::Shared;
use crate::flow::blocked::Unsent;
use crate::flow::inject::{push_to, unmarked};
use crate::flow::mailbox::run::RECEIVED_TRANSLATION_MIN;
use crate::flow::mailbox::{Patience, Pushed, Run};
use crate::flow::marking::{GatePass, PRESS_AFTER};
use crate::flow::routing::{
    TargetList, Targets, TopicMemo, audience, has_several_peers, has_strangers,
};
use crate::flow::target::{TargetKind, json_readers};
use crate::flow::translation::Slot;
use crate::net::socket::{Socket, alert};
use crate::peer::read_buffers::ReadBuffers;
use crate::peer::step::{Step, classify, receiver_of, topic_of};
use crate::store::{Node, StoreWait};

/// Read buffer of a stranger, and of a connection with little traffic.
const READ_SIZE_MIN: usize = 4 * 1024;

/// Read buffer of a busy connection: one system call moves hundreds of small messages. Larger ones
/// gain nothing and cost more while they are not in the processor's caches.
const READ_SIZE_MAX: usize = 64 * 1024;

/// Handshake frames up to this size need no permission. A filter of a thousand topics fits.
const HANDSHAKE_FRAME_MAX: usize = 32 * 1024;

/// Largest handshake frame at all: only a filter can be large. Spec: wire 2.
const LARGE_HANDSHAKE_FRAME_MAX: usize = 16 * 1024 * 1024;

/// Largest message of a peer for the state machine. Only a filter can be large.
const CONTROL_FRAME_MAX: usize = LARGE_HANDSHAKE_FRAME_MAX;

/// Messages of one read that are shown to the search for circles if they may circle, and of more
/// one in so many: what circles comes again and again, and where little comes all of it is seen.
const WATCHED_FIRST: usize = 2;
/// See [`WATCHED_FIRST`].
const WATCHED_EVERY: usize = 1024;

/// What became of the buffered bytes.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// So many bytes were handled; zero says that more are needed.
    Consumed(usize),
    /// A target is full; the task is woken when to try again.
    Blocked,
    Failed(Closed),
}

/// A run that some of its targets had no room for.
struct Blocked {
    frames: usize,
    unsent: Vec<Unsent>,
    /// Whether siblings get it over their limits rather than late. See ADR 0115.
    may_press: bool,
    since: Instant,
    stall: Pin<Box<Sleep>>,
}

pub(crate) struct Inbound {
    connection: ConnectionId,
    side: Side,
    encrypted: bool,
    buffer: BytesMut,
    read_buffers: ReadBuffers,
    read_size: usize,
    frame_max: usize,
    memo: Option<TopicMemo>,
    blocked: Option<Blocked>,
    /// What stores of this endpoint cannot take more of yet.
    store_waits: Vec<StoreWait>,
    store_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Held from the first marked message that was noted until all are handed on.
    gate: GatePass,
    forwarding: bool,
    stall_limit: Duration,
    /// Holds the right to a large handshake frame.
    large: Option<LargePermit>,
    /// Whether anything came at all: it tells a closed port from a wrong one.
    heard: bool,
    /// Whether a command in somebody else's name came: the log is told of the first one only.
    has_forged: bool,
    /// Whether a copy of a message came: so is this.
    had_copies: bool,
    handed_on: HandedOn,
    node: Node,
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
    fn settle(&mut self, shared: &Shared, link: &Link) {
        let Self { messages, bytes } = std::mem::take(self);
        if messages > 0 {
            link.received.count(messages, bytes);
            let received = &shared.data.totals.received;
            received.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }
}

/// One of the few rights to hold a large handshake frame; returned when dropped.
struct LargePermit(Arc<Shared>);

impl Drop for LargePermit {
    fn drop(&mut self) {
        self.0.large_handshakes.add_permits(1);
    }
}

/// Consecutive frames at the start of the buffer with the same targets.
struct OpenRun {
    end: usize,
    frames: usize,
    targets: TargetList,
}

impl Inbound {
    pub(crate) fn new(node: Node, connection: ConnectionId, side: Side) -> Self {
        let shared = &node.shared;
        Self {
            connection,
            side,
            encrypted: !shared.options.disable_ssl,
            buffer: BytesMut::new(),
            read_buffers: ReadBuffers::default(),
            read_size: READ_SIZE_MIN,
            frame_max: shared.options.frame_bytes_max,
            memo: None,
            blocked: None,
            store_waits: Vec::new(),
            store_wait: None,
            gate: GatePass::default(),
            forwarding: !shared.options.disable_forwarding,
            stall_limit: shared.options.stall_limit,
            large: None,
            heard: false,
            has_forged: false,
            had_copies: false,
            handed_on: HandedOn::default(),
            node,
        }
    }

    /// Reads once. The buffer grows with what came, never with what was announced.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < self.read_size / 4 {
            // A frame larger than the buffer doubles it, up to the frame's own size.
            let wanted = match frame_size(&self.buffer) {
                Some(size) if size > self.buffer.len() => {
                    (size - self.buffer.len()).min(self.buffer.len().max(self.read_size))
                }
                _ => self.read_size,
            };
            let room = wanted.max(self.read_size / 4);
            match self.memo.is_some() && room <= READ_SIZE_MAX {
                true => self.read_buffers.make_room(&mut self.buffer, room),
                false => self.buffer.reserve(room),
            }
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let polled = socket.poll_read(cx, &mut self.buffer);
        if let Poll::Ready(Ok(read)) = polled {
            self.heard |= read > 0;
            if read == room && self.memo.is_some() {
                self.read_size = self.read_size.saturating_mul(2).min(READ_SIZE_MAX);
            } else if read < self.read_size / 16 {
                self.read_size = (self.read_size / 2).max(READ_SIZE_MIN);
                self.read_buffers.clear();
            }
        }
        polled
    }

    /// Handles the complete frames in the buffer.
    pub(crate) fn process(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Arc<Shared>,
        link: &Link,
    ) -> Verdict {
        if self.blocked.is_some() && !self.unblock(cx, shared) {
            return Verdict::Blocked;
        }
        if !self.stores_have_room(cx) || !self.gate.is_open(cx) {
            return Verdict::Blocked;
        }
        let verdict = match link.peer() {
            Some(peer) => self.route(cx, shared, peer),
            None => self.handshake(cx, shared),
        };
        if self.blocked.is_none() {
            self.gate.give_back();
        }
        self.handed_on.settle(shared, link);
        verdict
    }

    /// Leaves noting marked messages to others, for a while in which nothing is read.
    pub(crate) fn leave_gate(&mut self) {
        self.gate = GatePass::default();
    }

    /// Whether stores of this endpoint can take more commands.
    fn stores_have_room(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.store_waits.is_empty() {
            let waits = std::mem::take(&mut self.store_waits);
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
        let over = self
            .store_wait
            .as_mut()
            .is_none_or(|wait| wait.as_mut().poll(cx).is_ready());
        if over {
            self.store_wait = None;
        }
        over
    }

    /// Hands one handshake frame to the state machine.
    fn handshake(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>) -> Verdict {
        let Some(size) = frame_size(&self.buffer) else {
            return Verdict::Consumed(0);
        };
        if size - FRAME_LEN_SIZE > LARGE_HANDSHAKE_FRAME_MAX {
            return Verdict::Failed(Closed::Broken(self.not_broker().to_owned()));
        }
        if size > HANDSHAKE_FRAME_MAX && self.large.is_none() {
            match shared.large_handshakes.try_acquire() {
                Ok(permit) => {
                    permit.forget();
                    self.large = Some(LargePermit(shared.clone()));
                }
                // Look again in a while; the handshake's deadline bounds the wait.
                Err(_) => return self.wait_for_permit(cx),
            }
        }
        if self.buffer.len() < size {
            return Verdict::Consumed(0);
        }
        let frame = self.buffer.split_to(size);
        shared.control_frame(
            self.connection,
            frame.get(FRAME_LEN_SIZE..).unwrap_or_default(),
        );
        self.large = None;
        Verdict::Consumed(size)
    }

    fn wait_for_permit(&mut self, cx: &mut Context<'_>) -> Verdict {
        const RETRY: Duration = Duration::from_millis(50);
        let mut timer = Box::pin(sleep(RETRY));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.blocked = Some(Blocked {
            frames: 0,
            unsent: Vec::new(),
            may_press: false,
            since: Instant::now(),
            stall: timer,
        });
        Verdict::Blocked
    }

    /// Routes the complete frames in the buffer, run by run.
    fn route(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>, peer: EndpointId) -> Verdict {
        let forwarding = self.forwarding;
        let memo = self
            .memo
            .get_or_insert_with(|| TopicMemo::new(Origin::Peer(peer), forwarding));
        let mut special: TargetList;
        let mut consumed = 0;
        let mut open: Option<OpenRun> = None;
        let mut watched = Watched::default();
        loop {
            let start = open.as_ref().map_or(0, |run| run.end);
            let rest = self.buffer.get(start..).unwrap_or_default();
            let Some(size) = frame_size(rest) else { break };
            if size - FRAME_LEN_SIZE > self.frame_max {
                return Verdict::Failed(Closed::Broken(format!(
                    "frame of {size} bytes is larger than the limit of {} bytes",
                    self.frame_max
                )));
            }
            let Some(frame) = rest.get(..size) else { break };
            let step = classify(frame, shared.data.id, peer);
            let mut looked = None;
            // The common case: one more frame for the same targets, that nobody looks at.
            if matches!(step, Step::Data { mark: None })
                && let Some(run) = &mut open
            {
                let targets = memo.targets(&shared.data.routes, topic_of(frame));
                if Arc::ptr_eq(&run.targets, targets) {
                    let is_watched = targets.is_watched() && watched.next(shared);
                    if !is_watched {
                        let frame = self.buffer.get_mut(start..).unwrap_or_default();
                        rewrite(frame, shared, targets, None);
                        run.end += size;
                        run.frames += 1;
                        continue;
                    }
                    looked = Some(is_watched);
                }
            }
            let mark = step.mark();
            let targets: Option<&TargetList> = match step {
                Step::Data { mark: None } => {
                    Some(memo.targets(&shared.data.routes, topic_of(frame)))
                }
                Step::Data { mark: Some(mark) } => {
                    let targets = memo.targets(&shared.data.routes, topic_of(frame));
                    match mark.is_exhausted() {
                        false => Some(targets),
                        true => {
                            special = targets.only(|target| !target.kind.is_native());
                            Some(&special)
                        }
                    }
                }
                Step::Special { origin, receiver } => {
                    let table = shared.data.routes.load();
                    let targets = audience(&table, origin, receiver, topic_of(frame), forwarding);
                    special = match receiver.is_nil() {
                        true => Targets::of_all(targets, has_several_peers(&table)),
                        false => Targets::new(targets),
                    };
                    Some(&special)
                }
                Step::Command { .. } | Step::Probe(_) | Step::Control | Step::Drop => None,
            };
            let is_watched = looked.unwrap_or_else(|| {
                targets.is_some_and(|targets| targets.is_watched()) && watched.next(shared)
            });
            let is_handled_once =
                mark.is_some() || is_watched || matches!(step, Step::Command { .. });
            if is_handled_once
                && let Some(run) = open.take_if(|run| {
                    targets.is_none_or(|targets| !Arc::ptr_eq(&run.targets, targets))
                })
            {
                // Not when what is before it may have to wait: it would be looked at again.
                consumed += run.end;
                if !deliver(
                    &mut self.buffer,
                    &mut self.blocked,
                    &mut self.handed_on,
                    shared,
                    run,
                ) {
                    return self.stop(cx, shared, consumed);
                }
                continue;
            }
            let needs_gate = match step {
                // With one peer there is nobody to overtake.
                Step::Data { mark: Some(_) } => targets.is_some_and(|it| it.has_several_peers()),
                Step::Command { mark, .. } => mark.is_some(),
                Step::Data { mark: None }
                | Step::Special { .. }
                | Step::Probe(_)
                | Step::Control
                | Step::Drop => false,
            };
            if needs_gate && !self.gate.is_held() {
                if let Some(run) = open.take() {
                    consumed += run.end;
                    if !deliver(
                        &mut self.buffer,
                        &mut self.blocked,
                        &mut self.handed_on,
                        shared,
                        run,
                    ) {
                        return self.stop(cx, shared, consumed);
                    }
                }
                if !self.gate.take(cx, &shared.data.marking) {
                    return match consumed {
                        0 => Verdict::Blocked,
                        consumed => Verdict::Consumed(consumed),
                    };
                }
                continue;
            }
            let targets = match step {
                Step::Data { mark: Some(mark) } => targets.filter(|targets| {
                    // What is not heard here comes over another link, and is first there.
                    if targets.is_closed() {
                        return false;
                    }
                    let is_several = targets.has_several_peers();
                    let is_first = shared.data.marking.is_first(mark, frame, is_several);
                    if !is_first && !std::mem::replace(&mut self.had_copies, true) {
                        tell_copies(peer, frame);
                    }
                    is_first
                }),
                Step::Command { receiver, mark } => {
                    let origin = Origin::Peer(peer);
                    let table = shared.data.routes.load();
                    let is_several = has_several_peers(&table);
                    let news = News { mark, is_several };
                    if hand_to_store(
                        &self.node,
                        frame,
                        peer,
                        news,
                        &mut self.has_forged,
                        &mut self.store_waits,
                    ) {
                        let mut targets =
                            audience(&table, origin, receiver, topic_of(frame), forwarding);
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
                        special = match receiver.is_nil() {
                            true => Targets::of_all(targets, is_several),
                            false => Targets::new(targets),
                        };
                        Some(&special)
                    } else {
                        None
                    }
                }
                Step::Data { mark: None }
                | Step::Special { .. }
                | Step::Probe(_)
                | Step::Control
                | Step::Drop => targets,
            };
            // Those who would get a message that is held instead.
            let held_from = targets
                .filter(|_| is_watched && shared.is_held(peer, topic_of(frame), frame))
                .cloned();
            let targets = targets.filter(|_| held_from.is_none());
            if let (Some(run), Some(targets)) = (&mut open, targets)
                && Arc::ptr_eq(&run.targets, targets)
            {
                let frame = self.buffer.get_mut(start..).unwrap_or_default();
                rewrite(frame, shared, targets, mark);
                run.end += size;
                run.frames += 1;
                continue;
            }
            let targets = targets.cloned();
            if let Some(run) = open.take() {
                consumed += run.end;
                if !deliver(
                    &mut self.buffer,
                    &mut self.blocked,
                    &mut self.handed_on,
                    shared,
                    run,
                ) {
                    if mark.is_some() || held_from.is_some() {
                        // A copy, which the run before it need not wait for.
                        let copy = self.buffer.split_to(size).freeze();
                        consumed += size;
                        if let Some(targets) = held_from {
                            shared.give_to_locals(&copy, &targets);
                        }
                    }
                    // Any other frame stays where it is and is looked at again.
                    return self.stop(cx, shared, consumed);
                }
            }
            if let Some(targets) = targets {
                rewrite(&mut self.buffer, shared, &targets, mark);
                open = Some(OpenRun {
                    end: size,
                    frames: 1,
                    targets,
                });
                continue;
            }
            let frame = self.buffer.split_to(size);
            consumed += size;
            if let Some(targets) = held_from {
                shared.give_to_locals(&frame.freeze(), &targets);
                continue;
            }
            if let Step::Probe(probe) = step {
                shared.handle_probe(peer, topic_of(&frame), probe);
                continue;
            }
            if step == Step::Control {
                let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
                if payload.len() > CONTROL_FRAME_MAX {
                    let bytes = payload.len();
                    tracing::warn!(event = "control-message-dropped", %peer, bytes, "too large");
                    continue;
                }
                shared.peer_message(self.connection, payload);
                // It may have changed the routes, or ended the connection.
                return Verdict::Consumed(consumed);
            }
        }
        if let Some(run) = open {
            consumed += run.end;
            if !deliver(
                &mut self.buffer,
                &mut self.blocked,
                &mut self.handed_on,
                shared,
                run,
            ) {
                return self.stop(cx, shared, consumed);
            }
        }
        Verdict::Consumed(consumed)
    }

    /// Registers for room after a run met a full target.
    fn stop(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>, consumed: usize) -> Verdict {
        match self.unblock(cx, shared) {
            true => Verdict::Consumed(consumed),
            false => Verdict::Blocked,
        }
    }

    /// Tries again to hand on what is held up; `true` when nothing is any more.
    fn unblock(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>) -> bool {
        let Some(blocked) = &mut self.blocked else {
            return true;
        };
        if blocked.unsent.is_empty() {
            // A wait for a permit: over when its timer is.
            let over = blocked.stall.as_mut().poll(cx).is_ready();
            if over {
                self.blocked = None;
            }
            return over;
        }
        loop {
            let waited = blocked.since.elapsed();
            let patience = match waited < self.stall_limit {
                true => Patience::Waits,
                false => Patience::Exhausted,
            };
            let mut look_again = self.stall_limit.saturating_sub(waited);
            let presses = blocked.may_press && waited >= PRESS_AFTER;
            if presses {
                shared.data.marking.press(shared.now());
                press(shared, &mut blocked.unsent, blocked.frames);
            } else if blocked.may_press {
                look_again = look_again.min(PRESS_AFTER.saturating_sub(waited));
            }
            let frames = blocked.frames;
            blocked.unsent.retain(|Unsent { target, bytes }| {
                let run = Run::shared(bytes, frames);
                match target.mailbox.push(run, patience) {
                    Pushed::Full { stalls_in } => {
                        look_again = look_again.min(stalls_in);
                        true
                    }
                    pushed => {
                        shared.data.report_drops(pushed, target);
                        false
                    }
                }
            });
            if blocked.unsent.is_empty() {
                self.blocked = None;
                return true;
            }
            blocked.stall = Box::pin(sleep(look_again));
            let room = blocked.unsent.iter().any(|Unsent { target, bytes }| {
                let room = target.mailbox.poll_room(cx, bytes.len(), frames);
                room.is_ready()
            });
            if !room && blocked.stall.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// The reason when the other side ends the stream.
    pub(crate) fn end_of_stream(&self, link: &Link) -> Closed {
        match self.is_unheard_connector(link) {
            true => Closed::Broken(format!(
                "the other side closed the connection during the handshake ({})",
                self.likely_cause()
            )),
            false if self.is_unheard_acceptor(link) => Closed::Silent,
            false => Closed::Remote,
        }
    }

    /// The reason when the socket fails, in either direction.
    pub(crate) fn failure(&self, link: &Link, error: &io::Error) -> Closed {
        match self.is_unheard_connector(link) {
            true => Closed::Broken(alert(error).unwrap_or_else(|| {
                let likely = self.likely_cause();
                format!("the connection broke during the handshake ({likely}): {error}")
            })),
            false => match ended(error) {
                Closed::Remote if self.is_unheard_acceptor(link) => Closed::Silent,
                closed => closed,
            },
        }
    }

    /// Whether the other side dialed and never said anything.
    fn is_unheard_acceptor(&self, link: &Link) -> bool {
        link.peer().is_none() && self.side == Side::Acceptor && !self.heard
    }

    /// Whether we dialed and nothing of the protocol ever came back.
    fn is_unheard_connector(&self, link: &Link) -> bool {
        link.peer().is_none() && self.side == Side::Connector && !self.heard
    }

    /// What makes an acceptor hang up without a word. In TLS 1.3 the connector is through with the
    /// handshake before the acceptor has seen that there is no certificate.
    fn likely_cause(&self) -> &'static str {
        match self.encrypted {
            true => "does the other side demand a certificate?",
            false => "does the other side use TLS?",
        }
    }

    /// Names what speaks instead of Broker.
    fn not_broker(&self) -> &'static str {
        match self.buffer.as_ref() {
            [0x14..=0x17, 3, ..] => "the other side uses TLS, this endpoint does not",
            _ => "the other side is not a Broker endpoint",
        }
    }
}

/// What tells a command of a data store from a copy of it.
#[derive(Debug, Clone, Copy)]
struct News {
    mark: Option<Mark>,
    is_several: bool,
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

/// Makes a frame what this endpoint sends: to everybody in the list, and with a mark if they take
/// one.
fn rewrite(frame: &mut [u8], shared: &Shared, targets: &Targets, mark: Option<Mark>) {
    patch_hop(frame, shared.data.id);
    if targets.is_marked() {
        let mark = mark.map_or_else(|| shared.data.marking.next(), Mark::after_hop);
        patch_receiver(frame, mark.to_receiver());
    } else if mark.is_some() {
        patch_receiver(frame, EndpointId::NIL);
    }
}

/// Checks a command and hands it to the store it is for, if that is here. `false`: it is malformed,
/// a copy, or not from whom it names, and must not be forwarded.
fn hand_to_store(
    node: &Node,
    frame: &[u8],
    peer: EndpointId,
    news: News,
    has_forged: &mut bool,
    waits: &mut Vec<StoreWait>,
) -> bool {
    let shared = &node.shared;
    shared.data.totals.commands.fetch_add(1, Ordering::Relaxed);
    let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
    let Ok(envelope) = Envelope::parse(payload) else {
        return false;
    };
    let command = match Command::parse(envelope.payload) {
        Ok(command) => command,
        Err(error) => {
            tracing::debug!(event = "message-dropped", %peer, %error);
            return false;
        }
    };
    // Copies first, so that those of honest commands do not count as refused.
    if news
        .mark
        .is_some_and(|mark| shared.data.marking.is_copy(mark, frame))
    {
        return false;
    }
    let (receiver, _) = receiver_of(&envelope, peer);
    let is_peer = |id| {
        let table = shared.data.routes.load();
        table
            .peer(id)
            .is_some_and(|target| target.kind.carries_stores())
    };
    if let Err(error) = command.check_sender(shared.data.id, peer, receiver, is_peer) {
        shared.refused_commands.fetch_add(1, Ordering::Relaxed);
        match std::mem::replace(has_forged, true) {
            false => tracing::warn!(event = "command-refused", %peer, %error),
            true => tracing::debug!(event = "command-refused", %peer, %error),
        }
        return false;
    }
    // What is refused is not noted: it must not keep the true one from being heard.
    if let Some(mark) = news.mark
        && !shared.data.marking.is_first(mark, frame, news.is_several)
    {
        return false;
    }
    let to_me = receiver == shared.data.id;
    if (to_me || receiver.is_nil())
        && let Some(store) = node.stores.find_topic(envelope.topic)
    {
        waits.extend(store.handle_command(node, &command, envelope.payload));
    }
    to_me || command.check().is_ok()
}

/// Hands siblings what they have no room for, as far as it goes.
fn press(shared: &Arc<Shared>, unsent: &mut Vec<Unsent>, frames: usize) {
    unsent.retain(|Unsent { target, bytes }| {
        if target.kind != TargetKind::Sibling {
            return true;
        }
        let run = Run::shared(bytes, frames);
        match target.mailbox.push(run, Patience::Presses) {
            Pushed::Full { .. } => true,
            pushed => {
                shared.data.report_drops(pushed, target);
                false
            }
        }
    });
}

/// Hands a run to its targets; `false` when some had no room.
fn deliver(
    buffer: &mut BytesMut,
    blocked: &mut Option<Blocked>,
    handed_on: &mut HandedOn,
    shared: &Arc<Shared>,
    run: OpenRun,
) -> bool {
    handed_on.messages += run.frames;
    handed_on.bytes += run.end;
    // A share of a large buffer keeps all of it: a small run is copied out instead.
    let sparse = run.end < buffer.capacity() / 8;
    let bytes = buffer.split_to(run.end);
    if run.targets.is_empty() {
        return true;
    }
    let bytes = match sparse {
        true => Bytes::copy_from_slice(&bytes),
        false => bytes.freeze(),
    };
    let mut unsent: Vec<Unsent> = Vec::new();
    let slot = Slot::default();
    let frames = Run::shared(&bytes, run.frames)
        .translated_in(
            &slot,
            json_readers(run.targets.iter()),
            RECEIVED_TRANSLATION_MIN,
        )
        .alone_if(run.targets.len() == 1);
    for target in run.targets.iter() {
        match target.mailbox.push(frames, Patience::Waits) {
            Pushed::Full { .. } => unsent.push(Unsent {
                target: target.clone(),
                bytes: bytes.clone(),
            }),
            pushed => shared.data.report_drops(pushed, target),
        }
    }
    let others = run.targets.unmarked();
    if !others.is_empty() {
        let bytes = unmarked(&bytes);
        let frames = Run::shared(&bytes, run.frames);
        unsent.extend(push_to(&shared.data, frames, others.iter()));
    }
    let may_press = run.targets.is_marked() && shared.data.marking.is_in_circle();
    if may_press && !unsent.is_empty() && shared.data.marking.is_pressing(shared.now()) {
        press(shared, &mut unsent, run.frames);
    }
    if unsent.is_empty() {
        return true;
    }
    *blocked = Some(Blocked {
        frames: run.frames,
        unsent,
        may_press,
        since: Instant::now(),
        stall: Box::pin(sleep(shared.options.stall_limit)),
    });
    false
}
