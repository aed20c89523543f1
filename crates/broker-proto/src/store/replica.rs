//! A store that survives its machine: one of several replicas that follow one stream, of which one
//! leads.
//!
//! The stream is a log that others keep: it takes an entry only if its last sequence is the one that
//! the entry expects. The leader is a [`Master`](crate::store::Master) whose commit is such an append. What it decides
//! about requests becomes visible, and is told, when the stream has it. All other replicas apply
//! the same entries in the same order, and one of them takes over.
//!
//! - *Fencing.* Every append expects the sequence that its writer has applied. So what is stored at
//!   a sequence was decided with everything before it known, whoever else believes to lead. The
//!   lease only keeps replicas from competing; correctness does not depend on it or on a clock.
//! - *One group at a time.* What comes while an append is under way waits and goes together into
//!   the next entry. A group that changes nothing is appended as well: its results are true only if
//!   nobody else has changed anything meanwhile.
//! - *No outcome is guessed.* An append that was not answered, or was refused, is looked up: the
//!   entry at its sequence is this one, or another one and then this one can never be stored. Until
//!   that is known nothing is answered. If the log does not reach back that far any more, the
//!   snapshot says how far the last leaders had come.
//! - *Expiry is an entry.* What is over is removed by the leader; followers compare no times, except
//!   to hide from readers what is over.
//! - *Snapshots.* Written every so many entries, by a follower if there is one, read back and
//!   checked. Two that are whole are kept, and the log only goes as far back as the older one: if
//!   the newer one turns out to be damaged, the one before and the log behind it are there.
//!
//! Nothing here knows what the stream, the snapshots and the lease are kept in: [`Effect`] says what
//! is to be done there, and the `handle_` methods are told what came of it. Questions that are not
//! answered are asked again. The runtime keeps them on servers of NATS; `sim` runs it on a model of the stream.
//! ADR 0400 (this), 0401 (what is written), 0460 (the servers).

mod compaction;
pub mod entry;
mod follow;
mod journal;
mod lead;
mod leaders;
mod lease;
mod load;
pub mod snapshot;

use std::collections::VecDeque;
use std::sync::Arc;

use broker_data::{Timespan, Timestamp};

use crate::status::ErrorCode;
use crate::store::backend::{Backend, Entry, VisitEntry};
use crate::store::command::{Command, Content};
use crate::store::entity::EntityId;
use crate::store::memory::Memory;
use crate::store::{Output, StoreConfig, StoreFailure, operation};

use compaction::Keeper;
use entry::EntryId;
use journal::Journal;
use lead::Leader;
use leaders::Leaders;
use lease::Lease;
use load::Loading;

/// Requests and commands that wait for the append before them; more are refused. A second of
/// traffic at the rate at which a stream of three servers takes groups.
pub const WAITING_MAX: usize = 32 * 1024;

/// Ticks after which a question that was not answered is asked again.
const RETRY_TICKS: u64 = 10;

/// Ticks after which a snapshot that is being written or read back is given up: half a minute with the
/// usual interval, for one of many chunks.
const SNAPSHOT_TICKS: u64 = 300;

/// What one may ask about replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// That of the master that leads; `tick_interval` is how often `handle_tick` is called.
    pub store: StoreConfig,
    /// Largest entry of the stream in bytes. Key and value of one change may have a quarter of it.
    pub entry_bytes_max: usize,
    /// Entries between two snapshots; a leader waits for twice as many, so that a follower makes
    /// them if there is one.
    pub snapshot_entries: u64,
    /// Largest chunk of a snapshot in bytes.
    pub chunk_bytes_max: usize,
    /// For how long a lease is given.
    pub lease: Timespan,
    /// What reads are answered where the newest state may be unknown.
    pub stale_reads: StaleReads,
    /// Whether it takes over when there is no leader. One that does not is a copy that follows the
    /// leaders.
    pub candidacy: Candidacy,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            entry_bytes_max: 1024 * 1024,
            snapshot_entries: 10_000,
            chunk_bytes_max: 128 * 1024,
            lease: Timespan::from_millis(5_000),
            stale_reads: StaleReads::Refuse,
            candidacy: Candidacy::Standby,
        }
    }
}

