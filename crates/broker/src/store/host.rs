//! The host of one store: its state machine behind a lock, and the threads and tasks that wait for it.
//!
//! A caller that has something for the machine (a connection's task, a user's thread, the clock)
//! locks, hands it in, and carries out what comes of it: frames go into mailboxes before the lock is
//! released, so that they keep their order. A master whose storage blocks has a thread instead,
//! which does the same for groups; see `worker`. Lock order: the endpoint's control state before a
//! store; a store before nothing. See ADR 0073.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use broker_data::Timestamp;
use broker_proto::Topic;
use broker_proto::store::command::Command;
use broker_proto::store::entity::EntityId;
#[cfg(feature = "nats")]
use broker_proto::store::replica::{Effect, Replica};
use broker_proto::store::{
    Backend, Contact, Master, Output, Role, StoreClone, StoreFailure, clone_topic, master_topic,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::core::pending::{Pending, Resolver};
use crate::flow::blocked::BlockedPublish;
use crate::lock::{Lock, Locked};
use crate::signal::Signal;
#[cfg(feature = "nats")]
use crate::store::delivery::answer_of_verdict;
use crate::store::delivery::{After, Delivery, UniqueAnswer, answer_of, is_for, other};
use crate::store::error::quoted;
use crate::store::pace::RemovalPace;
use crate::store::registry::Node;
use crate::store::stats::{ReadCounts, StoreState};
use crate::store::worker::{Job, Worker};
use crate::store::{StoreError, peers_with};

/// Time that others are given between two batches of entries that are over, in which they get the
/// lock and the thread: as long as a batch takes at most.
const EXPIRY_PAUSE: Duration = Duration::from_millis(1);

/// Steps, of `EXPIRED_PER_CALL_MAX` entries each, in which a batch is removed in memory: less than a
/// millisecond. A storage with a thread has a pace of its own.
const EXPIRY_STEPS: usize = 4;

/// No entry ends, in nanoseconds since 1970.
const NEVER: i64 = i64::MAX;

/// A master with any storage.
pub(super) type AnyMaster = Master<Box<dyn Backend>>;

/// One store of an endpoint.
#[derive(Debug)]
pub(crate) struct Host {
    pub(super) name: String,
    pub(super) role: Role,
    /// The topic it listens on.
    pub(super) topic: Topic,
    /// The id of the master, or the first one of the clone.
    pub(super) id: EntityId,
    state: Lock<State>,
    pub(super) changed: Signal,
    /// Wakes the clock's task: routes changed, an entry ends sooner, or the end has come.
    nudge: Notify,
    /// When the first entry ends, in nanoseconds since 1970: what the clock's task has to know
    /// without the lock, which the thread of a storage holds while it waits for the disk.
    next_expiry: AtomicI64,
    pub(super) worker: Option<Arc<Worker>>,
    /// Where the entries are, if in a file.
    pub(super) file: OnceLock<PathBuf>,
    /// Since when those who ask have seen a clone lag.
    lags_since: Lock<Option<Instant>>,
    /// The last answer to those who ask, for those who ask while the thread waits for the disk.
    pub(super) told: Lock<Option<StoreState>>,
    closed: AtomicBool,
    /// Numbers of requests that have no number of the user's.
    requests: AtomicU64,
    #[cfg(feature = "nats")]
    hooks: OnceLock<ReplicaHooks>,
}

/// What a replica has others do.
#[cfg(feature = "nats")]
pub(super) struct ReplicaHooks {
    /// Carries out an effect on the servers. The store is not locked.
    pub(super) carry_out: Box<dyn Fn(Effect) + Send + Sync>,
    /// Ends that; the replica is gone.
    pub(super) end: Box<dyn Fn() + Send + Sync>,
}

#[cfg(feature = "nats")]
impl std::fmt::Debug for ReplicaHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaHooks").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) reads: ReadCounts,
    answers: BTreeMap<(EntityId, u64), Resolver<UniqueAnswer>>,
    delivery: Delivery,
    /// Those who wait for what becomes of a request to a replica.
    /// Bound: what waits for an append, and one group.
    #[cfg(feature = "nats")]
    tickets: BTreeMap<u64, Resolver<UniqueAnswer>>,
    /// What a replica wants done. Bound: what one call leads to.
    #[cfg(feature = "nats")]
    effects: Vec<Effect>,
    /// The routes that what follows was derived from.
    routes_version: u64,
    /// The peers that a clone has been told it does not reach.
    unreached_peers: Arc<Vec<String>>,
}

