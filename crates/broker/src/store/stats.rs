//! How a data store is, in numbers.

use broker_proto::store::Role;

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
