//! What users of replicas do, and what they see of it.

use std::collections::BTreeMap;

use broker_data::{Kind, Reader, Timespan, to_bytes};
use broker_proto::store::command::Content;
use broker_proto::store::entity::EntityId;
use broker_proto::store::replica::{Replica, Reply, Verdict};

use crate::linear::{self, Action, Call};
use crate::marks::Marks;
use crate::replicas::World;

/// Calls of one key that may be under way, and those whose result was never learnt: each doubles
/// what the check has to look at.
const OPEN_MAX: usize = 6;

/// Keys whose history is checked: for `put_unique`, for `put`, for sums, for sums of clones.
const KEYS: [&str; 5] = ["u0", "u1", "p0", "c0", "n0"];

/// Keys whose history is checked.
pub(super) const fn keys() -> [usize; 5] {
    [0, 1, 2, 3, 4]
}

#[derive(Debug)]
struct Made {
    key: usize,
    call: Call,
    /// The life of the node that it was asked of.
    life: u64,
    /// It was told not to have happened, or was a read without an answer.
    void: bool,
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub(super) struct Users {
    made: Vec<Made>,
    /// Calls that will be answered, by their tickets.
    open: BTreeMap<u64, usize>,
    numbers: u64,
}

impl Users {
    fn make(&mut self, key: usize, action: Action, begun: u64, life: u64) -> u64 {
        self.numbers += 1;
        self.made.push(Made {
            key,
            call: Call {
                begun,
                ended: None,
                action,
            },
            life,
            void: false,
        });
        self.open.insert(self.numbers, self.made.len() - 1);
        self.numbers
    }

    /// It was refused on the spot.
    fn unmake(&mut self, ticket: u64) {
        if let Some(index) = self.open.remove(&ticket) {
            self.made[index].void = true;
        }
    }

    /// Whether the check could become too much.
    fn is_crowded(&self, key: usize) -> bool {
        let open = |it: &&Made| it.key == key && !it.void && it.call.ended.is_none();
        self.made.iter().filter(open).count() >= OPEN_MAX
    }

    /// A node is gone, with everybody who waited there.
    pub(super) fn forget(&mut self, life: u64, marks: &mut Marks) {
        let made = &mut self.made;
        self.open.retain(|_, index| {
            let it = &mut made[*index];
            if it.life != life {
                return true;
            }
            marks.hit("result never learnt");
            it.void = matches!(it.call.action, Action::Read(_));
            false
        });
    }

    /// A call is answered.
    pub(super) fn done(&mut self, ticket: u64, verdict: &Verdict, at: u64, marks: &mut Marks) {
        let Some(index) = self.open.remove(&ticket) else {
            return;
        };
        let made = &mut self.made[index];
        match verdict {
            Verdict::Decided(Ok(Reply::Applied(result))) => {
                made.call.ended = Some(at);
                if let Action::PutUnique(_, seen) = &mut made.call.action {
                    *seen = Some(*result);
                    marks.hit(if *result {
                        "put_unique won"
                    } else {
                        "put_unique lost"
                    });
                }
            }
            Verdict::Decided(Ok(Reply::Value(value))) => {
                made.call.ended = Some(at);
                let count = |bytes: &Vec<u8>| match Reader::new(bytes).next_item() {
                    Ok(broker_data::Item::Count(count)) => count,
                    other => panic!("{other:?} is no count"),
                };
                made.call.action = Action::Read(value.as_ref().map(count));
                marks.hit("confirmed read");
            }
            Verdict::Decided(Err(failure)) => panic!("{:?} is refused: {failure}", made.call),
            Verdict::NotApplied(_) => {
                made.void = true;
                marks.hit("request not applied");
            }
            Verdict::Unknown => {
                made.void = matches!(made.call.action, Action::Read(_));
                marks.hit("result never learnt");
            }
        }
    }

    /// A `put_unique` of a clone is answered.
    pub(super) fn answered(
        &mut self,
        ticket: u64,
        result: Option<bool>,
        at: u64,
        marks: &mut Marks,
    ) {
        if let Some(index) = self.open.remove(&ticket)
            && let made = &mut self.made[index]
            && let Action::PutUnique(_, seen) = &mut made.call.action
            && result.is_some()
        {
            *seen = result;
            made.call.ended = Some(at);
            let won = result == Some(true);
            marks.hit(if won {
                "put_unique won"
            } else {
                "put_unique lost"
            });
        }
    }

    /// Why the world is not at rest.
    pub(super) fn waiting(&self) -> Option<String> {
        let (ticket, index) = self.open.first_key_value()?;
        Some(format!("{ticket} waits: {:?}", self.made[*index]))
    }

    /// Checks what was seen.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, name) in KEYS.iter().enumerate() {
            let calls = self.made.iter().filter(|it| it.key == key && !it.void);
            let calls: Vec<Call> = calls.map(|it| it.call).collect();
            linear::check(&calls).map_err(|violation| {
                let lines: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
                format!("{name}: {violation}\n{}", lines.join("\n"))
            })?;
        }
        Ok(())
    }
}

