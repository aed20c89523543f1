//! The back end of a leader: entries in memory, what a group changes in the form in which it is
//! appended to the stream, and how to undo it.

use std::collections::BTreeMap;

use broker_data::Timestamp;

use crate::store::backend::{Backend, BackendError, Entry, VisitEntry};
use crate::store::memory::Memory;
use crate::store::replica::entry::Mutation;

/// Entries, and a group of changes that nothing is told of before the stream has it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    memory: Memory,
    /// Mutations of the group, encoded.
    mutations: Vec<u8>,
    count: u32,
    /// What the keys held before the group, up to a `clear`.
    before: BTreeMap<Box<[u8]>, Option<Entry>>,
    /// What there was when the group cleared it for the first time.
    cleared: Option<Memory>,
    group_bytes_max: usize,
}

impl Journal {
    /// With these entries. A group larger than so many bytes removes nothing more of what is over,
    /// and no single entry is larger than half of it.
    pub(super) fn new(memory: Memory, group_bytes_max: usize) -> Self {
        Self {
            memory,
            group_bytes_max,
            ..Self::default()
        }
    }

    /// Entries without what the group has changed.
    pub(super) fn into_committed(mut self) -> Memory {
        self.rollback();
        self.memory
    }

    /// The entries, as the group sees them.
    pub(super) const fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// The group's mutations, and their number.
    pub(super) fn mutations(&self) -> (&[u8], u32) {
        (&self.mutations, self.count)
    }

    /// The entry of a key without what the group has changed.
    pub(super) fn committed(&mut self, key: &[u8]) -> Option<Entry> {
        if let Some(before) = self.before.get(key) {
            return before.clone();
        }
        let memory = self.cleared.as_mut().unwrap_or(&mut self.memory);
        // Memory does not fail.
        memory.get(key).ok().flatten()
    }

    /// Visits what there was before the group.
    pub(super) fn for_each_committed(&mut self, visit: &mut VisitEntry<'_>) {
        let before = &self.before;
        let memory = self.cleared.as_mut().unwrap_or(&mut self.memory);
        let _ = memory.for_each(&mut |key, value, expiry| {
            if !before.contains_key(key) {
                visit(key, value, expiry);
            }
        });
        for (key, entry) in before {
            if let Some(entry) = entry {
                visit(key, &entry.value, entry.expiry);
            }
        }
    }

    fn remember(&mut self, key: &[u8]) -> Result<(), BackendError> {
        if self.cleared.is_none() && !self.before.contains_key(key) {
            self.before.insert(key.into(), self.memory.get(key)?);
        }
        Ok(())
    }

    fn record(&mut self, mutation: &Mutation<'_>) {
        mutation.encode(&mut self.mutations);
        self.count = self.count.saturating_add(1);
    }

    fn forget_group(&mut self) {
        self.mutations.clear();
        self.count = 0;
        self.before.clear();
        self.cleared = None;
    }
}

impl Backend for Journal {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        self.memory.get(key)
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.memory.contains(key)
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError> {
        let (size, max) = (key.len() + value.len(), self.group_bytes_max / 2);
        if size > max {
            let text =
                format!("key and value of {size} bytes; an entry of the stream has room for {max}");
            return Err(BackendError::Failed(text));
        }
        self.remember(key)?;
        self.record(&Mutation::Put { key, value, expiry });
        self.memory.put(key, value, expiry)
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        if !self.memory.contains(key)? {
            return Ok(false);
        }
        self.remember(key)?;
        self.record(&Mutation::Erase { key });
        self.memory.erase(key)
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        if !self
            .memory
            .get(key)?
            .is_some_and(|entry| entry.is_over(now))
        {
            return Ok(false);
        }
        if self.mutations.len() > self.group_bytes_max {
            return Err(BackendError::Failed("the group is full".into()));
        }
        self.remember(key)?;
        self.record(&Mutation::Expire { key });
        self.memory.erase(key)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        if self.memory.count()? == 0 {
            return Ok(());
        }
        self.record(&Mutation::Clear);
        let old = std::mem::take(&mut self.memory);
        self.cleared.get_or_insert(old);
        Ok(())
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        self.memory.count()
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        self.memory.for_each(visit)
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.memory.for_each_key(visit)
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        self.memory.keys_after(after, limit, visit)
    }

    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
        self.memory.expiries()
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        self.forget_group();
        Ok(())
    }

    fn rollback(&mut self) {
        if let Some(memory) = self.cleared.take() {
            self.memory = memory;
        }
        for (key, entry) in std::mem::take(&mut self.before) {
            // Memory does not fail.
            let _ = match entry {
                Some(entry) => self.memory.put(&key, &entry.value, entry.expiry),
                None => self.memory.erase(&key).map(|_| ()),
            };
        }
        self.forget_group();
    }
}

