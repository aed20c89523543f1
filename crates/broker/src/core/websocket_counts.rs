//! Counters of WebSocket clients, by the name of their application, and of WebSocket servers that
//! this endpoint peers with, by their URL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::by_name::CountersByName;
pub(crate) use crate::core::count::count;
use crate::flow::mailbox::Mailbox;
use crate::lock::{Lock, Locked};

/// Applications counted by their own name. Clients choose the names, so there must be a bound.
const APPLICATIONS_MAX: usize = 64;

/// Name of clients that do not say one.
pub(crate) const UNKNOWN: &str = "unknown";

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

/// What went on between an endpoint and one WebSocket server that it peers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WebSocketPeerCounts {
    /// Peerings there are now: one, or none.
    pub peered: u64,
    /// Times the peering was established.
    pub connects: u64,
    /// Those of them that came after an earlier one had ended.
    pub reconnects: u64,
    /// Connections that were opened because the subscriptions changed.
    pub renewals: u64,
    /// Data messages that came from the server and were handed on.
    pub received: u64,
    /// Data messages that were handed to the socket.
    pub sent: u64,
    /// Error events about the server: messages it refused, messages that made no sense, the cause
    /// for which either side closed.
    pub errors: u64,
    /// Attempts that came to nothing, and peerings that were lost.
    pub failures: u64,
}

/// The counters behind [`WebSocketPeerCounts`].
#[derive(Debug, Default)]
pub(crate) struct ServerCounts {
    pub(crate) peered: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) renewals: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// The counters behind [`WebSocketCounts`].
#[derive(Debug, Default)]
pub(crate) struct Application {
    present: Lock<Present>,
    pub(crate) subscribed: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) overflowed: AtomicU64,
}

/// The clients that are there. Mailboxes count what they drop themselves, so nobody has to hurry.
#[derive(Debug, Default)]
struct Present {
    mailboxes: Vec<Arc<Mailbox>>,
    /// What clients that are gone did not get.
    dropped_before: u64,
}

impl Application {
    fn present(&self) -> Locked<'_, Present> {
        self.present.lock()
    }

    /// Counts a client that has subscribed.
    pub(crate) fn enter(&self, mailbox: Arc<Mailbox>) {
        self.present().mailboxes.push(mailbox);
    }

    /// Counts it no more; what it did not get stays.
    pub(crate) fn leave(&self, mailbox: &Arc<Mailbox>) {
        let mut present = self.present();
        let place = present
            .mailboxes
            .iter()
            .position(|it| Arc::ptr_eq(it, mailbox));
        if let Some(place) = place {
            let gone = present.mailboxes.swap_remove(place);
            present.dropped_before = present.dropped_before.saturating_add(gone.dropped());
        }
    }
}

/// All counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applications: CountersByName<Application, APPLICATIONS_MAX>,
    refusals: AtomicU64,
    pub(crate) servers: CountersByName<ServerCounts>,
}

impl Counters {
    pub(crate) fn count_refusal(&self) {
        count(&self.refusals, 1);
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn by_application(&self) -> BTreeMap<String, WebSocketCounts> {
        self.applications.read(|it| {
            let present = it.present();
            let dropped = present.mailboxes.iter().map(|it| it.dropped());
            WebSocketCounts {
                clients: present.mailboxes.len() as u64,
                subscribed: it.subscribed.load(Ordering::Relaxed),
                received: it.received.load(Ordering::Relaxed),
                refused: it.refused.load(Ordering::Relaxed),
                sent: it.sent.load(Ordering::Relaxed),
                overflowed: it.overflowed.load(Ordering::Relaxed),
                dropped: dropped.fold(present.dropped_before, u64::saturating_add),
            }
        })
    }

    pub(crate) fn by_server(&self) -> BTreeMap<String, WebSocketPeerCounts> {
        self.servers.read(|it| {
            let connects = it.connects.load(Ordering::Relaxed);
            WebSocketPeerCounts {
                peered: it.peered.load(Ordering::Relaxed),
                connects,
                reconnects: connects.saturating_sub(1),
                renewals: it.renewals.load(Ordering::Relaxed),
                received: it.received.load(Ordering::Relaxed),
                sent: it.sent.load(Ordering::Relaxed),
                errors: it.errors.load(Ordering::Relaxed),
                failures: it.failures.load(Ordering::Relaxed),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::by_name::OTHER;

    #[test]
    fn names_that_clients_choose_are_bounded() {
        let counters = Counters::default();
        for number in 0..APPLICATIONS_MAX + 2 {
            count(
                &counters.applications.of(&format!("{number:03}")).received,
                1,
            );
        }
        count(&counters.applications.of("000").received, 1);
        let counts = counters.by_application();
        assert_eq!(counts.len(), APPLICATIONS_MAX + 1);
        assert_eq!((counts[OTHER].received, counts["000"].received), (2, 2));
    }
}
