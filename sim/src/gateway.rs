//! Endpoints with policies, and what may never be delivered whatever the schedule is.
//!
//! Up to three endpoints stand in a row, each with a policy of its own that changes at any time. Clients
//! with principals subscribe and publish, single messages and batches; neighbours are judged, or trusted.
//! What goes from one to another takes its time. The rights, topics and filters of connections are kept
//! and dropped as the runtime does it, by the version of the policy.
//!
//! Checked against rules that are read in the slow way:
//!
//! - what passes an edge may be published by the principal of the connection, at that moment, and what does
//!   not may not;
//! - what is sent to a connection may be had by its principal at that moment, and was asked for;
//! - in the end, when all has arrived, everything that is published reaches those who asked and may have it.

mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use broker_proto::Topic;
use broker_proto::policy::{Decision, Policy, Request, Rights, TopicRight};

use self::rules::{EVENTS, PRINCIPALS, Said, TOPICS, Written, belongs_to_endpoints};
use crate::random::Random;

/// Steps before everything comes to rest.
const STEPS: u64 = 40;

/// Members of a batch.
const BATCH_MAX: u64 = 3;

/// What goes from one end of a connection to the other.
#[derive(Debug, Clone)]
enum Item {
    /// What the sender wants to have from now on.
    Filter(Vec<Topic>),
    Message {
        topic: &'static str,
        said: Vec<Said>,
        number: u64,
    },
}

/// One end of a connection: what an endpoint knows of the other side.
#[derive(Debug)]
struct Edge {
    /// `None`: a neighbour that is trusted, and not judged.
    principal: Option<usize>,
    version: u64,
    rights: Option<Rights>,
    topics: BTreeMap<&'static str, Kept>,
    wanted: Vec<Topic>,
    granted: Vec<Topic>,
    /// What the other side was told last that this one wants.
    told: Vec<Topic>,
    /// What comes in.
    queue: VecDeque<Item>,
    /// The endpoint and its edge at the other side; `None` for a client.
    other: Option<(usize, usize)>,
    /// Messages that a client got.
    got: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Kept {
    All,
    ByEvent,
    Denied,
}

#[derive(Debug)]
struct Endpoint {
    written: Written,
    policy: Policy,
    version: u64,
    edges: Vec<Edge>,
}

struct World {
    random: Random,
    endpoints: Vec<Endpoint>,
    /// Messages so far.
    number: u64,
    traced: bool,
}

/// Runs one schedule.
///
/// # Panics
///
/// When something was delivered that must not be, or was not that must.
pub fn run(seed: u64, traced: bool) {
    let mut world = World::new(seed, traced);
    for _ in 0..STEPS {
        world.step();
    }
    world.rest();
}

/// Runs schedules; gives the seeds of those that failed, up to so many.
pub fn run_all(seeds: impl IntoIterator<Item = u64>, failures_max: usize) -> Vec<u64> {
    let mut failed = Vec::new();
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed, false))).is_err() {
            failed.push(seed);
            if failed.len() >= failures_max {
                break;
            }
        }
    }
    failed
}

/// The command that runs one schedule again and prints what happens.
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --profile sim -p broker-sim -- --gateway --seed {seed} --trace")
}

impl Edge {
    fn new(principal: Option<usize>, other: Option<(usize, usize)>) -> Self {
        Self {
            principal,
            version: 0,
            rights: None,
            topics: BTreeMap::new(),
            wanted: Vec::new(),
            granted: Vec::new(),
            told: Vec::new(),
            queue: VecDeque::new(),
            other,
            got: Vec::new(),
        }
    }

    /// Looks at the rights again if the policy is another one.
    fn refresh(&mut self, policy: &Policy, version: u64) {
        let Some(principal) = self.principal else {
            return;
        };
        if self.version != version {
            self.version = version;
            self.rights = policy.rights(PRINCIPALS[principal]);
            self.topics.clear();
        }
    }

    /// The part of what is wanted that may be had.
    fn grant(&mut self) {
        self.granted = match (&self.principal, &self.rights) {
            (None, _) => self.wanted.clone(),
            (Some(_), None) => Vec::new(),
            (Some(_), Some(rights)) => rights.granted(&self.wanted).topics,
        };
    }

    /// What of a message may be published.
    fn judge(&mut self, topic: &'static str, said: &[Said]) -> Vec<Said> {
        if self.principal.is_none() {
            return said.to_vec();
        }
        let Some(rights) = &self.rights else {
            return Vec::new();
        };
        let kept =
            *self
                .topics
                .entry(topic)
                .or_insert_with(|| match rights.topic(topic.as_bytes()) {
                    TopicRight::All(_) => Kept::All,
                    TopicRight::ByEvent => Kept::ByEvent,
                    TopicRight::Deny(_) => Kept::Denied,
                });
        let allows = |said: &&Said| {
            let request = Request::Publish {
                topic: topic.as_bytes(),
                content: said.content(),
            };
            matches!(rights.decide(&request), Decision::Allow(_))
        };
        match kept {
            Kept::All => said.to_vec(),
            Kept::ByEvent => said.iter().filter(allows).copied().collect(),
            Kept::Denied => Vec::new(),
        }
    }

