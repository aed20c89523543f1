//! Peerings with servers of NATS as an endpoint remembers them: options, counters, servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_proto::nats::connection::SERVERS_MAX;
use broker_proto::peer_url::PeerUrl;

use crate::config::NatsPeerOptions;
use crate::core::by_name::{CountersByName, OptionsByAddress};
use crate::core::jet_stream::JetStream;
use crate::lock::Lock;

/// What went on between an endpoint and the servers of NATS at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NatsPeerCounts {
    /// Peerings there are now: one, or none.
    pub peered: u64,
    /// Times the peering was established.
    pub connects: u64,
    /// Those of them that came after an earlier one had ended.
    pub reconnects: u64,
    /// Messages that came and were handed on.
    pub received: u64,
    /// Messages that were handed to the socket, those in batches one by one.
    pub sent: u64,
    /// Messages of this endpoint that came back.
    pub own: u64,
    /// Messages that had come before, from a native peer or over another bridge.
    pub copies: u64,
    /// Messages that could not be read.
    pub bad: u64,
    /// Messages that were not sent, as the servers take none so large.
    pub refused: u64,
    /// Messages that consumers here had no room for and lost, each as often as it was lost.
    pub dropped: u64,
    /// Complaints of servers, such as those about slow readers and missing permissions.
    pub errors: u64,
    /// Messages that subscribers to streams had not asked for; they were left out.
    pub unasked: u64,
    /// Attempts that came to nothing, and peerings that were lost.
    pub failures: u64,
}

/// The counters behind [`NatsPeerCounts`].
#[derive(Debug, Default)]
pub(crate) struct Servers {
    pub(crate) peered: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) own: AtomicU64,
    pub(crate) copies: AtomicU64,
    pub(crate) bad: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) unasked: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// All of an endpoint's.
#[derive(Debug, Default)]
pub(crate) struct NatsPeers {
    pub(crate) options: OptionsByAddress<NatsPeerOptions>,
    pub(crate) counters: CountersByName<Servers>,
    /// Servers that those at an address told of, and how many times it was dialled.
    learnt: Lock<BTreeMap<String, (Vec<String>, usize)>>,
    /// Addresses that are peered with, and the clients of their streams, made when first asked for.
    /// Bound: the peerings that the application asks for.
    members: Lock<BTreeMap<String, Member>>,
}

/// An address that is peered with.
#[derive(Debug)]
struct Member {
    url: PeerUrl,
    /// The client of its streams, once it was asked for.
    streams: Option<Arc<JetStream>>,
}

/// Which addresses of NATS an endpoint is peered with, where one is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotOne {
    None,
    Several(Vec<String>),
    Unknown,
}

impl NatsPeers {
    /// Forgets the options of an address, and the servers that were learnt there.
    pub(crate) fn forget(&self, address: &str) {
        self.options.forget(address);
        self.learnt.lock().remove(address);
    }

    /// Notes that there is, or is to be, a peering with that address.
    pub(crate) fn add_member(&self, url: &PeerUrl) {
        let mut members = self.members.lock();
        members.entry(url.host()).or_insert_with(|| Member {
            url: url.clone(),
            streams: None,
        });
    }

    /// Notes that there is none any more; the client of its streams is to be ended.
    pub(crate) fn remove_member(&self, url: &str) -> Option<Arc<JetStream>> {
        self.members.lock().remove(url)?.streams
    }

    /// The address with that URL, or the only one.
    pub(crate) fn member(&self, url: Option<&str>) -> Result<PeerUrl, NotOne> {
        let members = self.members.lock();
        if let Some(url) = url {
            let found = members.get(url).map(|it| it.url.clone());
            return found.ok_or(NotOne::Unknown);
        }
        let mut all = members.iter();
        match (all.next(), all.next()) {
            (None, _) => Err(NotOne::None),
            (Some((_, member)), None) => Ok(member.url.clone()),
            _ => Err(NotOne::Several(members.keys().cloned().collect())),
        }
    }

