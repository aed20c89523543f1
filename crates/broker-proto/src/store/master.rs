//! The one front end of a store that changes it.
//!
//! Spec: stores 3.3, 5, 6, 7. The master applies requests of its own users at once and those of
//! clones in the order of their channels, and broadcasts what came of them.
//!
//! Calls come in groups that end with [`Master::commit`]: what they led to is handed out only when
//! the back end has it for good. When it has not, the whole group is as if it had never been.
//!
//! Beyond the original (ADR 0070): keepalives go to each clone as well; no clone is told that
//! something cannot be sent again, the content is brought up to date instead; a clone that was given
//! up is taken back when it is heard of; commands for another master are ignored; a refused request
//! is told to the clone it came from, if that is one of ours; of two masters that know of each other
//! one gives way.

mod apply;
mod attach;
mod reads;
mod repair;
mod rival;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker_data::Timestamp;

use crate::frame::{Envelope, FRAME_LEN_SIZE};
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::backend::{Backend, BackendError};
use crate::store::channel::consumer::{Arrival, Early, Feedback};
use crate::store::channel::producer::{Acknowledged, Missing};
use crate::store::channel::{Consumer, Producer};
use crate::store::command::{Command, Content};
use crate::store::entity::EntityId;
use crate::store::expiry::Expiries;
use crate::store::{
    ACK_EVENTS_MAX, CLONES_MAX, ChangeCounts, Message, Names, Output, Role, StoreConfig,
    StoreFailure, mark,
};

use snapshot::Snapshot;

/// Writers whose last request is remembered after they were given up, so that what they send again
/// is not applied twice.
const RETIRED_WRITERS_MAX: usize = 4096;

/// Clones that were given up and are taken back when they are heard of; others attach again.
const DROPPED_CLONES_MAX: usize = 4096;

/// Numbers that all writers together are asked for in one tick.
const WRITERS_MISSING_MAX: usize = 128 * 1024;

/// Entries that one call removes at most because they are over, so that many that end together hold
/// up others for the time of so many changes and not of all: a third of a millisecond in a file. Reads
/// do not see the rest meanwhile.
pub const EXPIRED_PER_CALL_MAX: usize = 64;

/// The master of a store.
#[derive(Debug)]
pub struct Master<B> {
    id: EntityId,
    names: Names,
    config: StoreConfig,
    backend: B,
    down: Producer,
    up: Up,
    handshakes: Handshakes,
    repairs: Repairs,
    expiry: Expiry,
    outputs: Outputs,
    group: Group,
    rivals: Rivals,
    /// What is wrong with a request that was applied all the same.
    warning: Option<StoreFailure>,
    observed: bool,
    ticks: u64,
    changes: ChangeCounts,
}

/// The channels of requests, one per clone that makes some.
#[derive(Debug, Default)]
struct Up {
    writers: BTreeMap<EntityId, Writer>,
    /// Bound: `RETIRED_WRITERS_MAX`.
    retired: VecDeque<Retired>,
    /// Bytes of requests that wait for others before them, of all writers.
    early_bytes: usize,
}

/// Snapshots for clones that attach.
#[derive(Debug, Default)]
struct Handshakes {
    /// What clones were sent that have not acknowledged it. The same snapshot is sent again.
    open: BTreeMap<EntityId, Arc<Snapshot>>,
    /// The snapshot of the current content, if one was taken.
    snapshot: Option<Arc<Snapshot>>,
    /// Bytes of snapshots that were sent since the last tick.
    bytes: usize,
    /// When it was told last that a snapshot cannot be sent.
    failed: Option<u64>,
}

/// Clones that miss changes, and those that were given up.
#[derive(Debug, Default)]
struct Repairs {
    pending: BTreeMap<EntityId, repair::Repair>,
    /// The number from which on all entries were broadcast again last.
    restated: u64,
    /// Clones that were given up, the oldest first.
    /// Bound: `DROPPED_CLONES_MAX`.
    dropped: VecDeque<EntityId>,
    /// Whether some clone was given up since the last number was used.
    orphaned: bool,
}

