//! A bounded queue of frames with several producers and one consumer.
//!
//! It is the only queue of the data path: every peer connection and every local subscriber has
//! one. It holds *runs*: complete frames, one behind the other, in one piece of memory. A small run
//! is copied behind the previous one into an open tail, so that a small message costs neither an
//! allocation nor a reference count; a large run is shared. At the end there may be a *joint run*,
//! which other mailboxes hold, too, and which still grows. The consumer takes whole chunks.
//!
//! Invariants:
//! - a chunk holds complete frames only, each with its length prefix;
//! - the consumer is woken only when the queue turns from empty to not empty, and a waker is
//!   registered under the same lock that looks at the queue, so no wake-up is lost;
//! - a joint run is the last that the queue holds, and sealed before anything comes behind it;
//! - `bytes` and `messages` never exceed their limits, except by control frames (which are few and
//!   bounded by the protocol), by one run that alone is larger than the limit, and by what endpoints
//!   in a circle press on each other, for which there is a limit above;
//! - the lock is held for a push or a take, never across a wait.

pub(crate) mod chunk;
pub(crate) mod direct_write;
pub(crate) mod joint;
mod limits;
pub(crate) mod queue;
pub(crate) mod ready_fd;
pub(crate) mod run;
mod stall;
mod wake;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use broker_proto::Filter;
use broker_proto::frame::frame_size;

use crate::config::Overflow;
use crate::flow::counters::{Lost, QueueStats};
pub(crate) use crate::flow::mailbox::chunk::Chunk;
use crate::flow::mailbox::direct_write::DirectWrite;
use crate::flow::mailbox::joint::{JOINT_BYTES_MAX, JOINT_FRAMES_MAX, JointRun};
pub(crate) use crate::flow::mailbox::limits::Limits;
use crate::flow::mailbox::queue::Queue;
pub(crate) use crate::flow::mailbox::run::{Run, SHARED_RUN_MIN};
use crate::flow::mailbox::stall::{Stall, TellBurst};
use crate::flow::mailbox::wake::{Producers, Wake};
use crate::lock::{Lock, Locked};
use crate::net::socket::SocketWriter;
use crate::sync::{AtomicBool, AtomicU64, Condvar};

/// How a producer deals with a full mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It can wait as long as the consumer moves.
    Waits,
    /// It must not wait, for others may wait for it in turn: the run is taken over the limit, but
    /// not beyond that of control frames.
    Presses,
    /// It waited for the stall limit already: the run is taken or dropped now.
    Exhausted,
}

/// What became of a pushed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Accepted,
    /// Dropped in part or whole, by policy; `burst_began` is set for the first drop of a burst.
    Dropped {
        burst_began: bool,
    },
    /// No room, and the consumer still moves: wait for room, but look again after `stalls_in`.
    Full {
        stalls_in: Duration,
    },
    /// Nobody will ever consume it.
    Closed,
}

/// What became of a joint run.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It is the last thing here; the task is to be woken for it.
    Waiting(Option<Waker>),
    /// There is no place for one: the message has to come by itself.
    Apart,
}

/// What a consumer finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// That many messages were appended to the caller's chunks.
    Messages(usize),
    Empty,
    /// Empty, and nothing will come.
    Closed,
    /// The overflow policy closed it.
    Overflowed,
}

/// A bounded queue of frames with one consumer.
pub(crate) struct Mailbox {
    limits: Limits,
    inner: Lock<Inner>,
    /// Consumer threads park here.
    arrived: Condvar,
    /// Producer threads park here.
    room: Condvar,
    /// Moves whenever the consumer does; only its change has a meaning.
    progress: AtomicU64,
    dropped: AtomicU64,
    /// Whether there is an interest: looking here costs the consumer no lock.
    has_interest: AtomicBool,
    told_of_bursts: OnceLock<TellBurst>,
    /// What the program calls its consumer.
    name: OnceLock<Box<str>>,
    /// Counts what is lost together with others.
    lost: OnceLock<Arc<Lost>>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("limits", &self.limits)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    /// What the other end of the connection is to be told that this endpoint wants, the last word
    /// only: however often it changes, it is told as often as the connection takes it.
    interest: Option<Filter>,
    state: State,
    /// The consumer keeps messages it took and has not handed out: whoever else waits for one can
    /// have it from there.
    held: bool,
    wake: Wake,
    producers: Producers,
    stall: Stall,
    direct_write: DirectWrite,
    flow: Flow,
}

