//! The prefixes that a peer is subscribed to.

use std::collections::{BTreeMap, BTreeSet};

/// A set of byte prefixes.
///
/// A prefix is in it once, however often it was added: peers tell subscriptions of others again, and
/// take them back when the last of these does. Spec: zeromq 1, 4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    prefixes: BTreeSet<Box<[u8]>>,
    /// How many prefixes have this length: a topic is looked up once for each of them.
    lengths: BTreeMap<usize, usize>,
    bytes: usize,
}

impl Subscriptions {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a prefix; tells whether it is new.
    pub fn add(&mut self, prefix: &[u8]) -> bool {
        if self.prefixes.contains(prefix) {
            return false;
        }
        self.prefixes.insert(prefix.into());
        *self.lengths.entry(prefix.len()).or_default() += 1;
        self.bytes += prefix.len();
        true
    }

    /// Takes a prefix away; tells whether it was there.
    pub fn remove(&mut self, prefix: &[u8]) -> bool {
        if !self.prefixes.remove(prefix) {
            return false;
        }
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
        self.bytes -= prefix.len();
        true
    }

    /// Tells whether messages under this topic are wanted.
    #[must_use]
    pub fn matches(&self, topic: &[u8]) -> bool {
        let mut lengths = self.lengths.keys();
        lengths.any(|length| {
            let prefix = topic.get(..*length);
            prefix.is_some_and(|prefix| self.prefixes.contains(prefix))
        })
    }

    /// Tells whether exactly this prefix is in the set.
    #[must_use]
    pub fn contains(&self, prefix: &[u8]) -> bool {
        self.prefixes.contains(prefix)
    }

    /// Visits the prefixes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.prefixes.iter().map(AsRef::as_ref)
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Returns the bytes of all prefixes together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_matches_as_a_plain_list_does(
            steps in prop::collection::vec((any::<bool>(), "[ab]{0,4}"), 0..40),
            topics in prop::collection::vec("[ab]{0,6}", 1..10),
        ) {
            let mut set = Subscriptions::new();
            let mut list: Vec<String> = Vec::new();
            for (is_added, prefix) in steps {
                let was_there = list.contains(&prefix);
                if is_added {
                    prop_assert_eq!(set.add(prefix.as_bytes()), !was_there);
                    if !was_there {
                        list.push(prefix);
                    }
                } else {
                    prop_assert_eq!(set.remove(prefix.as_bytes()), was_there);
                    list.retain(|other| *other != prefix);
                }
                prop_assert_eq!(set.len(), list.len());
                prop_assert_eq!(set.bytes(), list.iter().map(String::len).sum::<usize>());
            }
            for topic in topics {
                let expected = list.iter().any(|prefix| topic.starts_with(prefix.as_str()));
                prop_assert_eq!(set.matches(topic.as_bytes()), expected);
            }
        }
    }
}
