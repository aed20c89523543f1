//! The reading half of a connection: bytes to frames, frames to runs, runs to targets.
//!
//! What a frame asks for, and which frames are one run, decide the pure functions of
//! `broker_proto::inbound`. Values are checked once, in there (never pass on what was not checked), and
//! decoded by the consumer that reads them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_proto::EndpointId;
use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{FRAME_LEN_SIZE, frame_size, topic_of};
use broker_proto::inbound::{Inbound, Next, Useless, split_run};
use broker_proto::mark::Mark;
use broker_proto::routes::Origin;
use bytes::BytesMut;
use tokio::time::sleep;

use crate::core::link::{Link, Side, ended};
use crate::core::shared::Shared;
use crate::flow::marking::GatePass;
use crate::flow::routing::{
    TargetList, Targets, TopicMemo, audience, has_several_peers, has_strangers,
};
use crate::net::socket::{Socket, alert};
use crate::peer::command::Commands;
use crate::peer::delivery::{Blocked, HandedOn, OpenRun, deliver, rewrite};
use crate::peer::read_buffers::ReadBuffers;
use crate::store::Node;

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

/// The reading half of one connection.
pub(crate) struct Reader {
    connection: ConnectionId,
    side: Side,
    encrypted: bool,
    buffer: BytesMut,
    read_buffers: ReadBuffers,
    read_size: usize,
    frame_max: usize,
    memo: Option<TopicMemo>,
    blocked: Option<Blocked>,
    commands: Commands,
    /// Resolves when stores of this endpoint can take more.
    store_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Held from the first marked message that was noted until all are handed on.
    gate: GatePass,
    forwarding: bool,
    stall_limit: Duration,
    /// Holds the right to a large handshake frame.
    large: Option<LargePermit>,
    /// Whether anything came at all: it tells a closed port from a wrong one.
    heard: bool,
    /// Whether a copy of a message came: the log is told of the first one only.
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

/// One of the few rights to hold a large handshake frame; returned when dropped.
struct LargePermit(Arc<Shared>);

impl Drop for LargePermit {
    fn drop(&mut self) {
        self.0.large_handshakes.add_permits(1);
    }
}

impl Reader {
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
            commands: Commands::default(),
            store_wait: None,
            gate: GatePass::default(),
            forwarding: !shared.options.disable_forwarding,
            stall_limit: shared.options.stall_limit,
            large: None,
            heard: false,
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
            if self.memo.is_some() && room <= READ_SIZE_MAX {
                self.read_buffers.make_room(&mut self.buffer, room);
            } else {
                self.buffer.reserve(room);
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
        if !self.unblock(cx, shared) {
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
        self.handed_on.count(shared, link);
        if let Some(memo) = &mut self.memo {
            memo.flush_counts();
        }
        verdict
    }

    /// Leaves noting marked messages to others, for a while in which nothing is read.
    pub(crate) fn leave_gate(&mut self) {
        self.gate = GatePass::default();
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
        self.blocked = Some(Blocked::Timer(timer));
        Verdict::Blocked
    }

    /// Routes the complete frames in the buffer, run by run.
    fn route(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>, peer: EndpointId) -> Verdict {
        let forwarding = self.forwarding;
        let mut special: TargetList;
        let mut consumed = 0;
        let mut open: Option<OpenRun> = None;
        let mut watched = Watched::default();
        loop {
            let memo = self
                .memo
                .get_or_insert_with(|| TopicMemo::new(Origin::Peer(peer), forwarding));
            let start = open.as_ref().map_or(0, |run| run.end);
            let rest = self.buffer.get_mut(start..).unwrap_or_default();
            let mut is_watched = None;
            // The common case: more frames for the same targets, that are not looked at.
            let prefix = split_run(rest, self.frame_max, shared.data.id, peer, |frame| {
                let Some(run) = &open else { return false };
                let targets = memo.targets(&shared.data.routes, topic_of(frame));
                if !Arc::ptr_eq(&run.targets, targets) {
                    return false;
                }
                if targets.is_watched() && watched.next(shared) {
                    is_watched = Some(true);
                    return false;
                }
                rewrite(frame, shared, targets, None);
                memo.count_received(frame.len());
                true
            });
            if let Some(run) = &mut open {
                run.end += prefix.bytes;
                run.frames += prefix.frames;
            }
            let (size, what) = match prefix.next {
                Next::Incomplete => break,
                Next::TooLarge { size } => return Verdict::Failed(self.too_large(size)),
                Next::Frame { size, what } => (size, what),
            };
            let start = start + prefix.bytes;
            let frame = self.buffer.get(start..start + size).unwrap_or_default();
            let mark = what.mark();
            let targets: Option<&TargetList> = match what {
                Inbound::Data { mark } => {
                    let targets = memo.targets(&shared.data.routes, topic_of(frame));
                    if mark.is_some_and(|mark| mark.is_exhausted()) {
                        special = targets.only(|target| !target.kind.is_native());
                        Some(&special)
                    } else {
                        Some(targets)
                    }
                }
                Inbound::Special { origin, receiver } => {
                    special = special_targets(shared, origin, receiver, frame, forwarding);
                    Some(&special)
                }
                Inbound::Command { .. }
                | Inbound::Probe(_)
                | Inbound::Control
                | Inbound::Drop(_) => None,
            };
            let is_watched = is_watched.unwrap_or_else(|| {
                targets.is_some_and(|targets| targets.is_watched()) && watched.next(shared)
            });
            let is_handled_once =
                mark.is_some() || is_watched || matches!(what, Inbound::Command { .. });
            if is_handled_once
                && let Some(run) = open.take_if(|run| {
                    targets.is_none_or(|targets| !Arc::ptr_eq(&run.targets, targets))
                })
            {
                // Not when what is before it may have to wait: it would be looked at again.
                consumed += run.end;
                if !self.deliver(shared, run) {
                    return self.stop(cx, shared, consumed);
                }
                continue;
            }
            if needs_gate(what, targets) && !self.gate.is_held() {
                if let Some(run) = open.take() {
                    consumed += run.end;
                    if !self.deliver(shared, run) {
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
            let targets = match what {
                Inbound::Data { mark: Some(mark) } => {
                    let had_copies = &mut self.had_copies;
                    targets
                        .filter(|targets| is_news(shared, mark, frame, targets, peer, had_copies))
                }
                Inbound::Command { receiver, mark } => {
                    let is_several = has_several_peers(&shared.data.routes.load());
                    let passes = self
                        .commands
                        .hand_to_store(&self.node, frame, peer, mark, is_several);
                    if passes {
                        let targets =
                            command_targets(shared, peer, receiver, mark, frame, forwarding);
                        special = targets;
                        Some(&special)
                    } else {
                        None
                    }
                }
                Inbound::Data { mark: None }
                | Inbound::Special { .. }
                | Inbound::Probe(_)
                | Inbound::Control
                | Inbound::Drop(_) => targets,
            };
            // The targets of a message that is held instead.
            let held_from = targets
                .filter(|_| is_watched && shared.is_held(peer, topic_of(frame), frame))
                .cloned();
            let targets = targets.filter(|_| held_from.is_none());
            if let (Some(run), Some(targets)) = (&mut open, targets)
                && Arc::ptr_eq(&run.targets, targets)
            {
                let frame = self.buffer.get_mut(start..start + size).unwrap_or_default();
                rewrite(frame, shared, targets, mark);
                run.end += size;
                run.frames += 1;
                if matches!(what, Inbound::Data { .. }) {
                    memo.count_received(size);
                }
                continue;
            }
            let targets = targets.cloned();
            if let Some(run) = open.take() {
                consumed += run.end;
                if !self.deliver(shared, run) {
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
                let frame = self.buffer.get_mut(..size).unwrap_or_default();
                rewrite(frame, shared, &targets, mark);
                if matches!(what, Inbound::Data { .. })
                    && let Some(memo) = &mut self.memo
                {
                    memo.count_received(size);
                }
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
            if self.handle_alone(shared, peer, what, &frame) {
                // It may have changed the routes, or ended the connection.
                return Verdict::Consumed(consumed);
            }
        }
        if let Some(run) = open {
            consumed += run.end;
            if !self.deliver(shared, run) {
                return self.stop(cx, shared, consumed);
            }
        }
        Verdict::Consumed(consumed)
    }

    /// A frame that goes to no target. `true`: it went to the state machine.
    fn handle_alone(
        &self,
        shared: &Arc<Shared>,
        peer: EndpointId,
        what: Inbound,
        frame: &[u8],
    ) -> bool {
        match what {
            Inbound::Probe(probe) => shared.handle_probe(peer, topic_of(frame), probe),
            Inbound::Drop(Useless::Empty) => {}
            Inbound::Drop(error) => tracing::debug!(event = "message-dropped", %peer, %error),
            Inbound::Control => {
                let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
                if payload.len() <= CONTROL_FRAME_MAX {
                    shared.peer_message(self.connection, payload);
                    return true;
                }
                let bytes = payload.len();
                tracing::warn!(event = "control-message-dropped", %peer, bytes, "too large");
            }
            // A copy, or what must not be passed on.
            Inbound::Data { .. } | Inbound::Special { .. } | Inbound::Command { .. } => {}
        }
        false
    }

    fn too_large(&self, size: usize) -> Closed {
        Closed::Broken(format!(
            "frame of {size} bytes is larger than the limit of {} bytes",
            self.frame_max
        ))
    }

    fn deliver(&mut self, shared: &Arc<Shared>, run: OpenRun) -> bool {
        deliver(
            &mut self.buffer,
            &mut self.blocked,
            &mut self.handed_on,
            shared,
            run,
        )
    }

    /// Registers for room after a run met a full target.
    fn stop(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>, consumed: usize) -> Verdict {
        if self.unblock(cx, shared) {
            Verdict::Consumed(consumed)
        } else {
            Verdict::Blocked
        }
    }

    /// Tries again to hand on what is held up; `true` when nothing is any more.
    fn unblock(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>) -> bool {
        let Some(blocked) = &mut self.blocked else {
            return true;
        };
        let is_over = blocked.is_over(cx, shared, self.stall_limit);
        if is_over {
            self.blocked = None;
        }
        is_over
    }

    /// The reason when the other side ends the stream.
    pub(crate) fn end_of_stream(&self, link: &Link) -> Closed {
        if self.is_unheard_connector(link) {
            Closed::Broken(format!(
                "the other side closed the connection during the handshake ({})",
                self.likely_cause()
            ))
        } else if self.is_unheard_acceptor(link) {
            Closed::Silent
        } else {
            Closed::Remote
        }
    }

    /// The reason when the socket fails, in either direction.
    pub(crate) fn failure(&self, link: &Link, error: &io::Error) -> Closed {
        if self.is_unheard_connector(link) {
            Closed::Broken(alert(error).unwrap_or_else(|| {
                let likely = self.likely_cause();
                format!("the connection broke during the handshake ({likely}): {error}")
            }))
        } else {
            match ended(error) {
                Closed::Remote if self.is_unheard_acceptor(link) => Closed::Silent,
                closed => closed,
            }
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
        if self.encrypted {
            "does the other side demand a certificate?"
        } else {
            "does the other side use TLS?"
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

/// Who gets a message to one endpoint, or with a sender that changes who gets it.
fn special_targets(
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
fn command_targets(
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
fn needs_gate(what: Inbound, targets: Option<&TargetList>) -> bool {
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
fn is_news(
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
