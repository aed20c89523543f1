//! Mutexes under which no task is woken.
//!
//! A waker may be code of the application, which may call this crate again: woken while its thread
//! holds a lock, it would wait for itself. So all mutexes of this crate are [`Lock`]s, which count
//! how many of them a thread holds, and tasks are woken by [`wake`], which waits until it is none.
//! `make tidy` finds others.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

thread_local! {
    /// Locks that this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// Whether tasks wait for it to hold none.
    static HAS_DUE: Cell<bool> = const { Cell::new(false) };
    static DUE: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Wakes a task: at once, or when this thread releases the last of its locks.
#[inline]
pub(crate) fn wake(task: Waker) {
    if HELD.get() == 0 {
        task.wake();
    } else {
        wake_later(task);
    }
}

#[cold]
fn wake_later(task: Waker) {
    // A thread that ends has no place to keep the task any more; it holds no lock of its own then.
    let kept = DUE.try_with(|due| due.borrow_mut().push(task));
    HAS_DUE.set(kept.is_ok());
}

#[cold]
fn wake_due() {
    HAS_DUE.set(false);
    let due = DUE.try_with(|due| std::mem::take(&mut *due.borrow_mut()));
    for task in due.unwrap_or_default() {
        task.wake();
    }
}

/// A mutex whose holders are counted. What a thread that panicked left behind is used as it is.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        Locked::new(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing while another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(Locked::new(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Locked::new(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A lock that this thread holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a, T> {
    /// Released before it is counted.
    guard: MutexGuard<'a, T>,
    count: Count,
}

impl<'a, T> Locked<'a, T> {
    #[inline]
    fn new(guard: MutexGuard<'a, T>) -> Self {
        HELD.set(HELD.get() + 1);
        let count = Count;
        Self { guard, count }
    }

    /// Waits at a condition until `check` finds something or the deadline, if there is one, has passed. It
    /// looks before it waits the first time; `None` says that there was nothing at the deadline. All
    /// threads of this crate that wait for a state do so here.
    pub(crate) fn wait_for<R>(
        mut self,
        condition: &Condvar,
        deadline: Option<Instant>,
        mut check: impl FnMut(&mut T) -> Option<R>,
    ) -> (Self, Option<R>) {
        loop {
            let found = check(&mut self);
            if found.is_some() {
                return (self, found);
            }
            self = match self.wait_until(condition, deadline) {
                Ok(locked) => locked,
                Err(locked) => return (locked, None),
            };
        }
    }

    /// As [`wait_for`](Self::wait_for) without a deadline.
    pub(crate) fn wait_for_ever<R>(
        mut self,
        condition: &Condvar,
        mut check: impl FnMut(&mut T) -> Option<R>,
    ) -> (Self, R) {
        loop {
            if let Some(found) = check(&mut self) {
                return (self, found);
            }
            self = self.wait(condition);
        }
    }

    /// Releases it until the condition is notified, then holds it again.
    fn wait(self, condition: &Condvar) -> Self {
        let Self { guard, count } = self;
        let guard = condition
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner);
        Self { guard, count }
    }

    /// As [`wait`](Self::wait), until the deadline if there is one. `Err` gives the lock back when it
    /// has passed.
    fn wait_until(self, condition: &Condvar, deadline: Option<Instant>) -> Result<Self, Self> {
        let Some(deadline) = deadline else {
            return Ok(self.wait(condition));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self);
        }
        Ok(self.wait_timeout(condition, left))
    }

    /// Waits once, for at most `timeout`: for callers that look at more than one time, or look again in
    /// another way.
    pub(crate) fn wait_timeout(self, condition: &Condvar, timeout: Duration) -> Self {
        let Self { guard, count } = self;
        let (guard, _) = condition
            .wait_timeout(guard, timeout)
            .unwrap_or_else(PoisonError::into_inner);
        Self { guard, count }
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// One of the locks that a thread holds.
#[derive(Debug)]
struct Count;

impl Drop for Count {
    #[inline]
    fn drop(&mut self) {
        let left = HELD.get() - 1;
        HELD.set(left);
        if left == 0 && HAS_DUE.get() {
            wake_due();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Takes the locks when it is woken, as an application's waker may.
    struct Taking {
        first: Lock<u32>,
        second: Lock<u32>,
    }

    impl Wake for Taking {
        fn wake(self: Arc<Self>) {
            *self.first.try_lock().expect("woken under a lock") += 1;
            *self.second.try_lock().expect("woken under a lock") += 1;
        }
    }

    #[test]
    fn a_task_is_woken_when_the_last_lock_is_released() {
        let taking = Arc::new(Taking {
            first: Lock::new(0),
            second: Lock::new(0),
        });
        let waker = || Waker::from(taking.clone());
        wake(waker());
        assert_eq!(*taking.first.lock(), 1);

        let first = taking.first.lock();
        let second = taking.second.lock();
        wake(waker());
        wake(waker());
        drop(first);
        // The other one is still held.
        assert_eq!(*taking.first.lock(), 1);
        drop(second);
        assert_eq!(*taking.first.lock(), 3);
        assert_eq!(*taking.second.lock(), 3);
        assert_eq!(HELD.get(), 0);
    }

    #[test]
    fn waiting_keeps_the_count() {
        let lock = Lock::new(());
        let condition = Condvar::new();
        let locked = lock.lock();
        let locked = locked.wait_timeout(&condition, Duration::ZERO);
        assert!(lock.try_lock().is_none());
        assert_eq!(HELD.get(), 1);
        drop(locked);
        assert_eq!(HELD.get(), 0);
    }
}
