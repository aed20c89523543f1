//! What our stores do better than the original, and faults that simulation has found.
//!
//! Every test names a behaviour that the original, or our first version, does not have.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_data::{Kind, Timespan, Timestamp, View};
use broker_proto::store::backend::{Backend, BackendError, Entry, VisitEntry};
use broker_proto::store::command::{Command, Content, Entries};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{CloneOptions, Contact, Master, Memory, Output, StoreClone, StoreConfig};
use broker_proto::{EndpointId, ErrorCode};

#[path = "stores/cluster.rs"]
mod cluster;

use cluster::{Cluster, bytes, command_of, id, ours};

const SECOND: i64 = 1_000_000_000;

fn options() -> CloneOptions {
    CloneOptions::default()
}

/// A command on its way to a store under test.
fn deliver(
    store: &mut StoreClone,
    sender: EntityId,
    receiver: EntityId,
    seq: u64,
    content: Content<'_>,
) {
    let command = Command {
        seq,
        sender,
        receiver,
        content,
    };
    let mut payload = Vec::new();
    command.encode(&mut payload);
    store.handle_command(Timestamp::EPOCH, &command, &payload);
}

fn ask<B: Backend>(
    master: &mut Master<B>,
    sender: EntityId,
    receiver: EntityId,
    seq: u64,
    content: Content<'_>,
) {
    let command = Command {
        seq,
        sender,
        receiver,
        content,
    };
    let mut payload = Vec::new();
    command.encode(&mut payload);
    master.handle_command(Timestamp::EPOCH, &command, &payload);
}

/// What a store wants done.
fn outputs(poll: impl FnMut() -> Option<Output>) -> Vec<Output> {
    std::iter::from_fn(poll).collect()
}

/// The commands among it.
fn commands(outputs: &[Output]) -> Vec<Vec<u8>> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send(message) => Some(command_of(message).0),
        _ => None,
    });
    sent.collect()
}

fn parsed(commands: &[Vec<u8>]) -> Vec<Command<'_>> {
    commands
        .iter()
        .map(|it| Command::parse(it).unwrap())
        .collect()
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Content<'a> {
    Content::Put {
        key,
        value,
        expiry: None,
        publisher: id(1, 1),
    }
}

fn nack(missing: &[u64]) -> Content<'static> {
    Content::Nack {
        missing: missing.to_vec().into(),
    }
}

fn snapshot(offset: u64, entries: &[u8], count: u32) -> Content<'_> {
    Content::AckClone {
        offset,
        heartbeat: 5,
        entries: Entries::new(count, entries),
    }
}

/// A clone that has found a master with no entries, at number 1.
fn attached(options: CloneOptions, master: EntityId) -> StoreClone {
    let mut clone = StoreClone::new(ours(2), "s", StoreConfig::default(), options);
    clone.set_observed(true);
    clone.set_reachable(true);
    deliver(&mut clone, master, ours(2), 1, snapshot(1, &[], 0));
    assert_eq!(clone.contact(), Contact::Attached);
    outputs(|| clone.poll_output());
    clone
}

// --- keepalives, repair, coming back ----------------------------------------------------------------

#[test]
fn keepalives_name_each_clone() {
    let mut cluster = Cluster::new(2);
    cluster.sent.clear();
    cluster.tick(10);
    for clone in [ours(2), ours(3)] {
        let named = parsed(&cluster.sent).into_iter().filter(|command| {
            command.receiver == clone && matches!(command.content, Content::Keepalive { .. })
        });
        assert_eq!(named.count(), 2);
    }
}

#[test]
fn a_lost_last_event_is_asked_for_within_a_tick_of_the_keepalive() {
    let mut clone = attached(options(), id(1, 7));
    for _ in 0..3 {
        clone.handle_tick();
    }
    outputs(|| clone.poll_output());
    deliver(
        &mut clone,
        id(1, 7),
        EntityId::NIL,
        0,
        Content::Keepalive { seq: 2 },
    );
    clone.handle_tick();
    let sent = commands(&outputs(|| clone.poll_output()));
    let asked = parsed(&sent)
        .into_iter()
        .any(|command| command.content == nack(&[2]));
    assert!(asked);
}

#[test]
fn a_clone_taken_back_learns_what_changed_while_nobody_was_there() {
    let mut cluster = Cluster::new(1);
    cluster.put_at_master("old", 1);
    cluster.tick(6);
    cluster.lose(|_| true);
    cluster.tick(520);
    // There is no clone that could be sent this.
    cluster.put_at_master("new", 2);
    cluster.lose(|_| false);
    cluster.tick(20);
    assert_eq!(cluster.at_clone(0, "new"), Some(2));
}

#[test]
fn a_clone_is_taken_back_where_its_last_acknowledgement_left_off() {
    let config = StoreConfig {
        connection_timeout: 4,
        ..StoreConfig::default()
    };
    let mut cluster = Cluster::with(2, config, &options());
    cluster.put_at_master("k", 1);
    cluster.tick(6);
    let before = cluster.clones[1].id();
    let away = |command: &Command<'_>| command.sender.endpoint == EndpointId::from_bytes([3; 16]);
    cluster.lose(away);
    cluster.tick(22);
    assert!(!cluster.master.has_clone(before));
    cluster.lose(|_| false);
    cluster.tick(6);
    assert!(cluster.master.has_clone(before));
    assert_eq!(cluster.clones[1].id(), before);
    cluster.put_at_master("k", 2);
    assert_eq!(cluster.at_clone(1, "k"), Some(2));
}

/// Follows a master as a clone of the original does: applies what is in order, whoever publishes
/// it, and breaks when it is told by name that something is lost.
#[derive(Default)]
struct Original {
    next: u64,
    entries: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Original {
    const ID: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([5; 16]),
        object: 2,
    };

    fn apply(&mut self, sent: &[Vec<u8>]) {
        for command in parsed(sent) {
            if let Content::RetransmitFailed { .. } = command.content {
                assert_ne!(command.receiver, Self::ID, "this breaks it for good");
            }
            if !command.content.is_action() || command.seq != self.next {
                continue;
            }
            self.next += 1;
            match command.content {
                Content::Put { key, value, .. } => {
                    self.entries.insert(key.to_vec(), value.to_vec());
                }
                Content::Erase { key, .. } => {
                    self.entries.remove(key);
                }
                Content::Clear { .. } => self.entries.clear(),
                _ => {}
            }
        }
    }
}

