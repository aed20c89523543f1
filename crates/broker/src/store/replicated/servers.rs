//! The servers of NATS as a replica of a store uses them: its effects carried out, and what came of them
//! told to it.
//!
//! Every question is asked until its time is over, and an answer that does not come is told as unknown:
//! the replica decides what that means. Nothing here decides who leads or what is stored.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use broker_data::{Timespan, Timestamp};
use broker_proto::nats::jetstream::replicated::{self, Found, Places};
use broker_proto::nats::jetstream::{Load, Publication, ReadMessage, ReaderId, RequestError};
use broker_proto::store::entity::EntityId;
use broker_proto::store::replica::entry::EntryId;
use broker_proto::store::replica::{
    AppendOutcome, Effect, LeaseOutcome, Replica, Standing, TailOutcome,
};
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use crate::core::jet_stream::{Answer, JetStream};
use crate::core::pending::Pending;
use crate::lock::Lock;
use crate::store::host::{Core, Host};
use crate::store::registry::Node;

/// How long a question may take; a replica asks again before that.
const ANSWER_MAX: Timespan = Timespan::from_secs(10);

/// How long a snapshot's chunk may take to be stored or read.
const CHUNK_MAX: Timespan = Timespan::from_secs(30);

/// Chunks that are under way at a time.
const CHUNKS_AT_ONCE: usize = 8;

/// Pause before a replica is told that nothing is known: it asks again at once then.
const PAUSE: Duration = Duration::from_millis(250);

/// Attempts to write the lease that was changed meanwhile.
const LEASE_ATTEMPTS: usize = 3;

/// The servers of one replica.
#[derive(Debug)]
pub(crate) struct Servers {
    node: Node,
    host: Weak<Host>,
    client: Arc<JetStream>,
    places: Places,
    id: EntityId,
    lease: Timespan,
    state: Lock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The sequence of the lease as this replica wrote it last; 0 if it has none.
    revision: u64,
    /// Numbers questions for the lease; the answer to an older one does not count.
    asked: u64,
    /// Whether another replica was seen to have the lease.
    is_held: bool,
    following: Option<AbortHandle>,
    /// Snapshots that are being read or written. Bound: what the replica asks for, one of each.
    reading: BTreeSet<u64>,
    writing: BTreeSet<u64>,
    tasks: JoinSet<()>,
    is_over: bool,
}

/// Ends the reading of entries when it is dropped.
struct Following<'a> {
    client: &'a JetStream,
    reader: ReaderId,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.client.end_reader(self.reader);
    }
}

impl Servers {
    pub(super) fn new(
        node: Node,
        host: Weak<Host>,
        client: Arc<JetStream>,
        places: Places,
        id: EntityId,
        lease: Timespan,
    ) -> Self {
        Self {
            node,
            host,
            client,
            places,
            id,
            lease,
            state: Lock::default(),
        }
    }

    /// Whether another replica was seen to have the lease.
    pub(super) fn is_held(&self) -> bool {
        self.state.lock().is_held
    }

    /// Tells the replica of each new connection, until the store is closed.
    pub(super) fn start(self: &Arc<Self>, connections: u64) {
        let servers = self.clone();
        self.spawn(async move {
            let mut seen = connections;
            loop {
                (seen, _) = servers.client.connected_after(seen).await;
                servers.tell(|replica, _| replica.handle_connected()).await;
            }
        });
    }

