//! Forwarders of ZeroMQ messages whose counters an endpoint tells with its own.

use std::fmt;
use std::net::SocketAddr;

use broker_proto::zmtp::PublicKey;

use crate::lock::Lock;

/// Forwarders that one endpoint tells of: a process has one, or two while it changes its ports.
pub(crate) const FORWARDERS_MAX: usize = 16;

/// On which side of a forwarder a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwarderSide {
    /// It subscribes.
    Subscriber,
    /// It publishes.
    Publisher,
}

impl ForwarderSide {
    /// Returns its name: `subscriber` or `publisher`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Publisher => "publisher",
        }
    }
}

/// A connection of a forwarder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwarderConnection {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What it does.
    pub side: ForwarderSide,
    /// Its key, if the forwarder is encrypted.
    pub key: Option<PublicKey>,
    /// Its principal, if a policy judges it.
    pub principal: Option<String>,
    /// Messages that were written to a subscriber, or came from a publisher.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that wait for a subscriber.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Messages that a subscriber did not take in time.
    pub dropped: u64,
}

/// What went through a forwarder so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwarderStats {
    /// Where subscribers connect to.
    pub xpub: SocketAddr,
    /// Where publishers connect to.
    pub xsub: SocketAddr,
    /// The connections at the moment.
    pub connections: Vec<ForwarderConnection>,
    /// Prefixes that are wanted, each counted for each of its subscribers.
    pub subscriptions: usize,
    /// Messages that publishers sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, messages that no subscriber wanted.
    pub unwanted: u64,
    /// Messages that subscribers did not take in time, counted for each of them, with those that are
    /// gone.
    pub dropped: u64,
    /// Messages that a policy let nothing go on of, or not all.
    pub denied: u64,
    /// Connections that were refused: wrong keys, other protocols, no rights, too many subscriptions.
    pub refused: u64,
}

/// Reads the counters of a forwarder; `None` when it is gone.
type Read = Box<dyn Fn() -> Option<ForwarderStats> + Send + Sync>;

/// The forwarders of an endpoint.
#[derive(Default)]
pub(crate) struct Forwarders {
    /// Bound: `FORWARDERS_MAX`.
    list: Lock<Vec<Read>>,
}

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.lock().len();
        f.debug_struct("Forwarders").field("count", &count).finish()
    }
}

impl Forwarders {
    /// Adds a forwarder; false if there are too many already.
    pub(crate) fn add(&self, read: Read) -> bool {
        let mut list = self.list.lock();
        list.retain(|known| known().is_some());
        let has_room = list.len() < FORWARDERS_MAX;
        if has_room {
            list.push(read);
        }
        has_room
    }

    /// The counters of those that are there.
    pub(crate) fn read(&self) -> Vec<ForwarderStats> {
        self.list.lock().iter().filter_map(|read| read()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Weak};

    use super::*;

    fn read(alive: Weak<u16>) -> Read {
        Box::new(move || {
            let port = *alive.upgrade()?;
            Some(ForwarderStats {
                xpub: (Ipv4Addr::LOCALHOST, port).into(),
                xsub: (Ipv4Addr::LOCALHOST, port + 1).into(),
                connections: Vec::new(),
                subscriptions: 0,
                messages: 0,
                bytes: 0,
                unwanted: 0,
                dropped: 0,
                denied: 0,
                refused: 0,
            })
        })
    }

    #[test]
    fn those_that_are_gone_make_room() {
        let forwarders = Forwarders::default();
        let mut alive: Vec<Arc<u16>> = (1..).map(Arc::new).take(FORWARDERS_MAX).collect();
        for one in &alive {
            assert!(forwarders.add(read(Arc::downgrade(one))));
        }
        let more = Arc::new(999);
        assert!(!forwarders.add(read(Arc::downgrade(&more))));
        alive.remove(0);
        assert!(forwarders.add(read(Arc::downgrade(&more))));
        let ports: Vec<u16> = forwarders.read().iter().map(|it| it.xpub.port()).collect();
        assert_eq!(
            (ports.len(), ports[0], ports[FORWARDERS_MAX - 1]),
            (FORWARDERS_MAX, 2, 999)
        );
    }
}
