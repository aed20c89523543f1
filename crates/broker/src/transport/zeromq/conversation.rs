//! Messages, subscriptions and nodes of a cluster, as they come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use broker_data::{Timespan, Timestamp, View};
use broker_proto::endpoint::ConnectionId;
use broker_proto::json::message::is_reserved;
use broker_proto::peer_url::PeerUrl;
use broker_proto::zmtp::{Message, ProxyError, ProxyEvent, ProxySession};
use broker_proto::{
    EndpointId, EndpointInfo, ErrorCode, Event, Fault, Filter, NetworkAddress, Status, StatusCode,
    Topic,
};
use broker_zeek::Message as Content;
use broker_zeek::zeromq::{
    BINARY_FORMAT, ClusterTopics, EventReader, Membership, MembershipOutput, MessageCounts, Node,
    NodeIdentity, NodeKind, NodeState, check_outgoing,
};

use super::FOREIGN;
use crate::config::{ZeroMqMembership, ZeroMqPeerOptions};
use crate::core::count::count;
use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::core::zeromq_peers::Proxy;
use crate::message::MessageRef;
use crate::transport::inbox::ForeignInbox;

/// Topics of single nodes by their ids: a subscription there makes a node of whoever has it.
const NODE_IDS: &[u8] = b"zeek.cluster.nodeid.";

/// Topics for trying out whether a connection is ready; nobody else is to publish there.
const PROBES: &[u8] = b"zeek.zeromq.internal.";

/// Shortest time between two reports of values that were not sent.
const REPORT_PAUSE: Timespan = Timespan::from_secs(1);

/// What one peering says and hears.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    connection: ConnectionId,
    link: Arc<Link>,
    url: Arc<PeerUrl>,
    options: Arc<ZeroMqPeerOptions>,
    pub(super) counts: Arc<Proxy>,
    peer: EndpointId,
    /// The id under which this endpoint sends.
    id: String,
    reader: EventReader,
    membership: Membership,
    /// Nodes that were told in events.
    told: BTreeSet<String>,
    inbox: Option<ForeignInbox>,
    /// The sender of the message before, and which endpoint that is.
    sender: (Vec<u8>, Option<EndpointId>),
    /// The topic of the message before: most often the next one has the same.
    topic: Topic,
    /// What others want, and what is to be done to it.
    filter: Filter,
    change: FilterChange,
    nodes_changed: bool,
    refused: Refused,
    /// What was added to the counters before.
    counted: MessageCounts,
    dropped: u64,
    lost_early: u64,
    /// Subscriptions that were left out, and told.
    left_out: BTreeSet<Topic>,
    pub(super) failure: Option<ProxyError>,
}

