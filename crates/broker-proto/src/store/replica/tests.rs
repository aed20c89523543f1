use broker_data::{Kind, to_bytes};

use super::entry::{EntryKind, Mutation, StreamEntry};
use super::*;
use crate::id::EndpointId;

const NOW: Timestamp = Timestamp::from_ns(1_000_000_000_000);

/// Replicas and what they asked for, with a stream that does what it is told to.
struct Bench {
    replica: Replica,
    effects: Vec<Effect>,
    log: Vec<Arc<[u8]>>,
    ticket: u64,
}

fn id(endpoint: u8) -> EntityId {
    EntityId {
        endpoint: EndpointId::from_bytes([endpoint; 16]),
        object: 1,
    }
}

fn config() -> ReplicaConfig {
    ReplicaConfig {
        snapshot_entries: 1_000,
        ..ReplicaConfig::default()
    }
}

fn key(name: &str) -> Vec<u8> {
    to_bytes(name).unwrap()
}

fn value(number: u64) -> Vec<u8> {
    to_bytes(&number).unwrap()
}

/// An entry of another leader.
fn foreign(number: u64, mutations: &[Mutation<'_>]) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    mutations.iter().for_each(|it| it.encode(&mut bytes));
    let kind = if mutations.is_empty() {
        EntryKind::TakeOver
    } else {
        EntryKind::Group
    };
    let entry = StreamEntry {
        id: EntryId {
            leader: id(9),
            number,
        },
        kind,
        time: NOW,
        count: u32::try_from(mutations.len()).unwrap(),
        mutations: &bytes,
    };
    entry.encode().into()
}

impl Bench {
    fn new(config: ReplicaConfig) -> Self {
        Self {
            replica: Replica::new(id(1), "s", config),
            effects: Vec::new(),
            log: Vec::new(),
            ticket: 0,
        }
    }

    /// One that follows an empty stream.
    fn follower(config: ReplicaConfig) -> Self {
        let mut bench = Self::new(config);
        bench.replica.handle_snapshots(&[]);
        bench.drain();
        bench
    }

    /// One that leads, with nothing but its first entry in the stream.
    fn leader(config: ReplicaConfig) -> Self {
        let mut bench = Self::follower(config);
        bench.replica.handle_tick(NOW);
        assert_eq!(bench.drain(), [Effect::AcquireLease]);
        bench.replica.handle_lease(NOW, LeaseOutcome::Granted);
        bench.store_append();
        assert!(bench.replica.is_leader());
        bench.drain();
        bench
    }

    fn drain(&mut self) -> Vec<Effect> {
        while let Some(effect) = self.replica.poll_effect() {
            self.effects.push(effect);
        }
        std::mem::take(&mut self.effects)
    }

    /// The append that is asked for.
    fn append(&mut self) -> (EntryId, u64, Arc<[u8]>) {
        let effects = self.drain();
        let found = effects.iter().find_map(|effect| match effect {
            Effect::Append {
                id,
                expected,
                entry,
            } => Some((*id, *expected, entry.clone())),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no append in {effects:?}"))
    }

    /// The stream takes what is appended.
    fn store_append(&mut self) {
        let (id, expected, entry) = self.append();
        assert_eq!(expected, self.log.len() as u64);
        self.log.push(entry);
        let sequence = expected + 1;
        let outcome = AppendOutcome::Stored { sequence };
        self.replica.handle_append(NOW, id, outcome);
    }

    fn request(&mut self, content: &Content<'_>) -> u64 {
        self.ticket += 1;
        let taken = self.replica.request(NOW, self.ticket, content);
        assert_eq!(taken, Ok(()));
        self.ticket
    }

    fn put(&mut self, name: &str, number: u64) -> u64 {
        let (key, value) = (key(name), value(number));
        self.request(&Content::Put {
            key: &key,
            value: &value,
            expiry: None,
            publisher: id(1),
        })
    }

    fn put_unique(&mut self, name: &str, number: u64) -> u64 {
        let (key, value) = (key(name), value(number));
        self.request(&Content::PutUnique {
            key: &key,
            value: &value,
            expiry: None,
            who: id(1),
            request: 7,
            publisher: id(1),
        })
    }

    fn verdicts(&mut self) -> Vec<(u64, Verdict)> {
        let done = self.drain().into_iter().filter_map(|effect| match effect {
            Effect::Done { ticket, verdict } => Some((ticket, verdict)),
            _ => None,
        });
        done.collect()
    }

    fn content(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut content = Vec::new();
        self.replica
            .for_each(&mut |key, value, _| content.push((key.to_vec(), value.to_vec())));
        content.sort();
        content
    }
}

const APPLIED: Verdict = Verdict::Decided(Ok(Reply::Applied(true)));

#[test]
fn results_are_told_after_the_ack_and_not_before() {
    let mut bench = Bench::leader(config());
    let ticket = bench.put("k", 1);
    assert_eq!(bench.content(), [], "not visible before the stream has it");
    assert!(bench.replica.get(NOW, &key("k")).is_err());
    let (id, expected, _) = bench.append();
    assert_eq!(expected, 1);
    assert_eq!(bench.verdicts(), []);
    let outcome = AppendOutcome::Stored { sequence: 2 };
    bench.replica.handle_append(NOW, id, outcome);
    assert_eq!(bench.verdicts(), [(ticket, APPLIED)]);
    assert_eq!(bench.replica.get(NOW, &key("k")), Ok(value(1)));
    // An answer that comes again is one to nothing.
    bench.replica.handle_append(NOW, id, AppendOutcome::Refused);
    assert_eq!(bench.drain(), []);
}

#[test]
fn all_that_waits_goes_into_the_next_entry() {
    let mut bench = Bench::leader(config());
    bench.put("first", 1);
    for number in 0..10 {
        bench.put("k", number);
    }
    let won = bench.put_unique("u", 5);
    let lost = bench.put_unique("u", 6);
    bench.replica.read(NOW, 99, &key("u")).unwrap();
    bench.store_append();
    bench.store_append_of(11);
    let verdicts = bench.verdicts();
    assert_eq!(verdicts.len(), 13);
    let of = |ticket| verdicts.iter().find(|it| it.0 == ticket).unwrap().1.clone();
    assert_eq!(of(won), APPLIED);
    assert_eq!(of(lost), Verdict::Decided(Ok(Reply::Applied(false))));
    let read = Reply::Value(Some(value(5)));
    assert_eq!(of(99), Verdict::Decided(Ok(read)));
}

#[test]
fn a_result_without_a_change_is_confirmed_by_an_entry() {
    let mut bench = Bench::leader(config());
    bench.put("u", 1);
    bench.store_append();
    bench.drain();
    let lost = bench.put_unique("u", 2);
    assert!(bench.verdicts_if_any().is_empty());
    bench.store_append_of(0);
    assert_eq!(
        bench.verdicts(),
        [(lost, Verdict::Decided(Ok(Reply::Applied(false))))]
    );
}

impl Bench {
    /// Looks at verdicts and keeps everything else.
    fn verdicts_if_any(&mut self) -> Vec<u64> {
        while let Some(effect) = self.replica.poll_effect() {
            self.effects.push(effect);
        }
        let done = self.effects.iter().filter_map(|effect| match effect {
            Effect::Done { ticket, .. } => Some(*ticket),
            _ => None,
        });
        done.collect()
    }

    fn store_append_of(&mut self, mutations: u32) {
        let (id, expected, entry) = self.append();
        assert_eq!(StreamEntry::parse(&entry).unwrap().count, mutations);
        self.log.push(entry);
        let sequence = expected + 1;
        let outcome = AppendOutcome::Stored { sequence };
        self.replica.handle_append(NOW, id, outcome);
    }
}

#[test]
fn an_unknown_append_is_looked_up_before_anything_is_answered() {
    // Found: it was stored.
    let mut bench = Bench::leader(config());
    let first = bench.put("k", 1);
    let (id, expected, entry) = bench.append();
    let waiting = bench.put("k", 2);
    bench.replica.handle_append(NOW, id, AppendOutcome::Unknown);
    assert_eq!(bench.drain(), [Effect::ReadTail { after: expected }]);
    bench
        .replica
        .handle_tail(NOW, expected, TailOutcome::Unknown);
    assert_eq!(bench.drain(), [], "asked again later");
    let tail = TailOutcome::Entry { entry: &entry };
    bench.replica.handle_tail(NOW, expected, tail);
    assert_eq!(bench.verdicts_if_any(), [first]);
    bench.store_append_of(1);
    assert_eq!(bench.verdicts(), [(waiting, APPLIED)]);

    // Not there: the same entry, with the same id and fence, is sent again.
    let third = bench.put("k", 3);
    let sent = bench.append();
    bench
        .replica
        .handle_append(NOW, sent.0, AppendOutcome::Unknown);
    bench.drain();
    bench.replica.handle_tail(NOW, sent.1, TailOutcome::End);
    assert_eq!(bench.append(), sent);
    // And is refused, as the first one has arrived after all.
    bench
        .replica
        .handle_append(NOW, sent.0, AppendOutcome::Refused);
    assert_eq!(bench.drain(), [Effect::ReadTail { after: sent.1 }]);
    let tail = TailOutcome::Entry { entry: &sent.2 };
    bench.replica.handle_tail(NOW, sent.1, tail);
    assert_eq!(bench.verdicts(), [(third, APPLIED)]);
    assert!(bench.replica.is_leader());
}

#[test]
fn questions_without_an_answer_are_asked_again() {
    let mut bench = Bench::leader(config());
    bench.put("k", 1);
    let (_, expected, _) = bench.append();
    let asked = |bench: &mut Bench| {
        for _ in 0..RETRY_TICKS {
            bench.replica.handle_tick(NOW);
        }
        bench
            .drain()
            .contains(&Effect::ReadTail { after: expected })
    };
    assert!(asked(&mut bench));
    assert!(asked(&mut bench));
    bench.replica.handle_connected();
    let effects = bench.drain();
    assert!(effects.contains(&Effect::ReadTail { after: expected }));
    assert!(effects.contains(&Effect::Follow { after: expected }));
}

#[test]
fn a_leader_that_is_fenced_undoes_its_group_and_says_by_whom() {
    let other = foreign(1, &[]);
    let reason = StepDown::Fenced(id(9));
    let standby = Effect::Became(Standing::Standby(Some(reason.clone())));
    let not_applied = Verdict::NotApplied(reason);
    for delivered in [false, true] {
        let mut bench = Bench::leader(config());
        bench.put("k", 1);
        bench.store_append();
        bench.drain();
        let first = bench.put("k", 2);
        let (append, expected, _) = bench.append();
        let waiting = bench.put("k", 3);
        if delivered {
            bench.replica.handle_entry(NOW, expected + 1, &other);
            assert_eq!(bench.replica.applied(), expected + 1);
        } else {
            bench
                .replica
                .handle_append(NOW, append, AppendOutcome::Refused);
            let tail = TailOutcome::Entry { entry: &other };
            bench.replica.handle_tail(NOW, expected, tail);
        }
        let effects = bench.drain();
        for ticket in [first, waiting] {
            let verdict = not_applied.clone();
            assert!(
                effects.contains(&Effect::Done { ticket, verdict }),
                "{effects:?}"
            );
        }
        assert!(effects.contains(&standby) && effects.contains(&Effect::ReleaseLease));
        assert_eq!(bench.content(), [(key("k"), value(1))]);
        let again = bench
            .replica
            .request(NOW, 50, &Content::Clear { publisher: id(1) });
        assert_eq!(again.unwrap_err().code, ErrorCode::NoSuchMaster);
    }
}

#[test]
fn an_own_entry_that_is_delivered_first_is_as_good_as_its_ack() {
    let mut bench = Bench::leader(config());
    let ticket = bench.put("k", 1);
    let (id, expected, entry) = bench.append();
    bench.replica.handle_entry(NOW, expected + 1, &entry);
    assert_eq!(bench.verdicts(), [(ticket, APPLIED)]);
    let outcome = AppendOutcome::Stored { sequence: 2 };
    bench.replica.handle_append(NOW, id, outcome);
    bench.replica.handle_entry(NOW, expected + 1, &entry);
    assert_eq!(bench.drain(), []);
    assert!(bench.replica.is_leader());
}

#[test]
fn a_lost_lease_is_obeyed_once_the_append_is_known() {
    let mut bench = Bench::leader(config());
    let ticket = bench.put("k", 1);
    let (append, expected, _) = bench.append();
    let later = NOW.saturating_add(Timespan::from_millis(4_000));
    bench.replica.handle_tick(later);
    assert!(bench.drain().contains(&Effect::AcquireLease));
    bench.replica.handle_lease(later, LeaseOutcome::Held);
    assert!(bench.replica.is_leader() && !bench.replica.is_current(later));
    let sequence = expected + 1;
    let outcome = AppendOutcome::Stored { sequence };
    bench.replica.handle_append(later, append, outcome);
    let effects = bench.drain();
    assert!(effects.contains(&Effect::Done {
        ticket,
        verdict: APPLIED
    }));
    let standing = Standing::Standby(Some(StepDown::LeaseLost));
    assert!(effects.contains(&Effect::Became(standing)));
    assert_eq!(bench.content(), [(key("k"), value(1))]);
}

#[test]
fn a_leader_whose_lease_is_over_refuses_writes_and_reads_unless_allowed() {
    let later = NOW.saturating_add(Timespan::from_millis(5_001));
    for stale_reads in [StaleReads::Refuse, StaleReads::Allow] {
        let mut bench = Bench::leader(ReplicaConfig {
            stale_reads,
            ..config()
        });
        bench.put("k", 1);
        bench.store_append();
        assert_eq!(bench.replica.get(NOW, &key("k")), Ok(value(1)));
        let read = bench.replica.get(later, &key("k"));
        match stale_reads {
            StaleReads::Refuse => assert_eq!(read.unwrap_err().code, ErrorCode::StaleData),
            StaleReads::Allow => assert_eq!(read, Ok(value(1))),
        }
        let refused = bench.replica.read(later, 1, &key("k"));
        assert_eq!(refused.unwrap_err().code, ErrorCode::NoSuchMaster);
    }
}

#[test]
fn a_follower_applies_in_order_once_and_tells_events() {
    let mut bench = Bench::follower(config());
    bench.replica.set_observed(true);
    let (k, one, two) = (key("k"), value(1), value(2));
    let put = |value| Mutation::Put {
        key: &k,
        value,
        expiry: None,
    };
    let first = foreign(1, &[put(&one)]);
    let second = foreign(2, &[put(&two), Mutation::Expire { key: &k }]);
    bench.replica.handle_entry(NOW, 2, &second);
    assert_eq!(
        bench.drain(),
        [Effect::Follow { after: 0 }],
        "one is missing"
    );
    bench.replica.handle_entry(NOW, 1, &first);
    bench.replica.handle_entry(NOW, 1, &first);
    let events = |bench: &mut Bench| {
        let texts = bench.drain().into_iter().map(|effect| match effect {
            Effect::Store(Output::Event(event)) => {
                broker_data::View::new(&event).unwrap().to_string()
            }
            other => panic!("{other:?}"),
        });
        texts.collect::<Vec<_>>()
    };
    assert_eq!(events(&mut bench), ["(insert, s, k, 1, nil, nil, nil)"]);
    bench.replica.handle_entry(NOW, 2, &second);
    let expected = [
        "(update, s, k, 1, 2, nil, nil, nil)",
        "(expire, s, k, nil, nil)",
    ];
    assert_eq!(events(&mut bench), expected);
    assert_eq!((bench.replica.applied(), bench.content()), (2, Vec::new()));
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_replica() {
    let mut bench = Bench::follower(config());
    bench.replica.handle_entry(NOW, 1, b"BKSE\x09");
    let reason = StopReason::Damaged {
        sequence: 1,
        error: entry::EntryError::Version(9),
    };
    let effects = bench.drain();
    assert!(
        effects.contains(&Effect::Became(Standing::Stopped(reason))),
        "{effects:?}"
    );
    bench.replica.handle_tick(NOW);
    assert_eq!(bench.drain(), []);
}

#[test]
fn what_is_over_is_removed_by_an_entry_of_the_leader() {
    let mut bench = Bench::leader(config());
    let (k, v) = (key("k"), value(1));
    bench.request(&Content::Put {
        key: &k,
        value: &v,
        expiry: Some(Timespan::from_ns(50)),
        publisher: id(1),
    });
    bench.store_append();
    let later = NOW.saturating_add(Timespan::from_ns(50));
    assert!(bench.replica.get(later, &k).is_err(), "hidden");
    assert_eq!(bench.content().len(), 1, "not removed");
    bench.drain();
    bench.replica.handle_tick(later);
    let (_, _, entry) = bench.append();
    let entry = StreamEntry::parse(&entry).unwrap();
    assert!(entry.iter().eq([Mutation::Expire { key: &k }]));
}

#[test]
fn a_refused_request_is_told_why_after_the_ack() {
    let mut bench = Bench::leader(config());
    let (k, v) = (key("k"), value(1));
    let ticket = bench.request(&Content::Subtract {
        key: &k,
        value: &v,
        expiry: None,
        publisher: id(1),
    });
    bench.store_append();
    let verdicts = bench.verdicts();
    let Some((told, Verdict::Decided(Err(failure)))) = verdicts.first() else {
        panic!("{verdicts:?}");
    };
    assert_eq!((*told, failure.code), (ticket, ErrorCode::NoSuchKey));
    // Too large for an entry.
    let big = to_bytes("x".repeat(300_000).as_str()).unwrap();
    let ticket = bench.request(&Content::Put {
        key: &k,
        value: &big,
        expiry: None,
        publisher: id(1),
    });
    bench.store_append();
    let verdicts = bench.verdicts();
    assert!(matches!(&verdicts[..], [(told, Verdict::Decided(Err(_)))] if *told == ticket));
    let small = bench.request(&Content::Add {
        key: &k,
        value: &v,
        init: Kind::Count,
        expiry: None,
        publisher: id(1),
    });
    bench.store_append();
    assert_eq!(bench.verdicts(), [(small, APPLIED)]);
}

/// A snapshot of a store with one key, as of a sequence.
fn snapshot_at(sequence: u64, number: u64, leaders: &Leaders) -> Vec<Arc<[u8]>> {
    let mut memory = Memory::new();
    memory.put(&key("k"), &value(number), None).unwrap();
    snapshot::encode("s", sequence, leaders, &mut memory, 64)
}

#[test]
fn a_damaged_or_missing_snapshot_falls_back_to_the_one_before() {
    let leaders = Leaders::default();
    let (old, new) = (snapshot_at(5, 1, &leaders), snapshot_at(9, 2, &leaders));
    for torn in [None, Some(&new[..1])] {
        let mut bench = Bench::new(config());
        bench.replica.handle_snapshots(&[5, 9]);
        assert!(
            bench
                .drain()
                .contains(&Effect::ReadSnapshot { sequence: 9 })
        );
        bench.replica.handle_snapshot(9, torn);
        assert!(
            bench
                .drain()
                .contains(&Effect::ReadSnapshot { sequence: 5 })
        );
        bench.replica.handle_snapshot(5, Some(&old));
        assert!(bench.drain().contains(&Effect::Follow { after: 5 }));
        assert_eq!(
            (bench.replica.applied(), bench.content()),
            (5, vec![(key("k"), value(1))])
        );
    }
    // Behind a gap the old one is of no use, and a new one is waited for.
    let mut bench = Bench::follower(config());
    bench.replica.handle_gap(8);
    bench.replica.handle_snapshots(&[5]);
    let told = bench.drain();
    assert!(
        matches!(told.last(), Some(Effect::Store(Output::Fault(_)))),
        "{told:?}"
    );
    for _ in 0..RETRY_TICKS {
        bench.replica.handle_tick(NOW);
    }
    assert_eq!(bench.drain(), [Effect::ListSnapshots]);
    bench.replica.handle_snapshots(&[5, 9]);
    bench.replica.handle_snapshot(9, Some(&new));
    assert_eq!(bench.replica.applied(), 9);
}

#[test]
fn the_log_is_compacted_behind_the_older_of_two_whole_snapshots() {
    let mut bench = Bench::follower(ReplicaConfig {
        snapshot_entries: 3,
        ..config()
    });
    let leaders = Leaders::default();
    let mut written = Vec::new();
    for sequence in 1..=3 {
        bench
            .replica
            .handle_entry(NOW, sequence, &foreign(sequence, &[Mutation::Clear]));
    }
    assert_eq!(bench.drain(), [Effect::ListSnapshots]);
    bench.replica.handle_snapshots(&[]);
    for effect in bench.drain() {
        if let Effect::WriteSnapshot {
            sequence: 3,
            chunks,
        } = effect
        {
            written = chunks;
        }
    }
    bench.replica.handle_snapshot_written(3, true);
    assert_eq!(bench.drain(), [Effect::ReadSnapshot { sequence: 3 }]);
    bench.replica.handle_snapshot(3, Some(&written));
    assert_eq!(bench.drain(), [Effect::ListSnapshots]);
    // Of those before, 2 is damaged: 1 is the one that is relied upon.
    bench.replica.handle_snapshots(&[0, 3, 1, 2]);
    assert_eq!(bench.drain(), [Effect::ReadSnapshot { sequence: 2 }]);
    bench
        .replica
        .handle_snapshot(2, Some(&snapshot_at(1, 1, &leaders)));
    assert_eq!(bench.drain(), [Effect::ReadSnapshot { sequence: 1 }]);
    bench
        .replica
        .handle_snapshot(1, Some(&snapshot_at(1, 1, &leaders)));
    let compacted = [
        Effect::Compact { through: 1 },
        Effect::DeleteSnapshot { sequence: 0 },
    ];
    assert_eq!(bench.drain(), compacted);
    assert!(bench.replica.is_idle());
}

#[test]
fn a_snapshot_that_is_not_what_was_written_compacts_nothing() {
    let mut bench = Bench::follower(ReplicaConfig {
        snapshot_entries: 1,
        ..config()
    });
    bench.replica.handle_entry(NOW, 1, &foreign(1, &[]));
    bench.replica.handle_snapshots(&[]);
    bench.replica.handle_snapshot_written(1, true);
    bench.drain();
    bench.replica.handle_snapshot(1, None);
    assert_eq!(bench.drain(), []);
    // It is tried again.
    for _ in 0..RETRY_TICKS {
        bench.replica.handle_tick(NOW);
    }
    assert!(bench.drain().contains(&Effect::ListSnapshots));
}

#[test]
fn a_leader_that_was_left_behind_learns_its_result_from_the_snapshot() {
    for stored in [false, true] {
        let mut bench = Bench::leader(config());
        let ticket = bench.put("k", 1);
        let (append, expected, _) = bench.append();
        bench
            .replica
            .handle_append(NOW, append, AppendOutcome::Unknown);
        let tail = TailOutcome::Compacted { first: 20 };
        bench.replica.handle_tail(NOW, expected, tail);
        let left = Standing::Standby(Some(StepDown::LeftBehind));
        let effects = bench.drain();
        assert!(effects.contains(&Effect::Became(left)), "{effects:?}");
        let mut leaders = Leaders::default();
        leaders.note(append.leader, append.number - u64::from(!stored), 2);
        bench.replica.handle_snapshots(&[30]);
        bench
            .replica
            .handle_snapshot(30, Some(&snapshot_at(30, 7, &leaders)));
        let verdict = if stored {
            APPLIED
        } else {
            Verdict::NotApplied(StepDown::LeftBehind)
        };
        assert_eq!(bench.verdicts(), [(ticket, verdict)]);
    }
}

#[test]
fn a_replica_that_is_told_of_a_gap_before_what_it_has_asks_for_what_is_behind() {
    let mut bench = Bench::follower(config());
    bench.replica.handle_entry(NOW, 1, &foreign(1, &[]));
    bench.drain();
    // What was asked for first began at 1, which is compacted meanwhile.
    bench.replica.handle_gap(2);
    assert_eq!(bench.drain(), [Effect::Follow { after: 1 }]);
}

#[test]
fn a_copy_never_asks_for_the_lease() {
    let mut bench = Bench::follower(ReplicaConfig {
        candidacy: Candidacy::CopyOnly,
        ..config()
    });
    for _ in 0..100 {
        bench.replica.handle_tick(NOW);
    }
    assert_eq!(bench.drain(), []);
}

#[test]
fn a_replica_that_misses_entries_does_not_take_over() {
    let mut bench = Bench::follower(config());
    bench.replica.handle_tick(NOW);
    bench.replica.handle_lease(NOW, LeaseOutcome::Granted);
    let (append, expected, _) = bench.append();
    bench
        .replica
        .handle_append(NOW, append, AppendOutcome::Refused);
    let other = foreign(1, &[]);
    let tail = TailOutcome::Entry { entry: &other };
    bench.replica.handle_tail(NOW, expected, tail);
    assert!(!bench.replica.is_leader());
    bench.replica.handle_entry(NOW, 1, &other);
    bench.drain();
    bench.replica.handle_tick(NOW);
    let (_, expected, _) = bench.append();
    assert_eq!(expected, 1, "behind what it has applied by now");
}
