//! Filters: what an endpoint wants to receive, as a set of topic prefixes.
//!
//! Spec: wire 8.1, 8.2. Entries are sorted and no entry is a prefix of another. Everything between
//! an entry and a topic it is a prefix of starts with that entry too, so in a prefix-free list the
//! last entry not above a topic is the only one that can match it: one binary search decides.
//!
//! Peers may send entries in any order and with redundant ones among them; reading normalises.
//! See ADR 0013.

use std::fmt;
use std::ops::ControlFlow;

use broker_data::{DecodeError, DecodeErrorKind, Reader, put_string, put_varbyte};

use crate::topic::{TOPIC_MAX, Topic};
use crate::tree::{Iter, Tree};

/// Bytes a filter may have on the wire: far more than anybody subscribes to. With what stands around
/// it in a handshake message it stays below 16 MiB, beyond which handshakes are refused.
pub const FILTER_BYTES_MAX: usize = 16 * 1024 * 1024 - 4 * 1024;

/// Sorted, prefix-free list of topic prefixes. A copy shares its entries, and adding one costs the
/// logarithm of their number, copies or not.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Filter {
    entries: Tree<Topic>,
    /// Upper bound of the size on the wire.
    size: usize,
}

impl Filter {
    /// A filter that matches nothing.
    pub const fn new() -> Self {
        Self {
            entries: Tree::new(),
            size: 0,
        }
    }

    /// Adds a prefix; tells whether that changed anything.
    ///
    /// Topics that are local to the endpoint are not for peers to know and never enter. Neither do
    /// prefixes too long to match any topic that fits an envelope, nor anything beyond
    /// [`FILTER_BYTES_MAX`].
    pub fn add(&mut self, topic: Topic) -> bool {
        if topic.is_local() || topic.as_bytes().len() > TOPIC_MAX || self.matches(topic.as_bytes())
        {
            return false;
        }
        let size = self.size + entry_size(&topic);
        if size > FILTER_BYTES_MAX {
            return false;
        }
        // Those it is a prefix of follow each other, the first one is the first not below it.
        let mut covered = Vec::new();
        self.entries.visit_from(
            |entry| *entry < topic,
            |entry, ()| {
                if topic.is_prefix_of(entry.as_bytes()) {
                    covered.push(entry.clone());
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        );
        self.size = size;
        for entry in covered {
            self.remove(&entry);
        }
        self.entries.insert(topic, ());
        true
    }

    /// Takes an entry out that is there.
    fn remove(&mut self, entry: &Topic) {
        if self.entries.remove(entry).is_some() {
            self.size -= entry_size(entry);
        }
    }

    fn from_normalised(entries: Vec<Topic>) -> Self {
        let size = entries.iter().map(entry_size).sum();
        let entries = Tree::from_sorted(entries.into_iter().map(|entry| (entry, ())));
        Self { entries, size }
    }

    /// Whether an entry is a prefix of the topic.
    #[inline]
    pub fn matches(&self, topic: &[u8]) -> bool {
        self.entries
            .last_not(|entry| entry.as_bytes() > topic)
            .is_some_and(|(entry, ())| entry.is_prefix_of(topic))
    }

    /// Whether it has exactly that entry.
    pub fn contains(&self, entry: &Topic) -> bool {
        self.entries.get(entry).is_some()
    }

    /// The entries in ascending order.
    pub fn entries(&self) -> Entries<'_> {
        Entries(self.entries.iter())
    }

    /// Whether it matches nothing.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the entries take on the wire, at most.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// What is to be taken out of this filter and what is to be put in to get the other one.
    pub(crate) fn changes<'a>(&'a self, other: &'a Self) -> (Vec<&'a Topic>, Vec<&'a Topic>) {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let mut before = self.entries().peekable();
        let mut after = other.entries().peekable();
        loop {
            match (before.peek(), after.peek()) {
                // One of another reading is the same object as far as it could be.
                (Some(old), Some(new)) if old.is_same(new) || old == new => {
                    before.next();
                    after.next();
                }
                (Some(old), Some(new)) if old > new => come.extend(after.next()),
                (Some(_), _) => gone.extend(before.next()),
                (None, Some(_)) => come.extend(after.next()),
                (None, None) => return (gone, come),
            }
        }
    }

