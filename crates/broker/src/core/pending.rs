//! The result of a control call: a future that can also be waited for by a thread.
//!
//! The answer comes from whichever thread has it: the task of a connection, the timer, another call.
//! Callers may be async tasks, plain threads or Python, so it can be awaited, waited for, or waited
//! for in slices.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::lock::{Lock, Locked, wake};

/// The pending answer of a control call.
///
/// Await it from async code, or call [`wait`](Self::wait) from a thread. Dropping it abandons the
/// answer, not the work: a peering asked for keeps being established.
///
/// Waiting blocks the calling thread; inside an async task await the value instead.
#[must_use = "the call's outcome is in the value this resolves to"]
pub struct Pending<T> {
    cell: Arc<Cell<T>>,
}

struct Cell<T> {
    slot: Lock<Slot<T>>,
    answered: Condvar,
}

enum Slot<T> {
    Waiting(Option<Waker>),
    Answered(T),
    Taken,
}

impl<T> Slot<T> {
    /// The answer once it is there; `Some(None)` when it was taken before.
    fn take(&mut self) -> Option<Option<T>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Answered(value) => Some(Some(value)),
            Self::Taken => Some(None),
            waiting @ Self::Waiting(_) => {
                *self = waiting;
                None
            }
        }
    }
}

impl<T> Cell<T> {
    fn lock(&self) -> Locked<'_, Slot<T>> {
        self.slot.lock()
    }
}

/// The side that answers. Dropping it unanswered answers with what `lost` makes.
pub(crate) struct Resolver<T> {
    cell: Arc<Cell<T>>,
    lost: fn() -> T,
    answered: bool,
}

impl<T> Pending<T> {
    /// Creates a pair; `lost` makes the answer for the case that the answering side disappears.
    pub(crate) fn new(lost: fn() -> T) -> (Resolver<T>, Self) {
        let cell = Arc::new(Cell {
            slot: Lock::new(Slot::Waiting(None)),
            answered: Condvar::new(),
        });
        (
            Resolver {
                cell: cell.clone(),
                lost,
                answered: false,
            },
            Self { cell },
        )
    }

    /// Blocks the calling thread until the answer is there.
    pub fn wait(self) -> T {
        let answered = &self.cell.answered;
        let slot = self.cell.lock();
        let (_slot, answer) = slot.wait_for_ever(answered, |slot| slot.take().flatten());
        answer
    }

    /// Blocks for at most `timeout`; `None` says that the answer is still pending, and the call
    /// may be repeated. Once it returned the answer, later calls return `None` at once.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<T> {
        let deadline = Instant::now().checked_add(timeout);
        let answered = &self.cell.answered;
        let slot = self.cell.lock();
        let (_slot, answer) = slot.wait_for(answered, deadline, Slot::take);
        answer.flatten()
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.cell.lock();
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Answered(value) => Poll::Ready(value),
            // Polled again after completion: like any finished future, it stays pending.
            Slot::Taken => Poll::Pending,
            Slot::Waiting(_) => {
                *slot = Slot::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = !matches!(*self.cell.lock(), Slot::Waiting(_));
        f.debug_struct("Pending")
            .field("answered", &answered)
            .finish_non_exhaustive()
    }
}

impl<T> Resolver<T> {
    /// Gives the answer and wakes whoever waits.
    pub(crate) fn resolve(mut self, value: T) {
        self.answer(value);
    }

    fn answer(&mut self, value: T) {
        self.answered = true;
        let previous = std::mem::replace(&mut *self.cell.lock(), Slot::Answered(value));
        self.cell.answered.notify_all();
        if let Slot::Waiting(Some(waker)) = previous {
            wake(waker);
        }
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        if !self.answered {
            let value = (self.lost)();
            self.answer(value);
        }
    }
}

impl<T> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_returns_what_another_thread_answers() {
        let (resolver, pending) = Pending::new(|| 0);
        let thread = std::thread::spawn(move || resolver.resolve(7));
        assert_eq!(pending.wait(), 7);
        thread.join().unwrap();
    }

    #[test]
    fn wait_timeout_can_be_repeated() {
        let (resolver, mut pending) = Pending::new(|| 0);
        assert_eq!(pending.wait_timeout(Duration::from_millis(1)), None);
        resolver.resolve(7);
        assert_eq!(pending.wait_timeout(Duration::from_secs(60)), Some(7));
        assert_eq!(pending.wait_timeout(Duration::from_secs(60)), None);
    }

    #[test]
    fn a_lost_resolver_answers() {
        let (resolver, pending) = Pending::new(|| -1);
        drop(resolver);
        assert_eq!(pending.wait(), -1);
    }

    #[tokio::test]
    async fn can_be_awaited() {
        let (resolver, pending) = Pending::new(|| 0);
        let task = tokio::spawn(pending);
        resolver.resolve(3);
        assert_eq!(task.await.unwrap(), 3);
    }
}
