//! Endpoints in rings, meshes and graphs made by chance, on a network that delays: what comes how
//! often where.
//!
//! Everything follows from a seed. An endpoint of this implementation is put together here of the
//! parts that the runtime puts together: routing table, marks, duplicates. An
//! endpoint of the original passes on what comes to everybody else who wants it. A hostile one tries
//! to have messages taken for copies.
//!
//! A failure names its seed: `SIMULATION_SEED=n cargo test -p broker-proto --test loops`.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use broker_proto::duplicates::{Duplicates, HINTS_MAX, Key, Keys};
use broker_proto::frame::{FRAME_LEN_SIZE, patch_hop, patch_receiver, write_envelope};
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, Envelope, EnvelopeError, Filter, Origin, RoutingTable, Tag, Topic};

const MS: i64 = 1_000_000;
const S: i64 = 1000 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Original,
    Hostile,
}

struct Node {
    kind: Kind,
    id: EndpointId,
    wants: BTreeSet<&'static str>,
    table: RoutingTable<usize>,
    keys: Keys,
    duplicates: Duplicates,
    hints: Vec<Key>,
    number: u64,
    /// Payloads of data that came, in order.
    got: Vec<Vec<u8>>,
}

struct Packet {
    at: i64,
    order: u64,
    from: usize,
    to: usize,
    /// The link's, which packets do not outlive.
    epoch: u64,
    frame: Vec<u8>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Packet {}
impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the largest first.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

struct World {
    random: Random,
    now: i64,
    nodes: Vec<Node>,
    /// Open links, smaller number first, and when they were opened.
    links: BTreeMap<(usize, usize), u64>,
    agenda: BinaryHeap<Packet>,
    last_due: BTreeMap<(usize, usize), i64>,
    packets: u64,
    epochs: u64,
    copies_dropped: usize,
}

impl World {
    fn new(seed: u64, kinds: &[Kind]) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1) ^ 0x77);
        let nodes = kinds.iter().map(|kind| Node::new(*kind, &mut random));
        Self {
            nodes: nodes.collect(),
            random,
            now: S,
            links: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            last_due: BTreeMap::new(),
            packets: 0,
            epochs: 0,
            copies_dropped: 0,
        }
    }

    fn subscribe(&mut self, node: usize, topic: &'static str) {
        self.nodes[node].wants.insert(topic);
    }

    fn connect(&mut self, a: usize, b: usize) {
        let link = (a.min(b), a.max(b));
        if a == b || self.links.contains_key(&link) {
            return;
        }
        self.epochs += 1;
        self.links.insert(link, self.epochs);
        for (here, there) in [(a, b), (b, a)] {
            let wants = self.nodes[there].wants.iter();
            let filter: Filter = wants.map(|topic| Topic::from(*topic)).collect();
            let id = self.nodes[there].id;
            self.nodes[here].table.add_peer(id, filter, there);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        for (here, there) in [(a, b), (b, a)] {
            let id = self.nodes[there].id;
            self.nodes[here].table.remove_peer(id);
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: Vec<u8>) {
        let link = (from.min(to), from.max(to));
        let Some(epoch) = self.links.get(&link).copied() else {
            return;
        };
        let delay = match self.nodes[from].kind {
            Kind::Hostile => 1,
            Kind::Ours | Kind::Original => MS + self.random.below(9_000_000).cast_signed(),
        };
        let due = self.last_due.entry((from, to)).or_default();
        let at = (self.now + delay).max(*due);
        *due = at;
        self.packets += 1;
        self.agenda.push(Packet {
            at,
            order: self.packets,
            from,
            to,
            epoch,
            frame,
        });
    }

    /// Publishes a message nobody else publishes; returns its payload.
    fn publish(&mut self, at: usize, topic: &str) -> Vec<u8> {
        self.packets += 1;
        let mut payload = vec![u8::try_from(at).unwrap()];
        payload.extend(self.packets.to_be_bytes());
        self.publish_payload(at, topic, &payload);
        payload
    }

    fn publish_payload(&mut self, at: usize, topic: &str, payload: &[u8]) {
        let frame = frame(self.nodes[at].id, Tag::Data, topic.as_bytes(), payload);
        self.pass_on(at, Origin::Endpoint, None, &frame);
    }

    /// Sends a message to everybody who gets it from there, as the runtime does.
    fn pass_on(&mut self, at: usize, origin: Origin, mark: Option<Mark>, frame: &[u8]) {
        let node = &mut self.nodes[at];
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        let nobody = EndpointId::NIL;
        let targets = node.table.targets(origin, nobody, envelope.topic, true);
        let is_sibling = |to: &usize| !matches!(self.nodes[*to].kind, Kind::Original);
        let is_marked = self.nodes[at].kind == Kind::Ours
            && self.nodes[at].table.peer_count() > 1
            && targets.iter().any(is_sibling);
        let mark = match mark {
            Some(mark) if mark.is_exhausted() => return,
            Some(mark) => Some(mark.after_hop()),
            None if is_marked => Some(self.nodes[at].next_mark()),
            None => None,
        };
        let mut plain = frame.to_vec();
        patch_hop(&mut plain, self.nodes[at].id);
        patch_receiver(&mut plain, nobody);
        let mut marked = plain.clone();
        if let Some(mark) = mark {
            patch_receiver(&mut marked, mark.to_receiver());
        }
        for to in targets {
            let is_marked = is_marked && self.nodes[to].kind != Kind::Original;
            let frame = if is_marked { &marked } else { &plain };
            self.send(at, to, frame.clone());
        }
    }

    /// Lets time pass; returns whether messages are under way at the end of it.
    fn run(&mut self, duration: i64) -> bool {
        let until = self.now + duration;
        loop {
            let at = self
                .agenda
                .peek()
                .map_or(until, |packet| packet.at.min(until));
            self.now = at.max(self.now);
            if at >= until {
                return !self.agenda.is_empty();
            }
            let packet = self.agenda.pop().unwrap();
            let link = (packet.from.min(packet.to), packet.from.max(packet.to));
            if self.links.get(&link) == Some(&packet.epoch) {
                self.arrive(packet);
            }
        }
    }

    fn arrive(
        &mut self,
        Packet {
            from, to, frame, ..
        }: Packet,
    ) {
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        let origin = Origin::Peer(self.nodes[from].id);
        match self.nodes[to].kind {
            Kind::Original if !envelope.receiver.is_nil() => {}
            Kind::Original => {
                if envelope.tag == Tag::Data {
                    let payload = envelope.payload.to_vec();
                    self.nodes[to].take(envelope.topic, payload);
                }
                self.pass_on(to, origin, None, &frame);
            }
            Kind::Hostile => self.lie(to, &frame),
            Kind::Ours => self.arrive_at_ours(from, to, &frame),
        }
    }

    fn arrive_at_ours(&mut self, from: usize, to: usize, frame: &[u8]) {
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        let hop = self.nodes[from].id;
        let is_sibling = hop.is_recognizable();
        let mark = Mark::of_frame(frame).filter(|_| is_sibling);
        if mark.is_none() && !envelope.receiver.is_nil() {
            return;
        }
        let node = &mut self.nodes[to];
        if let Some(mark) = mark
            && !node.is_first(mark, frame)
        {
            self.copies_dropped += 1;
            return;
        }
        node.take(envelope.topic, envelope.payload.to_vec());
        self.pass_on(to, Origin::Peer(hop), mark, frame);
    }

    /// Uses the marks it sees, and those that will come next, for messages of its own; sends to
    /// everybody at once.
    fn lie(&mut self, at: usize, frame: &[u8]) {
        let Some(mark) = Mark::of_frame(frame) else {
            return;
        };
        let peers: Vec<usize> = self.nodes[at].table.peers().map(|peer| *peer.2).collect();
        for ahead in 0..4 {
            let mut forged = frame.to_vec();
            // In a byte that is zero in what is honest.
            let place = forged.len() - 8;
            forged[place] ^= 0x80;
            let number = mark.number.wrapping_add(ahead);
            let hops = [0, 63, 255][self.random.below(3) as usize];
            let mark = Mark {
                number,
                hops,
                ..mark
            };
            patch_hop(&mut forged, self.nodes[at].id);
            patch_receiver(&mut forged, mark.to_receiver());
            for to in &peers {
                self.send(at, *to, forged.clone());
            }
        }
    }

    /// Who gets what is published there: those who want it and are reached through others who do.
    fn reached(&self, publisher: usize, topic: &str) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = VecDeque::from([publisher]);
        while let Some(at) = open.pop_front() {
            for (a, b) in self.links.keys() {
                let other = match (*a == at, *b == at) {
                    (true, _) => *b,
                    (_, true) => *a,
                    _ => continue,
                };
                let wants = |topics: &BTreeSet<&str>| topics.iter().any(|it| topic.starts_with(it));
                if self.nodes[other].kind != Kind::Hostile
                    && wants(&self.nodes[other].wants)
                    && other != publisher
                    && reached.insert(other)
                {
                    open.push_back(other);
                }
            }
        }
        reached
    }

    fn copies(&self, at: usize, payload: &[u8]) -> usize {
        let got = self.nodes[at].got.iter();
        got.filter(|it| it.as_slice() == payload).count()
    }

    /// Publishes some messages and checks that each comes once, in order, and to nobody else.
    fn exchange_exactly(&mut self, topics: &[&'static str], each: usize, what: &str) {
        let before: Vec<usize> = self.nodes.iter().map(|node| node.got.len()).collect();
        let mut published: BTreeMap<(usize, &str), Vec<Vec<u8>>> = BTreeMap::new();
        for _ in 0..each {
            for at in 0..self.nodes.len() {
                let topic = topics[self.random.below(topics.len() as u64) as usize];
                if self.nodes[at].kind == Kind::Ours {
                    let payload = self.publish(at, topic);
                    published.entry((at, topic)).or_default().push(payload);
                }
            }
            let pause = self.random.below(3).cast_signed() * MS;
            self.run(pause);
        }
        assert!(!self.run(10 * S), "{what}: messages go on for ever");
        for (at, before) in before.into_iter().enumerate() {
            let got = &self.nodes[at].got[before..];
            for ((publisher, topic), payloads) in &published {
                let mine = got.iter().filter(|it| payloads.contains(it));
                let mine: Vec<&Vec<u8>> = mine.collect();
                let is_reached = self.reached(*publisher, topic).contains(&at);
                let expected = payloads.iter().filter(|_| is_reached);
                if self.nodes[at].kind == Kind::Ours {
                    let expected: Vec<&Vec<u8>> = expected.collect();
                    assert_eq!(mine, expected, "{what}: {publisher} to {at} under {topic}");
                }
            }
        }
    }
}

impl Node {
    fn new(kind: Kind, random: &mut Random) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next().to_be_bytes());
        bytes[8..].copy_from_slice(&random.next().to_be_bytes());
        let id = match kind {
            Kind::Ours | Kind::Hostile => EndpointId::recognizable(bytes),
            Kind::Original => EndpointId::from_random(bytes),
        };
        Self {
            kind,
            id,
            wants: BTreeSet::new(),
            table: RoutingTable::new(id),
            keys: Keys::new([random.next(), random.next()]),
            duplicates: Duplicates::new(1000),
            hints: Vec::new(),
            number: 0,
            got: Vec::new(),
        }
    }

    fn origin(&self) -> [u8; 6] {
        let mut origin = [0; 6];
        origin.copy_from_slice(&self.id.bytes()[..6]);
        origin
    }

    fn next_mark(&mut self) -> Mark {
        self.number += 1;
        Mark {
            origin: self.origin(),
            number: self.number,
            hops: 0,
        }
    }

    fn is_first(&mut self, mark: Mark, frame: &[u8]) -> bool {
        if mark.origin == self.origin() {
            return false;
        }
        let hint = self.keys.hint(mark, frame);
        if self.table.peer_count() < 2 && self.duplicates.is_empty() {
            if self.hints.len() < HINTS_MAX {
                self.hints.push(hint);
            }
            return true;
        }
        self.duplicates.add_hints(self.hints.drain(..));
        let is_first = self.duplicates.insert(self.keys.key(mark, frame), || hint);
        assert!(self.duplicates.len() <= 2000 + HINTS_MAX);
        is_first
    }

    fn take(&mut self, topic: &[u8], payload: Vec<u8>) {
        if self
            .wants
            .iter()
            .any(|wanted| topic.starts_with(wanted.as_bytes()))
        {
            self.got.push(payload);
        }
    }
}