    /// Appends the wire form: count, then entries. Spec: wire 5.1.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // More than 2^32 entries do not fit into memory; if they did, the first ones are sent.
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        put_varbyte(out, count);
        for entry in self.entries().take(count as usize) {
            put_string(out, entry.as_bytes()).expect("entries are at most TOPIC_MAX bytes long");
        }
    }

    /// Reads the filter of a handshake message: as many entries as announced, whatever follows is
    /// ignored. Spec: wire 2, 5.1.
    ///
    /// # Errors
    ///
    /// Fails when the bytes end before the last entry does.
    pub fn decode_handshake(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.varbyte()?;
        let mut entries = Unsorted::default();
        for _ in 0..count {
            entries.push(reader.string()?);
        }
        Ok(entries.finish(&Self::new()))
    }

    /// Reads the filter of a routing update: entries up to the end, whatever the announced count;
    /// no bytes at all are an empty filter. Spec: wire 6.3.
    ///
    /// # Errors
    ///
    /// Fails when an entry runs past the end, or when there are more than [`FILTER_BYTES_MAX`].
    pub fn decode_update(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_update_of(bytes, &Self::new())
    }

    /// As [`decode_update`](Self::decode_update), for a peer whose filter is known: the entries that
    /// it keeps are those of `before`, so that they are in memory once.
    ///
    /// # Errors
    ///
    /// As [`decode_update`](Self::decode_update).
    pub fn decode_update_of(bytes: &[u8], before: &Self) -> Result<Self, DecodeError> {
        if bytes.len() > FILTER_BYTES_MAX {
            let expected = DecodeErrorKind::Other("a filter of less than 16 MiB");
            return Err(DecodeError::new(FILTER_BYTES_MAX, expected));
        }
        let mut reader = Reader::new(bytes);
        let mut entries = Unsorted::default();
        if reader.remaining() > 0 {
            reader.varbyte()?;
        }
        while reader.remaining() > 0 {
            entries.push(reader.string()?);
        }
        Ok(entries.finish(before))
    }
}

/// Bytes of an entry on the wire, at most.
fn entry_size(entry: &Topic) -> usize {
    const LENGTH_SIZE_MAX: usize = 5;
    entry.as_bytes().len() + LENGTH_SIZE_MAX
}

/// Normalises and keeps local topics too: local consumers have filters of their own.
impl FromIterator<Topic> for Filter {
    fn from_iter<I: IntoIterator<Item = Topic>>(topics: I) -> Self {
        let mut entries: Vec<Topic> = topics.into_iter().collect();
        entries.sort_unstable();
        // Whatever an entry is a prefix of follows it directly.
        entries.dedup_by(|next, kept| kept.is_prefix_of(next.as_bytes()));
        entries.retain(|entry| entry.as_bytes().len() <= TOPIC_MAX);
        Self::from_normalised(entries)
    }
}

/// The entries of a filter in ascending order.
#[derive(Debug, Clone)]
pub struct Entries<'a>(Iter<'a, Topic, ()>);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a Topic;

    fn next(&mut self) -> Option<&'a Topic> {
        self.0.next().map(|(entry, ())| entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// Entries being read, normalised every now and then: a peer cannot make us hold millions of
/// copies of one short entry.
#[derive(Default)]
struct Unsorted<'a> {
    entries: Vec<&'a [u8]>,
    /// Number of entries at which the next normalisation is due.
    due: usize,
}

/// Entries that are collected before the first normalisation: a page or four of memory.
const ENTRIES_UNSORTED_MAX: usize = 1024;

impl<'a> Unsorted<'a> {
    fn push(&mut self, entry: &'a [u8]) {
        if entry.len() > TOPIC_MAX {
            return;
        }
        self.entries.push(entry);
        if self.entries.len() >= self.due.max(ENTRIES_UNSORTED_MAX) {
            self.normalise();
            self.due = self.entries.len().saturating_mul(2);
        }
    }

    fn normalise(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup_by(|next, kept| next.starts_with(kept));
    }

