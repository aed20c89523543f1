//! An entry is gone for every read when its time comes, at masters and clones, and is removed and
//! told of soon after. Spec: stores 7.5; ADR 0100.

use std::collections::BTreeSet;

use broker_data::{Kind, Timespan, Timestamp};
use broker_proto::store::command::{Command, Content};
use broker_proto::store::master::EXPIRED_PER_CALL_MAX;
use broker_proto::store::{Backend, Master, Memory, Role, StoreConfig};

use crate::cluster::{Cluster, bytes, id, ours};

const fn ms(count: i64) -> Timespan {
    Timespan::from_millis(count)
}

/// Makes a request at the master of a cluster.
fn request(cluster: &mut Cluster, content: &Content<'_>) -> bool {
    let result = cluster.master.request(cluster.now, content).unwrap();
    cluster.master.commit().unwrap();
    cluster.deliver();
    result
}

fn put_for(cluster: &mut Cluster, key: &str, value: u64, expiry: Timespan) {
    let content = Content::Put {
        key: &bytes(key),
        value: &bytes(value),
        expiry: Some(expiry),
        publisher: cluster.master.id(),
    };
    request(cluster, &content);
}

/// Lets time pass without a tick and without removing anything.
fn pass(cluster: &mut Cluster, span: Timespan) {
    cluster.now = cluster.now.saturating_add(span);
}

/// Does what is due at the master.
fn expire(cluster: &mut Cluster) {
    cluster.master.handle_expiry(cluster.now);
    cluster.master.commit().unwrap();
    cluster.deliver();
}

fn events(cluster: &Cluster, role: Role) -> Vec<String> {
    let events = cluster.events.iter().filter(|event| event.0 == role);
    let words = events.map(|event| event.1.trim_matches(['(', ')']).split(", "));
    words
        .map(|mut words| {
            let (kind, key) = (words.next().unwrap(), words.nth(1).unwrap());
            format!("{kind} {key}")
        })
        .collect()
}

#[test]
fn an_entry_is_gone_for_every_read_the_moment_its_time_comes() {
    let mut cluster = Cluster::new(1);
    cluster.put_at_master("stays", 1);
    put_for(&mut cluster, "k", 2, ms(100));
    let key = bytes("k");
    pass(&mut cluster, Timespan::from_ns(99_999_999));
    assert_eq!(cluster.at_master("k"), Some(2));
    assert_eq!(cluster.at_clone(0, "k"), Some(2));
    pass(&mut cluster, Timespan::from_ns(1));
    let now = cluster.now;
    let master = &mut cluster.master;
    assert_eq!(master.exists(now, &key), Ok(false));
    assert!(master.get(now, &key).is_err());
    assert!(master.get_index(now, &key, &bytes(0_u64)).is_err());
    assert_eq!(master.entries(now), Ok(1));
    let mut keys = Vec::new();
    master
        .for_each_key(now, &mut |key| keys.push(key.to_vec()))
        .unwrap();
    let mut entries = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| entries.push((key.to_vec(), value.to_vec()));
    assert_eq!(master.for_each(now, visit), Ok(0));
    assert_eq!(keys, [bytes("stays")]);
    assert_eq!(entries, [(bytes("stays"), bytes(1_u64))]);
    let clone = &cluster.clones[0];
    assert_eq!(clone.exists(now, &key), Ok(false));
    assert!(clone.get(now, &key).is_err());
    assert!(clone.get_index(now, &key, &bytes(0_u64)).is_err());
    assert_eq!(clone.entries(now), 1);
    let entries: Vec<_> = clone.iter(now).unwrap().collect();
    assert_eq!(entries, [(&*bytes("stays"), &*bytes(1_u64))]);
    // Nothing was removed yet, and nothing told.
    assert_eq!(events(&cluster, Role::Master), ["insert stays", "insert k"]);
}

