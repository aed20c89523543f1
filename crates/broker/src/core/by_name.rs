//! Bounded maps by name: counters, whose names come from outside, and options of peerings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lock::Lock;

/// Addresses of peers that are counted by their own. An endpoint has a handful; only programs whose
/// addresses change all the time reach it.
pub(crate) const ADDRESSES_MAX: usize = 256;

/// Stands for all names beyond the bound.
pub(crate) const OTHER: &str = "other";

/// Counters by name: each of the first names has its own, all others share those of [`OTHER`].
#[derive(Debug)]
pub(crate) struct CountersByName<C, const NAMES_MAX: usize = ADDRESSES_MAX> {
    /// Bound: `NAMES_MAX`, and one for all others.
    known: Lock<BTreeMap<String, Arc<C>>>,
}

impl<C, const NAMES_MAX: usize> Default for CountersByName<C, NAMES_MAX> {
    fn default() -> Self {
        Self {
            known: Lock::default(),
        }
    }
}

impl<C: Default, const NAMES_MAX: usize> CountersByName<C, NAMES_MAX> {
    /// The counters of a name.
    pub(crate) fn of(&self, name: &str) -> Arc<C> {
        let mut known = self.known.lock();
        if let Some(counters) = known.get(name) {
            return counters.clone();
        }
        let has_room = known.len() < NAMES_MAX;
        let name = if has_room { name } else { OTHER };
        known.entry(name.to_owned()).or_default().clone()
    }

    /// What all of them have counted.
    pub(crate) fn read<R>(&self, read: impl Fn(&C) -> R) -> BTreeMap<String, R> {
        let known = self.known.lock();
        let counted = known.iter().map(|(name, it)| (name.clone(), read(it)));
        counted.collect()
    }
}

/// Options of peerings by the address of the peer. Addresses without any have the defaults.
#[cfg(any(feature = "nats", feature = "zeromq"))]
#[derive(Debug)]
pub(crate) struct OptionsByAddress<O> {
    /// Bound: the peerings that the program asked for and has not ended.
    given: Lock<BTreeMap<String, Arc<O>>>,
}

#[cfg(any(feature = "nats", feature = "zeromq"))]
impl<O> Default for OptionsByAddress<O> {
    fn default() -> Self {
        Self {
            given: Lock::default(),
        }
    }
}

#[cfg(any(feature = "nats", feature = "zeromq"))]
impl<O: Default> OptionsByAddress<O> {
    /// Notes how the peer at an address is to be spoken with from the next connection on.
    pub(crate) fn set(&self, address: &str, options: O) {
        let mut given = self.given.lock();
        given.insert(address.to_owned(), Arc::new(options));
    }

    /// Forgets it.
    pub(crate) fn forget(&self, address: &str) {
        self.given.lock().remove(address);
    }

    /// How the peer at an address is to be spoken with.
    pub(crate) fn of(&self, address: &str) -> Arc<O> {
        self.given.lock().get(address).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn names_beyond_the_bound_share_their_counters() {
        let counters = CountersByName::<AtomicU64, 3>::default();
        for name in ["a", "b", "c", "d", "e", "a"] {
            counters.of(name).fetch_add(1, Ordering::Relaxed);
        }
        let counts = counters.read(|it| it.load(Ordering::Relaxed));
        let expected = [("a", 2), ("b", 1), ("c", 1), (OTHER, 2)];
        assert_eq!(
            counts,
            expected.map(|(name, n)| (name.to_owned(), n)).into()
        );
    }

    #[test]
    #[cfg(any(feature = "nats", feature = "zeromq"))]
    fn options_are_those_of_the_address_until_they_are_forgotten() {
        let options = OptionsByAddress::<u8>::default();
        options.set("a", 1);
        options.set("a", 2);
        assert_eq!((*options.of("a"), *options.of("b")), (2, 0));
        options.forget("a");
        assert_eq!(*options.of("a"), 0);
    }
}