/// The state machine of a store.
pub(super) enum Core {
    Master(Box<AnyMaster>),
    Clone(Box<StoreClone>),
    /// A replica of a master that streams keep.
    #[cfg(feature = "nats")]
    Replica(Box<Replica>),
    /// The endpoint was shut down.
    Closed,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Master(_) => "Master",
            Self::Clone(_) => "Clone",
            #[cfg(feature = "nats")]
            Self::Replica(_) => "Replica",
            Self::Closed => "Closed",
        })
    }
}

/// Why a connection that feeds a store has to wait.
#[derive(Debug)]
pub(crate) enum StoreWait {
    Publish(BlockedPublish),
    Room(Arc<Host>),
}

impl StoreWait {
    pub(crate) async fn finished(self) {
        match self {
            Self::Publish(blocked) => blocked.finished().await,
            Self::Room(host) => {
                if let Some(worker) = &host.worker {
                    worker.room().await;
                }
            }
        }
    }
}

impl Host {
    pub(super) fn master(
        node: &Node,
        name: &str,
        master: AnyMaster,
        blocks: bool,
    ) -> Result<Arc<Self>, StoreError> {
        let worker = blocks.then(|| Arc::new(Worker::default()));
        let id = master.id();
        let core = Core::Master(Box::new(master));
        let host = Arc::new(Self::new(name, Role::Master, id, core, worker.clone()));
        if let Some(worker) = worker {
            let (work_host, work_node) = (host.clone(), node.clone());
            let mut pace = RemovalPace::default();
            let end_host = host.clone();
            let started = worker.start(
                name,
                move |worker, jobs| work_host.work(&work_node, worker, &mut pace, jobs),
                move || end_host.drop_core(),
            );
            started.map_err(|error| StoreError::Thread(Arc::new(error)))?;
        }
        Ok(host)
    }

    pub(super) fn replica(name: &str, clone: StoreClone) -> Arc<Self> {
        let id = clone.id();
        let core = Core::Clone(Box::new(clone));
        Arc::new(Self::new(name, Role::Clone, id, core, None))
    }

    /// A replica, and what carries out what it wants done, made of the host.
    #[cfg(feature = "nats")]
    pub(super) fn replicated(
        name: &str,
        id: EntityId,
        core: Core,
        hooks: impl FnOnce(&Arc<Self>) -> ReplicaHooks,
    ) -> Arc<Self> {
        let host = Arc::new(Self::new(name, Role::Master, id, core, None));
        let _first = host.hooks.set(hooks(&host));
        host
    }

    /// Whether changes are answered only when a stream has them.
    #[cfg(feature = "nats")]
    pub(super) fn is_replicated(&self) -> bool {
        self.hooks.get().is_some()
    }

    fn new(name: &str, role: Role, id: EntityId, core: Core, worker: Option<Arc<Worker>>) -> Self {
        let (own, others) = match role {
            Role::Master => (master_topic(name), clone_topic(name)),
            Role::Clone => (clone_topic(name), master_topic(name)),
        };
        let next_expiry = core.next_expiry();
        Self {
            name: name.to_owned(),
            role,
            topic: own,
            id,
            state: Lock::new(State {
                core,
                reads: ReadCounts::default(),
                answers: BTreeMap::new(),
                delivery: Delivery::new(name, others),
                #[cfg(feature = "nats")]
                tickets: BTreeMap::new(),
                #[cfg(feature = "nats")]
                effects: Vec::new(),
                routes_version: 0,
                unreached_peers: Arc::default(),
            }),
            changed: Signal::default(),
            nudge: Notify::new(),
            next_expiry: AtomicI64::new(next_expiry),
            worker,
            file: OnceLock::new(),
            lags_since: Lock::default(),
            told: Lock::default(),
            closed: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            #[cfg(feature = "nats")]
            hooks: OnceLock::new(),
        }
    }

