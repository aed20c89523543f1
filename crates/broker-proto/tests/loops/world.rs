//! Endpoints on a network that delays, everything from a seed.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use broker_data::Timestamp;
use broker_proto::circle::{Circles, HeldMessage, Output, Probe, Report, Verdict};
use broker_proto::duplicates::{Duplicates, HINTS_MAX, Key, Keys};
use broker_proto::frame::{FRAME_LEN_SIZE, patch_hop, patch_receiver, write_envelope};
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, Envelope, EnvelopeError, Filter, Origin, RoutingTable, Tag, Topic};

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const S: i64 = 1000 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Original,
    Hostile,
}

pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) id: EndpointId,
    pub(crate) wants: BTreeSet<&'static str>,
    pub(crate) table: RoutingTable<usize>,
    pub(crate) keys: Keys,
    pub(crate) duplicates: Duplicates,
    pub(crate) hints: Vec<Key>,
    pub(crate) number: u64,
    /// Payloads of data that came, in order.
    pub(crate) got: Vec<Vec<u8>>,
    /// Of endpoints of this implementation.
    pub(crate) circles: Option<Circles>,
    pub(crate) reports: Vec<Report>,
}

pub(crate) struct Packet {
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

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: i64,
    pub(crate) nodes: Vec<Node>,
    /// Open links, smaller number first, and when they were opened.
    pub(crate) links: BTreeMap<(usize, usize), u64>,
    pub(crate) agenda: BinaryHeap<Packet>,
    pub(crate) last_due: BTreeMap<(usize, usize), i64>,
    pub(crate) packets: u64,
    pub(crate) epochs: u64,
    pub(crate) copies_dropped: usize,
    /// Data on its way, and data and probes that were ever sent.
    pub(crate) data_under_way: usize,
    pub(crate) data_sent: usize,
    pub(crate) probes_sent: usize,
    /// How long a message is under way, in milliseconds: at least, and at most so much more.
    pub(crate) delay: (u64, u64),
}

