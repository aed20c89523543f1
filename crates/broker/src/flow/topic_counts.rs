//! Traffic by topic: counters for the busiest prefixes, a bounded number.
//!
//! A counter is found when the targets of a topic are looked up, and kept with them; a message costs
//! no look-up of its own. Which prefixes have a counter is decided as in the *space-saving* sketch:
//! one that has none takes the place of one that counted little, and its rank, so that a prefix
//! that is busy for long has a counter, whatever else comes. Counts themselves are exact from the
//! moment a prefix has its counter; what has none is counted together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::flow::counters::Traffic;
use crate::lock::Lock;

/// Prefixes that are told, the busiest; the others are told together.
pub(crate) const PREFIXES_TOLD_MAX: usize = 256;

/// Prefixes that are counted: more than are told, so that one that becomes busy is known by then.
const PREFIXES_COUNTED_MAX: usize = 1024;

/// Segments of a topic that make its prefix: `zeek/logs/conn`.
const PREFIX_SEGMENTS: usize = 3;

/// Bytes of a prefix; topics are chosen by others.
const PREFIX_BYTES_MAX: usize = 64;

/// Counters that are looked at for one that counted little.
const CANDIDATES: usize = 8;

/// What went through under one prefix.
#[derive(Debug, Default)]
pub(crate) struct TopicCounter {
    received: Count,
    published: Count,
}

#[derive(Debug, Default)]
struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl TopicCounter {
    /// Counts a message of this process.
    pub(crate) fn count_published(&self, bytes: usize) {
        self.published.add(1, bytes as u64);
    }

    /// Counts messages that came.
    pub(crate) fn count_received(&self, messages: u64, bytes: u64) {
        self.received.add(messages, bytes);
    }

    /// What came, and what was published.
    fn traffic(&self) -> [Traffic; 2] {
        [self.received.traffic(), self.published.traffic()]
    }

    fn messages(&self) -> u64 {
        let [received, published] = self.traffic();
        received.messages.saturating_add(published.messages)
    }
}

/// What the prefix is called under which everything is told that has no place of its own.
pub(crate) const OTHER: &str = "other";

/// What went through under topics that begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStats {
    /// The first three segments of the topics, at most 64 bytes of them; `other` for all that are
    /// not among the busiest.
    pub prefix: String,
    /// What came from peers and WebSocket clients.
    pub received: Traffic,
    /// What this process published.
    pub published: Traffic,
}

/// The counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct TopicCounts {
    /// What has no counter of its own, or had one.
    other: Arc<TopicCounter>,
    counted: Lock<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Places by prefix. Bound: `PREFIXES_COUNTED_MAX`.
    places: FxHashMap<Arc<[u8]>, usize>,
    /// Bound: `PREFIXES_COUNTED_MAX`.
    slots: Vec<Slot>,
    /// Where the search for one that counted little goes on.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    prefix: Arc<[u8]>,
    counter: Arc<TopicCounter>,
    /// What was counted in this place before.
    inherited: u64,
}

impl Slot {
    fn rank(&self) -> u64 {
        self.inherited.saturating_add(self.counter.messages())
    }
}

impl TopicCounts {
    /// The counter of a topic.
    pub(crate) fn find(&self, topic: &[u8]) -> Arc<TopicCounter> {
        let prefix = prefix_of(topic);
        self.counted.lock().find(prefix, &self.other)
    }

    /// How many messages this process published, under whatever topics.
    pub(crate) fn published(&self) -> u64 {
        let counted = self.counted.lock();
        let slots = counted.slots.iter().map(|slot| &*slot.counter);
        let counters = slots.chain([&*self.other]);
        counters.map(|it| it.published.traffic().messages).sum()
    }

    /// The busiest prefixes, the busiest first, and behind them what all others come to.
    pub(crate) fn busiest(&self) -> Vec<TopicStats> {
        // Numbers only: those who publish under a new topic wait for the lock.
        let copied: Vec<(Arc<[u8]>, [Traffic; 2])> = {
            let counted = self.counted.lock();
            let slots = counted.slots.iter();
            let numbers = slots.map(|slot| (slot.prefix.clone(), slot.counter.traffic()));
            numbers.collect()
        };
        let messages = |[received, published]: &[Traffic; 2]| {
            received.messages.saturating_add(published.messages)
        };
        let mut busy: Vec<_> = copied
            .into_iter()
            .filter(|(_, traffic)| messages(traffic) > 0)
            .collect();
        busy.sort_by(|(one, a), (other, b)| {
            let order = messages(b).cmp(&messages(a));
            order.then_with(|| one.cmp(other))
        });
        let mut others = self.other.traffic();
        for (_, [received, published]) in busy.drain(PREFIXES_TOLD_MAX.min(busy.len())..) {
            others[0] += received;
            others[1] += published;
        }
        if messages(&others) > 0 {
            busy.push((OTHER.as_bytes().into(), others));
        }
        let told = busy.into_iter();
        told.map(|(prefix, [received, published])| TopicStats {
            prefix: String::from_utf8_lossy(&prefix).into_owned(),
            received,
            published,
        })
        .collect()
    }
}