    /// For those who read, wait, or ask: the thread of a storage, which holds the lock nearly all the
    /// time when it has much to do, lets them in between two groups.
    pub(super) fn lock(&self) -> Locked<'_, State> {
        let Some(worker) = &self.worker else {
            return self.state.lock();
        };
        worker.note_read();
        let state = self.state.try_lock().unwrap_or_else(|| {
            worker.ask_turn();
            self.state.lock()
        });
        worker.take_turn();
        state
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether a thread of its own does what can wait for a disk.
    pub(super) fn has_thread(&self) -> bool {
        self.worker.is_some()
    }

    #[cfg(test)]
    pub(super) fn worker(&self) -> Option<&Worker> {
        self.worker.as_deref()
    }

    /// Nothing while somebody else has it.
    pub(super) fn try_lock(&self) -> Option<Locked<'_, State>> {
        self.state.try_lock()
    }

    /// Says where the entries are.
    pub(super) fn set_file(&self, path: PathBuf) {
        let _first = self.file.set(path);
    }

    /// How long a clone has lagged, for those who ask.
    pub(super) fn lag_time(&self, lags: bool) -> Duration {
        let mut since = self.lags_since.lock();
        *since = if lags {
            Some(since.unwrap_or_else(Instant::now))
        } else {
            None
        };
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// A number for a request of a handle.
    pub(super) fn new_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    // --- the machine ----------------------------------------------------------------------------

    /// Hands something to the machine and carries out what comes of it.
    pub(super) fn act<T>(
        self: &Arc<Self>,
        node: &Node,
        action: impl FnOnce(&mut Core) -> T,
    ) -> (T, Vec<BlockedPublish>) {
        let mut state = self.state.lock();
        state.follow_routes(self, node);
        let result = action(&mut state.core);
        (result, self.commit(node, state))
    }

    /// Ends a group and carries out what came of it.
    fn commit(self: &Arc<Self>, node: &Node, mut state: Locked<'_, State>) -> Vec<BlockedPublish> {
        state.core.commit();
        self.hand_out(node, state)
    }

    /// Carries out what came of a group that is committed.
    fn hand_out(
        self: &Arc<Self>,
        node: &Node,
        mut state: Locked<'_, State>,
    ) -> Vec<BlockedPublish> {
        let mut after = After::default();
        state.carry_out(self, node, &mut after);
        #[cfg(feature = "nats")]
        let effects = std::mem::take(&mut state.effects);
        let next_expiry = state.core.next_expiry();
        if next_expiry < self.next_expiry.swap(next_expiry, Ordering::AcqRel) {
            self.nudge.notify_one();
        }
        self.announce(state);
        #[cfg(feature = "nats")]
        if let Some(hooks) = self.hooks.get() {
            effects.into_iter().for_each(&hooks.carry_out);
        }
        let mut blocked = after.give_answers();
        blocked.extend(node.stores.deliver_locally(node));
        blocked
    }

    /// Unlocks and tells those who wait that something may have changed.
    fn announce(&self, state: Locked<'_, State>) {
        drop(state);
        self.changed.notify();
    }

    /// A command came on this store's topic. What is returned has to be waited for before more of
    /// the same connection is handed in.
    pub(crate) fn handle_command(
        self: &Arc<Self>,
        node: &Node,
        command: &Command<'_>,
        payload: &[u8],
    ) -> Vec<StoreWait> {
        if let Some(worker) = &self.worker {
            worker.push(Job::Command(payload.into()));
            return if worker.has_room() {
                Vec::new()
            } else {
                vec![StoreWait::Room(self.clone())]
            };
        }
        let ((), blocked) = self.act(node, |core| match core {
            Core::Master(master) => {
                master.handle_command(node.shared.clock.time_of_day(), command, payload)
            }
            Core::Clone(clone) => clone.handle_command(node.shared.now(), command, payload),
            #[cfg(feature = "nats")]
            Core::Replica(replica) => {
                replica.handle_command(node.shared.clock.time_of_day(), payload);
            }
            Core::Closed => {}
        });
        blocked.into_iter().map(StoreWait::Publish).collect()
    }

    /// One group of jobs of the thread.
    fn work(
        self: &Arc<Self>,
        node: &Node,
        worker: &Worker,
        pace: &mut RemovalPace,
        jobs: &mut VecDeque<Job>,
    ) {
        let mut steps = 0;
        if jobs.iter().any(|job| matches!(job, Job::Expire)) {
            steps = self.remove_over(node, worker, pace.steps(), jobs.len() > 1);
            // Those who wait for what came meanwhile need not wait for a commit of its own.
            worker.take_more(jobs);
        }
        let mut state = self.state.lock();
        state.follow_routes(self, node);
        let now = node.shared.clock.time_of_day();
        for job in &*jobs {
            if !matches!(job, Job::Expire) {
                state.core.handle_job(now, job);
            }
        }
        let began = Instant::now();
        state.core.commit();
        let blocked = self.hand_out(node, state);
        if steps > 0 {
            // With what is told of it, for which readers wait just as well.
            pace.committed(steps, began.elapsed(), worker.was_read());
        }
        for blocked in blocked {
            blocked.wait();
        }
    }

    /// Removes some of what is over, in up to so many steps, between which readers come: what is
    /// removed is not there for them anyway, so they need no commit. Returns how many steps it took.
    fn remove_over(
        self: &Arc<Self>,
        node: &Node,
        worker: &Worker,
        steps_max: usize,
        has_changes: bool,
    ) -> usize {
        let began = Instant::now();
        for step in 1..=steps_max {
            let mut state = self.state.lock();
            state.follow_routes(self, node);
            let now = node.shared.clock.time_of_day();
            state.core.handle_job(now, &Job::Expire);
            let is_done = state.core.next_expiry() > now.ns();
            drop(state);
            worker.let_readers_in();
            let awaited = worker.awaited(has_changes);
            if is_done || !awaited.allows_step(began.elapsed()) {
                return step;
            }
        }
        steps_max
    }

    /// `late` is the number of ticks that should have come before this one.
    fn tick(self: &Arc<Self>, node: &Node, late: u64) -> Vec<BlockedPublish> {
        if let Some(worker) = &self.worker {
            worker.push(Job::Tick);
            return Vec::new();
        }
        let ((), blocked) = self.act(node, |core| {
            if let Core::Clone(clone) = core {
                clone.skip_ticks(late);
            }
            core.handle_job(node.shared.clock.time_of_day(), &Job::Tick);
        });
        blocked
    }

    /// Removes some of what is over.
    fn expire(self: &Arc<Self>, node: &Node) -> Vec<BlockedPublish> {
        if let Some(worker) = &self.worker {
            // Its thread says when the next entry ends, once it has done this.
            self.next_expiry.store(NEVER, Ordering::Release);
            worker.push(Job::Expire);
            return Vec::new();
        }
        let ((), blocked) = self.act(node, |core| {
            for _ in 0..EXPIRY_STEPS {
                core.handle_job(node.shared.clock.time_of_day(), &Job::Expire);
            }
        });
        blocked
    }

    /// When the first entry ends.
    fn expiry_instant(&self, node: &Node) -> Option<tokio::time::Instant> {
        match self.next_expiry.load(Ordering::Acquire) {
            NEVER => None,
            at => node.shared.clock.instant(Timestamp::from_ns(at)),
        }
    }

    /// A request of a user, made with the id that it names as its publisher. `Full` asks for
    /// [`wait_room`](Self::wait_room).
    pub(super) fn request(
        self: &Arc<Self>,
        node: &Node,
        command: &Command<'_>,
    ) -> Result<Vec<BlockedPublish>, StoreError> {
        if self.is_closed() {
            return Err(StoreError::Closed);
        }
        if let Some(worker) = &self.worker {
            if !worker.has_room() {
                return Err(StoreError::Full);
            }
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            return if worker.push(Job::Request(bytes.into())) {
                Ok(Vec::new())
            } else {
                Err(StoreError::Closed)
            };
        }
        let now = node.shared.clock.time_of_day();
        let (result, blocked) = self.act(node, |core| core.request(now, command));
        result.map(|()| blocked)
    }

    /// A request to a replica; what it resolves to is told when the stream has it.
    #[cfg(feature = "nats")]
    pub(super) fn request_stored(
        self: &Arc<Self>,
        node: &Node,
        command: &Command<'_>,
    ) -> Result<(Pending<UniqueAnswer>, Vec<BlockedPublish>), StoreError> {
        let (resolver, pending) = Pending::new(|| Err(StoreError::Closed));
        let ticket = self.new_request();
        let now = node.shared.clock.time_of_day();
        let mut state = self.state.lock();
        state.follow_routes(self, node);
        let Core::Replica(replica) = &mut state.core else {
            return Err(StoreError::Closed);
        };
        replica.request(now, ticket, &command.content)?;
        // Its result comes out with the next commit at the earliest.
        state.tickets.insert(ticket, resolver);
        Ok((pending, self.commit(node, state)))
    }

    /// Registers who waits for the result of a `put_unique`, then makes the request.
    pub(super) fn request_answer(
        self: &Arc<Self>,
        node: &Node,
        who: EntityId,
        request: u64,
        command: &Command<'_>,
    ) -> Result<(Pending<UniqueAnswer>, Vec<BlockedPublish>), StoreError> {
        #[cfg(feature = "nats")]
        if self.is_replicated() {
            return self.request_stored(node, command);
        }
        let (resolver, pending) = Pending::new(|| Err(StoreError::Closed));
        self.lock().answers.insert((who, request), resolver);
        match self.request(node, command) {
            Ok(blocked) => Ok((pending, blocked)),
            Err(error) => {
                // Told by the error; the resolver has nothing to say any more.
                let resolver = self.lock().answers.remove(&(who, request));
                drop(resolver);
                Err(error)
            }
        }
    }

    /// Nobody waits for that result any more.
    pub(super) fn forget_answer(&self, who: EntityId, request: u64) {
        let resolver = self.lock().answers.remove(&(who, request));
        drop(resolver);
    }

    /// Whether a clone ever found its master.
    pub(super) fn has_copy(&self) -> bool {
        match &self.lock().core {
            Core::Clone(clone) => !matches!(clone.contact(), Contact::Searching | Contact::Failed),
            Core::Master(_) | Core::Closed => true,
            #[cfg(feature = "nats")]
            Core::Replica(_) => true,
        }
    }

    pub(super) fn search_again(self: &Arc<Self>, node: &Node) {
        let ((), _) = self.act(node, |core| {
            if let Core::Clone(clone) = core {
                clone.search_again();
            }
        });
    }

    // --- life -----------------------------------------------------------------------------------

    /// Routes changed: looked at soon.
    pub(crate) fn routes_changed(&self) {
        self.nudge.notify_one();
    }

    /// Feeds the machine its ticks, and removes entries when they are over, until the store is
    /// closed. The time of day may jump, so it is looked at again with each tick.
    pub(super) async fn run(self: Arc<Self>, node: Node) {
        let interval = node.shared.options.store.tick_interval;
        let mut ticks = node.shared.clock.ticks(interval);
        let mut expire_from = tokio::time::Instant::now();
        // Whether a thread has been asked to remove some, and has not yet said when more are over.
        let mut is_removing = false;
        // What subscribers and peers have no room for. Bounded by the stall limit of mailboxes;
        // ticks must not wait for it, and no more entries are removed meanwhile.
        let mut unsent = JoinSet::new();
        while !self.is_closed() {
            let next = ticks.next();
            let expiry = self.expiry_instant(&node).map(|at| at.max(expire_from));
            let expiry = expiry.filter(|at| *at < next && unsent.is_empty());
            let blocked = tokio::select! {
                late = ticks.tick() => match late {
                    Some(late) => self.tick(&node, late),
                    None => Vec::new(),
                },
                () = tokio::time::sleep_until(expiry.unwrap_or(next)), if expiry.is_some() => {
                    let blocked = self.expire(&node);
                    is_removing = self.has_thread();
                    expire_from = tokio::time::Instant::now() + EXPIRY_PAUSE;
                    blocked
                }
                Some(_) = unsent.join_next() => Vec::new(),
                () = self.nudge.notified() => {
                    if std::mem::take(&mut is_removing) {
                        // From the end of a batch on, whose begin may be many pauses ago.
                        expire_from = tokio::time::Instant::now() + EXPIRY_PAUSE;
                    }
                    self.look_at_routes(&node)
                }
            };
            for blocked in blocked {
                unsent.spawn(blocked.finished());
            }
        }
        unsent.detach_all();
    }

    pub(super) fn look_at_routes(self: &Arc<Self>, node: &Node) -> Vec<BlockedPublish> {
        if self.worker.is_some() {
            // Its thread looks at them at its next job.
            return Vec::new();
        }
        let ((), blocked) = self.act(node, |_| {});
        blocked
    }

    /// Ends the store: what was queued is done first. Blocks for as long as that takes.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        match &self.worker {
            Some(worker) => {
                worker.close();
                worker.join();
            }
            None => self.drop_core(),
        }
        #[cfg(feature = "nats")]
        if let Some(hooks) = self.hooks.get() {
            (hooks.end)();
        }
        self.nudge.notify_one();
    }

    fn drop_core(&self) {
        let mut state = self.state.lock();
        let core = std::mem::replace(&mut state.core, Core::Closed);
        let answers = std::mem::take(&mut state.answers);
        #[cfg(feature = "nats")]
        let tickets = std::mem::take(&mut state.tickets);
        self.announce(state);
        // Closing files and telling those who wait happens outside of the lock.
        drop(core);
        drop(answers);
        #[cfg(feature = "nats")]
        drop(tickets);
    }
}

