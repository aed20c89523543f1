//! Conditions that threads and tasks wait for.
//!
//! The state that a condition looks at is in a [`Lock`](crate::lock::Lock). Who changes it calls
//! [`Signal::notify`] once the lock is released; who waits looks again then.

use std::future::Future;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Timeout;

use crate::lock::Locked;

/// Where threads and tasks wait for a state behind a lock to change.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    threads: Condvar,
    /// Changes under the lock: who changed the state sees each thread that looked at it before, and
    /// spares the system call if there is none.
    parked: AtomicUsize,
    tasks: Notify,
}

impl Signal {
    /// Has all that wait look again.
    pub(crate) fn notify(&self) {
        if self.parked.load(Ordering::Relaxed) > 0 {
            self.threads.notify_all();
        }
        self.tasks.notify_waiters();
    }

    /// Blocks until `check` has something to say or the time is over.
    pub(crate) fn wait<S, R>(
        &self,
        mut state: Locked<'_, S>,
        timeout: Duration,
        mut check: impl FnMut(&mut S) -> Option<R>,
    ) -> Option<R> {
        if let Some(result) = check(&mut state) {
            return Some(result);
        }
        let deadline = Instant::now().checked_add(timeout);
        self.parked.fetch_add(1, Ordering::Relaxed);
        let (_state, result) = state.wait_for(&self.threads, deadline, check);
        self.parked.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Resolves when `check` has something to say.
    pub(crate) async fn until<R>(&self, mut check: impl FnMut() -> Option<R>) -> R {
        loop {
            let notified = self.tasks.notified();
            tokio::pin!(notified);
            // Before the look: a change behind it is not missed.
            notified.as_mut().enable();
            if let Some(result) = check() {
                return result;
            }
            notified.await;
        }
    }

    /// Whether a thread waits.
    #[cfg(test)]
    pub(crate) fn has_threads(&self) -> bool {
        self.parked.load(Ordering::Relaxed) > 0
    }
}

/// A future with a limit of time, which may be polled outside of the runtime that keeps the time.
pub(crate) fn within<F: Future>(runtime: &Handle, limit: Duration, future: F) -> Timeout<F> {
    let _context = runtime.enter();
    tokio::time::timeout(limit, future)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lock::Lock;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn is_seven(value: &mut u32) -> Option<u32> {
        (*value == 7).then_some(*value)
    }

    #[test]
    fn a_thread_is_woken_by_a_change() {
        let state = Lock::new(0);
        let signal = Signal::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| signal.wait(state.lock(), DEADLINE, is_seven));
            while !signal.has_threads() {
                std::thread::yield_now();
            }
            *state.lock() = 7;
            signal.notify();
            assert_eq!(waiting.join().unwrap(), Some(7));
        });
        assert!(!signal.has_threads());
    }

    #[test]
    fn a_wait_ends_with_its_time_and_looks_before() {
        let state = Lock::new(0);
        let signal = Signal::default();
        assert_eq!(signal.wait(state.lock(), Duration::ZERO, is_seven), None);
        *state.lock() = 7;
        assert_eq!(signal.wait(state.lock(), Duration::ZERO, is_seven), Some(7));
    }

    #[tokio::test]
    async fn a_task_is_woken_by_a_change() {
        let state = Arc::new((Lock::new(0), Signal::default()));
        let task = tokio::spawn({
            let state = state.clone();
            async move { state.1.until(|| is_seven(&mut state.0.lock())).await }
        });
        tokio::task::yield_now().await;
        *state.0.lock() = 7;
        state.1.notify();
        assert_eq!(task.await.unwrap(), 7);
    }

    #[test]
    fn a_limit_of_time_needs_no_runtime_where_it_is_polled() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let limited = within(
            runtime.handle(),
            Duration::from_millis(1),
            std::future::pending::<()>(),
        );
        let (sender, receiver) = std::sync::mpsc::channel();
        struct Telling(std::sync::mpsc::Sender<()>);
        impl std::task::Wake for Telling {
            fn wake(self: Arc<Self>) {
                let _ = self.0.send(());
            }
        }
        let waker = Arc::new(Telling(sender)).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut limited = std::pin::pin!(limited);
        while limited.as_mut().poll(&mut context).is_pending() {
            receiver.recv_timeout(DEADLINE).unwrap();
        }
    }
}