    /// The client of the streams at an address, and whether it is new: then it is to be started.
    /// Nothing when the peering is over.
    pub(crate) fn jet_stream(
        &self,
        url: &PeerUrl,
        make: impl FnOnce() -> JetStream,
    ) -> Option<(Arc<JetStream>, bool)> {
        let mut members = self.members.lock();
        let streams = &mut members.get_mut(&url.host())?.streams;
        let is_new = streams.is_none();
        let client = streams.get_or_insert_with(|| Arc::new(make()));
        Some((client.clone(), is_new))
    }

    /// The servers at an address, named and learnt, beginning with another one each time.
    pub(crate) fn servers(&self, url: &PeerUrl) -> Vec<(String, u16)> {
        let mut servers = url.servers();
        let mut learnt = self.learnt.lock();
        let (others, dialled) = learnt.entry(url.host()).or_default();
        for (name, port) in others.iter().filter_map(|it| PeerUrl::server(it)) {
            if !servers.contains(&(name.clone(), port)) {
                servers.push((name, port));
            }
        }
        if !servers.is_empty() {
            let first = *dialled % servers.len();
            servers.rotate_left(first);
        }
        *dialled = dialled.wrapping_add(1);
        servers
    }

    /// Notes what a server says of its cluster. Those that were told before and are not any more are
    /// gone from it.
    pub(crate) fn learn(&self, url: &PeerUrl, servers: &[String]) {
        if servers.is_empty() {
            return;
        }
        let mut learnt = self.learnt.lock();
        let (known, _) = learnt.entry(url.host()).or_default();
        *known = servers.iter().take(SERVERS_MAX).cloned().collect();
    }

    pub(crate) fn by_address(&self) -> BTreeMap<String, NatsPeerCounts> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.counters.read(|it| {
            let connects = load(&it.connects);
            NatsPeerCounts {
                peered: load(&it.peered),
                connects,
                reconnects: connects.saturating_sub(1),
                received: load(&it.received),
                sent: load(&it.sent),
                own: load(&it.own),
                copies: load(&it.copies),
                bad: load(&it.bad),
                refused: load(&it.refused),
                dropped: load(&it.dropped),
                errors: load(&it.errors),
                unasked: load(&it.unasked),
                failures: load(&it.failures),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_is_no_reconnection() {
        let peers = NatsPeers::default();
        assert!(peers.by_address().is_empty());
        let servers = peers.counters.of("nats://a");
        for connects in 0..3 {
            let counts = peers.by_address()["nats://a"];
            assert_eq!(counts.connects, connects);
            assert_eq!(counts.reconnects, connects.saturating_sub(1));
            servers.connects.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_address_needs_no_name() {
        let peers = NatsPeers::default();
        let url = |text| PeerUrl::parse(text, None).unwrap();
        assert_eq!(peers.member(None), Err(NotOne::None));
        let first = url("nats://a");
        peers.add_member(&first);
        peers.add_member(&first);
        assert_eq!(peers.member(None), Ok(first.clone()));
        peers.add_member(&url("nats://b"));
        let both = ["nats://a:4222", "nats://b:4222"].map(str::to_owned);
        assert_eq!(peers.member(None), Err(NotOne::Several(both.into())));
        assert_eq!(peers.member(Some("nats://a:4222")), Ok(first.clone()));
        peers.remove_member(&first.host());
        assert_eq!(peers.member(Some("nats://a:4222")), Err(NotOne::Unknown));
    }

    #[test]
    fn every_server_comes_first_once() {
        let peers = NatsPeers::default();
        let url = PeerUrl::parse("nats://a:1,b", None).unwrap();
        let names = || {
            let servers = peers.servers(&url).into_iter();
            servers.map(|(name, _)| name).collect::<Vec<_>>().concat()
        };
        assert_eq!([names(), names(), names()], ["ab", "ba", "ab"]);
        let told = ["a:1", "[::1]:3", "c:3", "not an address"].map(str::to_owned);
        peers.learn(&url, &told);
        assert_eq!(
            [names(), names()],
            ["cab::1".to_owned(), "ab::1c".to_owned()]
        );
        peers.forget(&url.host());
        assert_eq!(names(), "ab");
    }
}