fn frame(sender: EndpointId, tag: Tag, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(payload);
        Ok(())
    };
    write_envelope::<EnvelopeError>(&mut frame, sender, EndpointId::NIL, tag, topic, write)
        .unwrap();
    frame
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let only = std::env::var("SIMULATION_SEED").ok();
    let only: Option<u64> = only.and_then(|seed| seed.parse().ok());
    only.map_or(0..count, |seed| seed..seed + 1)
}

fn ring(world: &mut World) {
    for at in 0..world.nodes.len() {
        world.connect(at, (at + 1) % world.nodes.len());
    }
}

fn mesh(world: &mut World) {
    for at in 0..world.nodes.len() {
        for other in 0..at {
            world.connect(at, other);
        }
    }
}

/// Some links by chance; of originals alone none that close a circle.
fn chance(world: &mut World, links: usize) {
    let count = world.nodes.len() as u64;
    let mut parts: Vec<usize> = (0..world.nodes.len()).collect();
    for _ in 0..links {
        let (a, b) = (world.random.below(count), world.random.below(count));
        let (a, b) = (a as usize, b as usize);
        if [a, b]
            .iter()
            .all(|at| world.nodes[*at].kind == Kind::Original)
        {
            if parts[a] == parts[b] {
                continue;
            }
            let (from, to) = (parts[a], parts[b]);
            parts
                .iter_mut()
                .filter(|it| **it == from)
                .for_each(|it| *it = to);
        }
        world.connect(a, b);
    }
}

