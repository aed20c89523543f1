//! The routing table: which peers and which local consumers get a message.
//!
//! Spec: wire 8.3, endpoint 3, 4. The table is a value: the runtime changes a copy and publishes it as
//! a snapshot that all threads read without asking. A copy shares what it has in common with the
//! other one, so that a change costs the logarithm of the number of subscriptions. See ADR 0125. It
//! knows where a message came from only as an [`Origin`]; what a target is made of (`T`) is the
//! runtime's business.
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

use std::cmp::Ordering;
use std::sync::Arc;

use crate::filter::Filter;
use crate::id::EndpointId;
use crate::link_rules::LinkRules;
use crate::routes::prefix_index::PrefixIndex;
use crate::topic::{RESERVED, Topic, is_internal};
use crate::tree::Tree;

mod prefix_index;

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
#[derive(Debug)]
pub struct RoutingTable<T> {
    me: EndpointId,
    version: u64,
    peers: Tree<EndpointId, Peer<T>>,
    locals: Tree<LocalId, Local<T>>,
    /// The filters of all peers, and the topics of all local consumers.
    peer_index: PrefixIndex<PeerRoute<T>>,
    local_index: PrefixIndex<LocalRoute<T>>,
    /// Peers that do not take part in a topic, as the same way leads over others. See ADR 0150.
    closed: Tree<Topic, Arc<[EndpointId]>>,
    /// How many peers get internal topics by a list.
    limited: usize,
    /// How many peers are at the other end of a link with rules.
    linked: usize,
}

#[derive(Debug)]
struct Peer<T> {
    route: Arc<PeerRoute<T>>,
    filter: Filter,
    /// Of internal topics those that it gets at all, ascending; `None`: those that its filter matches.
    internal: Option<Arc<[Topic]>>,
    /// What crosses the link with it; `None`: everything.
    rules: Option<Arc<LinkRules>>,
}

#[derive(Debug)]
struct Local<T> {
    route: Arc<LocalRoute<T>>,
    /// As they were asked for: one may be a prefix of another, which stays when it goes.
    topics: Tree<Topic>,
}

/// What leads to a target; compared by whose it is.
#[derive(Debug)]
struct Route<I, T> {
    id: I,
    target: T,
}

type PeerRoute<T> = Route<EndpointId, T>;

type LocalRoute<T> = Route<LocalId, (LocalKind, T)>;

impl<T: Clone> RoutingTable<T> {
    /// A table without any target.
    pub fn new(me: EndpointId) -> Self {
        Self {
            me,
            version: 1,
            peers: Tree::new(),
            locals: Tree::new(),
            peer_index: PrefixIndex::default(),
            local_index: PrefixIndex::default(),
            closed: Tree::new(),
            limited: 0,
            linked: 0,
        }
    }

    /// Rises with every change, so that whoever remembers targets knows when to forget them.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a peer, or replaces what is known of it.
    pub fn add_peer(&mut self, id: EndpointId, filter: Filter, target: T) {
        self.remove_peer(id);
        let route = Arc::new(Route { id, target });
        for entry in filter.entries() {
            self.peer_index.insert(entry.clone(), &route);
        }
        let peer = Peer {
            route,
            filter,
            internal: None,
            rules: None,
        };
        self.peers.insert(id, peer);
        self.changed();
    }

