//! The members of a cluster, and the hellos by which a program becomes one of them. Spec: zeromq 5.
//!
//! A node is known by its subscription to its own topic, which everybody sees, and known by name when
//! it says hello. An observer only looks; a node says hello to every other, so that these raise
//! `node_up` for it. The machine sends nothing itself: what is to be published comes out.

use std::collections::{BTreeMap, VecDeque};

use broker_data::{Timespan, Timestamp, to_bytes};

use super::{ClusterTopics, NodeKind};
use crate::{Event, EventBuilder};

/// How long a node waits for the hello of another after that one's subscription. Spec: zeromq 6.
pub const HELLO_EXPIRATION: Timespan = Timespan::from_secs(10);

/// Nodes that are remembered; a cluster has some hundreds, and further ones are passed over.
pub const NODES_MAX: usize = 10_000;

/// Hellos that are remembered although their sender's subscription is not known yet; as both come on
/// connections of their own, one can overtake the other.
const EARLY_HELLOS_MAX: usize = 256;

/// The first hello, by which a node learns a name.
const FIRST_HELLO: &str = "Cluster::Backend::ZeroMQ::hello";
/// The second, by which a node is up.
const SECOND_HELLO: &str = "Cluster::hello";

/// Name and id of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its name in the layout of the cluster, such as `worker-1`.
    pub name: String,
    /// Its id, of which the cluster has no other.
    pub id: String,
}

/// How much is known about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is subscribed to its own topic.
    Seen,
    /// It said hello, too.
    Up,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name: what it says, or before that the part of its id that most often is its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// What it is for, by its name.
    pub kind: NodeKind,
    /// How much is known.
    pub state: NodeState,
    /// How it spells topics: Zeek 7.1 ends those of one node without a dot.
    pub topics: ClusterTopics,
}

/// What is to be done, or happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipOutput {
    /// Publish this event.
    Publish {
        /// Under this topic.
        topic: String,
        /// Encoded.
        event: Vec<u8>,
    },
    /// A node appeared; what its name is may be a guess.
    Seen(Node),
    /// A node said that it takes part.
    Up(Node),
    /// A node is gone, or came back under another id.
    Down(Node),
}

#[derive(Clone, Debug)]
struct Known {
    node: Node,
    /// When it appeared, if its first hello was not answered yet.
    waits_since: Option<Timestamp>,
    /// Whether its first hello came.
    has_said_hello: bool,
}

/// What a sender said whose subscription is not known yet.
#[derive(Clone, Debug)]
struct Early {
    since: Timestamp,
    name: String,
    is_first: bool,
}

/// Follows the nodes of a cluster.
///
/// ```
/// use broker_data::Timestamp;
/// use broker_zeek::zeromq::{Membership, MembershipOutput};
///
/// let now = Timestamp::from_ns(0);
/// let mut membership = Membership::observer();
/// membership.handle_subscribed(now, b"zeek.cluster.nodeid.zeromq_worker-1_host_13719_NVK.");
/// let Some(MembershipOutput::Seen(node)) = membership.poll_output() else { panic!("a node") };
/// assert_eq!(node.name, "worker-1");
/// ```
#[derive(Clone, Debug)]
pub struct Membership {
    own: Option<NodeIdentity>,
    nodes: BTreeMap<String, Known>,
    /// By the ids of their senders, in the order they came.
    /// Bound: `EARLY_HELLOS_MAX`.
    early: VecDeque<(String, Early)>,
    /// Bound: three for each call of a `handle_*`, after which it is drained, and once [`NODES_MAX`].
    outputs: VecDeque<MembershipOutput>,
}