/// When entries end.
#[derive(Debug, Default)]
struct Expiry {
    times: Expiries,
    /// The back end could not say when entries end: it is asked again at the next tick.
    unknown: bool,
    /// The back end could not remove what is over, or not keep that: the next tick tries again.
    paused: bool,
}

/// What the caller is to do.
#[derive(Debug, Default)]
struct Outputs {
    /// What the group has led to so far.
    staged: Vec<Output>,
    /// Bound: what one group leads to; the caller drains it after each.
    ready: VecDeque<Output>,
}

/// Other masters of this store.
#[derive(Debug, Default)]
struct Rivals {
    /// Peers that subscribe as masters of this store do, and whether they have one.
    suspects: BTreeMap<EndpointId, bool>,
    found: Option<EndpointId>,
}

#[derive(Debug)]
struct Writer {
    consumer: Consumer,
    heartbeat: u16,
    heard: u64,
}

/// A writer that was given up.
#[derive(Debug)]
struct Retired {
    id: EntityId,
    /// The number up to which its requests were applied.
    applied: u64,
    /// Ticks between acknowledgements, as it asked for.
    heartbeat: u16,
}

/// What has to be undone when a group fails.
#[derive(Debug, Default)]
struct Group {
    /// The number of the down channel when it began.
    seq: u64,
    began: bool,
    /// Clones that were sent a new snapshot.
    attached: Vec<EntityId>,
    /// Requests of writers that were applied, to be reported as failed.
    applied: Vec<EntityId>,
    /// `put_unique` requests that were answered: who asked, under which number.
    answered: Vec<(EntityId, u64)>,
    expiries_changed: bool,
}

impl Group {
    /// Empties it but keeps its memory.
    fn reset(&mut self) {
        self.began = false;
        self.attached.clear();
        self.applied.clear();
        self.answered.clear();
        self.expiries_changed = false;
    }
}

impl<B: Backend> Master<B> {
    /// A master that has what its back end has.
    ///
    /// # Errors
    ///
    /// When the back end cannot be read.
    pub fn new(
        id: EntityId,
        store: &str,
        mut backend: B,
        config: StoreConfig,
    ) -> Result<Self, BackendError> {
        let mut expiries = Expiries::default();
        for (key, at) in backend.expiries()? {
            expiries.set(&key, Some(at));
        }
        Ok(Self {
            id,
            names: Names::new(store),
            down: Producer::new(
                config.heartbeat_interval,
                config.connection_timeout,
                config.buffer_bytes_max,
            ),
            config,
            backend,
            up: Up::default(),
            handshakes: Handshakes::default(),
            repairs: Repairs::default(),
            expiry: Expiry {
                times: expiries,
                ..Expiry::default()
            },
            outputs: Outputs::default(),
            group: Group::default(),
            rivals: Rivals::default(),
            warning: None,
            observed: false,
            ticks: 0,
            changes: ChangeCounts::default(),
        })
    }

    // --- getters --------------------------------------------------------------------------------

    /// Its id: the sender of its commands and the publisher of changes made here.
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// The store's name.
    pub fn store(&self) -> &str {
        &self.names.store
    }

    /// Whether every clone has everything and every writer is served. Spec: stores 6.5.
    pub fn is_idle(&self) -> bool {
        let writers_idle = self.up.writers.values().all(|it| it.consumer.is_idle());
        self.down.is_idle() && self.handshakes.open.is_empty() && writers_idle
    }

    /// Number of clones that get changes.
    pub fn clones(&self) -> usize {
        self.down.paths().count()
    }

    /// Number of clones that make requests.
    pub fn writers(&self) -> usize {
        self.up.writers.len()
    }

    /// Requests that came before one that they follow, over all clones.
    pub fn early(&self) -> usize {
        self.up.writers.values().map(|it| it.consumer.early()).sum()
    }

    /// Whether a clone gets changes.
    pub fn has_clone(&self, clone: EntityId) -> bool {
        self.down.path(clone).is_some()
    }