    /// Has a peer get these internal topics (those of data stores) and no other, whatever its filter
    /// matches; does nothing for an unknown peer. Its filter has to have them as well.
    ///
    /// A filter is made of beginnings, so that one of a store's name or less would bring the commands of
    /// the store along.
    pub fn limit_peer(&mut self, id: EndpointId, mut topics: Vec<Topic>) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        topics.sort_unstable();
        if peer.internal.as_deref() == Some(&*topics) {
            return;
        }
        self.limited += usize::from(peer.internal.is_none());
        let peer = Peer {
            internal: Some(topics.into()),
            ..peer.clone()
        };
        self.peers.insert(id, peer);
        self.changed();
    }

    /// Has only what these rules list come from a peer and go to it; does nothing for an unknown peer.
    /// Messages directed to this endpoint come in whatever their topic.
    pub fn set_link_rules(&mut self, id: EndpointId, rules: Arc<LinkRules>) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        self.linked += usize::from(peer.rules.is_none());
        let peer = Peer {
            rules: Some(rules),
            ..peer.clone()
        };
        self.peers.insert(id, peer);
        self.changed();
    }

    /// What crosses the link with a peer; `None` where that is everything.
    pub fn link_rules(&self, id: EndpointId) -> Option<&LinkRules> {
        self.peers.get(&id)?.rules.as_deref()
    }

    /// Peers at the other ends of links with rules, in the order of their ids.
    pub fn linked_peers(&self) -> impl Iterator<Item = (EndpointId, &T)> {
        let linked = self.peers.iter().filter(|_| self.linked > 0);
        linked
            .filter(|(_, peer)| peer.rules.is_some())
            .map(|(id, peer)| (*id, &peer.route.target))
    }

    /// Whether the rules of the link that a message came over keep it out.
    pub fn is_kept_out(&self, origin: Origin, topic: &[u8]) -> bool {
        let (Origin::Peer(hop) | Origin::Spoofed(hop)) = origin else {
            return false;
        };
        self.linked > 0
            && self
                .link_rules(hop)
                .is_some_and(|rules| !rules.import.matches(topic))
    }

    /// Replaces a peer's filter; does nothing for an unknown peer, or if it wants what it wanted.
    /// Costs as much as is different, and a comparison of what is not.
    pub fn set_peer_filter(&mut self, id: EndpointId, filter: Filter) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Peer {
            route, filter: old, ..
        } = peer;
        let (gone, come) = old.changes(&filter);
        if gone.is_empty() && come.is_empty() {
            return;
        }
        for entry in gone {
            self.peer_index.remove(entry, route);
        }
        for entry in come {
            self.peer_index.insert(entry.clone(), route);
        }
        let peer = Peer {
            filter,
            ..peer.clone()
        };
        self.peers.insert(id, peer);
        self.changed();
    }

    /// Takes a peer out; does nothing for an unknown peer.
    pub fn remove_peer(&mut self, id: EndpointId) {
        if let Some(Peer {
            route,
            filter,
            internal,
            rules,
        }) = self.peers.remove(&id)
        {
            for entry in filter.entries() {
                self.peer_index.remove(entry, &route);
            }
            self.limited -= usize::from(internal.is_some());
            self.linked -= usize::from(rules.is_some());
            self.changed();
        }
    }

    /// Adds a local consumer of everything below some topics, or replaces what is known of it.
    pub fn add_local(&mut self, id: LocalId, kind: LocalKind, topics: Vec<Topic>, target: T) {
        self.remove_local(id);
        let route = Arc::new(Route {
            id,
            target: (kind, target),
        });
        let none = Tree::new();
        self.locals.insert(
            id,
            Local {
                route,
                topics: none,
            },
        );
        self.add_local_topics(id, topics);
        self.changed();
    }

    /// Adds to the topics of a local consumer; tells whether that changed anything. Does nothing for
    /// an unknown one.
    pub fn add_local_topics(&mut self, id: LocalId, more: impl IntoIterator<Item = Topic>) -> bool {
        let Some(Local { route, topics }) = self.locals.get(&id) else {
            return false;
        };
        let (route, mut topics) = (route.clone(), topics.clone());
        let before = topics.len();
        for topic in more {
            if topics.insert(topic.clone(), ()).is_none() {
                self.local_index.insert(topic, &route);
            }
        }
        let changed = topics.len() != before;
        if changed {
            self.locals.insert(id, Local { route, topics });
            self.changed();
        }
        changed
    }

    /// Takes a topic from a local consumer; does nothing for an unknown one of either.
    pub fn remove_local_topic(&mut self, id: LocalId, topic: &Topic) {
        let Some(Local { route, topics }) = self.locals.get(&id) else {
            return;
        };
        let (route, mut topics) = (route.clone(), topics.clone());
        if topics.remove(topic).is_some() {
            self.local_index.remove(topic, &route);
            self.locals.insert(id, Local { route, topics });
            self.changed();
        }
    }

    /// Takes a local consumer out; does nothing for an unknown one.
    pub fn remove_local(&mut self, id: LocalId) {
        if let Some(Local { route, topics }) = self.locals.remove(&id) {
            for (topic, ()) in topics.iter() {
                self.local_index.remove(topic, &route);
            }
            self.changed();
        }
    }

    /// Says which peers messages of exactly that topic, unless directed, neither go to nor come from.
    pub fn set_closed(&mut self, topic: &Topic, peers: &[EndpointId]) {
        if peers.is_empty() {
            self.closed.remove(topic)
        } else {
            self.closed.insert(topic.clone(), peers.into())
        };
        self.changed();
    }

    /// Whether messages of the topic to everybody are not heard from there.
    pub fn is_closed(&self, origin: Origin, topic: &[u8]) -> bool {
        match origin {
            Origin::Peer(hop) | Origin::Spoofed(hop) => self.closed_to(topic).contains(&hop),
            Origin::Endpoint | Origin::Hub(_) | Origin::Client(_) | Origin::Internal => false,
        }
    }

    fn closed_to(&self, topic: &[u8]) -> &[EndpointId] {
        if self.closed.is_empty() {
            return &[];
        }
        let found = self.closed.find(|it| it.as_bytes().cmp(topic));
        found.map_or(&[], |(_, peers)| peers)
    }

    /// The peers, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = (EndpointId, &Filter, &T)> {
        self.peers
            .iter()
            .map(|(id, peer)| (*id, &peer.filter, &peer.route.target))
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// What leads to a peer.
    pub fn peer(&self, id: EndpointId) -> Option<&T> {
        Some(&self.peers.get(&id)?.route.target)
    }

    /// What a peer wants.
    pub fn peer_filter(&self, id: EndpointId) -> Option<&Filter> {
        Some(&self.peers.get(&id)?.filter)
    }

    /// The local consumers, in the order of their ids.
    pub fn locals(&self) -> impl Iterator<Item = (LocalId, LocalKind, &T)> {
        self.locals
            .iter()
            .map(|(id, Local { route, .. })| (*id, route.target.0, &route.target.1))
    }

    /// The topics of a local consumer in ascending order.
    pub fn local_topics(&self, id: LocalId) -> impl Iterator<Item = &Topic> {
        let local = self.locals.get(&id);
        local
            .into_iter()
            .flat_map(|local| local.topics.iter().map(|(topic, ())| topic))
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
        if receiver.is_nil() && self.is_closed(origin, topic) {
            return Vec::new();
        }
        if receiver != self.me && self.is_kept_out(origin, topic) {
            return Vec::new();
        }
        let peers = if receiver.is_nil() {
            let closed = self.closed_to(topic);
            let mut peers = self.peer_index.matches(topic);
            if !closed.is_empty() {
                peers.retain(|peer| !closed.contains(&peer.id));
            }
            if self.limited > 0 && is_internal(topic) {
                peers.retain(|peer| self.gets_internal(peer.id, topic));
            }
            peers
        } else {
            // That peer, whatever it subscribed to; one that is limited gets of what others say only what
            // it may have.
            let there = self.peers.get(&receiver);
            let is_ours = matches!(origin, Origin::Endpoint | Origin::Hub(_));
            let gets = |peer: &&Peer<T>| {
                is_ours
                    || peer.internal.is_none()
                    || peer.filter.matches(topic)
                        && (!is_internal(topic) || self.gets_internal(receiver, topic))
            };
            let there = there.into_iter().filter(gets);
            there.map(|peer| &*peer.route).collect()
        };
        let peers = peers
            .into_iter()
            .filter(|peer| leaves_to(peer.id, origin, forwarding))
            .filter(|peer| self.linked == 0 || self.goes_out(peer.id, topic))
            .map(|peer| &peer.target);
        let locals = self
            .local_index
            .matches(topic)
            .into_iter()
            .filter(|local| self.local_gets(local, origin, receiver))
            .filter(|local| local.target.0 != LocalKind::Client || !is_reserved)
            .map(|local| &local.target.1);
        peers.chain(locals).cloned().collect()
    }

    fn goes_out(&self, peer: EndpointId, topic: &[u8]) -> bool {
        self.link_rules(peer)
            .is_none_or(|rules| rules.export.matches(topic))
    }

    fn gets_internal(&self, peer: EndpointId, topic: &[u8]) -> bool {
        let peer = self.peers.get(&peer);
        let limited = peer.and_then(|peer| peer.internal.as_ref());
        limited.is_none_or(|topics| {
            let found = topics.binary_search_by(|it| it.as_bytes().cmp(topic));
            found.is_ok()
        })
    }

    fn local_gets(&self, local: &LocalRoute<T>, origin: Origin, receiver: EndpointId) -> bool {
        let to_me = receiver == self.me;
        let to_me_or_all = to_me || receiver.is_nil();
        match (origin, local.target.0) {
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

    fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
    }
}