/// What the consumer got so far, control frames included in the bytes only.
#[derive(Debug, Default)]
struct Flow {
    messages: u64,
    bytes: u64,
    /// The most messages and bytes that were there when it was about to shrink.
    waiting_max: usize,
    bytes_max: usize,
    /// When those who ask last saw it move, or empty, and how many bytes were taken by then.
    seen: Option<(u64, Instant)>,
}

impl Flow {
    fn count(&mut self, waiting: (usize, usize), messages: usize, bytes: usize) {
        self.messages = self.messages.wrapping_add(messages as u64);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
        self.note_fill(waiting);
    }

    /// Notes how many messages and bytes there are, before they become fewer.
    fn note_fill(&mut self, (messages, bytes): (usize, usize)) {
        self.waiting_max = self.waiting_max.max(messages);
        self.bytes_max = self.bytes_max.max(bytes);
    }

    /// How long it has not moved, for those who ask.
    fn idle(&mut self, is_empty: bool, now: Instant) -> Duration {
        let seen = self
            .seen
            .filter(|(bytes, _)| *bytes == self.bytes && !is_empty);
        let (_, since) = *self.seen.insert(seen.unwrap_or((self.bytes, now)));
        now.saturating_duration_since(since)
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Takes nothing more, what is there can be consumed.
    Finished,
    Overflowed,
}

impl Mailbox {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            inner: Lock::new(Inner::new(limits.translated)),
            limits,
            arrived: Condvar::new(),
            room: Condvar::new(),
            progress: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told_of_bursts: OnceLock::new(),
            name: OnceLock::new(),
            lost: OnceLock::new(),
            has_interest: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> Locked<'_, Inner> {
        self.inner.lock()
    }

    // --- producers ------------------------------------------------------------------------------

    /// Appends a run, or says why not.
    pub(crate) fn push(&self, run: Run<'_>, patience: Patience) -> Pushed {
        let mut inner = self.lock();
        if inner.state != State::Open {
            return Pushed::Closed;
        }
        let was_empty = inner.queue.is_empty();
        inner.queue.settle();
        if inner.queue.has_room(&self.limits, run.len(), run.frames) {
            if was_empty
                && run.is_alone
                && run.len() < SHARED_RUN_MIN
                && inner.wake.task.is_some()
                && let Some(socket) = inner.direct_write.take()
                && let Some(task) = inner.wake.task.clone()
            {
                drop(inner);
                self.write_directly(&socket, &task, run);
                return Pushed::Accepted;
            }
            inner.queue.append(run);
            if was_empty {
                self.notify(inner);
            }
            return Pushed::Accepted;
        }
        if patience == Patience::Presses
            && !self.limits.strict
            && inner.queue.bytes().saturating_add(run.len()) <= self.limits.control_bytes_max()
        {
            inner.queue.append(run);
            if was_empty {
                self.notify(inner);
            }
            return Pushed::Accepted;
        }
        if self.limits.strict {
            self.push_strict(inner, run)
        } else {
            self.push_full(inner, run, patience)
        }
    }

    /// As [`push`](Self::push) without patience, and with a limit of bytes that may be lower than the own
    /// one. As there, one run always has room.
    #[cfg(feature = "zeromq")]
    pub(crate) fn push_within(&self, run: Run<'_>, bytes_max: usize) -> Pushed {
        let inner = self.lock();
        let bytes = inner.queue.bytes();
        if bytes > 0 && bytes.saturating_add(run.len()) > bytes_max && inner.state == State::Open {
            return self.push_full(inner, run, Patience::Exhausted);
        }
        drop(inner);
        self.push(run, Patience::Exhausted)
    }

    /// Whether joint runs may end up here. Where a limit is asked for to the message, or lower than
    /// what they may grow to, or where a translation is shared, each message has to come by itself.
    pub(crate) fn may_join(&self) -> bool {
        !self.limits.strict
            && !self.limits.translated
            && self.limits.bytes_max >= JOINT_BYTES_MAX
            && self.limits.messages_max >= JOINT_FRAMES_MAX
    }

    /// Takes a joint run that has one frame so far, to be there for what is appended, if there is
    /// room for as much as it may grow to.
    pub(crate) fn join(&self, run: &Arc<JointRun>) -> Joined {
        let mut inner = self.lock();
        let was_empty = inner.queue.is_empty();
        inner.queue.settle();
        let fits = inner
            .queue
            .has_room(&self.limits, JOINT_BYTES_MAX, JOINT_FRAMES_MAX);
        if inner.state != State::Open || !fits {
            return Joined::Apart;
        }
        inner.queue.join(run.clone());
        Joined::Waiting(if was_empty {
            self.wake_consumer(inner)
        } else {
            None
        })
    }