impl State {
    /// Derives from the routes what the machine has to know.
    fn follow_routes(&mut self, host: &Host, node: &Node) {
        if let Core::Clone(clone) = &mut self.core {
            let unreached = node.shared.unreached_peers();
            if !Arc::ptr_eq(&unreached, &self.unreached_peers) {
                clone.set_unreached_peers(quoted(&unreached));
                self.unreached_peers = unreached.clone();
            }
        }
        let version = node.shared.data.routes.load().version();
        if self.routes_version == version {
            return;
        }
        self.routes_version = version;
        let observed = self.delivery.is_observed(&node.shared.data);
        match &mut self.core {
            Core::Master(master) => {
                master.set_observed(observed);
                master.set_suspects(&peers_with(&node.shared, &host.topic));
            }
            Core::Clone(clone) => {
                clone.set_observed(observed);
                let local = node.stores.find(Role::Master, &host.name).is_some();
                clone.set_reachable(local || self.delivery.is_reachable(&node.shared.data));
            }
            // Other replicas are no rivals: the stream decides.
            #[cfg(feature = "nats")]
            Core::Replica(replica) => replica.set_observed(observed),
            Core::Closed => {}
        }
    }

    fn carry_out(&mut self, host: &Arc<Host>, node: &Node, after: &mut After) {
        while let Some(output) = self.next_output(after) {
            match output {
                Output::Send(message) => {
                    self.delivery.send(&node.shared.data, &message, after);
                    if is_for(&message, node.shared.data.id) {
                        let role = other(host.role);
                        node.stores.queue_locally(role, &host.name, &message.frame);
                    }
                }
                Output::Event(value) => {
                    self.delivery
                        .publish_event(&node.shared.data, &value, after)
                }
                Output::Fault(fault) => {
                    tracing::warn!(event = "store-fault", store = host.name, text = fault.text);
                    node.shared.data.report(fault);
                }
                Output::Answer {
                    who,
                    request,
                    result,
                } => {
                    if let Some(resolver) = self.answers.remove(&(who, request)) {
                        after.answers.push((resolver, answer_of(result)));
                    }
                }
            }
        }
    }
}