#[test]
fn a_clone_of_the_original_that_misses_what_is_gone_is_brought_up_to_date() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    let mut original = Original::default();
    let step = |master: &mut Master<Memory>, original: &mut Original| {
        master.commit().unwrap();
        original.apply(&commands(&outputs(|| master.poll_output())));
    };
    let now = Timestamp::EPOCH;
    ask(&mut master, Original::ID, EntityId::NIL, 0, nack(&[0]));
    original.next = 2;
    for (key, value) in [("stays", 1_u64), ("goes", 2), ("changes", 3)] {
        master
            .request(now, &put(&bytes(key), &bytes(value)))
            .unwrap();
    }
    step(&mut master, &mut original);
    ask(
        &mut master,
        Original::ID,
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 4 },
    );
    // A minute without a word: it is given up, and what it misses is not kept.
    for _ in 0..600 {
        master.handle_tick(now);
    }
    let key = bytes("goes");
    let erase = Content::Erase {
        key: &key,
        publisher: id(1, 7),
    };
    master.request(now, &erase).unwrap();
    master
        .request(now, &put(&bytes("changes"), &bytes(4_u64)))
        .unwrap();
    master.commit().unwrap();
    outputs(|| master.poll_output());
    assert_eq!(master.clones(), 0);
    // It is heard of again, acknowledges what it is given, and gets the rest.
    ask(
        &mut master,
        Original::ID,
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 4 },
    );
    for _ in 0..3 {
        step(&mut master, &mut original);
        let seq = original.next - 1;
        ask(
            &mut master,
            Original::ID,
            id(1, 7),
            0,
            Content::CumulativeAck { seq },
        );
    }
    step(&mut master, &mut original);
    let mut content = std::collections::BTreeMap::new();
    master
        .for_each(Timestamp::EPOCH, &mut |key, value| {
            content.insert(key.to_vec(), value.to_vec());
        })
        .unwrap();
    assert_eq!(original.entries, content);
    assert!(master.is_idle());
}

#[test]
fn a_clone_that_misses_what_is_gone_keeps_its_copy_and_attaches_again() {
    let mut clone = attached(options(), id(1, 7));
    deliver(
        &mut clone,
        id(1, 7),
        EntityId::NIL,
        2,
        put(&bytes("k"), &bytes(1_u64)),
    );
    let nobody = EntityId::NIL;
    deliver(
        &mut clone,
        id(1, 7),
        nobody,
        3,
        Content::Clear { publisher: nobody },
    );
    deliver(
        &mut clone,
        id(1, 7),
        nobody,
        4,
        put(&bytes("other"), &bytes(1_u64)),
    );
    assert_eq!(clone.entries(Timestamp::EPOCH), 1);
    let sent = commands(&outputs(|| clone.poll_output()));
    let search = parsed(&sent)
        .into_iter()
        .find(|command| command.content == nack(&[0]));
    let again = search.unwrap().sender;
    assert_ne!(again, ours(2));
    let entry = [bytes("n"), bytes(5_u64)].concat();
    deliver(&mut clone, id(1, 7), again, 9, snapshot(9, &entry, 1));
    assert_eq!(
        clone.get(Timestamp::EPOCH, &bytes("n")).unwrap(),
        bytes(5_u64)
    );
    assert_eq!(clone.entries(Timestamp::EPOCH), 1);
}

#[test]
fn a_clone_told_that_something_is_lost_attaches_again() {
    let mut clone = attached(options(), id(1, 7));
    let lost = Content::RetransmitFailed { seq: 2 };
    deliver(&mut clone, id(1, 7), ours(2), 0, lost);
    let sent = commands(&outputs(|| clone.poll_output()));
    assert!(
        parsed(&sent)
            .iter()
            .any(|command| command.content == nack(&[0]))
    );
    assert_eq!(clone.contact(), Contact::Attached);
}

#[test]
fn the_first_nack_ends_a_handshake() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    ask(&mut master, ours(2), EntityId::NIL, 0, nack(&[0]));
    master
        .request(Timestamp::EPOCH, &put(&bytes("k"), &bytes(1_u64)))
        .unwrap();
    // Its acknowledgement of the snapshot was lost, and so was the event.
    ask(&mut master, ours(2), id(1, 7), 0, nack(&[2]));
    ask(
        &mut master,
        ours(2),
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 2 },
    );
    master.commit().unwrap();
    assert!(master.is_idle());
    assert_eq!(master.kept_bytes(), 0);
}

#[test]
fn former_ids_of_a_clone_are_not_taken_back() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    let (former, current) = (
        ours(2),
        EntityId {
            object: ours(2).object | 1 << 32,
            ..ours(2)
        },
    );
    for clone in [former, current] {
        ask(&mut master, clone, EntityId::NIL, 0, nack(&[0]));
        ask(
            &mut master,
            clone,
            id(1, 7),
            0,
            Content::CumulativeAck { seq: 1 },
        );
    }
    // What was still on its way.
    ask(&mut master, former, EntityId::NIL, 0, nack(&[0]));
    ask(
        &mut master,
        former,
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 1 },
    );
    assert!(!master.has_clone(former) && master.has_clone(current));
}

#[test]
fn an_old_question_for_the_handshake_does_not_set_a_clone_back() {
    let mut cluster = Cluster::new(1);
    cluster.put_at_master("k", 1);
    cluster.tick(6);
    cluster.lose(|command| matches!(command.content, Content::Put { .. }));
    cluster.put_at_master("k", 2);
    ask(&mut cluster.master, ours(2), EntityId::NIL, 0, nack(&[0]));
    cluster.master.commit().unwrap();
    cluster.lose(|_| false);
    cluster.sent.clear();
    cluster.tick(10);
    assert_eq!(cluster.at_clone(0, "k"), Some(2));
    let cleared = |command: &Command<'_>| matches!(command.content, Content::Clear { .. });
    assert!(!parsed(&cluster.sent).iter().any(cleared));
    assert!(cluster.master.is_idle());
}

// --- who is meant -----------------------------------------------------------------------------------

#[test]
fn commands_for_another_master_are_ignored() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    let (clone, other) = (ours(2), id(6, 7));
    let open = Content::AttachWriter {
        offset: 1,
        heartbeat: 5,
    };
    ask(&mut master, clone, other, 0, open.clone());
    assert_eq!(master.writers(), 0);
    ask(&mut master, clone, id(1, 7), 0, open);
    ask(
        &mut master,
        clone,
        other,
        2,
        put(&bytes("k"), &bytes(1_u64)),
    );
    assert_eq!(master.entries(Timestamp::EPOCH), Ok(0));
    ask(
        &mut master,
        clone,
        id(1, 7),
        2,
        put(&bytes("k"), &bytes(1_u64)),
    );
    assert_eq!(master.entries(Timestamp::EPOCH), Ok(1));
}