    /// Offers a message to the socket; the consumer gets what it does not take.
    fn write_directly(&self, socket: &SocketWriter, task: &Waker, run: Run<'_>) {
        let bytes = run.as_slice();
        // An error is met again, and dealt with, by whoever owns the connection.
        let written = socket.try_write(task, bytes).unwrap_or(0);
        let rest = bytes.get(written..).unwrap_or_default();
        let mut inner = self.lock();
        inner.direct_write.release(rest.is_empty());
        inner.flow.count((1, bytes.len()), 1, written);
        if !rest.is_empty() {
            inner.queue.prepend_rest(rest);
        }
        if inner.interest.is_some() {
            inner.direct_write.busy(0);
        }
        if !inner.queue.is_empty() || inner.interest.is_some() || inner.state != State::Open {
            self.notify(inner);
        }
    }

    /// Lets producers write to the consumer's socket while it is idle.
    pub(crate) fn allow_direct_write(&self, socket: SocketWriter) {
        self.lock().direct_write.open(socket);
    }

    #[cfg(test)]
    pub(crate) fn with_direct_write(&self, work: impl FnOnce(&mut DirectWrite)) {
        work(&mut self.lock().direct_write);
    }

    /// Appends one control frame, over the limits if need be: the protocol cannot skip one. Only a
    /// consumer that makes control frames pile up (one that sends pings and reads no answer) meets
    /// a limit of its own, and it is cut off.
    pub(crate) fn push_control(&self, frame: Bytes) {
        let mut inner = self.lock();
        if inner.state != State::Open {
            return;
        }
        if inner.queue.bytes().saturating_add(frame.len()) > self.limits.control_bytes_max() {
            self.overflow(inner);
            return;
        }
        let was_empty = inner.queue.is_empty();
        inner.queue.append_control(frame);
        if was_empty {
            self.notify(inner);
        }
    }

    /// Has the consumer tell the other end what this endpoint wants, before all that is pushed after
    /// this. What it was to tell and has not told is forgotten.
    pub(crate) fn set_interest(&self, filter: Filter) {
        let mut inner = self.lock();
        let before = inner.interest.replace(filter);
        self.has_interest.store(true, Ordering::Relaxed);
        // The next message is not to be written before it.
        inner.direct_write.busy(0);
        self.notify(inner);
        drop(before);
    }

    /// The mailbox is full: waits are possible while the consumer moves, its policy applies once
    /// it does not.
    fn push_full(&self, mut inner: Locked<'_, Inner>, run: Run<'_>, patience: Patience) -> Pushed {
        let progress = self.progress.load(Ordering::Relaxed);
        let idle = inner.stall.idle(progress, Instant::now());
        let is_stalled = idle >= self.limits.stall_limit;
        if is_stalled && !inner.stall.stalled {
            inner.stall.stalls = inner.stall.stalls.saturating_add(1);
        }
        inner.stall.stalled = is_stalled;
        match (inner.stall.stalled, patience, self.limits.overflow) {
            (false, Patience::Waits | Patience::Presses, _) => Pushed::Full {
                stalls_in: self.limits.stall_limit.saturating_sub(idle),
            },
            (true, Patience::Waits | Patience::Presses, Overflow::Block) => Pushed::Full {
                stalls_in: Duration::MAX,
            },
            // A consumer that moves, but too slowly for those behind this run, keeps its place.
            (false, Patience::Exhausted, _)
            | (true, _, Overflow::DropNewest)
            | (true, Patience::Exhausted, Overflow::Block) => {
                self.count_drop(&mut inner, run.frames)
            }
            (true, _, Overflow::DropOldest) => {
                let waiting = inner.queue.fill();
                inner.flow.note_fill(waiting);
                let lost = inner.queue.drop_oldest(&self.limits, run.len(), run.frames);
                let was_empty = inner.queue.is_empty();
                inner.queue.append(run);
                let outcome = self.count_drop(&mut inner, lost);
                if was_empty {
                    self.notify(inner);
                }
                outcome
            }
            (true, _, Overflow::Disconnect) => {
                self.overflow(inner);
                Pushed::Closed
            }
        }
    }

