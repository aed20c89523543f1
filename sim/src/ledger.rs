//! What every user was promised, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use broker_data::{Timestamp, View};
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::event::{Change, StoreEvent};

use crate::marks::Marks;
use crate::model::{Model, Operation, Verdict};
use crate::user;

/// Encoded entries.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One operation of a user.
#[derive(Debug)]
pub struct Made {
    /// The life of a node that it was made in.
    pub life: u64,
    operation: Operation,
    /// Where it was applied for good, and with what result.
    applied: Vec<(EntityId, Verdict)>,
    /// Groups it was in that came to nothing.
    undone: u64,
    /// For a `put_unique`: the answers.
    answer: Option<Result<bool, ()>>,
}

/// The reference model of one master, and what is not committed yet.
#[derive(Debug, Default)]
struct Book {
    committed: Model,
    working: Model,
    group: Vec<(Option<u64>, Verdict)>,
    expired: bool,
    /// The number at the end of the last group, if there were no clones then.
    vague: Option<u64>,
    /// What is committed, encoded.
    bytes: Rc<Entries>,
    /// The same with the times.
    content: Rc<Model>,
}

/// Everything that is known about a world from outside.
#[derive(Debug, Default)]
pub struct Ledger {
    made: BTreeMap<u64, Made>,
    unique: BTreeMap<(EntityId, u64), u64>,
    books: BTreeMap<EntityId, Book>,
    /// The last master on each disk.
    disks: BTreeMap<usize, EntityId>,
    /// Writers that a master ever had, and whether it still has them.
    writers: BTreeMap<EntityId, BTreeMap<EntityId, bool>>,
    /// Requests by writer and number, as they were first sent.
    requests: BTreeMap<(EntityId, u64), Vec<u8>>,
    /// Events by master and number, as they were first sent.
    events: BTreeMap<(EntityId, u64), Vec<u8>>,
    /// Requests that reached a master.
    reached: BTreeSet<(EntityId, EntityId, u64)>,
    /// The content of a master at the numbers of its channel.
    history: BTreeMap<(EntityId, u64), Rc<Model>>,
    /// Snapshots that were sent: to whom, at which number.
    snapshots: BTreeSet<(EntityId, u64)>,
    /// Last operation of a writer that a master has applied.
    order: BTreeMap<(EntityId, EntityId), u64>,
    /// Operations that a node's life was told to be lost or refused.
    reports: BTreeMap<u64, u64>,
    /// Refusals that a master sent to writers on an endpoint.
    pub refusals: BTreeMap<[u8; 16], u64>,
    /// What happened.
    pub marks: Marks,
}

impl Ledger {
    /// A user asks for something.
    pub fn make(&mut self, number: u64, life: u64, operation: Operation) {
        let made = Made {
            life,
            operation,
            applied: Vec::new(),
            undone: 0,
            answer: None,
        };
        self.made.insert(number, made);
    }

    /// The operation was refused on the spot, so that nothing is owed.
    pub fn unmake(&mut self, number: u64) {
        self.made.remove(&number);
        self.unique.retain(|_, it| *it != number);
    }

    /// A `put_unique` waits for its answer.
    pub fn expect_answer(&mut self, who: EntityId, request: u64, number: u64) {
        self.unique.insert((who, request), number);
    }

    /// What the last master on a disk had committed.
    pub fn last_content(&self, disk: usize) -> Model {
        let last = self.disks.get(&disk);
        last.map(|id| self.content(*id)).unwrap_or_default()
    }

    /// The writers that a master has.
    pub fn writers(&self, master: EntityId) -> Vec<EntityId> {
        let writers = self.writers.get(&master).into_iter().flatten();
        let open = writers.filter(|(_, open)| **open);
        open.map(|(writer, _)| *writer).collect()
    }

    /// A master has a writer that it had not.
    pub fn writer_opened(&mut self, master: EntityId, writer: EntityId) {
        let writers = self.writers.entry(master).or_default();
        if writers.insert(writer, true).is_some() {
            self.marks.hit("writer resumed");
        }
    }

