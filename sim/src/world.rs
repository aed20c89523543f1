//! Nodes on a network, and the clock that moves them.

mod checks;
mod operations;

use std::collections::BTreeMap;
use std::io::Write;

use broker_data::Timestamp;
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{Contact, Master, Output, Role, StoreClone, mark};
use broker_proto::{EndpointId, Envelope, ErrorCode};

use crate::disk::{Disk, DiskBackend};
use crate::ledger::{Ledger, Replayed};
use crate::marks::Marks;
use crate::model::Model;
use crate::network::{Fate, Network};
use crate::plan::Plan;
use crate::random::Random;
use crate::user;

/// Milliseconds between two ticks of a store.
const TICK_MS: i64 = 100;

/// The time of day when a world begins.
const EPOCH_MS: i64 = 1_000_000;

/// By then everything must have come to rest: the longest time-out of all plans fits in twice.
const REST_MS: i64 = 150_000;

/// For so long everything must stay at rest to be believed.
const QUIET_TICKS: u32 = 12;

/// The nodes that are masters whenever they are up; all others are clones.
const MASTERS: usize = 2;

/// Something that happens at some time.
#[derive(Debug)]
enum Happening {
    /// A store's timer, of one life of a node.
    Tick(usize, u64),
    /// A message arrives at a node.
    Arrival {
        from: usize,
        to: usize,
        frame: std::sync::Arc<[u8]>,
    },
    /// A group of a master ends, of one life of a node.
    Commit(usize, u64),
    /// The first entry of a master is over, of one life of a node.
    Expiry(usize, u64),
    /// Users and faults do what they do every 100 ms.
    Unrest,
    /// Some user does something.
    Operation,
    /// A node learns who its peers are.
    Look(usize),
    /// A node starts.
    Start(usize),
}

/// A place where a store lives, crashes and lives again.
#[derive(Debug)]
struct Node {
    endpoint: EndpointId,
    /// Counts all lives of all nodes.
    life: u64,
    state: State,
    /// What a local subscriber put together from the events of this life.
    replayed: Replayed,
    requests: u64,
    disk: Disk,
    /// When its master was last heard of by a clone.
    heard_ms: i64,
    followed: Option<EntityId>,
    stale: bool,
    /// Until then its process stands still: what arrives waits, and ticks are left out.
    suspended_ms: i64,
    left_out: u64,
    /// When it is called because an entry is over.
    expiry_ms: Option<i64>,
}

#[derive(Debug)]
enum State {
    Down,
    Master(Box<Master<DiskBackend>>),
    Clone(Box<StoreClone>),
}