impl Counted {
    fn find(&mut self, prefix: &[u8], other: &Arc<TopicCounter>) -> Arc<TopicCounter> {
        let known = self.places.get(prefix).and_then(|at| self.slots.get(*at));
        if let Some(slot) = known {
            return slot.counter.clone();
        }
        let counter = Arc::<TopicCounter>::default();
        let prefix: Arc<[u8]> = prefix.into();
        let slot = Slot {
            prefix: prefix.clone(),
            counter: counter.clone(),
            inherited: 0,
        };
        if self.slots.len() < PREFIXES_COUNTED_MAX {
            self.places.insert(prefix, self.slots.len());
            self.slots.push(slot);
        } else if !self.replace(slot, other) {
            return other.clone();
        }
        counter
    }

    /// Has a prefix take the place of one that counted little. Where each of those looked at is in
    /// use there is none: `false`.
    fn replace(&mut self, slot: Slot, other: &TopicCounter) -> bool {
        let slots = &self.slots;
        // Far from each other: those that came at the beginning may all be busy.
        let stride = (slots.len() / CANDIDATES).max(1);
        let candidates = (0..CANDIDATES).map(|step| (self.hand + step * stride) % slots.len());
        let least = candidates
            .filter_map(|at| Some((at, slots.get(at)?)))
            .filter(|(_, slot)| Arc::strong_count(&slot.counter) == 1)
            .min_by_key(|(_, slot)| slot.rank());
        let place = least.map(|(at, slot)| (at, slot.rank()));
        self.hand = (self.hand + 1) % slots.len();
        let Some((at, inherited)) = place else {
            return false;
        };
        let Some(old) = self.slots.get_mut(at) else {
            return false;
        };
        for (all, one) in [
            (&other.received, &old.counter.received),
            (&other.published, &old.counter.published),
        ] {
            let Traffic { messages, bytes } = one.traffic();
            all.add(messages, bytes);
        }
        self.places.remove(&old.prefix);
        self.places.insert(slot.prefix.clone(), at);
        *old = Slot { inherited, ..slot };
        true
    }
}

/// The first segments of a topic.
fn prefix_of(topic: &[u8]) -> &[u8] {
    let topic = topic.get(..PREFIX_BYTES_MAX).unwrap_or(topic);
    let slashes = topic.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    // A slash in front ends no segment.
    let mut ends = slashes.map(|(at, _)| at).filter(|at| *at > 0);
    let end = ends.nth(PREFIX_SEGMENTS - 1);
    end.and_then(|end| topic.get(..end)).unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_three_segments() {
        for (topic, expected) in [
            ("", ""),
            ("a", "a"),
            ("/a/b/c/d", "/a/b/c"),
            ("zeek/logs/conn/x/y", "zeek/logs/conn"),
            ("a/b/c/", "a/b/c"),
        ] {
            assert_eq!(prefix_of(topic.as_bytes()), expected.as_bytes());
        }
        assert_eq!(prefix_of(&[b'x'; 1000]).len(), PREFIX_BYTES_MAX);
    }

    #[test]
    fn topics_that_begin_alike_are_counted_together() {
        let counts = TopicCounts::default();
        counts.find(b"/a/b/c/1").count_received(3, 30);
        counts.find(b"/a/b/c/2").count_published(10);
        counts.find(b"/z").count_published(1);
        counts.find(b"/unused");
        let busiest = counts.busiest();
        let names: Vec<_> = busiest.iter().map(|it| it.prefix.as_str()).collect();
        assert_eq!(names, ["/a/b/c", "/z"]);
        let first = busiest.first().unwrap();
        assert_eq!((first.received.messages, first.received.bytes), (3, 30));
        assert_eq!((first.published.messages, first.published.bytes), (1, 10));
    }

    #[test]
    fn busy_prefixes_stay_among_any_number_of_others() {
        let counts = TopicCounts::default();
        let busy = |number: usize| format!("busy/{number}");
        for number in 0..20 * PREFIXES_COUNTED_MAX {
            for at in 0..8 {
                counts.find(busy(at).as_bytes()).count_received(100, 100);
            }
            counts
                .find(format!("other/{number}").as_bytes())
                .count_received(1, 1);
        }
        let busiest = counts.busiest();
        let (other, busiest) = busiest.split_last().unwrap();
        assert_eq!(busiest.len(), PREFIXES_TOLD_MAX);
        assert_eq!(other.prefix, OTHER);
        let all: u64 = busiest.iter().map(|it| it.received.messages).sum();
        let sent = (20 * PREFIXES_COUNTED_MAX * (8 * 100 + 1)) as u64;
        assert_eq!(all + other.received.messages, sent);
        assert_eq!(counts.counted.lock().slots.len(), PREFIXES_COUNTED_MAX);
        for (told, at) in busiest.iter().zip(0..8) {
            assert_eq!(told.prefix, busy(at));
            assert_eq!(told.received.messages, 2000 * PREFIXES_COUNTED_MAX as u64);
        }
    }

    #[test]
    fn a_counter_in_use_keeps_its_place() {
        let counts = TopicCounts::default();
        let held = counts.find(b"held");
        for number in 0..4 * PREFIXES_COUNTED_MAX {
            counts
                .find(format!("{number}").as_bytes())
                .count_published(1);
        }
        held.count_published(1);
        assert!(Arc::ptr_eq(&held, &counts.find(b"held")));
        assert_eq!(counts.published(), 4 * PREFIXES_COUNTED_MAX as u64 + 1);
    }
}