#[test]
fn acknowledgements_for_a_former_writer_are_not_believed() {
    let (a, b) = (id(1, 7), id(6, 7));
    let mut clone = attached(options(), a);
    let former = clone.id();
    // It misses its master, finds another one, misses that, and finds the first one again.
    for (from, to) in [(a, b), (b, a)] {
        for _ in 0..200 {
            clone.handle_tick();
        }
        let sent = commands(&outputs(|| clone.poll_output()));
        let asks = |command: &&Command<'_>| command.content == nack(&[0]);
        let search = parsed(&sent)
            .iter()
            .find(asks)
            .map(|command| command.sender);
        deliver(&mut clone, to, search.unwrap(), 1, snapshot(1, &[], 0));
        assert_eq!(clone.master(), Some(to), "from {from}");
    }
    clone.request(&put(&bytes("k"), &bytes(1_u64))).unwrap();
    deliver(&mut clone, a, former, 0, Content::CumulativeAck { seq: 2 });
    assert_eq!(clone.unacknowledged().0, 1);
}

#[test]
fn a_snapshot_leads_and_events_before_it_wait() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    master
        .request(Timestamp::EPOCH, &put(&bytes("old"), &bytes(1_u64)))
        .unwrap();
    ask(&mut master, ours(2), EntityId::NIL, 0, nack(&[0]));
    master
        .request(Timestamp::EPOCH, &put(&bytes("new"), &bytes(2_u64)))
        .unwrap();
    master.commit().unwrap();
    let sent = outputs(|| master.poll_output());
    let Some(Output::Send(first)) = sent.first() else {
        panic!("the snapshot comes first")
    };
    assert!(first.must_lead);
    // Whatever the network makes of it, the clone has both in the end.
    let mut clone = StoreClone::new(ours(2), "s", StoreConfig::default(), options());
    for payload in commands(&sent).iter().rev() {
        clone.handle_command(Timestamp::EPOCH, &Command::parse(payload).unwrap(), payload);
    }
    assert_eq!(
        clone.get(Timestamp::EPOCH, &bytes("old")).unwrap(),
        bytes(1_u64)
    );
    assert_eq!(
        clone.get(Timestamp::EPOCH, &bytes("new")).unwrap(),
        bytes(2_u64)
    );
}

// --- masters that go --------------------------------------------------------------------------------

#[test]
fn a_clone_of_a_dead_master_follows_the_next_one_under_a_new_id() {
    let mut clone = attached(options(), id(1, 7));
    clone.request(&put(&bytes("k"), &bytes(1_u64))).unwrap();
    for _ in 0..30 {
        clone.handle_tick();
    }
    assert_eq!(clone.contact(), Contact::Silent);
    // The next one makes itself heard.
    deliver(
        &mut clone,
        id(6, 7),
        EntityId::NIL,
        0,
        Content::Keepalive { seq: 1 },
    );
    let sent = commands(&outputs(|| clone.poll_output()));
    let search = parsed(&sent)
        .into_iter()
        .rfind(|command| command.content == nack(&[0]));
    let again = search.unwrap().sender;
    assert_ne!(again, ours(2));
    deliver(&mut clone, id(6, 7), again, 1, snapshot(1, &[], 0));
    assert_eq!(clone.master(), Some(id(6, 7)));
    // What the dead one had not acknowledged goes to the next one, in the name of the new writer.
    let sent = commands(&outputs(|| clone.poll_output()));
    let requests = requests(&sent);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].receiver, id(6, 7));
    assert_eq!(requests[0].sender, again);
    assert_eq!(publisher_of(&requests[0]), Some(again));
}

/// The requests among what a clone sends.
fn requests(sent: &[Vec<u8>]) -> Vec<Command<'_>> {
    let requests = parsed(sent).into_iter();
    requests.filter(|it| it.content.is_action()).collect()
}

fn publisher_of(command: &Command<'_>) -> Option<EntityId> {
    match command.content {
        Content::Put { publisher, .. } | Content::PutUnique { publisher, .. } => Some(publisher),
        _ => None,
    }
}

#[test]
fn what_waited_for_a_second_search_is_asked_for_in_the_name_of_its_writer() {
    let mut clone = StoreClone::new(ours(2), "s", StoreConfig::default(), options());
    clone.set_reachable(true);
    for _ in 0..100 {
        clone.handle_tick();
    }
    assert_eq!(clone.contact(), Contact::Failed);
    clone.search_again();
    let who = id(2, 9);
    let content = Content::PutUnique {
        key: &bytes("k"),
        value: &bytes(1_u64),
        expiry: None,
        who,
        request: 1,
        publisher: clone.id(),
    };
    clone.request(&content).unwrap();
    let sent = commands(&outputs(|| clone.poll_output()));
    let found = parsed(&sent).last().unwrap().sender;
    assert_ne!(found, ours(2));
    deliver(&mut clone, id(1, 7), found, 1, snapshot(1, &[], 0));
    let sent = commands(&outputs(|| clone.poll_output()));
    let requests = requests(&sent);
    assert_eq!(publisher_of(&requests[0]), Some(found));
    assert!(matches!(requests[0].content, Content::PutUnique { who: it, .. } if it == who));
}

#[test]
fn a_put_unique_is_answered_when_its_master_is_gone() {
    let mut clone = attached(options(), id(1, 7));
    let who = id(2, 9);
    for request in [1, 2] {
        let content = Content::PutUnique {
            key: &bytes("k"),
            value: &bytes(1_u64),
            expiry: None,
            who,
            request,
            publisher: ours(2),
        };
        clone.request(&content).unwrap();
    }
    // The master has had one of them; what came of it was lost with it.
    deliver(
        &mut clone,
        id(1, 7),
        ours(2),
        0,
        Content::CumulativeAck { seq: 2 },
    );
    for _ in 0..200 {
        clone.handle_tick();
    }
    let sent = commands(&outputs(|| clone.poll_output()));
    let search = parsed(&sent)
        .into_iter()
        .rfind(|command| command.content == nack(&[0]));
    deliver(
        &mut clone,
        id(6, 7),
        search.unwrap().sender,
        1,
        snapshot(1, &[], 0),
    );
    let told = outputs(|| clone.poll_output());
    let unknown = told.iter().filter_map(|output| match output {
        Output::Answer {
            request, result, ..
        } => Some((*request, result.as_ref().map_err(|failure| failure.code))),
        _ => None,
    });
    let unknown: Vec<_> = unknown.collect();
    let lost = Err(ErrorCode::RequestTimeout);
    assert_eq!(unknown, [(2, lost), (1, lost)]);
}

