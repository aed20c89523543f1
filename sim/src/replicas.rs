//! Replicas of one store on a model of a stream, all of it from a seed.
//!
//! A world has up to four replicas, of which one may be a copy that never leads, and up to two native
//! clones. Requests to the servers and answers are lost, late and doubled; links to them are cut;
//! nodes crash, stand still, and their clocks are wrong and jump; leases end early and are given
//! twice; snapshots are torn, damaged and lost. Users everywhere do what users do. After a while
//! faults end and everything has to come to rest. At any time and then, these must hold:
//!
//! - a replica's entries are what the stream's entries make up to the sequence that it has applied;
//! - what callers saw is linearizable, key by key ([`crate::linear`]), with a confirmed read of every
//!   key in the end; what was told not to be applied has no effect, what was never answered has one
//!   at most;
//! - in the end all replicas and clones equal what the stream makes, one leads, nothing waits;
//! - no replica stops.

mod clones;
mod plan;
mod servers;
mod users;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use broker_data::Timestamp;
use broker_proto::EndpointId;
use broker_proto::Envelope;
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::store::entity::EntityId;
use broker_proto::store::replica::entry::{EntryId, EntryKind, StreamEntry};
use broker_proto::store::replica::{
    AppendOutcome, Effect, LeaseOutcome, Replica, Standing, StepDown, TailOutcome,
};
use broker_proto::store::{CloneOptions, Contact, Output, StoreClone, mark};

use crate::marks::{Marks, RARE_OF_REPLICAS};
use crate::random::Random;
use crate::stream::{Chunks, Content, STORE, Stream, digest};

pub use plan::{Defect, Plan};
use users::Users;

/// Milliseconds between two ticks.
const TICK_MS: i64 = 100;

/// The time of day when a world begins.
const EPOCH_MS: i64 = 1_000_000;

/// By then everything must have come to rest.
const REST_MS: i64 = 60_000;

/// For so long everything must stay at rest to be believed.
const QUIET_TICKS: u32 = 4;

/// After so long a request to the servers is given up by who sent it.
const GIVEN_UP_MS: u64 = 400;

/// Something that happens at some time.
#[derive(Debug)]
enum Happening {
    Start(usize),
    Tick(usize, u64),
    /// A request reaches the servers.
    Request(usize, u64, Request),
    /// An answer, or something like it, reaches a node.
    Answer(usize, u64, Answer),
    /// An entry is delivered, on one of the node's subscriptions.
    Delivery(usize, u64, u64, Arc<[u8]>),
    /// A frame reaches a replica or a clone.
    ToReplica(usize, Arc<[u8]>),
    ToClone(usize, Arc<[u8]>),
    CloneTick(usize),
    Operation,
    Trouble,
}

/// What is asked of the servers.
#[derive(Debug, Clone)]
enum Request {
    Append {
        id: EntryId,
        expected: Option<u64>,
        wanted: u64,
        entry: Arc<[u8]>,
        /// Doubles and what was answered already are not answered.
        answered: bool,
    },
    Tail(u64),
    Follow {
        subscription: u64,
        after: u64,
    },
    AcquireLease(i64),
    ReleaseLease,
    List,
    Read(u64),
    Write(u64, Chunks),
    Delete(u64),
    Compact(u64),
}

/// What is answered.
#[derive(Debug)]
enum Answer {
    Append(EntryId, AppendOutcome),
    Tail(u64, Tail),
    Lease(LeaseOutcome),
    List(Vec<u64>),
    Read(u64, Option<Chunks>),
    Written(u64),
    Gap(u64),
    /// The connection is there again.
    Connected,
    /// A subscription did not come about: it is asked for again.
    FollowAgain(u64, u64),
}

#[derive(Debug)]
enum Tail {
    Entry(Arc<[u8]>),
    End,
    Compacted(u64),
}

/// A place where a replica lives, crashes and lives again.
#[derive(Debug)]
struct Node {
    replica: Option<Replica>,
    /// Counts all lives of all nodes.
    life: u64,
    copy_only: bool,
    /// How wrong its clock is.
    skew_ms: i64,
    suspended_ms: i64,
    connected: bool,
    /// The number of its last subscription, and the last sequence that was sent on it, if the servers
    /// know of it.
    subscription: u64,
    sent: Option<u64>,
    /// When the last delivery arrives.
    delivery_ms: i64,
    /// What was applied when it was last looked at.
    seen: u64,
}

