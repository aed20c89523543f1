//! The routing table: which peers and which local consumers get a message.
//!
//! Spec: wire 8.3, endpoint 3, 4. The table is a value: the runtime changes a copy and publishes it as
//! a snapshot that everybody reads without asking. It knows where a message came from only as an
//! [`Origin`]; what a target is made of (`T`) is the runtime's business.
//!
//! | origin | own subscribers | hubs | WebSocket clients | peers |
//! |---|---|---|---|---|
//! | publisher of this endpoint | only if directed to this endpoint | yes | yes | yes |
//! | hub | yes | the other ones | yes | yes |
//! | WebSocket client | yes | yes | the other ones | yes, if forwarding |
//! | event of this endpoint | yes | yes | never | never |
//! | peer | yes | yes | yes | the other ones, if forwarding |
//! | peer, without a sender of its own | as if from a publisher | as if from a publisher | as if from a publisher | the other ones |
//!
//! "yes" asks for a topic that matches. A message directed to one peer goes to that peer whatever
//! its filter says, and from the network to no local consumer. Topics that belong to the endpoint
//! are never shown to WebSocket clients.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::filter::Filter;
use crate::id::EndpointId;
use crate::routes::prefix_index::PrefixIndex;
use crate::topic::{RESERVED, Topic};

mod prefix_index;

/// Routes from which on an index can pay.
const INDEXED_ROUTES_MIN: usize = 8;

/// Topics that are looked up before an index is made: each is a topic seen for the first time since
/// the last change, and systems that keep to some topics never get there.
const INDEXED_LOOKUPS_MIN: usize = 64;

/// Names a local consumer. The caller chooses the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(pub u64);

/// Kind of a local consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalKind {
    /// Gets nothing that publishers of the same endpoint send.
    Subscriber,
    /// Gets everything but what it sends itself.
    Hub,
    /// As a hub, without the topics that belong to the endpoint.
    Client,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A publisher of this endpoint.
    Endpoint,
    /// A hub of this endpoint.
    Hub(LocalId),
    /// A WebSocket client of this endpoint: what it sends counts as coming from outside.
    Client(LocalId),
    /// The endpoint itself: events, which never leave it.
    Internal,
    /// The peer at the other end of a connection, named as sender.
    Peer(EndpointId),
    /// That peer, with a sender that is nil or our own id: taken for produced here, except that it
    /// does not go back to where it came from. Spec: wire 6.1, ADR 0015.
    Spoofed(EndpointId),
}

/// Whom messages go to.
#[derive(Debug, Clone)]
pub struct RoutingTable<T> {
    me: EndpointId,
    version: u64,
    /// Ordered by id.
    peers: Vec<PeerRoute<T>>,
    /// Ordered by id.
    locals: Vec<LocalRoute<T>>,
    index: Index,
}

/// The filters of a table that does not change any more, as a whole.
#[derive(Debug, Default)]
struct Index {
    lookups: AtomicUsize,
    /// Those of peers, and those of local consumers.
    filters: OnceLock<(PrefixIndex, PrefixIndex)>,
}

/// A table is copied to be changed.
impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[derive(Debug, Clone)]
struct PeerRoute<T> {
    id: EndpointId,
    filter: Filter,
    target: T,
}

#[derive(Debug, Clone)]
struct LocalRoute<T> {
    id: LocalId,
    kind: LocalKind,
    topics: Filter,
    target: T,
}

impl<T: Clone> RoutingTable<T> {
    /// A table without any target.
    pub fn new(me: EndpointId) -> Self {
        Self {
            me,
            version: 1,
            peers: Vec::new(),
            locals: Vec::new(),
            index: Index::default(),
        }
    }

    /// Rises with every change, so that whoever remembers targets knows when to forget them.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a peer, or replaces what is known of it.
    pub fn add_peer(&mut self, id: EndpointId, filter: Filter, target: T) {
        let route = PeerRoute { id, filter, target };
        match self.find_peer(id) {
            Ok(index) => self.peers[index] = route,
            Err(index) => self.peers.insert(index, route),
        }
        self.changed();
    }