#[test]
fn rings_and_meshes_of_ours_deliver_once() {
    for seed in seeds(24) {
        let count = 3 + (seed % 10) as usize;
        for shape in [ring, mesh] {
            let mut world = World::new(seed, &vec![Kind::Ours; count]);
            (0..count).for_each(|at| world.subscribe(at, "/t"));
            shape(&mut world);
            world.exchange_exactly(&["/t"], 3, &format!("seed {seed}, {count} endpoints"));
            assert!(world.copies_dropped > 0);
        }
    }
}

#[test]
fn graphs_by_chance_deliver_once_however_they_change() {
    let mut dropped = 0;
    for seed in seeds(150) {
        let count = 3 + (seed % 10) as usize;
        let mut world = World::new(seed, &vec![Kind::Ours; count]);
        for at in 0..count {
            // Some want one topic only, some none: subscriptions do not travel.
            for topic in ["/a", "/b"] {
                if world.random.below(4) > 0 {
                    world.subscribe(at, topic);
                }
            }
        }
        for round in 0..6 {
            chance(&mut world, count);
            world.exchange_exactly(
                &["/a", "/b", "/c"],
                3,
                &format!("seed {seed}, round {round}"),
            );
            for _ in 0..count / 2 {
                let links: Vec<_> = world.links.keys().copied().collect();
                if !links.is_empty() {
                    let (a, b) = links[world.random.below(links.len() as u64) as usize];
                    world.cut(a, b);
                }
            }
        }
        dropped += world.copies_dropped;
    }
    assert!(dropped > 0);
}