/// Whether a replica may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidacy {
    /// It takes over when the lease is free.
    Standby,
    /// It never does.
    CopyOnly,
}

/// What a replica answers to reads that may miss the newest changes: on every one but a leader
/// whose lease is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReads {
    /// An error.
    Refuse,
    /// What it has.
    Allow,
}

/// What a replica wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// What the master in it wants done, or an event or a fault of its own.
    Store(Output),
    /// Append an entry, if the stream's last sequence is the expected one; with its id for the
    /// stream's detection of doubles. Answered with [`Replica::handle_append`].
    Append {
        /// The entry's id.
        id: EntryId,
        /// The stream's last sequence must be this one.
        expected: u64,
        /// Its bytes.
        entry: Arc<[u8]>,
    },
    /// Read the entry behind a sequence. Answered with [`Replica::handle_tail`].
    ReadTail {
        /// The sequence before the one that is read.
        after: u64,
    },
    /// Deliver all entries behind a sequence from now on, in order, instead of what was delivered
    /// before, to [`Replica::handle_entry`].
    Follow {
        /// The last sequence that is known.
        after: u64,
    },
    /// Take the lease, or prolong it if it is this replica's. Answered with
    /// [`Replica::handle_lease`].
    AcquireLease,
    /// Give the lease back if it is this replica's.
    ReleaseLease,
    /// Name the sequences of all snapshots. Answered with [`Replica::handle_snapshots`].
    ListSnapshots,
    /// Read one. Answered with [`Replica::handle_snapshot`].
    ReadSnapshot {
        /// Its sequence.
        sequence: u64,
    },
    /// Write one. Answered with [`Replica::handle_snapshot_written`].
    WriteSnapshot {
        /// Its sequence.
        sequence: u64,
        /// Its chunks.
        chunks: Vec<Arc<[u8]>>,
    },
    /// Remove one, if it is there.
    DeleteSnapshot {
        /// Its sequence.
        sequence: u64,
    },
    /// Remove entries up to a sequence, this one included.
    Compact {
        /// The sequence.
        through: u64,
    },
    /// A request has its result.
    Done {
        /// The number that the caller gave it.
        ticket: u64,
        /// What became of it.
        verdict: Verdict,
    },
    /// Its role has changed.
    Became(Standing),
}

/// What a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It looks for a snapshot, or for what is behind it.
    Loading,
    /// It follows the leader; the reason why it stopped leading, if it did.
    Standby(Option<StepDown>),
    /// It leads.
    Leader,
    /// It does not go on.
    Stopped(StopReason),
}

/// Why a leader stopped leading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepDown {
    /// The stream has an entry of another leader where this one's was to be.
    #[error("replica {0} has taken over")]
    Fenced(EntityId),
    /// Another replica has the lease.
    #[error("another replica has the lease")]
    LeaseLost,
    /// The stream does not reach back to what this leader knows of: it was away for too long.
    #[error("the stream has gone on without it, and begins behind what it knows")]
    LeftBehind,
    /// It was told to.
    #[error("it was told to")]
    Resigned,
}

/// Why a replica does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// An entry of the stream cannot be read. What comes behind it cannot be applied either.
    #[error("entry {sequence} of the stream: {error}")]
    Damaged {
        /// Its sequence.
        sequence: u64,
        /// What is wrong with it.
        error: entry::EntryError,
    },
    /// The stream has stored something elsewhere than it was told to.
    #[error("the stream stored an entry at {found} that was to be at {expected}")]
    Misplaced {
        /// Where it was to be.
        expected: u64,
        /// Where it is.
        found: u64,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was decided, and the stream has the decision.
    Decided(Result<Reply, StoreFailure>),
    /// It was not applied and never will be.
    NotApplied(StepDown),
    /// It cannot be found out any more: as many leaders as are remembered have come since.
    Unknown,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A change; `false` for a `put_unique` whose key was there.
    Applied(bool),
    /// A read: the value, unless there is none.
    Value(Option<Vec<u8>>),
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is stored.
    Stored {
        /// Where.
        sequence: u64,
    },
    /// The stream's last sequence is another one. This may be due to the same entry, sent before.
    Refused,
    /// There was no answer, and will be none.
    Unknown,
}

