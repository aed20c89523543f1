//! The thread of a master whose storage blocks, and its queue.
//!
//! The jobs of all callers are queued here. The thread takes all there are, up to a limit, applies
//! them, commits once and only then answers: that is what makes full durability
//! fast. Readers wait until the changes that were asked for before them are done and then read by
//! themselves: between two groups the thread lets them in, as a mutex would go to the thread that
//! has just released it, again and again. See ADR 0190.

use std::collections::{BTreeMap, VecDeque};
#[cfg(test)]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lock::{Lock, Locked};
use crate::signal::Signal;
use crate::store::pace::Awaited;
use crate::store::stats::Commits;

/// Jobs and their bytes that are applied before a commit: enough to make a commit cheap, few enough
/// to keep the first of them from waiting long for the last.
const GROUP_JOBS_MAX: usize = 8192;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that may be queued: as much as a mailbox holds.
const QUEUE_BYTES_MAX: usize = crate::config::MAILBOX_BYTES_MAX;

/// How long the thread waits for the readers whose turn it is: many times what it takes to wake them
/// and to read, also on a busy machine. They may have gone away. Tests count on the turn, however busy
/// the machine is.
const TURN_MAX: Duration = Duration::from_millis(if cfg!(test) { 5_000 } else { 20 });

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

    /// Whether readers who come after it must see what it did. What is over is not there for them,
    /// removed or not.
    fn is_change(&self) -> bool {
        match self {
            Self::Command(_) | Self::Request(_) => true,
            Self::Tick | Self::Expire | Self::Probe => false,
        }
    }
}

/// The queue of one master and its thread.
#[derive(Debug, Default)]
pub(super) struct Worker {
    queue: Lock<JobQueue>,
    /// The thread waits here for jobs.
    filled: Condvar,
    /// Others wait here for the thread.
    progressed: Signal,
    /// The thread waits here for readers whose turn it is.
    read: Condvar,
    /// Whether it does, or will before its next group.
    has_readers: AtomicBool,
    /// Whether somebody has read since the thread last asked.
    was_read: AtomicBool,
    /// How often the thread has let readers in.
    #[cfg(test)]
    turns: AtomicU64,
    thread: Lock<Option<JoinHandle<()>>>,
    /// How long the groups took.
    pub(super) commits: Commits,
}

#[derive(Debug, Default)]
struct JobQueue {
    /// Bound: `QUEUE_BYTES_MAX`, beyond which those who hand jobs in wait.
    jobs: VecDeque<Job>,
    bytes: usize,
    queued: u64,
    /// The number of the last job that readers must see.
    changed: u64,
    done: u64,
    /// How many threads wait for a number to be done, to read then.
    /// Bound: one entry per thread that waits.
    waiting: BTreeMap<u64, usize>,
    /// Those who read before the next group begins.
    readers: usize,
    has_tick: bool,
    has_expire: bool,
    closing: bool,
}

impl JobQueue {
    /// Some when jobs find room, or never will.
    fn takes_more(&self) -> Option<()> {
        (self.bytes < QUEUE_BYTES_MAX || self.closing).then_some(())
    }

    /// Moves jobs into a group, up to the limits of one.
    fn take_into(&mut self, group: &mut VecDeque<Job>) {
        let mut bytes: usize = group.iter().map(Job::bytes).sum();
        while group.len() < GROUP_JOBS_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(job) = self.jobs.pop_front()
        {
            match job {
                Job::Tick => self.has_tick = false,
                Job::Expire => self.has_expire = false,
                Job::Command(_) | Job::Request(_) | Job::Probe => {}
            }
            bytes += job.bytes();
            self.bytes -= job.bytes();
            group.push_back(job);
        }
    }
}