    /// The policy applies at once and per message, as a limit given in messages promises.
    fn push_strict(&self, mut inner: Locked<'_, Inner>, run: Run<'_>) -> Pushed {
        let was_empty = inner.queue.is_empty();
        let mut lost = 0;
        let mut rest = run.as_slice();
        while let Some(frame) = frame_size(rest).and_then(|size| rest.split_off(..size)) {
            if !inner.queue.has_room(&self.limits, frame.len(), 1) {
                match self.limits.overflow {
                    Overflow::Disconnect => {
                        self.overflow(inner);
                        return Pushed::Closed;
                    }
                    Overflow::DropOldest => {
                        let waiting = inner.queue.fill();
                        inner.flow.note_fill(waiting);
                        lost += inner.queue.drop_oldest(&self.limits, frame.len(), 1);
                    }
                    // Waiting is what a strict limit excludes.
                    Overflow::DropNewest | Overflow::Block => {
                        lost += 1;
                        continue;
                    }
                }
            }
            inner.queue.append(run.part(frame, 1));
        }
        let outcome = if lost == 0 {
            Pushed::Accepted
        } else {
            self.count_drop(&mut inner, lost)
        };
        if was_empty && !inner.queue.is_empty() {
            self.notify(inner);
        }
        outcome
    }

    /// Has what is lost counted there, too.
    pub(crate) fn count_lost(&self, lost: Arc<Lost>) {
        // Set once, by its maker.
        let _ = self.lost.set(lost);
    }

    /// What happens to messages that find no room.
    pub(crate) fn policy(&self) -> Overflow {
        self.limits.overflow
    }

    fn overflow(&self, mut inner: Locked<'_, Inner>) {
        inner.state = State::Overflowed;
        let unread = inner.queue.count() as u64;
        self.dropped.fetch_add(unread, Ordering::Relaxed);
        if let Some(lost) = self.lost.get() {
            lost.cut_off.fetch_add(unread, Ordering::Relaxed);
        }
        // Its own end tells of it: a status event, or an error of the call that receives.
        tracing::warn!(event = "consumer-cut-off", lost = unread);
        inner.queue.clear();
        self.release_producers(&mut inner);
        self.notify(inner);
    }

    // --- the consumer ---------------------------------------------------------------------------

    /// Takes chunks of up to `budget` bytes in total, but at least one if there is any.
    pub(crate) fn take(&self, budget: usize, out: &mut VecDeque<Chunk>) -> Taken {
        let mut inner = self.lock();
        if inner.direct_write.is_taken() {
            return Taken::Empty;
        }
        let mut taken = inner.peek();
        if let Taken::Messages(_) = taken {
            let (waiting, before) = (inner.queue.fill(), out.len());
            let messages = inner.queue.take(budget, out);
            let bytes = out.iter().skip(before).map(|chunk| chunk.bytes.len()).sum();
            inner.flow.count(waiting, messages, bytes);
            taken = Taken::Messages(messages);
            inner.direct_write.busy(messages);
            inner.held = messages > 0;
            self.moved();
            if inner.stall.burst > 0 && !inner.stall.was_told_lately() {
                self.end_burst(&mut inner);
            }
            if inner.queue.has_spare(&self.limits) {
                self.release_producers(&mut inner);
            }
        }
        taken
    }

