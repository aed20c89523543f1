//! A queue of completions: what one event loop waits for, behind one descriptor.
//!
//! An event loop that is not tokio's (that of Python's `asyncio`, `epoll` in a C program) waits for
//! descriptors. One per pending answer would cost two system calls and a place in the process's table
//! each. So everything a loop waits for is an *operation* of its queue: a future (the answer of a store,
//! a peering, the rest of a blocked publish), or a subscriber that is watched. Threads that complete
//! one note which it is, and raise the descriptor if nothing was noted before; the loop's thread polls
//! what is noted and gets the results. No task is spawned, and no thread of the runtime runs code of
//! the application.
//!
//! Invariants:
//! - an operation is noted at most once until it is polled, so the notes are no more than operations;
//! - the descriptor is raised exactly while there are notes: both change under one lock;
//! - no lock of the queue is held while an operation is polled but its own.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

#[cfg(feature = "nats")]
use crate::core::jet_stream::queue::ReadQueue;
use crate::flow::mailbox::Mailbox;
use crate::flow::mailbox::ready_fd::ReadyFd;
use crate::lock::Lock;

/// Names an operation of a [`CompletionQueue`]. No other operation of that queue gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(u64);

impl OperationId {
    /// The number, which suits a table of the application.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The operation of a number that [`get`](Self::get) returned.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What a [`CompletionQueue`] was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion<T> {
    /// A future has its result; the operation is over.
    Finished(OperationId, T),
    /// A watched subscriber has messages, or is closed. It is looked at again after
    /// [`CompletionQueue::resume`].
    Readable(OperationId),
}

/// What became of a future handed to a [`CompletionQueue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted<T> {
    /// It was ready: here is the result, and the queue has nothing to do with it.
    Ready(T),
    /// Its result will be a [`Completion::Finished`] under that name.
    Pending(OperationId),
}

/// Operations that one event loop waits for behind one descriptor.
///
/// The descriptor is readable while there may be completions; [`drain`](Self::drain) returns them.
/// Operations are polled by the threads that call [`submit`](Self::submit), [`resume`](Self::resume)
/// and `drain`, which never wait. Dropping the queue drops its operations.
///
/// ```
/// use broker::{Completion, CompletionQueue, Endpoint, Submitted};
///
/// let queue = CompletionQueue::new()?;
/// let endpoint = Endpoint::new()?;
/// let listening = match queue.submit(endpoint.listen("127.0.0.1", 0)) {
///     Submitted::Ready(port) => port,
///     Submitted::Pending(id) => {
///         // An event loop watches `queue.fd()`; here, any readable descriptor ends the wait.
///         let mut done = Vec::new();
///         while queue.drain(64, &mut done) == 0 {
///             std::thread::yield_now();
///         }
///         match done.remove(0) {
///             Completion::Finished(finished, port) => {
///                 assert_eq!(finished, id);
///                 port
///             }
///             Completion::Readable(_) => unreachable!("nothing is watched"),
///         }
///     }
/// };
/// assert_ne!(listening?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CompletionQueue<T> {
    notes: Arc<Notes<T>>,
    /// Bound: what the application submitted and watches, and neither got back nor removed.
    operations: Lock<HashMap<OperationId, Arc<Operation<T>>>>,
    next: AtomicU64,
}

/// Operations that ask to be polled.
struct Notes<T> {
    state: Lock<NotesState<T>>,
}

struct NotesState<T> {
    /// Bound: one entry per operation, which is noted once.
    noted: VecDeque<Arc<Operation<T>>>,
    descriptor: ReadyFd,
}

impl<T> Notes<T> {
    fn push(&self, operation: Arc<Operation<T>>) {
        let mut state = self.state.lock();
        state.noted.push_back(operation);
        state.descriptor.raise();
    }

    /// Takes the first note; the descriptor is lowered with the last.
    fn pop(&self) -> Option<Arc<Operation<T>>> {
        let mut state = self.state.lock();
        let operation = state.noted.pop_front();
        if state.noted.is_empty() {
            state.descriptor.lower();
        }
        operation
    }

    fn len(&self) -> usize {
        self.state.lock().noted.len()
    }
}

struct Operation<T> {
    id: OperationId,
    /// Gone with the queue, which external wakers may outlive.
    notes: Weak<Notes<T>>,
    is_noted: AtomicBool,
    work: Lock<Work<T>>,
}

enum Work<T> {
    Future(Pin<Box<dyn Future<Output = T> + Send>>),
    Watch(Arc<Mailbox>),
    #[cfg(feature = "nats")]
    WatchStream(Arc<ReadQueue>),
    /// Over, or removed.
    Gone,
}