#[test]
fn a_put_unique_is_answered_although_a_snapshot_hides_its_result() {
    let mut cluster = Cluster::new(1);
    cluster.tick(6);
    // The clone's request gets through, but nothing comes back until it has attached again.
    cluster.lose(|command| command.sender == id(1, 7));
    cluster.ask_unique(0, "k", 1);
    cluster.tick(150);
    assert_eq!(cluster.answers, []);
    cluster.lose(|_| false);
    cluster.tick(30);
    assert_eq!(cluster.answers, [(1, Ok(true))]);
    assert!(cluster.clones[0].is_idle() && cluster.master.is_idle());
}

#[test]
fn a_writer_that_was_given_up_is_opened_again() {
    let config = StoreConfig {
        connection_timeout: 4,
        ..StoreConfig::default()
    };
    let mut cluster = Cluster::with(1, config, &options());
    cluster.tick(6);
    // Requests and signs of life of the writer are lost, acknowledgements of the clone are not.
    cluster.lose(|command| {
        let of_writer = command.content.is_action()
            || matches!(
                command.content,
                Content::Keepalive { .. } | Content::AttachWriter { .. }
            );
        command.sender == ours(2) && of_writer
    });
    cluster.add_at_clone(0, "n", 5);
    cluster.lose(|command| command.sender == ours(2));
    cluster.tick(30);
    cluster.lose(|_| false);
    cluster.tick(40);
    assert_eq!(cluster.at_master("n"), Some(5));
    assert_eq!(cluster.at_clone(0, "n"), Some(5));
}

#[test]
fn a_writer_that_was_given_up_goes_on_with_its_next_sign_of_life() {
    for request_first in [true, false] {
        let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
        let writer = ours(2);
        let open = Content::AttachWriter {
            offset: 1,
            heartbeat: 5,
        };
        ask(&mut master, writer, id(1, 7), 0, open);
        let two = (bytes("two"), bytes(2_u64));
        ask(&mut master, writer, id(1, 7), 2, put(&two.0, &two.1));
        for _ in 0..500 {
            master.handle_tick(Timestamp::EPOCH);
        }
        assert_eq!((master.writers(), master.applied(writer)), (0, Some(2)));
        master.commit().unwrap();
        outputs(|| master.poll_output());
        // What it may have applied already comes again, and then what it has not seen.
        let beat = Content::Keepalive { seq: 3 };
        if !request_first {
            ask(&mut master, writer, EntityId::NIL, 0, beat);
        }
        let three = (bytes("three"), bytes(3_u64));
        ask(&mut master, writer, id(1, 7), 2, put(&two.0, &three.1));
        ask(&mut master, writer, id(1, 7), 3, put(&three.0, &three.1));
        master.commit().unwrap();
        assert_eq!((master.writers(), master.applied(writer)), (1, Some(3)));
        assert_eq!(master.get(Timestamp::EPOCH, &two.0).unwrap(), two.1);
        assert_eq!(master.get(Timestamp::EPOCH, &three.0).unwrap(), three.1);
        let sent = commands(&outputs(|| master.poll_output()));
        let answer = Content::CumulativeAck { seq: 2 };
        assert!(
            parsed(&sent)
                .iter()
                .any(|it| it.receiver == writer && it.content == answer)
        );
    }
}

#[test]
fn what_a_writer_sends_again_is_applied_once() {
    let config = StoreConfig {
        connection_timeout: 4,
        ..StoreConfig::default()
    };
    let mut cluster = Cluster::with(1, config, &options());
    cluster.tick(6);
    // It arrives, but the clone does not hear of it until its writer was given up.
    cluster.lose(|command| command.sender == id(1, 7));
    cluster.add_at_clone(0, "n", 5);
    cluster.lose(|_| true);
    cluster.tick(40);
    assert_eq!(cluster.master.writers(), 0);
    cluster.lose(|_| false);
    cluster.tick(150);
    assert_eq!(cluster.at_master("n"), Some(5));
    assert_eq!(cluster.at_clone(0, "n"), Some(5));
}

// --- masters that forget -----------------------------------------------------------------------------

/// Serves a clone as a master of the original does: signs of life to all, answers to its writer, and
/// nothing else until it is asked again once it has forgotten the clone. Spec: stores 6.6 item 6.
struct Forgetful {
    clone: StoreClone,
    /// How many ticks of the clone's pass in one of the master's.
    tick: u64,
    ticks: u64,
    connected: bool,
    answers_writers: bool,
    path: Option<EntityId>,
    /// The number up to which it has the requests of each.
    writers: std::collections::BTreeMap<EntityId, u64>,
    sum: u64,
    seq: u64,
    value: u64,
    /// To different ids of the clone.
    snapshots: usize,
}

impl Forgetful {
    const ID: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([1; 16]),
        object: 7,
    };

    /// Its clone has attached, and everything is acknowledged.
    fn new(tick: u64) -> Self {
        let mut clone = StoreClone::new(ours(2), "s", StoreConfig::default(), options());
        clone.set_reachable(true);
        let mut world = Self {
            clone,
            tick,
            ticks: 0,
            connected: true,
            answers_writers: true,
            path: None,
            writers: std::collections::BTreeMap::new(),
            sum: 0,
            seq: 1,
            value: 1,
            snapshots: 0,
        };
        world.run(20 * tick);
        assert!(world.clone.is_idle());
        assert_eq!(world.snapshots, 1);
        world
    }

    fn forget(&mut self) {
        self.path = None;
        self.writers.clear();
    }

    fn connect(&mut self, connected: bool) {
        self.connected = connected;
        self.clone.set_reachable(connected);
    }

    fn change(&mut self) {
        self.value += 1;
        let Some(_) = self.path else { return };
        self.seq += 1;
        let (key, value) = (bytes("k"), bytes(self.value));
        self.say(EntityId::NIL, self.seq, put(&key, &value));
    }

    fn say(&mut self, receiver: EntityId, seq: u64, content: Content<'_>) {
        if self.connected {
            deliver(&mut self.clone, Self::ID, receiver, seq, content);
        }
    }

    /// Takes what the clone says.
    fn listen(&mut self) {
        loop {
            let sent = commands(&outputs(|| self.clone.poll_output()));
            if sent.is_empty() {
                return;
            }
            for command in &parsed(&sent) {
                if self.connected {
                    self.hear(command);
                }
            }
        }
    }

    fn hear(&mut self, command: &Command<'_>) {
        let from = command.sender;
        match &command.content {
            Content::Nack { missing } if **missing == [0] => {
                self.snapshots += usize::from(self.path != Some(from));
                self.path = Some(from);
                let entry = [bytes("k"), bytes(self.value)].concat();
                self.say(from, self.seq, snapshot(self.seq, &entry, 1));
            }
            Content::AttachWriter { offset, .. } if !self.writers.contains_key(&from) => {
                self.writers.insert(from, *offset);
                self.answer(from);
            }
            content if content.is_action() => {
                if let Some(seq) = self.writers.get_mut(&from)
                    && command.seq == *seq + 1
                {
                    *seq = command.seq;
                    if let Content::Add { value, .. } = content {
                        self.sum += View::trusted(value).as_count().unwrap_or(0);
                    }
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, writer: EntityId) {
        if self.answers_writers {
            let seq = self.writers[&writer];
            self.say(writer, 0, Content::CumulativeAck { seq });
        }
    }

    /// Time passes at the master.
    fn beat(&mut self) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(5 * self.tick) {
            self.say(EntityId::NIL, 0, Content::Keepalive { seq: self.seq });
            for writer in self.writers.keys().copied().collect::<Vec<_>>() {
                self.answer(writer);
            }
        }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.beat();
            self.clone.handle_tick();
            self.listen();
        }
    }

    /// The user of the clone adds to a sum.
    fn add(&mut self, amount: u64) {
        let (key, value) = (bytes("sum"), bytes(amount));
        let content = Content::Add {
            key: &key,
            value: &value,
            init: Kind::Count,
            expiry: None,
            publisher: self.clone.id(),
        };
        self.clone.request(&content).unwrap();
        self.listen();
    }

    fn copy(&self) -> Option<u64> {
        View::trusted(self.clone.get(Timestamp::EPOCH, &bytes("k")).unwrap()).as_count()
    }
}