    /// A master begins on some disk with some content.
    pub fn open(&mut self, disk: usize, master: EntityId, content: &Model) {
        self.disks.insert(disk, master);
        let book = Book {
            committed: content.clone(),
            working: content.clone(),
            group: Vec::new(),
            expired: false,
            vague: None,
            bytes: Rc::new(content.bytes()),
            content: Rc::new(content.clone()),
        };
        self.books.insert(master, book);
    }

    /// What a master has committed.
    pub fn content(&self, master: EntityId) -> Model {
        let book = self.books.get(&master);
        book.map(|book| book.committed.clone()).unwrap_or_default()
    }

    /// A master applies an operation.
    pub fn apply(
        &mut self,
        master: EntityId,
        now: Timestamp,
        operation: &Operation,
        writable: bool,
    ) -> Verdict {
        let book = self.books.entry(master).or_default();
        let verdict = if writable {
            book.working.apply(now, operation)
        } else {
            Verdict::Refused
        };
        book.group.push((user::number(operation), verdict));
        if *operation == Operation::Clear && verdict == Verdict::Done {
            self.marks.hit("clear applied");
        }
        verdict
    }

    /// The entries of a master get older.
    pub fn expire(&mut self, master: EntityId, now: Timestamp) {
        let book = self.books.entry(master).or_default();
        if book.working.expire(now) {
            book.expired = true;
            self.marks.hit("entry expired");
        }
    }

    /// A master ends a group.
    pub fn commit(&mut self, master: EntityId, seq: u64, worked: bool, followed: bool) {
        let Some(book) = self.books.get_mut(&master) else {
            return;
        };
        let group = std::mem::take(&mut book.group);
        if worked {
            book.committed = book.working.clone()
        } else {
            book.working = book.committed.clone();
            self.marks.hit("commit failed");
            if group.len() > 1 {
                self.marks.hit("group of several requests undone");
            }
        }
        // Most groups change nothing.
        if !worked || !group.is_empty() || std::mem::take(&mut book.expired) {
            book.bytes = Rc::new(book.committed.bytes());
            book.content = Rc::new(book.committed.clone());
        }
        // Without clones the content changes under one number, and the last of these contents may
        // never have been looked at here.
        if let Some(vague) = book.vague.take()
            && vague != seq
        {
            self.history.remove(&(master, vague));
        }
        book.vague = (!followed).then_some(seq);
        self.history.insert((master, seq), book.content.clone());
        for (number, verdict) in group {
            let Some(made) = number.and_then(|number| self.made.get_mut(&number)) else {
                continue;
            };
            if worked {
                let twice = made.applied.iter().any(|(_, verdict)| {
                    *verdict == Verdict::Done && !user::is_idempotent(&made.operation)
                });
                assert!(!twice, "applied twice: {made:?}");
                made.applied.push((master, verdict));
            } else {
                made.undone += 1
            }
        }
    }

    /// What the last committed content is.
    pub fn check_committed(&self, master: EntityId, disk: &Entries) {
        let Some(book) = self.books.get(&master) else {
            return;
        };
        assert_same(disk, &book.bytes, "the back end is not what the model says");
    }

    /// What a master's reads show is what is there at that time.
    pub fn check_reads(&mut self, master: EntityId, now: Timestamp, reads: &Entries) {
        let Some(book) = self.books.get(&master) else {
            return;
        };
        let live = book.working.live_bytes(now);
        assert_same(reads, &live, "a master shows what is not there");
        self.marks
            .hit_if(live.len() < book.working.bytes().len(), "entry hidden");
    }

    /// A copy claims to be at some number of a master's channel. What was over when its snapshot was
    /// taken may be missing.
    pub fn check_copy(&self, now: Timestamp, position: (EntityId, u64), copy: &Entries) {
        if let Some(content) = self.history.get(&position) {
            let live = content.live_bytes(now);
            let mut left = content.bytes();
            left.retain(|key, _| live.contains_key(key) || copy.contains_key(key));
            assert_same(copy, &left, "a clone is not what its master was");
        }
    }