    /// Ends everything.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
        // It gives the lease back.
        self.client.end();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        while state.tasks.try_join_next().is_some() {}
        Some(state.tasks.spawn_on(task, &self.node.shared.runtime))
    }

    /// Hands something to the replica, and waits until what came of it has room.
    async fn tell(&self, action: impl FnOnce(&mut Replica, Timestamp)) {
        let Some(host) = self.host.upgrade() else {
            return;
        };
        let ((), blocked) = host.act(&self.node, |core| {
            if let Core::Replica(replica) = core {
                action(replica, self.node.shared.clock.time_of_day());
            }
        });
        drop(host);
        for blocked in blocked {
            blocked.finished().await;
        }
    }

    fn ask(&self, (subject, body): (String, Value), limit: Timespan) -> Pending<Answer> {
        let now = self.node.shared.now();
        self.client.request(now, &subject, &body, limit)
    }

    fn publish(&self, publication: Publication, limit: Timespan) -> Pending<Answer> {
        let now = self.node.shared.now();
        self.client.publish(now, publication, limit)
    }

    // --- effects --------------------------------------------------------------------------------

    /// Carries out what the replica wants done. The store is not locked.
    pub(crate) fn carry_out(self: &Arc<Self>, effect: Effect) {
        let servers = self.clone();
        match effect {
            Effect::Append {
                id,
                expected,
                entry,
            } => {
                let answer = self.publish(self.places.append(expected, &entry), ANSWER_MAX);
                self.spawn(async move { servers.appended(id, answer).await });
            }
            Effect::ReadTail { after } => {
                self.spawn(async move { servers.read_tail(after).await });
            }
            Effect::Follow { after } => {
                let task = self.spawn(async move { servers.follow(after).await });
                let before = std::mem::replace(&mut self.state.lock().following, task);
                if let Some(before) = before {
                    before.abort();
                }
            }
            Effect::AcquireLease => {
                let number = {
                    let mut state = self.state.lock();
                    state.asked += 1;
                    state.asked
                };
                self.spawn(async move { servers.acquire(number).await });
            }
            Effect::ReleaseLease => {
                let revision = std::mem::take(&mut self.state.lock().revision);
                self.client.set_farewell(None);
                if revision > 0 {
                    let _unheard = self.ask(self.places.release_lease(revision), ANSWER_MAX);
                }
            }
            Effect::ListSnapshots => {
                self.spawn(async move { servers.list_snapshots().await });
            }
            Effect::ReadSnapshot { sequence } => {
                if self.state.lock().reading.insert(sequence) {
                    self.spawn(async move { servers.read_snapshot(sequence).await });
                }
            }
            Effect::WriteSnapshot { sequence, chunks } => {
                if self.state.lock().writing.insert(sequence) {
                    self.spawn(async move { servers.write_snapshot(sequence, &chunks).await });
                }
            }
            // What is not removed now is removed with the next snapshot.
            Effect::DeleteSnapshot { sequence } => {
                let _unheard = self.ask(self.places.delete_snapshot(sequence), CHUNK_MAX);
            }
            Effect::Compact { through } => {
                let _unheard = self.ask(self.places.compact(through), CHUNK_MAX);
            }
            Effect::Became(standing) => self.became(&standing),
            // These are the host's.
            Effect::Store(_) | Effect::Done { .. } => {}
        }
    }

    fn became(&self, standing: &Standing) {
        let Some(host) = self.host.upgrade() else {
            return;
        };
        tracing::info!(event = "store-replica", store = host.name, standing = ?standing);
        if *standing == Standing::Leader {
            // From now on clones find it. Where it leads no longer it says nothing, and they look
            // for another one.
            self.node
                .shared
                .subscribe(std::slice::from_ref(&host.topic));
            self.node.stores.routes_changed();
        }
    }

    async fn appended(&self, id: EntryId, answer: Pending<Answer>) {
        let answer = answer.await;
        let outcome = replicated::append_outcome(&answer);
        if outcome == AppendOutcome::Unknown {
            if let Err(error) = &answer {
                tracing::debug!(event = "store-append-unknown", cause = error.to_string());
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.tell(|replica, now| replica.handle_append(now, id, outcome))
            .await;
    }

    async fn read_tail(&self, after: u64) {
        let entry = self.ask(self.places.read_entry(after.saturating_add(1)), ANSWER_MAX);
        match replicated::found(entry.await) {
            Found::Message { payload, .. } => {
                let outcome = TailOutcome::Entry { entry: &payload };
                self.tell(|replica, now| replica.handle_tail(now, after, outcome))
                    .await;
            }
            Found::Nothing => {
                let outcome = match self.log_state().await {
                    Ok(state) if state.first > after.saturating_add(1) => {
                        TailOutcome::Compacted { first: state.first }
                    }
                    Ok(state) if state.last <= after => TailOutcome::End,
                    // It has come meanwhile.
                    Ok(_) | Err(_) => TailOutcome::Unknown,
                };
                self.tell(|replica, now| replica.handle_tail(now, after, outcome))
                    .await;
            }
            Found::Unknown => {
                let outcome = TailOutcome::Unknown;
                self.tell(|replica, now| replica.handle_tail(now, after, outcome))
                    .await;
            }
        }
    }

    async fn log_state(&self) -> Result<replicated::StreamState, RequestError> {
        let subject = format!("STREAM.INFO.{}", self.places.log);
        let answer = self.ask((subject, Value::Object(serde_json::Map::new())), ANSWER_MAX);
        Ok(replicated::stream_state(&answer.await?))
    }

    /// Reads entries until it is told to read others.
    async fn follow(&self, after: u64) {
        let mut after = after;
        loop {
            if let Err(cause) = self.follow_once(after).await {
                tracing::debug!(event = "store-entries-lost", after, cause);
            }
            tokio::time::sleep(PAUSE).await;
            let Some(host) = self.host.upgrade() else {
                return;
            };
            if let Core::Replica(replica) = &host.lock().core {
                after = after.max(replica.applied());
            }
        }
    }

    async fn follow_once(&self, after: u64) -> Result<(), String> {
        let state = self.log_state().await.map_err(|error| error.to_string())?;
        if state.first > after.saturating_add(1) {
            self.tell(|replica, _| replica.handle_gap(state.first))
                .await;
            return Ok(());
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let consumer = format!("{:016x}", u64::from_be_bytes(random));
        let made = self.ask(self.places.follow(&consumer, after), ANSWER_MAX);
        made.await.map_err(|error| error.to_string())?;
        let now = self.node.shared.now();
        let begun = self.client.follow(now, &self.places.log, &consumer);
        let (reader, queue) = begun.ok_or("the client is over")?;
        let _following = Following {
            client: &self.client,
            reader,
        };
        loop {
            let entries: VecDeque<ReadMessage> = queue.take().await?;
            self.tell(|replica, now| {
                for entry in &entries {
                    replica.handle_entry(now, entry.delivery.sequence, &entry.payload);
                }
            })
            .await;
            let now = self.node.shared.now();
            let taken = entries.iter().map(ReadMessage::load);
            let taken = taken.fold(Load::default(), Load::plus);
            self.client.make_room_for_entries(now, reader, taken);
        }
    }

    // --- the lease ------------------------------------------------------------------------------

    async fn acquire(&self, number: u64) {
        let outcome = self.write_lease(number).await;
        let is_asked = {
            let mut state = self.state.lock();
            let is_asked = state.asked == number;
            if is_asked {
                state.is_held = outcome == LeaseOutcome::Held;
            }
            is_asked
        };
        if !is_asked {
            return;
        }
        self.tell(|replica, now| replica.handle_lease(now, outcome))
            .await;
    }

    async fn write_lease(&self, number: u64) -> LeaseOutcome {
        for _ in 0..LEASE_ATTEMPTS {
            let revision = self.state.lock().revision;
            let lease = self.places.lease(self.id, revision, self.lease);
            let answer = self.publish(lease, self.lease).await;
            match replicated::append_outcome(&answer) {
                AppendOutcome::Stored { sequence } => {
                    let mut state = self.state.lock();
                    if state.asked != number {
                        return LeaseOutcome::Unknown;
                    }
                    state.revision = sequence;
                    let release = self.places.release_lease(sequence);
                    self.client.set_farewell(Some(release));
                    return LeaseOutcome::Granted;
                }
                AppendOutcome::Refused => {}
                AppendOutcome::Unknown => return LeaseOutcome::Unknown,
            }
            // Another one's, one of its own whose answer was lost, or none any more.
            let found = replicated::found(self.ask(self.places.read_lease(), self.lease).await);
            let mut state = self.state.lock();
            if state.asked != number {
                return LeaseOutcome::Unknown;
            }
            match found {
                Found::Message { sequence, payload } => {
                    if payload != self.id.to_string().as_bytes() {
                        state.revision = 0;
                        return LeaseOutcome::Held;
                    }
                    state.revision = sequence;
                }
                Found::Nothing => state.revision = 0,
                Found::Unknown => return LeaseOutcome::Unknown,
            }
        }
        LeaseOutcome::Unknown
    }

    // --- snapshots ------------------------------------------------------------------------------

    async fn list_snapshots(&self) {
        match self.ask(self.places.list_snapshots(), ANSWER_MAX).await {
            Ok(answer) => {
                let sequences = self.places.listed_snapshots(&answer);
                self.tell(|replica, _| replica.handle_snapshots(&sequences))
                    .await;
            }
            // It asks again.
            Err(error) => {
                tracing::debug!(event = "store-snapshots-unknown", cause = error.to_string());
            }
        }
    }

    async fn read_snapshot(&self, sequence: u64) {
        let chunks = self.read_chunks(sequence).await;
        self.state.lock().reading.remove(&sequence);
        match chunks {
            Ok(chunks) => {
                let chunks = Some(chunks.as_slice()).filter(|it| !it.is_empty());
                self.tell(|replica, _| replica.handle_snapshot(sequence, chunks))
                    .await;
            }
            // It asks again.
            Err(cause) => {
                tracing::debug!(event = "store-snapshot-unread", sequence, cause);
            }
        }
    }

    /// The chunks of a snapshot up to the first that is missing.
    async fn read_chunks(&self, sequence: u64) -> Result<Vec<Arc<[u8]>>, String> {
        let listed = self
            .ask(self.places.list_chunks(sequence), ANSWER_MAX)
            .await;
        let count = Places::listed_chunks(&listed.map_err(|error| error.to_string())?);
        let mut chunks = Vec::new();
        let mut waiting = VecDeque::new();
        let mut next = 0;
        while next < count || !waiting.is_empty() {
            while next < count && waiting.len() < CHUNKS_AT_ONCE {
                waiting.push_back(self.ask(self.places.read_chunk(sequence, next), CHUNK_MAX));
                next += 1;
            }
            let Some(answer) = waiting.pop_front() else {
                break;
            };
            match replicated::found(answer.await) {
                Found::Message { payload, .. } => chunks.push(payload.into()),
                Found::Nothing => break,
                Found::Unknown => return Err("a chunk was not read".to_owned()),
            }
        }
        Ok(chunks)
    }

    async fn write_snapshot(&self, sequence: u64, chunks: &[Arc<[u8]>]) {
        let mut is_written = true;
        let mut waiting = VecDeque::new();
        for (index, chunk) in (0..).zip(chunks) {
            if waiting.len() >= CHUNKS_AT_ONCE {
                is_written &= is_stored(waiting.pop_front()).await;
            }
            let chunk = self.places.write_chunk(sequence, index, chunk);
            waiting.push_back(self.publish(chunk, CHUNK_MAX));
        }
        while !waiting.is_empty() {
            is_written &= is_stored(waiting.pop_front()).await;
        }
        self.state.lock().writing.remove(&sequence);
        self.tell(|replica, _| replica.handle_snapshot_written(sequence, is_written))
            .await;
    }
}

async fn is_stored(answer: Option<Pending<Answer>>) -> bool {
    match answer {
        Some(answer) => answer.await.is_ok(),
        None => true,
    }
}
