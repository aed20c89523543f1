//! Queues of records, one per reader, and the list of them that the layer writes to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use broker_data::Timestamp;

use crate::config::Verbosity;
use crate::lock::Lock;
use crate::log::component::Component;
use crate::log::record::{Field, Record};
use crate::log::repeats::Repeats;

/// Records that wait for a reader at most.
const RECORDS_MAX: usize = 8192;

/// Bytes that they hold at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Everything that takes records, in this process.
static SINKS: std::sync::LazyLock<ArcSwap<Vec<Arc<Sink>>>> =
    std::sync::LazyLock::new(ArcSwap::default);

/// Held by changes of what is wanted.
static CHANGES: std::sync::LazyLock<ArcSwap<Lock<()>>> = std::sync::LazyLock::new(ArcSwap::default);

/// A queue with the verbosity of each component.
#[derive(Debug)]
pub(super) struct Sink {
    levels: [AtomicU8; Component::ALL.len()],
    queue: Lock<RecordQueue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct RecordQueue {
    /// Bound: [`RECORDS_MAX`] and [`BYTES_MAX`].
    records: VecDeque<Record>,
    bytes: usize,
    /// Records that found it full.
    lost: u64,
    repeats: Repeats,
    is_closed: bool,
    /// Whether the reader is busy with what it took last.
    is_read: bool,
    has_ended: bool,
}

impl Sink {
    fn new(levels: impl Fn(Component) -> Verbosity) -> Self {
        Self {
            levels: Component::ALL.map(|component| AtomicU8::new(levels(component) as u8)),
            queue: Lock::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn wants(&self, component: Component, level: Verbosity) -> bool {
        let known = self.levels.get(component.index());
        known.is_some_and(|known| level as u8 <= known.load(Ordering::Relaxed))
    }

    fn verbosity_max(&self) -> u8 {
        let levels = self.levels.iter();
        let levels = levels.map(|level| level.load(Ordering::Relaxed));
        levels.max().unwrap_or(0)
    }

    pub(super) fn push(&self, place: u64, record: &Record) {
        let mut queue = self.queue.lock();
        if queue.is_closed || !queue.repeats.admit(Instant::now(), place, record) {
            return;
        }
        queue.append(record.clone());
        drop(queue);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.queue.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl RecordQueue {
    fn append(&mut self, record: Record) {
        let size = record.size();
        if self.records.len() >= RECORDS_MAX || self.bytes + size > BYTES_MAX {
            self.lost += 1;
            return;
        }
        self.bytes += size;
        self.records.push_back(record);
    }

    fn take(&mut self, now: Option<Instant>) -> Vec<Record> {
        self.bytes = 0;
        let mut records: Vec<_> = std::mem::take(&mut self.records).into();
        records.extend(self.repeats.due(now));
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            records.push(Record {
                time: now_time(),
                level: Verbosity::Warning,
                component: Component::Core,
                event: "log-records-lost".to_owned(),
                fields: vec![("lost".into(), Field::Number(lost.to_string()))],
                message: "more was said than could be taken in time".to_owned(),
            });
        }
        records
    }
}

pub(super) fn now_time() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::EPOCH)
}

/// Everything that takes records now.
pub(super) fn sinks() -> arc_swap::Guard<Arc<Vec<Arc<Sink>>>> {
    SINKS.load()
}

/// The most that any of them wants.
pub(super) fn verbosity_max() -> Verbosity {
    let sinks = sinks();
    let most = sinks.iter().map(|sink| sink.verbosity_max()).max();
    let known = Verbosity::ALL
        .into_iter()
        .find(|it| Some(*it as u8) == most);
    known.unwrap_or(Verbosity::Quiet)
}

/// Changes what is wanted. One after another: `tracing` would keep the older of two answers otherwise.
fn change(action: impl FnOnce()) {
    let changes = CHANGES.load_full();
    let changes = changes.lock();
    action();
    tracing::callsite::rebuild_interest_cache();
    drop(changes);
}

fn change_list(action: impl Fn(&mut Vec<Arc<Sink>>)) {
    change(|| {
        SINKS.rcu(|sinks| {
            let mut sinks = sinks.as_ref().clone();
            action(&mut sinks);
            sinks
        });
    });
}

/// Forgets all queues, and locks that a thread of the parent may have held.
pub(super) fn forget_all() {
    std::mem::forget(SINKS.swap(Arc::default()));
    std::mem::forget(CHANGES.swap(Arc::default()));
}

/// Hands out what is said from now on. It takes nothing any more once it is dropped.
#[derive(Debug)]
pub struct Reader {
    sink: Arc<Sink>,
}

impl Reader {
    /// Begins to collect with a verbosity per component. Needs [`install`](super::install), or
    /// [`layer`](super::layer) in the program's own subscriber.
    pub fn new(levels: impl Fn(Component) -> Verbosity) -> Self {
        let sink = Arc::new(Sink::new(levels));
        change_list(|sinks| sinks.push(sink.clone()));
        Self { sink }
    }

    /// Changes the verbosities.
    pub fn set_levels(&self, levels: impl Fn(Component) -> Verbosity) {
        let wanted = Component::ALL.map(|component| levels(component) as u8);
        let pairs = || self.sink.levels.iter().zip(wanted);
        if pairs().any(|(known, wanted)| known.load(Ordering::Relaxed) != wanted) {
            change(|| pairs().for_each(|(known, wanted)| known.store(wanted, Ordering::Relaxed)));
        }
    }

    /// Waits for records; an empty list when nothing came in time, nothing at all once it is closed and
    /// everything has been handed out.
    pub fn wait(&self, timeout: Duration) -> Option<Vec<Record>> {
        let deadline = Instant::now() + timeout;
        let mut queue = self.sink.queue.lock();
        queue.is_read = false;
        self.sink.changed.notify_all();
        loop {
            let now = Instant::now();
            let is_closed = queue.is_closed;
            // What is held back is told at the latest with the end.
            let records = queue.take((!is_closed).then_some(now));
            if !records.is_empty() {
                queue.is_read = true;
                return Some(records);
            }
            if is_closed {
                queue.has_ended = true;
                self.sink.changed.notify_all();
                return None;
            }
            if now >= deadline {
                return Some(records);
            }
            let until = queue.repeats.next_end();
            let until = until.map_or(deadline, |end| end.min(deadline));
            let left = until.saturating_duration_since(now);
            queue = queue.wait_timeout(&self.sink.changed, left);
        }
    }

    /// Waits, in another thread than the one that reads, until what was said before has been dealt
    /// with; `false` when that takes longer.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.until(timeout, |queue| {
            queue.has_ended || (queue.records.is_empty() && !queue.is_read)
        })
    }

    /// Waits, in another thread than the one that reads, until that has seen the end.
    pub(super) fn ended(&self, timeout: Duration) -> bool {
        self.until(timeout, |queue| queue.has_ended)
    }

    fn until(&self, timeout: Duration, is_true: impl Fn(&RecordQueue) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let queue = self.sink.queue.lock();
        let check = |queue: &mut RecordQueue| is_true(queue).then_some(());
        let (_queue, found) = queue.wait_for(&self.sink.changed, Some(deadline), check);
        found.is_some()
    }

    /// Takes no more: [`wait`](Self::wait) hands out what there is, then ends.
    pub fn close(&self) {
        change_list(|sinks| sinks.retain(|it| !Arc::ptr_eq(it, &self.sink)));
        self.sink.close();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        change_list(|sinks| sinks.retain(|it| !Arc::ptr_eq(it, &self.sink)));
    }
}