/// What was found behind a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailOutcome<'a> {
    /// An entry.
    Entry {
        /// Its bytes.
        entry: &'a [u8],
    },
    /// Nothing yet.
    End,
    /// The stream begins later.
    Compacted {
        /// Where.
        first: u64,
    },
    /// There was no answer.
    Unknown,
}

/// What became of a request for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// This replica has it, from when it asked on.
    Granted,
    /// Another one has it.
    Held,
    /// There was no answer.
    Unknown,
}

/// An append whose outcome is not known yet.
#[derive(Debug)]
struct Pending {
    id: EntryId,
    expected: u64,
    entry: Arc<[u8]>,
    /// What callers are told once it is stored. None for the first entry of a leader.
    decisions: Vec<(u64, Result<Reply, StoreFailure>)>,
    stage: Stage,
    /// The tick of the last question.
    asked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Appending,
    /// Its outcome is being looked up.
    ReadingTail,
}

#[derive(Debug)]
enum Phase {
    Loading(Loading),
    Following(Memory),
    Leading(Box<Leader>),
    Stopped,
}

/// One replica of a store.
#[derive(Debug)]
pub struct Replica {
    id: EntityId,
    store: String,
    config: ReplicaConfig,
    phase: Phase,
    /// The sequence up to which its entries are those of the stream.
    applied: u64,
    leaders: Leaders,
    pending: Option<Pending>,
    /// The append of a leader that was left behind: what became of it is known with a snapshot.
    orphan: Option<Pending>,
    lease: Lease,
    keeper: Keeper,
    promotions: u64,
    /// Entries of its own so far.
    numbers: u64,
    observed: bool,
    ticks: u64,
    /// Bound: what one call leads to; the caller drains it after each.
    effects: VecDeque<Effect>,
}

impl Replica {
    /// A replica that looks for a snapshot. `id` has an object number below 2^32 that no other object
    /// of the endpoint has, also none of another process with this endpoint id.
    pub fn new(id: EntityId, store: &str, config: ReplicaConfig) -> Self {
        let mut replica = Self {
            id,
            store: store.to_owned(),
            config,
            phase: Phase::Stopped,
            applied: 0,
            leaders: Leaders::default(),
            pending: None,
            orphan: None,
            lease: Lease::default(),
            keeper: Keeper::default(),
            promotions: 0,
            numbers: 0,
            observed: false,
            ticks: 0,
            effects: VecDeque::new(),
        };
        replica.load(0);
        replica
    }

    // --- getters --------------------------------------------------------------------------------

    /// The sequence up to which it has applied the stream.
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether it has entries: it follows or leads.
    pub const fn has_state(&self) -> bool {
        matches!(self.phase, Phase::Following(_) | Phase::Leading(_))
    }

    /// Whether it leads. Another replica may have taken over without its knowing; what is asked of
    /// it then comes to nothing.
    pub const fn is_leader(&self) -> bool {
        matches!(self.phase, Phase::Leading(_))
    }

    /// Whether it does not go on.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// The master, while it leads.
    pub fn master_id(&self) -> Option<EntityId> {
        match &self.phase {
            Phase::Leading(leader) => Some(leader.master.id()),
            Phase::Loading(_) | Phase::Following(_) | Phase::Stopped => None,
        }
    }

    /// Whether it has nothing to do before something happens: no append is under way, nothing waits.
    pub fn is_idle(&self) -> bool {
        let waits = match &self.phase {
            Phase::Loading(_) => true,
            Phase::Following(_) | Phase::Stopped => false,
            Phase::Leading(leader) => !leader.waiting.is_empty(),
        };
        !waits && self.pending.is_none() && self.keeper.is_idle()
    }

    /// Whether what it has is the newest state, as far as clocks can tell: it leads, and its lease
    /// is valid.
    pub fn is_current(&self, now: Timestamp) -> bool {
        let valid = self.lease.until.is_some_and(|until| now < until);
        matches!(&self.phase, Phase::Leading(leader) if leader.resigning.is_none()) && valid
    }

