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

use broker_data::validate;
use broker_proto::EndpointId;
use broker_proto::command::Command;
use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{ENVELOPE_SIZE, Envelope, FRAME_LEN_SIZE, Tag, frame_size, patch_hop};
use broker_proto::routes::Origin;
use broker_proto::topic::LOCAL_PREFIX;
use bytes::{Bytes, BytesMut};
use tokio::time::{Sleep, sleep};

use crate::link::Link;
use crate::mailbox::{Patience, Pushed, Run};
use crate::peer::{Side, ended};
use crate::routing::{Target, TargetKind, TargetList, Targets, TopicMemo, audience};
use crate::run::RECEIVED_TRANSLATION_MIN;
use crate::shared::Shared;
use crate::socket::{Socket, alert};
use crate::spare::Spares;
use crate::store::StoreWait;
use crate::translation::Slot;

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
    run: Bytes,
    frames: usize,
    targets: Vec<Target>,
    since: Instant,
    stall: Pin<Box<Sleep>>,
}

pub(crate) struct Inbound {
    connection: ConnectionId,
    side: Side,
    encrypted: bool,
    buffer: BytesMut,
    spares: Spares,
    read_size: usize,
    frame_max: usize,
    memo: Option<TopicMemo>,
    blocked: Option<Blocked>,
    /// What stores of this endpoint cannot take more of yet.
    store_waits: Vec<StoreWait>,
    store_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    forwarding: bool,
    stall_limit: Duration,
    /// Holds the right to a large handshake frame.
    large: Option<LargePermit>,
    /// Whether anything came at all: it tells a closed port from a wrong one.
    heard: bool,
    /// Whether a command in somebody else's name came: the log is told of the first one only.
    lied: bool,
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
    pub(crate) fn new(shared: &Shared, connection: ConnectionId, side: Side) -> Self {
        Self {
            connection,
            side,
            encrypted: !shared.options.disable_ssl,
            buffer: BytesMut::new(),
            spares: Spares::default(),
            read_size: READ_SIZE_MIN,
            frame_max: shared.options.frame_bytes_max,
            memo: None,
            blocked: None,
            store_waits: Vec::new(),
            store_wait: None,
            forwarding: !shared.options.disable_forwarding,
            stall_limit: shared.options.stall_limit,
            large: None,
            heard: false,
            lied: false,
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
                true => self.spares.make_room(&mut self.buffer, room),
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
                self.spares.clear();
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
        if !self.stores_have_room(cx) {
            return Verdict::Blocked;
        }
        match link.peer() {
            Some(peer) => self.route(cx, shared, peer),
            None => self.handshake(cx, shared),
        }
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
            run: Bytes::new(),
            frames: 0,
            targets: Vec::new(),
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
            let step = classify(frame, shared.id, peer);
            if matches!(step, Step::Command { .. })
                && let Some(run) = open.take()
            {
                // A command is handled once: not when what is before it may have to wait.
                consumed += run.end;
                if !deliver(&mut self.buffer, &mut self.blocked, shared, run) {
                    return self.stop(cx, shared, consumed);
                }
                continue;
            }
            let targets: Option<&TargetList> = match step {
                Step::Data => Some(memo.targets(&shared.routes, topic_of(frame))),
                Step::Special { origin, receiver } => {
                    let table = shared.routes.load();
                    let targets = audience(&table, origin, receiver, topic_of(frame), forwarding);
                    special = Targets::new(targets);
                    Some(&special)
                }
                Step::Command { receiver } => {
                    if hand_to_store(shared, frame, peer, &mut self.lied, &mut self.store_waits) {
                        let origin = Origin::Peer(peer);
                        let table = shared.routes.load();
                        let mut targets =
                            audience(&table, origin, receiver, topic_of(frame), forwarding);
                        targets.retain(|target| target.kind == TargetKind::Peer);
                        special = Targets::new(targets);
                        Some(&special)
                    } else {
                        None
                    }
                }
                Step::Control | Step::Drop => None,
            };
            if let (Some(run), Some(targets)) = (&mut open, targets) {
                // The common case: one more frame for the same targets.
                if Arc::ptr_eq(&run.targets, targets) {
                    patch_hop(self.buffer.get_mut(start..).unwrap_or_default(), shared.id);
                    run.end += size;
                    run.frames += 1;
                    continue;
                }
            }
            let targets = targets.cloned();
            if let Some(run) = open.take() {
                consumed += run.end;
                if !deliver(&mut self.buffer, &mut self.blocked, shared, run) {
                    // The frame behind the run stays where it is and is looked at again.
                    return self.stop(cx, shared, consumed);
                }
            }
            if let Some(targets) = targets {
                patch_hop(&mut self.buffer, shared.id);
                open = Some(OpenRun {
                    end: size,
                    frames: 1,
                    targets,
                });
                continue;
            }
            let frame = self.buffer.split_to(size);
            consumed += size;
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
            if !deliver(&mut self.buffer, &mut self.blocked, shared, run) {
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
        if blocked.targets.is_empty() {
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
            let run = Run::shared(&blocked.run, blocked.frames);
            blocked
                .targets
                .retain(|target| match target.mailbox.push(run, patience) {
                    Pushed::Full { stalls_in } => {
                        look_again = look_again.min(stalls_in);
                        true
                    }
                    pushed => {
                        shared.report_drops(pushed, target);
                        false
                    }
                });
            if blocked.targets.is_empty() {
                self.blocked = None;
                return true;
            }
            blocked.stall = Box::pin(sleep(look_again));
            let room = blocked.targets.iter().any(|target| {
                target
                    .mailbox
                    .poll_room(cx, blocked.run.len(), blocked.frames)
                    .is_ready()
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

/// What a frame asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A data message to everybody.
    Data,
    /// A data message to one endpoint, or with a sender that changes who gets it.
    Special {
        origin: Origin,
        receiver: EndpointId,
    },
    /// A command of a data store: for a store here, and for peers.
    Command { receiver: EndpointId },
    /// For the state machine.
    Control,
    /// Malformed, or of no use; only this message is lost. Spec: wire 6.3.
    Drop,
}

fn classify(frame: &[u8], me: EndpointId, peer: EndpointId) -> Step {
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
        Tag::Command => Step::Command {
            receiver: envelope.receiver,
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
                return Step::Data;
            }
            let origin = if spoofed {
                Origin::Spoofed(peer)
            } else {
                Origin::Peer(peer)
            };
            Step::Special {
                origin,
                receiver: envelope.receiver,
            }
        }
    }
}

/// Checks a command and hands it to the store it is for, if that is here. `false`: it is malformed
/// or not from whom it names, and must not be forwarded.
fn hand_to_store(
    shared: &Arc<Shared>,
    frame: &[u8],
    peer: EndpointId,
    lied: &mut bool,
    waits: &mut Vec<StoreWait>,
) -> bool {
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
    let is_peer = |id| {
        let table = shared.routes.load();
        table
            .peer(id)
            .is_some_and(|target| target.kind == TargetKind::Peer)
    };
    if let Err(error) = command.check_sender(shared.id, peer, envelope.receiver, is_peer) {
        shared.refused_commands.fetch_add(1, Ordering::Relaxed);
        match std::mem::replace(lied, true) {
            false => tracing::warn!(event = "command-refused", %peer, %error),
            true => tracing::debug!(event = "command-refused", %peer, %error),
        }
        return false;
    }
    let to_me = envelope.receiver == shared.id;
    if (to_me || envelope.receiver.is_nil())
        && let Some(store) = shared.stores.find_topic(envelope.topic)
    {
        waits.extend(store.handle_command(shared, &command, envelope.payload));
    }
    to_me || command.check().is_ok()
}

/// The topic of a frame that was parsed before.
fn topic_of(frame: &[u8]) -> &[u8] {
    const LENGTH: usize = FRAME_LEN_SIZE + 35;
    const TOPIC: usize = FRAME_LEN_SIZE + ENVELOPE_SIZE;
    let Some(&[high, low]) = frame.get(LENGTH..LENGTH + 2) else {
        return &[];
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    frame.get(TOPIC..TOPIC + length).unwrap_or_default()
}

/// Hands a run to its targets; `false` when some had no room.
fn deliver(
    buffer: &mut BytesMut,
    blocked: &mut Option<Blocked>,
    shared: &Arc<Shared>,
    run: OpenRun,
) -> bool {
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
    let mut full = Vec::new();
    let slot = Slot::default();
    let frames = Run::shared(&bytes, run.frames)
        .translated_in(&slot, run.targets.iter(), RECEIVED_TRANSLATION_MIN)
        .alone_if(run.targets.len() == 1);
    for target in run.targets.iter() {
        match target.mailbox.push(frames, Patience::Waits) {
            Pushed::Full { .. } => full.push(target.clone()),
            pushed => shared.report_drops(pushed, target),
        }
    }
    if full.is_empty() {
        return true;
    }
    *blocked = Some(Blocked {
        run: bytes,
        frames: run.frames,
        targets: full,
        since: Instant::now(),
        stall: Box::pin(sleep(shared.options.stall_limit)),
    });
    false
}