#[test]
fn the_master_says_when_the_next_entry_is_over_and_removes_it_then() {
    let mut cluster = Cluster::new(1);
    assert_eq!(cluster.master.next_expiry(), None);
    put_for(&mut cluster, "late", 1, ms(70));
    put_for(&mut cluster, "early", 1, ms(30));
    let at = |span| Timestamp::EPOCH.saturating_add(span);
    assert_eq!(cluster.master.next_expiry(), Some(at(ms(30))));
    pass(&mut cluster, ms(30));
    expire(&mut cluster);
    assert_eq!(cluster.master.next_expiry(), Some(at(ms(70))));
    for role in [Role::Master, Role::Clone] {
        assert_eq!(events(&cluster, role)[2..], ["expire early"]);
    }
    put_for(&mut cluster, "late", 2, ms(200));
    assert_eq!(cluster.master.next_expiry(), Some(at(ms(230))));
    cluster.put_at_master("late", 3);
    assert_eq!(cluster.master.next_expiry(), None);
}

#[test]
fn a_request_finds_nothing_where_an_entry_is_over() {
    let (key, one) = (bytes("k"), bytes(1_u64));
    let mut cluster = Cluster::new(1);
    let publisher = cluster.master.id();
    let unique = Content::PutUnique {
        key: &key,
        value: &one,
        expiry: None,
        who: id(1, 9),
        request: 1,
        publisher,
    };
    let add = Content::Add {
        key: &key,
        value: &one,
        init: Kind::Count,
        expiry: None,
        publisher,
    };
    let put = Content::Put {
        key: &key,
        value: &one,
        expiry: None,
        publisher,
    };
    for content in [unique, add, put] {
        cluster.events.clear();
        put_for(&mut cluster, "k", 5, ms(10));
        pass(&mut cluster, ms(10));
        assert!(request(&mut cluster, &content), "{content:?}");
        assert_eq!(cluster.at_master("k"), Some(1), "{content:?}");
        assert_eq!(cluster.at_clone(0, "k"), Some(1), "{content:?}");
        for role in [Role::Master, Role::Clone] {
            let told = events(&cluster, role);
            assert_eq!(
                told[told.len() - 2..],
                ["expire k", "insert k"],
                "{content:?}"
            );
        }
    }
    let subtract = Content::Subtract {
        key: &key,
        value: &one,
        expiry: None,
        publisher,
    };
    put_for(&mut cluster, "k", 5, ms(10));
    pass(&mut cluster, ms(10));
    assert!(cluster.master.request(cluster.now, &subtract).is_err());
    put_for(&mut cluster, "k", 5, ms(10));
    pass(&mut cluster, ms(10));
    cluster.events.clear();
    request(
        &mut cluster,
        &Content::Erase {
            key: &key,
            publisher,
        },
    );
    put_for(&mut cluster, "k", 5, ms(10));
    put_for(&mut cluster, "other", 5, ms(20));
    pass(&mut cluster, ms(10));
    request(&mut cluster, &Content::Clear { publisher });
    for role in [Role::Master, Role::Clone] {
        let wanted = [
            "expire k",
            "insert k",
            "insert other",
            "expire k",
            "erase other",
        ];
        assert_eq!(events(&cluster, role), wanted);
    }
}

#[test]
fn a_time_of_zero_or_less_is_over_at_once() {
    let mut cluster = Cluster::new(1);
    for span in [ms(0), ms(-1), Timespan::from_ns(i64::MIN)] {
        put_for(&mut cluster, "k", 1, span);
        assert_eq!(cluster.at_master("k"), None);
        assert_eq!(cluster.at_clone(0, "k"), None);
        assert!(cluster.master.next_expiry() <= Some(cluster.now));
        expire(&mut cluster);
        assert_eq!(cluster.master.next_expiry(), None);
    }
    assert_eq!(
        events(&cluster, Role::Clone),
        ["insert k", "expire k"].repeat(3)
    );
}