impl State {
    /// The next thing that the machine wants done here. What a replica wants done elsewhere is noted,
    /// and what it tells callers goes to `after`.
    #[cfg(feature = "nats")]
    fn next_output(&mut self, after: &mut After) -> Option<Output> {
        let Core::Replica(replica) = &mut self.core else {
            return self.core.poll_output();
        };
        loop {
            match replica.poll_effect()? {
                Effect::Store(output) => return Some(output),
                Effect::Done { ticket, verdict } => {
                    if let Some(resolver) = self.tickets.remove(&ticket) {
                        after.answers.push((resolver, answer_of_verdict(verdict)));
                    }
                }
                effect => self.effects.push(effect),
            }
        }
    }

    #[cfg(not(feature = "nats"))]
    fn next_output(&mut self, _: &mut After) -> Option<Output> {
        self.core.poll_output()
    }
}

impl Core {
    /// When the first entry ends. A clone leaves that to its master.
    fn next_expiry(&self) -> i64 {
        match self {
            Self::Master(master) => master.next_expiry().map_or(NEVER, Timestamp::ns),
            Self::Clone(_) | Self::Closed => NEVER,
            // With its ticks.
            #[cfg(feature = "nats")]
            Self::Replica(_) => NEVER,
        }
    }

    /// One job of a group.
    pub(super) fn handle_job(&mut self, now: Timestamp, job: &Job) {
        match (self, job) {
            (Self::Master(master), Job::Command(payload)) => {
                // It was checked when it came.
                if let Ok(command) = Command::parse(payload) {
                    master.handle_command(now, &command, payload);
                }
            }
            (Self::Master(master), Job::Request(payload)) => {
                if let Ok(command) = Command::parse(payload) {
                    // A refusal is told by an event.
                    let _ = master.request(now, &command.content);
                }
            }
            (Self::Master(master), Job::Tick) => master.handle_tick(now),
            (Self::Master(master), Job::Expire) => master.handle_expiry(now),
            (Self::Master(master), Job::Probe) => master.probe(),
            (Self::Clone(clone), Job::Tick) => clone.handle_tick(),
            (Self::Clone(clone), Job::Probe) => clone.probe(),
            #[cfg(feature = "nats")]
            (Self::Replica(replica), Job::Tick) => replica.handle_tick(now),
            #[cfg(feature = "nats")]
            (Self::Replica(_), _) => {}
            (Self::Clone(_), Job::Command(_) | Job::Request(_) | Job::Expire)
            | (Self::Closed, _) => {}
        }
    }

    fn request(&mut self, now: Timestamp, command: &Command<'_>) -> Result<(), StoreError> {
        match self {
            Self::Master(master) => {
                // A refusal is told by an event, as it is when it comes later.
                let _ = master.request(now, &command.content);
                Ok(())
            }
            Self::Clone(clone) => {
                let room = command.action_size_max();
                if clone.contact() != Contact::Failed && !clone.has_room(room) {
                    return Err(StoreError::Full);
                }
                Ok(clone.request(&command.content)?)
            }
            // Requests to it have an answer: see `request_stored`.
            #[cfg(feature = "nats")]
            Self::Replica(_) => Ok(()),
            Self::Closed => Err(StoreError::Closed),
        }
    }

    /// Ends the group that the calls before belong to. A failure has been told by an event and to
    /// whoever asked for an answer.
    fn commit(&mut self) {
        if let Self::Master(master) = self {
            let _: Result<(), StoreFailure> = master.commit();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Master(master) => master.poll_output(),
            Self::Clone(clone) => clone.poll_output(),
            // What it wants done is more than these: see `State::next_output`.
            #[cfg(feature = "nats")]
            Self::Replica(_) => None,
            Self::Closed => None,
        }
    }
}
