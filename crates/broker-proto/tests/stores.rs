//! A master and its clones on a network that the test controls message by message.

use broker_data::{Kind, Timespan, Timestamp, Value, View, to_bytes};
use broker_proto::command::{Command, Content};
use broker_proto::entity::EntityId;
use broker_proto::store::{
    CloneOptions, Contact, Failure, Master, Memory, Message, Output, Role, StoreClone, StoreConfig,
};
use broker_proto::{EndpointId, Envelope, ErrorCode};

/// One master, some clones, and what is on its way between them.
struct Cluster {
    master: Master<Memory>,
    clones: Vec<StoreClone>,
    now: Timestamp,
    wire: Vec<Message>,
    /// Whether a message is lost.
    loses: fn(&Command<'_>) -> bool,
    faults: Vec<(Role, String)>,
    answers: Vec<(u64, Result<bool, Failure>)>,
    events: Vec<(Role, String)>,
}

fn id(endpoint: u8, object: u64) -> EntityId {
    EntityId {
        endpoint: EndpointId::from_bytes([endpoint; 16]),
        object,
    }
}

fn bytes(value: impl Into<Value>) -> Vec<u8> {
    to_bytes(&value.into()).unwrap()
}

fn command_of(message: &Message) -> (Vec<u8>, EndpointId) {
    let envelope = Envelope::parse(&message.frame[4..]).unwrap();
    (envelope.payload.to_vec(), envelope.receiver)
}

impl Cluster {
    fn new(clones: u8) -> Self {
        let config = StoreConfig::default();
        let master = Master::new(id(1, 7), "s", Memory::new(), config.clone()).unwrap();
        let mut cluster = Self {
            master,
            clones: Vec::new(),
            now: Timestamp::EPOCH,
            wire: Vec::new(),
            loses: |_| false,
            faults: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
        };
        cluster.master.set_observed(true);
        for number in 0..clones {
            let options = CloneOptions::default();
            let mut clone = StoreClone::new(id(2 + number, 3), "s", config.clone(), options);
            clone.set_observed(true);
            clone.set_reachable(true);
            cluster.clones.push(clone);
        }
        cluster.deliver();
        cluster
    }