/// Applies what a leader has decided.
pub(super) fn apply(memory: &mut Memory, mutation: &Mutation<'_>) {
    // Memory does not fail.
    let _ = match mutation {
        Mutation::Put { key, value, expiry } => memory.put(key, value, *expiry),
        Mutation::Erase { key } | Mutation::Expire { key } => memory.erase(key).map(|_| ()),
        Mutation::Clear => memory.clear(),
    };
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::id::EndpointId;
    use crate::store::entity::EntityId;
    use crate::store::replica::entry::{EntryId, EntryKind, StreamEntry};

    type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>;

    fn content(memory: &mut Memory) -> Content {
        let mut content = Content::new();
        let visit = &mut |key: &[u8], value: &[u8], expiry| {
            content.insert(key.to_vec(), (value.to_vec(), expiry));
        };
        memory.for_each(visit).unwrap();
        content
    }

    fn act(journal: &mut Journal, (what, key, value): (u8, u8, u8)) {
        let key = to_bytes(&u64::from(key % 4)).unwrap();
        let value = to_bytes(&u64::from(value)).unwrap();
        let at = |ns: u8| Timestamp::from_ns(i64::from(ns));
        match what % 8 {
            0..=2 => journal.put(&key, &value, None).unwrap(),
            3 => journal.put(&key, &value, Some(at(what))).unwrap(),
            4 | 5 => assert_eq!(journal.contains(&key), journal.erase(&key)),
            6 => assert!(journal.expire(&key, at(100)).is_ok()),
            _ => journal.clear().unwrap(),
        }
    }

    fn replay(memory: &mut Memory, (mutations, count): (&[u8], u32)) {
        let id = EntryId {
            leader: EntityId {
                endpoint: EndpointId::NIL,
                object: 0,
            },
            number: 0,
        };
        let entry = StreamEntry {
            id,
            kind: EntryKind::Group,
            time: Timestamp::EPOCH,
            count,
            mutations,
        };
        let bytes = entry.encode();
        let entry = StreamEntry::parse(&bytes).unwrap();
        entry.iter().for_each(|mutation| apply(memory, &mutation));
    }

    proptest! {
        /// A group is undone as a whole, is not seen by who looks at what is committed, and leads
        /// who replays it to the same state.
        #[test]
        fn groups_are_undone_or_replayed(
            first: Vec<(u8, u8, u8)>,
            second: Vec<(u8, u8, u8)>,
        ) {
            let mut journal = Journal::new(Memory::new(), 1 << 20);
            let mut copy = Memory::new();
            for step in first {
                act(&mut journal, step);
            }
            replay(&mut copy, journal.mutations());
            journal.commit().unwrap();
            let committed = content(journal.memory_mut());
            prop_assert_eq!(&content(&mut copy), &committed);

            for step in second {
                act(&mut journal, step);
            }
            replay(&mut copy, journal.mutations());
            prop_assert_eq!(content(&mut copy), content(journal.memory_mut()));
            for key in 0..4_u64 {
                let key = to_bytes(&key).unwrap();
                let entry = journal.committed(&key).map(|it| (it.value, it.expiry));
                prop_assert_eq!(entry.as_ref(), committed.get(&key));
            }
            let mut seen = Content::new();
            journal.for_each_committed(&mut |key, value, expiry| {
                seen.insert(key.to_vec(), (value.to_vec(), expiry));
            });
            prop_assert_eq!(&seen, &committed);
            prop_assert_eq!(content(&mut journal.into_committed()), committed);
        }
    }

    #[test]
    fn what_does_not_fit_into_an_entry_is_refused_and_changes_nothing() {
        let mut journal = Journal::new(Memory::new(), 100);
        let error = journal.put(&[0; 20], &[0; 31], None).unwrap_err();
        assert!(error.to_string().contains("51 bytes"), "{error}");
        assert_eq!(journal.mutations(), (&[][..], 0));
        journal
            .put(&[0; 20], &[0; 30], Some(Timestamp::EPOCH))
            .unwrap();
        journal
            .put(&[1; 20], &[0; 30], Some(Timestamp::EPOCH))
            .unwrap();
        assert!(journal.expire(&[0; 20], Timestamp::EPOCH).is_err());
    }
}