/// Targets are shared, not copied.
impl<T> Clone for RoutingTable<T> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            version: self.version,
            peers: self.peers.clone(),
            locals: self.locals.clone(),
            peer_index: self.peer_index.clone(),
            local_index: self.local_index.clone(),
            closed: self.closed.clone(),
            limited: self.limited,
            linked: self.linked,
        }
    }
}

impl<T> Clone for Peer<T> {
    fn clone(&self) -> Self {
        Self {
            route: self.route.clone(),
            filter: self.filter.clone(),
            internal: self.internal.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self {
            route: self.route.clone(),
            topics: self.topics.clone(),
        }
    }
}

impl<I: PartialEq, T> PartialEq for Route<I, T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<I: Eq, T> Eq for Route<I, T> {}

impl<I: Ord, T> Ord for Route<I, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl<I: Ord, T> PartialOrd for Route<I, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
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
    fn a_limited_peer_gets_internal_topics_by_its_list_alone() {
        let mut table = RoutingTable::new(ME);
        let wanted = topics(&["", "s/<$>/data/clone"]);
        table.add_peer(A, wanted.iter().cloned().collect(), "A");
        table.add_peer(B, wanted.into_iter().collect(), "B");
        let targets = |table: &RoutingTable<&'static str>, topic: &str| {
            table.targets(Origin::Endpoint, ALL, topic.as_bytes(), true)
        };
        let (mine, other) = ("s/<$>/data/clone", "t/<$>/data/clone");
        assert_eq!(targets(&table, other), ["A", "B"]);
        let version = table.version();
        table.limit_peer(A, topics(&[mine]));
        assert_ne!(table.version(), version);
        assert_eq!(targets(&table, mine), ["A", "B"]);
        assert_eq!(targets(&table, other), ["B"]);
        assert_eq!(targets(&table, "/t"), ["A", "B"]);
        // A copy knows it, a new filter leaves it, and a peer that comes again begins anew.
        let mut copy = table.clone();
        copy.set_peer_filter(A, topics(&["t"]).into_iter().collect());
        assert_eq!(targets(&copy, other), ["B"]);
        copy.limit_peer(A, topics(&[other]));
        assert_eq!(targets(&copy, other), ["A", "B"]);
        copy.limit_peer(A, Vec::new());
        copy.add_peer(A, topics(&["t"]).into_iter().collect(), "A");
        assert_eq!(targets(&copy, other), ["A", "B"]);
        assert_eq!(targets(&table, other), ["B"]);
    }

    #[test]
    fn nobody_sends_a_limited_peer_what_it_may_not_have() {
        let mut table = table();
        for (limited, expected) in [(false, vec!["A"]), (true, vec![])] {
            if limited {
                table.limit_peer(A, Vec::new());
            }
            for topic in ["/u", "s/<$>/data/clone"] {
                let to_a = |origin| table.targets(origin, A, topic.as_bytes(), true);
                assert_eq!(to_a(Origin::Peer(B)), expected);
                assert_eq!(to_a(Origin::Spoofed(B)), expected);
                assert_eq!(to_a(Origin::Endpoint), ["A"]);
            }
            assert_eq!(table.targets(Origin::Peer(B), A, b"/t/x", true), ["A"]);
        }
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
    fn closed_peers_take_no_part_in_a_topic() {
        use Origin::{Client, Endpoint, Peer, Spoofed};
        let mut table = table();
        let topic = Topic::from("/t/x");
        table.set_closed(&topic, &[A]);
        let targets = |table: &RoutingTable<_>, origin, receiver, topic: &str| {
            let mut targets = table.targets(origin, receiver, topic.as_bytes(), true);
            targets.retain(|target: &&str| target.len() == 1);
            targets
        };
        assert_eq!(targets(&table, Endpoint, ALL, "/t/x"), ["B"]);
        assert_eq!(targets(&table, Client(LocalId(9)), ALL, "/t/x"), ["B"]);
        assert_eq!(targets(&table, Peer(B), ALL, "/t/x"), [""; 0]);
        for origin in [Peer(A), Spoofed(A)] {
            assert!(table.is_closed(origin, b"/t/x"));
            assert!(table.targets(origin, ALL, b"/t/x", true).is_empty());
        }
        // Other topics, and what is directed, go their ways.
        assert_eq!(targets(&table, Endpoint, ALL, "/t/xy"), ["A", "B"]);
        assert_eq!(targets(&table, Peer(A), ALL, "/t"), ["B"]);
        assert_eq!(targets(&table, Endpoint, A, "/t/x"), ["A"]);
        assert_eq!(table.targets(Peer(A), ME, b"/t/x", true).len(), 3);
        assert!(!table.is_closed(Peer(B), b"/t/x") && !table.is_closed(Endpoint, b"/t/x"));
        table.set_closed(&topic, &[]);
        assert_eq!(targets(&table, Endpoint, ALL, "/t/x"), ["A", "B"]);
    }

    #[test]
    fn every_change_moves_the_version() {
        let mut table = table();
        let mut versions = vec![table.version()];
        let changes: [fn(&mut RoutingTable<&'static str>); 8] = [
            |table| table.set_closed(&Topic::from("/t"), &[A]),
            |table| table.set_peer_filter(A, Filter::new()),
            |table| assert!(table.add_local_topics(HUB, topics(&["/u"]))),
            |table| table.remove_local_topic(HUB, &Topic::from("/t")),
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
        table.set_peer_filter(A, Filter::new());
        table.remove_local(LocalId(99));
        assert!(!table.add_local_topics(LocalId(99), topics(&["/t"])));
        assert!(!table.add_local_topics(LocalId(3), topics(&["/t"])));
        table.remove_local_topic(LocalId(3), &Topic::from("/u"));
        table.remove_local_topic(LocalId(99), &Topic::from("/t"));
        assert_eq!(table.version(), version);
    }

    #[test]
    fn a_copy_stays_as_it_is_and_the_table_finds_what_a_scan_finds() {
        // What each of them wants, as lists.
        type Peers = Vec<(EndpointId, Vec<Topic>, u64)>;
        type Locals = Vec<(LocalId, LocalKind, Vec<Topic>, u64)>;
        let (mut peers, mut locals) = (Peers::new(), Locals::new());
        let mut table = RoutingTable::new(ME);
        for number in 0..40_u8 {
            let id = EndpointId::from_bytes([number + 2; 16]);
            let wanted = [format!("/{}", number % 7), format!("/{number}/x")];
            let wanted: Vec<Topic> = wanted.iter().map(Topic::from).collect();
            let target = u64::from(number);
            table.add_peer(id, wanted.iter().cloned().collect(), target);
            peers.push((id, wanted, target));
            let wanted = topics(&[["", "/1", "/12/x", "/4"][usize::from(number % 4)]]);
            let kind = [LocalKind::Subscriber, LocalKind::Hub][usize::from(number % 2)];
            let id = LocalId(target);
            table.add_local(id, kind, wanted.clone(), 100 + target);
            locals.push((id, kind, wanted, 100 + target));
        }
        let asked: Vec<String> = (0..45).map(|number| format!("/{number}/x/y")).collect();
        let scan = |peers: &Peers, locals: &Locals| -> Vec<Vec<u64>> {
            let targets = |topic: &String| {
                let wants =
                    |wanted: &[Topic]| wanted.iter().any(|it| it.is_prefix_of(topic.as_bytes()));
                let peers = peers.iter().filter(|peer| wants(&peer.1));
                let hubs = locals.iter().filter(|local| local.1 == LocalKind::Hub);
                let hubs = hubs.filter(|hub| wants(&hub.2)).map(|hub| hub.3);
                peers.map(|peer| peer.2).chain(hubs).collect()
            };
            asked.iter().map(targets).collect()
        };
        let found = |table: &RoutingTable<u64>| -> Vec<Vec<u64>> {
            let targets =
                |topic: &String| table.targets(Origin::Endpoint, ALL, topic.as_bytes(), true);
            asked.iter().map(targets).collect()
        };
        let before = table.clone();
        let expected = scan(&peers, &locals);
        assert_eq!(found(&table), expected);

        let (peer, wanted) = (peers[3].0, topics(&["/8", "/9/x"]));
        table.set_peer_filter(peer, wanted.iter().cloned().collect());
        peers[3].1 = wanted;
        table.remove_peer(peers[0].0);
        peers.remove(0);
        let hub = locals[5].0;
        table.add_local_topics(hub, topics(&["/3", "/3/x", "/1"]));
        table.remove_local_topic(hub, &Topic::from("/1"));
        locals[5].2 = topics(&["/3", "/3/x"]);
        table.remove_local(locals[1].0);
        locals.remove(1);
        assert_eq!(found(&table), scan(&peers, &locals));
        assert_eq!(found(&before), expected);
    }

    #[test]
    fn filters_follow_updates() {
        let mut table = table();
        table.set_peer_filter(A, topics(&["/u"]).into_iter().collect());
        table.add_local_topics(HUB, topics(&["/u", "/t/x"]));
        let targets = |table: &RoutingTable<_>, topic: &str| {
            table.targets(Origin::Endpoint, ALL, topic.as_bytes(), true)
        };
        assert_eq!(targets(&table, "/u"), ["A", "hub"]);
        // The narrower topic counts again when the wider one goes, and each of them once.
        assert_eq!(targets(&table, "/t/x"), ["B", "hub", "other hub"]);
        table.remove_local_topic(HUB, &Topic::from("/t"));
        assert_eq!(targets(&table, "/t/y"), ["B", "other hub"]);
        assert_eq!(targets(&table, "/t/x"), ["B", "hub", "other hub"]);
        let left: Vec<&Topic> = table.local_topics(HUB).collect();
        assert_eq!(left, [&Topic::from("/t/x"), &Topic::from("/u")]);
        assert_eq!(table.peers().map(|peer| peer.0).collect::<Vec<_>>(), [A, B]);
        assert_eq!(table.locals().count(), 3);
    }
}