impl Membership {
    /// Only looks. It needs no subscription of its own; subscribed to `zeek.cluster.node` it learns
    /// exact names, too. Spec: zeromq 5.2.
    #[must_use]
    pub const fn observer() -> Self {
        Self {
            own: None,
            nodes: BTreeMap::new(),
            early: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes the place of a node of the layout. What [`ClusterTopics::of_node`] says is to be
    /// subscribed to.
    #[must_use]
    pub const fn node(own: NodeIdentity) -> Self {
        Self {
            own: Some(own),
            nodes: BTreeMap::new(),
            early: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Returns what is to be done next.
    pub fn poll_output(&mut self) -> Option<MembershipOutput> {
        self.outputs.pop_front()
    }

    /// Visits the nodes in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|known| &known.node)
    }

    /// Notes a subscription at this end's XPUB.
    pub fn handle_subscribed(&mut self, now: Timestamp, topic: &[u8]) {
        let Some((id, topics)) = ClusterTopics::node_id_of(topic) else {
            return;
        };
        // The bare prefix is an observer's of another kind, and the own one comes back.
        let is_own = self.own.as_ref().is_some_and(|own| own.id == id);
        if id.is_empty() || is_own {
            return;
        }
        // Repeated ones are of others that listen in. Spec: zeromq 5.1.
        if self.nodes.contains_key(id) || self.nodes.len() >= NODES_MAX {
            return;
        }
        let name = id.split('_').nth(1).unwrap_or(id).to_owned();
        let node = Node {
            kind: NodeKind::of_name(&name),
            name,
            id: id.to_owned(),
            state: NodeState::Seen,
            topics,
        };
        self.outputs.push_back(MembershipOutput::Seen(node.clone()));
        let known = Known {
            node,
            waits_since: Some(now),
            has_said_hello: false,
        };
        self.nodes.insert(id.to_owned(), known);
        self.say(FIRST_HELLO, id, topics);
        for (sender, early) in std::mem::take(&mut self.early) {
            if sender == id {
                self.hear(now, &early.name, id, early.is_first);
            } else {
                self.early.push_back((sender, early));
            }
        }
    }

    /// Notes that a subscription at this end's XPUB is gone.
    pub fn handle_unsubscribed(&mut self, topic: &[u8]) {
        if let Some((id, _)) = ClusterTopics::node_id_of(topic) {
            self.remove(id);
        }
    }

    /// Notes an event that came under a topic of nodes: hellos count, others do not.
    pub fn handle_event(&mut self, now: Timestamp, event: &Event<'_>) {
        let is_first = event.name() == FIRST_HELLO.as_bytes();
        if !is_first && event.name() != SECOND_HELLO.as_bytes() {
            return;
        }
        let text = |index: usize| {
            let bytes = event.arguments().get(index)?.as_bytes()?;
            std::str::from_utf8(bytes).ok()
        };
        let (Some(name), Some(id)) = (text(0), text(1)) else {
            return;
        };
        if self.nodes.contains_key(id) {
            self.hear(now, name, id, is_first);
        } else {
            self.remember(now, name, id, is_first);
        }
    }

    /// Keeps a hello for a while. It is not believed before its sender subscribes: anybody can send one.
    fn remember(&mut self, now: Timestamp, name: &str, id: &str, is_first: bool) {
        let is_over = |early: &Early| early.since.saturating_add(HELLO_EXPIRATION) < now;
        while self.early.front().is_some_and(|(_, it)| is_over(it))
            || self.early.len() >= EARLY_HELLOS_MAX
        {
            self.early.pop_front();
        }
        let (since, name) = (now, name.to_owned());
        let early = Early {
            since,
            name,
            is_first,
        };
        self.early.push_back((id.to_owned(), early));
    }

    /// Believes a hello of a node that is known.
    fn hear(&mut self, now: Timestamp, name: &str, id: &str, is_first: bool) {
        self.leave_old(name, id);
        let Some(known) = self.nodes.get_mut(id) else {
            return;
        };
        known.node.name = name.to_owned();
        known.node.kind = NodeKind::of_name(name);
        if !is_first {
            if known.node.state == NodeState::Seen {
                known.node.state = NodeState::Up;
                let up = MembershipOutput::Up(known.node.clone());
                self.outputs.push_back(up);
            }
            return;
        }
        known.has_said_hello = true;
        let waited = known.waits_since.take();
        let topics = known.node.topics;
        let is_in_time = |since: Timestamp| now <= since.saturating_add(HELLO_EXPIRATION);
        if waited.is_some_and(is_in_time) {
            self.say(SECOND_HELLO, id, topics);
        }
    }

    /// Notes that the connection to the proxy is lost: what was subscribed is unknown from now on.
    pub fn handle_lost(&mut self) {
        self.early.clear();
        for known in std::mem::take(&mut self.nodes).into_values() {
            self.outputs.push_back(MembershipOutput::Down(known.node));
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(known) = self.nodes.remove(id) {
            self.outputs.push_back(MembershipOutput::Down(known.node));
        }
    }

    /// A known name with another id: the node of that name never said goodbye. Spec: zeromq 5.1.
    fn leave_old(&mut self, name: &str, id: &str) {
        if !self.nodes.contains_key(id) {
            return;
        }
        let is_old = |known: &&Known| {
            let node = &known.node;
            let is_named = known.has_said_hello || node.state == NodeState::Up;
            is_named && node.name == name && node.id != id
        };
        let old = self.nodes.values().find(is_old);
        if let Some(old) = old.map(|known| known.node.id.clone()) {
            self.remove(&old);
        }
    }

    /// Publishes a hello to a node, if this end is one.
    fn say(&mut self, hello: &str, id: &str, topics: ClusterTopics) {
        let Some(own) = &self.own else {
            return;
        };
        let event = EventBuilder::new(hello)
            .argument(&own.name)
            .argument(&own.id);
        // Two short strings: the encoding has no limit that they reach.
        if let Ok(event) = to_bytes(&event) {
            let topic = topics.node_id(id);
            self.outputs
                .push_back(MembershipOutput::Publish { topic, event });
        }
    }
}

#[cfg(test)]
mod tests {
    use broker_data::View;
    use proptest::prelude::*;

    use super::*;
    use crate::Message;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_ns(0).saturating_add(Timespan::from_secs(seconds))
    }

    fn node(name: &str, id: &str) -> Membership {
        Membership::node(NodeIdentity {
            name: name.into(),
            id: id.into(),
        })
    }

    fn outputs(membership: &mut Membership) -> Vec<String> {
        std::iter::from_fn(|| membership.poll_output())
            .map(|output| match output {
                MembershipOutput::Publish { topic, event } => {
                    let event = View::new(&event).unwrap();
                    format!("{topic} {event}")
                }
                MembershipOutput::Seen(node) => format!("seen {} {}", node.name, node.id),
                MembershipOutput::Up(node) => format!("up {} {}", node.kind, node.name),
                MembershipOutput::Down(node) => format!("down {} {}", node.name, node.id),
            })
            .collect()
    }

    fn hear(membership: &mut Membership, now: Timestamp, event: &EventBuilder) {
        let bytes = to_bytes(event).unwrap();
        match Message::parse(View::new(&bytes).unwrap()) {
            Message::Event(event) => membership.handle_event(now, &event),
            other => panic!("{other:?}"),
        }
    }

    fn hello(hello: &str, name: &str, id: &str) -> EventBuilder {
        EventBuilder::new(hello).argument(name).argument(id)
    }

    #[test]
    fn a_node_greets_as_zeek_does() {
        let mut own = node("proxy-1", "fake");
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.zeromq_worker-1_vm_7_x.");
        let id = "zeromq_worker-1_vm_7_x";
        let first = format!("zeek.cluster.nodeid.{id}. (1, 1, ({FIRST_HELLO}, (proxy-1, fake)))");
        assert_eq!(outputs(&mut own), [format!("seen worker-1 {id}"), first]);
        // Again, as the proxy tells every subscription, and the own one.
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.zeromq_worker-1_vm_7_x.");
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.fake.");
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.");
        own.handle_subscribed(at(0), b"zeek.cluster.worker");
        assert!(outputs(&mut own).is_empty());

        hear(&mut own, at(9), &hello(FIRST_HELLO, "worker-1", id));
        let second = format!("zeek.cluster.nodeid.{id}. (1, 1, ({SECOND_HELLO}, (proxy-1, fake)))");
        assert_eq!(outputs(&mut own), [second]);
        hear(&mut own, at(9), &hello(SECOND_HELLO, "worker-1", id));
        hear(&mut own, at(9), &hello(SECOND_HELLO, "worker-1", id));
        assert_eq!(outputs(&mut own), ["up worker worker-1"]);
        assert_eq!(own.nodes().count(), 1);

        own.handle_unsubscribed(b"zeek.cluster.nodeid.zeromq_worker-1_vm_7_x.");
        assert_eq!(outputs(&mut own), [format!("down worker-1 {id}")]);
    }

    #[test]
    fn a_hello_that_comes_too_late_is_not_answered() {
        let mut own = node("proxy-1", "fake");
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.a.");
        outputs(&mut own);
        hear(&mut own, at(11), &hello(FIRST_HELLO, "worker-1", "a"));
        assert!(outputs(&mut own).is_empty());
    }

    #[test]
    fn a_hello_that_overtakes_the_subscription_counts_with_it() {
        let mut own = node("proxy-1", "fake");
        hear(&mut own, at(0), &hello(FIRST_HELLO, "worker-1", "a"));
        hear(&mut own, at(0), &hello(SECOND_HELLO, "worker-1", "a"));
        hear(&mut own, at(0), &hello(FIRST_HELLO, "worker-2", "b"));
        assert!(outputs(&mut own).is_empty());
        own.handle_subscribed(at(1), b"zeek.cluster.nodeid.a.");
        let expected = [
            "seen a a".to_owned(),
            format!("zeek.cluster.nodeid.a. (1, 1, ({FIRST_HELLO}, (proxy-1, fake)))"),
            format!("zeek.cluster.nodeid.a. (1, 1, ({SECOND_HELLO}, (proxy-1, fake)))"),
            "up worker worker-1".to_owned(),
        ];
        assert_eq!(outputs(&mut own), expected);
        for number in 0..2 * EARLY_HELLOS_MAX {
            let id = number.to_string();
            hear(&mut own, at(2), &hello(FIRST_HELLO, "worker", &id));
        }
        assert_eq!(own.early.len(), EARLY_HELLOS_MAX);
        hear(&mut own, at(13), &hello(FIRST_HELLO, "worker", "last"));
        assert_eq!(own.early.len(), 1);
    }

    #[test]
    fn a_node_that_comes_back_under_another_id_was_down() {
        let mut own = Membership::observer();
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.old.");
        hear(&mut own, at(0), &hello(SECOND_HELLO, "manager", "old"));
        own.handle_subscribed(at(1), b"zeek.cluster.nodeid.new.");
        hear(&mut own, at(1), &hello(SECOND_HELLO, "manager", "new"));
        let expected = [
            "seen old old",
            "up manager manager",
            "seen new new",
            "down manager old",
            "up manager manager",
        ];
        assert_eq!(outputs(&mut own), expected);
        own.handle_lost();
        assert_eq!(outputs(&mut own), ["down manager new"]);
        assert_eq!(own.nodes().count(), 0);
    }

    #[test]
    fn zeek_7_1_is_answered_in_its_spelling() {
        let mut own = node("proxy-1", "fake");
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.zeromq_worker-1_vm_7_x");
        let outputs = outputs(&mut own);
        assert!(outputs[1].starts_with("zeek.cluster.nodeid.zeromq_worker-1_vm_7_x ("));
        let node = own.nodes().next().unwrap();
        assert_eq!(node.topics, ClusterTopics::ZEROMQ_7_1);
    }

    #[test]
    fn strangers_are_not_believed() {
        let mut own = Membership::observer();
        hear(&mut own, at(0), &hello(SECOND_HELLO, "manager", "nobody"));
        hear(
            &mut own,
            at(0),
            &EventBuilder::new(SECOND_HELLO).argument(&1_u64),
        );
        hear(&mut own, at(0), &EventBuilder::new("ping"));
        own.handle_subscribed(at(0), b"zeek.cluster.nodeid.\xff.");
        assert!(outputs(&mut own).is_empty());
        for number in 0..=NODES_MAX {
            let topic = format!("zeek.cluster.nodeid.{number}.");
            own.handle_subscribed(at(0), topic.as_bytes());
        }
        assert_eq!(own.nodes().count(), NODES_MAX);
    }

    /// What is under way between nodes: to whom, and what.
    #[derive(Clone, Debug)]
    enum Mail {
        Subscribed(usize, String),
        Event(String, Vec<u8>),
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Nodes that join at any time, whose notices and hellos overtake each other, all see all others
        /// up. Between two nodes, and among notices, the order is kept, as one proxy keeps it.
        #[test]
        fn nodes_in_any_order_find_one_another(
            count in 2_usize..5,
            choices in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let ids: Vec<String> = (0..count).map(|number| format!("id-{number}")).collect();
            let mut nodes: Vec<Membership> = ids
                .iter()
                .map(|id| node(&format!("worker-{id}"), id))
                .collect();
            // Queues by sender and receiver; the last ones are the proxy's notices.
            let mut queues: BTreeMap<(usize, usize), VecDeque<Mail>> = BTreeMap::new();
            for id in &ids {
                for to in 0..count {
                    let topic = ClusterTopics::ZEROMQ.node_id(id);
                    let mail = Mail::Subscribed(to, topic);
                    queues.entry((count, to)).or_default().push_back(mail);
                }
            }
            let mut choices = choices.iter().cycle();
            loop {
                let full: Vec<(usize, usize)> = queues
                    .iter()
                    .filter(|(_, queue)| !queue.is_empty())
                    .map(|(key, _)| *key)
                    .collect();
                if full.is_empty() {
                    break;
                }
                let key = *choices.next().unwrap().get(&full);
                let mail = queues.get_mut(&key).unwrap().pop_front().unwrap();
                let to = match mail {
                    Mail::Subscribed(to, topic) => {
                        nodes[to].handle_subscribed(at(0), topic.as_bytes());
                        to
                    }
                    Mail::Event(topic, bytes) => {
                        let is_for = |id: &String| ClusterTopics::ZEROMQ.node_id(id) == topic;
                        let to = ids.iter().position(is_for).unwrap();
                        let message = Message::parse(View::new(&bytes).unwrap());
                        let Message::Event(event) = message else { panic!("an event") };
                        nodes[to].handle_event(at(0), &event);
                        to
                    }
                };
                while let Some(output) = nodes[to].poll_output() {
                    if let MembershipOutput::Publish { topic, event } = output {
                        let is_for = |id: &String| ClusterTopics::ZEROMQ.node_id(id) == topic;
                        let receiver = ids.iter().position(is_for).unwrap();
                        let queue = queues.entry((to, receiver)).or_default();
                        queue.push_back(Mail::Event(topic, event));
                    }
                }
            }
            for node in &nodes {
                prop_assert_eq!(node.nodes().count(), count - 1);
                prop_assert!(node.nodes().all(|node| node.state == NodeState::Up));
            }
        }
    }
}