/// A whole cluster.
pub struct World {
    plan: Plan,
    random: Random,
    network: Network,
    nodes: Vec<Node>,
    queue: BTreeMap<(i64, u64), Happening>,
    happened: u64,
    now_ms: i64,
    lives: u64,
    operations: u64,
    unrest: bool,
    ledger: Ledger,
    traced: bool,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let mut world = Self {
            network: Network::new(&plan, MASTERS + plan.clones),
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            happened: 0,
            now_ms: 0,
            lives: 0,
            operations: 0,
            unrest: true,
            ledger: Ledger::default(),
            traced,
            plan,
            random,
        };
        world.trace(|world| format!("{:#?}", world.plan));
        for _ in 0..MASTERS + world.plan.clones {
            world.nodes.push(Node {
                endpoint: EndpointId::NIL,
                life: 0,
                state: State::Down,
                replayed: Replayed::default(),
                requests: 0,
                disk: Disk::default(),
                heard_ms: 0,
                followed: None,
                stale: false,
                suspended_ms: 0,
                left_out: 0,
                expiry_ms: None,
            });
        }
        for node in 0..world.nodes.len() {
            let latest = world.random.choose(&[10, 500, 3_000]);
            let at = match node {
                1 if !world.plan.rival => continue,
                1 => 500 + world.random.below(5_000),
                _ => world.random.below(latest),
            };
            world.schedule(at, Happening::Start(node));
        }
        world.schedule(100, Happening::Unrest);
        world.schedule(0, Happening::Operation);
        world
    }

    /// What happened in it.
    pub fn marks(&self) -> &Marks {
        &self.ledger.marks
    }

    /// Lets users and faults do what they do.
    pub fn unrest(&mut self) {
        self.run_until(self.plan.unrest_ms);
    }

    /// Ends all faults and waits until everything has come to rest.
    pub fn rest(&mut self) {
        self.unrest = false;
        self.trace(|_| "-- rest --".to_owned());
        for (to, message) in self.network.heal() {
            let (from, frame) = message;
            self.schedule(1, Happening::Arrival { from, to, frame });
        }
        if !self.plan.rival_stays {
            self.crash(1);
        }
        for node in 0..self.nodes.len() {
            let wanted = node != 1 || (self.plan.rival && self.plan.rival_stays);
            let waits = |it: &Happening| matches!(it, Happening::Start(other) if *other == node);
            self.queue.retain(|_, it| wanted || !waits(it));
            let down = matches!(self.nodes[node].state, State::Down);
            if wanted && down && !self.queue.values().any(waits) {
                self.schedule(10, Happening::Start(node));
            }
            self.schedule(20, Happening::Look(node));
        }
        let deadline = self.now_ms + REST_MS;
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            let problem = self.restless();
            match problem {
                None => quiet += 1,
                Some(problem) => {
                    quiet = 0;
                    assert!(self.now_ms < deadline, "no rest: {problem}");
                }
            }
            self.run_until(self.now_ms + TICK_MS);
        }
        self.check_end();
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

    fn now(&self) -> Timestamp {
        Timestamp::from_ns((EPOCH_MS + self.now_ms) * 1_000_000)
    }

    fn happen(&mut self, happening: Happening) {
        let node = match happening {
            Happening::Tick(node, _)
            | Happening::Commit(node, _)
            | Happening::Expiry(node, _)
            | Happening::Look(node) => node,
            Happening::Arrival { to, .. } => to,
            _ => usize::MAX,
        };
        let waits = self.nodes.get(node).map_or(0, |it| it.suspended_ms);
        if let Ok(delay_ms @ 1..) = u64::try_from(waits - self.now_ms) {
            return self.schedule(delay_ms, happening);
        }
        if let Some(it) = self.nodes.get_mut(node)
            && let State::Clone(clone) = &mut it.state
        {
            clone.skip_ticks(std::mem::take(&mut it.left_out));
        }
        match happening {
            Happening::Start(node) => self.start(node),
            Happening::Tick(node, life) if self.nodes[node].life == life => self.tick(node),
            Happening::Commit(node, life) if self.nodes[node].life == life => self.commit(node),
            Happening::Expiry(node, life) if self.nodes[node].life == life => self.expire(node),
            Happening::Tick(..) | Happening::Commit(..) | Happening::Expiry(..) => {}
            Happening::Arrival { from, to, frame } => self.arrive(from, to, &frame),
            Happening::Look(node) => self.look(node),
            Happening::Unrest if self.unrest => {
                self.trouble();
                self.schedule(100, Happening::Unrest);
            }
            Happening::Operation if self.unrest => {
                self.operate();
                let next = 1 + self.random.below(2 * self.plan.operation_every_ms);
                self.schedule(next, Happening::Operation);
            }
            Happening::Unrest | Happening::Operation => {}
        }
    }

    fn trace(&self, line: impl FnOnce(&Self) -> String) {
        if self.traced {
            let line = line(self);
            let _ = writeln!(std::io::stdout(), "{:>7} ms  {line}", self.now_ms);
        }
    }

    // --- faults ---------------------------------------------------------------------------------

    fn trouble(&mut self) {
        for master in 0..MASTERS {
            if self.random.permille(self.plan.master_crash) {
                self.crash(master);
            }
        }
        if self.plan.clones > 0 && self.random.permille(self.plan.clone_crash) {
            let clone = MASTERS + self.random.below(self.plan.clones as u64) as usize;
            self.crash(clone);
        }
        if self.random.permille(self.plan.suspend) {
            let node = self.random.below(self.nodes.len() as u64) as usize;
            let ticks = self.random.choose(&[5, 20, 100]);
            self.suspend(node, ticks);
        }
        if self.random.permille(self.plan.partition) {
            let a = self.random.below(MASTERS as u64) as usize;
            let others = (self.nodes.len() - a - 1) as u64;
            if others == 0 {
                return;
            }
            let b = a + 1 + self.random.below(others) as usize;
            let (up, released) = self.network.flip(a, b);
            self.trace(|_| format!("link {a}-{b} is {}", if up { "up" } else { "down" }));
            if !up {
                self.ledger.marks.hit("partition");
            }
            for (to, (from, frame)) in released {
                self.schedule(1, Happening::Arrival { from, to, frame });
            }
            for node in [a, b] {
                let delay = self.random.below(500);
                self.schedule(delay, Happening::Look(node));
            }
        }
    }

    fn crash(&mut self, node: usize) {
        if matches!(self.nodes[node].state, State::Down) {
            return;
        }
        self.trace(|_| format!("node {node} crashes"));
        self.ledger.marks.hit(if node < MASTERS {
            "master crashed"
        } else {
            "clone crashed"
        });
        self.nodes[node].state = State::Down;
        self.nodes[node].life = 0;
        self.nodes[node].suspended_ms = 0;
        self.nodes[node].left_out = 0;
        if self.unrest {
            let pause = 50 + self.random.below(5_000);
            self.schedule(pause, Happening::Start(node));
        }
        self.everybody_looks();
    }

    /// A process stands still for as many ticks.
    fn suspend(&mut self, index: usize, ticks: u64) {
        let node = &mut self.nodes[index];
        if matches!(node.state, State::Down) || node.suspended_ms > self.now_ms {
            return;
        }
        node.suspended_ms = self.now_ms + i64::try_from(ticks).unwrap_or(0) * TICK_MS;
        node.left_out = ticks;
        self.trace(|_| format!("node {index} is suspended for {ticks} ticks"));
        self.ledger.marks.hit("node suspended");
    }

    fn everybody_looks(&mut self) {
        for node in 0..self.nodes.len() {
            let delay = self.random.below(300);
            self.schedule(delay, Happening::Look(node));
        }
    }

    fn start(&mut self, index: usize) {
        if !matches!(self.nodes[index].state, State::Down) {
            return;
        }
        self.lives += 1;
        let (life, endpoint) = (self.lives, EndpointId::from_bytes(self.random.id()));
        let object = 1 + self.random.below(9);
        let id = EntityId { endpoint, object };
        let config = self.plan.config.clone();
        self.trace(|_| format!("node {index} starts as {id}"));
        let node = &mut self.nodes[index];
        node.endpoint = endpoint;
        node.life = life;
        node.replayed = Replayed::default();
        node.heard_ms = self.now_ms;
        node.followed = None;
        node.expiry_ms = None;
        if index < MASTERS {
            if !self.plan.persistent {
                node.disk.wipe();
            }
            node.disk.fail_commit(false);
            node.disk.fail_call(None);
            let mut master = Master::new(id, "s", node.disk.open(), config).expect("it opens");
            master.set_observed(true);
            node.replayed = Replayed::new(node.disk.committed());
            // What the last life on this disk left, with its times.
            let content = if self.plan.persistent {
                self.ledger.last_content(index)
            } else {
                Model::default()
            };
            self.ledger.open(index, id, &content);
            node.state = State::Master(Box::new(master));
        } else {
            let id = mark::clone_id(id);
            let mut clone = StoreClone::new(id, "s", config, self.plan.options.clone());
            clone.set_observed(true);
            node.state = State::Clone(Box::new(clone));
        }
        self.drain(index);
        let phase = self.random.below(100);
        self.schedule(phase, Happening::Tick(index, life));
        self.everybody_looks();
    }

    /// A node is told what its peers and their subscriptions are now.
    fn look(&mut self, index: usize) {
        let master_at = |world: &Self, other: usize| match &world.nodes[other].state {
            State::Master(master) if other != index && world.network.is_connected(index, other) => {
                Some(master.id().endpoint)
            }
            _ => None,
        };
        let masters: Vec<EndpointId> = (0..MASTERS).filter_map(|it| master_at(self, it)).collect();
        match &mut self.nodes[index].state {
            State::Down => return,
            State::Master(master) => master.set_suspects(&masters),
            State::Clone(clone) => clone.set_reachable(!masters.is_empty()),
        }
        self.drain(index);
    }

    // --- what nodes do --------------------------------------------------------------------------

    fn tick(&mut self, index: usize) {
        let now = self.now();
        let life = self.nodes[index].life;
        let failed = match &mut self.nodes[index].state {
            State::Down => return,
            State::Master(master) => {
                master.handle_tick(now);
                self.ledger.expire(master.id(), now);
                false
            }
            State::Clone(clone) => {
                clone.handle_tick();
                clone.contact() == Contact::Failed
            }
        };
        if failed && (!self.unrest || self.random.below(5) == 0) {
            self.trace(|_| format!("node {index} searches again"));
            if let State::Clone(clone) = &mut self.nodes[index].state {
                clone.search_again();
            }
        }
        self.note_retired(index);
        if index < MASTERS {
            self.commit(index);
        }
        self.drain(index);
        self.check_bounds(index);
        self.schedule(TICK_MS as u64, Happening::Tick(index, life));
    }

    /// Removes what is over at a master.
    fn expire(&mut self, index: usize) {
        let now = self.now();
        let node = &mut self.nodes[index];
        node.expiry_ms = None;
        let State::Master(master) = &mut node.state else {
            return;
        };
        if master.next_expiry().is_some_and(|at| at <= now) {
            master.handle_expiry(now);
            self.ledger.expire(master.id(), now);
            self.end_group(index);
        }
        self.await_expiry(index);
    }

    /// Calls a master when its first entry is over.
    fn await_expiry(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let State::Master(master) = &node.state else {
            return;
        };
        let Some(at) = master.next_expiry() else {
            return;
        };
        let at_ms = (at.ns() / 1_000_000 - EPOCH_MS).max(self.now_ms);
        if node.expiry_ms.is_none_or(|before| at_ms < before) {
            node.expiry_ms = Some(at_ms);
            let life = node.life;
            let delay_ms = u64::try_from(at_ms - self.now_ms).unwrap_or(0);
            self.schedule(delay_ms, Happening::Expiry(index, life));
        }
    }

    fn arrive(&mut self, from: usize, to: usize, frame: &[u8]) {
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).expect("an envelope");
        let payload = envelope.payload.to_vec();
        let command = Command::parse(&payload).expect("a command");
        if matches!(self.nodes[to].state, State::Down) {
            return;
        }
        let for_it = envelope.receiver.is_nil() || envelope.receiver == self.nodes[to].endpoint;
        if !for_it {
            return;
        }
        self.trace(|_| format!("  {from} -> {to}: {}", describe(&command)));
        if to < MASTERS {
            self.arrive_at_master(to, &command, &payload);
        } else {
            self.arrive_at_clone(to, &command, &payload);
        }
    }

    fn arrive_at_master(&mut self, index: usize, command: &Command<'_>, payload: &[u8]) {
        let now = self.now();
        let (calls, call_fails) = (
            self.random.below(3),
            self.random.permille(self.plan.call_failure),
        );
        let node = &mut self.nodes[index];
        let State::Master(master) = &mut node.state else {
            return;
        };
        let (id, writer, writable) = (master.id(), command.sender, master.is_writable());
        let mine = command.receiver.is_nil() || command.receiver == id;
        let (known, before) = (master.has_clone(writer), master.applied(writer));
        let was_writer = master.has_writer(writer);
        // One that was given up goes on with whatever it says.
        let goes_on = before.is_some() && !matches!(command.content, Content::AttachWriter { .. });
        if call_fails && self.unrest {
            node.disk.fail_call(Some(calls));
        }
        let (clones, kept) = (master.clones(), master.kept_bytes());
        master.handle_command(now, command, payload);
        // What a full buffer does not keep is as good as lost.
        let applied = master.applied(writer) >= Some(command.seq);
        let gave_way = writable && !master.is_writable();
        self.ledger.marks.hit_if(gave_way, "master gave way");
        if mine && (was_writer || goes_on) && (applied || master.kept_bytes() > kept) {
            self.ledger.reached(id, command);
        }
        if !known && master.has_clone(writer) && !asks_for_handshake(command) {
            self.ledger.marks.hit("clone taken back");
        }
        if master.clones() < clones && !asks_for_handshake(command) {
            self.ledger.marks.hit("clone dropped for its backlog");
        }
        if !was_writer && master.has_writer(writer) {
            self.ledger.writer_opened(id, writer);
        }
        let applied = (before, master.applied(writer));
        if let (Some(before), Some(after)) = applied
            && (was_writer || goes_on)
        {
            for seq in before + 1..=after {
                if let Some(operation) = self.ledger.request(id, writer, seq) {
                    self.ledger.apply(id, now, &operation, writable);
                }
            }
        }
        self.note_retired(index);
        self.end_group(index);
    }

    fn arrive_at_clone(&mut self, index: usize, command: &Command<'_>, payload: &[u8]) {
        let now = self.now();
        let node = &mut self.nodes[index];
        let State::Clone(clone) = &mut node.state else {
            return;
        };
        let before = clone.master();
        let attachment = clone.attachment_id();
        clone.handle_command(now, command, payload);
        if clone.attachment_id() != attachment {
            node.replayed.forget_ends();
        }
        let position = clone.id();
        if let Some(master) = clone.master() {
            if before != Some(master) || node.followed.is_none() {
                let mark = match node.followed {
                    None => "attached",
                    Some(_) => "reattached to another master",
                };
                self.ledger.marks.hit(mark);
                node.followed = Some(master);
            } else if matches!(command.content, Content::AckClone { .. })
                && position == command.receiver
            {
                self.ledger.marks.hit("reattached to the same master");
            }
            if command.sender == master {
                node.heard_ms = self.now_ms;
            }
        }
        self.drain(index);
    }

    /// Ends the group of a master now or a little later.
    fn end_group(&mut self, index: usize) {
        if self.random.below(3) == 0 {
            let life = self.nodes[index].life;
            self.schedule(1, Happening::Commit(index, life));
        } else {
            self.commit(index);
        }
    }

    fn commit(&mut self, index: usize) {
        let fails = self.unrest && self.random.permille(self.plan.commit_failure);
        let node = &mut self.nodes[index];
        let State::Master(master) = &mut node.state else {
            return;
        };
        node.disk.fail_commit(fails);
        let worked = master.commit().is_ok();
        node.disk.fail_call(None);
        let (id, seq, followed) = (master.id(), master.seq(), master.clones() > 0);
        self.ledger.commit(id, seq, worked, followed);
        self.ledger.check_committed(id, &node.disk.committed());
        if !worked {
            self.trace(|_| format!("commit of {index} fails"));
        }
        self.drain(index);
    }

    /// Carries out what a node wants done, and looks at what it says.
    fn drain(&mut self, index: usize) {
        loop {
            let output = match &mut self.nodes[index].state {
                State::Down => return,
                State::Master(master) => master.poll_output(),
                State::Clone(clone) => clone.poll_output(),
            };
            match output {
                None => break,
                Some(output) => self.carry_out(index, output),
            }
        }
        self.note_retired(index);
        self.await_expiry(index);
        self.check_node(index);
    }

    /// Finds out which writers a master has given up.
    fn note_retired(&mut self, index: usize) {
        if let State::Master(master) = &self.nodes[index].state {
            for writer in self.ledger.writers(master.id()) {
                if !master.has_writer(writer) {
                    self.ledger.retired(master.id(), writer);
                }
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now();
        let node = &mut self.nodes[index];
        match output {
            Output::Send(message) => {
                let envelope = Envelope::parse(&message.frame[FRAME_LEN_SIZE..]);
                let payload = envelope.expect("an envelope").payload;
                let command = Command::parse(payload).expect("a command");
                if index < MASTERS {
                    self.ledger.sent_by_master(&command, payload)
                } else {
                    self.ledger.sent_by_clone(&command, payload)
                }
                self.send(index, &message.frame, message.role, message.receiver);
            }
            Output::Event(event) => node.replayed.replay(now, &event),
            Output::Fault(fault) => {
                self.trace(|_| format!("node {index} is told: {}", fault.text));
                self.hear_fault(index, fault.code, &fault.text);
            }
            Output::Answer {
                who,
                request,
                result,
            } => {
                if who.endpoint == node.endpoint {
                    self.trace(|_| format!("node {index} answers {request}: {result:?}"));
                    let result = result.map_err(|_| ());
                    self.ledger.answer(who, request, result, index < MASTERS);
                }
            }
        }
    }

    fn hear_fault(&mut self, index: usize, code: ErrorCode, text: &str) {
        let life = self.nodes[index].life;
        if index < MASTERS {
            return;
        }
        match code {
            ErrorCode::NoSuchMaster => self.ledger.marks.hit("search failed"),
            ErrorCode::RequestTimeout => self.ledger.marks.hit("request unknown"),
            _ => {}
        }
        // How many requests it is about, if more than one.
        let words: Vec<&str> = text.split(' ').collect();
        let count = words.windows(2).find(|pair| pair[1] == "requests");
        let count = count.and_then(|pair| pair[0].parse().ok()).unwrap_or(1);
        self.ledger.report(life, count);
    }

    fn send(
        &mut self,
        from: usize,
        frame: &std::sync::Arc<[u8]>,
        role: Role,
        receiver: EndpointId,
    ) {
        let nodes = match role {
            Role::Master => 0..MASTERS,
            Role::Clone => MASTERS..self.nodes.len(),
        };
        for to in nodes {
            let for_it = receiver.is_nil() || receiver == self.nodes[to].endpoint;
            if to == from || !for_it {
                continue;
            }
            let fates = self.network.send(
                &mut self.random,
                self.now_ms,
                (from, to),
                frame,
                receiver.is_nil(),
            );
            for fate in fates {
                match fate {
                    Fate::Arrives { delay_ms, mark } => {
                        if let Some(mark) = mark {
                            self.ledger.marks.hit(mark);
                        }
                        let frame = frame.clone();
                        self.schedule(delay_ms, Happening::Arrival { from, to, frame });
                    }
                    Fate::Lost => self.ledger.marks.hit("message lost"),
                    Fate::Stalled => self.ledger.marks.hit("message stalled"),
                }
            }
        }
    }
}

fn asks_for_handshake(command: &Command<'_>) -> bool {
    matches!(&command.content, Content::Nack { missing } if missing.first() == Some(&0))
}

/// A command in a line of a trace.
fn describe(command: &Command<'_>) -> String {
    let what = match &command.content {
        Content::AckClone {
            offset, entries, ..
        } => format!("ack_clone {offset} with {} entries", entries.len()),
        Content::Nack { missing } => format!("nack {missing:?}"),
        Content::CumulativeAck { seq } => format!("ack {seq}"),
        Content::Keepalive { seq } => format!("keepalive {seq}"),
        Content::RetransmitFailed { seq } => format!("retransmit_failed {seq}"),
        Content::AttachWriter { offset, .. } => format!("attach_writer {offset}"),
        Content::PutUniqueResult {
            inserted, request, ..
        } => format!("put_unique_result {request} {inserted}"),
        Content::Expire { key, .. } => format!("expire {}", broker_data::View::trusted(key)),
        action => match user::operation_of(action) {
            Some(operation) => format!("{operation:?}"),
            None => format!("{action:?}"),
        },
    };
    let receiver = if command.receiver.is_nil() {
        "all".to_owned()
    } else {
        format!("{:x}", command.receiver.object)
    };
    format!(
        "{} {:x}->{receiver}: {what}",
        command.seq, command.sender.object
    )
}
