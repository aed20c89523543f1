//! A back end that fails when it is told to, and keeps what was committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_data::Timestamp;
use broker_proto::store::Memory;
use broker_proto::store::backend::{Backend, BackendError, Entry, VisitEntry};

type Committed = BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>;

/// What survives a master, and the switches of its failures.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    committed: Committed,
    commit_fails: bool,
    /// So many calls that change something work before one fails.
    calls_left: Option<u64>,
    armed: bool,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything.
    pub fn wipe(&self) {
        self.state().committed.clear();
    }

    /// Decides about the next commit.
    pub fn fail_commit(&self, fails: bool) {
        self.state().commit_fails = fails;
    }

    /// Lets the call after so many fail.
    pub fn fail_call(&self, calls_left: Option<u64>) {
        let mut state = self.state();
        state.armed = calls_left.is_some();
        state.calls_left = calls_left;
    }

    /// Whether a call is going to fail, or has.
    pub fn call_fails(&self) -> bool {
        self.state().armed
    }

    /// What was committed.
    pub fn committed(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let state = self.state();
        let entries = state.committed.iter();
        entries
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }

    /// Opens it.
    pub fn open(&self) -> DiskBackend {
        let mut backend = DiskBackend {
            disk: self.clone(),
            working: Memory::new(),
            broken: false,
            changed: false,
        };
        backend.restore();
        backend
    }
}

/// An opened [`Disk`].
#[derive(Debug)]
pub struct DiskBackend {
    disk: Disk,
    working: Memory,
    broken: bool,
    changed: bool,
}

impl DiskBackend {
    fn restore(&mut self) {
        let mut working = Memory::new();
        for (key, (value, expiry)) in &self.disk.state().committed {
            let _ = working.put(key, value, *expiry);
        }
        self.working = working;
        self.broken = false;
        self.changed = false;
    }

    fn call(&mut self) -> Result<(), BackendError> {
        let mut state = self.disk.state();
        match &mut state.calls_left {
            Some(0) => {
                state.calls_left = None;
                self.broken = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if self.broken {
            Err(BackendError::Failed("a call was told to fail".into()))
        } else {
            self.changed = true;
            Ok(())
        }
    }
}

impl Backend for DiskBackend {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        self.working.get(key)
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.working.contains(key)
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError> {
        self.call()?;
        self.working.put(key, value, expiry)
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.call()?;
        self.working.erase(key)
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        self.call()?;
        self.working.expire(key, now)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        self.call()?;
        self.working.clear()
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        self.working.count()
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        self.working.for_each(visit)
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.working.for_each_key(visit)
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        self.working.keys_after(after, limit, visit)
    }

    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
        self.working.expiries()
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        if !self.changed && !self.broken {
            return Ok(());
        }
        if self.broken || self.disk.state().commit_fails {
            self.restore();
            return Err(BackendError::Failed("a commit was told to fail".into()));
        }
        let mut committed = Committed::new();
        self.working.for_each(&mut |key, value, expiry| {
            committed.insert(key.to_vec(), (value.to_vec(), expiry));
        })?;
        self.disk.state().committed = committed;
        self.changed = false;
        Ok(())
    }

    fn rollback(&mut self) {
        self.restore();
    }
}
