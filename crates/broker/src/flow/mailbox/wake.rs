//! Wake-ups at a mailbox: of its consumer, which is a task, a parked thread or the reader of a
//! descriptor, and of producers that wait for room.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::flow::mailbox::ready_fd::ReadyFd;
use crate::flow::mailbox::{Inner, Mailbox, State, Taken};
use crate::lock::{Locked, wake};

/// Tasks that are remembered to wait for room. Some of them may have given up without a word, so
/// beyond this all are woken, and those that still wait come again.
pub(super) const WAITING_TASKS_MAX: usize = 1024;

/// Watchers that are remembered. Some may have given up since, so beyond this all are woken, and those
/// that still watch come again.
const WATCHERS_MAX: usize = 64;

/// How the consumer is woken, which may be a task, parked threads or the reader of a descriptor.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) task: Option<Waker>,
    pub(super) parked: usize,
    pub(super) ready: Option<ReadyFd>,
    /// Event loops that watch the mailbox beside its consumer.
    /// Bound: `WATCHERS_MAX`.
    watchers: Vec<Waker>,
}

/// Those who wait for room.
#[derive(Debug, Default)]
pub(super) struct Producers {
    /// Bound: `WAITING_TASKS_MAX`.
    pub(super) tasks: Vec<Waker>,
    pub(super) parked: usize,
}

impl Mailbox {
    /// Parks the calling producer until there may be room for the run, at most for `timeout`.
    pub(crate) fn wait_room(&self, bytes: usize, frames: usize, timeout: Duration) {
        let mut inner = self.lock();
        if inner.state != State::Open || inner.queue.has_room(&self.limits, bytes, frames) {
            return;
        }
        inner.producers.parked += 1;
        // Spurious wake-ups are harmless: the caller pushes again and is told to wait again.
        let mut inner = inner.wait_timeout(&self.room, timeout);
        inner.producers.parked = inner.producers.parked.saturating_sub(1);
    }

    /// Resolves once there may be room for the run.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, bytes: usize, frames: usize) -> Poll<()> {
        let mut inner = self.lock();
        if inner.state != State::Open || inner.queue.has_room(&self.limits, bytes, frames) {
            return Poll::Ready(());
        }
        let tasks = &mut inner.producers.tasks;
        if tasks.len() >= WAITING_TASKS_MAX {
            tasks.drain(..).for_each(wake);
        }
        if !tasks.iter().any(|waker| waker.will_wake(cx.waker())) {
            tasks.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Has the task woken when something comes.
    pub(crate) fn register(&self, cx: &mut Context<'_>) {
        let mut inner = self.lock();
        if !inner
            .wake
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            inner.wake.task = Some(cx.waker().clone());
        }
    }

    /// Resolves once there is something to take or nothing will come any more. Beside the task that
    /// consumes, any number of others may ask.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.held || inner.peek() != Taken::Empty {
            return Poll::Ready(());
        }
        let watchers = &mut inner.wake.watchers;
        if watchers.len() >= WATCHERS_MAX {
            watchers.drain(..).for_each(wake);
        }
        if !watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
            watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Parks the calling thread until there is something, at most until `deadline`. No messages
    /// means that some are held by the consumer.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Taken {
        let mut inner = self.lock();
        inner.wake.parked += 1;
        let (mut inner, found) = inner.wait_for(&self.arrived, deadline, |inner| {
            if inner.held {
                return Some(Taken::Messages(0));
            }
            Some(inner.peek()).filter(|found| *found != Taken::Empty)
        });
        inner.wake.parked -= 1;
        found.unwrap_or(Taken::Empty)
    }

    /// The descriptor that is readable while there are messages, made on the first call.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub(crate) fn ready_fd(&self, held: bool) -> io::Result<RawFd> {
        let mut inner = self.lock();
        let readable = held || inner.peek() != Taken::Empty;
        let ready = match &mut inner.wake.ready {
            Some(ready) => ready,
            vacant => vacant.insert(ReadyFd::new()?),
        };
        if readable {
            ready.raise();
        }
        Ok(ready.as_raw_fd())
    }

    /// Notes that the consumer holds messages again: raises the descriptor and wakes whoever waits.
    pub(crate) fn raise_ready(&self) {
        let mut inner = self.lock();
        inner.held = true;
        self.notify(inner);
    }

    /// Notes that the consumer handed out the last message it held; lowers the descriptor if the
    /// mailbox is empty, too.
    pub(crate) fn lower_ready(&self) {
        let mut inner = self.lock();
        inner.held = false;
        if inner.peek() == Taken::Empty
            && let Some(ready) = &mut inner.wake.ready
        {
            ready.lower();
        }
    }

    /// Wakes the consumer although nothing arrived: a signal beside the queue wants attention.
    pub(crate) fn nudge(&self) {
        if let Some(task) = self.lock().wake.task.take() {
            wake(task);
        }
    }

    pub(super) fn notify(&self, inner: Locked<'_, Inner>) {
        if let Some(task) = self.wake_consumer(inner) {
            wake(task);
        }
    }

    /// Wakes parked threads and raises the descriptor. A task that consumes is returned: the caller
    /// wakes it once nothing is locked.
    pub(super) fn wake_consumer(&self, mut inner: Locked<'_, Inner>) -> Option<Waker> {
        if let Some(ready) = &mut inner.wake.ready {
            ready.raise();
        }
        if !inner.wake.watchers.is_empty() {
            inner.wake.watchers.drain(..).for_each(wake);
        }
        let parked = inner.wake.parked > 0;
        let task = inner.wake.task.take();
        drop(inner);
        if parked {
            self.arrived.notify_all();
        }
        task
    }

    pub(super) fn release_producers(&self, inner: &mut Inner) {
        if inner.producers.parked > 0 {
            self.room.notify_all();
        }
        inner.producers.tasks.drain(..).for_each(wake);
    }
}