#[test]
fn a_snapshot_has_nothing_that_is_over() {
    let mut cluster = Cluster::new(0);
    cluster.put_at_master("stays", 1);
    put_for(&mut cluster, "early", 2, ms(10));
    put_for(&mut cluster, "late", 3, ms(30));
    let mut keys_at = |clone: u8, object: u64| {
        let sender = id(clone, object);
        let command = Command {
            seq: 0,
            sender,
            receiver: cluster.master.id(),
            content: Content::Nack {
                missing: vec![0].into(),
            },
        };
        let mut payload = Vec::new();
        command.encode(&mut payload);
        cluster.sent.clear();
        cluster
            .master
            .handle_command(cluster.now, &command, &payload);
        cluster.master.commit().unwrap();
        cluster.deliver();
        let keys: BTreeSet<Vec<u8>> = match Command::parse(&cluster.sent[0]).unwrap().content {
            Content::AckClone { entries, .. } => {
                assert_eq!(entries.iter().count(), entries.len() as usize);
                entries.iter().map(|(key, _)| key.to_vec()).collect()
            }
            other => panic!("{other:?}"),
        };
        pass(&mut cluster, ms(10));
        keys
    };
    let set = |keys: &[&str]| -> BTreeSet<Vec<u8>> { keys.iter().map(|it| bytes(*it)).collect() };
    // One that is made, one that is shared, one that is repeated: before and after a time comes.
    assert_eq!(keys_at(2, 3), set(&["stays", "early", "late"]));
    assert_eq!(keys_at(2, 3), set(&["stays", "late"]));
    assert_eq!(keys_at(3, 3), set(&["stays", "late"]));
    assert_eq!(keys_at(4, 3), set(&["stays"]));
    assert_eq!(keys_at(2, 3), set(&["stays"]));
}

#[test]
fn many_entries_that_end_together_are_removed_in_batches() {
    let mut cluster = Cluster::new(1);
    let count = 2 * EXPIRED_PER_CALL_MAX + 1;
    for number in 0..count as u64 {
        put_for(&mut cluster, &number.to_string(), number, ms(10));
    }
    pass(&mut cluster, ms(10));
    let removed = |cluster: &Cluster| {
        let events = events(cluster, Role::Clone);
        let expired = events.iter().filter(|it| it.starts_with("expire "));
        expired.count()
    };
    for done in [EXPIRED_PER_CALL_MAX, 2 * EXPIRED_PER_CALL_MAX, count] {
        assert!(cluster.master.next_expiry() <= Some(cluster.now));
        expire(&mut cluster);
        assert_eq!(removed(&cluster), done);
        assert_eq!(cluster.master.entries(cluster.now), Ok(0));
    }
    assert_eq!(cluster.master.next_expiry(), None);
}

#[test]
fn what_was_over_before_a_master_began_is_never_seen() {
    let mut storage = Memory::new();
    let (old, new) = (Timestamp::from_ns(10), Timestamp::from_ns(30));
    storage
        .put(&bytes("old"), &bytes(1_u64), Some(old))
        .unwrap();
    storage
        .put(&bytes("new"), &bytes(1_u64), Some(new))
        .unwrap();
    let mut master = Master::new(id(1, 7), "s", storage, StoreConfig::default()).unwrap();
    let now = Timestamp::from_ns(20);
    assert_eq!(master.exists(now, &bytes("old")), Ok(false));
    assert_eq!(master.exists(now, &bytes("new")), Ok(true));
    assert_eq!(master.entries(now), Ok(1));
    assert_eq!(master.next_expiry(), Some(old));
}

#[test]
fn a_clone_counts_from_when_it_hears_of_a_change_and_forgets_with_the_next() {
    let mut cluster = Cluster::new(1);
    put_for(&mut cluster, "k", 1, ms(50));
    pass(&mut cluster, ms(40));
    // Given more time before the first is over.
    put_for(&mut cluster, "k", 2, ms(50));
    pass(&mut cluster, ms(40));
    assert_eq!(cluster.at_clone(0, "k"), Some(2));
    // A sum says nothing about the time that it was given. Spec: stores 6.2.
    let content = Content::Add {
        key: &bytes("k"),
        value: &bytes(1_u64),
        init: Kind::Count,
        expiry: Some(ms(500)),
        publisher: ours(2),
    };
    request(&mut cluster, &content);
    pass(&mut cluster, ms(400));
    assert_eq!(cluster.at_clone(0, "k"), Some(3));
    pass(&mut cluster, ms(100));
    expire(&mut cluster);
    assert_eq!(cluster.at_clone(0, "k"), None);
}