    /// Moves messages until none is left.
    fn deliver(&mut self) {
        loop {
            self.collect();
            if self.wire.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                let (payload, receiver) = command_of(&message);
                let command = Command::parse(&payload).unwrap();
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
                            clone.handle_command(&command, &payload);
                        }
                    }
                }
            }
        }
    }

    fn collect(&mut self) {
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

    fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now.saturating_add(Timespan::from_millis(100));
            self.master.handle_tick(self.now);
            self.master.commit().unwrap();
            self.clones.iter_mut().for_each(StoreClone::handle_tick);
            self.deliver();
        }
    }

    fn request(&mut self, clone: usize, content: &Content<'_>) {
        self.clones[clone].request(content).unwrap();
        self.deliver();
    }

    fn put_at_master(&mut self, key: &str, value: u64) {
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

    fn add_at_clone(&mut self, clone: usize, key: &str, amount: u64) {
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

    fn at_clone(&self, clone: usize, key: &str) -> Option<u64> {
        let value = self.clones[clone].get(&bytes(key)).ok()?;
        View::trusted(value).as_count()
    }

    fn at_master(&mut self, key: &str) -> Option<u64> {
        let value = self.master.get(&bytes(key)).ok()?;
        View::trusted(&value).as_count()
    }
}

#[test]
fn a_clone_attaches_and_follows() {
    let mut cluster = Cluster::new(2);
    assert_eq!(cluster.clones[0].contact(), Contact::Attached);
    cluster.put_at_master("k", 1);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
    assert_eq!(cluster.at_clone(1, "k"), Some(1));
    cluster.add_at_clone(0, "k", 5);
    assert_eq!(cluster.at_master("k"), Some(6));
    assert_eq!(cluster.at_clone(1, "k"), Some(6));
    cluster.tick(6);
    assert!(cluster.master.is_idle());
    assert!(cluster.clones.iter().all(StoreClone::is_idle));
    assert_eq!(cluster.faults, []);
}

#[test]
fn a_refused_request_is_told_to_whom_it_came_from() {
    let mut cluster = Cluster::new(2);
    cluster.put_at_master("k", 1);
    let (key, value) = (bytes("k"), bytes("text"));
    let publisher = cluster.clones[1].id();
    let content = Content::Add {
        key: &key,
        value: &value,
        init: Kind::String,
        expiry: None,
        publisher,
    };
    cluster.request(1, &content);
    assert_eq!(cluster.faults.len(), 1, "{:?}", cluster.faults);
    let (role, text) = &cluster.faults[0];
    assert_eq!(*role, Role::Clone);
    assert!(
        text.contains("type_clash") && text.contains("stored count, operand string"),
        "{text}"
    );
}

#[test]
fn put_unique_is_answered_behind_the_put() {
    let mut cluster = Cluster::new(1);
    let (key, value) = (bytes("k"), bytes(1_u64));
    for request in [1, 2] {
        let content = Content::PutUnique {
            key: &key,
            value: &value,
            expiry: None,
            who: id(2, 9),
            request,
            publisher: cluster.clones[0].id(),
        };
        cluster.request(0, &content);
    }
    assert_eq!(cluster.answers, [(1, Ok(true)), (2, Ok(false))]);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
}

#[test]
fn a_lost_last_event_is_repaired() {
    let mut cluster = Cluster::new(1);
    cluster.loses = |command| matches!(command.content, Content::Put { .. });
    cluster.put_at_master("k", 1);
    assert_eq!(cluster.at_clone(0, "k"), None);
    cluster.loses = |_| false;
    cluster.tick(8);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
}

#[test]
fn requests_before_the_master_is_known_wait() {
    let mut cluster = Cluster::new(1);
    let config = StoreConfig::default();
    let mut late = StoreClone::new(id(9, 3), "s", config, CloneOptions::default());
    late.set_reachable(true);
    let (key, value) = (bytes("k"), bytes(4_u64));
    let content = Content::Put {
        key: &key,
        value: &value,
        expiry: None,
        publisher: late.id(),
    };
    late.request(&content).unwrap();
    assert_eq!(late.contact(), Contact::Searching);
    cluster.clones.push(late);
    cluster.deliver();
    assert_eq!(cluster.at_clone(1, "k"), Some(4));
}

#[test]
fn a_search_that_fails_can_be_repeated() {
    let mut cluster = Cluster::new(1);
    cluster.loses = |command| command.sender.endpoint == EndpointId::from_bytes([9; 16]);
    let config = StoreConfig::default();
    let late = StoreClone::new(id(9, 3), "s", config, CloneOptions::default());
    cluster.clones.push(late);
    cluster.tick(101);
    assert_eq!(cluster.clones[1].contact(), Contact::Failed);
    let error = cluster.clones[1].get(&bytes("k")).unwrap_err();
    assert_eq!(error.code, ErrorCode::NoSuchMaster);
    cluster.loses = |_| false;
    cluster.clones[1].search_again();
    cluster.tick(3);
    assert_eq!(cluster.clones[1].contact(), Contact::Attached);
}

#[test]
fn a_clone_given_up_is_taken_back() {
    let mut cluster = Cluster::new(2);
    cluster.put_at_master("old", 1);
    cluster.tick(6);
    let away = EndpointId::from_bytes([3; 16]);
    // Nothing of the second clone reaches the master, nor the other way round, for a minute.
    cluster.loses = |command| {
        let away = EndpointId::from_bytes([3; 16]);
        command.sender.endpoint == away || command.receiver.endpoint == away
    };
    assert_eq!(cluster.clones[1].id().endpoint, away);
    cluster.tick(600);
    cluster.put_at_master("new", 2);
    cluster.add_at_clone(1, "old", 10);
    cluster.loses = |_| false;
    cluster.tick(30);
    assert_eq!(cluster.at_clone(1, "new"), Some(2));
    assert_eq!(cluster.at_master("old"), Some(11));
    assert_eq!(cluster.at_clone(1, "old"), Some(11));
    assert_eq!(cluster.at_clone(0, "old"), Some(11));
}

#[test]
fn entries_expire_everywhere_and_are_told() {
    let mut cluster = Cluster::new(1);
    let (key, value) = (bytes("k"), bytes(1_u64));
    let content = Content::Put {
        key: &key,
        value: &value,
        expiry: Some(Timespan::from_millis(250)),
        publisher: cluster.master.id(),
    };
    cluster.master.request(cluster.now, &content).unwrap();
    cluster.master.commit().unwrap();
    cluster.deliver();
    cluster.tick(2);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
    cluster.tick(1);
    assert_eq!(cluster.at_clone(0, "k"), None);
    assert_eq!(cluster.at_master("k"), None);
    let expired = |role| {
        let is = |event: &&(Role, String)| event.0 == role && event.1.starts_with("(expire, s, k,");
        cluster.events.iter().filter(is).count()
    };
    assert_eq!((expired(Role::Master), expired(Role::Clone)), (1, 1));
}

#[test]
fn of_two_masters_one_gives_way() {
    let mut cluster = Cluster::new(1);
    cluster
        .master
        .set_rival(Some(EndpointId::from_bytes([0; 16])));
    let (key, value) = (bytes("k"), bytes(1_u64));
    let content = Content::Put {
        key: &key,
        value: &value,
        expiry: None,
        publisher: cluster.master.id(),
    };
    let refused = cluster.master.request(cluster.now, &content).unwrap_err();
    assert_eq!(refused.code, ErrorCode::MasterExists);
    cluster.master.set_rival(None);
    assert!(cluster.master.request(cluster.now, &content).is_ok());
    cluster
        .master
        .set_rival(Some(EndpointId::from_bytes([9; 16])));
    assert!(cluster.master.request(cluster.now, &content).is_ok());
    cluster.master.commit().unwrap();
    cluster.deliver();
    let conflicts = cluster
        .faults
        .iter()
        .filter(|(_, text)| text.contains("has a master"));
    assert!(conflicts.count() >= 2);
}
