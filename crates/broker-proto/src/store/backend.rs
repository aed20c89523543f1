//! `Backend`: storage for the entries of a master, by encoded keys: encoded values and expiry times.
//!
//! Spec: stores 8. Keys and values are canonical encodings ([`broker_data::canonical`]), so equal
//! keys are equal bytes. A back end is synchronous and may fail at any call; the master groups
//! calls and ends each group with [`Backend::commit`]. Nothing of a group is told before.
//! What is over is the master's decision: a back end has an entry until it is told to remove it.

use broker_data::Timestamp;

use crate::store::expiry;

/// A value and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Canonical encoding.
    pub value: Vec<u8>,
    /// Since 1970, UTC; absent for entries that stay.
    pub expiry: Option<Timestamp>,
}

impl Entry {
    /// Whether its time has come.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expiry.is_some_and(|at| expiry::is_over(at, now))
    }
}

/// Why a back end could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// An entry is there but is not a value.
    #[error("stored bytes are not a value: {0}")]
    InvalidData(String),
    /// The storage failed; in its words.
    #[error("{0}")]
    Failed(String),
}

/// Visits one entry: key, value, expiry.
pub type VisitEntry<'a> = dyn FnMut(&[u8], &[u8], Option<Timestamp>) + 'a;

/// Storage of a master.
///
/// After an error the group of calls since the last commit may be gone as a whole; the master
/// finds out through [`commit`](Self::commit), which then fails.
pub trait Backend: Send {
    /// The entry of a key, whether it has expired or not.
    ///
    /// # Errors
    ///
    /// [`BackendError::InvalidData`] when what is stored is no value, otherwise as the storage.
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError>;

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError>;

    /// Sets a key, whatever it held.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError>;

    /// Removes a key; tells whether it was there.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError>;

    /// Removes a key that has an expiry not after `now`; tells whether it did.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError>;

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn clear(&mut self) -> Result<(), BackendError>;

    /// Number of entries.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn count(&mut self) -> Result<u64, BackendError>;

    /// Visits all entries in a fixed order. Returns how many it had to leave out because what is
    /// stored is no value, or lies under a key that is not canonical and that no
    /// [`get`](Self::get) finds.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError>;

    /// Visits all keys in the order of [`for_each`](Self::for_each), also those that no
    /// [`get`](Self::get) finds: bytes behind a key are ignored, and a key may come twice.
    ///
    /// # Errors
    ///
    /// [`BackendError::InvalidData`] when one of them is no value, otherwise as the storage.
    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError>;

    /// Looks at the keys behind one, `limit` of them at most, in the order of their bytes, and visits
    /// those that [`get`](Self::get) finds: a walk in steps, between which entries may change. An
    /// empty key is before all others. Returns the key that it came to, unless there are no more.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError>;

    /// All keys that expire, with their times.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError>;

    /// Lets all calls up to the next commit or rollback see one state, so that a storage which
    /// others may change need not look for their changes before each read. Worth it for a turn
    /// that reads more than once; it must end in a commit or a rollback, even if nothing was
    /// written, and without waiting for anything.
    ///
    /// # Errors
    ///
    /// As the storage.
    fn begin_reads(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Makes everything since the last commit last, all of it or nothing.
    ///
    /// # Errors
    ///
    /// As the storage; everything since the last commit is undone then.
    fn commit(&mut self) -> Result<(), BackendError>;

    /// Undoes everything since the last commit.
    fn rollback(&mut self);
}

impl<B: Backend + ?Sized> Backend for Box<B> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        (**self).get(key)
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        (**self).contains(key)
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError> {
        (**self).put(key, value, expiry)
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        (**self).erase(key)
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        (**self).expire(key, now)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        (**self).clear()
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        (**self).count()
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        (**self).for_each(visit)
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        (**self).for_each_key(visit)
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        (**self).keys_after(after, limit, visit)
    }

    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
        (**self).expiries()
    }

    fn begin_reads(&mut self) -> Result<(), BackendError> {
        (**self).begin_reads()
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        (**self).commit()
    }

    fn rollback(&mut self) {
        (**self).rollback();
    }
}