impl World {
    /// Some user does something.
    pub(super) fn operate(&mut self) {
        let count = if self.plan.bursts {
            1 + self.random.below(6)
        } else {
            1
        };
        let nodes = self.nodes.len() as u64;
        let index = self.random.below(nodes + self.clones.len() as u64) as usize;
        for _ in 0..count {
            match index.checked_sub(self.nodes.len()) {
                None => self.operate_replica(index),
                Some(clone) => self.operate_clone(clone),
            }
        }
    }

    fn operate_replica(&mut self, index: usize) {
        let node = &self.nodes[index];
        let leads = node.replica.as_ref().is_some_and(Replica::is_leader);
        if !leads || node.suspended_ms > self.now_ms {
            return;
        }
        let key = self.random.below(KEYS.len() as u64) as usize;
        let number = self.users.numbers + 1;
        let action = match (KEYS[key].as_bytes()[0], self.random.below(6)) {
            (_, 0) => return self.read(index, key),
            (b'u', 1 | 2) => Action::Erase,
            (b'u', _) => Action::PutUnique(number, None),
            (b'p', 1) => Action::Erase,
            (b'p', _) => Action::Put(number),
            (_, 1) => return self.touch(index),
            _ => Action::Add(1 + number % 3),
        };
        if self.users.is_crowded(key) {
            return;
        }
        let (begun, life) = (self.happened, node.life);
        self.happened += 1;
        let ticket = self.users.make(key, action, begun, life);
        self.trace(|_| format!("user of {index}: {ticket} {} {action:?}", KEYS[key]));
        self.ask(index, ticket, key, action);
    }

    fn ask(&mut self, index: usize, ticket: u64, key: usize, action: Action) {
        let key = to_bytes(KEYS[key]).expect("a value");
        let (who, now) = (EntityId::NIL, self.clock(index));
        let mut value = Vec::new();
        let content = content_of(action, &key, &mut value, who, ticket);
        let mut taken = Ok(());
        self.act(index, |replica| {
            taken = replica.request(now, ticket, &content)
        });
        if taken.is_err() {
            self.users.unmake(ticket);
        }
    }

    /// A confirmed read.
    pub(super) fn read(&mut self, index: usize, key: usize) {
        if self.users.is_crowded(key) && self.unrest {
            return;
        }
        let (begun, life) = (self.happened, self.nodes[index].life);
        self.happened += 1;
        let ticket = self.users.make(key, Action::Read(None), begun, life);
        self.trace(|_| format!("user of {index}: {ticket} {} read", KEYS[key]));
        let (key, now) = (to_bytes(KEYS[key]).expect("a value"), self.clock(index));
        let mut taken = Ok(());
        self.act(index, |replica| taken = replica.read(now, ticket, &key));
        if taken.is_err() {
            self.users.unmake(ticket);
        }
    }

    /// An entry that ends, on a key without a history.
    fn touch(&mut self, index: usize) {
        let key = to_bytes(["e0", "e1"][self.random.below(2) as usize]).expect("a value");
        let value = to_bytes(&self.users.numbers).expect("a value");
        let expiry = Timespan::from_millis(self.random.choose(&[0, 150, 900]));
        let content = Content::Put {
            key: &key,
            value: &value,
            expiry: Some(expiry),
            publisher: EntityId::NIL,
        };
        let now = self.clock(index);
        self.act(index, |replica| drop(replica.request(now, 0, &content)));
    }

    /// Clones repeat to another leader what is the same twice, which may come behind what others
    /// did: these are not for a check of order.
    fn operate_clone(&mut self, index: usize) {
        let (key, action) = match self.random.below(3) {
            0 => (4, Action::Add(1)),
            1 => (0, Action::PutUnique(self.users.numbers + 1, None)),
            _ => (1, Action::PutUnique(self.users.numbers + 1, None)),
        };
        if self.users.is_crowded(key) {
            return;
        }
        let begun = self.happened;
        self.happened += 1;
        let ticket = self.users.make(key, action, begun, 0);
        if matches!(action, Action::Add(_)) {
            // Nothing is told of it.
            self.users.open.remove(&ticket);
        }
        self.trace(|_| format!("user of clone {index}: {ticket} {} {action:?}", KEYS[key]));
        let key = to_bytes(KEYS[key]).expect("a value");
        let node = &mut self.clones[index];
        let who = EntityId {
            endpoint: node.endpoint,
            object: 1_000,
        };
        let mut value = Vec::new();
        let content = content_of(action, &key, &mut value, who, ticket);
        if node.clone.request(&content).is_err() {
            self.users.unmake(ticket);
        }
        self.drain_clone(index);
    }
}

fn content_of<'a>(
    action: Action,
    key: &'a [u8],
    value: &'a mut Vec<u8>,
    who: EntityId,
    request: u64,
) -> Content<'a> {
    let (expiry, publisher) = (None, who);
    let number = match action {
        Action::Put(number) | Action::PutUnique(number, _) | Action::Add(number) => number,
        Action::Erase | Action::Read(_) => 0,
    };
    *value = to_bytes(&number).expect("a value");
    match action {
        Action::Put(_) => Content::Put {
            key,
            value,
            expiry,
            publisher,
        },
        Action::PutUnique(..) => Content::PutUnique {
            key,
            value,
            expiry,
            who,
            request,
            publisher,
        },
        Action::Add(_) => Content::Add {
            key,
            value,
            init: Kind::Count,
            expiry,
            publisher,
        },
        Action::Erase | Action::Read(_) => Content::Erase { key, publisher },
    }
}