    /// Whether reads are answered.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::StaleData`] where there may be a newer state and [`StaleReads::Refuse`] was chosen,
    /// and always while there is none.
    pub fn check_readable(&self, now: Timestamp) -> Result<(), StoreFailure> {
        let text = if !self.has_state() {
            "this replica has no state yet, or none any more"
        } else if self.config.stale_reads == StaleReads::Refuse && !self.is_current(now) {
            "this replica does not lead, or may not: its state may be old"
        } else {
            return Ok(());
        };
        Err(StoreFailure::new(ErrorCode::StaleData, text))
    }

    /// The value of a key as the stream has it up to [`applied`](Self::applied), without changes
    /// whose append is under way.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NoSuchKey`], or [`ErrorCode::StaleData`] where there may be a newer one and
    /// [`StaleReads::Refuse`] was chosen, and always while loading.
    pub fn get(&mut self, now: Timestamp, key: &[u8]) -> Result<Vec<u8>, StoreFailure> {
        self.check_readable(now)?;
        let entry = match &mut self.phase {
            Phase::Following(memory) => memory.get(key)?,
            Phase::Leading(leader) => leader.journal().committed(key),
            Phase::Loading(_) | Phase::Stopped => {
                let text = "this replica has no state yet, or none any more";
                return Err(StoreFailure::new(ErrorCode::StaleData, text));
            }
        };
        match entry {
            Some(Entry { value, expiry }) if !is_over(expiry, now) => Ok(value),
            Some(_) | None => Err(StoreFailure::new(ErrorCode::NoSuchKey, "no such key")),
        }
    }

    /// What is at an index of a key's value. Spec: stores 7.4.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and when a vector is asked for something that is no position.
    pub fn get_index(
        &mut self,
        now: Timestamp,
        key: &[u8],
        index: &[u8],
    ) -> Result<Vec<u8>, StoreFailure> {
        let value = self.get(now, key)?;
        operation::index(&value, index).map_err(|code| StoreFailure::new(code, code.to_string()))
    }

    /// Visits key and value of all entries that are not over, if reads are answered.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable).
    pub fn visit(
        &mut self,
        now: Timestamp,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreFailure> {
        self.check_readable(now)?;
        self.for_each(&mut |key, value, expiry| {
            if !is_over(expiry, now) {
                visit(key, value);
            }
        });
        Ok(())
    }

    /// Visits the keys behind one, among `limit` of them, in the order of their bytes, as
    /// [`Master::keys_after`](crate::store::Master::keys_after). A key whose removal is being appended
    /// may be left out already.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable).
    pub fn keys_after(
        &mut self,
        now: Timestamp,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.check_readable(now)?;
        let mut keys = Vec::new();
        let mut note = |key: &[u8]| keys.push(key.to_vec());
        let last = match &mut self.phase {
            Phase::Following(memory) => memory.keys_after(after, limit, &mut note)?,
            Phase::Leading(leader) => leader.memory_mut().keys_after(after, limit, &mut note)?,
            Phase::Loading(_) | Phase::Stopped => None,
        };
        for key in keys {
            if self.get(now, &key).is_ok() {
                visit(&key);
            }
        }
        Ok(last)
    }

    /// Visits all entries as the stream has them up to [`applied`](Self::applied), over or not, in
    /// no particular order: key, value, expiry.
    pub fn for_each(&mut self, visit: &mut VisitEntry<'_>) {
        match &mut self.phase {
            Phase::Following(memory) => {
                // Memory does not fail.
                let _ = memory.for_each(visit);
            }
            Phase::Leading(leader) => leader.journal().for_each_committed(visit),
            Phase::Loading(_) | Phase::Stopped => {}
        }
    }

    // --- the outside ----------------------------------------------------------------------------

    /// What is to be done.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether somebody listens to store events; without they are not made.
    pub fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
        if let Phase::Leading(leader) = &mut self.phase {
            leader.master.set_observed(observed);
        }
    }

    /// The connection to the servers is there again: what was under way on the old one has no
    /// answer, and deliveries have ended.
    pub fn handle_connected(&mut self) {
        self.lease.asked = None;
        self.lease.next = None;
        self.keeper = Keeper::after(&self.keeper);
        if let Some(pending) = &mut self.pending {
            pending.stage = Stage::ReadingTail;
            pending.asked = self.ticks;
            let after = pending.expected;
            self.effects.push_back(Effect::ReadTail { after });
        }
        match &self.phase {
            Phase::Loading(loading) => {
                let floor = loading.floor;
                self.load(floor);
            }
            Phase::Following(_) | Phase::Leading(_) => self.follow(),
            Phase::Stopped => {}
        }
    }

