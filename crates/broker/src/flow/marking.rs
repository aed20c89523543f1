//! Marks on what this endpoint sends, and the memory of those that came.
//!
//! What a mark is, and how many are remembered, is decided in [`broker_proto::mark`] and
//! [`broker_proto::duplicates`]; here they meet threads. An endpoint with one peer takes no lock and
//! looks nothing up: it only notes hints, in case that a second peer comes. See ADR 0115.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use broker_data::{Timespan, Timestamp};
use broker_proto::duplicates::{Duplicates, HINTS_MAX, Key, Keys};
use broker_proto::mark::{Mark, ORIGIN_SIZE};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::lock::Lock;

/// How long a connection waits for a sibling's mailbox before it goes over its limit, where messages
/// come in several ways: the sibling may be waiting for this endpoint, and so on in a circle. Anybody
/// who only is slow for a moment has moved by then.
pub(crate) const PRESS_AFTER: Duration = Duration::from_millis(50);

/// How long connections then go on without waiting first, so that a jam is gone in no time.
const PRESS_FOR: Timespan = Timespan::from_ns(1_000_000_000);

#[derive(Debug)]
pub(crate) struct Marking {
    origin: [u8; ORIGIN_SIZE],
    keys: Keys,
    /// Of the next message that gets a mark here.
    number: AtomicU64,
    /// Whether messages are looked up: set while there are several peers, and for a while after.
    is_checking: AtomicBool,
    memory: Lock<Memory>,
    /// Hints of the last messages that came while there was one peer: a ring. It has one writer, the
    /// task of that peer. While a second peer comes there may be two for a moment; a hint that is
    /// lost then costs a duplicate at most.
    hints: OnceLock<Box<[AtomicU64]>>,
    hints_written: AtomicUsize,
    /// One permit, for the connection that notes marked messages and hands them on. Another one that
    /// dropped copies of these meanwhile, and went on with what is behind them, would change the
    /// order.
    lock: Arc<Semaphore>,
    /// Until when nobody waits for siblings, as the endpoint counts time.
    press_until: AtomicI64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Memory {
    duplicates: Duplicates,
    hints_read: usize,
}

impl Marking {
    /// Takes random bytes.
    pub(crate) fn new(random: [u8; 24]) -> Self {
        let mut origin = [0; ORIGIN_SIZE];
        origin.copy_from_slice(&random[..ORIGIN_SIZE]);
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&random[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Self {
            origin,
            keys: Keys::new([number(8), number(16)]),
            number: AtomicU64::new(0),
            is_checking: AtomicBool::new(false),
            memory: Lock::default(),
            hints: OnceLock::new(),
            hints_written: AtomicUsize::new(0),
            lock: Arc::new(Semaphore::new(1)),
            press_until: AtomicI64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// A mark for a message that has none yet.
    pub(crate) fn next(&self) -> Mark {
        Mark {
            origin: self.origin,
            number: self.number.fetch_add(1, Ordering::Relaxed),
            hops: 0,
        }
    }

    /// Whether messages are known to come in several ways, so that endpoints may wait for each other
    /// in a circle.
    pub(crate) fn is_in_circle(&self) -> bool {
        self.dropped() > 0
    }

    /// Nobody waits for siblings for a while.
    pub(crate) fn press(&self, now: Timestamp) {
        let until = now.saturating_add(PRESS_FOR);
        self.press_until.store(until.ns(), Ordering::Relaxed);
    }

    pub(crate) fn is_pressing(&self, now: Timestamp) -> bool {
        now.ns() < self.press_until.load(Ordering::Relaxed)
    }

    /// Copies that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Notes a marked message; `false`: it is a copy of one that came before, and counted as such.
    pub(crate) fn is_first(&self, mark: Mark, frame: &[u8], has_several_peers: bool) -> bool {
        if mark.origin == self.origin {
            return self.count_copy();
        }
        if !has_several_peers && !self.is_checking.load(Ordering::Relaxed) {
            self.note_hint(self.keys.hint(mark, frame));
            return true;
        }
        let key = self.keys.key(mark, frame);
        let mut memory = self.memory.lock();
        self.is_checking.store(true, Ordering::Relaxed);
        self.take_hints(&mut memory);
        let hint = || self.keys.hint(mark, frame);
        if !memory.duplicates.insert(key, hint) {
            return self.count_copy();
        }
        if !has_several_peers && memory.duplicates.calms_down() {
            self.is_checking.store(false, Ordering::Relaxed);
        }
        true
    }

    /// Whether a marked message came before; if so it is counted as dropped.
    pub(crate) fn is_copy(&self, mark: Mark, frame: &[u8]) -> bool {
        let is_known = mark.origin == self.origin || {
            let key = self.keys.key(mark, frame);
            let mut memory = self.memory.lock();
            self.take_hints(&mut memory);
            let hint = || self.keys.hint(mark, frame);
            memory.duplicates.contains(key, hint)
        };
        is_known && !self.count_copy()
    }

    fn count_copy(&self) -> bool {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn note_hint(&self, Key(hint): Key) {
        let make = || (0..HINTS_MAX).map(|_| AtomicU64::new(0)).collect();
        let hints = self.hints.get_or_init(make);
        let written = self.hints_written.load(Ordering::Relaxed);
        if let Some(place) = hints.get(written % HINTS_MAX) {
            place.store(hint, Ordering::Relaxed);
        }
        self.hints_written
            .store(written.wrapping_add(1), Ordering::Release);
    }

    /// Has the memory include the hints that came since the last time.
    fn take_hints(&self, memory: &mut Memory) {
        let written = self.hints_written.load(Ordering::Acquire);
        let count = written.wrapping_sub(memory.hints_read).min(HINTS_MAX);
        let Some(hints) = self.hints.get().filter(|_| count > 0) else {
            return;
        };
        memory.hints_read = written;
        let newest = (0..count).map(|back| written.wrapping_sub(back + 1) % HINTS_MAX);
        let places = newest.filter_map(|at| hints.get(at));
        memory
            .duplicates
            .add_hints(places.map(|place| Key(place.load(Ordering::Relaxed))));
    }
}

/// One connection's hold on the lock under which marked messages are noted: from the first that it
/// notes until all are handed on.
#[derive(Default)]
pub(crate) struct MarkingLock {
    held: Option<OwnedSemaphorePermit>,
    wait: Option<LockWait>,
}

type LockWait = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl MarkingLock {
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the lock; `false`: another connection has it, and the task is woken when it is free.
    pub(crate) fn acquire(&mut self, cx: &mut Context<'_>, marking: &Marking) -> bool {
        let lock = marking.lock.clone();
        match lock.clone().try_acquire_owned() {
            Ok(permit) => self.held = Some(permit),
            Err(_) => self.wait = Some(Box::pin(lock.acquire_owned())),
        }
        !self.is_waiting(cx)
    }

    /// Whether it is waited for; the task is woken when it is not any more.
    pub(crate) fn is_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wait) = &mut self.wait else {
            return false;
        };
        let Poll::Ready(permit) = wait.as_mut().poll(cx) else {
            return true;
        };
        // The semaphore is never closed.
        self.held = permit.ok();
        self.wait = None;
        false
    }

    pub(crate) fn release(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use broker_proto::EndpointId;
    use broker_proto::frame::{EnvelopeError, Tag, write_envelope};

    use super::*;

    fn marking(number: u8) -> Marking {
        let mut random = [number; 24];
        random[8..].copy_from_slice(b"some random seed");
        Marking::new(random)
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let id = EndpointId::NIL;
        write_envelope::<EnvelopeError>(&mut frame, id, id, Tag::Data, b"/t", |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        frame
    }

    #[test]
    fn own_messages_never_come_back() {
        let (here, there) = (marking(1), marking(2));
        let mark = here.next();
        assert!(!here.is_first(mark, &frame(b"x"), true));
        assert!(!here.is_first(mark.after_hop(), &frame(b"x"), false));
        assert!(there.is_first(mark, &frame(b"x"), true));
        assert_eq!((here.dropped(), there.dropped()), (2, 0));
    }

    #[test]
    fn marks_do_not_repeat() {
        let here = marking(1);
        let (first, second) = (here.next(), here.next());
        assert_ne!(first, second);
        let there = marking(2);
        for mark in [first, second] {
            assert!(there.is_first(mark, &frame(b"x"), true));
            assert!(!there.is_first(mark.after_hop(), &frame(b"x"), true));
        }
        assert_eq!(there.dropped(), 2);
    }

    #[test]
    fn what_came_before_the_second_peer_is_known_to_have_come() {
        let (here, other) = (marking(1), marking(2));
        let marks: Vec<Mark> = (0..10).map(|_| other.next()).collect();
        for mark in &marks {
            assert!(here.is_first(*mark, &frame(b"x"), false));
            // With one peer nothing is looked up.
            assert!(here.is_first(*mark, &frame(b"x"), false));
        }
        for mark in &marks {
            assert!(here.is_copy(*mark, &frame(b"x")));
            assert!(!here.is_first(*mark, &frame(b"x"), true));
        }
        // And what came before the second peer left, too.
        let mark = other.next();
        assert!(here.is_first(mark, &frame(b"x"), true));
        assert!(!here.is_first(mark, &frame(b"x"), false));
    }

    #[test]
    fn a_mark_used_ahead_of_its_owner_suppresses_nothing() {
        let (here, other) = (marking(1), marking(2));
        let mark = other.next();
        assert!(here.is_first(mark, &frame(b"forged"), true));
        assert!(here.is_first(mark, &frame(b"honest"), true));
        assert!(!here.is_first(mark, &frame(b"honest"), true));
    }
}