    /// Whether a clone may make requests.
    pub fn has_writer(&self, writer: EntityId) -> bool {
        self.up.writers.contains_key(&writer)
    }

    /// The number up to which a writer's requests were applied, as far as it is remembered.
    pub fn applied(&self, writer: EntityId) -> Option<u64> {
        let retired = || self.up.retired.iter().find(|it| it.id == writer);
        match self.up.writers.get(&writer) {
            Some(writer) => Some(writer.consumer.acknowledged()),
            None => retired().map(|it| it.applied),
        }
    }

    /// Bytes of snapshots and of requests that are kept because somebody may miss something.
    pub fn kept_bytes(&self) -> usize {
        let mut snapshots: BTreeMap<u64, usize> = BTreeMap::new();
        for snapshot in self.handshakes.open.values() {
            snapshots.insert(snapshot.offset, snapshot.bytes.len());
        }
        self.up.early_bytes + snapshots.values().sum::<usize>()
    }

    /// The number of the last change.
    pub const fn seq(&self) -> u64 {
        self.down.seq()
    }

    /// Changes that some clone has not acknowledged, and their bytes.
    pub fn unacknowledged(&self) -> (usize, usize) {
        (self.down.kept(), self.down.kept_bytes())
    }

    /// What it was asked to change so far.
    pub const fn changes(&self) -> ChangeCounts {
        self.changes
    }

    /// Its back end.
    pub(in crate::store) const fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// What is left when it ends: its back end, with the group that was not committed.
    pub(in crate::store) fn into_backend(self) -> B {
        self.backend
    }

    /// Whether the group has dealt with a request of a clone or answered a user: something that is
    /// only true if everything before it is.
    pub(in crate::store) fn has_decided(&self) -> bool {
        !self.group.applied.is_empty() || !self.group.answered.is_empty()
    }

    // --- the outside ----------------------------------------------------------------------------