impl Worker {
    fn lock(&self) -> Locked<'_, JobQueue> {
        self.queue.lock()
    }

    /// Starts the thread; `work` handles one group of jobs, and may take more into it.
    pub(super) fn start(
        self: &Arc<Self>,
        name: &str,
        mut work: impl FnMut(&Self, &mut VecDeque<Job>) + Send + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let worker = self.clone();
        let thread = std::thread::Builder::new()
            .name(format!("store {name}"))
            .spawn(move || {
                while let Some(mut jobs) = worker.next_group() {
                    worker.let_readers_in();
                    let began = Instant::now();
                    work(&worker, &mut jobs);
                    if jobs.iter().any(Job::is_change) {
                        worker.commits.count(began.elapsed());
                    }
                    worker.count_done(jobs.len());
                }
                end();
                worker.count_done(0);
            })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Waits for jobs; `None` when there will be no more.
    fn next_group(&self) -> Option<VecDeque<Job>> {
        let (mut queue, has_jobs) = self.lock().wait_for_ever(&self.filled, |queue| {
            let has_jobs = !queue.jobs.is_empty();
            (has_jobs || queue.closing).then_some(has_jobs)
        });
        if !has_jobs {
            return None;
        }
        let mut group = VecDeque::new();
        queue.take_into(&mut group);
        Some(group)
    }

    /// Takes jobs that came meanwhile into a group, as far as there is room in it.
    pub(super) fn take_more(&self, group: &mut VecDeque<Job>) {
        self.lock().take_into(group);
    }

    fn count_done(&self, count: usize) {
        let mut queue = self.lock();
        queue.done += count as u64;
        let done = queue.done;
        while let Some(waiting) = queue.waiting.first_entry()
            && *waiting.key() <= done
        {
            let count = waiting.remove();
            queue.readers += count;
        }
        self.has_readers.store(queue.readers > 0, Ordering::Relaxed);
        drop(queue);
        self.progressed.notify();
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
        if job.is_change() {
            queue.changed = queue.queued;
        }
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

    /// The changes that are queued up to now.
    pub(super) fn ticket(&self) -> u64 {
        self.lock().changed
    }

    /// Whether everything up to a ticket is done.
    pub(super) fn is_done(&self, ticket: u64) -> bool {
        self.lock().done >= ticket
    }

    /// Blocks until everything up to a ticket is done; `false` when the time is over. A thread that
    /// waits has the next turn.
    pub(super) fn wait_done(&self, ticket: u64, timeout: Duration) -> bool {
        let mut waits = false;
        let done = self.progressed.wait(self.lock(), timeout, |queue| {
            if queue.done >= ticket {
                return Some(());
            }
            if !waits {
                waits = true;
                *queue.waiting.entry(ticket).or_default() += 1;
            }
            None
        });
        done.is_some() || self.give_up_turn(ticket)
    }

    /// A thread waits no more for a ticket; `true` when that was done in the last moment.
    fn give_up_turn(&self, ticket: u64) -> bool {
        let mut queue = self.lock();
        let Some(waiting) = queue.waiting.get_mut(&ticket) else {
            return true;
        };
        *waiting -= 1;
        if *waiting == 0 {
            queue.waiting.remove(&ticket);
        }
        false
    }

    // --- turns ----------------------------------------------------------------------------------

    /// Somebody reads.
    #[inline]
    pub(super) fn note_read(&self) {
        // Looked at first, so that threads that read all the time do not write to one place.
        if !self.was_read.load(Ordering::Relaxed) {
            self.was_read.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has read since the last call.
    pub(super) fn was_read(&self) -> bool {
        self.was_read.swap(false, Ordering::Relaxed)
    }

    /// A reader is about to wait for a group to end: its turn is then.
    pub(super) fn ask_turn(&self) {
        let mut queue = self.lock();
        queue.readers += 1;
        self.has_readers.store(true, Ordering::Relaxed);
    }

    /// A reader has the store.
    #[inline]
    pub(super) fn take_turn(&self) {
        if self.has_readers.load(Ordering::Relaxed) {
            self.count_reader();
        }
    }

    #[cold]
    fn count_reader(&self) {
        let mut queue = self.lock();
        queue.readers = queue.readers.saturating_sub(1);
        if queue.readers == 0 {
            self.has_readers.store(false, Ordering::Relaxed);
            drop(queue);
            self.read.notify_one();
        }
    }

    /// What waits for the end of a removal, in a group with changes or without.
    pub(super) fn awaited(&self, has_changes: bool) -> Awaited {
        let queue = self.lock();
        if !has_changes && queue.jobs.is_empty() {
            Awaited::Nothing
        } else if queue.waiting.is_empty() {
            Awaited::Changes
        } else {
            Awaited::Readers
        }
    }

    /// Waits for the readers whose turn it is. Others that come meanwhile may be taken for them:
    /// then one of them has the turn after the next group.
    pub(super) fn let_readers_in(&self) {
        #[cfg(test)]
        self.turns.fetch_add(1, Ordering::Relaxed);
        if !self.has_readers.load(Ordering::Relaxed) {
            return;
        }
        let deadline = Instant::now() + TURN_MAX;
        let are_through = |queue: &mut JobQueue| (queue.readers == 0).then_some(());
        let (mut queue, _) = self
            .lock()
            .wait_for(&self.read, Some(deadline), are_through);
        queue.readers = 0;
        self.has_readers.store(false, Ordering::Relaxed);
    }

    /// Blocks until there is room; `false` when the time is over.
    pub(super) fn wait_room(&self, timeout: Duration) -> bool {
        let room = self
            .progressed
            .wait(self.lock(), timeout, |queue| queue.takes_more());
        room.is_some()
    }

    /// As [`wait_done`](Self::wait_done), for async code.
    pub(super) async fn done(&self, ticket: u64) {
        self.progressed
            .until(|| self.is_done(ticket).then_some(()))
            .await;
    }

    /// As [`wait_room`](Self::wait_room), for async code.
    pub(super) async fn room(&self) {
        self.progressed.until(|| self.lock().takes_more()).await;
    }

    /// Takes nothing more. What is queued is still done.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_all();
        self.progressed.notify();
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use broker_data::{Timespan, Timestamp, Value};
    use broker_proto::store::backend::{BackendError, Entry, VisitEntry};
    use broker_proto::store::master::EXPIRED_PER_CALL_MAX;
    use broker_proto::store::{Backend as Storage, Master, Memory};

    use super::*;
    use crate::Endpoint;
    use crate::store::host::{Core, Host};
    use crate::store::{Backend, Store, config};

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn readers_wait_for_changes_only() {
        let worker = Worker::default();
        for job in [Job::Tick, Job::Expire, Job::Probe] {
            assert!(worker.push(job));
        }
        assert_eq!(worker.ticket(), 0);
        assert!(worker.push(Job::Request([].into())) && worker.push(Job::Probe));
        assert_eq!(worker.ticket(), 4);
        let jobs = worker.next_group().unwrap();
        worker.count_done(jobs.len());
        assert!(worker.is_done(4));
    }

    #[test]
    fn who_waited_for_a_group_reads_before_the_next_one() {
        let worker = Arc::new(Worker::default());
        assert!(worker.push(Job::Request([].into())));
        let ticket = worker.ticket();
        let reader = std::thread::spawn({
            let worker = worker.clone();
            move || worker.wait_done(ticket, Duration::from_secs(60))
        });
        while worker.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        // One that does not wait that long is forgotten.
        assert!(!worker.wait_done(ticket, Duration::ZERO));
        assert_eq!(worker.lock().waiting, BTreeMap::from([(ticket, 1)]));
        let jobs = worker.next_group().unwrap();
        worker.count_done(jobs.len());
        assert!(reader.join().unwrap());
        assert_eq!(worker.lock().readers, 1);
        worker.take_turn();
        worker.take_turn();
        assert_eq!(worker.lock().readers, 0);
        // And one that never comes holds nobody up for ever.
        worker.ask_turn();
        worker.let_readers_in();
        assert_eq!(worker.lock().readers, 0);
    }

    #[test]
    fn a_group_takes_what_came_meanwhile_up_to_its_limits() {
        let worker = Worker::default();
        let request = |bytes: usize| Job::Request(vec![0; bytes].into());
        for job in [Job::Expire, request(10)] {
            assert!(worker.push(job));
        }
        let mut jobs = worker.next_group().unwrap();
        assert!(worker.push(Job::Expire) && worker.push(request(GROUP_BYTES_MAX)));
        assert!(worker.push(request(10)));
        worker.take_more(&mut jobs);
        assert_eq!(jobs.len(), 4);
        worker.take_more(&mut jobs);
        assert_eq!(jobs.len(), 4, "there is no room for more bytes");
        worker.count_done(jobs.len());
        assert!(worker.is_done(4) && !worker.is_done(worker.ticket()));
        let mut jobs = worker.next_group().unwrap();
        assert!(matches!(jobs.as_slices(), ([Job::Request(_)], [])));
        assert_eq!(worker.lock().bytes, 0);
        for _ in 0..GROUP_JOBS_MAX {
            assert!(worker.push(request(0)));
        }
        worker.take_more(&mut jobs);
        assert_eq!(jobs.len(), GROUP_JOBS_MAX);
        assert_eq!(worker.lock().jobs.len(), 1);
    }

    #[test]
    fn a_removal_is_told_what_waits_for_it() {
        let worker = Worker::default();
        assert_eq!(worker.awaited(false), Awaited::Nothing);
        assert_eq!(worker.awaited(true), Awaited::Changes);
        // Who waits for the removal itself gains nothing from a commit before its end.
        worker.lock().waiting.insert(1, 1);
        assert_eq!(worker.awaited(false), Awaited::Nothing);
        assert!(worker.push(Job::Request([].into())));
        assert_eq!(worker.awaited(false), Awaited::Readers);
        worker.lock().waiting.clear();
        assert_eq!(worker.awaited(false), Awaited::Changes);
    }

    /// Commits wait here until the test lets them pass.
    #[derive(Default)]
    struct Gate {
        state: Mutex<GateState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct GateState {
        is_waiting: bool,
        permits: u64,
        passed: u64,
    }

    impl Gate {
        fn pass(&self) {
            let mut state = self.state.lock().unwrap();
            while state.permits == 0 {
                state.is_waiting = true;
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap();
            }
            state.is_waiting = false;
            state.permits -= 1;
            state.passed += 1;
        }

        fn permit(&self, count: u64) {
            self.state.lock().unwrap().permits += count;
            self.changed.notify_all();
        }

        fn await_commit(&self) {
            let state = self.state.lock().unwrap();
            let waited = self
                .changed
                .wait_timeout_while(state, DEADLINE, |it| !it.is_waiting);
            assert!(!waited.unwrap().1.timed_out(), "no commit came");
        }

        fn passed(&self) -> u64 {
            self.state.lock().unwrap().passed
        }
    }

    /// Memory with a disk that takes as long as the test wants.
    struct SlowDisk {
        memory: Memory,
        gate: Arc<Gate>,
        expired: Arc<AtomicU64>,
        /// Called before an entry is removed because it is over.
        on_expire: Option<Box<dyn FnMut() + Send>>,
    }

    impl Storage for SlowDisk {
        fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
            self.memory.get(key)
        }
        fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
            self.memory.contains(key)
        }
        fn put(
            &mut self,
            key: &[u8],
            value: &[u8],
            expiry: Option<Timestamp>,
        ) -> Result<(), BackendError> {
            self.memory.put(key, value, expiry)
        }
        fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
            self.memory.erase(key)
        }
        fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
            self.expired.fetch_add(1, Ordering::Relaxed);
            if let Some(on_expire) = &mut self.on_expire {
                on_expire();
            }
            self.memory.expire(key, now)
        }
        fn clear(&mut self) -> Result<(), BackendError> {
            self.memory.clear()
        }
        fn count(&mut self) -> Result<u64, BackendError> {
            self.memory.count()
        }
        fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
            self.memory.for_each(visit)
        }
        fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
            self.memory.for_each_key(visit)
        }
        fn keys_after(
            &mut self,
            after: &[u8],
            limit: usize,
            visit: &mut dyn FnMut(&[u8]),
        ) -> Result<Option<Vec<u8>>, BackendError> {
            self.memory.keys_after(after, limit, visit)
        }
        fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
            self.memory.expiries()
        }
        fn commit(&mut self) -> Result<(), BackendError> {
            self.gate.pass();
            self.memory.commit()
        }
        fn rollback(&mut self) {
            self.memory.rollback();
        }
    }

    /// A store on such a disk, without a clock.
    fn slow_store(endpoint: &Endpoint) -> (Store, Arc<Gate>) {
        let (store, gate, _) = counted_store(endpoint);
        (store, gate)
    }

    /// The same, with the number of entries that were removed because they are over.
    fn counted_store(endpoint: &Endpoint) -> (Store, Arc<Gate>, Arc<AtomicU64>) {
        store_on_slow_disk(endpoint, None)
    }

    fn store_on_slow_disk(
        endpoint: &Endpoint,
        on_expire: Option<Box<dyn FnMut() + Send>>,
    ) -> (Store, Arc<Gate>, Arc<AtomicU64>) {
        let other = endpoint.attach_master("other", Backend::Memory).unwrap();
        let node = other.node();
        let gate = Arc::new(Gate::default());
        let expired = Arc::new(AtomicU64::new(0));
        let disk: Box<dyn Storage> = Box::new(SlowDisk {
            memory: Memory::new(),
            gate: gate.clone(),
            expired: expired.clone(),
            on_expire,
        });
        let id = node.stores.new_entity(node.shared.data.id);
        let master = Master::new(id, "slow", disk, config(&node.shared)).unwrap();
        let host = Host::master(node, "slow", master, true).unwrap();
        (Store::new(node, host), gate, expired)
    }

    /// What a read returns that waits for the group under way while another one is queued, of which
    /// nothing is committed.
    fn read_between_groups(store: &Store, gate: &Gate, key: &'static str) -> Option<Value> {
        let worker = store.host.worker().unwrap();
        gate.await_commit();
        let (sender, receiver) = mpsc::channel();
        let reader = store.clone();
        std::thread::spawn(move || sender.send(reader.get(key).unwrap()));
        let is_waiting = || {
            let queue = worker.lock();
            queue.readers > 0 || !queue.waiting.is_empty()
        };
        while !is_waiting() {
            std::thread::yield_now();
        }
        store.put("next", &1_u64).unwrap();
        gate.permit(1);
        let answer = receiver.recv_timeout(DEADLINE);
        if answer.is_err() {
            gate.permit(u64::MAX / 2);
        }
        answer.expect("the read is answered before the next group ends")
    }

    #[test]
    fn a_read_waits_for_no_group_that_begins_after_it_was_asked_for() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let (store, gate) = slow_store(&endpoint);
        // Often, as a mutex alone would let some of them in.
        for round in 0..50_u64 {
            store.put("key", &round).unwrap();
            let found = read_between_groups(&store, &gate, "key");
            assert_eq!(found, Some(Value::Count(round)));
            gate.permit(1);
            assert!(store.await_idle(DEADLINE));
            // Nothing to wait for but the removal of what is over, and that is seen before it is done.
            let over = Timespan::from_ns(1);
            gate.permit(1);
            store.put_for("over", &round, Some(over)).unwrap();
            assert!(store.await_idle(DEADLINE));
            store.host.worker().unwrap().push(Job::Expire);
            assert_eq!(read_between_groups(&store, &gate, "over"), None);
            gate.permit(1);
            assert!(store.await_idle(DEADLINE));
        }
        endpoint.shutdown().wait();
    }

    #[test]
    fn a_store_whose_thread_waits_for_the_disk_is_told_as_it_was() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let (store, gate) = slow_store(&endpoint);
        let stats = || store.host.stats(Timestamp::from_ns(0));
        let before = stats().state.unwrap();
        assert_eq!(before.operations.changes.put, 0);
        store.put("key", &1_u64).unwrap();
        gate.await_commit();
        assert_eq!(stats().state, Some(before));
        gate.permit(1);
        assert!(store.await_idle(DEADLINE));
        // Its thread lets the lock go a moment after it has told that it is done.
        let until = Instant::now() + DEADLINE;
        while stats().state.unwrap().operations.changes.put != 1 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        endpoint.shutdown().wait();
    }

    #[test]
    fn a_thread_with_nothing_else_to_do_removes_many_entries_with_one_commit() {
        const ENTRIES: u64 = 1_500;
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let (store, gate) = slow_store(&endpoint);
        gate.permit(ENTRIES);
        for key in 0..ENTRIES {
            let over = Timespan::from_ns(1);
            store.put_for(&key, &key, Some(over)).unwrap();
        }
        assert!(store.await_idle(DEADLINE));
        let before = gate.passed();
        let worker = store.host.worker().unwrap();
        for _ in 0..2 {
            worker.push(Job::Expire);
            let queued = worker.lock().queued;
            assert!(worker.wait_done(queued, DEADLINE));
        }
        assert_eq!(gate.passed() - before, 2);
        let Core::Master(master) = &mut store.host.lock().core else {
            panic!("a master");
        };
        assert_eq!(master.next_expiry(), None);
        assert_eq!(master.entries(Timestamp::EPOCH), Ok(0));
    }

    #[test]
    fn a_change_that_comes_during_a_removal_is_in_its_commit() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let (removing, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let on_expire = move || {
            removing.send(()).unwrap();
            may_go_on.recv_timeout(DEADLINE).unwrap();
        };
        let (store, gate, _) = store_on_slow_disk(&endpoint, Some(Box::new(on_expire)));
        gate.permit(u64::MAX / 2);
        let over = Timespan::from_ns(1);
        store.put_for("over", &1_u64, Some(over)).unwrap();
        assert!(store.await_idle(DEADLINE));
        let before = gate.passed();
        store.host.worker().unwrap().push(Job::Expire);
        has_begun.recv_timeout(DEADLINE).unwrap();
        store.put("next", &1_u64).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(store.get("next").unwrap(), Some(Value::Count(1)));
        assert_eq!(gate.passed() - before, 1);
        endpoint.shutdown().wait();
    }

    #[test]
    fn readers_come_after_each_step_of_a_removal_with_changes_beside_it_or_without() {
        const ENTRIES: u64 = 1_000;
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        for has_change in [false, true] {
            let (store, gate, expired) = counted_store(&endpoint);
            gate.permit(u64::MAX / 2);
            for key in 0..ENTRIES {
                let over = Timespan::from_ns(1);
                store.put_for(&key, &key, Some(over)).unwrap();
            }
            assert!(store.await_idle(DEADLINE));
            let worker = store.host.worker().unwrap();
            while expired.load(Ordering::Relaxed) < ENTRIES {
                let removed = expired.load(Ordering::Relaxed);
                let turns = worker.turns.load(Ordering::Relaxed);
                if has_change {
                    store.put("next", &1_u64).unwrap();
                }
                worker.push(Job::Expire);
                let queued = worker.lock().queued;
                assert!(worker.wait_done(queued, DEADLINE));
                let removed = expired.load(Ordering::Relaxed) - removed;
                let turns = worker.turns.load(Ordering::Relaxed) - turns;
                assert!(removed > 0, "each group removes some");
                assert!(removed <= turns * EXPIRED_PER_CALL_MAX as u64);
            }
        }
        endpoint.shutdown().wait();
    }

    #[test]
    fn the_thread_knows_whether_somebody_reads() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let (store, _gate) = slow_store(&endpoint);
        let worker = store.host.worker().unwrap();
        assert!(!worker.was_read());
        assert_eq!(store.get("key").unwrap(), None);
        assert!(worker.was_read());
        assert!(!worker.was_read());
        endpoint.shutdown().wait();
    }
}