#[derive(Debug)]
struct CloneNode {
    clone: StoreClone,
    endpoint: EndpointId,
    reachable: bool,
    followed: Option<EntityId>,
}

/// Replicas, clones, users and servers.
pub struct World {
    plan: Plan,
    defect: Option<Defect>,
    random: Random,
    stream: Stream,
    nodes: Vec<Node>,
    clones: Vec<CloneNode>,
    users: Users,
    queue: BTreeMap<(i64, u64), Happening>,
    happened: u64,
    now_ms: i64,
    lives: u64,
    unrest: bool,
    damaged: bool,
    marks: Marks,
    traced: bool,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64, defect: Option<Defect>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let mut world = Self {
            stream: Stream::new(),
            nodes: Vec::new(),
            clones: Vec::new(),
            users: Users::default(),
            queue: BTreeMap::new(),
            happened: 0,
            now_ms: 0,
            lives: 0,
            unrest: true,
            damaged: false,
            marks: Marks::of(RARE_OF_REPLICAS),
            traced,
            defect,
            plan,
            random,
        };
        world.trace(|world| format!("{:#?}", world.plan));
        for index in 0..world.plan.replicas {
            let skews: &[i64] = if world.plan.skewed {
                &[-3_000, -700, 0, 700, 3_000]
            } else {
                &[0]
            };
            world.nodes.push(Node {
                replica: None,
                life: 0,
                copy_only: world.plan.copy && index + 1 == world.plan.replicas,
                skew_ms: world.random.choose(skews),
                suspended_ms: 0,
                connected: true,
                subscription: 0,
                sent: None,
                delivery_ms: 0,
                seen: 0,
            });
            let at = world.random.below(400);
            world.schedule(at, Happening::Start(index));
        }
        for index in 0..world.plan.clones {
            let endpoint = EndpointId::from_bytes(world.random.id());
            let id = mark::clone_id(EntityId {
                endpoint,
                object: 1,
            });
            let config = world.plan.replica.store.clone();
            world.clones.push(CloneNode {
                clone: StoreClone::new(id, STORE, config, CloneOptions::default()),
                endpoint,
                reachable: false,
                followed: None,
            });
            world.schedule(50, Happening::CloneTick(index));
        }
        world.schedule(100, Happening::Trouble);
        world.schedule(10, Happening::Operation);
        world
    }

    /// What happened in it.
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Lets users and faults do what they do.
    pub fn unrest(&mut self) {
        self.run_until(self.plan.unrest_ms);
    }

    /// Ends all faults, waits until everything has come to rest, reads every key, and checks what
    /// users saw.
    ///
    /// # Panics
    ///
    /// When something does not hold that must.
    pub fn rest(&mut self) {
        self.unrest = false;
        self.trace(|_| "-- rest --".to_owned());
        self.plan.end_faults();
        for index in 0..self.nodes.len() {
            self.nodes[index].suspended_ms = self.nodes[index].suspended_ms.min(self.now_ms + 50);
            self.connect(index);
        }
        // A clock that jumped back may let a lease end once more.
        let leader = loop {
            self.wait_for_rest();
            if let Some(leader) = self.nodes.iter().position(is_leader) {
                break leader;
            }
        };
        for key in users::keys() {
            self.read(leader, key);
        }
        self.wait_for_rest();
        if let Err(violation) = self.users.check() {
            panic!("{violation}");
        }
    }

    fn wait_for_rest(&mut self) {
        let deadline = self.now_ms + REST_MS;
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            match self.restless() {
                None => quiet += 1,
                Some(problem) => {
                    quiet = 0;
                    assert!(self.now_ms < deadline, "no rest: {problem}");
                }
            }
            self.run_until(self.now_ms + TICK_MS);
        }
    }

    /// Why the world is not at rest yet.
    fn restless(&self) -> Option<String> {
        let mut leader = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(replica) = &node.replica else {
                return Some(format!("node {index} is down"));
            };
            if replica.applied() < self.stream.last() || !replica.is_idle() {
                let (applied, last) = (replica.applied(), self.stream.last());
                return Some(format!(
                    "node {index} is at {applied} of {last}, {replica:?}"
                ));
            }
            if replica.is_leader() {
                if leader.is_some() {
                    return Some("two lead".to_owned());
                }
                leader = replica.master_id();
                if !replica.is_current(self.clock(index)) {
                    return Some(format!("the lease of node {index} is over"));
                }
            }
        }
        let Some(leader) = leader else {
            return Some("none leads".to_owned());
        };
        if let Some(problem) = self.users.waiting() {
            return Some(problem);
        }
        let content: Vec<(&[u8], &[u8])> = self.stream.content().iter().map(pair).collect();
        for (index, node) in self.clones.iter().enumerate() {
            let clone = &node.clone;
            let (contact, master) = (clone.contact(), clone.master());
            if contact != Contact::Attached || master != Some(leader) || !clone.is_idle() {
                return Some(format!("clone {index} is {contact:?} to {master:?}"));
            }
            // What is over and not removed yet may be hidden there.
            let copy: Vec<_> = clone.iter(Timestamp::EPOCH).into_iter().flatten().collect();
            if copy != content {
                return Some(format!(
                    "clone {index} has {copy:?}, the stream {content:?}"
                ));
            }
        }
        None
    }

    // --- time -----------------------------------------------------------------------------------

    fn schedule(&mut self, delay_ms: u64, happening: Happening) {
        let at = self.now_ms + i64::try_from(delay_ms).unwrap_or(i64::MAX / 2);
        self.happened += 1;
        self.queue.insert((at, self.happened), happening);
    }

    fn run_until(&mut self, end_ms: i64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end_ms {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now_ms = at;
            self.happen(happening);
        }
        self.now_ms = end_ms;
    }

    /// The time by a node's clock.
    fn clock(&self, index: usize) -> Timestamp {
        let skew_ms = self.nodes[index].skew_ms;
        Timestamp::from_ns((EPOCH_MS + self.now_ms + skew_ms) * 1_000_000)
    }

    fn trace(&self, line: impl FnOnce(&Self) -> String) {
        if self.traced {
            let line = line(self);
            let _ = writeln!(std::io::stdout(), "{:>7} ms  {line}", self.now_ms);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let node = match &happening {
            Happening::Tick(node, _)
            | Happening::Answer(node, ..)
            | Happening::Delivery(node, ..)
            | Happening::ToReplica(node, _) => *node,
            _ => usize::MAX,
        };
        let waits = self.nodes.get(node).map_or(0, |it| it.suspended_ms);
        if let Ok(delay_ms @ 1..) = u64::try_from(waits - self.now_ms) {
            return self.schedule(delay_ms, happening);
        }
        match happening {
            Happening::Start(node) => self.start(node),
            Happening::Tick(node, life) if self.nodes[node].life == life => {
                let now = self.clock(node);
                self.act(node, |replica| replica.handle_tick(now));
                self.schedule(TICK_MS as u64, Happening::Tick(node, life));
            }
            Happening::Request(node, life, request) => self.serve(node, life, request),
            Happening::Answer(node, life, answer) if self.nodes[node].life == life => {
                self.hear(node, answer);
            }
            Happening::Delivery(node, subscription, sequence, entry)
                if self.nodes[node].subscription == subscription =>
            {
                let now = self.clock(node);
                self.trace(|_| format!("node {node} is delivered {sequence}"));
                self.act(node, |replica| replica.handle_entry(now, sequence, &entry));
            }
            Happening::Tick(..) | Happening::Answer(..) | Happening::Delivery(..) => {}
            Happening::ToReplica(node, frame) => {
                let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).expect("an envelope");
                let now = self.clock(node);
                self.act(node, |replica| {
                    replica.handle_command(now, envelope.payload)
                });
            }
            Happening::ToClone(clone, frame) => self.arrive_at_clone(clone, &frame),
            Happening::CloneTick(clone) => self.tick_clone(clone),
            Happening::Trouble if self.unrest => {
                self.trouble();
                self.schedule(100, Happening::Trouble);
            }
            Happening::Operation if self.unrest => {
                self.operate();
                let next = 1 + self.random.below(2 * self.plan.operation_every_ms);
                self.schedule(next, Happening::Operation);
            }
            Happening::Trouble | Happening::Operation => {}
        }
    }

    // --- faults ---------------------------------------------------------------------------------

    fn trouble(&mut self) {
        let node = self.random.below(self.nodes.len() as u64) as usize;
        if self.random.permille(self.plan.crash) {
            self.crash(node);
        }
        if self.random.permille(self.plan.suspend) && self.nodes[node].replica.is_some() {
            let pause = self.random.choose(&[300, 1_500, 4_000]);
            self.trace(|_| format!("node {node} stands still for {pause} ms"));
            self.nodes[node].suspended_ms = self.now_ms + pause;
            self.marks.hit("node suspended");
        }
        if self.random.permille(self.plan.cut) {
            if self.nodes[node].connected {
                self.trace(|_| format!("link of node {node} is cut"));
                self.marks.hit("link cut");
                self.nodes[node].connected = false;
                self.nodes[node].sent = None;
            } else {
                self.connect(node);
            }
        }
        if self.random.permille(self.plan.delivery_end) && self.nodes[node].sent.is_some() {
            self.marks.hit("deliveries cut");
            self.nodes[node].sent = None;
            let life = self.nodes[node].life;
            let delay = self.random.below(500);
            self.schedule(delay, Happening::Answer(node, life, Answer::Connected));
        }
        if self.plan.skewed && self.random.permille(20) {
            self.nodes[node].skew_ms += self.random.choose(&[-2_000, -300, 300, 2_000]);
            self.marks.hit("clock jumped");
        }
        if self.random.permille(self.plan.lease_end) {
            self.stream.release_lease(None);
            self.marks.hit("lease over early");
        }
        if !self.damaged && self.random.permille(self.plan.damage) {
            let lose = self.random.below(2) == 0;
            self.damaged = self.stream.damage_snapshot(lose);
            self.marks.hit_if(self.damaged, "snapshot damaged");
        }
    }

    fn connect(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !std::mem::replace(&mut node.connected, true) {
            let life = node.life;
            self.trace(|_| format!("link of node {index} is up"));
            self.schedule(5, Happening::Answer(index, life, Answer::Connected));
        }
    }

    fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.replica.take().is_none() {
            return;
        }
        self.marks.hit("node crashed");
        self.users.forget(node.life, &mut self.marks);
        node.life = 0;
        node.suspended_ms = 0;
        node.sent = None;
        self.trace(|_| format!("node {index} crashes"));
        let pause = 50 + self.random.below(3_000);
        self.schedule(pause, Happening::Start(index));
    }

    fn start(&mut self, index: usize) {
        if self.nodes[index].replica.is_some() {
            return;
        }
        self.lives += 1;
        let endpoint = EndpointId::from_bytes(self.random.id());
        let id = EntityId {
            endpoint,
            object: 1,
        };
        let mut config = self.plan.replica.clone();
        if self.nodes[index].copy_only {
            config.candidacy = broker_proto::store::replica::Candidacy::CopyOnly;
        }
        let node = &mut self.nodes[index];
        node.life = self.lives;
        node.seen = 0;
        node.replica = Some(Replica::new(id, STORE, config));
        let life = self.lives;
        self.trace(|_| format!("node {index} starts as {id}"));
        self.act(index, |_| {});
        let phase = self.random.below(100);
        self.schedule(phase, Happening::Tick(index, life));
    }

    // --- replicas -------------------------------------------------------------------------------

    /// Lets a replica do something, carries out what it wants, and looks at it.
    fn act(&mut self, index: usize, what: impl FnOnce(&mut Replica)) {
        let Some(replica) = &mut self.nodes[index].replica else {
            return;
        };
        what(replica);
        while let Some(effect) = self.nodes[index]
            .replica
            .as_mut()
            .and_then(Replica::poll_effect)
        {
            self.carry_out(index, effect);
        }
        let look = self.random.below(16) == 0;
        let node = &mut self.nodes[index];
        let Some(replica) = &mut node.replica else {
            return;
        };
        let applied = replica.applied();
        if applied == node.seen && !look || !replica.has_state() {
            return;
        }
        node.seen = applied;
        let mut content = Content::new();
        replica.for_each(&mut |key, value, expiry| {
            content.insert(key.to_vec(), (value.to_vec(), expiry));
        });
        let expected = self.stream.digest_at(applied);
        assert_eq!(
            Some(digest(&content)),
            expected,
            "node {index} differs from the stream at {applied}: {content:?}"
        );
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let life = self.nodes[index].life;
        match effect {
            Effect::Store(Output::Send(message)) => {
                self.send_to_clones(&message.frame, message.receiver)
            }
            Effect::Store(Output::Fault(fault)) => {
                self.trace(|_| format!("node {index}: {}", fault.text));
                let left_out = fault.text.contains("is left out");
                self.marks.hit_if(left_out, "snapshot left out");
            }
            Effect::Store(Output::Event(_) | Output::Answer { .. }) => {}
            Effect::Append {
                id,
                expected,
                entry,
            } => self.append(index, id, expected, entry),
            Effect::ReadTail { after } => {
                if self.defect == Some(Defect::TailIgnored) {
                    return self.pretend_fenced(index, after);
                }
                self.send(index, Request::Tail(after));
            }
            Effect::Follow { after } => {
                let node = &mut self.nodes[index];
                node.subscription += 1;
                let subscription = node.subscription;
                self.send(
                    index,
                    Request::Follow {
                        subscription,
                        after,
                    },
                );
            }
            Effect::AcquireLease => {
                let lease_ms = self.plan.replica.lease.ns() / 1_000_000;
                self.send(index, Request::AcquireLease(lease_ms));
            }
            Effect::ReleaseLease => self.send(index, Request::ReleaseLease),
            Effect::ListSnapshots => self.send(index, Request::List),
            Effect::ReadSnapshot { sequence } => self.send(index, Request::Read(sequence)),
            Effect::WriteSnapshot { sequence, chunks } => {
                self.send(index, Request::Write(sequence, chunks));
                if self.defect == Some(Defect::CompactionUnchecked) {
                    self.send(index, Request::Compact(sequence));
                }
            }
            Effect::DeleteSnapshot { sequence } => self.send(index, Request::Delete(sequence)),
            Effect::Compact { through } => self.send(index, Request::Compact(through)),
            Effect::Done { ticket, verdict } => {
                self.trace(|_| format!("node {index} answers {ticket}: {verdict:?}"));
                self.users
                    .done(ticket, &verdict, self.happened, &mut self.marks);
                self.happened += 1;
            }
            Effect::Became(standing) => {
                self.trace(|_| format!("node {index} is {standing:?} now"));
                match &standing {
                    Standing::Leader => self.marks.hit("took over"),
                    Standing::Standby(Some(StepDown::Fenced(_))) => self.marks.hit("fenced"),
                    Standing::Standby(Some(StepDown::LeaseLost)) => self.marks.hit("lease lost"),
                    Standing::Standby(Some(StepDown::LeftBehind)) => self.marks.hit("left behind"),
                    Standing::Stopped(reason) => panic!("node {index} stops: {reason}"),
                    Standing::Standby(_) | Standing::Loading => {
                        let replica = self.nodes[index].replica.as_ref();
                        let applied = replica.is_some_and(|it| it.has_state() && it.applied() > 0);
                        self.marks
                            .hit_if(applied && life > 0, "began with a snapshot");
                    }
                }
            }
        }
    }

    fn append(&mut self, index: usize, id: EntryId, wanted: u64, entry: Arc<[u8]>) {
        let life = self.nodes[index].life;
        let read = StreamEntry::parse(&entry).expect("replicas write entries");
        self.marks.hit_if(
            read.count > 2 && read.kind == EntryKind::Group,
            "group of several requests",
        );
        let expires = |it| {
            matches!(
                it,
                broker_proto::store::replica::entry::Mutation::Expire { .. }
            )
        };
        self.marks.hit_if(read.iter().any(expires), "entry expired");
        self.trace(|_| {
            format!(
                "node {index} appends {} behind {wanted}: {} mutations",
                id.number, read.count
            )
        });
        let early = self.defect == Some(Defect::AnswerBeforeAck);
        let expected = (self.defect != Some(Defect::Unfenced)).then_some(wanted);
        let request = Request::Append {
            id,
            expected,
            wanted,
            entry,
            answered: !early,
        };
        if early {
            let sequence = wanted + 1;
            let answer = Answer::Append(id, AppendOutcome::Stored { sequence });
            self.schedule(0, Happening::Answer(index, life, answer));
        }
        self.send(index, request);
    }

    /// What a runtime would do that takes every append without an answer for refused.
    fn pretend_fenced(&mut self, index: usize, after: u64) {
        let id = EntryId {
            leader: EntityId {
                endpoint: EndpointId::from_bytes([1; 16]),
                object: 1,
            },
            number: 1,
        };
        let time = Timestamp::EPOCH;
        let entry = StreamEntry {
            id,
            kind: EntryKind::TakeOver,
            time,
            count: 0,
            mutations: &[],
        };
        let life = self.nodes[index].life;
        let tail = Tail::Entry(entry.encode().into());
        self.schedule(0, Happening::Answer(index, life, Answer::Tail(after, tail)));
    }

    /// An answer reaches a node.
    fn hear(&mut self, index: usize, answer: Answer) {
        let now = self.clock(index);
        self.trace(|_| match &answer {
            Answer::Read(sequence, _) => format!("node {index} has read snapshot {sequence}"),
            Answer::Tail(after, Tail::Entry(_)) => {
                format!("node {index} sees an entry behind {after}")
            }
            other => format!("node {index} hears {other:?}"),
        });
        match answer {
            Answer::Append(id, outcome) => {
                self.marks
                    .hit_if(outcome == AppendOutcome::Refused, "append refused");
                self.act(index, |replica| replica.handle_append(now, id, outcome));
            }
            Answer::Tail(after, tail) => {
                let before = self.nodes[index].replica.as_ref().map(Replica::applied);
                let outcome = match &tail {
                    Tail::Entry(entry) => TailOutcome::Entry { entry },
                    Tail::End => TailOutcome::End,
                    Tail::Compacted(first) => TailOutcome::Compacted { first: *first },
                };
                self.marks
                    .hit_if(matches!(tail, Tail::End), "append sent again");
                self.act(index, |replica| replica.handle_tail(now, after, outcome));
                let replica = self.nodes[index].replica.as_ref();
                let leads = replica.is_some_and(Replica::is_leader);
                let applied = replica.map(Replica::applied);
                self.marks
                    .hit_if(leads && applied > before, "append found at the tail");
            }
            Answer::Lease(outcome) => {
                self.act(index, |replica| replica.handle_lease(now, outcome));
            }
            Answer::List(sequences) => {
                self.act(index, |replica| replica.handle_snapshots(&sequences));
            }
            Answer::Read(sequence, chunks) => {
                self.act(index, |replica| {
                    replica.handle_snapshot(sequence, chunks.as_deref())
                });
            }
            Answer::Written(sequence) => {
                self.act(index, |replica| {
                    replica.handle_snapshot_written(sequence, true)
                });
            }
            Answer::Gap(first) => self.act(index, |replica| replica.handle_gap(first)),
            Answer::Connected => {
                if self.nodes[index].connected {
                    self.act(index, Replica::handle_connected);
                }
            }
            Answer::FollowAgain(subscription, after) => {
                if self.nodes[index].subscription == subscription {
                    self.send(
                        index,
                        Request::Follow {
                            subscription,
                            after,
                        },
                    );
                }
            }
        }
    }
}

fn is_leader(node: &Node) -> bool {
    node.replica.as_ref().is_some_and(Replica::is_leader)
}

fn pair<'a>(entry: (&'a Vec<u8>, &'a (Vec<u8>, Option<Timestamp>))) -> (&'a [u8], &'a [u8]) {
    (entry.0, &entry.1.0)
}
