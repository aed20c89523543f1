//! A counter of repeated messages, for a sample of all messages.
//!
//! Each place keeps one message for a while and counts it alone; what falls on a place that is taken
//! is not counted. So a message that circles is found however many others there are: it comes again
//! and again, and gets its place when it is free.

use broker_data::{Timespan, Timestamp};

use crate::duplicates::Key;
use crate::id::EndpointId;

/// Places, a power of two: 48 KiB, and messages that are watched at a time.
const PLACES: usize = 1024;

/// Copies within a window that, when they come in one window after the other, are more than an
/// application is likely to publish of the same message.
const STEADY_MIN: u32 = 32;

/// What is known of a message, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Copies within the window, at least 1.
    pub(super) count: u32,
    /// Whether they came from more than one peer.
    pub(super) is_from_several: bool,
    /// Windows in a row before this one with many copies.
    pub(super) steady: u8,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    key: Key,
    /// When the window began.
    since: Timestamp,
    from: EndpointId,
    seen: Seen,
}

#[derive(Debug)]
pub(super) struct Repeats {
    window: Timespan,
    /// Empty before the first message.
    places: Vec<Option<Place>>,
}

impl Repeats {
    /// Counts the messages of that time together.
    pub(super) const fn new(window: Timespan) -> Self {
        Self {
            window,
            places: Vec::new(),
        }
    }

    /// Counts a message; what comes back is as for a new one when it has no place.
    pub(super) fn note(&mut self, now: Timestamp, key: Key, from: EndpointId) -> Seen {
        let first = Seen {
            count: 1,
            is_from_several: false,
            steady: 0,
        };
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let at = usize::try_from(key.0).unwrap_or_default() & (PLACES - 1);
        let Some(place) = self.places.get_mut(at) else {
            return first;
        };
        let fresh = Place {
            key,
            since: now,
            from,
            seen: first,
        };
        let Some(known) = place else {
            *place = Some(fresh);
            return first;
        };
        let age = now.since(known.since);
        let is_steady = known.seen.count >= STEADY_MIN;
        let is_over = age >= self.window;
        // One that keeps coming may begin its next window, if it does so soon.
        let is_free = is_over && (!is_steady || age >= self.window.saturating_add(self.window));
        if known.key != key {
            if is_free {
                *place = Some(fresh);
            }
            return first;
        }
        if is_over {
            let steady = if is_steady && !is_free {
                known.seen.steady.saturating_add(1)
            } else {
                0
            };
            known.seen = Seen { steady, ..first };
            known.since = now;
            known.from = from;
        } else {
            known.seen.count = known.seen.count.saturating_add(1);
            known.seen.is_from_several |= known.from != from;
        }
        known.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: EndpointId = EndpointId::from_bytes([1; 16]);
    const B: EndpointId = EndpointId::from_bytes([2; 16]);

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    #[test]
    fn counts_within_a_window() {
        let mut repeats = Repeats::new(Timespan::from_millis(1000));
        for count in 1..10 {
            let seen = repeats.note(at(count), Key(7), A);
            assert_eq!(i64::from(seen.count), count);
            assert!(!seen.is_from_several);
        }
        assert!(repeats.note(at(20), Key(7), B).is_from_several);
        assert_eq!(repeats.note(at(20), Key(8), A).count, 1);
        let later = repeats.note(at(1002), Key(7), A);
        assert_eq!((later.count, later.is_from_several), (1, false));
    }

    #[test]
    fn one_that_keeps_coming_is_found_among_many() {
        let mut repeats = Repeats::new(Timespan::from_millis(1000));
        let mut steadiest = 0;
        for ms in 0..10_000 {
            for other in 0..50 {
                let key = Key(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(1 + 50 * ms as u64 + other));
                assert_eq!(repeats.note(at(ms), key, A).count, 1);
            }
            steadiest = steadiest.max(repeats.note(at(ms), Key(7), A).steady);
        }
        assert!(steadiest > 3);
    }

    #[test]
    fn places_become_free() {
        let mut repeats = Repeats::new(Timespan::from_millis(1000));
        let (this, other) = (Key(7), Key(7 + PLACES as u64));
        repeats.note(at(0), this, A);
        assert_eq!(repeats.note(at(10), other, A).count, 1);
        assert_eq!(repeats.note(at(10), other, A).count, 1);
        assert_eq!(repeats.note(at(1000), other, A).count, 1);
        assert_eq!(repeats.note(at(1001), other, A).count, 2);
    }
}
