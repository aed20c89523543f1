//! Several endpoints on a network that delays, loses connections and lets dials cross.
//!
//! Everything follows from a seed. For a while the application and the network do what they like;
//! then faults end, everything comes to rest, and these must hold:
//!
//! - two endpoints agree on whether they are peers, and over which connection;
//! - whoever asked to be peered with somebody for ever, and was not told otherwise, is;
//! - each peer knows the whole filter of the other;
//! - events of each peer come in pairs: discovered and added, lost or removed and unreachable;
//! - every request was answered exactly once;
//! - no connection is open but those between peers, and no timer runs.
//!
//! A failure names its seed: `SIMULATION_SEED=n cargo test -p broker-proto --test simulation`.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use broker_data::{Timespan, Timestamp};
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::message::routing_update;
use broker_proto::{
    Closed, Config, ConnectionId, Endpoint, EndpointId, Event, Filter, NetworkAddress, Outcome,
    Output, RequestId, Retry, StatusCode, Topic,
};

const SEEDS: u64 = 600;
const PORT: u16 = 9999;
const MS: i64 = 1_000_000;

/// How long the application and the faults go on.
const UNREST_MS: i64 = 3_000;

/// By then everything must have come to rest; the longest retry interval fits in many times.
const REST_MS: i64 = 60_000;

#[test]
fn endpoints_agree_in_the_end() {
    let only = std::env::var("SIMULATION_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut marks = Marks::default();
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let nodes = 2 + (seed % 4) as usize;
        // Every other world has no unpeering, so that it is known who must be peered.
        let mut world = World::new(seed, nodes, seed % 2 == 0);
        world.unrest();
        world.rest();
        world.check();
        world.shut_down();
        marks.add(&world.marks);
    }
    println!("{marks:?}");
    if only.is_none() {
        marks.assert_all();
    }
}

/// How often something rare happened: a simulation that never gets there proves nothing.
#[derive(Debug, Default)]
struct Marks {
    installs: usize,
    pauses: usize,
    resumes: usize,
    redundant: usize,
    filter_races: usize,
    goodbyes: usize,
    losses: usize,
}

impl Marks {
    fn add(&mut self, other: &Self) {
        self.installs += other.installs;
        self.pauses += other.pauses;
        self.resumes += other.resumes;
        self.redundant += other.redundant;
        self.filter_races += other.filter_races;
        self.goodbyes += other.goodbyes;
        self.losses += other.losses;
    }

    fn assert_all(&self) {
        let Self {
            installs,
            pauses,
            resumes,
            redundant,
            filter_races,
            goodbyes,
            losses,
        } = self;
        for mark in [
            installs,
            pauses,
            resumes,
            redundant,
            filter_races,
            goodbyes,
            losses,
        ] {
            assert!(*mark > 0, "{self:?}");
        }
    }
}

/// One end of a connection.
type End = (usize, ConnectionId);

struct Node {
    endpoint: Endpoint,
    /// Filters of installed peers, and over what.
    installed: BTreeMap<EndpointId, (ConnectionId, Filter)>,
    /// Last event about each peer.
    events: BTreeMap<EndpointId, StatusCode>,
    asked: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    /// Numbers of nodes this one has to be peered with in the end.
    wants: BTreeSet<usize>,
    down: bool,
}

/// What travels to one end of a connection.
enum Packet {
    Frame(Vec<u8>),
    End,
}

enum Occurrence {
    /// A dial reaches its target, or not.
    Arrive {
        from: End,
        to: usize,
        fails: bool,
    },
    /// The connecting side learns that it is connected.
    Dialed {
        end: End,
    },
    Deliver {
        to: End,
    },
    Break {
        end: End,
    },
    Timeout {
        node: usize,
    },
    Application,
    Fault,
}

