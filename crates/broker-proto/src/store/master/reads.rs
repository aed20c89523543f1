//! Reads of the entries of a master, by its users. Spec: stores 7.4.

use broker_data::Timestamp;

use crate::status::ErrorCode;
use crate::store::backend::Backend;
use crate::store::master::Master;
use crate::store::{StoreFailure, expiry, operation};

impl<B: Backend> Master<B> {
    /// Number of entries that are not over.
    ///
    /// # Errors
    ///
    /// As the back end.
    pub fn entries(&mut self, now: Timestamp) -> Result<u64, StoreFailure> {
        let over = self.expiry.times.count_over(now) as u64;
        Ok(self.backend.count()?.saturating_sub(over))
    }

    /// The value of a key. Spec: stores 7.4. As with all reads, an entry whose time has come is not
    /// there, whether it is removed yet or not.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NoSuchKey`], or as the back end.
    pub fn get(&mut self, now: Timestamp, key: &[u8]) -> Result<Vec<u8>, StoreFailure> {
        self.backend.begin_reads()?;
        match self.backend.get(key)? {
            Some(entry) if !entry.is_over(now) => Ok(entry.value),
            Some(_) | None => Err(StoreFailure::new(ErrorCode::NoSuchKey, "no such key")),
        }
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As the back end.
    pub fn exists(&mut self, now: Timestamp, key: &[u8]) -> Result<bool, StoreFailure> {
        self.backend.begin_reads()?;
        Ok(self.backend.contains(key)? && !self.expiry.times.is_over(key, now))
    }

    /// What is at an index of a key's value. Spec: stores 7.4.
    ///
    /// # Errors
    ///
    /// As [`operation::index`] and [`get`](Self::get).
    pub fn get_index(
        &mut self,
        now: Timestamp,
        key: &[u8],
        index: &[u8],
    ) -> Result<Vec<u8>, StoreFailure> {
        let value = self.get(now, key)?;
        operation::index(&value, index).map_err(|code| StoreFailure::new(code, code.to_string()))
    }

    /// Visits all keys.
    ///
    /// # Errors
    ///
    /// As the back end.
    pub fn for_each_key(
        &mut self,
        now: Timestamp,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<(), StoreFailure> {
        let expiries = &self.expiry.times;
        Ok(self.backend.for_each_key(&mut |key| {
            if !expiries.is_over(key, now) {
                visit(key);
            }
        })?)
    }

    /// Visits the keys behind one, among `limit` of them, in the order of their bytes. Returns the key
    /// that it came to, unless there are no more: where the next call goes on.
    ///
    /// # Errors
    ///
    /// As the back end.
    pub fn keys_after(
        &mut self,
        now: Timestamp,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StoreFailure> {
        let expiries = &self.expiry.times;
        Ok(self.backend.keys_after(after, limit, &mut |key| {
            if !expiries.is_over(key, now) {
                visit(key);
            }
        })?)
    }

    /// Visits all entries; returns how many could not be read.
    ///
    /// # Errors
    ///
    /// As the back end.
    pub fn for_each(
        &mut self,
        now: Timestamp,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<u64, StoreFailure> {
        Ok(self.backend.for_each(&mut |key, value, at| {
            if !at.is_some_and(|at| expiry::is_over(at, now)) {
                visit(key, value);
            }
        })?)
    }
}