    /// Whether somebody listens to store events; without they are not made.
    pub fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
    }

    /// What is to be done, once its group is committed.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.ready.pop_front()
    }

    /// Ends a group of calls.
    ///
    /// # Errors
    ///
    /// The back end could not keep the group: nothing of it has happened. Clones whose requests
    /// were in it are told.
    pub fn commit(&mut self) -> Result<(), StoreFailure> {
        match self.backend.commit() {
            Ok(()) => {
                self.outputs.ready.extend(self.outputs.staged.drain(..));
                self.group.reset();
                Ok(())
            }
            Err(error) => {
                let failure = StoreFailure::from(error);
                self.undo(&failure);
                Err(failure)
            }
        }
    }

    fn begin(&mut self) {
        if !self.group.began {
            self.group.began = true;
            self.group.seq = self.down.seq();
        }
    }

    /// Takes back everything of a group that the back end did not keep.
    fn undo(&mut self, failure: &StoreFailure) {
        self.backend.rollback();
        let group = std::mem::take(&mut self.group);
        self.outputs.staged.clear();
        self.handshakes.snapshot = None;
        if group.began {
            self.down.roll_back(group.seq);
            // Clones that were given up in the group stay given up.
            self.repairs.orphaned = true;
            self.repairs.restated = self.repairs.restated.min(group.seq);
        }
        self.expiry.paused = true;
        // What clones were to be given instead of what is gone may be among what is taken back.
        self.repairs.pending.clear();
        for clone in group.attached {
            self.remove_clone(clone);
        }
        if group.expiries_changed {
            self.reload_expiries();
        }
        let fault = self.names.fault(failure);
        self.outputs.ready.push_back(Output::Fault(fault));
        for writer in group.applied {
            self.tell_refused(writer, failure);
        }
        for (who, request) in group.answered {
            self.broadcast_result(false, who, request);
            let result = Err(failure.clone());
            self.outputs.ready.push_back(Output::Answer {
                who,
                request,
                result,
            });
        }
        self.outputs.ready.extend(self.outputs.staged.drain(..));
    }

    fn reload_expiries(&mut self) {
        let expiries = self.backend.expiries();
        self.expiry.unknown = expiries.is_err();
        self.expiry.times.clear();
        for (key, at) in expiries.unwrap_or_default() {
            self.expiry.times.set(&key, Some(at));
        }
    }

    /// Asks every clone that misses something to acknowledge what it has, without waiting for the
    /// next tick. Clones of this implementation answer at once.
    pub fn probe(&mut self) {
        self.send_keepalives();
    }

    // --- commands -------------------------------------------------------------------------------

    /// A command came on the master's topic; `payload` is what it was parsed from.
    pub fn handle_command(&mut self, now: Timestamp, command: &Command<'_>, payload: &[u8]) {
        let from = command.sender;
        let to_me = command.receiver == self.id;
        if from == self.id || from.is_nil() {
            return;
        }
        if mark::is_master_voice(from) {
            return self.prove_rival(from.endpoint);
        }
        if !(to_me || command.receiver.is_nil()) {
            return self.prove_rival(command.receiver.endpoint);
        }
        self.begin();
        match self.up.writers.get_mut(&from) {
            Some(writer) => writer.heard = self.ticks,
            // It need not know that it was given up.
            None if command.content.is_action()
                || matches!(command.content, Content::Keepalive { .. }) =>
            {
                self.resume_writer(from);
            }
            None => {}
        }
        match &command.content {
            content if content.is_action() => self.on_action(now, command, payload),
            Content::AttachWriter { offset, heartbeat } => {
                self.on_attach_writer(from, *offset, *heartbeat);
            }
            Content::Keepalive { seq } => self.on_keepalive(from, *seq),
            Content::RetransmitFailed { seq } => {
                if let Some(writer) = self.up.writers.get_mut(&from) {
                    let others = self.up.early_bytes - writer.consumer.early_bytes();
                    // Beyond that it can be said again later, when those before are done with.
                    if others < self.config.buffer_bytes_max {
                        writer.consumer.handle_lost(*seq);
                    }
                    self.up.early_bytes = others + writer.consumer.early_bytes();
                    self.apply_early(now, from);
                }
            }
            Content::CumulativeAck { seq } => self.on_ack(now, from, to_me, *seq),
            Content::Nack { missing } => self.on_nack(now, from, to_me, missing),
            _ => {}
        }
    }

    fn on_action(&mut self, now: Timestamp, command: &Command<'_>, payload: &[u8]) {
        let from = command.sender;
        let Some(writer) = self.up.writers.get_mut(&from) else {
            return;
        };
        let before = writer.consumer.early_bytes();
        let others = self.up.early_bytes - before;
        let room = self.config.buffer_bytes_max.saturating_sub(others);
        let consumer = &mut writer.consumer;
        let arrival = consumer.handle_event_within(room, command.seq, || payload.into());
        self.up.early_bytes = others + consumer.early_bytes();
        if arrival != Arrival::InOrder {
            return;
        }
        self.apply_for(now, from, &command.content);
        self.apply_early(now, from);
        self.acknowledge_if(from, |consumer| consumer.unacknowledged() >= ACK_EVENTS_MAX);
    }

    /// Applies what has become in order.
    fn apply_early(&mut self, now: Timestamp, from: EntityId) {
        while let Some(writer) = self.up.writers.get_mut(&from) {
            let others = self.up.early_bytes - writer.consumer.early_bytes();
            let early = writer.consumer.pop_early();
            self.up.early_bytes = others + writer.consumer.early_bytes();
            match early {
                None => return,
                Some(Early::Event(payload)) => {
                    if let Ok(command) = Command::parse(&payload) {
                        self.apply_for(now, from, &command.content);
                    }
                }
                Some(Early::Lost(seq)) => {
                    let text = format!("request {seq} of {from} is lost");
                    let failure = StoreFailure::new(ErrorCode::Unspecified, text);
                    let fault = self.names.fault(&failure);
                    self.outputs.staged.push(Output::Fault(fault));
                }
            }
        }
    }

    /// Applies a request of a writer; the writer is told when it is refused.
    fn apply_for(&mut self, now: Timestamp, from: EntityId, content: &Content<'_>) {
        self.group.applied.push(from);
        let result = self.apply(now, content);
        let warning = self.warning.take();
        if let Some(failure) = result.err().or(warning) {
            self.tell_refused(from, &failure);
        }
    }

    fn acknowledge_if(&mut self, from: EntityId, condition: impl Fn(&Consumer) -> bool) {
        let Some(writer) = self.up.writers.get_mut(&from) else {
            return;
        };
        if condition(&writer.consumer) {
            let seq = writer.consumer.acknowledge();
            self.send_to(from, Content::CumulativeAck { seq });
        }
    }

    fn on_attach_writer(&mut self, from: EntityId, offset: u64, heartbeat: u16) {
        if self.up.writers.contains_key(&from) || self.up.writers.len() >= CLONES_MAX {
            return;
        }
        let known = self.take_retired(from);
        let offset = known.map_or(offset, |it| offset.max(it.applied));
        self.open_writer(from, offset, heartbeat);
    }

    /// A writer that was given up is heard of again.
    fn resume_writer(&mut self, id: EntityId) {
        if self.up.writers.len() < CLONES_MAX
            && let Some(retired) = self.take_retired(id)
        {
            self.open_writer(id, retired.applied, retired.heartbeat);
        }
    }

    fn take_retired(&mut self, id: EntityId) -> Option<Retired> {
        let index = self.up.retired.iter().position(|it| it.id == id)?;
        self.up.retired.remove(index)
    }

    fn open_writer(&mut self, from: EntityId, offset: u64, heartbeat: u16) {
        let mut consumer = Consumer::new(heartbeat, self.config.nack_timeout);
        consumer.handle_handshake(offset, heartbeat);
        let writer = Writer {
            consumer,
            heartbeat,
            heard: self.ticks,
        };
        self.up.writers.insert(from, writer);
        self.acknowledge_if(from, |_| true);
    }

    /// A writer says how far it is. Who wants to know whether everything arrived asks this way, and
    /// is answered at once.
    fn on_keepalive(&mut self, from: EntityId, seq: u64) {
        if let Some(writer) = self.up.writers.get_mut(&from) {
            writer.consumer.handle_heartbeat(seq);
            self.acknowledge_if(from, |consumer| consumer.unacknowledged() > 0);
        }
    }

    fn on_ack(&mut self, now: Timestamp, from: EntityId, to_me: bool, seq: u64) {
        match self.down.handle_ack(from, seq) {
            Acknowledged::First => {
                self.handshakes.open.remove(&from);
            }
            Acknowledged::Noted => self.go_on_with_repair(now, from),
            Acknowledged::Ignored => {}
            // Only somebody who followed this very master names it.
            Acknowledged::Unknown if to_me && (1..=self.down.seq()).contains(&seq) => {
                self.readmit(from, seq);
            }
            Acknowledged::Unknown => {}
        }
    }

    fn on_nack(&mut self, now: Timestamp, from: EntityId, to_me: bool, missing: &[u64]) {
        if !missing.is_sorted_by(|a, b| a < b) {
            return;
        }
        match self.down.handle_nack(from, missing) {
            Missing::Handshake => self.send_handshake(now, from),
            Missing::Events { messages, gone } => {
                // Whoever knows what it misses has had its handshake.
                self.handshakes.open.remove(&from);
                self.send_again(from, &messages);
                self.repair(from, &gone);
                self.go_on_with_repair(now, from);
            }
            Missing::Nothing => {}
            Missing::Unknown => match missing.first() {
                Some(0) => self.attach(now, from),
                Some(first) if to_me && *first > 1 && *first <= self.down.seq() => {
                    self.readmit(from, first - 1);
                }
                _ => {}
            },
        }
    }

    // --- time -----------------------------------------------------------------------------------

    /// A tick has passed; `now` is the time of day.
    pub fn handle_tick(&mut self, now: Timestamp) {
        self.begin();
        self.ticks += 1;
        self.handshakes.bytes = 0;
        let tick = self.down.handle_tick();
        if let Some(seq) = tick.heartbeat {
            let command = self.command(0, EntityId::NIL, Content::Keepalive { seq });
            self.stage(Role::Clone, EndpointId::NIL, &command);
            self.send_keepalives();
            // Their requests are refused here; they may find the other master.
            if !self.is_writable() {
                let clones: Vec<EntityId> = self.down.paths().map(|(id, _)| id).collect();
                for clone in clones {
                    self.tell_to_attach_again(clone, seq);
                }
            }
        }
        for clone in tick.timed_out {
            self.drop_clone(clone);
        }
        self.tick_voice();
        self.tick_writers();
        if self.expiry.unknown {
            self.reload_expiries();
        }
        self.expiry.paused = false;
        self.expire(now);
    }

    /// When to call [`handle_expiry`](Self::handle_expiry): the first entry is over then. May be
    /// past, when more are over than one call removes.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiry.times.first().filter(|_| !self.expiry.paused)
    }

    /// The time of [`next_expiry`](Self::next_expiry) has come. Removes up to
    /// [`EXPIRED_PER_CALL_MAX`] entries that are over, and tells of it.
    pub fn handle_expiry(&mut self, now: Timestamp) {
        self.begin();
        self.expire(now);
    }

    fn tick_writers(&mut self) {
        let (ticks, limit) = (self.ticks, self.config.connection_ticks());
        // Strangers could ask for more than there is room for.
        let numbers_max = (WRITERS_MISSING_MAX / self.up.writers.len().max(1)).max(1);
        let mut requests = Vec::new();
        let mut silent = Vec::new();
        for (id, writer) in &mut self.up.writers {
            match writer.consumer.handle_tick() {
                Some(Feedback::Ack(seq)) => {
                    requests.push((*id, Content::CumulativeAck { seq }));
                }
                Some(Feedback::Nack(mut missing)) => {
                    missing.truncate(numbers_max);
                    let missing = missing.into();
                    requests.push((*id, Content::Nack { missing }));
                }
                None => {}
            }
            if ticks - writer.heard >= limit {
                silent.push(*id);
            }
        }
        for (id, content) in requests {
            self.send_to(id, content);
        }
        for id in silent {
            self.retire_writer(id);
        }
    }

    /// A sign of life for each clone by name: those of the original do not take the one for all.
    fn send_keepalives(&mut self) {
        let seq = self.down.seq();
        let attached = self.down.paths().filter(|(_, path)| path.acknowledged > 0);
        let clones: Vec<EntityId> = attached.map(|(id, _)| id).collect();
        for clone in clones {
            self.send_to(clone, Content::Keepalive { seq });
        }
    }

    // --- sending --------------------------------------------------------------------------------

    fn command<'a>(&self, seq: u64, receiver: EntityId, content: Content<'a>) -> Command<'a> {
        Command {
            seq,
            sender: self.id,
            receiver,
            content,
        }
    }

    fn stage(&mut self, role: Role, receiver: EndpointId, command: &Command<'_>) {
        let max = self.config.frame_bytes_max;
        // Everything but changes and snapshots, which are checked, is small.
        if let Ok(message) = self.names.message(role, receiver, command, max) {
            self.outputs.staged.push(Output::Send(message));
        }
    }

    /// Sends one clone something without a number.
    fn send_to(&mut self, clone: EntityId, content: Content<'_>) {
        let command = self.command(0, clone, content);
        self.stage(Role::Clone, clone.endpoint, &command);
    }

    fn send_again(&mut self, clone: EntityId, messages: &[Arc<[u8]>]) {
        for frame in messages {
            let mut frame = frame.to_vec();
            crate::frame::patch_receiver(&mut frame, clone.endpoint);
            self.outputs.staged.push(Output::Send(Message {
                frame: frame.into(),
                role: Role::Clone,
                receiver: clone.endpoint,
                must_lead: false,
            }));
        }
    }
}

/// The command in a frame of our own making.
fn payload_of(frame: &[u8]) -> Option<&[u8]> {
    let payload = frame.get(FRAME_LEN_SIZE..)?;
    Some(Envelope::parse(payload).ok()?.payload)
}