/// Values that were not sent since the last report.
#[derive(Debug, Default)]
struct Refused {
    unreported: u64,
    first: String,
    reported: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FilterChange {
    None,
    /// It has grown.
    Grown,
    /// It is to be made anew.
    Stale,
}

impl Conversation {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: ConnectionId,
        link: Arc<Link>,
        url: Arc<PeerUrl>,
        options: Arc<ZeroMqPeerOptions>,
    ) -> Self {
        let name = match &options.membership {
            ZeroMqMembership::Observer => "observer",
            ZeroMqMembership::Node { name } => name,
        };
        // As Zeek's ids: the second field is the name. The rest stays as long as the endpoint does.
        let id = format!("broker_{name}_{}_{}", std::process::id(), shared.data.id);
        let membership = match &options.membership {
            ZeroMqMembership::Observer => Membership::observer(),
            ZeroMqMembership::Node { name } => Membership::node(NodeIdentity {
                name: name.clone(),
                id: id.clone(),
            }),
        };
        Self {
            counts: shared.zeromq.counters.of(&url.host()),
            peer: EndpointId::named("zeromq", &url.host()),
            reader: EventReader::new(id.clone()),
            shared,
            connection,
            link,
            url,
            options,
            id,
            membership,
            told: BTreeSet::new(),
            inbox: None,
            sender: (Vec::new(), None),
            topic: Topic::from(""),
            filter: Filter::new(),
            change: FilterChange::None,
            nodes_changed: false,
            refused: Refused::default(),
            counted: MessageCounts::default(),
            dropped: 0,
            lost_early: 0,
            left_out: BTreeSet::new(),
            failure: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the peering was established.
    pub(super) fn is_joined(&self) -> bool {
        self.inbox.is_some()
    }

    // --- subscriptions --------------------------------------------------------------------------

    /// What to subscribe to, by what this endpoint wants.
    pub(super) fn wanted(&mut self, filter: &Filter) -> Vec<Vec<u8>> {
        let mut wanted = Vec::new();
        for topic in filter.entries().filter(|it| !is_reserved(it.as_bytes())) {
            let prefix = self.spelled_there(topic.as_bytes());
            if prefix.starts_with(NODE_IDS) {
                self.leave_out(topic);
            } else {
                wanted.push(prefix);
            }
        }
        if let ZeroMqMembership::Node { name } = &self.options.membership {
            let kind = NodeKind::of_name(name);
            let own = ClusterTopics::ZEROMQ.of_node(kind, name, &self.id);
            wanted.extend(own.into_iter().map(String::into_bytes));
        }
        wanted
    }

    /// Nodes would wait for a hello, and warn of one that says none. Spec: zeromq 5.2.
    fn leave_out(&mut self, topic: &Topic) {
        if self.left_out.insert(topic.clone()) {
            self.complain(
                ErrorCode::InvalidTopicKey,
                format!(
                    "not subscribed to `{topic}` in the cluster, as its nodes would take this endpoint \
                     for one of them: subscribe to `zeek.cluster.node`, or be a node by `membership`"
                ),
            );
        }
    }

    /// A topic or prefix as the cluster spells it.
    fn spelled_there(&self, topic: &[u8]) -> Vec<u8> {
        let unified = self.options.unifies_topics;
        let text = std::str::from_utf8(topic).ok().filter(|_| unified);
        let translated = text.and_then(|text| ClusterTopics::ZEROMQ.translate_prefix(text));
        translated.map_or_else(|| topic.to_vec(), String::into_bytes)
    }

    /// A topic or prefix of the cluster as this endpoint spells it, if that differs.
    fn spelled_here(&self, topic: &[u8]) -> Option<Topic> {
        if !self.options.unifies_topics {
            return None;
        }
        let text = std::str::from_utf8(topic).ok()?;
        let translated = ClusterTopics::BROKER.translate_prefix(text)?;
        Some(Topic::from(translated.as_str()))
    }

    fn add_to_filter(&mut self, prefix: &[u8]) -> bool {
        if is_reserved(prefix) || prefix.starts_with(PROBES) {
            return false;
        }
        let translated = self.spelled_here(prefix);
        let added = self.filter.add(Topic::from(prefix));
        // Both spellings reach the cluster.
        translated.is_some_and(|topic| self.filter.add(topic)) || added
    }

    // --- what happens ---------------------------------------------------------------------------

    pub(super) fn on(&mut self, now: Timestamp, event: ProxyEvent<'_>) {
        match event {
            ProxyEvent::Ready => self.join(),
            ProxyEvent::Message(message) => self.on_message(now, message),
            ProxyEvent::Subscribed(prefix) => {
                self.membership.handle_subscribed(now, prefix);
                self.nodes_changed |= prefix.starts_with(NODE_IDS);
                if self.add_to_filter(prefix) {
                    self.change = self.change.max(FilterChange::Grown);
                }
            }
            ProxyEvent::Unsubscribed(prefix) => {
                self.membership.handle_unsubscribed(prefix);
                self.nodes_changed |= prefix.starts_with(NODE_IDS);
                if !prefix.starts_with(PROBES) {
                    self.change = FilterChange::Stale;
                }
            }
            ProxyEvent::Failed(error) => self.failure = Some(error),
        }
    }

    fn join(&mut self) {
        tracing::info!(event = "zeromq-peer-joined", peer = %self.peer);
        count(&self.counts.connects, 1);
        count(&self.counts.peered, 1);
        let inbox = ForeignInbox::new(
            self.shared.clone(),
            self.link.clone(),
            self.peer,
            FOREIGN.when_full,
        );
        self.inbox = Some(inbox);
        self.change = FilterChange::None;
        self.shared
            .joined(self.connection, self.peer, self.filter.clone());
    }

    /// Does what the events before ask for.
    pub(super) fn settle(&mut self, now: Timestamp, session: &mut ProxySession) {
        // Hellos have to be published, too.
        if !self.is_joined() {
            return;
        }
        while let Some(output) = self.membership.poll_output() {
            match output {
                MembershipOutput::Publish { topic, event } => {
                    let format = BINARY_FORMAT.as_bytes();
                    let parts = [topic.as_bytes(), self.id.as_bytes(), format, &event];
                    // A session that is over needs no hello any more.
                    let _ = session.publish(&parts);
                }
                MembershipOutput::Seen(_) | MembershipOutput::Up(_) | MembershipOutput::Down(_) => {
                    self.nodes_changed = true;
                }
            }
        }
        if std::mem::take(&mut self.nodes_changed) {
            self.tell_nodes();
        }
        match std::mem::replace(&mut self.change, FilterChange::None) {
            FilterChange::None => {}
            change @ (FilterChange::Grown | FilterChange::Stale) => {
                if change == FilterChange::Stale {
                    self.filter = Filter::new();
                    for prefix in session.others().iter() {
                        self.add_to_filter(prefix);
                    }
                }
                let filter = self.filter.clone();
                self.shared
                    .foreign_filter(self.connection, self.peer, filter);
            }
        }
        let lost_early = session.lost_early();
        count(&self.counts.bad, lost_early.saturating_sub(self.lost_early));
        self.lost_early = lost_early;
        self.report(now);
    }

    // --- from the cluster -----------------------------------------------------------------------

    fn on_message(&mut self, now: Timestamp, message: Message<'_>) {
        // Whom the control plane has let go of is no peer any more.
        if self.link.is_closing() {
            return;
        }
        let Some(found) = self.reader.read(message.parts()) else {
            return;
        };
        let Some(inbox) = &mut self.inbox else { return };
        if found.topic.starts_with(NODE_IDS)
            && let Content::Event(event) = Content::parse(found.value)
        {
            self.membership.handle_event(now, &event);
            self.nodes_changed = true;
        }
        // Topics of endpoints and stores mean something here only.
        if is_reserved(found.topic) {
            count(&self.counts.bad, 1);
            return;
        }
        if self.sender.0 != found.sender {
            self.sender = (found.sender.to_vec(), endpoint_of(found.sender));
        }
        // What an endpoint sent may come from its native peers. One that is a peer of this endpoint, too,
        // sends it here anyway; what others sent is not passed on, so that it does not go round.
        let is_of_endpoint = self.sender.1.is_some();
        if let Some(id) = self.sender.1
            && self.shared.data.routes.load().peer(id).is_some()
        {
            count(&self.counts.own, 1);
            return;
        }
        if self.topic.as_bytes() != found.topic {
            self.topic = Topic::from(found.topic);
        }
        let unified = self.options.unifies_topics.then(|| {
            let text = std::str::from_utf8(found.topic).ok()?;
            ClusterTopics::BROKER.translate_prefix(text)
        });
        let unified = unified.flatten().map(|topic| Topic::from(topic.as_str()));
        let topic = unified.as_ref().unwrap_or(&self.topic);
        let delivered = if is_of_endpoint {
            inbox.deliver_here(topic, found.value.bytes())
        } else {
            inbox.deliver(topic, found.value.bytes())
        };
        match delivered {
            Ok(_) => count(&self.counts.received, 1),
            Err(error) => {
                count(&self.counts.bad, 1);
                tracing::debug!(event = "message-dropped", %error);
            }
        }
    }

    // --- to the cluster -------------------------------------------------------------------------

    /// Sends a message, unless Zeek could not read it.
    pub(super) fn publish(&mut self, session: &mut ProxySession, message: MessageRef<'_>) {
        let spelled;
        let topic = if self.options.unifies_topics {
            spelled = self.spelled_there(message.topic());
            &spelled
        } else {
            message.topic()
        };
        if let Err(error) = check_outgoing(topic, View::trusted(message.payload())) {
            count(&self.counts.refused, 1);
            self.refused.unreported = self.refused.unreported.saturating_add(1);
            if self.refused.first.is_empty() {
                self.refused.first = error.to_string();
            }
            return;
        }
        let format = BINARY_FORMAT.as_bytes();
        let parts = [topic, self.id.as_bytes(), format, message.payload()];
        if session.publish(&parts).is_ok() {
            count(&self.counts.sent, 1);
        }
    }

    // --- reports --------------------------------------------------------------------------------

    /// When there is something to report.
    pub(super) fn next_report(&self) -> Option<Timestamp> {
        let refused = (self.refused.unreported > 0).then(|| self.refused.due());
        self.reader.next_report().into_iter().chain(refused).min()
    }

    /// Reports what could not be read and what was not sent.
    pub(super) fn report(&mut self, now: Timestamp) {
        let counts = self.reader.counts();
        // Counted there from the beginning of the peering on.
        let before = self.counted;
        count(&self.counts.own, counts.own.saturating_sub(before.own));
        count(&self.counts.bad, counts.bad.saturating_sub(before.bad));
        self.counted = counts;
        if let Some(inbox) = &self.inbox {
            let dropped = inbox.dropped();
            count(&self.counts.dropped, dropped.saturating_sub(self.dropped));
            self.dropped = dropped;
        }
        if let Some(report) = self.reader.poll_report(now) {
            let text = match report.count {
                1 => format!("the cluster sent {}", report.first),
                many => format!(
                    "the cluster sent {many} messages that cannot be read, such as {}",
                    report.first
                ),
            };
            self.complain(ErrorCode::InvalidMessage, text);
        }
        if self.refused.unreported > 0 && now >= self.refused.due() {
            let text = match std::mem::take(&mut self.refused.unreported) {
                1 => std::mem::take(&mut self.refused.first),
                many => format!(
                    "{many} messages were not sent, such as: {}",
                    std::mem::take(&mut self.refused.first)
                ),
            };
            self.refused.reported = Some(now);
            self.complain(ErrorCode::InvalidData, text);
        }
    }

    pub(super) fn complain(&self, code: ErrorCode, text: String) {
        tracing::warn!(event = "zeromq-peer-complains", text);
        let network = NetworkAddress::new(self.url.host(), self.url.port);
        let context = EndpointInfo {
            id: self.is_joined().then_some(self.peer),
            network: Some(network),
        };
        self.shared
            .data
            .report(Fault::new(code, Some(context), text));
    }

    // --- nodes ----------------------------------------------------------------------------------

    /// Tells of nodes that came and went. Observers most often see subscriptions only.
    fn tell_nodes(&mut self) {
        let is_node = self.options.membership != ZeroMqMembership::Observer;
        let nodes: Vec<Node> = self.membership.nodes().cloned().collect();
        let mut events = Vec::new();
        let known: BTreeSet<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        self.told.retain(|id| {
            let is_known = known.contains(id.as_str());
            if !is_known {
                let text = format!("cluster node `{id}` is gone");
                events.push(node_event(StatusCode::EndpointUnreachable, id, text));
            }
            is_known
        });
        for node in &nodes {
            let is_up = node.state == NodeState::Up || !is_node;
            if is_up && !self.told.contains(&node.id) {
                self.told.insert(node.id.clone());
                let text = format!(
                    "cluster node `{}` is up with the id `{}`",
                    node.name, node.id
                );
                events.push(node_event(StatusCode::EndpointDiscovered, &node.id, text));
            }
        }
        self.shared.zeromq.set_nodes(self.connection, nodes);
        for event in events.chunks(1) {
            self.shared.data.publish_events(event);
        }
    }

    /// Ends what it remembers: nodes that cannot be seen any more are gone.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.membership.handle_lost();
        self.tell_nodes();
        if self.is_joined() {
            self.counts
                .peered
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.report(now);
    }
}

impl Refused {
    fn due(&self) -> Timestamp {
        let last = self.reported.map(|at| at.saturating_add(REPORT_PAUSE));
        last.unwrap_or(Timestamp::from_ns(0))
    }
}

/// The endpoint that has an id of a sender, if it is one of this implementation.
fn endpoint_of(sender: &[u8]) -> Option<EndpointId> {
    let text = std::str::from_utf8(sender).ok()?.strip_prefix("broker_")?;
    let (_, id) = text.rsplit_once('_')?;
    id.parse().ok()
}

/// An event about a node. Nodes have ids of their own; events need one of an endpoint.
fn node_event(code: StatusCode, id: &str, text: String) -> Event {
    let context = EndpointInfo {
        id: Some(EndpointId::named("zeromq-node", id)),
        network: None,
    };
    Event::Status(Status {
        code,
        context: Some(context),
        text,
    })
}
