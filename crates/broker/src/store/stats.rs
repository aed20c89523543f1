//! How a data store is, in numbers.

use broker_data::Timestamp;
use broker_proto::store::Role;

use crate::store::host::{Core, Host};

/// One data store of this endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Its name.
    pub name: String,
    /// What it is here.
    pub role: Role,
    /// What is inside; `None` while its thread waits for the disk.
    pub state: Option<StoreState>,
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
    /// The number of the last change that was made here.
    pub updates: u64,
    /// At a master, whether requests are applied; at a clone, whether it can be read.
    pub is_working: bool,
}

impl Host {
    /// How the store is, as far as it can be said without waiting for a disk.
    pub(crate) fn stats(&self, now: Timestamp) -> StoreStats {
        let state = self.try_lock().and_then(|mut state| {
            let has_thread = self.has_thread();
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
                    updates: master.seq(),
                    is_working: master.is_writable(),
                },
                Core::Clone(clone) => StoreState {
                    entries: Some(clone.entries(now) as u64),
                    inputs: u64::from(clone.position().is_some()),
                    outputs: u64::from(clone.master().is_some()),
                    unacknowledged: clone.unacknowledged().0 as u64,
                    updates: clone.position().map_or(0, |(_, seq)| seq),
                    is_working: clone.check_readable().is_ok(),
                },
                Core::Closed => return None,
            })
        });
        StoreStats {
            name: self.name.clone(),
            role: self.role,
            state,
        }
    }
}
