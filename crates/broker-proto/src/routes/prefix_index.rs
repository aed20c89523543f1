//! An index of filters by prefix: finds the subscribers of a topic with a few searches.
//!
//! The entries of all filters stand in one ordered tree. What matches a topic begins it: the longest
//! of them is the last entry not above the topic, or begins both, because everything between a
//! prefix of the topic and the topic begins with that prefix. So each search finds a match or tells
//! how many bytes the next one can have at most, and the lengths that entries have tell how many it
//! can have then. A change costs the logarithm of the number of entries, and copies share the rest.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::topic::Topic;
use crate::tree::Tree;

/// Owners of a topic that there is room for at once.
const FEW: usize = 4;

/// The entries of the filters of some owners, which are ordered among themselves.
#[derive(Debug)]
pub(super) struct PrefixIndex<R> {
    entries: Tree<Entry<R>>,
    /// How many entries have which length.
    lengths: Tree<usize, usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry<R> {
    prefix: Topic,
    owner: Arc<R>,
}

impl<R: Ord> PrefixIndex<R> {
    /// Adds an entry of an owner; it must not be there.
    pub(super) fn insert(&mut self, prefix: Topic, owner: &Arc<R>) {
        let length = prefix.as_bytes().len();
        let owner = owner.clone();
        if self.entries.insert(Entry { prefix, owner }, ()).is_none() {
            let count = self.lengths.get(&length).copied().unwrap_or(0);
            self.lengths.insert(length, count + 1);
        }
    }

    /// Takes an entry of an owner out.
    pub(super) fn remove(&mut self, prefix: &Topic, owner: &Arc<R>) {
        let (length, owner) = (prefix.as_bytes().len(), owner.clone());
        let prefix = prefix.clone();
        if self.entries.remove(&Entry { prefix, owner }).is_some() {
            match self.lengths.get(&length).copied() {
                Some(count @ 2..) => self.lengths.insert(length, count - 1),
                _ => self.lengths.remove(&length),
            };
        }
    }

    /// The owners of entries that begin the topic, in ascending order, each once.
    pub(super) fn matches(&self, topic: &[u8]) -> Vec<&R> {
        let mut found: Vec<&R> = Vec::new();
        let mut matches = 0;
        // What the next match, which is shorter, begins.
        let mut rest = topic;
        loop {
            let above = |entry: &Entry<R>| entry.prefix.as_bytes() > rest;
            let Some((before, (entry, ()))) = self.entries.last_two_not(above) else {
                break;
            };
            let prefix = entry.prefix.as_bytes();
            let shared = common_len(prefix, rest);
            let longest = if shared < prefix.len() {
                Some(shared)
            } else if before.is_none_or(|(before, ())| before.prefix.as_bytes() != prefix) {
                // The only one with this prefix. What is shorter and begins the topic begins the
                // entry before this one, too.
                if found.is_empty() {
                    // Most topics have few: growing from nothing costs more than this room.
                    found = Vec::with_capacity(FEW);
                }
                found.push(&entry.owner);
                matches += 1;
                before.map(|(before, ())| common_len(before.prefix.as_bytes(), rest))
            } else {
                self.entries.visit_from(
                    |entry| entry.prefix.as_bytes() < prefix,
                    |entry, ()| {
                        if entry.prefix.as_bytes() == prefix {
                            found.push(&entry.owner);
                            ControlFlow::Continue(())
                        } else {
                            ControlFlow::Break(())
                        }
                    },
                );
                matches += 1;
                shared.checked_sub(1)
            };
            let shorter = |longest| self.lengths.last_not(|length| *length > longest);
            let Some((length, _)) = longest.and_then(shorter) else {
                break;
            };
            rest = rest.get(..*length).unwrap_or_default();
        }
        if matches > 1 {
            found.sort_unstable();
            found.dedup_by(|a, b| a == b);
        }
        found
    }
}

/// Bytes that both begin with.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    // Eight at a time: topics have dozens, and most of them are common.
    let (words, _) = a.as_chunks::<8>();
    let (others, _) = b.as_chunks::<8>();
    let mut len = 0;
    for (word, other) in words.iter().zip(others) {
        let differs = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other);
        if differs != 0 {
            return len + differs.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let rest = a.iter().zip(b).skip(len);
    len + rest.take_while(|(a, b)| a == b).count()
}

impl<R> Default for PrefixIndex<R> {
    fn default() -> Self {
        Self {
            entries: Tree::new(),
            lengths: Tree::new(),
        }
    }
}

/// Owners need not be `Clone`.
impl<R> Clone for PrefixIndex<R> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            lengths: self.lengths.clone(),
        }
    }
}

impl<R> Clone for Entry<R> {
    fn clone(&self) -> Self {
        Self {
            prefix: self.prefix.clone(),
            owner: self.owner.clone(),
        }
    }
}

impl<R: Ord> Ord for Entry<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        let prefixes = self.prefix.cmp(&other.prefix);
        prefixes.then_with(|| self.owner.cmp(&other.owner))
    }
}

impl<R: Ord> PartialOrd for Entry<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_matches_nothing() {
        let index = PrefixIndex::<u8>::default();
        assert!(index.matches(b"").is_empty());
        assert!(index.matches(b"/a").is_empty());
    }

    proptest! {
        #[test]
        fn what_is_common_is_counted_byte_by_byte(
            common in vec(0..=255u8, 0..40),
            a in vec(0..3u8, 0..20),
            b in vec(0..3u8, 0..20),
        ) {
            let (a, b) = ([&common[..], &a].concat(), [&common[..], &b].concat());
            let expected = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_len(&a, &b), expected);
        }

        // Few letters, so that prefixes of one another are frequent.
        #[test]
        fn it_finds_those_who_want_a_topic(
            topics in vec(btree_set("[ab]{0,4}", 0..6), 0..8),
            removed in vec((0..8usize, "[ab]{0,4}"), 0..20),
            wanted in vec("[abc]{0,6}", 1..20),
        ) {
            let mut topics = topics;
            let mut index = PrefixIndex::default();
            let owners: Vec<Arc<usize>> = (0..topics.len()).map(Arc::new).collect();
            for (owner, topics) in owners.iter().zip(&topics) {
                for topic in topics {
                    index.insert(Topic::from(topic), owner);
                }
            }
            let before = index.clone();
            let all = topics.clone();
            for (owner, topic) in removed {
                if let Some(owner) = owners.get(owner) {
                    topics[**owner].remove(&topic);
                    index.remove(&Topic::from(topic), owner);
                }
            }
            for (index, topics) in [(index, topics), (before, all)] {
                for topic in &wanted {
                    let wants = |owner: &&usize| topics[**owner].iter().any(|entry| topic.starts_with(entry));
                    let expected: Vec<&usize> = owners.iter().map(|owner| &**owner).filter(wants).collect();
                    prop_assert_eq!(index.matches(topic.as_bytes()), expected);
                }
                let lengths: usize = index.lengths.iter().map(|(_, count)| *count).sum();
                prop_assert_eq!(lengths, index.entries.len());
            }
        }
    }
}