#[test]
fn a_clone_finds_out_that_its_master_has_forgotten_it() {
    let mut world = Forgetful::new(1);
    world.run(100);
    world.forget();
    world.change();
    world.run(25);
    assert_eq!((world.copy(), world.snapshots), (Some(2), 2));
    world.run(10);
    assert!(world.clone.is_idle());
    // And what it asks for comes back.
    world.change();
    world.run(10);
    assert_eq!(world.copy(), Some(3));
}

#[test]
fn a_clone_forgotten_during_an_outage_is_not_idle_until_it_has_attached_again() {
    let mut world = Forgetful::new(1);
    world.connect(false);
    world.run(520);
    world.forget();
    world.change();
    world.connect(true);
    let mut ticks = 0;
    while world.snapshots == 1 {
        assert!(!world.clone.is_idle());
        world.run(1);
        ticks += 1;
        assert!(ticks < 30, "it never attaches again");
    }
    world.run(10);
    assert!(world.clone.is_idle());
    assert_eq!((world.copy(), world.snapshots), (Some(2), 2));
}

#[test]
fn requests_made_while_a_clone_was_forgotten_are_applied_once() {
    let mut world = Forgetful::new(1);
    world.add(1);
    world.run(20);
    world.connect(false);
    world.add(10);
    world.run(520);
    world.forget();
    world.add(100);
    world.connect(true);
    // The master speaks, but it does not know the writer yet.
    world.run(6);
    world.add(1_000);
    world.run(60);
    assert_eq!((world.sum, world.snapshots), (1_111, 2));
    assert_eq!(world.clone.unacknowledged().0, 0);
    assert_eq!(world.clone.master(), Some(Forgetful::ID));
    // As a clone of the original, it is one object.
    assert_eq!(world.path, Some(world.clone.id()));
}

#[test]
fn a_request_that_a_forgetful_master_may_have_applied_is_reported() {
    let mut world = Forgetful::new(1);
    world.answers_writers = false;
    world.add(1);
    world.connect(false);
    world.run(520);
    world.forget();
    world.answers_writers = true;
    world.connect(true);
    let mut told = 0;
    for _ in 0..60 {
        world.beat();
        world.clone.handle_tick();
        let outputs = outputs(|| world.clone.poll_output());
        let unknown =
            |it: &&Output| matches!(it, Output::Fault(fault) if fault.text.contains("unknown"));
        told += outputs.iter().filter(unknown).count();
        for command in &parsed(&commands(&outputs)) {
            world.hear(command);
        }
    }
    assert_eq!((world.sum, told, world.snapshots), (1, 1, 2));
}

#[test]
fn a_clone_whose_process_was_suspended_finds_out_that_it_was_forgotten() {
    let mut world = Forgetful::new(1);
    world.run(100);
    // What the master says meanwhile waits in the socket.
    for tick in 0..530 {
        if tick == 500 {
            world.forget();
            world.change();
        }
        world.beat();
    }
    world.run(25);
    assert_eq!((world.copy(), world.snapshots), (Some(2), 2));
}

#[test]
fn a_master_that_forgets_nobody_sends_one_snapshot() {
    for tick in [1, 10] {
        let mut world = Forgetful::new(tick);
        for round in 0..40 {
            world.connect(round % 4 != 0);
            // It repeats nothing.
            if world.connected {
                world.change();
            }
            world.run(50);
        }
        world.connect(true);
        world.run(20 * tick);
        assert_eq!(world.snapshots, 1, "tick {tick}");
        assert!(world.clone.is_idle(), "tick {tick}");
    }
}

#[test]
fn a_master_that_never_answers_writers_is_asked_for_a_snapshot_per_connection_timeout() {
    let mut world = Forgetful::new(1);
    world.answers_writers = false;
    world.run(2_000);
    assert!(world.snapshots <= 5, "{} snapshots", world.snapshots);
}

#[test]
fn a_clone_is_not_attached_again_when_our_master_takes_it_back() {
    let mut cluster = Cluster::new(2);
    cluster.tick(100);
    let ids = [cluster.clones[0].position(), cluster.clones[1].position()];
    let connect = |cluster: &mut Cluster, connected: bool| {
        cluster.lose(move |_| !connected);
        for clone in &mut cluster.clones {
            clone.set_reachable(connected);
        }
    };
    connect(&mut cluster, false);
    cluster.tick(600);
    connect(&mut cluster, true);
    cluster.sent.clear();
    cluster.tick(100);
    assert!(cluster.master.is_idle() && cluster.clones.iter().all(StoreClone::is_idle));
    assert_eq!(
        [cluster.clones[0].position(), cluster.clones[1].position()],
        ids
    );
    let snapshots = parsed(&cluster.sent)
        .into_iter()
        .filter(|command| matches!(command.content, Content::AckClone { .. }));
    assert_eq!(snapshots.count(), 0);
}