    /// Replaces a peer's filter; does nothing for an unknown peer.
    pub fn set_peer_filter(&mut self, id: EndpointId, filter: Filter) {
        if let Ok(index) = self.find_peer(id) {
            self.peers[index].filter = filter;
            self.changed();
        }
    }

    /// Takes a peer out; does nothing for an unknown peer.
    pub fn remove_peer(&mut self, id: EndpointId) {
        if let Ok(index) = self.find_peer(id) {
            self.peers.remove(index);
            self.changed();
        }
    }

    /// Adds a local consumer of everything below some topics, or replaces what is known of it.
    pub fn add_local(&mut self, id: LocalId, kind: LocalKind, topics: Vec<Topic>, target: T) {
        let route = LocalRoute {
            id,
            kind,
            topics: topics.into_iter().collect(),
            target,
        };
        match self.find_local(id) {
            Ok(index) => self.locals[index] = route,
            Err(index) => self.locals.insert(index, route),
        }
        self.changed();
    }

    /// Replaces the topics of a local consumer; does nothing for an unknown one.
    pub fn set_local_topics(&mut self, id: LocalId, topics: Vec<Topic>) {
        if let Ok(index) = self.find_local(id) {
            self.locals[index].topics = topics.into_iter().collect();
            self.changed();
        }
    }

    /// Takes a local consumer out; does nothing for an unknown one.
    pub fn remove_local(&mut self, id: LocalId) {
        if let Ok(index) = self.find_local(id) {
            self.locals.remove(index);
            self.changed();
        }
    }

    /// The peers, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = (EndpointId, &Filter, &T)> {
        self.peers
            .iter()
            .map(|peer| (peer.id, &peer.filter, &peer.target))
    }

    /// What leads to a peer.
    pub fn peer(&self, id: EndpointId) -> Option<&T> {
        let index = self.find_peer(id).ok()?;
        Some(&self.peers.get(index)?.target)
    }

    /// The local consumers, in the order of their ids.
    pub fn locals(&self) -> impl Iterator<Item = (LocalId, LocalKind, &T)> {
        self.locals
            .iter()
            .map(|local| (local.id, local.kind, &local.target))
    }

    /// Everybody a data message goes to: peers first, then local consumers.
    ///
    /// `receiver` is nil for everybody. `forwarding` says whether what one peer sent is passed on
    /// to another. Commands follow the same rules towards peers.
    pub fn targets(
        &self,
        origin: Origin,
        receiver: EndpointId,
        topic: &[u8],
        forwarding: bool,
    ) -> Vec<T> {
        let is_reserved = topic.starts_with(RESERVED.as_bytes());
        let (peers, locals) = self.wanting(receiver, topic);
        let peers = peers
            .into_iter()
            .filter(|peer| leaves_to(peer.id, origin, forwarding))
            .map(|peer| &peer.target);
        let locals = locals
            .into_iter()
            .filter(|local| self.local_gets(local, origin, receiver))
            .filter(|local| local.kind != LocalKind::Client || !is_reserved)
            .map(|local| &local.target);
        peers.chain(locals).cloned().collect()
    }

    /// Whoever subscribes to the topic; of peers the receiver, if there is one.
    fn wanting(
        &self,
        receiver: EndpointId,
        topic: &[u8],
    ) -> (Vec<&PeerRoute<T>>, Vec<&LocalRoute<T>>) {
        let index = self.index();
        let peers = match index {
            _ if !receiver.is_nil() => {
                let found = self.find_peer(receiver).ok();
                found
                    .and_then(|at| self.peers.get(at))
                    .into_iter()
                    .collect()
            }
            Some((peers, _)) => pick(&self.peers, &peers.matches(topic)),
            None => {
                let peers = self.peers.iter();
                peers.filter(|peer| peer.filter.matches(topic)).collect()
            }
        };
        let locals = match index {
            Some((_, locals)) => pick(&self.locals, &locals.matches(topic)),
            None => {
                let locals = self.locals.iter();
                locals.filter(|local| local.topics.matches(topic)).collect()
            }
        };
        (peers, locals)
    }

    /// The index, once it is worth the while.
    fn index(&self) -> Option<&(PrefixIndex, PrefixIndex)> {
        if self.peers.len() + self.locals.len() < INDEXED_ROUTES_MIN {
            return None;
        }
        let index = &self.index;
        if index.filters.get().is_none()
            && index.lookups.fetch_add(1, Ordering::Relaxed) < INDEXED_LOOKUPS_MIN
        {
            return None;
        }
        Some(index.filters.get_or_init(|| {
            (
                PrefixIndex::new(self.peers.iter().map(|peer| &peer.filter)),
                PrefixIndex::new(self.locals.iter().map(|local| &local.topics)),
            )
        }))
    }

    fn local_gets(&self, local: &LocalRoute<T>, origin: Origin, receiver: EndpointId) -> bool {
        let to_me = receiver == self.me;
        let to_me_or_all = to_me || receiver.is_nil();
        match (origin, local.kind) {
            (Origin::Internal, LocalKind::Client) => false,
            (Origin::Internal, LocalKind::Subscriber | LocalKind::Hub) => true,
            (Origin::Endpoint | Origin::Spoofed(_), LocalKind::Subscriber) => to_me,
            // Even what is directed to a peer. Spec: endpoint 3.
            (Origin::Endpoint, LocalKind::Hub | LocalKind::Client) => true,
            (Origin::Spoofed(_), LocalKind::Hub | LocalKind::Client) => to_me_or_all,
            (Origin::Hub(_) | Origin::Client(_), LocalKind::Subscriber) => to_me_or_all,
            (Origin::Hub(sender) | Origin::Client(sender), LocalKind::Hub | LocalKind::Client) => {
                sender != local.id
            }
            (Origin::Peer(_), _) => to_me_or_all,
        }
    }

    fn find_peer(&self, id: EndpointId) -> Result<usize, usize> {
        self.peers.binary_search_by(|peer| peer.id.cmp(&id))
    }

    fn find_local(&self, id: LocalId) -> Result<usize, usize> {
        self.locals.binary_search_by(|local| local.id.cmp(&id))
    }

    fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.index = Index::default();
    }
}

