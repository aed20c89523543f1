//! A master and its clones on a network that the test controls message by message.

use broker_data::{Kind, Timespan, Timestamp, Value, View, to_bytes};
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{
    CloneOptions, Master, Memory, Message, Output, Role, StoreClone, StoreConfig, StoreFailure,
    mark,
};
use broker_proto::{EndpointId, Envelope};

/// One master, some clones, and what is on its way between them.
pub(crate) struct Cluster {
    pub(crate) master: Master<Memory>,
    pub(crate) clones: Vec<StoreClone>,
    pub(crate) now: Timestamp,
    wire: Vec<Message>,
    /// Everything that was sent, lost or not: the commands.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Whether a message is lost.
    loses: Box<dyn Fn(&Command<'_>) -> bool>,
    pub(crate) faults: Vec<(Role, String)>,
    pub(crate) answers: Vec<(u64, Result<bool, StoreFailure>)>,
    pub(crate) events: Vec<(Role, String)>,
}

pub(crate) fn id(endpoint: u8, object: u64) -> EntityId {
    EntityId {
        endpoint: EndpointId::from_bytes([endpoint; 16]),
        object,
    }
}

/// The first id of the clone of an endpoint.
pub(crate) fn ours(endpoint: u8) -> EntityId {
    mark::clone_id(id(endpoint, 3))
}

pub(crate) fn bytes(value: impl Into<Value>) -> Vec<u8> {
    to_bytes(&value.into()).unwrap()
}

pub(crate) fn command_of(message: &Message) -> (Vec<u8>, EndpointId) {
    let envelope = Envelope::parse(&message.frame[4..]).unwrap();
    (envelope.payload.to_vec(), envelope.receiver)
}

impl Cluster {
    pub(crate) fn new(clones: u8) -> Self {
        Self::with(clones, StoreConfig::default(), &CloneOptions::default())
    }

    pub(crate) fn with(clones: u8, config: StoreConfig, options: &CloneOptions) -> Self {
        let master = Master::new(id(1, 7), "s", Memory::new(), config.clone()).unwrap();
        let mut cluster = Self {
            master,
            clones: Vec::new(),
            now: Timestamp::EPOCH,
            wire: Vec::new(),
            sent: Vec::new(),
            loses: Box::new(|_| false),
            faults: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
        };
        cluster.master.set_observed(true);
        for number in 0..clones {
            let mut clone = StoreClone::new(ours(2 + number), "s", config.clone(), options.clone());
            clone.set_observed(true);
            clone.set_reachable(true);
            cluster.clones.push(clone);
        }
        cluster.deliver();
        cluster
    }

    /// From now on these messages are lost.
    pub(crate) fn lose(&mut self, which: impl Fn(&Command<'_>) -> bool + 'static) {
        self.loses = Box::new(which);
    }

    /// Moves messages until none is left.
    pub(crate) fn deliver(&mut self) {
        loop {
            self.collect();
            if self.wire.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                let (payload, receiver) = command_of(&message);
                let command = Command::parse(&payload).unwrap();
                self.sent.push(payload.clone());
                if (self.loses)(&command) {
                    continue;
                }
                let to = |id: EntityId| receiver.is_nil() || receiver == id.endpoint;
                match message.role {
                    Role::Master if to(self.master.id()) => {
                        self.master.handle_command(self.now, &command, &payload);
                        self.master.commit().unwrap();
                    }
                    Role::Master => {}
                    Role::Clone => {
                        for clone in self.clones.iter_mut().filter(|it| to(it.id())) {
                            clone.handle_command(self.now, &command, &payload);
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn collect(&mut self) {
        let mut outputs = Vec::new();
        while let Some(output) = self.master.poll_output() {
            outputs.push((Role::Master, output));
        }
        for clone in &mut self.clones {
            while let Some(output) = clone.poll_output() {
                outputs.push((Role::Clone, output));
            }
        }
        for (role, output) in outputs {
            match output {
                Output::Send(message) => self.wire.push(message),
                Output::Event(value) => {
                    let text = View::new(&value).unwrap().to_string();
                    self.events.push((role, text));
                }
                Output::Fault(fault) => self.faults.push((role, fault.text)),
                Output::Answer {
                    request, result, ..
                } => {
                    if role == Role::Clone {
                        self.answers.push((request, result));
                    }
                }
            }
        }
    }

    pub(crate) fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now.saturating_add(Timespan::from_millis(100));
            self.master.handle_tick(self.now);
            self.master.commit().unwrap();
            self.clones.iter_mut().for_each(StoreClone::handle_tick);
            self.deliver();
        }
    }

    pub(crate) fn request(&mut self, clone: usize, content: &Content<'_>) {
        self.clones[clone].request(content).unwrap();
        self.deliver();
    }

    pub(crate) fn put_at_master(&mut self, key: &str, value: u64) {
        let (key, value) = (bytes(key), bytes(value));
        let publisher = self.master.id();
        let content = Content::Put {
            key: &key,
            value: &value,
            expiry: None,
            publisher,
        };
        self.master.request(self.now, &content).unwrap();
        self.master.commit().unwrap();
        self.deliver();
    }

    pub(crate) fn add_at_clone(&mut self, clone: usize, key: &str, amount: u64) {
        let (key, value) = (bytes(key), bytes(amount));
        let content = Content::Add {
            key: &key,
            value: &value,
            init: Kind::Count,
            expiry: None,
            publisher: self.clones[clone].id(),
        };
        self.request(clone, &content);
    }

    pub(crate) fn ask_unique(&mut self, clone: usize, key: &str, request: u64) {
        let (key, value) = (bytes(key), bytes(request));
        let content = Content::PutUnique {
            key: &key,
            value: &value,
            expiry: None,
            who: id(2, 9),
            request,
            publisher: self.clones[clone].id(),
        };
        self.request(clone, &content);
    }

    pub(crate) fn at_clone(&self, clone: usize, key: &str) -> Option<u64> {
        let value = self.clones[clone].get(self.now, &bytes(key)).ok()?;
        View::trusted(value).as_count()
    }

    pub(crate) fn at_master(&mut self, key: &str) -> Option<u64> {
        let value = self.master.get(self.now, &bytes(key)).ok()?;
        View::trusted(&value).as_count()
    }
}
