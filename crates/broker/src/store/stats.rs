//! Statistics of data stores.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::EndpointId;
use broker_proto::store::{ChangeCounts, Role};

use crate::store::host::{Core, Host};

/// One data store of this endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Its name.
    pub name: String,
    /// What it is here.
    pub role: Role,
    /// Of a clone, the endpoint that has its master, once it is known.
    pub master: Option<EndpointId>,
    /// What is inside, or what was when it was last asked for, while its thread waits for the disk;
    /// `None` before the first answer, and of a store that has ended.
    pub state: Option<StoreState>,
    /// Of a master in a file: how long groups of changes took, applied and committed.
    pub commits: Option<CommitStats>,
    /// Of a master in a file: bytes of the file and of what SQLite keeps beside it.
    pub file_bytes: Option<u64>,
}

/// Upper ends of the classes of [`CommitStats`], in seconds; the last class has none.
pub const COMMIT_SECONDS: [f64; 7] = [0.001, 0.004, 0.016, 0.063, 0.25, 1.0, 4.0];

/// How long groups of changes took to be applied and committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CommitStats {
    /// How many groups took as long as each class of [`COMMIT_SECONDS`] says, and longer.
    pub classes: [u64; COMMIT_SECONDS.len() + 1],
    /// What they took together.
    pub total: Duration,
}

/// The counters behind [`CommitStats`].
#[derive(Debug, Default)]
pub(crate) struct Commits {
    classes: [AtomicU64; COMMIT_SECONDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Commits {
    pub(super) fn count(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let class = COMMIT_SECONDS.iter().take_while(|end| seconds > **end);
        if let Some(class) = self.classes.get(class.count()) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> CommitStats {
        CommitStats {
            classes: std::array::from_fn(|at| {
                let class = self.classes.get(at);
                class.map_or(0, |class| class.load(Ordering::Relaxed))
            }),
            total: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

/// How often the program has read a data store, by kind: through its handles, in Rust and Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadCounts {
    /// The value of a key, or a part of it.
    pub get: u64,
    /// Whether there is a key.
    pub exists: u64,
    /// All keys.
    pub keys: u64,
    /// All entries.
    pub snapshot: u64,
    /// How many entries there are.
    pub size: u64,
}

impl ReadCounts {
    pub(super) fn count(&mut self, kind: impl FnOnce(&mut Self) -> &mut u64) {
        let count = kind(self);
        *count = count.wrapping_add(1);
    }
}

/// What a data store has done since it began, by kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreOperations {
    /// Reads by the program.
    pub reads: ReadCounts,
    /// At a master, changes that it was asked for, by this program and by others, whatever came of
    /// them; at a clone, those that its master made.
    pub changes: ChangeCounts,
}

impl StoreOperations {
    /// The counts with the names that metrics use for the operations.
    pub const fn by_kind(&self) -> [(&'static str, u64); 12] {
        let (reads, changes) = (&self.reads, &self.changes);
        [
            ("get", reads.get),
            ("exists", reads.exists),
            ("keys", reads.keys),
            ("snapshot", reads.snapshot),
            ("size", reads.size),
            ("put", changes.put),
            ("put-unique", changes.put_unique),
            ("erase", changes.erase),
            ("expire", changes.expire),
            ("add", changes.add),
            ("subtract", changes.subtract),
            ("clear", changes.clear),
        ]
    }
}

/// The state of a data store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreState {
    /// Its entries; `None` where counting them would take a look at each, as in SQLite files.
    pub entries: Option<u64>,
    /// At a master, clones that make requests; at a clone, 1 once it is attached.
    pub inputs: u64,
    /// At a master, clones that get its changes; at a clone, 1 once it has a master.
    pub outputs: u64,
    /// Changes or requests that the other side has not acknowledged.
    pub unacknowledged: u64,
    /// Changes or requests that came before one that they follow, and wait for it.
    pub out_of_order: u64,
    /// At a clone, changes that the master is known to have made and that are not made here yet.
    pub lag: u64,
    /// At a clone, how long it has lagged, as far as those who asked have seen.
    pub lag_time: Duration,
    /// The number of the last change that was made here.
    pub updates: u64,
    /// At a master, whether requests are applied; at a clone, whether it can be read.
    pub is_working: bool,
    /// What it has done.
    pub operations: StoreOperations,
}

impl Host {
    /// How the store is, as far as it can be said without waiting for a disk.
    pub(crate) fn stats(&self, now: Timestamp) -> StoreStats {
        let mut has_master = None;
        let locked = if self.has_thread() {
            self.try_lock()
        } else {
            // Nothing waits for a disk with this lock held: a store must not vanish from the
            // metrics because a change is being made at that moment.
            Some(self.lock())
        };
        let is_busy = locked.is_none();
        let state = locked.and_then(|mut state| {
            if let Core::Clone(clone) = &state.core {
                has_master = clone.master().map(|id| id.endpoint);
            }
            let has_thread = self.has_thread();
            let reads = state.reads;
            Some(match &mut state.core {
                Core::Master(master) => StoreState {
                    entries: if has_thread {
                        None
                    } else {
                        master.entries(now).ok()
                    },
                    inputs: master.writers() as u64,
                    outputs: master.clones() as u64,
                    unacknowledged: master.unacknowledged().0 as u64,
                    out_of_order: master.early() as u64,
                    lag: 0,
                    lag_time: Duration::ZERO,
                    updates: master.seq(),
                    is_working: master.is_writable(),
                    operations: StoreOperations {
                        reads,
                        changes: master.changes(),
                    },
                },
                Core::Clone(clone) => StoreState {
                    entries: Some(clone.entries(now) as u64),
                    inputs: u64::from(clone.position().is_some()),
                    outputs: u64::from(clone.master().is_some()),
                    unacknowledged: clone.unacknowledged().0 as u64,
                    out_of_order: clone.early() as u64,
                    lag: clone.lag(),
                    lag_time: self.lag_time(clone.lag() > 0),
                    updates: clone.position().map_or(0, |(_, seq)| seq),
                    is_working: clone.check_readable().is_ok(),
                    operations: StoreOperations {
                        reads,
                        changes: clone.changes(),
                    },
                },
                #[cfg(feature = "nats")]
                Core::Replica(replica) => StoreState {
                    // Counting them takes a look at each.
                    entries: None,
                    updates: replica.applied(),
                    is_working: replica.check_readable(now).is_ok(),
                    operations: StoreOperations {
                        reads,
                        changes: ChangeCounts::default(),
                    },
                    ..StoreState::default()
                },
                Core::Closed => return None,
            })
        });
        let mut told = self.told.lock();
        if !is_busy {
            *told = state;
        }
        StoreStats {
            name: self.name.clone(),
            role: self.role,
            master: has_master,
            state: *told,
            commits: self.worker.as_ref().map(|worker| worker.commits.stats()),
            file_bytes: self.file.get().map(|path| file_bytes(path)),
        }
    }
}

/// Bytes of a file of SQLite, with those of its log.
fn file_bytes(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |it| it.len());
    size(path).saturating_add(size(Path::new(&log)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_in_classes_by_how_long_they_took() {
        let commits = Commits::default();
        for ms in [0, 1, 2, 300, 60_000] {
            commits.count(Duration::from_millis(ms));
        }
        let stats = commits.stats();
        assert_eq!(stats.classes, [2, 1, 0, 0, 0, 1, 0, 1]);
        assert_eq!(stats.total, Duration::from_millis(60_303));
    }
}
