//! A replica without a state: the newest snapshot that is whole, and what the log has behind it.

use std::sync::Arc;

use crate::status::ErrorCode;
use crate::store::StoreFailure;
use crate::store::memory::Memory;
use crate::store::replica::compaction::Keeper;
use crate::store::replica::leaders::Leaders;
use crate::store::replica::{
    Effect, Phase, RETRY_TICKS, Replica, Standing, StepDown, Verdict, snapshot,
};

/// What is known while there is no state.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// Where the stream is known to begin; 0 or 1 if nothing is missing.
    pub(super) floor: u64,
    stage: LoadStage,
    /// The tick of the last question.
    asked: u64,
    /// Whether it was told that there is nothing to begin with.
    told: bool,
}

#[derive(Debug, Default)]
enum LoadStage {
    #[default]
    Listing,
    Reading {
        sequence: u64,
        /// Older ones, the newest last.
        others: Vec<u64>,
    },
    /// There is nothing to begin with; the next one may be written just now.
    Waiting,
}

impl Replica {
    /// Begins anew with a snapshot, for a stream that begins at some sequence.
    pub(super) fn load(&mut self, floor: u64) {
        let told = matches!(&self.phase, Phase::Loading(loading) if loading.told);
        self.keeper = Keeper::after(&self.keeper);
        self.phase = Phase::Loading(Loading {
            floor,
            asked: self.ticks,
            told,
            stage: LoadStage::Listing,
        });
        self.effects.push_back(Effect::Became(Standing::Loading));
        self.effects.push_back(Effect::ListSnapshots);
    }

    /// Which snapshots there are.
    pub fn handle_snapshots(&mut self, sequences: &[u64]) {
        let Phase::Loading(loading) = &mut self.phase else {
            return self.keep_listed(sequences);
        };
        if matches!(loading.stage, LoadStage::Listing) {
            let mut others = sequences.to_vec();
            others.sort_unstable();
            self.load_next(others);
        }
    }

    fn load_next(&mut self, mut others: Vec<u64>) {
        let Phase::Loading(loading) = &mut self.phase else {
            return;
        };
        loading.asked = self.ticks;
        // The log behind an older one is gone.
        let usable = |sequence: &u64| sequence.saturating_add(1) >= loading.floor;
        if let Some(sequence) = others.pop().filter(usable) {
            loading.stage = LoadStage::Reading { sequence, others };
            return self.effects.push_back(Effect::ReadSnapshot { sequence });
        }
        if loading.floor <= 1 {
            return self.loaded(0, Memory::new(), Leaders::default());
        }
        loading.stage = LoadStage::Waiting;
        if !std::mem::replace(&mut loading.told, true) {
            let text = format!(
                "no snapshot is whole, and the stream begins at {}: waiting for one",
                loading.floor
            );
            self.fault(&StoreFailure::new(ErrorCode::BackendFailure, text));
        }
    }

    /// A snapshot was read; `None` if there is none.
    pub fn handle_snapshot(&mut self, sequence: u64, chunks: Option<&[Arc<[u8]>]>) {
        let Phase::Loading(loading) = &mut self.phase else {
            return self.keep_read(sequence, chunks);
        };
        let LoadStage::Reading {
            sequence: wanted,
            others,
        } = &mut loading.stage
        else {
            return;
        };
        if *wanted != sequence {
            return;
        }
        let others = std::mem::take(others);
        let read = chunks.map(|chunks| snapshot::decode(&self.store, sequence, chunks));
        match read {
            Some(Ok(read)) => {
                self.keeper.found(sequence);
                self.loaded(sequence, read.memory, read.leaders);
            }
            Some(Err(error)) => {
                let text = format!("snapshot {sequence} is left out: {error}");
                self.fault(&StoreFailure::new(ErrorCode::InvalidData, text));
                self.load_next(others);
            }
            None => self.load_next(others),
        }
    }

    fn loaded(&mut self, sequence: u64, memory: Memory, leaders: Leaders) {
        self.applied = sequence;
        self.leaders = leaders;
        self.phase = Phase::Following(memory);
        let standing = Standing::Standby(None);
        self.effects.push_back(Effect::Became(standing));
        self.follow();
        self.tell_orphan();
    }

    /// Tells what became of the append of a leader that was left behind.
    fn tell_orphan(&mut self) {
        let Some(orphan) = self.orphan.take() else {
            return;
        };
        let last = self.leaders.last(orphan.id.leader);
        // An older snapshot knows nothing of it, and the log does not begin before it.
        let covered = self.applied > orphan.expected;
        let stored = last.is_some_and(|last| last >= orphan.id.number);
        for (ticket, result) in orphan.decisions {
            let verdict = if stored {
                Verdict::Decided(result)
            } else if covered && (last.is_some() || !self.leaders.is_full()) {
                Verdict::NotApplied(StepDown::LeftBehind)
            } else {
                Verdict::Unknown
            };
            self.effects.push_back(Effect::Done { ticket, verdict });
        }
    }

    pub(super) fn tick_loading(&mut self) {
        let Phase::Loading(loading) = &mut self.phase else {
            return;
        };
        if self.ticks - loading.asked < RETRY_TICKS {
            return;
        }
        loading.asked = self.ticks;
        match &loading.stage {
            LoadStage::Reading { sequence, .. } => {
                let sequence = *sequence;
                self.effects.push_back(Effect::ReadSnapshot { sequence });
            }
            LoadStage::Listing | LoadStage::Waiting => {
                loading.stage = LoadStage::Listing;
                self.effects.push_back(Effect::ListSnapshots);
            }
        }
    }
}