#[test]
fn changes_amid_traffic_double_little_and_end() {
    let mut doubled = 0;
    for seed in seeds(60) {
        let count = 3 + (seed % 6) as usize;
        let mut world = World::new(seed, &vec![Kind::Ours; count]);
        (0..count).for_each(|at| world.subscribe(at, "/t"));
        chance(&mut world, count);
        let mut published = Vec::new();
        for _ in 0..100 {
            let at = world.random.below(count as u64) as usize;
            published.push(world.publish(at, "/t"));
            chance(&mut world, 1);
            let links: Vec<_> = world.links.keys().copied().collect();
            if let Some((a, b)) = links.get(world.random.below(3 * links.len() as u64 + 1) as usize)
            {
                world.cut(*a, *b);
            }
            world.run(MS);
        }
        assert!(!world.run(10 * S), "seed {seed}: messages go on for ever");
        for payload in &published {
            for at in 0..count {
                let copies = world.copies(at, payload);
                doubled += copies.saturating_sub(1);
                // An endpoint that had one peer while it published does not know its own message.
                assert!(copies <= 3, "seed {seed}: {copies} copies at {at}");
            }
        }
    }
    println!("{doubled} copies too many");
}

#[test]
fn a_message_that_meets_a_second_peer_on_its_way_comes_once() {
    for seed in seeds(50) {
        let mut world = World::new(seed, &[Kind::Ours; 3]);
        (0..3).for_each(|at| world.subscribe(at, "/t"));
        world.connect(0, 1);
        world.connect(1, 2);
        let pause = world.random.below(2).cast_signed() * S;
        world.run(pause);
        // The ring is closed and used at once: the last one may have the message before it knows.
        world.connect(2, 0);
        let payload = world.publish(0, "/t");
        world.run(S);
        for (at, expected) in [(0, 0), (1, 1), (2, 1)] {
            assert_eq!(world.copies(at, &payload), expected, "seed {seed} at {at}");
        }
    }
}

#[test]
fn forged_marks_keep_nothing_back() {
    for seed in seeds(60) {
        let count = 4 + (seed % 5) as usize;
        let mut kinds = vec![Kind::Ours; count];
        kinds[count - 1] = Kind::Hostile;
        let mut world = World::new(seed, &kinds);
        (0..count).for_each(|at| world.subscribe(at, "/t"));
        if seed % 2 == 0 {
            mesh(&mut world);
        } else {
            (0..count - 1).for_each(|at| world.connect(at, (at + 1) % (count - 1)));
            (0..count - 1).for_each(|at| world.connect(at, count - 1));
        }
        world.exchange_exactly(&["/t"], 5, &format!("seed {seed}"));
    }
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        match limit {
            0 => 0,
            limit => self.next() % limit,
        }
    }
}
