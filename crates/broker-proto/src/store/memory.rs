//! Entries in memory. Spec: stores 8.1.

use std::collections::BTreeMap;
use std::ops::Bound;

use broker_data::Timestamp;

use crate::store::backend::{Backend, BackendError, Entry, VisitEntry};

/// A back end that forgets everything with its process. Its calls never fail, so there is nothing
/// to undo.
#[derive(Debug, Default)]
pub struct Memory {
    entries: BTreeMap<Box<[u8]>, Stored>,
}

#[derive(Debug)]
struct Stored {
    value: Box<[u8]>,
    expiry: Option<Timestamp>,
}

impl Memory {
    /// Without entries.
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl Backend for Memory {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        Ok(self.entries.get(key).map(|stored| Entry {
            value: stored.value.to_vec(),
            expiry: stored.expiry,
        }))
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        Ok(self.entries.contains_key(key))
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError> {
        let value = value.into();
        if let Some(stored) = self.entries.get_mut(key) {
            *stored = Stored { value, expiry };
        } else {
            self.entries.insert(key.into(), Stored { value, expiry });
        }
        Ok(())
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        Ok(self.entries.remove(key).is_some())
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        let due = |stored: &Stored| stored.expiry.is_some_and(|at| at <= now);
        let expires = self.entries.get(key).is_some_and(due);
        if expires {
            self.entries.remove(key);
        }
        Ok(expires)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        self.entries.clear();
        Ok(())
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        Ok(self.entries.len() as u64)
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        for (key, stored) in &self.entries {
            visit(key, &stored.value, stored.expiry);
        }
        Ok(0)
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.entries.keys().for_each(|key| visit(key));
        Ok(())
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(keys_after(&self.entries, after, limit, visit))
    }

    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
        let entries = self.entries.iter();
        let expiring = entries.filter_map(|(key, stored)| Some((key.to_vec(), stored.expiry?)));
        Ok(expiring.collect())
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn rollback(&mut self) {}
}

/// Visits the keys of a map behind one, `limit` of them at most; returns the last of as many.
pub(super) fn keys_after<T>(
    entries: &BTreeMap<Box<[u8]>, T>,
    after: &[u8],
    limit: usize,
    visit: &mut dyn FnMut(&[u8]),
) -> Option<Vec<u8>> {
    let behind = entries.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded));
    let mut last = None;
    for (count, (key, _)) in (1..=limit).zip(behind) {
        visit(key);
        last = (count == limit).then(|| key.to_vec());
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_replaces_value_and_expiry() {
        let mut memory = Memory::new();
        memory.put(b"k", b"1", Some(Timestamp::EPOCH)).unwrap();
        memory.put(b"k", b"2", None).unwrap();
        let entry = memory.get(b"k").unwrap().unwrap();
        assert_eq!((entry.value.as_slice(), entry.expiry), (&b"2"[..], None));
        assert_eq!(memory.count(), Ok(1));
        assert_eq!(memory.expiries(), Ok(Vec::new()));
    }

    #[test]
    fn only_what_is_due_expires() {
        let mut memory = Memory::new();
        let at = Timestamp::from_ns(10);
        memory.put(b"due", b"", Some(at)).unwrap();
        memory.put(b"stays", b"", None).unwrap();
        assert_eq!(memory.expire(b"due", Timestamp::from_ns(9)), Ok(false));
        assert_eq!(memory.expire(b"due", at), Ok(true));
        assert_eq!(memory.expire(b"stays", at), Ok(false));
        assert_eq!(memory.expire(b"absent", at), Ok(false));
    }

    #[test]
    fn a_walk_in_steps_sees_each_key_once() {
        let mut memory = Memory::new();
        for key in 0..10_u8 {
            memory.put(&[key], b"", None).unwrap();
        }
        for limit in 1..12 {
            let (mut keys, mut after, mut steps) = (Vec::new(), Some(Vec::new()), 0);
            while let Some(last) = after {
                let mut seen = 0;
                let visit = &mut |key: &[u8]| {
                    keys.push(key.to_vec());
                    seen += 1;
                };
                after = memory.keys_after(&last, limit, visit).unwrap();
                assert!(seen <= limit);
                steps += 1;
            }
            let all: Vec<Vec<u8>> = (0..10_u8).map(|key| vec![key]).collect();
            assert_eq!((keys, steps), (all, 10 / limit + 1), "{limit} at a time");
        }
    }

    #[test]
    fn visits_are_in_the_order_of_the_keys() {
        let mut memory = Memory::new();
        for key in [b"b", b"a"] {
            memory.put(key, b"", None).unwrap();
        }
        let mut keys = Vec::new();
        memory
            .for_each_key(&mut |key| keys.push(key.to_vec()))
            .unwrap();
        assert_eq!(keys, [b"a", b"b"]);
    }
}