/// The routes at those positions.
fn pick<'a, R>(routes: &'a [R], positions: &[usize]) -> Vec<&'a R> {
    positions.iter().filter_map(|at| routes.get(*at)).collect()
}

/// Whether what comes from there may go to the peer.
fn leaves_to(peer: EndpointId, origin: Origin, forwarding: bool) -> bool {
    match origin {
        Origin::Endpoint | Origin::Hub(_) => true,
        Origin::Internal => false,
        Origin::Client(_) => forwarding,
        Origin::Peer(hop) => forwarding && hop != peer,
        Origin::Spoofed(hop) => hop != peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::STATUSES;

    const ME: EndpointId = EndpointId::from_bytes([1; 16]);
    const A: EndpointId = EndpointId::from_bytes([0xa; 16]);
    const B: EndpointId = EndpointId::from_bytes([0xb; 16]);
    const ALL: EndpointId = EndpointId::NIL;
    const HUB: LocalId = LocalId(2);

    fn topics(names: &[&str]) -> Vec<Topic> {
        names.iter().map(|name| Topic::from(*name)).collect()
    }

    fn table() -> RoutingTable<&'static str> {
        let mut table = RoutingTable::new(ME);
        table.add_peer(B, topics(&["/t"]).into_iter().collect(), "B");
        table.add_peer(A, topics(&["/t"]).into_iter().collect(), "A");
        table.add_local(HUB, LocalKind::Hub, topics(&["/t"]), "hub");
        table.add_local(LocalId(3), LocalKind::Hub, topics(&["/t"]), "other hub");
        table.add_local(LocalId(1), LocalKind::Subscriber, topics(&["/t"]), "sub");
        table
    }

    #[test]
    fn clients_of_web_sockets() {
        use Origin::{Client, Endpoint, Hub, Internal, Peer, Spoofed};
        let mut table = table();
        let everything = topics(&[""]);
        table.add_local(LocalId(4), LocalKind::Client, everything.clone(), "client");
        table.add_local(LocalId(5), LocalKind::Client, everything, "other client");
        let cases: &[(Origin, EndpointId, bool, &[&str])] = &[
            (Endpoint, ALL, true, &["client", "other client"]),
            (Endpoint, A, true, &["client", "other client"]),
            (Hub(HUB), ALL, true, &["client", "other client"]),
            (Internal, ME, true, &[]),
            (Peer(A), ALL, true, &["client", "other client"]),
            (Peer(A), B, true, &[]),
            (Spoofed(A), ALL, true, &["client", "other client"]),
            (Client(LocalId(4)), ALL, true, &["other client"]),
        ];
        for (origin, receiver, forwarding, expected) in cases {
            let mut targets = table.targets(*origin, *receiver, b"/t/x", *forwarding);
            targets.retain(|target| target.ends_with("client"));
            assert_eq!(targets, *expected, "{origin:?} to {receiver}");
        }
        let from_client = |forwarding| table.targets(Client(LocalId(4)), ALL, b"/t/x", forwarding);
        let locals = ["sub", "hub", "other hub", "other client"];
        assert_eq!(from_client(false), locals);
        assert_eq!(from_client(true), [&["A", "B"][..], &locals].concat());
        for topic in ["<$>", STATUSES, "<$>/x"] {
            assert_eq!(
                table.targets(Endpoint, ALL, topic.as_bytes(), true),
                [""; 0]
            );
        }
    }

    #[test]
    fn who_gets_what() {
        use Origin::{Endpoint, Hub, Internal, Peer, Spoofed};
        let everybody = ["A", "B", "sub", "hub", "other hub"];
        let cases: &[(Origin, EndpointId, bool, &[&str])] = &[
            (Endpoint, ALL, true, &["A", "B", "hub", "other hub"]),
            (Endpoint, ALL, false, &["A", "B", "hub", "other hub"]),
            (Endpoint, A, true, &["A", "hub", "other hub"]),
            (Endpoint, ME, true, &["sub", "hub", "other hub"]),
            (Hub(HUB), ALL, false, &["A", "B", "sub", "other hub"]),
            (Hub(LocalId(9)), ALL, false, &everybody),
            (Hub(HUB), B, false, &["B", "other hub"]),
            (Internal, ME, true, &["sub", "hub", "other hub"]),
            (Peer(A), ALL, true, &["B", "sub", "hub", "other hub"]),
            (Peer(A), ALL, false, &["sub", "hub", "other hub"]),
            (Peer(A), ME, true, &["sub", "hub", "other hub"]),
            (Peer(A), B, true, &["B"]),
            (Peer(A), B, false, &[]),
            (Peer(A), A, true, &[]),
            (Peer(A), EndpointId::from_bytes([9; 16]), true, &[]),
            (Spoofed(A), ALL, true, &["B", "hub", "other hub"]),
            (Spoofed(A), ALL, false, &["B", "hub", "other hub"]),
            (Spoofed(A), ME, false, &["sub", "hub", "other hub"]),
        ];
        let table = table();
        for (origin, receiver, forwarding, expected) in cases {
            let targets = table.targets(*origin, *receiver, b"/t/x", *forwarding);
            assert_eq!(
                targets, *expected,
                "{origin:?} to {receiver}, forwarding {forwarding}"
            );
        }
    }

    #[test]
    fn directed_messages_ignore_the_filter_of_a_peer_only() {
        let table = table();
        assert_eq!(table.targets(Origin::Endpoint, A, b"/else", true), ["A"]);
        assert!(
            table
                .targets(Origin::Endpoint, ALL, b"/else", true)
                .is_empty()
        );
        assert!(
            table
                .targets(Origin::Peer(A), ME, b"/else", true)
                .is_empty()
        );
    }

    #[test]
    fn local_consumers_may_ask_for_local_topics() {
        let mut table = table();
        table.add_local(
            LocalId(7),
            LocalKind::Subscriber,
            topics(&[STATUSES]),
            "status",
        );
        let targets = table.targets(Origin::Internal, ME, STATUSES.as_bytes(), true);
        assert_eq!(targets, ["status"]);
    }

    #[test]
    fn every_change_moves_the_version() {
        let mut table = table();
        let mut versions = vec![table.version()];
        let changes: [fn(&mut RoutingTable<&'static str>); 6] = [
            |table| table.set_peer_filter(A, Filter::new()),
            |table| table.set_local_topics(HUB, Vec::new()),
            |table| table.remove_peer(A),
            |table| table.remove_local(HUB),
            |table| table.add_peer(A, Filter::new(), "A"),
            |table| table.add_local(HUB, LocalKind::Hub, Vec::new(), "hub"),
        ];
        for change in changes {
            change(&mut table);
            versions.push(table.version());
        }
        assert!(versions.is_sorted_by(|before, after| before < after));
        let version = table.version();
        table.remove_peer(ME);
        table.set_peer_filter(ME, Filter::new());
        table.remove_local(LocalId(99));
        table.set_local_topics(LocalId(99), Vec::new());
        assert_eq!(table.version(), version);
    }

    #[test]
    fn many_lookups_find_what_the_first_ones_found() {
        let mut table = RoutingTable::new(ME);
        for number in 0..40_u8 {
            let id = EndpointId::from_bytes([number + 2; 16]);
            let filter = [format!("/{}", number % 7), format!("/{number}/x")];
            let filter = filter.iter().map(|topic| Topic::from(topic.as_str()));
            table.add_peer(id, filter.collect(), u64::from(number));
            let topics = topics(&[["", "/1", "/12/x", "/4"][usize::from(number % 4)]]);
            let kind = [LocalKind::Subscriber, LocalKind::Hub][usize::from(number % 2)];
            let id = LocalId(u64::from(number));
            table.add_local(id, kind, topics, 100 + u64::from(number));
        }
        let wanted: Vec<String> = (0..45).map(|number| format!("/{number}/x/y")).collect();
        type Targets<'a> = &'a dyn Fn(Origin, EndpointId, &[u8]) -> Vec<u64>;
        let lookup = |targets: Targets<'_>| -> Vec<Vec<u64>> {
            let mut found = Vec::new();
            for topic in &wanted {
                for origin in [
                    Origin::Endpoint,
                    Origin::Peer(EndpointId::from_bytes([3; 16])),
                ] {
                    for receiver in [ALL, ME, EndpointId::from_bytes([9; 16])] {
                        found.push(targets(origin, receiver, topic.as_bytes()));
                    }
                }
            }
            found
        };
        // A copy is asked for the first time, and has no index.
        let scanned = lookup(&|origin, to, topic| table.clone().targets(origin, to, topic, true));
        let indexed = lookup(&|origin, to, topic| table.targets(origin, to, topic, true));
        assert!(table.index.filters.get().is_some());
        assert_eq!(indexed, scanned);

        table.remove_peer(EndpointId::from_bytes([2; 16]));
        assert!(table.index.filters.get().is_none());
        let without: Vec<Vec<u64>> = scanned
            .iter()
            .map(|targets| {
                targets
                    .iter()
                    .copied()
                    .filter(|target| *target != 0)
                    .collect()
            })
            .collect();
        let indexed = lookup(&|origin, to, topic| table.targets(origin, to, topic, true));
        assert_eq!(indexed, without);
    }

    #[test]
    fn filters_follow_updates() {
        let mut table = table();
        table.set_peer_filter(A, topics(&["/u"]).into_iter().collect());
        table.set_local_topics(HUB, topics(&["/u"]));
        assert_eq!(
            table.targets(Origin::Endpoint, ALL, b"/u", true),
            ["A", "hub"]
        );
        assert_eq!(table.peers().map(|peer| peer.0).collect::<Vec<_>>(), [A, B]);
        assert_eq!(table.locals().count(), 3);
    }
}
