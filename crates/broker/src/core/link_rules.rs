//! Links by the address of the peer at the other end: their rules, and what crossed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_proto::link_rules::LinkRules;
use broker_proto::peer_url::PeerUrl;
use broker_proto::{EndpointId, NetworkAddress};

use crate::core::link::Link;
use crate::flow::counters::{LinkStats, Traffic};
use crate::lock::Lock;

/// The links that the program asked for.
#[derive(Debug, Default)]
pub(crate) struct RulesByAddress {
    /// Bound: the links that the program asked for and has not ended.
    given: Lock<BTreeMap<(String, u16), Given>>,
}

#[derive(Debug, Default)]
struct Given {
    rules: Arc<LinkRules>,
    /// Times that there was a connection.
    connects: u64,
    /// What crossed connections before the latest.
    earlier: Crossed,
    /// The latest connection, whether it is over or not: its task counts until it ends.
    latest: Option<Arc<Link>>,
}

/// What crossed a link.
#[derive(Debug, Clone, Copy, Default)]
struct Crossed {
    received: Traffic,
    sent: Traffic,
    dropped: u64,
}

impl Crossed {
    fn plus(mut self, link: &Link) -> Self {
        let queue = link.mailbox.stats();
        self.received += link.received.traffic();
        self.sent += Traffic {
            messages: queue.messages,
            bytes: queue.bytes,
        };
        self.dropped = self.dropped.saturating_add(queue.dropped);
        self
    }
}

impl RulesByAddress {
    /// Has connections with an address go by these rules from the next one on.
    pub(crate) fn set(&self, url: &PeerUrl, rules: LinkRules) {
        let mut given = self.given.lock();
        given.entry((url.host(), url.port)).or_default().rules = Arc::new(rules);
    }

    /// Forgets them.
    pub(crate) fn forget(&self, url: &PeerUrl) {
        self.given.lock().remove(&(url.host(), url.port));
    }

    /// Those of an address, if it has any.
    pub(crate) fn of(&self, host: String, port: u16) -> Option<Arc<LinkRules>> {
        let given = self.given.lock();
        given.get(&(host, port)).map(|it| it.rules.clone())
    }

    /// Notes that a peering with these rules is established.
    pub(crate) fn note_connected(&self, link: &Arc<Link>, rules: &Arc<LinkRules>) {
        let mut given = self.given.lock();
        if let Some(it) = given.values_mut().find(|it| Arc::ptr_eq(&it.rules, rules)) {
            it.connects = it.connects.saturating_add(1);
            if let Some(before) = it.latest.replace(link.clone()) {
                it.earlier = it.earlier.plus(&before);
            }
        }
    }

    /// All of them, by their addresses; `peers` are the connections that there are.
    pub(crate) fn stats(&self, peers: &BTreeMap<EndpointId, Arc<Link>>) -> Vec<LinkStats> {
        let given = self.given.lock();
        let links = given.iter().map(|((host, port), it)| {
            let latest = it.latest.as_ref();
            let crossed = latest.map_or(it.earlier, |link| it.earlier.plus(link));
            let peer = latest.and_then(|link| {
                let id = link.peer()?;
                let is_there = peers.get(&id).is_some_and(|there| Arc::ptr_eq(there, link));
                is_there.then_some(id)
            });
            LinkStats {
                address: NetworkAddress::new(host.clone(), *port).to_string(),
                import: it.rules.import.entries().cloned().collect(),
                export: it.rules.export.entries().cloned().collect(),
                peer,
                connects: it.connects,
                received: crossed.received,
                sent: crossed.sent,
                dropped: crossed.dropped,
            }
        });
        links.collect()
    }
}