impl World {
    pub(crate) fn new(seed: u64, kinds: &[Kind]) -> Self {
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
            data_under_way: 0,
            data_sent: 0,
            probes_sent: 0,
            delay: (1, 9),
        }
    }

    pub(crate) fn subscribe(&mut self, node: usize, topic: &'static str) {
        self.nodes[node].wants.insert(topic);
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
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
            if let Some(circles) = &mut self.nodes[here].circles {
                circles.handle_peer_change();
            }
        }
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        for (here, there) in [(a, b), (b, a)] {
            let id = self.nodes[there].id;
            self.nodes[here].table.remove_peer(id);
            if let Some(circles) = &mut self.nodes[here].circles {
                circles.handle_peer_gone(Timestamp::from_ns(self.now), id);
                self.carry_out(here);
            }
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, frame: Vec<u8>) {
        let link = (from.min(to), from.max(to));
        let Some(epoch) = self.links.get(&link).copied() else {
            return;
        };
        let delay = match self.nodes[from].kind {
            Kind::Hostile => 1,
            Kind::Ours | Kind::Original => {
                let (least, spread) = self.delay;
                let delay = least * 1_000_000 + self.random.below(spread * 1_000_000);
                delay.cast_signed()
            }
        };
        let due = self.last_due.entry((from, to)).or_default();
        let at = (self.now + delay).max(*due);
        *due = at;
        self.packets += 1;
        if is_data(&frame) {
            self.data_sent += 1;
            assert!(self.data_sent < 300_000, "messages multiply");
            self.data_under_way += 1;
        } else {
            self.probes_sent += 1
        }
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
    pub(crate) fn publish(&mut self, at: usize, topic: &str) -> Vec<u8> {
        self.packets += 1;
        let mut payload = vec![u8::try_from(at).unwrap()];
        payload.extend(self.packets.to_be_bytes());
        self.publish_payload(at, topic, &payload);
        payload
    }

    pub(crate) fn publish_payload(&mut self, at: usize, topic: &str, payload: &[u8]) {
        let frame = frame(self.nodes[at].id, Tag::Data, topic.as_bytes(), payload);
        self.pass_on(at, Origin::Endpoint, None, &frame);
    }

    /// Sends a message to everybody who gets it from there, as the runtime does.
    pub(crate) fn pass_on(&mut self, at: usize, origin: Origin, mark: Option<Mark>, frame: &[u8]) {
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
    pub(crate) fn run(&mut self, duration: i64) -> bool {
        let until = self.now + duration;
        loop {
            let packet = self.agenda.peek().map(|packet| packet.at);
            let timers = self.nodes.iter().zip(0..).filter_map(|(node, at)| {
                let timer = node.circles.as_ref()?.next_timeout()?;
                Some((timer.ns(), at))
            });
            let timer = timers
                .min()
                .filter(|(due, _)| *due <= packet.unwrap_or(until));
            let at = timer.map(|(due, _)| due).or(packet).unwrap_or(until);
            self.now = at.min(until).max(self.now);
            if at >= until {
                return self.data_under_way > 0;
            }
            if let Some((_, node)) = timer {
                if let Some(circles) = &mut self.nodes[node].circles {
                    circles.handle_timeout(Timestamp::from_ns(self.now));
                }
                self.carry_out(node);
                continue;
            }
            let packet = self.agenda.pop().unwrap();
            self.data_under_way -= usize::from(is_data(&packet.frame));
            let link = (packet.from.min(packet.to), packet.from.max(packet.to));
            if self.links.get(&link) == Some(&packet.epoch) {
                self.arrive(packet);
            }
        }
    }

    pub(crate) fn arrive(
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

    pub(crate) fn arrive_at_ours(&mut self, from: usize, to: usize, frame: &[u8]) {
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        let hop = self.nodes[from].id;
        let origin = Origin::Peer(hop);
        if envelope.tag == Tag::Command {
            let probe = Probe::parse(envelope.payload).unwrap().unwrap();
            self.probe_at_ours(from, to, envelope.topic, probe);
            return;
        }
        let is_sibling = hop.is_recognizable();
        let mark = Mark::of_frame(frame).filter(|_| is_sibling);
        if mark.is_none() && !envelope.receiver.is_nil() {
            return;
        }
        let now = Timestamp::from_ns(self.now);
        let node = &mut self.nodes[to];
        // A copy on a link that is not used must not keep the one that counts from being heard.
        if node.table.is_closed(origin, envelope.topic) {
            return;
        }
        if let Some(mark) = mark
            && !node.is_first(mark, frame)
        {
            self.copies_dropped += 1;
            return;
        }
        node.take(envelope.topic, envelope.payload.to_vec());
        let targets = node.targets_of(origin, envelope.topic);
        if let Some(circles) = node.circles.as_mut().filter(|_| targets > 0)
            && node
                .table
                .peers()
                .any(|(peer, _, _)| !peer.is_recognizable())
        {
            let verdict = circles.handle_message(now, hop, envelope.topic, frame);
            self.carry_out(to);
            if verdict == Verdict::Hold {
                return;
            }
        }
        self.pass_on(to, origin, mark, frame);
    }

    fn probe_at_ours(&mut self, from: usize, to: usize, topic: &[u8], probe: Probe) {
        let (hop, me) = (self.nodes[from].id, self.nodes[to].id);
        let origin = Origin::Peer(hop);
        let others = self.nodes[to].targets_of(origin, topic);
        let now = Timestamp::from_ns(self.now);
        let circles = self.nodes[to].circles.as_mut().unwrap();
        let passed = circles.handle_probe(now, hop, topic, probe, others);
        self.carry_out(to);
        if let Some(probe) = passed {
            let frame = probe.to_frame(me, topic).unwrap();
            let table = &self.nodes[to].table;
            for target in table.targets(origin, EndpointId::NIL, topic, true) {
                self.send(to, target, frame.clone());
            }
        }
    }

    /// Does what the search for circles wants, as the runtime does.
    fn carry_out(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            let Some(output) = node.circles.as_mut().and_then(Circles::poll_output) else {
                return;
            };
            match output {
                Output::Send { to, topic, probe } => {
                    let frame = probe.to_frame(node.id, topic.as_bytes()).unwrap();
                    if let Some(to) = node.table.peer(to).copied() {
                        self.send(at, to, frame);
                    }
                }
                Output::Close { topic, peers } => node.table.set_closed(&topic, &peers),
                Output::Release { message, .. } => {
                    let HeldMessage { mut frame, copies } = message;
                    for copy in copies {
                        patch_receiver(&mut frame, copy.receiver);
                        let mark = Mark::from_receiver(copy.receiver);
                        self.pass_on(at, Origin::Peer(copy.from), mark, &frame);
                    }
                }
                Output::Report(report) => node.reports.push(report),
            }
        }
    }

    /// Uses the marks it sees, and those that will come next, for messages of its own; sends to
    /// everybody at once.
    pub(crate) fn lie(&mut self, at: usize, frame: &[u8]) {
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
    pub(crate) fn reached(&self, publisher: usize, topic: &str) -> BTreeSet<usize> {
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

    pub(crate) fn copies(&self, at: usize, payload: &[u8]) -> usize {
        let got = self.nodes[at].got.iter();
        got.filter(|it| it.as_slice() == payload).count()
    }

    /// Publishes some messages and checks that each comes once, in order, and to nobody else.
    pub(crate) fn exchange_exactly(&mut self, topics: &[&'static str], each: usize, what: &str) {
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
    pub(crate) fn new(kind: Kind, random: &mut Random) -> Self {
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
            circles: (kind == Kind::Ours).then(|| {
                let (keys, mut nonces) = (random.next(), Random(random.next()));
                Circles::new(
                    id,
                    Keys::new([keys, !keys]),
                    Box::new(move || nonces.next()),
                )
            }),
            reports: Vec::new(),
        }
    }

    /// How many peers a message from there goes to.
    fn targets_of(&self, origin: Origin, topic: &[u8]) -> usize {
        let nobody = EndpointId::NIL;
        self.table.targets(origin, nobody, topic, true).len()
    }

    pub(crate) fn origin(&self) -> [u8; 6] {
        let mut origin = [0; 6];
        origin.copy_from_slice(&self.id.bytes()[..6]);
        origin
    }

    pub(crate) fn next_mark(&mut self) -> Mark {
        self.number += 1;
        Mark {
            origin: self.origin(),
            number: self.number,
            hops: 0,
        }
    }

    pub(crate) fn is_first(&mut self, mark: Mark, frame: &[u8]) -> bool {
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

    pub(crate) fn take(&mut self, topic: &[u8], payload: Vec<u8>) {
        if self
            .wants
            .iter()
            .any(|wanted| topic.starts_with(wanted.as_bytes()))
        {
            self.got.push(payload);
        }
    }
}

fn is_data(frame: &[u8]) -> bool {
    frame[FRAME_LEN_SIZE + 32] == Tag::Data as u8
}

pub(crate) fn frame(sender: EndpointId, tag: Tag, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(payload);
        Ok(())
    };
    write_envelope::<EnvelopeError>(&mut frame, sender, EndpointId::NIL, tag, topic, write)
        .unwrap();
    frame
}

pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let only = std::env::var("SIMULATION_SEED").ok();
    let only: Option<u64> = only.and_then(|seed| seed.parse().ok());
    only.map_or(0..count, |seed| seed..seed + 1)
}

pub(crate) fn ring(world: &mut World) {
    for at in 0..world.nodes.len() {
        world.connect(at, (at + 1) % world.nodes.len());
    }
}

pub(crate) fn mesh(world: &mut World) {
    for at in 0..world.nodes.len() {
        for other in 0..at {
            world.connect(at, other);
        }
    }
}

/// Some links by chance; of originals alone none that close a circle.
pub(crate) fn chance(world: &mut World, links: usize) {
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

pub(crate) struct Random(u64);

impl Random {
    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        match limit {
            0 => 0,
            limit => self.next() % limit,
        }
    }
}
