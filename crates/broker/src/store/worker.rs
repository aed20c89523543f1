//! The thread that owns a master whose storage blocks.
//!
//! What everybody wants of the master is queued here. The thread takes all there is, up to a limit,
//! applies it, commits once and only then lets anybody know: that is what makes full durability
//! fast. Readers wait until what was queued before them is done and then read by themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::lock::{Lock, Locked};

/// Jobs and their bytes that are applied before a commit: enough to make a commit cheap, few enough
/// to keep the first of them from waiting long for the last.
const GROUP_JOBS_MAX: usize = 8192;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that may be queued: as much as a mailbox holds.
const QUEUE_BYTES_MAX: usize = crate::config::MAILBOX_BYTES_MAX;

/// Bytes that a job takes besides its command.
const JOB_OVERHEAD: usize = 64;

/// Something for a master to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A command that came from elsewhere.
    Command(Box<[u8]>),
    /// A request of a user of this endpoint, as a command.
    Request(Box<[u8]>),
    /// A tick has passed.
    Tick,
    /// Remove some of what is over.
    Expire,
    /// Ask the clones how far they are.
    Probe,
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Command(bytes) | Self::Request(bytes) => bytes.len() + JOB_OVERHEAD,
            Self::Tick | Self::Expire | Self::Probe => JOB_OVERHEAD,
        }
    }
}

/// The queue of one master and its thread.
#[derive(Debug, Default)]
pub(super) struct Worker {
    queue: Lock<Queue>,
    /// The thread waits here for jobs.
    filled: Condvar,
    /// Others wait here for the thread.
    progressed: Condvar,
    progressed_async: Notify,
    thread: Lock<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Bound: `QUEUE_BYTES_MAX`, beyond which those who hand jobs in wait.
    jobs: VecDeque<Job>,
    bytes: usize,
    queued: u64,
    done: u64,
    has_tick: bool,
    has_expire: bool,
    closing: bool,
}

impl Worker {
    fn lock(&self) -> Locked<'_, Queue> {
        self.queue.lock()
    }

    /// Starts the thread; `work` handles one group of jobs.
    pub(super) fn start(
        self: &Arc<Self>,
        name: &str,
        mut work: impl FnMut(VecDeque<Job>) + Send + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let worker = self.clone();
        let thread = std::thread::Builder::new()
            .name(format!("store {name}"))
            .spawn(move || {
                while let Some(jobs) = worker.next_group() {
                    let count = jobs.len();
                    work(jobs);
                    worker.finish(count);
                }
                end();
                worker.finish(0);
            })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Waits for jobs; `None` when there will be no more.
    fn next_group(&self) -> Option<VecDeque<Job>> {
        let mut queue = self.lock();
        while queue.jobs.is_empty() {
            if queue.closing {
                return None;
            }
            queue = queue.wait(&self.filled);
        }
        let mut bytes = 0;
        let mut count = 0;
        for job in queue.jobs.iter().take(GROUP_JOBS_MAX) {
            bytes += job.bytes();
            count += 1;
            if bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        let rest = queue.jobs.split_off(count);
        queue.bytes -= bytes;
        let group = std::mem::replace(&mut queue.jobs, rest);
        queue.has_tick = false;
        queue.has_expire = false;
        Some(group)
    }

    fn finish(&self, count: usize) {
        self.lock().done += count as u64;
        self.progressed.notify_all();
        self.progressed_async.notify_waiters();
    }

    /// Queues a job, over the limit if need be. `false` after the end.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut queue = self.lock();
        if queue.closing {
            return false;
        }
        // The thread is busy: ticks that pass meanwhile are not made up for, and one look at what is
        // over is as good as many.
        let queued = match job {
            Job::Tick => std::mem::replace(&mut queue.has_tick, true),
            Job::Expire => std::mem::replace(&mut queue.has_expire, true),
            Job::Command(_) | Job::Request(_) | Job::Probe => false,
        };
        if queued {
            return true;
        }
        let was_empty = queue.jobs.is_empty();
        queue.bytes += job.bytes();
        queue.queued += 1;
        queue.jobs.push_back(job);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        true
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.lock().bytes < QUEUE_BYTES_MAX
    }

    /// What is queued up to now.
    pub(super) fn ticket(&self) -> u64 {
        self.lock().queued
    }

    /// Whether everything up to a ticket is done.
    pub(super) fn is_done(&self, ticket: u64) -> bool {
        self.lock().done >= ticket
    }

    /// Blocks until a condition holds or the time is over.
    fn wait_while(&self, timeout: Duration, condition: impl Fn(&Queue) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut queue = self.lock();
        while condition(&queue) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = queue.wait_timeout(&self.progressed, left);
        }
        true
    }

    /// Blocks until everything up to a ticket is done; `false` when the time is over.
    pub(super) fn wait_done(&self, ticket: u64, timeout: Duration) -> bool {
        self.wait_while(timeout, |queue| queue.done < ticket)
    }

    /// Blocks until there is room; `false` when the time is over.
    pub(super) fn wait_room(&self, timeout: Duration) -> bool {
        self.wait_while(timeout, |queue| {
            queue.bytes >= QUEUE_BYTES_MAX && !queue.closing
        })
    }

    /// Resolves when a condition holds.
    async fn until(&self, condition: impl Fn(&Queue) -> bool) {
        loop {
            let progressed = self.progressed_async.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            if condition(&self.lock()) {
                return;
            }
            progressed.await;
        }
    }

    /// As [`wait_done`](Self::wait_done), for async code.
    pub(super) async fn done(&self, ticket: u64) {
        self.until(|queue| queue.done >= ticket).await;
    }

    /// As [`wait_room`](Self::wait_room), for async code.
    pub(super) async fn room(&self) {
        self.until(|queue| queue.bytes < QUEUE_BYTES_MAX || queue.closing)
            .await;
    }

    /// Takes nothing more. What is queued is still done.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_all();
        self.progressed.notify_all();
        self.progressed_async.notify_waiters();
    }

    /// Blocks until the thread has ended.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the thread was reported when it happened; there is nothing left to do.
            let _ = thread.join();
        }
    }
}
