//! Any sequence of requests, commands of strangers and ticks: a master and its clone never panic,
//! keep what they are allowed to keep, the master holds what a reference model holds, and in the
//! end the clone equals the master.

#![no_main]

use std::collections::BTreeMap;

use broker_data::{Timespan, Timestamp};
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{
    CloneOptions, Master, Memory, Message, Output, Role, StoreClone, StoreConfig,
};
use broker_proto::{EndpointId, Envelope};
use broker_sim::model::{Model, Operation, Verdict};
use broker_sim::random::Random;
use broker_sim::user::{Encoded, invent, operation_of};
use libfuzzer_sys::fuzz_target;

const MASTER: EntityId = entity(1, 7);
const CLONE: EntityId = entity(2, 3);
const STRANGER: EntityId = entity(9, 1);
const BUFFER_BYTES_MAX: usize = 4_000;

const fn entity(endpoint: u8, object: u64) -> EntityId {
    EntityId {
        endpoint: EndpointId::from_bytes([endpoint; 16]),
        object,
    }
}

struct World {
    master: Master<Memory>,
    clone: StoreClone,
    model: Model,
    now: Timestamp,
    wire: Vec<Message>,
    made: u64,
    /// Requests of the clone by number.
    requests: BTreeMap<(EntityId, u64), Operation>,
}

fuzz_target!(|bytes: &[u8]| {
    let config = StoreConfig {
        connection_timeout: 4,
        buffer_bytes_max: BUFFER_BYTES_MAX,
        ..StoreConfig::default()
    };
    let master = Master::new(MASTER, "s", Memory::new(), config.clone()).expect("it is empty");
    let options = CloneOptions {
        // Nothing is given up, so that everything has to be applied.
        mutation_buffer_interval: Timespan::from_ns(i64::MAX),
        ..CloneOptions::default()
    };
    let mut clone = StoreClone::new(CLONE, "s", config, options);
    clone.set_reachable(true);
    let mut world = World {
        master,
        clone,
        model: Model::default(),
        now: Timestamp::EPOCH,
        wire: Vec::new(),
        made: 0,
        requests: BTreeMap::new(),
    };
    let mut bytes = bytes.iter().copied();
    while let Some(step) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        world.step(step, argument, &mut bytes);
        world.check();
    }
    for _ in 0..600 {
        world.tick();
        world.clone.search_again();
        world.deliver(usize::MAX);
        world.check();
    }
    let mut content = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| content.push((key.to_vec(), value.to_vec()));
    world
        .master
        .for_each(world.now, visit)
        .expect("memory works");
    let copy = world.clone.iter(world.now).expect("it has attached");
    let copy: Vec<_> = copy
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(copy, content);
    let model: Vec<_> = world.model.live_bytes(world.now).into_iter().collect();
    assert_eq!(content, model);
});

impl World {
    fn step(&mut self, step: u8, argument: u8, bytes: &mut impl Iterator<Item = u8>) {
        match step % 8 {
            0 | 1 => self.request_at_master(argument),
            2 => self.request_at_clone(argument),
            3 => self.deliver(usize::from(argument)),
            4 => drop(
                self.wire
                    .drain(..usize::from(argument).min(self.wire.len())),
            ),
            5 => {
                if let Some(message) = self.wire.get(usize::from(argument)) {
                    let message = message.clone();
                    self.wire.push(message);
                }
            }
            6 if argument < 128 => self.tick(),
            6 => self.pass_time(argument),
            _ => self.strange_command(argument, bytes),
        }
        self.collect();
    }

    fn request_at_master(&mut self, argument: u8) {
        self.made += 1;
        let mut random = Random::new(u64::from(argument));
        let operation = invent(&mut random, self.made, true);
        let encoded = Encoded::new(&operation);
        let content = encoded.content(MASTER, entity(1, 9), self.made);
        let result = self.master.request(self.now, &content).ok();
        let expected = match self.model.apply(self.now, &operation) {
            Verdict::Done => Some(true),
            Verdict::Present => Some(false),
            Verdict::Refused => None,
        };
        assert_eq!(result, expected, "{operation:?}");
    }

    fn request_at_clone(&mut self, argument: u8) {
        self.made += 1;
        let mut random = Random::new(u64::from(argument));
        let encoded = Encoded::new(&invent(&mut random, self.made, true));
        let content = encoded.content(CLONE, entity(2, 9), self.made);
        // It may be full.
        let _ = self.clone.request(&content);
    }