    /// A tick has passed; `now` is the time of day.
    pub fn handle_tick(&mut self, now: Timestamp) {
        self.ticks += 1;
        self.tick_leader(now);
        self.tick_pending();
        self.tick_loading();
        self.tick_keeper();
        self.tick_lease(now);
        self.take_over(now);
    }

    // --- appends --------------------------------------------------------------------------------

    fn next_id(&mut self) -> EntryId {
        self.numbers += 1;
        EntryId {
            leader: self.id,
            number: self.numbers,
        }
    }

    /// Begins to append behind what was applied.
    fn append(
        &mut self,
        id: EntryId,
        entry: Arc<[u8]>,
        decisions: Vec<(u64, Result<Reply, StoreFailure>)>,
    ) {
        debug_assert!(self.pending.is_none(), "one append at a time");
        let expected = self.applied;
        self.effects.push_back(Effect::Append {
            id,
            expected,
            entry: entry.clone(),
        });
        self.pending = Some(Pending {
            id,
            expected,
            entry,
            decisions,
            stage: Stage::Appending,
            asked: self.ticks,
        });
    }

    /// An append was answered.
    pub fn handle_append(&mut self, now: Timestamp, id: EntryId, outcome: AppendOutcome) {
        let Some(pending) = self.pending.as_mut().filter(|it| it.id == id) else {
            return;
        };
        match outcome {
            AppendOutcome::Stored { sequence } if sequence == pending.expected + 1 => {
                self.stored(now);
            }
            AppendOutcome::Stored { sequence } => {
                let expected = pending.expected + 1;
                self.stop(StopReason::Misplaced {
                    expected,
                    found: sequence,
                });
            }
            AppendOutcome::Refused | AppendOutcome::Unknown => self.read_tail(),
        }
    }

    fn read_tail(&mut self) {
        if let Some(pending) = &mut self.pending
            && pending.stage == Stage::Appending
        {
            pending.stage = Stage::ReadingTail;
            pending.asked = self.ticks;
            let after = pending.expected;
            self.effects.push_back(Effect::ReadTail { after });
        }
    }

    /// What is behind a sequence was looked up.
    pub fn handle_tail(&mut self, now: Timestamp, after: u64, outcome: TailOutcome<'_>) {
        let pending = self.pending.as_mut();
        let Some(pending) =
            pending.filter(|it| it.expected == after && it.stage == Stage::ReadingTail)
        else {
            return;
        };
        match outcome {
            TailOutcome::Entry { entry } => match entry::StreamEntry::parse(entry) {
                Ok(found) if found.id == pending.id => self.stored(now),
                Ok(found) => self.refuted(StepDown::Fenced(found.id.leader)),
                Err(error) => self.stop(StopReason::Damaged {
                    sequence: after + 1,
                    error,
                }),
            },
            // The first attempt may still arrive. Both expect the same sequence: one of them at
            // most is stored.
            TailOutcome::End => {
                pending.stage = Stage::Appending;
                pending.asked = self.ticks;
                self.effects.push_back(Effect::Append {
                    id: pending.id,
                    expected: pending.expected,
                    entry: pending.entry.clone(),
                });
            }
            TailOutcome::Compacted { first } => self.handle_gap(first),
            // It is asked again.
            TailOutcome::Unknown => {}
        }
    }