    /// As [`take`](Self::take), registering the task if there is nothing.
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        budget: usize,
        out: &mut VecDeque<Chunk>,
    ) -> Taken {
        let taken = self.take(budget, out);
        if taken != Taken::Empty {
            return taken;
        }
        self.register(cx);
        // Something may have come between the look and the registration.
        let taken = self.take(budget, out);
        if taken == Taken::Empty {
            let mut inner = self.lock();
            if inner.interest.is_none() {
                inner.direct_write.idle();
            }
        }
        taken
    }

    /// What the other end is to be told that this endpoint wants, if that changed since the last
    /// call. It goes before what was taken before the call and is not sent yet.
    pub(crate) fn take_interest(&self) -> Option<Filter> {
        // Behind a take: whatever was set before a message that was taken is seen.
        if !self.has_interest.load(Ordering::Relaxed) {
            return None;
        }
        let mut inner = self.lock();
        if inner.direct_write.is_taken() {
            return None;
        }
        self.has_interest.store(false, Ordering::Relaxed);
        inner.interest.take()
    }

    /// Tells what a take would find, without taking.
    pub(crate) fn peek(&self) -> Taken {
        self.lock().peek()
    }

    /// Notes that the consumer moves although it took nothing new from here: it wrote to its
    /// socket, or handed out a message it took earlier.
    pub(crate) fn moved(&self) {
        // One consumer: a plain load and store cannot lose a count, and is cheaper.
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1), Ordering::Relaxed);
    }

    /// Takes nothing more; what is there can still be consumed. Waiting producers are released.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        inner.queue.settle();
        self.end_burst(&mut inner);
        if inner.state == State::Open {
            inner.state = State::Finished;
        }
        self.release_producers(&mut inner);
        self.notify(inner);
    }

    /// Takes nothing more and forgets what is there.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        self.end_burst(&mut inner);
        if inner.state == State::Open {
            inner.state = State::Finished;
        }
        inner.direct_write.close();
        // Whoever remembers the mailbox must not keep what belonged to its consumer.
        inner.wake.ready = None;
        inner.queue.clear();
        self.release_producers(&mut inner);
        self.notify(inner);
    }

    /// Number of messages waiting.
    pub(crate) fn messages(&self) -> usize {
        self.lock().queue.count()
    }

    /// What went through it so far, and what waits in it.
    pub(crate) fn stats(&self) -> QueueStats {
        let mut inner = self.lock();
        let (waiting, bytes) = inner.queue.fill();
        let idle = inner.flow.idle(waiting == 0, Instant::now());
        QueueStats {
            idle,
            messages: inner.flow.messages,
            bytes: inner.flow.bytes,
            waiting_messages: waiting as u64,
            waiting_bytes: bytes as u64,
            waiting_messages_max: inner.flow.waiting_max.max(waiting) as u64,
            waiting_bytes_max: inner.flow.bytes_max.max(bytes) as u64,
            dropped: self.dropped(),
            is_stalled: inner.stall.stalled,
            stalls: inner.stall.stalls,
        }
    }

    /// What the program calls its consumer, if it said so.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }

    /// Names its consumer; only the first name counts.
    pub(crate) fn set_name(&self, name: &str) {
        let _first = self.name.set(name.into());
    }

    /// Number of messages its policy dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn new(translated: bool) -> Self {
        Self {
            queue: Queue::new(translated),
            interest: None,
            state: State::default(),
            held: false,
            wake: Wake::default(),
            producers: Producers::default(),
            stall: Stall::default(),
            direct_write: DirectWrite::default(),
            flow: Flow::default(),
        }
    }

    fn peek(&self) -> Taken {
        match (self.state, self.queue.is_empty()) {
            (State::Overflowed, _) => Taken::Overflowed,
            (_, false) => Taken::Messages(self.queue.count()),
            (State::Finished, true) => Taken::Closed,
            (State::Open, true) => Taken::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake as TaskWake;

    use super::*;
    #[cfg(feature = "http")]
    use crate::flow::mailbox::chunk::TRANSLATED_BYTES_MAX;
    use crate::flow::mailbox::limits::CONTROL_BYTES_MIN;
    use crate::flow::mailbox::queue::TAIL_SIZE_MAX;
    use crate::flow::mailbox::wake::WAITING_TASKS_MAX;
    #[cfg(feature = "http")]
    use crate::flow::target::{Target, TargetKind, json_readers};

    /// A frame with that many bytes behind its length prefix.
    fn frame(size: usize) -> Bytes {
        let mut frame = u32::try_from(size).unwrap().to_be_bytes().to_vec();
        frame.resize(4 + size, 7);
        frame.into()
    }

    fn limits(messages_max: usize, overflow: Overflow) -> Limits {
        Limits {
            bytes_max: 1 << 20,
            messages_max,
            overflow,
            stall_limit: Duration::ZERO,
            strict: false,
            translated: false,
        }
    }

    fn push(mailbox: &Mailbox, frame: &Bytes) -> Pushed {
        mailbox.push(Run::shared(frame, 1), Patience::Waits)
    }

    fn take_all(mailbox: &Mailbox) -> Vec<u8> {
        let mut chunks = VecDeque::new();
        while let Taken::Messages(_) = mailbox.take(usize::MAX, &mut chunks) {}
        chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect()
    }

    #[derive(Default)]
    struct CountingWaker(AtomicU64);

    impl TaskWake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn small_and_large_runs_stay_in_order() {
        let mailbox = Mailbox::new(limits(100, Overflow::Disconnect));
        let frames = [
            frame(10),
            frame(SHARED_RUN_MIN),
            frame(3),
            frame(5),
            frame(TAIL_SIZE_MAX),
        ];
        for frame in &frames {
            assert_eq!(push(&mailbox, frame), Pushed::Accepted);
        }
        assert_eq!(mailbox.messages(), frames.len());
        assert_eq!(take_all(&mailbox), frames.concat());
        assert_eq!(mailbox.messages(), 0);
    }

    #[test]
    fn a_large_run_is_shared_and_a_small_one_is_copied() {
        let mailbox = Mailbox::new(limits(100, Overflow::Disconnect));
        let (small, large) = (frame(10), frame(SHARED_RUN_MIN));
        push(&mailbox, &large);
        push(&mailbox, &small);
        let mut chunks = VecDeque::new();
        mailbox.take(usize::MAX, &mut chunks);
        let pointers: Vec<_> = chunks.iter().map(|chunk| chunk.bytes.as_ptr()).collect();
        assert_eq!(pointers.first(), Some(&large.as_ptr()));
        assert_ne!(pointers.last(), Some(&small.as_ptr()));
    }

    #[test]
    fn the_task_is_woken_once_until_it_looks_again() {
        let mailbox = Mailbox::new(limits(100, Overflow::Disconnect));
        let counter = Arc::new(CountingWaker::default());
        let waker = Waker::from(counter.clone());
        let mut cx = Context::from_waker(&waker);
        let mut chunks = VecDeque::new();
        assert_eq!(
            mailbox.poll_take(&mut cx, usize::MAX, &mut chunks),
            Taken::Empty
        );
        for _ in 0..10 {
            push(&mailbox, &frame(1));
        }
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(
            mailbox.poll_take(&mut cx, usize::MAX, &mut chunks),
            Taken::Messages(10)
        );
    }

    #[test]
    fn a_budget_is_kept_but_never_starves() {
        let mailbox = Mailbox::new(limits(100, Overflow::Disconnect));
        for _ in 0..3 {
            push(&mailbox, &frame(SHARED_RUN_MIN));
        }
        let mut chunks = VecDeque::new();
        assert_eq!(mailbox.take(1, &mut chunks), Taken::Messages(1));
        assert_eq!(
            mailbox.take(2 * SHARED_RUN_MIN, &mut chunks),
            Taken::Messages(1)
        );
    }

    #[test]
    fn a_moving_consumer_makes_its_producer_wait() {
        let mailbox = Mailbox::new(Limits {
            stall_limit: Duration::from_secs(3600),
            ..limits(1, Overflow::Disconnect)
        });
        assert_eq!(push(&mailbox, &frame(1)), Pushed::Accepted);
        assert!(matches!(push(&mailbox, &frame(1)), Pushed::Full { .. }));
        assert_eq!(take_all(&mailbox).len(), 5);
        assert_eq!(push(&mailbox, &frame(1)), Pushed::Accepted);
    }

    #[test]
    fn a_waiting_producer_is_released_by_a_take() {
        let mailbox = Mailbox::new(Limits {
            stall_limit: Duration::from_secs(3600),
            ..limits(1, Overflow::Disconnect)
        });
        push(&mailbox, &frame(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while matches!(push(&mailbox, &frame(2)), Pushed::Full { .. }) {
                    mailbox.wait_room(6, 1, Duration::from_secs(60));
                }
            });
            assert_eq!(mailbox.wait(None), Taken::Messages(1));
            // Once: the producer is let in by it, and what it pushes is for the last line.
            let taken = mailbox.take(usize::MAX, &mut VecDeque::new());
            assert_eq!(taken, Taken::Messages(1));
            waiting.join().unwrap();
        });
        assert_eq!(take_all(&mailbox), frame(2));
    }

    /// Notes whether the mailbox can be looked at when the task is woken, as a waker of an
    /// application may do.
    struct Looking {
        mailbox: Arc<Mailbox>,
        looked: AtomicU64,
    }

    impl TaskWake for Looking {
        fn wake(self: Arc<Self>) {
            let free = self.mailbox.inner.try_lock().is_some();
            self.looked.fetch_add(u64::from(free), Ordering::SeqCst);
        }
    }

    #[test]
    fn producers_and_consumers_are_woken_without_a_lock() {
        let mailbox = Arc::new(Mailbox::new(Limits {
            stall_limit: Duration::from_secs(3600),
            ..limits(1, Overflow::Disconnect)
        }));
        let looking = Arc::new(Looking {
            mailbox: mailbox.clone(),
            looked: AtomicU64::new(0),
        });
        let waker = Waker::from(looking.clone());
        let mut cx = Context::from_waker(&waker);
        let ends: [fn(&Mailbox); 4] = [
            |mailbox| assert_eq!(take_all(mailbox), frame(1)),
            Mailbox::close,
            |mailbox| mailbox.overflow(mailbox.lock()),
            Mailbox::finish,
        ];
        for end in ends {
            mailbox.lock().state = State::Open;
            mailbox.register(&mut cx);
            push(&mailbox, &frame(1));
            assert_eq!(looking.looked.swap(0, Ordering::SeqCst), 1);
            assert!(mailbox.poll_room(&mut cx, 5, 1).is_pending());
            end(&mailbox);
            assert_eq!(looking.looked.swap(0, Ordering::SeqCst), 1);
        }
    }

    #[test]
    fn producers_that_give_up_leave_nothing_behind_for_good() {
        let mailbox = Mailbox::new(Limits {
            stall_limit: Duration::from_secs(3600),
            ..limits(1, Overflow::Disconnect)
        });
        push(&mailbox, &frame(1));
        let counters: Vec<Arc<CountingWaker>> =
            (0..3 * WAITING_TASKS_MAX).map(|_| Arc::default()).collect();
        for counter in &counters {
            let waker = Waker::from(counter.clone());
            let mut cx = Context::from_waker(&waker);
            assert!(mailbox.poll_room(&mut cx, 5, 1).is_pending());
        }
        assert!(mailbox.lock().producers.tasks.len() <= WAITING_TASKS_MAX);
        take_all(&mailbox);
        let woken = |counter: &Arc<CountingWaker>| counter.0.load(Ordering::SeqCst) == 1;
        assert!(counters.iter().all(woken));
    }

    #[test]
    fn policies_of_a_stalled_consumer() {
        let (first, second) = (frame(1), frame(2));
        let newest = Mailbox::new(limits(1, Overflow::DropNewest));
        push(&newest, &first);
        assert_eq!(
            push(&newest, &second),
            Pushed::Dropped { burst_began: true }
        );
        assert_eq!(
            push(&newest, &second),
            Pushed::Dropped { burst_began: false }
        );
        assert_eq!((newest.dropped(), take_all(&newest)), (2, first.to_vec()));

        let oldest = Mailbox::new(limits(1, Overflow::DropOldest));
        push(&oldest, &first);
        assert_eq!(
            push(&oldest, &second),
            Pushed::Dropped { burst_began: true }
        );
        assert_eq!((oldest.dropped(), take_all(&oldest)), (1, second.to_vec()));

        let disconnect = Mailbox::new(limits(1, Overflow::Disconnect));
        push(&disconnect, &first);
        assert_eq!(push(&disconnect, &second), Pushed::Closed);
        assert_eq!(disconnect.peek(), Taken::Overflowed);

        let block = Mailbox::new(limits(1, Overflow::Block));
        push(&block, &first);
        assert!(matches!(push(&block, &second), Pushed::Full { .. }));
        let exhausted = block.push(Run::shared(&second, 1), Patience::Exhausted);
        assert_eq!(exhausted, Pushed::Dropped { burst_began: true });
    }

    #[test]
    fn a_strict_limit_applies_within_a_run() {
        let run: Bytes = [frame(1), frame(2), frame(3)].concat().into();
        let strict = |overflow| {
            Mailbox::new(Limits {
                strict: true,
                ..limits(2, overflow)
            })
        };
        let newest = strict(Overflow::DropNewest);
        let pushed = newest.push(Run::shared(&run, 3), Patience::Waits);
        assert_eq!(pushed, Pushed::Dropped { burst_began: true });
        assert_eq!(take_all(&newest), [frame(1), frame(2)].concat());
        let oldest = strict(Overflow::DropOldest);
        oldest.push(Run::shared(&run, 3), Patience::Waits);
        assert_eq!(take_all(&oldest), [frame(2), frame(3)].concat());
        let disconnect = strict(Overflow::Disconnect);
        assert_eq!(
            disconnect.push(Run::shared(&run, 3), Patience::Waits),
            Pushed::Closed
        );
    }

    #[test]
    fn control_frames_pass_limits_but_not_without_end() {
        let mailbox = Mailbox::new(limits(1, Overflow::DropOldest));
        push(&mailbox, &frame(1));
        mailbox.push_control(frame(2));
        push(&mailbox, &frame(3));
        assert_eq!(take_all(&mailbox), [frame(2), frame(3)].concat());
        let large = frame(CONTROL_BYTES_MIN);
        for _ in 0..3 {
            mailbox.push_control(large.clone());
        }
        assert_eq!(mailbox.peek(), Taken::Overflowed);
    }

    #[test]
    fn a_run_larger_than_the_limit_is_let_in_alone() {
        let mailbox = Mailbox::new(Limits {
            stall_limit: Duration::from_secs(3600),
            ..limits(100, Overflow::Disconnect)
        });
        assert_eq!(push(&mailbox, &frame(2 << 20)), Pushed::Accepted);
        assert!(matches!(push(&mailbox, &frame(1)), Pushed::Full { .. }));
    }

    #[test]
    fn what_the_consumer_holds_is_there_for_everybody() {
        let mailbox = Mailbox::new(limits(10, Overflow::DropNewest));
        for _ in 0..2 {
            mailbox.push(Run::shared(&frame(1), 1), Patience::Waits);
        }
        let mut taken = VecDeque::new();
        assert_eq!(mailbox.take(1024, &mut taken), Taken::Messages(2));
        // One thread took both and has use for one: another one must not sleep over the second.
        let now = Some(Instant::now());
        assert_eq!(mailbox.wait(now), Taken::Messages(0));
        mailbox.finish();
        assert_eq!(mailbox.wait(now), Taken::Messages(0));
        mailbox.lower_ready();
        assert_eq!(mailbox.wait(now), Taken::Closed);
    }

    #[test]
    fn what_is_put_back_wakes_who_waits() {
        let mailbox = Mailbox::new(limits(10, Overflow::DropNewest));
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| mailbox.wait(Some(Instant::now() + Duration::from_secs(20))));
            while mailbox.lock().wake.parked == 0 {
                std::thread::yield_now();
            }
            mailbox.raise_ready();
            assert_eq!(waiting.join().unwrap(), Taken::Messages(0));
        });
    }

    #[test]
    fn a_finished_mailbox_gives_what_it_has_and_a_closed_one_nothing() {
        let finished = Mailbox::new(limits(100, Overflow::Disconnect));
        push(&finished, &frame(1));
        finished.finish();
        assert_eq!(push(&finished, &frame(2)), Pushed::Closed);
        assert_eq!(take_all(&finished), frame(1));
        assert_eq!(finished.peek(), Taken::Closed);
        let closed = Mailbox::new(limits(100, Overflow::Disconnect));
        push(&closed, &frame(1));
        closed.close();
        assert_eq!(closed.peek(), Taken::Closed);
    }

    #[test]
    #[cfg(feature = "http")]
    fn readers_of_json_share_what_is_left_of_a_run() {
        let limits = |messages_max| Limits {
            strict: true,
            translated: true,
            ..limits(messages_max, Overflow::DropOldest)
        };
        let targets = [100, 2].map(|messages_max| Target {
            mailbox: Arc::new(Mailbox::new(limits(messages_max))),
            kind: TargetKind::Client,
        });
        let bytes = Bytes::from([frame(500), frame(500), frame(500)].concat());
        let slot = crate::flow::translation::Slot::default();
        let run = Run::shared(&bytes, 3).translated_in(&slot, json_readers(targets.iter()), 1024);
        let single = frame(4);
        for target in &targets {
            target.mailbox.push(run, Patience::Waits);
            target
                .mailbox
                .push(Run::shared(&single, 1), Patience::Waits);
        }
        let take = |mailbox: &Mailbox| {
            let mut chunks = VecDeque::new();
            mailbox.take(usize::MAX, &mut chunks);
            chunks
        };
        let [roomy, tight] = targets.map(|target| target.mailbox);
        let [mut first, mut second] = Vec::from(take(&roomy)).try_into().unwrap();
        let (translation, index) = first.next_translation().unwrap();
        assert_eq!((translation.frames(), index), (3, 0));
        assert!(Arc::ptr_eq(&translation, slot.get().unwrap()));
        assert!(first.next_translation().is_none());
        let (translation, index) = second.next_translation().unwrap();
        assert_eq!((translation.frames(), index), (1, 0));
        let left: usize = take(&tight).iter().map(|chunk| chunk.frames).sum();
        assert_eq!((left, tight.dropped()), (2, 2));
    }

    #[test]
    #[cfg(feature = "http")]
    fn a_reader_of_json_that_shares_nothing_translates_what_it_takes() {
        let target = Target {
            mailbox: Arc::new(Mailbox::new(Limits {
                translated: true,
                ..limits(100, Overflow::DropOldest)
            })),
            kind: TargetKind::Client,
        };
        let others = Target {
            kind: TargetKind::Peer,
            ..target.clone()
        };
        let slot = crate::flow::translation::Slot::default();
        let frames = [4000, 8000, 5000, 3000].map(frame);
        for frame in &frames {
            let targets = [&others, &target, &others].into_iter();
            let run = Run::copied(frame, 1).translated_in(&slot, json_readers(targets), 1024);
            target.mailbox.push(run, Patience::Waits);
        }
        let mut chunks = VecDeque::new();
        target.mailbox.take(usize::MAX, &mut chunks);
        let mut runs = Vec::new();
        for chunk in &mut chunks {
            while let Some((translation, index)) = chunk.next_translation() {
                assert_eq!(index, 0);
                assert!(translation.run().len() <= TRANSLATED_BYTES_MAX);
                runs.push((translation.frames(), translation.run().clone()));
            }
        }
        let messages: usize = runs.iter().map(|(frames, _)| frames).sum();
        assert_eq!(messages, 4);
        let bytes = runs.iter().map(|(_, run)| run.to_vec());
        assert_eq!(bytes.collect::<Vec<_>>().concat(), frames.concat());
        assert!(slot.get().is_none());
    }
}