struct Scheduled {
    at: i64,
    /// Keeps what is due at the same time in order.
    number: u64,
    what: Occurrence,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the largest first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

struct World {
    seed: u64,
    random: Random,
    now: i64,
    nodes: Vec<Node>,
    agenda: BinaryHeap<Scheduled>,
    scheduled: u64,
    /// The other end of each connection that is up.
    ends: BTreeMap<End, End>,
    /// What is on its way to each end, and when it may arrive.
    lines: BTreeMap<End, VecDeque<(i64, Packet)>>,
    paused: BTreeSet<End>,
    /// Dials that nobody waits for any more.
    abandoned: BTreeSet<End>,
    /// When the last packet to an end is due: order is kept.
    last_due: BTreeMap<End, i64>,
    requests: u64,
    peaceful: bool,
    faults: bool,
    marks: Marks,
}

impl World {
    fn new(seed: u64, nodes: usize, peaceful: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1) ^ 0x55);
        let nodes = (0..nodes)
            .map(|_| {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&random.next().to_be_bytes());
                let config = Config::new(EndpointId::from_random(bytes), random.next());
                Node {
                    endpoint: Endpoint::new(config),
                    installed: BTreeMap::new(),
                    events: BTreeMap::new(),
                    asked: BTreeSet::new(),
                    answered: BTreeSet::new(),
                    wants: BTreeSet::new(),
                    down: false,
                }
            })
            .collect();
        Self {
            seed,
            random,
            now: 0,
            nodes,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            ends: BTreeMap::new(),
            lines: BTreeMap::new(),
            paused: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            last_due: BTreeMap::new(),
            requests: 0,
            peaceful,
            faults: true,
            marks: Marks::default(),
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_ns(self.now)
    }

    fn schedule(&mut self, at: i64, what: Occurrence) {
        self.scheduled += 1;
        self.agenda.push(Scheduled {
            at: at.max(self.now),
            number: self.scheduled,
            what,
        });
    }

    /// Mostly quick, sometimes slow.
    fn delay(&mut self) -> i64 {
        let slow = self.random.below(10) == 0;
        self.random.below(if slow { 200 } else { 5 }) as i64 * MS + self.random.below(1000) as i64
    }

    // --- phases ---------------------------------------------------------------------------------

    fn unrest(&mut self) {
        for _ in 0..20 + self.random.below(30) {
            let at = self.random.below(UNREST_MS as u64) as i64 * MS;
            self.schedule(at, Occurrence::Application);
        }
        for _ in 0..self.random.below(12) {
            let at = self.random.below(UNREST_MS as u64) as i64 * MS;
            self.schedule(at, Occurrence::Fault);
        }
        self.run(UNREST_MS * MS);
        self.faults = false;
    }

    fn rest(&mut self) {
        self.run((UNREST_MS + REST_MS) * MS);
        assert!(self.agenda.is_empty(), "seed {}: no rest", self.seed);
    }

    fn shut_down(&mut self) {
        for node in 0..self.nodes.len() {
            let now = self.time();
            self.nodes[node].endpoint.shutdown(now);
            self.drain(node);
        }
        self.run(self.now + 10_000 * MS);
        for node in &self.nodes {
            assert!(node.down, "seed {}: no end", self.seed);
            assert!(node.installed.is_empty());
            let over = |code: &StatusCode| *code == StatusCode::EndpointUnreachable;
            assert!(node.events.values().all(over), "seed {}", self.seed);
        }
        assert!(
            self.agenda.is_empty() && self.ends.is_empty(),
            "seed {}",
            self.seed
        );
    }

    fn run(&mut self, until: i64) {
        while self.agenda.peek().is_some_and(|next| next.at <= until) {
            let next = self.agenda.pop().expect("just seen");
            self.now = next.at;
            self.happen(next.what);
        }
        self.now = until;
    }

    // --- what happens ---------------------------------------------------------------------------

    fn happen(&mut self, what: Occurrence) {
        match what {
            Occurrence::Arrive { from, to, fails } => self.arrive(from, to, fails),
            Occurrence::Dialed {
                end: (node, connection),
            } => {
                if self.ends.contains_key(&(node, connection)) {
                    let now = self.time();
                    self.nodes[node].endpoint.handle_dialed(now, connection);
                    self.drain(node);
                }
            }
            Occurrence::Deliver { to } => self.deliver(to),
            Occurrence::Break {
                end: (node, connection),
            } => {
                self.lines.remove(&(node, connection));
                if self.ends.remove(&(node, connection)).is_some() {
                    let now = self.time();
                    let broken = Closed::Broken("reset".to_owned());
                    self.nodes[node]
                        .endpoint
                        .handle_closed(now, connection, broken);
                    self.drain(node);
                }
            }
            Occurrence::Timeout { node } => {
                let now = self.time();
                self.nodes[node].endpoint.handle_timeout(now);
                self.drain(node);
            }
            Occurrence::Application => self.application(),
            Occurrence::Fault => self.fault(),
        }
    }

    fn arrive(&mut self, from: End, to: usize, fails: bool) {
        if self.abandoned.remove(&from) {
            return;
        }
        let now = self.time();
        if fails || self.nodes[to].down {
            self.nodes[from.0]
                .endpoint
                .handle_dial_failed(now, from.1, None);
            return self.drain(from.0);
        }
        let remote = NetworkAddress::new(format!("ephemeral-{}", from.0), from.1.0 as u16);
        let accepted = self.nodes[to].endpoint.handle_accepted(now, remote);
        let there = (to, accepted);
        self.ends.insert(from, there);
        self.ends.insert(there, from);
        let due = self.now + self.delay();
        self.last_due.insert(from, due);
        self.schedule(due, Occurrence::Dialed { end: from });
        self.drain(to);
    }

    fn deliver(&mut self, to: End) {
        if self.paused.contains(&to) {
            return;
        }
        let Some(line) = self.lines.get_mut(&to) else {
            return;
        };
        if line.front().is_none_or(|(due, _)| *due > self.now) {
            return;
        }
        let Some((_, packet)) = line.pop_front() else {
            return;
        };
        if !self.ends.contains_key(&to) {
            return;
        }
        let now = self.time();
        let endpoint = &mut self.nodes[to.0].endpoint;
        match packet {
            Packet::Frame(frame) => endpoint.handle_frame(now, to.1, &frame[FRAME_LEN_SIZE..]),
            Packet::End => {
                self.ends.remove(&to);
                endpoint.handle_closed(now, to.1, Closed::Remote);
            }
        }
        self.drain(to.0);
    }

    /// Breaks a random connection; its ends learn of that at different times.
    fn fault(&mut self) {
        let ends: Vec<End> = self.ends.keys().copied().collect();
        if ends.is_empty() {
            return;
        }
        let end = ends[self.random.below(ends.len() as u64) as usize];
        for end in [end, self.ends[&end]] {
            let at = self.now + self.delay();
            self.schedule(at, Occurrence::Break { end });
        }
    }

    fn application(&mut self) {
        let count = self.nodes.len() as u64;
        let node = self.random.below(count) as usize;
        let other = self.random.below(count) as usize;
        let now = self.time();
        self.requests += 1;
        let request = RequestId(self.requests);
        match self.random.below(10) {
            0..=4 => {
                let retry = match self.random.below(3) {
                    _ if other == node => Retry::Never,
                    0 => Retry::Never,
                    _ => Retry::After(Timespan::from_millis(20 + self.random.below(400) as i64)),
                };
                if retry != Retry::Never {
                    self.nodes[node].wants.insert(other);
                }
                self.nodes[node].asked.insert(request.0);
                let endpoint = &mut self.nodes[node].endpoint;
                endpoint.peer(now, &host(other), PORT, retry, Some(request));
                self.drain(node);
                // Dials that cross are what redundancy is about.
                if self.random.below(2) == 0 && node != other {
                    let endpoint = &mut self.nodes[other].endpoint;
                    endpoint.peer(now, &host(node), PORT, Retry::Never, None);
                    self.drain(other);
                }
            }
            5 | 6 => {
                // Few topics, so that some are covered already.
                let topic = format!("/{}/{}", self.random.below(3), self.random.below(9));
                let end = if self.random.below(4) == 0 {
                    2
                } else {
                    topic.len()
                };
                self.nodes[node]
                    .endpoint
                    .subscribe(now, &[Topic::from(&topic[..end])]);
                self.drain(node);
            }
            7 => {
                let peer = self.nodes[other].endpoint.id();
                let timeout = Timespan::from_millis(self.random.below(500) as i64);
                self.nodes[node].asked.insert(request.0);
                self.nodes[node]
                    .endpoint
                    .await_peer(now, peer, timeout, request);
                self.drain(node);
            }
            _ if self.peaceful => {}
            _ => {
                let peers = self.nodes[node].endpoint.peers();
                let known = peers.get(self.random.below(peers.len() as u64 + 1) as usize);
                let address = known.map_or_else(
                    || NetworkAddress::new(host(other), PORT),
                    |peer| peer.network.clone(),
                );
                self.nodes[node].asked.insert(request.0);
                let endpoint = &mut self.nodes[node].endpoint;
                endpoint.unpeer(now, &address.host, address.port, Some(request));
                self.drain(node);
            }
        }
    }

    // --- what endpoints want --------------------------------------------------------------------

    fn drain(&mut self, node: usize) {
        let mut last_installed = None;
        while let Some(output) = self.nodes[node].endpoint.poll_output() {
            let installed = last_installed.take();
            match output {
                Output::Dial {
                    connection, host, ..
                } => {
                    let to = host.strip_prefix("node-").expect("known hosts only");
                    let to = to.parse().expect("known hosts only");
                    let fails = self.faults && self.random.below(5) == 0;
                    let at = self.now + self.delay();
                    self.schedule(
                        at,
                        Occurrence::Arrive {
                            from: (node, connection),
                            to,
                            fails,
                        },
                    );
                }
                Output::Join { .. } => unreachable!("nobody here peers with another protocol"),
                Output::Interest {
                    connection,
                    peer,
                    filter,
                } => {
                    self.marks.filter_races += usize::from(installed == Some(connection));
                    let id = self.nodes[node].endpoint.id();
                    let update = routing_update(id, peer, &filter);
                    self.transmit((node, connection), Packet::Frame(update));
                }
                Output::Send { connection, frame } => {
                    self.transmit((node, connection), Packet::Frame(frame));
                }
                Output::Close { connection, cause } => {
                    let cause = format!("{cause:?}");
                    self.marks.goodbyes += usize::from(cause == "Goodbye");
                    self.marks.redundant += usize::from(cause.contains("RedundantConnection"));
                    self.transmit((node, connection), Packet::End);
                    if !self.ends.contains_key(&(node, connection)) {
                        self.abandoned.insert((node, connection));
                    }
                    self.ends.remove(&(node, connection));
                    self.lines.remove(&(node, connection));
                    self.paused.remove(&(node, connection));
                }
                Output::Pause { connection } => {
                    self.marks.pauses += 1;
                    assert!(self.paused.insert((node, connection)));
                }
                Output::Resume { connection } => {
                    self.marks.resumes += 1;
                    assert!(self.paused.remove(&(node, connection)));
                    self.reschedule((node, connection));
                }
                Output::Install {
                    connection,
                    peer,
                    filter,
                } => {
                    self.marks.installs += 1;
                    last_installed = Some(connection);
                    let before = self.nodes[node]
                        .installed
                        .insert(peer, (connection, filter));
                    assert!(before.is_none(), "seed {}: installed twice", self.seed);
                }
                Output::Uninstall { peer } => {
                    let before = self.nodes[node].installed.remove(&peer);
                    assert!(before.is_some(), "seed {}: uninstalled twice", self.seed);
                }
                Output::PeerFilter { peer, filter } => {
                    let known = self.nodes[node].installed.get_mut(&peer);
                    known.expect("filters of installed peers only").1 = filter;
                }
                Output::Event(event) => self.on_event(node, &event),
                Output::Reply { request, outcome } => self.on_reply(node, request, &outcome),
                Output::ShutdownComplete => self.nodes[node].down = true,
            }
        }
        if let Some((at, _)) = self.nodes[node].endpoint.next_timeout() {
            self.schedule(at.ns(), Occurrence::Timeout { node });
        }
    }

    fn transmit(&mut self, from: End, packet: Packet) {
        let Some(to) = self.ends.get(&from).copied() else {
            return;
        };
        let due = self.now + self.delay();
        let last = self.last_due.entry(to).or_insert(0);
        let due = due.max(*last);
        *last = due;
        self.lines.entry(to).or_default().push_back((due, packet));
        self.schedule(due, Occurrence::Deliver { to });
    }

    /// What was held back is delivered after all.
    fn reschedule(&mut self, to: End) {
        let held = self.lines.get(&to).map_or(0, VecDeque::len);
        for _ in 0..held {
            let at = self.last_due[&to];
            self.schedule(at, Occurrence::Deliver { to });
        }
    }

    fn on_event(&mut self, node: usize, event: &Event) {
        let Event::Status(status) = event else { return };
        let peer = status
            .context
            .as_ref()
            .and_then(|info| info.id)
            .expect("always with an id");
        let before = self.nodes[node].events.insert(peer, status.code);
        let expected: &[Option<StatusCode>] = match status.code {
            StatusCode::EndpointDiscovered => &[None, Some(StatusCode::EndpointUnreachable)],
            StatusCode::PeerAdded => &[Some(StatusCode::EndpointDiscovered)],
            StatusCode::PeerLost | StatusCode::PeerRemoved => &[Some(StatusCode::PeerAdded)],
            StatusCode::EndpointUnreachable => {
                &[Some(StatusCode::PeerLost), Some(StatusCode::PeerRemoved)]
            }
            StatusCode::Unspecified => &[],
        };
        self.marks.losses += usize::from(status.code == StatusCode::PeerLost);
        assert!(
            expected.contains(&before),
            "seed {}: {event} after {before:?}",
            self.seed
        );
        let installed = self.nodes[node].installed.contains_key(&peer);
        let up = matches!(
            status.code,
            StatusCode::EndpointDiscovered | StatusCode::PeerAdded
        );
        assert_eq!(installed, up, "seed {}: {event}", self.seed);
    }

    fn on_reply(&mut self, node: usize, request: RequestId, outcome: &Outcome) {
        let node = &mut self.nodes[node];
        assert!(node.asked.contains(&request.0));
        assert!(
            node.answered.insert(request.0),
            "seed {}: answered twice",
            self.seed
        );
        if let Outcome::PeerFailed { text, .. } = outcome {
            assert!(
                text.starts_with("unable to connect to remote peer"),
                "{text}"
            );
        }
    }

    // --- what must hold -------------------------------------------------------------------------

    fn check(&self) {
        let seed = self.seed;
        let mut open = 0;
        for (number, node) in self.nodes.iter().enumerate() {
            assert_eq!(
                node.endpoint.next_timeout(),
                None,
                "seed {seed}: a timer runs"
            );
            assert_eq!(node.asked, node.answered, "seed {seed}: node {number}");
            let peers: Vec<_> = node
                .endpoint
                .peers()
                .into_iter()
                .map(|peer| peer.id)
                .collect();
            let installed: Vec<_> = node.installed.keys().copied().collect();
            assert_eq!(peers, installed, "seed {seed}: node {number}");
            open += installed.len();
            for (other_number, other) in self.nodes.iter().enumerate() {
                let here = node.installed.get(&other.endpoint.id());
                let there = other.installed.get(&node.endpoint.id());
                let pair = format!("seed {seed}: nodes {number} and {other_number}");
                assert_eq!(here.is_some(), there.is_some(), "{pair} disagree");
                if let (Some((connection, filter)), Some((other_connection, _))) = (here, there) {
                    let end = self.ends[&(number, *connection)];
                    assert_eq!(end, (other_number, *other_connection), "{pair}");
                    assert_eq!(filter, other.endpoint.filter(), "{pair}");
                }
                let wanted = self.peaceful && node.wants.contains(&other_number);
                assert!(here.is_some() || !wanted, "{pair} are not peered");
            }
        }
        assert_eq!(
            self.ends.len(),
            open,
            "seed {seed}: connections without a peer"
        );
    }
}

fn host(node: usize) -> String {
    format!("node-{node}")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