    // --- what is sent ---------------------------------------------------------------------------

    /// A clone sends something.
    pub fn sent_by_clone(&mut self, command: &Command<'_>, payload: &[u8]) {
        if !command.content.is_action() {
            if let Content::RetransmitFailed { .. } = command.content {
                self.marks.hit("request lost for good");
            }
            return;
        }
        let id = (command.sender, command.seq);
        match self.requests.get(&id) {
            None => {
                self.requests.insert(id, payload.to_vec());
            }
            Some(before) => {
                assert_eq!(before, payload, "a request changed on repetition");
                self.marks.hit("request repeated");
            }
        }
    }

    /// A master sends something.
    pub fn sent_by_master(&mut self, command: &Command<'_>, payload: &[u8]) {
        let id = (command.sender, command.seq);
        match &command.content {
            Content::AckClone { offset, .. } => {
                let new = self.snapshots.insert((command.receiver, *offset));
                self.marks.hit_if(!new, "snapshot repeated");
            }
            Content::Subtract { .. } if command.seq == 0 => {
                let endpoint = *command.receiver.endpoint.bytes();
                *self.refusals.entry(endpoint).or_default() += 1;
                self.marks.hit("request refused");
            }
            content if content.is_action() => match self.events.get(&id) {
                None => {
                    self.events.insert(id, payload.to_vec());
                }
                Some(before) if before == payload => self.marks.hit("event repeated"),
                Some(_) => match content {
                    Content::Clear { publisher } if publisher.is_nil() => {
                        self.marks.hit("number filled");
                    }
                    other => panic!("event {} changed on repetition: {other:?}", command.seq),
                },
            },
            _ => {}
        }
    }

    /// A request reaches a master.
    pub fn reached(&mut self, master: EntityId, command: &Command<'_>) {
        if command.content.is_action() {
            self.reached.insert((master, command.sender, command.seq));
        }
    }

    /// A master forgot what it had not applied of a writer.
    pub fn retired(&mut self, master: EntityId, writer: EntityId) {
        self.reached
            .retain(|(other, id, _)| *other != master || *id != writer);
        self.writers
            .entry(master)
            .or_default()
            .insert(writer, false);
        self.marks.hit("writer retired");
    }

    /// What the number of a writer means, if it reached the master at all.
    pub fn request(&mut self, master: EntityId, writer: EntityId, seq: u64) -> Option<Operation> {
        if !self.reached.contains(&(master, writer, seq)) {
            return None;
        }
        let payload = self.requests.get(&(writer, seq));
        let payload = payload.expect("what arrives was sent");
        let command = Command::parse(payload).expect("what is sent can be read");
        let operation = user::operation_of(&command.content).expect("an action of a clone");
        if let Some(number) = user::number(&operation) {
            let last = self.order.insert((master, writer), number);
            let ordered = last.is_none_or(|last| last < number);
            assert!(
                ordered,
                "requests of {writer} out of order: {last:?}, {number}"
            );
        }
        Some(operation)
    }

    // --- what users are told --------------------------------------------------------------------

    /// A node was told that operations were refused or may be lost.
    pub fn report(&mut self, life: u64, operations: u64) {
        *self.reports.entry(life).or_default() += operations;
    }

    /// A `put_unique` is answered.
    pub fn answer(
        &mut self,
        who: EntityId,
        request: u64,
        answer: Result<bool, ()>,
        by_master: bool,
    ) {
        let Some(number) = self.unique.get(&(who, request)) else {
            panic!("nobody asked: {who}, {request}")
        };
        let made = self.made.get_mut(number).expect("it was made");
        assert!(made.answer.is_none(), "answered twice: {made:?}");
        made.answer = Some(answer);
        let verdicts: Vec<Verdict> = made.applied.iter().map(|(_, verdict)| *verdict).collect();
        match answer {
            Ok(true) => {
                assert_eq!(verdicts, [Verdict::Done], "told true: {made:?}");
                self.marks.hit("put_unique won");
            }
            Ok(false) => {
                let lost = verdicts == [Verdict::Present] || verdicts == [Verdict::Refused];
                assert!(lost || made.undone > 0, "told false: {made:?}");
                if lost {
                    self.marks.hit("put_unique lost")
                } else {
                    self.marks.hit("put_unique failed with its commit")
                }
            }
            // The master knows; only a clone may have to guess.
            Err(()) if by_master => {
                assert!(!verdicts.contains(&Verdict::Done), "told failed: {made:?}");
            }
            Err(()) => {
                let life = made.life;
                self.report(life, 1);
                self.marks.hit("put_unique unknown");
            }
        }
        if by_master {
            self.marks.hit("put_unique of a master");
        }
    }

