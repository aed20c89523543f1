//! A master and its clones on a network that the test controls message by message.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_data::{Kind, Timespan};
use broker_proto::store::command::Content;
use broker_proto::store::{CloneOptions, Contact, Master, Memory, Role, StoreClone, StoreConfig};
use broker_proto::{EndpointId, ErrorCode};

#[path = "stores/cluster.rs"]
mod cluster;
#[path = "stores/expiry.rs"]
mod expiry;

use cluster::{Cluster, bytes, id, ours};

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
    cluster.ask_unique(0, "k", 1);
    cluster.ask_unique(0, "k", 2);
    assert_eq!(cluster.answers, [(1, Ok(true)), (2, Ok(false))]);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
}

#[test]
fn a_lost_last_event_is_repaired() {
    let mut cluster = Cluster::new(1);
    cluster.lose(|command| matches!(command.content, Content::Put { .. }));
    cluster.put_at_master("k", 1);
    assert_eq!(cluster.at_clone(0, "k"), None);
    cluster.lose(|_| false);
    cluster.tick(8);
    assert_eq!(cluster.at_clone(0, "k"), Some(1));
}

#[test]
fn requests_before_the_master_is_known_wait() {
    let mut cluster = Cluster::new(1);
    let config = StoreConfig::default();
    let mut late = StoreClone::new(ours(9), "s", config, CloneOptions::default());
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
    cluster.lose(|command| command.sender.endpoint == EndpointId::from_bytes([9; 16]));
    let config = StoreConfig::default();
    let late = StoreClone::new(ours(9), "s", config, CloneOptions::default());
    cluster.clones.push(late);
    cluster.tick(101);
    assert_eq!(cluster.clones[1].contact(), Contact::Failed);
    let error = cluster.clones[1].get(cluster.now, &bytes("k")).unwrap_err();
    assert_eq!(error.code, ErrorCode::NoSuchMaster);
    cluster.lose(|_| false);
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
    cluster
        .lose(move |command| command.sender.endpoint == away || command.receiver.endpoint == away);
    assert_eq!(cluster.clones[1].id().endpoint, away);
    cluster.tick(600);
    cluster.put_at_master("new", 2);
    cluster.add_at_clone(1, "old", 10);
    cluster.lose(|_| false);
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
fn requests_made_before_a_new_master_speaks_up_are_for_the_new_one() {
    let mut cluster = Cluster::new(1);
    cluster.put_at_master("k", 1);
    cluster.tick(6);
    // The connection ends, and comes back to another master that has not spoken yet.
    cluster.clones[0].set_reachable(false);
    let config = StoreConfig::default();
    cluster.master = Master::new(id(8, 7), "s", Memory::new(), config).unwrap();
    cluster.clones[0].set_reachable(true);
    cluster.add_at_clone(0, "n", 5);
    cluster.tick(40);
    assert_eq!(cluster.at_master("n"), Some(5), "{:?}", cluster.faults);
    assert_eq!(cluster.at_clone(0, "n"), Some(5));
    assert_eq!(cluster.at_clone(0, "k"), None);
}
