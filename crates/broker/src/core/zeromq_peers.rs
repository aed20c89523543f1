//! Peerings with ZeroMQ proxies as an endpoint remembers them: options, counters, nodes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_proto::endpoint::ConnectionId;
use broker_zeek::zeromq::Node;

use crate::config::ZeroMqPeerOptions;
use crate::core::by_name::{CountersByName, OptionsByAddress};
use crate::lock::Lock;

/// What went on between an endpoint and one ZeroMQ proxy that it peers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ZeroMqPeerCounts {
    /// Peerings there are now: one, or none.
    pub peered: u64,
    /// Times the peering was established.
    pub connects: u64,
    /// Those of them that came after an earlier one had ended.
    pub reconnects: u64,
    /// Messages that came from others and were handed on.
    pub received: u64,
    /// Messages that were handed to the socket.
    pub sent: u64,
    /// Messages of this endpoint that came back, and those of its native peers, which it has from them.
    pub own: u64,
    /// Messages that could not be read, or came before there was room for them.
    pub bad: u64,
    /// Messages for topics of Zeek that were no events, and were not sent.
    pub refused: u64,
    /// Messages that consumers here had no room for and lost, each as often as it was lost.
    pub dropped: u64,
    /// Attempts that came to nothing, and peerings that were lost.
    pub failures: u64,
}

/// The counters behind [`ZeroMqPeerCounts`].
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    pub(crate) peered: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) own: AtomicU64,
    pub(crate) bad: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// All of an endpoint's.
#[derive(Debug, Default)]
pub(crate) struct ZeroMqPeers {
    pub(crate) options: OptionsByAddress<ZeroMqPeerOptions>,
    pub(crate) counters: CountersByName<Proxy>,
    nodes: Lock<BTreeMap<ConnectionId, Vec<Node>>>,
}

impl ZeroMqPeers {
    pub(crate) fn by_address(&self) -> BTreeMap<String, ZeroMqPeerCounts> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.counters.read(|it| {
            let connects = load(&it.connects);
            ZeroMqPeerCounts {
                peered: load(&it.peered),
                connects,
                reconnects: connects.saturating_sub(1),
                received: load(&it.received),
                sent: load(&it.sent),
                own: load(&it.own),
                bad: load(&it.bad),
                refused: load(&it.refused),
                dropped: load(&it.dropped),
                failures: load(&it.failures),
            }
        })
    }

    /// Notes the nodes that are seen through a connection; none when it is over.
    pub(crate) fn set_nodes(&self, connection: ConnectionId, nodes: Vec<Node>) {
        let mut known = self.nodes.lock();
        if nodes.is_empty() {
            known.remove(&connection);
        } else {
            known.insert(connection, nodes);
        }
    }

    /// The nodes of all clusters, by name, each once.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.nodes.lock().values().flatten().cloned().collect();
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        nodes.dedup_by(|a, b| a.id == b.id);
        nodes
    }
}
