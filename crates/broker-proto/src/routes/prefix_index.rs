//! Who wants a topic, out of many filters, by one search.
//!
//! The entries of all filters stand in ascending order, each with the longest other one that it
//! begins with. What matches a topic begins the last entry not above the topic, or is that entry:
//! everything between a prefix of the topic and the topic begins with that prefix. So one binary
//! search and a walk along the prefixes find all matches, however many filters there are.

use crate::filter::Filter;
use crate::topic::Topic;

/// The entries of some filters, which are known by their positions.
#[derive(Debug, Default)]
pub(super) struct PrefixIndex {
    entries: Vec<Entry>,
    /// Positions of filters, those of one entry behind one another.
    owners: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    prefix: Topic,
    /// The longest other entry that this one begins with.
    parent: Option<usize>,
    /// Where the owners of this entry begin and end.
    owners: (usize, usize),
}

impl PrefixIndex {
    pub(super) fn new<'a>(filters: impl Iterator<Item = &'a Filter>) -> Self {
        let mut all: Vec<(&Topic, usize)> = filters
            .enumerate()
            .flat_map(|(owner, filter)| filter.entries().iter().map(move |entry| (entry, owner)))
            .collect();
        all.sort_unstable();
        let mut index = Self::default();
        // The entries that the last one begins with, and itself.
        let mut open: Vec<usize> = Vec::new();
        for (prefix, owner) in all {
            if index
                .entries
                .last()
                .is_none_or(|last| last.prefix != *prefix)
            {
                while let Some(last) = open.last()
                    && !index.entries[*last].prefix.is_prefix_of(prefix.as_bytes())
                {
                    open.pop();
                }
                let parent = open.last().copied();
                open.push(index.entries.len());
                index.entries.push(Entry {
                    prefix: prefix.clone(),
                    parent,
                    owners: (index.owners.len(), index.owners.len()),
                });
            }
            index.owners.push(owner);
            if let Some(last) = index.entries.last_mut() {
                last.owners.1 = index.owners.len();
            }
        }
        index
    }

    /// The filters that match the topic, in ascending order.
    pub(super) fn matches(&self, topic: &[u8]) -> Vec<usize> {
        let above = self
            .entries
            .partition_point(|entry| entry.prefix.as_bytes() <= topic);
        let mut found = Vec::new();
        let mut next = above.checked_sub(1);
        while let Some(entry) = next.and_then(|next| self.entries.get(next)) {
            if entry.prefix.is_prefix_of(topic) {
                let (start, end) = entry.owners;
                found.extend_from_slice(self.owners.get(start..end).unwrap_or_default());
            }
            next = entry.parent;
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn filter(topics: &[String]) -> Filter {
        topics
            .iter()
            .map(|topic| Topic::from(topic.as_str()))
            .collect()
    }

    #[test]
    fn nothing_matches_nothing() {
        let index = PrefixIndex::new([].iter());
        assert!(index.matches(b"").is_empty());
        assert!(index.matches(b"/a").is_empty());
    }

    proptest! {
        // Few letters, so that prefixes of one another are frequent.
        #[test]
        fn it_finds_what_the_filters_match(
            topics in vec(vec("[ab]{0,4}", 0..4), 0..8),
            wanted in vec("[abc]{0,6}", 1..20),
        ) {
            let filters: Vec<Filter> = topics.iter().map(|topics| filter(topics)).collect();
            let index = PrefixIndex::new(filters.iter());
            for topic in &wanted {
                let topic = topic.as_bytes();
                let expected: Vec<usize> = filters
                    .iter()
                    .enumerate()
                    .filter(|(_, filter)| filter.matches(topic))
                    .map(|(position, _)| position)
                    .collect();
                prop_assert_eq!(index.matches(topic), expected);
            }
        }
    }
}