    /// Makes a filter of them, which shares its entries with `before` where it can.
    fn finish(mut self, before: &Filter) -> Filter {
        self.normalise();
        let mut known = before.entries().peekable();
        let entries = self.entries.into_iter().map(|entry| {
            while known.next_if(|known| known.as_bytes() < entry).is_some() {}
            let same = known.next_if(|known| known.as_bytes() == entry);
            same.cloned().unwrap_or_else(|| Topic::from(entry))
        });
        Filter::from_normalised(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(topics: &[&str]) -> Filter {
        let mut filter = Filter::new();
        for topic in topics {
            filter.add(Topic::from(*topic));
        }
        filter
    }

    fn texts(filter: &Filter) -> Vec<String> {
        filter.entries().map(Topic::to_string).collect()
    }

    #[test]
    fn add_keeps_the_list_sorted_and_free_of_prefixes() {
        let mut filter = filter(&["/b/1", "/a", "/b/2", "/c"]);
        assert_eq!(texts(&filter), ["/a", "/b/1", "/b/2", "/c"]);
        assert!(!filter.add(Topic::from("/a/x")));
        assert!(!filter.add(Topic::from("/a")));
        assert!(filter.add(Topic::from("/b")));
        assert_eq!(texts(&filter), ["/a", "/b", "/c"]);
        assert!(filter.add(Topic::from("")));
        assert_eq!(texts(&filter), [""]);
    }

    #[test]
    fn local_and_overlong_topics_never_enter() {
        let mut filter = Filter::new();
        assert!(!filter.add(Topic::from("<$>/local/data/errors")));
        assert!(!filter.add(Topic::from(vec![b'x'; TOPIC_MAX + 1])));
        assert!(filter.add(Topic::from(vec![b'x'; TOPIC_MAX])));
        assert_eq!(filter.len(), 1);
    }

    #[test]
    fn matching_knows_no_segments() {
        let filter = filter(&["/foo"]);
        assert!(filter.matches(b"/foo"));
        assert!(filter.matches(b"/foobar"));
        assert!(!filter.matches(b"/fo"));
        assert!(!Filter::new().matches(b""));
    }

    #[test]
    fn handshake_form_ignores_what_follows() {
        let decoded = Filter::decode_handshake(b"\x02\x02/b\x02/arest").unwrap();
        assert_eq!(texts(&decoded), ["/a", "/b"]);
        assert!(Filter::decode_handshake(b"").is_err());
        assert!(Filter::decode_handshake(b"\x02\x02/a").is_err());
        assert!(Filter::decode_handshake(b"\x01\x05/a").is_err());
    }

    #[test]
    fn update_form_ignores_the_count() {
        assert!(Filter::decode_update(b"").unwrap().is_empty());
        assert!(Filter::decode_update(b"\x07").unwrap().is_empty());
        assert_eq!(
            texts(&Filter::decode_update(b"\x00\x02/b\x02/a").unwrap()),
            ["/a", "/b"]
        );
        assert!(Filter::decode_update(b"\x01\x05/a").is_err());
        let mut large = [1, b'/'].repeat(FILTER_BYTES_MAX / 2 + 1);
        large.insert(0, 0);
        assert!(Filter::decode_update(&large).is_err());
        large.truncate(FILTER_BYTES_MAX - 1);
        assert!(Filter::decode_update(&large).is_ok());
    }

    #[test]
    fn an_update_keeps_the_entries_that_are_known() {
        let before = filter(&["/a", "/b", "/c/1"]);
        let mut bytes = Vec::new();
        filter(&["/b", "/c", "/d"]).encode(&mut bytes);
        let after = Filter::decode_update_of(&bytes, &before).unwrap();
        assert_eq!(texts(&after), ["/b", "/c", "/d"]);
        assert_eq!(after.size(), filter(&["/b", "/c", "/d"]).size());
        let is_known = |entry: &Topic| before.entries().any(|known| known.is_same(entry));
        let known: Vec<bool> = after.entries().map(is_known).collect();
        assert_eq!(known, [true, false, false]);
        let (gone, come) = before.changes(&after);
        assert_eq!(gone, [&Topic::from("/a"), &Topic::from("/c/1")]);
        assert_eq!(come, [&Topic::from("/c"), &Topic::from("/d")]);
    }

    #[test]
    fn repeated_entries_take_no_memory() {
        let mut bytes = Vec::new();
        put_varbyte(&mut bytes, 1_000_000);
        for index in 0..1_000_000u32 {
            put_string(&mut bytes, &[b'a' + (index % 3) as u8]).unwrap();
        }
        assert_eq!(
            texts(&Filter::decode_handshake(&bytes).unwrap()),
            ["a", "b", "c"]
        );
    }

    fn topic() -> impl Strategy<Value = Vec<u8>> {
        // Few letters and short, so that prefixes and duplicates are common.
        proptest::collection::vec(
            prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(255)],
            0..5,
        )
    }

    proptest! {
        #[test]
        fn match_is_that_of_a_naive_scan(
            topics in proptest::collection::vec(topic(), 0..12),
            probes in proptest::collection::vec(topic(), 1..40),
        ) {
            let by_add = {
                let mut filter = Filter::new();
                for topic in &topics {
                    filter.add(Topic::from(&topic[..]));
                }
                filter
            };
            let collected: Filter = topics.iter().map(|topic| Topic::from(&topic[..])).collect();
            prop_assert_eq!(&by_add, &collected);
            prop_assert_eq!(by_add.size(), collected.size());
            for probe in probes.iter().chain(&topics) {
                let naive = topics.iter().any(|topic| probe.starts_with(topic));
                prop_assert_eq!(collected.matches(probe), naive);
            }
        }

        #[test]
        fn wire_form_round_trips(topics in proptest::collection::vec(topic(), 0..12)) {
            let filter: Filter = topics.iter().map(|topic| Topic::from(&topic[..])).collect();
            let mut bytes = Vec::new();
            filter.encode(&mut bytes);
            prop_assert_eq!(Filter::decode_handshake(&bytes).unwrap(), filter.clone());
            prop_assert_eq!(Filter::decode_update(&bytes).unwrap(), filter);
        }

        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Filter::decode_handshake(&bytes);
            let _ = Filter::decode_update(&bytes);
        }
    }
}