    fn wants(&self, topic: &str) -> bool {
        self.granted
            .iter()
            .any(|it| it.is_prefix_of(topic.as_bytes()))
    }
}

impl World {
    fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let count = usize::try_from(1 + random.below(3)).unwrap_or(1);
        let mut endpoints: Vec<Endpoint> = (0..count)
            .map(|_| {
                let written = Written::random(&mut random);
                Endpoint {
                    policy: written.policy(),
                    written,
                    version: 1,
                    edges: Vec::new(),
                }
            })
            .collect();
        let principal = |random: &mut Random| {
            usize::try_from(random.below(PRINCIPALS.len() as u64)).unwrap_or(0)
        };
        for left in 0..count.saturating_sub(1) {
            let right = left + 1;
            let at = [endpoints[left].edges.len(), endpoints[right].edges.len()];
            let judged = |random: &mut Random| random.permille(700).then(|| principal(random));
            let ends = [judged(&mut random), judged(&mut random)];
            endpoints[left]
                .edges
                .push(Edge::new(ends[0], Some((right, at[1]))));
            endpoints[right]
                .edges
                .push(Edge::new(ends[1], Some((left, at[0]))));
        }
        for endpoint in &mut endpoints {
            for _ in 0..1 + random.below(3) {
                endpoint
                    .edges
                    .push(Edge::new(Some(principal(&mut random)), None));
            }
            let (policy, version) = (&endpoint.policy, endpoint.version);
            endpoint
                .edges
                .iter_mut()
                .for_each(|edge| edge.refresh(policy, version));
        }
        Self {
            random,
            endpoints,
            number: 0,
            traced,
        }
    }

    #[expect(clippy::print_stdout, reason = "a trace is what was asked for")]
    fn say(&self, what: impl FnOnce() -> String) {
        if self.traced {
            println!("{}", what());
        }
    }

    fn any_edge(&mut self, is_right: impl Fn(&Edge) -> bool) -> Option<(usize, usize)> {
        let endpoints = self.endpoints.iter().enumerate();
        let all: Vec<_> = endpoints
            .flat_map(|(at, endpoint)| {
                let edges = endpoint.edges.iter().enumerate();
                let edges = edges.filter(|(_, edge)| is_right(edge));
                edges.map(move |(edge, _)| (at, edge))
            })
            .collect();
        (!all.is_empty()).then(|| self.random.choose(&all))
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0 => self.change_policy(),
            1 | 2 => {
                if let Some((at, edge)) = self.any_edge(|edge| edge.other.is_none()) {
                    let count = self.random.below(4);
                    let wanted = (0..count).map(|_| Topic::from(self.random.choose(&TOPICS)));
                    let filter = Item::Filter(wanted.collect());
                    self.endpoints[at].edges[edge].queue.push_back(filter);
                }
            }
            3..=5 => {
                if let Some((at, edge)) = self.any_edge(|edge| edge.other.is_none()) {
                    let message = self.message();
                    self.endpoints[at].edges[edge].queue.push_back(message);
                }
            }
            _ => {
                self.deliver_some();
            }
        }
    }

    fn message(&mut self) -> Item {
        let count = 1 + self.random.below(BATCH_MAX);
        let said = (0..count).map(|_| {
            if self.random.permille(800) {
                Said::Event(self.random.choose(&EVENTS))
            } else {
                Said::Other
            }
        });
        let said = said.collect();
        self.number += 1;
        Item::Message {
            topic: self.random.choose(&TOPICS),
            said,
            number: self.number,
        }
    }

    fn change_policy(&mut self) {
        let endpoints = self.endpoints.len() as u64;
        let at = usize::try_from(self.random.below(endpoints)).unwrap_or(0);
        let written = Written::random(&mut self.random);
        let endpoint = &mut self.endpoints[at];
        endpoint.policy = written.policy();
        endpoint.written = written;
        endpoint.version += 1;
        self.say(|| format!("{at}: policy {:?}", self.endpoints[at].written));
        // Sessions look at their rights at once; messages that wait are judged when they are read.
        for edge in 0..self.endpoints[at].edges.len() {
            self.renew(at, edge);
        }
        self.tell_filters(at);
    }

    fn renew(&mut self, at: usize, edge: usize) {
        let Endpoint {
            policy,
            version,
            edges,
            ..
        } = &mut self.endpoints[at];
        edges[edge].refresh(policy, *version);
        edges[edge].grant();
    }

    /// Tells each neighbour what the others want.
    fn tell_filters(&mut self, at: usize) {
        for edge in 0..self.endpoints[at].edges.len() {
            let Some((neighbour, its)) = self.endpoints[at].edges[edge].other else {
                continue;
            };
            let others = self.endpoints[at].edges.iter().enumerate();
            let others = others.filter(|(index, _)| *index != edge);
            let wanted: Vec<Topic> = others.flat_map(|(_, it)| it.granted.clone()).collect();
            // Once: neighbours would tell each other for ever.
            if self.endpoints[at].edges[edge].told == wanted {
                continue;
            }
            self.endpoints[at].edges[edge].told.clone_from(&wanted);
            let filter = Item::Filter(wanted);
            self.endpoints[neighbour].edges[its].queue.push_back(filter);
        }
    }

    fn deliver_some(&mut self) -> bool {
        let Some((at, edge)) = self.any_edge(|edge| !edge.queue.is_empty()) else {
            return false;
        };
        match self.endpoints[at].edges[edge].queue.pop_front() {
            Some(Item::Filter(wanted)) => {
                self.say(|| format!("{at}.{edge} wants {wanted:?}"));
                self.endpoints[at].edges[edge].wanted = wanted;
                self.renew(at, edge);
                self.tell_filters(at);
            }
            Some(Item::Message {
                topic,
                said,
                number,
            }) => self.pass(at, edge, topic, &said, number),
            None => {}
        }
        true
    }

    /// A message comes in at an edge.
    fn pass(&mut self, at: usize, edge: usize, topic: &'static str, said: &[Said], number: u64) {
        let Endpoint {
            policy,
            version,
            edges,
            written,
        } = &mut self.endpoints[at];
        edges[edge].refresh(policy, *version);
        let rest = edges[edge].judge(topic, said);
        let may: Vec<Said> = match edges[edge].principal {
            Some(principal) => {
                let may = |said: &&Said| written.may_publish(principal, topic, **said);
                said.iter().filter(may).copied().collect()
            }
            None => said.to_vec(),
        };
        self.say(|| format!("{at}.{edge}: {number} {topic} {said:?}: {rest:?}"));
        assert_eq!(rest, may, "message {number} at {at}.{edge}");
        if !rest.is_empty() {
            self.route(at, Some(edge), topic, &rest, number);
        }
    }

    fn route(
        &mut self,
        at: usize,
        from: Option<usize>,
        topic: &'static str,
        said: &[Said],
        number: u64,
    ) {
        for edge in 0..self.endpoints[at].edges.len() {
            let Endpoint { edges, written, .. } = &mut self.endpoints[at];
            let to = &mut edges[edge];
            if from == Some(edge) || !to.wants(topic) {
                continue;
            }
            let was_asked = to.wanted.iter().any(|it| it.is_prefix_of(topic.as_bytes()));
            let may = to
                .principal
                .is_none_or(|principal| written.may_have(principal, topic));
            assert!(was_asked && may, "message {number}, {topic} to {at}.{edge}");
            match to.other {
                Some((neighbour, its)) => {
                    let message = Item::Message {
                        topic,
                        said: said.to_vec(),
                        number,
                    };
                    self.endpoints[neighbour].edges[its]
                        .queue
                        .push_back(message);
                }
                None => to.got.push(number),
            }
        }
    }

    /// Everything arrives; then each endpoint publishes under each topic, and those who may get it.
    fn rest(&mut self) {
        while self.deliver_some() {}
        for at in 0..self.endpoints.len() {
            // That topics of endpoints reach no client is up to routing.
            for topic in TOPICS.into_iter().filter(|it| !belongs_to_endpoints(it)) {
                self.number += 1;
                let number = self.number;
                self.route(at, None, topic, &[Said::Other], number);
                while self.deliver_some() {}
                self.check_arrival(at, topic, number);
            }
        }
    }

    fn check_arrival(&self, from: usize, topic: &'static str, number: u64) {
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            for (index, edge) in endpoint.edges.iter().enumerate() {
                let (None, Some(principal)) = (edge.other, edge.principal) else {
                    continue;
                };
                let is_wanted = edge.wants(topic);
                let expected = is_wanted && self.may_cross(from, at, topic);
                let got = edge.got.iter().filter(|it| **it == number).count();
                assert!(!is_wanted || endpoint.written.may_have(principal, topic));
                assert_eq!(
                    got,
                    usize::from(expected),
                    "{topic} from {from} to {at}.{index}"
                );
            }
        }
    }

    /// Whether each edge between two endpoints lets something pass that is no event: the one that sends it,
    /// as the filter of the other may be narrower than the right, and the one that gets it.
    fn may_cross(&self, from: usize, to: usize, topic: &str) -> bool {
        let mut at = from;
        while at != to {
            let next = if to > at { at + 1 } else { at - 1 };
            let is_to = |edge: &&Edge, end: usize| edge.other.is_some_and(|(it, _)| it == end);
            let out = self.endpoints[at]
                .edges
                .iter()
                .find(|edge| is_to(edge, next));
            let into = self.endpoints[next]
                .edges
                .iter()
                .find(|edge| is_to(edge, at));
            let (Some(out), Some(into)) = (out, into) else {
                return false;
            };
            let may_enter = into.principal.is_none_or(|principal| {
                self.endpoints[next]
                    .written
                    .may_publish(principal, topic, Said::Other)
            });
            if !out.wants(topic) || !may_enter {
                return false;
            }
            at = next;
        }
        true
    }
}