    /// In the end, nothing is owed to a node that lives.
    pub fn check_promises(&self, life: u64, endpoint: &[u8; 16]) {
        let mut lost = Vec::new();
        for (number, made) in self.made.iter().filter(|(_, made)| made.life == life) {
            if let Operation::PutUnique(..) = made.operation {
                assert!(made.answer.is_some(), "never answered: {number} {made:?}");
            }
            let known = user::number(&made.operation).is_some();
            if known && made.applied.is_empty() && made.undone == 0 {
                lost.push(*number);
            }
        }
        let told = self.reports.get(&life).copied().unwrap_or(0);
        let refused = self.refusals.get(endpoint).copied().unwrap_or(0);
        assert!(
            lost.len() as u64 <= told + refused,
            "operations {lost:?} were lost; the node was told of {told}, and {refused} refused"
        );
    }

    /// What a node was told that operations were refused or lost.
    pub fn told(&self, life: u64) -> u64 {
        self.reports.get(&life).copied().unwrap_or(0)
    }
}

/// What a subscriber knows of a store from its events: the entries, and when some of them end.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Entries that were not removed.
    pub entries: Entries,
    ends: BTreeMap<Vec<u8>, Timestamp>,
}

impl Replayed {
    /// Begins with some entries.
    pub const fn new(entries: Entries) -> Self {
        Self {
            entries,
            ends: BTreeMap::new(),
        }
    }

    /// A snapshot took the place of everything: it does not say when entries end.
    pub fn forget_ends(&mut self) {
        self.ends.clear();
    }

    /// Whether the subscriber knows that an entry is over.
    pub fn is_over(&self, key: &[u8], now: Timestamp) -> bool {
        self.ends.get(key).is_some_and(|at| *at <= now)
    }

    /// Applies a store event that comes at some time.
    pub fn replay(&mut self, now: Timestamp, event: &[u8]) {
        let view = View::new(event).expect("an event is a value");
        let event = StoreEvent::from_view(view).expect("an event in its layout");
        let key = event.key.bytes().to_vec();
        self.ends.remove(&key);
        match event.change {
            Change::Insert { expiry, .. } | Change::Update { expiry, .. } => {
                let at = expiry.map(|span| now.saturating_add(span));
                self.ends.extend(at.map(|at| (key.clone(), at)));
            }
            Change::Erase | Change::Expire => {}
        }
        match event.change {
            Change::Insert { value, .. } => {
                let old = self.entries.insert(key, value.bytes().to_vec());
                assert_eq!(old, None, "insert of a key that is there: {view}");
            }
            Change::Update { old, value, .. } => {
                let before = self.entries.insert(key, value.bytes().to_vec());
                assert_eq!(before.as_deref(), Some(old.bytes()), "old value of {view}");
            }
            Change::Erase | Change::Expire => {
                let old = self.entries.remove(&key);
                assert!(old.is_some(), "removal of a key that is not there: {view}");
            }
        }
    }
}

/// Two contents must be the same.
pub fn assert_same(left: &Entries, right: &Entries, what: &str) {
    if left != right {
        assert_eq!(text(left), text(right), "{what}");
    }
}

/// Entries for people.
pub fn text(entries: &Entries) -> Vec<String> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| format!("{} = {}", View::trusted(key), View::trusted(value)))
        .collect()
}
