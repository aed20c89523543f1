//! A model of the servers that replicas of a store are on: one stream, a place for snapshots, a
//! lease. It does what it promises and nothing more.
//!
//! Promised is: an append is stored only behind the sequence that it expects; what is stored stays,
//! until it is compacted; entries are delivered in order. Not promised is: that an answer arrives,
//! that a request arrives once or soon, that a look at the tail sees what was stored last, that a
//! snapshot is what was written, that a lease has one holder.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_data::Timestamp;
use broker_proto::store::replica::entry::{EntryId, Mutation, StreamEntry};
use broker_proto::store::replica::snapshot::check_snapshot;

/// Keys and values with their expiry.
pub type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>;

/// Chunks of a snapshot.
pub type Chunks = Vec<Arc<[u8]>>;

/// The name of the store.
pub const STORE: &str = "s";

/// The servers.
#[derive(Debug, Default)]
pub struct Stream {
    /// Everything that was ever stored, compacted or not: the first has sequence 1.
    stored: Vec<(EntryId, Arc<[u8]>)>,
    /// What the entries make up to each sequence, as a digest; the first is that of nothing.
    digests: Vec<u64>,
    content: Content,
    /// The sequence of the first entry that can be read.
    first: u64,
    snapshots: BTreeMap<u64, Chunks>,
    /// Whose lease it is, and until when.
    lease: Option<(u64, i64)>,
}

/// A number that tells contents apart.
pub fn digest(content: &Content) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (key, (value, expiry)) in content {
        add(key);
        add(value);
        add(&expiry.map_or(i64::MIN, |at| at.ns()).to_be_bytes());
    }
    hash
}

impl Stream {
    /// Without entries.
    pub fn new() -> Self {
        Self {
            digests: vec![digest(&Content::new())],
            first: 1,
            ..Self::default()
        }
    }

    /// The last sequence.
    pub fn last(&self) -> u64 {
        self.stored.len() as u64
    }

    /// The first sequence that can be read.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// What the entries up to a sequence make.
    pub fn digest_at(&self, sequence: u64) -> Option<u64> {
        self.digests.get(usize::try_from(sequence).ok()?).copied()
    }

    /// What all entries make.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Appends an entry if the last sequence is the expected one, or without a look at that; tells
    /// where it is.
    ///
    /// # Panics
    ///
    /// When it is no entry.
    pub fn append(&mut self, id: EntryId, expected: Option<u64>, entry: &Arc<[u8]>) -> Option<u64> {
        if expected.is_some_and(|expected| expected != self.last()) {
            return None;
        }
        let read = StreamEntry::parse(entry).expect("replicas write entries");
        for mutation in read.iter() {
            match mutation {
                Mutation::Put { key, value, expiry } => {
                    self.content.insert(key.to_vec(), (value.to_vec(), expiry));
                }
                Mutation::Erase { key } | Mutation::Expire { key } => {
                    self.content.remove(key);
                }
                Mutation::Clear => self.content.clear(),
            }
        }
        self.stored.push((id, entry.clone()));
        self.digests.push(digest(&self.content));
        Some(self.last())
    }

    /// The entry at a sequence, unless it is compacted or not there yet.
    pub fn entry(&self, sequence: u64) -> Option<&Arc<[u8]>> {
        if sequence < self.first {
            return None;
        }
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.stored.get(index).map(|(_, entry)| entry)
    }

    /// Removes entries up to a sequence.
    pub fn compact(&mut self, through: u64) {
        self.first = self.first.max(through.min(self.last()) + 1);
    }

    /// Writes a snapshot, or only the first chunks of it; these do not replace one that is there.
    pub fn write_snapshot(&mut self, sequence: u64, chunks: &[Arc<[u8]>], whole: bool) {
        if whole {
            self.snapshots.insert(sequence, chunks.to_vec());
        } else {
            let part = || chunks[..chunks.len() / 2].to_vec();
            self.snapshots.entry(sequence).or_insert_with(part);
        }
    }

    /// A snapshot.
    pub fn snapshot(&self, sequence: u64) -> Option<&Chunks> {
        self.snapshots.get(&sequence)
    }

    /// The sequences of all snapshots.
    pub fn snapshots(&self) -> Vec<u64> {
        self.snapshots.keys().copied().collect()
    }

    /// Removes a snapshot.
    pub fn delete_snapshot(&mut self, sequence: u64) {
        self.snapshots.remove(&sequence);
    }

    /// Damages or loses the newest snapshot, if the one before is whole and the log goes on behind
    /// it: one fault at a time can be survived. Tells whether it did.
    pub fn damage_snapshot(&mut self, lose: bool) -> bool {
        let is_whole = |(sequence, chunks): &(&u64, &Chunks)| {
            check_snapshot(STORE, **sequence, chunks).is_ok() && **sequence + 1 >= self.first
        };
        let mut whole = self.snapshots.iter().rev().filter(is_whole);
        let newest = whole.next().map(|(sequence, _)| *sequence);
        let spared = whole.next().is_some() || self.first == 1;
        let Some(newest) = newest.filter(|_| spared) else {
            return false;
        };
        if lose {
            self.snapshots.remove(&newest);
        } else if let Some(chunks) = self.snapshots.get_mut(&newest) {
            let middle = chunks.len() / 2;
            let mut damaged = chunks[middle].to_vec();
            let at = damaged.len() / 2;
            damaged[at] ^= 4;
            chunks[middle] = damaged.into();
        }
        true
    }

    /// Gives the lease to who asks, if it is free, over, or already that one's.
    pub fn acquire_lease(&mut self, now_ms: i64, who: u64, until_ms: i64) -> bool {
        let free = self
            .lease
            .is_none_or(|(holder, until)| holder == who || until <= now_ms);
        if free {
            self.lease = Some((who, until_ms));
        }
        free
    }

    /// Takes the lease back from who has it.
    pub fn release_lease(&mut self, who: Option<u64>) {
        self.lease
            .take_if(|(holder, _)| who.is_none_or(|who| who == *holder));
    }
}