#[test]
fn a_clone_of_a_busy_master_is_not_attached_again() {
    let mut cluster = Cluster::new(1);
    cluster.tick(20);
    // Changes take the place of signs of life.
    cluster.sent.clear();
    for value in 0..400 {
        cluster.put_at_master("k", value);
        cluster.tick(3);
    }
    let signs = |command: &Command<'_>| matches!(command.content, Content::Keepalive { .. });
    let of_master = |command: &Command<'_>| command.sender == id(1, 7);
    let sent = parsed(&cluster.sent);
    assert!(!sent.iter().any(|it| signs(it) && of_master(it)));
    assert!(!sent.iter().any(|it| it.content == nack(&[0])));
}

#[test]
fn a_clone_that_only_hears_what_is_for_all_attaches_again() {
    let mut cluster = Cluster::new(1);
    cluster.tick(20);
    let before = cluster.clones[0].id();
    // Its master does not take it back, though it answers its writer.
    cluster.lose(move |command| {
        command.receiver == before && matches!(command.content, Content::Keepalive { .. })
    });
    cluster.sent.clear();
    cluster.tick(520);
    let asks = |command: &Command<'_>| command.content == nack(&[0]);
    assert!(parsed(&cluster.sent).iter().any(asks));
}

// --- the three intervals ----------------------------------------------------------------------------

#[test]
fn the_resync_interval_is_how_long_a_search_takes() {
    for seconds in [1, 4] {
        let options = CloneOptions {
            resync_interval: Timespan::from_ns(seconds * SECOND),
            ..options()
        };
        let mut clone = StoreClone::new(ours(2), "s", StoreConfig::default(), options);
        let ticks = (1..).find(|_| {
            clone.handle_tick();
            clone.contact() == Contact::Failed
        });
        assert_eq!(ticks, Some(10 * seconds));
    }
}