    /// Something from nobody we know, about numbers that are near or absurd.
    fn strange_command(&mut self, argument: u8, bytes: &mut impl Iterator<Item = u8>) {
        let mut number = || match bytes.next().unwrap_or(0) {
            near @ 0..=99 => u64::from(near),
            far @ 100..=199 => u64::from(far) << 40,
            end => u64::MAX - u64::from(255 - end),
        };
        let content = match argument % 7 {
            0 => Content::Nack {
                missing: vec![number(), number(), number()].into(),
            },
            1 => Content::CumulativeAck { seq: number() },
            2 => Content::AttachWriter {
                offset: number(),
                heartbeat: argument.into(),
            },
            3 => Content::Keepalive { seq: number() },
            4 => Content::RetransmitFailed { seq: number() },
            5 => Content::Nack {
                missing: vec![0].into(),
            },
            _ => Content::PutUniqueResult {
                inserted: true,
                who: entity(2, 9),
                request: number(),
                publisher: STRANGER,
            },
        };
        let object = u64::from(argument / 7);
        let command = Command {
            seq: number(),
            sender: EntityId { object, ..STRANGER },
            receiver: [EntityId::NIL, MASTER, CLONE][usize::from(argument) % 3],
            content,
        };
        let mut payload = Vec::new();
        command.encode(&mut payload);
        self.master.handle_command(self.now, &command, &payload);
        self.clone.handle_command(self.now, &command, &payload);
    }

    fn tick(&mut self) {
        self.now = self.now.saturating_add(Timespan::from_millis(100));
        self.master.handle_tick(self.now);
        self.model.expire(self.now);
        self.clone.handle_tick();
        self.collect();
    }

    /// Some time passes within a tick. The master is told, as its host does when an entry is over,
    /// or not yet: what is over is gone for reads either way.
    fn pass_time(&mut self, argument: u8) {
        let ms = i64::from(argument % 64);
        self.now = self.now.saturating_add(Timespan::from_millis(ms));
        let is_due = self.master.next_expiry().is_some_and(|at| at <= self.now);
        if is_due && argument & 64 == 0 {
            self.master.handle_expiry(self.now);
            self.model.expire(self.now);
        }
        let mut content = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| content.push((key.to_vec(), value.to_vec()));
        self.master.for_each(self.now, visit).expect("memory works");
        let model: Vec<_> = self.model.live_bytes(self.now).into_iter().collect();
        assert_eq!(content, model);
    }

    /// Delivers some of what is on its way, and what comes of it.
    fn deliver(&mut self, count: usize) {
        for message in self
            .wire
            .drain(..count.min(self.wire.len()))
            .collect::<Vec<_>>()
        {
            let envelope = Envelope::parse(&message.frame[4..]).expect("an envelope");
            let command = Command::parse(envelope.payload).expect("a command");
            match message.role {
                Role::Master => self.deliver_to_master(&command, envelope.payload),
                Role::Clone
                    if command.receiver.is_nil() || command.receiver.endpoint == CLONE.endpoint =>
                {
                    self.clone
                        .handle_command(self.now, &command, envelope.payload);
                }
                Role::Clone => {}
            }
            self.collect();
        }
    }

    /// The model follows: the numbers of a writer tell what the master has applied.
    fn deliver_to_master(&mut self, command: &Command<'_>, payload: &[u8]) {
        let writer = command.sender;
        let before = self.master.applied(writer);
        // Opening a writer may skip numbers; one that was given up goes on with whatever else it says.
        let is_opened = matches!(command.content, Content::AttachWriter { .. });
        let known = self.master.has_writer(writer) || !is_opened;
        self.master.handle_command(self.now, command, payload);
        let (Some(before), Some(after), true) = (before, self.master.applied(writer), known) else {
            return;
        };
        for seq in before + 1..=after {
            let operation = self.requests.get(&(writer, seq));
            self.model
                .apply(self.now, operation.expect("a request that was sent"));
        }
    }

    fn collect(&mut self) {
        self.master.commit().expect("memory works");
        while let Some(output) = self.master.poll_output() {
            if let Output::Send(message) = output {
                self.wire.push(message);
            }
        }
        while let Some(output) = self.clone.poll_output() {
            if let Output::Send(message) = output {
                let envelope = Envelope::parse(&message.frame[4..]).expect("an envelope");
                let command = Command::parse(envelope.payload).expect("a command");
                if let (Some(operation), true) = (operation_of(&command.content), command.seq > 0) {
                    let id = (command.sender, command.seq);
                    let before = self.requests.insert(id, operation.clone());
                    assert!(before.is_none_or(|before| before == operation));
                }
                self.wire.push(message);
            }
        }
        // What nobody takes is lost.
        let surplus = self.wire.len().saturating_sub(2_000);
        self.wire.drain(..surplus);
    }

    fn check(&mut self) {
        let slack = 4_096;
        assert!(self.master.unacknowledged().1 <= BUFFER_BYTES_MAX + slack);
        assert!(self.master.kept_bytes() <= 2 * BUFFER_BYTES_MAX + slack);
        assert!(self.clone.unacknowledged().1 <= BUFFER_BYTES_MAX + slack);
    }
}
