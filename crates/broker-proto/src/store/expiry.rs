//! When entries are over. Spec: stores 7.5.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker_data::Timestamp;

/// Whether something that ends at a time is over. One definition for reads and for removals: an
/// entry is there until its time and never after it.
pub(crate) fn is_over(at: Timestamp, now: Timestamp) -> bool {
    at <= now
}

/// The keys that have an expiry, ordered by time, and their times by key.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    by_time: BTreeSet<(Timestamp, Arc<[u8]>)>,
    by_key: BTreeMap<Arc<[u8]>, Timestamp>,
}

impl Expiries {
    /// Sets or removes the time of a key; tells whether that changed anything.
    pub(crate) fn set(&mut self, key: &[u8], at: Option<Timestamp>) -> bool {
        let removed = self.by_key.remove_entry(key);
        let changed = removed.is_some() || at.is_some();
        let key = match removed {
            Some((key, old)) => {
                let entry = (old, key);
                self.by_time.remove(&entry);
                entry.1
            }
            None if at.is_none() => return changed,
            None => Arc::from(key),
        };
        if let Some(at) = at {
            self.by_time.insert((at, key.clone()));
            self.by_key.insert(key, at);
        }
        changed
    }

    /// Forgets all times; tells whether there were any.
    pub(crate) fn clear(&mut self) -> bool {
        let changed = !self.by_key.is_empty();
        self.by_time.clear();
        self.by_key.clear();
        changed
    }

    /// The earliest time.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The key that has been over for longest.
    pub(crate) fn first_over(&self, now: Timestamp) -> Option<Arc<[u8]>> {
        let (at, key) = self.by_time.first()?;
        is_over(*at, now).then(|| key.clone())
    }

    /// Whether a key is over. Costs one comparison while none is, which is nearly always.
    pub(crate) fn is_over(&self, key: &[u8], now: Timestamp) -> bool {
        self.first().is_some_and(|first| is_over(first, now))
            && self.by_key.get(key).is_some_and(|at| is_over(*at, now))
    }

    /// The number of keys that are over.
    pub(crate) fn count_over(&self, now: Timestamp) -> usize {
        let over = self.by_time.iter();
        over.take_while(|(at, _)| is_over(*at, now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ns: i64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    #[test]
    fn a_key_is_over_from_its_time_on() {
        let mut expiries = Expiries::default();
        assert!(expiries.set(b"k", Some(at(10))));
        assert!(!expiries.is_over(b"k", at(9)));
        assert_eq!(expiries.first_over(at(9)), None);
        assert!(expiries.is_over(b"k", at(10)));
        assert_eq!(expiries.first_over(at(10)).as_deref(), Some(&b"k"[..]));
        assert!(!expiries.is_over(b"other", at(10)));
    }

    #[test]
    fn a_new_time_takes_the_place_of_the_old_one() {
        let mut expiries = Expiries::default();
        expiries.set(b"k", Some(at(10)));
        expiries.set(b"k", Some(at(30)));
        expiries.set(b"other", Some(at(20)));
        assert_eq!(
            (expiries.first(), expiries.count_over(at(25))),
            (Some(at(20)), 1)
        );
        assert!(expiries.set(b"k", None) && !expiries.set(b"k", None));
        assert_eq!(expiries.count_over(at(99)), 1);
        assert!(expiries.clear() && !expiries.clear());
        assert_eq!(expiries.first(), None);
    }
}