    fn tick_pending(&mut self) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        if self.ticks - pending.asked >= RETRY_TICKS {
            pending.stage = Stage::ReadingTail;
            pending.asked = self.ticks;
            let after = pending.expected;
            self.effects.push_back(Effect::ReadTail { after });
        }
    }

    /// The stream has what was appended.
    fn stored(&mut self, now: Timestamp) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.applied = pending.expected + 1;
        self.leaders
            .note(pending.id.leader, pending.id.number, self.applied);
        if self.is_leader() {
            self.committed(now, pending.decisions);
        } else {
            self.lead(now);
        }
        self.keep();
    }

    /// Another entry is where the append was to be.
    fn refuted(&mut self, reason: StepDown) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        for (ticket, _) in pending.decisions {
            let verdict = Verdict::NotApplied(reason.clone());
            self.effects.push_back(Effect::Done { ticket, verdict });
        }
        self.step_down(reason);
    }

    fn stop(&mut self, reason: StopReason) {
        for pending in self.pending.take().into_iter().chain(self.orphan.take()) {
            for (ticket, _) in pending.decisions {
                let verdict = Verdict::Unknown;
                self.effects.push_back(Effect::Done { ticket, verdict });
            }
        }
        // What waits was not decided.
        self.step_down(StepDown::Resigned);
        self.phase = Phase::Stopped;
        let failure = StoreFailure::new(ErrorCode::BackendFailure, reason.to_string());
        self.fault(&failure);
        let standing = Standing::Stopped(reason);
        self.effects.push_back(Effect::Became(standing));
    }

    fn fault(&mut self, failure: &StoreFailure) {
        let text = format!("store `{}`: {}", self.store, failure.text);
        let fault = crate::status::Fault::new(failure.code, None, text);
        self.effects.push_back(Effect::Store(Output::Fault(fault)));
    }

    // --- requests -------------------------------------------------------------------------------

    /// Checks that requests are taken.
    fn check_leading(&mut self, now: Timestamp) -> Result<&mut Leader, StoreFailure> {
        let current = self.is_current(now);
        let text = match &mut self.phase {
            Phase::Leading(leader) if current && leader.waiting.len() < WAITING_MAX => {
                return Ok(leader);
            }
            Phase::Leading(_) if current => "too many requests wait for the stream",
            Phase::Leading(_) => "the leader has lost its lease or the way to it",
            Phase::Loading(_) | Phase::Following(_) => "this replica does not lead",
            Phase::Stopped => "this replica has stopped",
        };
        Err(StoreFailure::new(ErrorCode::NoSuchMaster, text))
    }

    /// A request of a user of this replica: one of the actions. Its result comes as
    /// [`Effect::Done`] with the number given here.
    ///
    /// # Errors
    ///
    /// It is not taken and has no effect: [`ErrorCode::NoSuchMaster`] where there is no leader.
    pub fn request(
        &mut self,
        now: Timestamp,
        ticket: u64,
        content: &Content<'_>,
    ) -> Result<(), StoreFailure> {
        let leader = self.check_leading(now)?;
        let command = Command {
            seq: 0,
            sender: EntityId::NIL,
            receiver: EntityId::NIL,
            content: content.clone(),
        };
        let mut payload = Vec::new();
        command.encode(&mut payload);
        leader.waiting.push_back(lead::Waiting::Request {
            ticket,
            payload: payload.into(),
        });
        self.pump(now);
        Ok(())
    }

    /// A read that is answered like a request: with what there was when the stream had everything
    /// that was decided before. Costs an append.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn read(&mut self, now: Timestamp, ticket: u64, key: &[u8]) -> Result<(), StoreFailure> {
        let leader = self.check_leading(now)?;
        leader.waiting.push_back(lead::Waiting::Read {
            ticket,
            key: key.into(),
        });
        self.pump(now);
        Ok(())
    }

    /// A command of a clone on the master's topic. Nothing where there is no leader, and one too
    /// many is lost: channels repair that.
    pub fn handle_command(&mut self, now: Timestamp, payload: &[u8]) {
        if let Ok(leader) = self.check_leading(now) {
            let payload = payload.into();
            leader.waiting.push_back(lead::Waiting::Command { payload });
            self.pump(now);
        }
    }

    /// Stops leading, once it is known what became of the append that is under way.
    pub fn resign(&mut self, reason: StepDown) {
        let pending = self.pending.is_some();
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        if pending {
            leader.resigning.get_or_insert(reason);
        } else {
            self.step_down(reason);
        }
    }
}

/// Whether something that ends at a time is over.
fn is_over(expiry: Option<Timestamp>, now: Timestamp) -> bool {
    expiry.is_some_and(|at| crate::store::expiry::is_over(at, now))
}

#[cfg(test)]
mod tests;
