//! Counters of WebSocket clients, by the name of their application.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Applications counted by their own name. Clients choose the names, so there must be a bound.
const APPLICATIONS_MAX: usize = 64;

/// Name of clients that do not say one.
pub(super) const UNKNOWN: &str = "unknown";

/// Name of applications beyond [`APPLICATIONS_MAX`].
const OTHER: &str = "other";

/// What went on between an endpoint and the WebSocket clients of one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WebSocketCounts {
    /// Clients that are subscribed now.
    pub clients: u64,
    /// Clients that ever subscribed.
    pub subscribed: u64,
    /// Data messages that came from clients and were published.
    pub received: u64,
    /// Messages of clients that were of no use and answered with an error.
    pub refused: u64,
    /// Data messages that were handed to the sockets of clients.
    pub sent: u64,
    /// Clients that were cut off because they did not take their messages.
    pub overflowed: u64,
    /// Data messages that clients did not get because they did not take them.
    pub dropped: u64,
}

/// The counters behind [`WebSocketCounts`].
#[derive(Debug, Default)]
pub(super) struct Application {
    pub(super) clients: AtomicU64,
    pub(super) subscribed: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// All counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    applications: Mutex<BTreeMap<String, Arc<Application>>>,
    refusals: AtomicU64,
}

impl Counters {
    /// The counters of an application.
    pub(super) fn application(&self, name: &str) -> Arc<Application> {
        let mut known = self
            .applications
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_full = known.len() >= APPLICATIONS_MAX;
        let name = match known.contains_key(name) || !is_full {
            true => name,
            false => OTHER,
        };
        known.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn count_refusal(&self) {
        count(&self.refusals, 1);
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn by_application(&self) -> BTreeMap<String, WebSocketCounts> {
        let known = self
            .applications
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let counts = |it: &Application| WebSocketCounts {
            clients: it.clients.load(Ordering::Relaxed),
            subscribed: it.subscribed.load(Ordering::Relaxed),
            received: it.received.load(Ordering::Relaxed),
            refused: it.refused.load(Ordering::Relaxed),
            sent: it.sent.load(Ordering::Relaxed),
            overflowed: it.overflowed.load(Ordering::Relaxed),
            dropped: it.dropped.load(Ordering::Relaxed),
        };
        known
            .iter()
            .map(|(name, it)| (name.clone(), counts(it)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_choose_are_bounded() {
        let counters = Counters::default();
        for number in 0..APPLICATIONS_MAX + 2 {
            count(&counters.application(&format!("{number:03}")).received, 1);
        }
        count(&counters.application("000").received, 1);
        let counts = counters.by_application();
        assert_eq!(counts.len(), APPLICATIONS_MAX + 1);
        assert_eq!((counts[OTHER].received, counts["000"].received), (2, 2));
    }
}