/// What a poll of an operation found.
enum Progress<T> {
    Waits,
    Finished(T),
    Readable,
}

impl<T> Wake for Operation<T>
where
    T: Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if self.is_noted.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(notes) = self.notes.upgrade() {
            notes.push(self);
        }
    }
}

impl<T: Send + 'static> Operation<T> {
    /// Looks whether there is something; if not, it is noted once there may be.
    fn poll(self: &Arc<Self>) -> Progress<T> {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let mut work = self.work.lock();
        match &mut *work {
            Work::Future(future) => match future.as_mut().poll(&mut context) {
                Poll::Ready(result) => {
                    let future = std::mem::replace(&mut *work, Work::Gone);
                    drop(work);
                    drop(future);
                    Progress::Finished(result)
                }
                Poll::Pending => Progress::Waits,
            },
            Work::Watch(mailbox) => match mailbox.poll_readable(&mut context) {
                Poll::Ready(()) => Progress::Readable,
                Poll::Pending => Progress::Waits,
            },
            #[cfg(feature = "nats")]
            Work::WatchStream(queue) => match queue.poll_readable(&mut context) {
                Poll::Ready(()) => Progress::Readable,
                Poll::Pending => Progress::Waits,
            },
            Work::Gone => Progress::Waits,
        }
    }

    /// Drops what it waits for, with no lock held.
    fn end(&self) {
        let work = std::mem::replace(&mut *self.work.lock(), Work::Gone);
        drop(work);
    }
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// Makes a queue without operations.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let state = NotesState {
            noted: VecDeque::new(),
            descriptor: ReadyFd::new()?,
        };
        let notes = Arc::new(Notes {
            state: Lock::new(state),
        });
        Ok(Self {
            notes,
            operations: Lock::default(),
            next: AtomicU64::new(1),
        })
    }

    /// The descriptor, readable while [`drain`](Self::drain) may have something. It belongs to the
    /// queue: neither read nor close it.
    pub fn fd(&self) -> RawFd {
        self.notes.state.lock().descriptor.as_raw_fd()
    }

    /// Begins to wait for a future. It is polled here for the first time, and must not need the context
    /// of a runtime; those of this crate do not.
    pub fn submit(&self, future: impl Future<Output = T> + Send + 'static) -> Submitted<T> {
        let operation = self.operation(Work::Future(Box::pin(future)));
        // Known before it can complete: what another thread drains meanwhile finds it.
        self.operations
            .lock()
            .insert(operation.id, operation.clone());
        match operation.poll() {
            Progress::Finished(result) => {
                self.operations.lock().remove(&operation.id);
                Submitted::Ready(result)
            }
            Progress::Waits | Progress::Readable => Submitted::Pending(operation.id),
        }
    }

    /// Watches a mailbox, whose messages that are there are told of at once.
    pub(crate) fn watch(&self, mailbox: Arc<Mailbox>) -> OperationId {
        self.watch_work(Work::Watch(mailbox))
    }

    /// Watches what a subscriber to a stream has fetched.
    #[cfg(feature = "nats")]
    pub(crate) fn watch_stream(&self, queue: Arc<ReadQueue>) -> OperationId {
        self.watch_work(Work::WatchStream(queue))
    }

    fn watch_work(&self, work: Work<T>) -> OperationId {
        let operation = self.operation(work);
        let id = operation.id;
        self.operations.lock().insert(id, operation.clone());
        if let Progress::Readable = operation.poll() {
            operation.wake();
        }
        id
    }

    fn operation(&self, work: Work<T>) -> Arc<Operation<T>> {
        Arc::new(Operation {
            id: OperationId(self.next.fetch_add(1, Ordering::Relaxed)),
            notes: Arc::downgrade(&self.notes),
            is_noted: AtomicBool::new(false),
            work: Lock::new(work),
        })
    }

    /// Looks at a watched subscriber again, after it was told of: `true` when it has something now. If
    /// not, a [`Completion::Readable`] tells once it has.
    pub fn resume(&self, id: OperationId) -> bool {
        let operation = self.operations.lock().get(&id).cloned();
        let progress = operation.map(|operation| operation.poll());
        matches!(progress, Some(Progress::Readable))
    }

    /// Gives an operation up: nothing is told of it any more, unless it was drained already. Returns
    /// whether there was one. A future is dropped: what it asked for may happen all the same.
    pub fn remove(&self, id: OperationId) -> bool {
        let operation = self.operations.lock().remove(&id);
        if let Some(operation) = &operation {
            operation.end();
        }
        operation.is_some()
    }

    /// Appends up to `max` completions; returns how many. Never waits. The descriptor stays readable when
    /// there may be more. Looks at each operation at most once, so that one that completes again and
    /// again cannot hold the loop up.
    pub fn drain(&self, max: usize, out: &mut Vec<Completion<T>>) -> usize {
        let (mut count, mut looks) = (0, self.notes.len());
        while count < max && looks > 0 {
            looks -= 1;
            let Some(operation) = self.notes.pop() else {
                break;
            };
            // Before the poll: what happens from here on notes it anew.
            operation.is_noted.store(false, Ordering::Release);
            match operation.poll() {
                Progress::Finished(result) => {
                    self.operations.lock().remove(&operation.id);
                    out.push(Completion::Finished(operation.id, result));
                    count += 1;
                }
                Progress::Readable => {
                    out.push(Completion::Readable(operation.id));
                    count += 1;
                }
                Progress::Waits => {}
            }
        }
        count
    }

    /// Number of operations that are neither over nor removed.
    pub fn len(&self) -> usize {
        self.operations.lock().len()
    }

    /// Whether nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for CompletionQueue<T> {
    fn drop(&mut self) {
        // A future may own what owns its waker, which owns the future: the circle ends here.
        let operations = std::mem::take(&mut *self.operations.lock());
        for operation in operations.into_values() {
            let work = std::mem::replace(&mut *operation.work.lock(), Work::Gone);
            drop(work);
        }
        let noted = std::mem::take(&mut self.notes.state.lock().noted);
        drop(noted);
    }
}

