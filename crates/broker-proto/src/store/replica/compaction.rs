//! Snapshots that a replica writes, and the log that is not needed behind them.
//!
//! One after the other: is there none of late? Write one, read it back and check it, then check
//! the newest one before it. Only then is the log removed up to the older one of the two, and what
//! is older than that.

use std::sync::Arc;

use crate::store::replica::{Effect, Phase, RETRY_TICKS, Replica, SNAPSHOT_TICKS, snapshot};

/// What is being done about snapshots.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    step: Step,
    /// The sequence of the newest snapshot that is known.
    newest: u64,
    /// The tick of the last question.
    asked: u64,
    /// One that did not work out is not begun again before this tick.
    pause: u64,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// Is there one of late?
    Looking,
    Writing(u64),
    Checking(u64),
    /// Which ones are there before the one that was written?
    Listing(u64),
    CheckingOlder {
        older: u64,
        /// Still older ones, the newest last.
        others: Vec<u64>,
    },
}

impl Keeper {
    /// One that begins anew with what another one knew.
    pub(super) fn after(other: &Self) -> Self {
        Self {
            newest: other.newest,
            ..Self::default()
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// There is a snapshot that is whole.
    pub(super) fn found(&mut self, sequence: u64) {
        self.newest = self.newest.max(sequence);
    }
}

impl Replica {
    /// Entries after which this one makes a snapshot.
    fn snapshot_interval(&self) -> u64 {
        let entries = self.config.snapshot_entries.max(1);
        if self.is_leader() {
            entries.saturating_mul(2)
        } else {
            entries
        }
    }

    fn is_snapshot_due(&self) -> bool {
        self.applied.saturating_sub(self.keeper.newest) >= self.snapshot_interval()
    }

    /// Something was applied.
    pub(super) fn keep(&mut self) {
        let paused = self.ticks < self.keeper.pause;
        if !paused && self.keeper.is_idle() && self.is_snapshot_due() {
            self.ask(Step::Looking, Effect::ListSnapshots);
        }
    }

    fn ask(&mut self, step: Step, effect: Effect) {
        self.keeper.step = step;
        self.keeper.asked = self.ticks;
        self.effects.push_back(effect);
    }

    pub(super) fn tick_keeper(&mut self) {
        if self.keeper.is_idle() {
            if !matches!(self.phase, Phase::Loading(_) | Phase::Stopped) {
                self.keep();
            }
        } else if self.ticks - self.keeper.asked >= SNAPSHOT_TICKS {
            self.give_up_snapshot();
        }
    }

    fn give_up_snapshot(&mut self) {
        self.keeper.step = Step::Idle;
        self.keeper.pause = self.ticks + RETRY_TICKS;
    }

    pub(super) fn keep_listed(&mut self, sequences: &[u64]) {
        match self.keeper.step {
            Step::Looking => {
                let known = sequences.iter().filter(|it| **it <= self.applied).max();
                self.keeper.newest = self.keeper.newest.max(known.copied().unwrap_or(0));
                if self.is_snapshot_due() {
                    self.write_snapshot();
                } else {
                    self.keeper.step = Step::Idle;
                }
            }
            Step::Listing(written) => {
                let older = sequences.iter().filter(|it| **it < written);
                let mut others: Vec<u64> = older.copied().collect();
                others.sort_unstable();
                self.check_older(others);
            }
            Step::Idle | Step::Writing(_) | Step::Checking(_) | Step::CheckingOlder { .. } => {}
        }
    }

    /// Writes what was applied. A leader whose group is under way has something else in memory: its
    /// turn comes with the next entry.
    fn write_snapshot(&mut self) {
        let memory = match &mut self.phase {
            Phase::Following(memory) => memory,
            Phase::Leading(leader) if self.pending.is_none() => leader.memory_mut(),
            Phase::Leading(_) | Phase::Loading(_) | Phase::Stopped => {
                self.keeper.step = Step::Idle;
                return;
            }
        };
        let sequence = self.applied;
        let size = self.config.chunk_bytes_max;
        let chunks = snapshot::encode(&self.store, sequence, &self.leaders, memory, size);
        let effect = Effect::WriteSnapshot { sequence, chunks };
        self.ask(Step::Writing(sequence), effect);
    }

    /// A snapshot was written, or not.
    pub fn handle_snapshot_written(&mut self, sequence: u64, written: bool) {
        match self.keeper.step {
            Step::Writing(wanted) if wanted == sequence => {
                if written {
                    let effect = Effect::ReadSnapshot { sequence };
                    self.ask(Step::Checking(sequence), effect);
                } else {
                    self.give_up_snapshot();
                }
            }
            Step::Idle
            | Step::Looking
            | Step::Writing(_)
            | Step::Checking(_)
            | Step::Listing(_)
            | Step::CheckingOlder { .. } => {}
        }
    }

    pub(super) fn keep_read(&mut self, sequence: u64, chunks: Option<&[Arc<[u8]>]>) {
        let check = |chunks| snapshot::check_snapshot(&self.store, sequence, chunks).is_ok();
        let whole = chunks.is_some_and(check);
        match &mut self.keeper.step {
            Step::Checking(written) if *written == sequence => {
                if whole {
                    self.keeper.found(sequence);
                    self.ask(Step::Listing(sequence), Effect::ListSnapshots);
                } else {
                    self.give_up_snapshot();
                }
            }
            Step::CheckingOlder { older, others } if *older == sequence => {
                let others = std::mem::take(others);
                if whole {
                    self.compact(sequence, &others);
                } else {
                    self.check_older(others);
                }
            }
            Step::Idle
            | Step::Looking
            | Step::Writing(_)
            | Step::Checking(_)
            | Step::Listing(_)
            | Step::CheckingOlder { .. } => {}
        }
    }

    /// Looks for the newest one that is whole among those before the one that was written.
    fn check_older(&mut self, mut others: Vec<u64>) {
        match others.pop() {
            Some(older) => {
                let effect = Effect::ReadSnapshot { sequence: older };
                self.ask(Step::CheckingOlder { older, others }, effect);
            }
            None => self.keeper.step = Step::Idle,
        }
    }

    fn compact(&mut self, through: u64, older: &[u64]) {
        self.keeper.step = Step::Idle;
        self.effects.push_back(Effect::Compact { through });
        for sequence in older {
            let sequence = *sequence;
            self.effects.push_back(Effect::DeleteSnapshot { sequence });
        }
    }
}
