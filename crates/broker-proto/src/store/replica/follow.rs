//! Entries of the stream as they are delivered, applied by a replica that does not lead.

use broker_data::{Timespan, Timestamp, View};

use crate::store::Output;
use crate::store::backend::Backend;
use crate::store::entity::EntityId;
use crate::store::event::{Change, StoreEvent};
use crate::store::memory::Memory;
use crate::store::replica::entry::{Mutation, StreamEntry};
use crate::store::replica::{Effect, Phase, Replica, StepDown, StopReason, journal};

impl Replica {
    /// Asks for what is behind what was applied.
    pub(super) fn follow(&mut self) {
        let after = self.applied;
        self.effects.push_back(Effect::Follow { after });
    }

    /// An entry was delivered. One that is known does nothing; one that is not the next has others
    /// before it, which are asked for.
    pub fn handle_entry(&mut self, now: Timestamp, sequence: u64, bytes: &[u8]) {
        match &self.phase {
            Phase::Loading(_) | Phase::Stopped => return,
            Phase::Following(_) | Phase::Leading(_) if sequence <= self.applied => return,
            Phase::Following(_) | Phase::Leading(_) => {}
        }
        if sequence > self.applied + 1 {
            return self.follow();
        }
        let entry = match StreamEntry::parse(bytes) {
            Ok(entry) => entry,
            Err(error) => return self.stop(StopReason::Damaged { sequence, error }),
        };
        // Nothing was applied since the append began, so that this is where it was to be.
        if self.pending.as_ref().is_some_and(|it| it.id == entry.id) {
            return self.stored(now);
        }
        if self.pending.is_some() {
            self.refuted(StepDown::Fenced(entry.id.leader));
        } else {
            self.step_down(StepDown::Fenced(entry.id.leader));
        }
        self.apply(sequence, &entry);
    }

    fn apply(&mut self, sequence: u64, entry: &StreamEntry<'_>) {
        let Phase::Following(memory) = &mut self.phase else {
            return;
        };
        for mutation in entry.iter() {
            if self.observed {
                let event = |value| self.effects.push_back(Effect::Store(Output::Event(value)));
                tell(&self.store, entry.time, memory, &mutation, event);
            }
            journal::apply(memory, &mutation);
        }
        self.applied = sequence;
        self.leaders
            .note(entry.id.leader, entry.id.number, sequence);
        self.keep();
    }

    /// The stream begins at a sequence: what was before is only in snapshots.
    pub fn handle_gap(&mut self, first: u64) {
        match &mut self.phase {
            Phase::Loading(loading) => loading.floor = loading.floor.max(first),
            Phase::Stopped => {}
            Phase::Following(_) | Phase::Leading(_) => {
                if first > self.applied + 1 {
                    // What became of the append is told by the snapshot.
                    self.orphan = self.pending.take();
                    self.step_down(StepDown::LeftBehind);
                    self.load(first);
                } else {
                    // It was asked for before the last entries came: nothing is missing.
                    self.follow();
                }
            }
        }
    }
}

/// Makes the events of a mutation that is about to be applied. Who asked for it is not known here.
fn tell(
    store: &str,
    time: Timestamp,
    memory: &mut Memory,
    mutation: &Mutation<'_>,
    mut event: impl FnMut(Vec<u8>),
) {
    let mut emit = |key: &[u8], change: Change<'_>| {
        let made = StoreEvent {
            store: store.as_bytes(),
            key: View::trusted(key),
            change,
            publisher: EntityId::NIL,
        };
        // A value at the limit of depth does not fit into an event.
        made.encode().ok().into_iter().for_each(&mut event);
    };
    match mutation {
        Mutation::Put { key, value, expiry } => {
            let old = memory.get(key).ok().flatten();
            let (value, expiry) = (View::trusted(value), expiry.map(|at| between(time, at)));
            let change = match &old {
                None => Change::Insert { value, expiry },
                Some(old) => Change::Update {
                    old: View::trusted(&old.value),
                    value,
                    expiry,
                },
            };
            emit(key, change);
        }
        Mutation::Erase { key } => emit(key, Change::Erase),
        Mutation::Expire { key } => emit(key, Change::Expire),
        Mutation::Clear => {
            // Memory does not fail.
            let _ = memory.for_each_key(&mut |key| emit(key, Change::Erase));
        }
    }
}

fn between(time: Timestamp, at: Timestamp) -> Timespan {
    Timespan::from_ns(at.ns().saturating_sub(time.ns()))
}