impl<T> fmt::Debug for CompletionQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionQueue")
            .field("operations", &self.operations.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Barrier;
    use std::time::Duration;

    use bytes::Bytes;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::config::Overflow;
    use crate::core::pending::Pending;
    use crate::flow::mailbox::{Limits, Patience, Run};

    fn is_readable<T: Send + 'static>(queue: &CompletionQueue<T>, wait: Duration) -> bool {
        let state = queue.notes.state.lock();
        let descriptor = rustix::io::dup(state.descriptor.as_fd()).unwrap();
        drop(state);
        let mut set = [PollFd::new(&descriptor, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap(),
            tv_nsec: 0,
        };
        poll(&mut set, Some(&timeout)).unwrap() == 1
    }

    const NOW: Duration = Duration::ZERO;
    const DEADLINE: Duration = Duration::from_secs(60);

    fn drain<T: Send + 'static>(queue: &CompletionQueue<T>) -> Vec<Completion<T>> {
        let mut out = Vec::new();
        queue.drain(usize::MAX, &mut out);
        out
    }

    fn pending_of<T>(submitted: Submitted<T>) -> OperationId {
        match submitted {
            Submitted::Pending(id) => id,
            Submitted::Ready(_) => panic!("it was ready"),
        }
    }

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(Limits {
            bytes_max: 1 << 20,
            messages_max: 100,
            overflow: Overflow::DropNewest,
            stall_limit: DEADLINE,
            strict: false,
            translated: false,
        }))
    }

    fn push(mailbox: &Mailbox) {
        let frame = Bytes::from_static(&[0, 0, 0, 1, 7]);
        mailbox.push(Run::shared(&frame, 1), Patience::Waits);
    }

    #[test]
    fn what_is_ready_comes_back_at_once() {
        let queue = CompletionQueue::new().unwrap();
        assert_eq!(queue.submit(async { 7 }), Submitted::Ready(7));
        assert!(queue.is_empty());
        assert!(!is_readable(&queue, NOW));
    }

    #[test]
    fn an_answer_raises_the_descriptor_until_it_is_drained() {
        let queue = CompletionQueue::new().unwrap();
        let (resolver, pending) = Pending::new(|| -1);
        let id = pending_of(queue.submit(pending));
        assert!(!is_readable(&queue, NOW));
        assert_eq!(drain(&queue), []);
        let answering = std::thread::spawn(move || resolver.resolve(7));
        assert!(is_readable(&queue, DEADLINE));
        assert_eq!(drain(&queue), [Completion::Finished(id, 7)]);
        assert!(!is_readable(&queue, NOW));
        assert!(queue.is_empty());
        answering.join().unwrap();
    }

    #[test]
    fn answers_that_come_together_raise_it_once() {
        let queue = CompletionQueue::new().unwrap();
        let (resolvers, ids): (Vec<_>, Vec<_>) = (0..100)
            .map(|_| {
                let (resolver, pending) = Pending::new(|| -1);
                (resolver, pending_of(queue.submit(pending)))
            })
            .unzip();
        for (resolver, value) in resolvers.into_iter().zip(0..) {
            resolver.resolve(value);
        }
        assert!(is_readable(&queue, NOW));
        let mut out = Vec::new();
        assert_eq!(queue.drain(30, &mut out), 30);
        assert!(is_readable(&queue, NOW));
        assert_eq!(queue.drain(usize::MAX, &mut out), 70);
        assert!(!is_readable(&queue, NOW));
        let expected = ids.into_iter().zip(0..);
        let expected = expected.map(|(id, value)| Completion::Finished(id, value));
        assert_eq!(out, expected.collect::<Vec<_>>());
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_descriptor_that_is_raised_is_not_raised_again() {
        let queue = CompletionQueue::new().unwrap();
        let resolvers: Vec<_> = (0..100)
            .map(|_| {
                let (resolver, pending) = Pending::new(|| ());
                pending_of(queue.submit(pending));
                resolver
            })
            .collect();
        for resolver in resolvers {
            resolver.resolve(());
        }
        // An event counter holds how often it was raised.
        let mut count = [0; 8];
        let state = queue.notes.state.lock();
        rustix::io::read(state.descriptor.as_fd(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }

    #[test]
    fn a_removed_operation_is_not_told_of_and_drops_what_it_waits_for() {
        let queue = CompletionQueue::new().unwrap();
        let (resolver, pending) = Pending::new(|| -1);
        let kept = Arc::new(());
        let guard = kept.clone();
        let id = pending_of(queue.submit(async move {
            let answer = pending.await;
            drop(guard);
            answer
        }));
        assert!(queue.remove(id));
        assert!(!queue.remove(id));
        assert_eq!(Arc::strong_count(&kept), 1);
        resolver.resolve(7);
        assert_eq!(drain(&queue), []);
    }

    #[test]
    fn a_dropped_queue_keeps_nothing_although_its_wakers_live() {
        let queue = CompletionQueue::new().unwrap();
        let (resolver, pending) = Pending::new(|| -1);
        let kept = Arc::new(());
        let guard = kept.clone();
        pending_of(queue.submit(async move {
            let answer = pending.await;
            drop(guard);
            answer
        }));
        drop(queue);
        assert_eq!(Arc::strong_count(&kept), 1);
        resolver.resolve(7);
    }

    #[test]
    fn a_watched_mailbox_is_told_of_once_until_it_is_resumed() {
        let queue = CompletionQueue::<()>::new().unwrap();
        let mailbox = mailbox();
        let id = queue.watch(mailbox.clone());
        assert_eq!(drain(&queue), []);
        push(&mailbox);
        push(&mailbox);
        assert!(is_readable(&queue, NOW));
        assert_eq!(drain(&queue), [Completion::Readable(id)]);
        push(&mailbox);
        assert!(!is_readable(&queue, NOW));
        assert!(queue.resume(id));
        mailbox.take(usize::MAX, &mut VecDeque::new());
        mailbox.lower_ready();
        assert!(!queue.resume(id));
        mailbox.finish();
        assert_eq!(drain(&queue), [Completion::Readable(id)]);
        assert!(queue.remove(id));
        assert!(!queue.resume(id));
    }

    #[test]
    fn several_queues_may_watch_one_mailbox() {
        let queues = [(); 2].map(|()| CompletionQueue::<()>::new().unwrap());
        let mailbox = mailbox();
        let ids = queues.each_ref().map(|queue| {
            let id = queue.watch(mailbox.clone());
            assert_eq!(drain(queue), []);
            id
        });
        push(&mailbox);
        for (queue, id) in queues.iter().zip(ids) {
            assert_eq!(drain(queue), [Completion::Readable(id)]);
        }
    }

    #[test]
    fn no_completion_is_lost_between_threads() {
        const THREADS: usize = 4;
        const EACH: usize = 2_000;
        let queue = CompletionQueue::new().unwrap();
        let mut resolvers: Vec<Vec<_>> = (0..THREADS).map(|_| Vec::new()).collect();
        for index in 0..THREADS * EACH {
            let (resolver, pending) = Pending::new(|| usize::MAX);
            pending_of(queue.submit(pending));
            resolvers[index % THREADS].push((resolver, index));
        }
        let barrier = Barrier::new(THREADS + 1);
        std::thread::scope(|scope| {
            for resolvers in resolvers {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    for (resolver, index) in resolvers {
                        resolver.resolve(index);
                    }
                });
            }
            barrier.wait();
            let mut seen = vec![false; THREADS * EACH];
            while seen.iter().any(|seen| !seen) {
                assert!(is_readable(&queue, DEADLINE), "a wake-up is lost");
                for completion in drain(&queue) {
                    let Completion::Finished(_, index) = completion else {
                        panic!("nothing is watched");
                    };
                    assert!(!std::mem::replace(&mut seen[index], true));
                }
            }
        });
        assert!(queue.is_empty());
        assert!(!is_readable(&queue, NOW));
    }
}