#[test]
fn the_resync_interval_is_after_how_long_a_silence_another_master_is_looked_for() {
    let options = CloneOptions {
        resync_interval: Timespan::from_ns(2 * SECOND),
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    for _ in 0..19 {
        clone.handle_tick();
    }
    let asks = |clone: &mut StoreClone| {
        let sent = commands(&outputs(|| clone.poll_output()));
        parsed(&sent)
            .iter()
            .any(|command| command.content == nack(&[0]))
    };
    assert!(!asks(&mut clone));
    clone.handle_tick();
    assert!(asks(&mut clone));
}

#[test]
fn a_master_that_speaks_as_agreed_is_never_silent() {
    let options = CloneOptions {
        resync_interval: Timespan::ZERO,
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    for tick in 0..60 {
        if tick % 5 == 0 {
            deliver(
                &mut clone,
                id(1, 7),
                ours(2),
                0,
                Content::Keepalive { seq: 1 },
            );
        }
        clone.handle_tick();
    }
    let sent = commands(&outputs(|| clone.poll_output()));
    assert!(
        !parsed(&sent)
            .iter()
            .any(|command| command.content == nack(&[0]))
    );
}

#[test]
fn the_stale_interval_is_how_long_a_copy_may_be_read() {
    let options = CloneOptions {
        stale_interval: Timespan::from_ns(3 * SECOND),
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    for _ in 0..29 {
        clone.handle_tick();
    }
    assert_eq!(clone.exists(Timestamp::EPOCH, &bytes("k")), Ok(false));
    clone.handle_tick();
    let error = clone.exists(Timestamp::EPOCH, &bytes("k")).unwrap_err();
    assert_eq!(error.code, ErrorCode::StaleData);
    deliver(
        &mut clone,
        id(1, 7),
        EntityId::NIL,
        0,
        Content::Keepalive { seq: 1 },
    );
    assert_eq!(clone.exists(Timestamp::EPOCH, &bytes("k")), Ok(false));
}

#[test]
fn intervals_go_on_while_a_process_is_suspended() {
    let options = CloneOptions {
        stale_interval: Timespan::from_ns(60 * SECOND),
        ..options()
    };
    let mut clone = attached(options.clone(), id(1, 7));
    clone.request(&put(&bytes("k"), &bytes(1_u64))).unwrap();
    outputs(|| clone.poll_output());
    clone.skip_ticks(2_000);
    clone.handle_tick();
    assert_eq!(clone.contact(), Contact::Stale);
    // What waits to be read has its chance before anything follows from the silence.
    assert_eq!(clone.unacknowledged().0, 1);
    let sent = commands(&outputs(|| clone.poll_output()));
    let asks = |command: &Command<'_>| command.content == nack(&[0]);
    assert!(!parsed(&sent).iter().any(asks));
    let beat = Content::Keepalive { seq: 1 };
    deliver(&mut clone, id(1, 7), EntityId::NIL, 0, beat);
    assert_eq!(clone.contact(), Contact::Attached);
    // Nor does a search fail because nobody could answer it.
    let mut searching = StoreClone::new(ours(2), "s", StoreConfig::default(), options);
    searching.skip_ticks(2_000);
    searching.handle_tick();
    assert_eq!(searching.contact(), Contact::Searching);
}

#[test]
fn a_copy_that_misses_something_gets_stale_although_its_master_speaks() {
    let options = CloneOptions {
        stale_interval: Timespan::from_ns(3 * SECOND),
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    for _ in 0..30 {
        deliver(
            &mut clone,
            id(1, 7),
            EntityId::NIL,
            0,
            Content::Keepalive { seq: 2 },
        );
        clone.handle_tick();
    }
    assert_eq!(clone.contact(), Contact::Stale);
}

#[test]
fn the_mutation_buffer_interval_is_how_long_requests_wait() {
    let options = CloneOptions {
        mutation_buffer_interval: Timespan::from_ns(2 * SECOND),
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    clone.request(&put(&bytes("k"), &bytes(1_u64))).unwrap();
    for _ in 0..20 {
        clone.handle_tick();
    }
    assert_eq!(clone.unacknowledged(), (0, 0));
    let told = outputs(|| clone.poll_output()).into_iter().any(|output| {
        matches!(output, Output::Fault(fault) if fault.text.contains("1 requests are given up"))
    });
    assert!(told);
    let refused = clone.request(&put(&bytes("k"), &bytes(2_u64))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestTimeout);
}

#[test]
fn without_a_buffer_a_put_unique_is_answered_as_soon_as_the_silence_is_one() {
    let options = CloneOptions {
        mutation_buffer_interval: Timespan::ZERO,
        ..options()
    };
    let mut clone = attached(options, id(1, 7));
    let content = Content::PutUnique {
        key: &bytes("k"),
        value: &bytes(1_u64),
        expiry: None,
        who: id(2, 9),
        request: 1,
        publisher: ours(2),
    };
    clone.request(&content).unwrap();
    for _ in 0..15 {
        clone.handle_tick();
    }
    let answered = |output: Output| matches!(output, Output::Answer { result: Err(_), .. });
    assert!(outputs(|| clone.poll_output()).into_iter().any(answered));
}

#[test]
fn requests_that_wait_are_bounded_in_bytes() {
    let config = StoreConfig {
        buffer_bytes_max: 1_000,
        ..StoreConfig::default()
    };
    let mut clone = StoreClone::new(ours(2), "s", config, options());
    let mut accepted = 0;
    while clone.request(&put(&bytes("k"), &bytes(1_u64))).is_ok() {
        accepted += 1;
    }
    assert!(accepted > 3);
    assert!(clone.unacknowledged().1 <= 1_000);
    // Nor do they get more when they have numbers.
    deliver(&mut clone, id(1, 7), ours(2), 1, snapshot(1, &[], 0));
    assert_eq!(clone.unacknowledged().0, accepted);
    assert!(clone.unacknowledged().1 <= 1_000);
}

// --- two masters ------------------------------------------------------------------------------------

fn master_at(endpoint: u8) -> Master<Memory> {
    Master::new(id(endpoint, 7), "s", Memory::new(), StoreConfig::default()).unwrap()
}

fn conflicts(told: &[Output]) -> usize {
    let conflict = |output: &&Output| matches!(output, Output::Fault(fault) if fault.code == ErrorCode::MasterExists);
    told.iter().filter(conflict).count()
}

/// Two masters learn of each other's subscription and exchange what they have to say until they
/// are silent; returns how often each has told its user of a conflict.
fn meet(masters: &mut [Master<Memory>; 2]) -> [usize; 2] {
    let ids = masters.each_ref().map(|master| master.id().endpoint);
    let mut told = [0, 0];
    masters[0].set_suspects(&ids[1..]);
    // What the first one says comes before the other one knows of it.
    let mut carry = |masters: &mut [Master<Memory>; 2], from: usize| {
        let outputs = outputs(|| masters[from].poll_output());
        told[from] += conflicts(&outputs);
        let sent = commands(&outputs);
        for command in parsed(&sent) {
            let to = &mut masters[1 - from];
            ask(
                to,
                command.sender,
                command.receiver,
                command.seq,
                command.content,
            );
            to.commit().unwrap();
        }
        sent.len()
    };
    carry(masters, 0);
    masters[1].set_suspects(&ids[..1]);
    while carry(masters, 0) + carry(masters, 1) > 0 {}
    told
}

#[test]
fn of_two_masters_exactly_one_stays_writable_and_both_say_so() {
    for ids in [[1, 6], [6, 1]] {
        let mut masters = ids.map(master_at);
        let clone = ours(2);
        for master in &mut masters {
            ask(master, clone, EntityId::NIL, 0, nack(&[0]));
            ask(master, id(3, 3), EntityId::NIL, 0, nack(&[0]));
            master.commit().unwrap();
            outputs(|| master.poll_output());
        }
        assert_eq!(meet(&mut masters), [1, 1]);
        let [first, second] = masters.each_ref().map(Master::is_writable);
        assert_eq!([first, second], [ids[0] < ids[1], ids[1] < ids[0]]);
        let other = masters.iter_mut().find(|it| !it.is_writable()).unwrap();
        // It does not take clones, and those of ours it has are told to look for the other one.
        ask(other, id(4, 3), EntityId::NIL, 0, nack(&[0]));
        assert_eq!(other.clones(), 2);
        for _ in 0..5 {
            other.handle_tick(Timestamp::EPOCH);
        }
        other.commit().unwrap();
        let told = outputs(|| other.poll_output())
            .into_iter()
            .filter_map(|output| match output {
                Output::Send(message) => Some(command_of(&message)),
                _ => None,
            });
        let told = told.filter(|(payload, _)| {
            let command = Command::parse(payload).unwrap();
            matches!(command.content, Content::RetransmitFailed { .. })
        });
        let told: Vec<EndpointId> = told.map(|(_, receiver)| receiver).collect();
        assert_eq!(told, [clone.endpoint]);
    }
}

#[test]
fn whoever_only_subscribes_to_what_is_said_to_a_master_is_no_rival() {
    let mut master = master_at(6);
    let relay = id(1, 1);
    master.set_suspects(&[relay.endpoint]);
    for _ in 0..200 {
        master.handle_tick(Timestamp::EPOCH);
    }
    // Nor does it become one by what it passes on, or by its clones.
    ask(&mut master, id(2, 3), EntityId::NIL, 0, nack(&[0]));
    ask(&mut master, relay, EntityId::NIL, 0, nack(&[0]));
    ask(
        &mut master,
        relay,
        EntityId::NIL,
        0,
        Content::Keepalive { seq: 1 },
    );
    let content = put(&[1, 1], &[1, 1]);
    master.request(Timestamp::EPOCH, &content).unwrap();
    master.commit().unwrap();
    assert_eq!(conflicts(&outputs(|| master.poll_output())), 0);
    assert!(master.is_writable());
}

#[test]
fn a_master_of_others_is_known_by_those_who_name_it() {
    let mut master = master_at(6);
    let other = id(1, 7);
    let open = Content::AttachWriter {
        offset: 1,
        heartbeat: 5,
    };
    // Somebody still follows a master that is gone.
    ask(&mut master, id(2, 3), other, 0, open.clone());
    assert!(master.is_writable());
    master.set_suspects(&[other.endpoint]);
    ask(&mut master, id(2, 3), other, 0, open);
    assert!(!master.is_writable());
    assert_eq!(conflicts(&outputs(|| master.poll_output())), 1);
    master.set_suspects(&[]);
    assert!(master.is_writable());
}

#[test]
fn a_request_that_is_refused_for_another_master_fails_at_its_user() {
    let mut masters = [master_at(6), master_at(1)];
    meet(&mut masters);
    let [mut master, _] = masters;
    let content = Content::PutUnique {
        key: &bytes("k"),
        value: &bytes(1_u64),
        expiry: None,
        who: id(6, 9),
        request: 1,
        publisher: id(6, 7),
    };
    let refused = master.request(Timestamp::EPOCH, &content);
    assert_eq!(refused.unwrap_err().code, ErrorCode::MasterExists);
    master.commit().unwrap();
    let answer = outputs(|| master.poll_output())
        .into_iter()
        .find_map(|output| match output {
            Output::Answer { result, .. } => Some(result.map_err(|failure| failure.code)),
            _ => None,
        });
    assert_eq!(answer, Some(Err(ErrorCode::MasterExists)));
}

// --- groups that fail -------------------------------------------------------------------------------

/// Entries whose changes are kept only if that is allowed.
#[derive(Debug, Default)]
struct Failing {
    kept: Vec<(Vec<u8>, Vec<u8>, Option<Timestamp>)>,
    working: Memory,
    fails: bool,
}

impl Failing {
    fn restore(&mut self) {
        self.working = Memory::new();
        for (key, value, at) in &self.kept {
            self.working.put(key, value, *at).unwrap();
        }
    }
}

impl Backend for Failing {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        self.working.get(key)
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.working.contains(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8], at: Option<Timestamp>) -> Result<(), BackendError> {
        // The second of them fails at once, the first one with its group.
        if value == [1, 1] {
            self.fails = true;
        }
        self.working.put(key, value, at)
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.working.erase(key)
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        self.working.expire(key, now)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        self.working.clear()
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        self.working.count()
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        self.working.for_each(visit)
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.working.for_each_key(visit)
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        self.working.keys_after(after, limit, visit)
    }

    fn expiries(&mut self) -> Result<Vec<(Vec<u8>, Timestamp)>, BackendError> {
        self.working.expiries()
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        if std::mem::take(&mut self.fails) {
            return Err(BackendError::Failed("disk full".to_owned()));
        }
        let mut kept = Vec::new();
        self.working
            .for_each(&mut |key, value, at| kept.push((key.to_vec(), value.to_vec(), at)))?;
        self.kept = kept;
        Ok(())
    }

    fn rollback(&mut self) {
        self.restore();
    }
}

/// The value that [`Failing`] fails with.
const BAD: [u8; 2] = [1, 1];

fn failing() -> Master<Failing> {
    Master::new(id(1, 7), "s", Failing::default(), StoreConfig::default()).unwrap()
}

#[test]
fn a_write_that_the_back_end_loses_is_told_to_the_clone_that_asked() {
    let mut master = failing();
    let clone = ours(2);
    let open = Content::AttachWriter {
        offset: 1,
        heartbeat: 5,
    };
    ask(&mut master, clone, id(1, 7), 0, open);
    ask(&mut master, clone, id(1, 7), 2, put(&bytes("k"), &BAD));
    assert_eq!(master.commit().unwrap_err().code, ErrorCode::BackendFailure);
    let told = outputs(|| master.poll_output());
    let sent = commands(&told);
    let refusal = parsed(&sent)
        .into_iter()
        .find_map(|command| match command.content {
            Content::Subtract { key, value, .. } if command.receiver == clone => Some((
                View::trusted(key).as_count(),
                View::trusted(value).to_string(),
            )),
            _ => None,
        });
    let code = u64::from(ErrorCode::BackendFailure.number());
    assert_eq!(refusal, Some((Some(code), "disk full".to_owned())));
    assert_eq!(master.entries(Timestamp::EPOCH), Ok(0));
}

#[test]
fn nobody_is_sent_the_snapshot_of_a_group_that_failed() {
    let mut master = failing();
    master
        .request(Timestamp::EPOCH, &put(&bytes("k"), &BAD))
        .unwrap();
    ask(&mut master, ours(2), EntityId::NIL, 0, nack(&[0]));
    assert!(master.commit().is_err());
    ask(&mut master, ours(2), EntityId::NIL, 0, nack(&[0]));
    master.commit().unwrap();
    let sent = commands(&outputs(|| master.poll_output()));
    let counts = parsed(&sent)
        .into_iter()
        .filter_map(|command| match command.content {
            Content::AckClone { entries, .. } => Some(entries.len()),
            _ => None,
        });
    assert_eq!(counts.collect::<Vec<_>>(), [0]);
}

#[test]
fn a_clone_given_up_in_a_group_that_failed_finds_out_what_it_missed() {
    let config = StoreConfig {
        buffer_bytes_max: 600,
        ..StoreConfig::default()
    };
    let mut master = Master::new(id(1, 7), "s", Failing::default(), config).unwrap();
    ask(&mut master, ours(2), EntityId::NIL, 0, nack(&[0]));
    ask(
        &mut master,
        ours(2),
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 1 },
    );
    master.commit().unwrap();
    // More than is kept for it, and all of it comes to nothing.
    for _ in 0..6 {
        master
            .request(Timestamp::EPOCH, &put(&bytes("k"), &BAD))
            .unwrap();
    }
    assert!(master.commit().is_err());
    assert_eq!((master.clones(), master.seq()), (0, 1));
    master
        .request(Timestamp::EPOCH, &put(&bytes("k"), &bytes(1_u64)))
        .unwrap();
    master.commit().unwrap();
    outputs(|| master.poll_output());
    ask(
        &mut master,
        ours(2),
        id(1, 7),
        0,
        Content::CumulativeAck { seq: 1 },
    );
    master.commit().unwrap();
    let sent = commands(&outputs(|| master.poll_output()));
    let filled = |command: &Command<'_>| matches!(command.content, Content::Clear { .. });
    assert!(parsed(&sent).iter().any(filled), "number 2 is missed");
}

#[test]
fn an_add_that_fails_leaves_nothing_behind() {
    let mut master = Master::new(id(1, 7), "s", Memory::new(), StoreConfig::default()).unwrap();
    let content = Content::Add {
        key: &bytes("k"),
        value: &bytes("text"),
        init: Kind::Count,
        expiry: None,
        publisher: id(1, 7),
    };
    assert!(master.request(Timestamp::EPOCH, &content).is_err());
    assert_eq!(master.exists(Timestamp::EPOCH, &bytes("k")), Ok(false));
}

#[test]
fn entries_that_cannot_be_removed_are_tried_again_with_the_next_tick_and_not_before() {
    let mut master = failing();
    let publisher = master.id();
    let (key, value) = (bytes("k"), bytes(1_u64));
    let content = Content::Put {
        key: &key,
        value: &value,
        expiry: Some(Timespan::from_ns(10)),
        publisher,
    };
    master.request(Timestamp::EPOCH, &content).unwrap();
    master.commit().unwrap();
    let now = Timestamp::from_ns(10);
    assert_eq!(master.next_expiry(), Some(now));
    master.handle_expiry(now);
    master
        .request(now, &put(&bytes("other"), &BAD))
        .expect("the group fails later");
    master.commit().unwrap_err();
    // Whoever looked for what is due now would look for ever.
    assert_eq!(master.next_expiry(), None);
    assert_eq!(master.exists(now, &key), Ok(false));
    master.handle_tick(now);
    master.commit().unwrap();
    assert_eq!(master.next_expiry(), None);
    assert_eq!(master.exists(Timestamp::EPOCH, &key), Ok(false));
}
