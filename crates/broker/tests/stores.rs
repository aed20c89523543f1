//! Data stores of endpoints that peer over real sockets.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::time::{Duration, Instant};

use broker::store::STORE_REQUEST_TIMEOUT;
use broker::{
    Backend, CloneOptions, Contact, Endpoint, ErrorCode, Event, Retry, Store, StoreChange,
    StoreError, StoreOptions, Timespan, Value,
};

const LONG: Duration = Duration::from_secs(60);

fn endpoint() -> Endpoint {
    Endpoint::builder().disable_ssl(true).build().unwrap()
}

/// Two endpoints; the second has peered with the first.
fn pair() -> (Endpoint, Endpoint) {
    let (one, other) = (endpoint(), endpoint());
    peer(&other, &one);
    (one, other)
}

fn peer(from: &Endpoint, to: &Endpoint) {
    let port = to.listen("127.0.0.1", 0).wait().unwrap();
    from.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
}

fn clone_of(endpoint: &Endpoint, name: &str) -> Store {
    endpoint
        .attach_clone(name, CloneOptions::default())
        .unwrap()
}

fn master_of(endpoint: &Endpoint, name: &str) -> Store {
    endpoint.attach_master(name, Backend::Memory).unwrap()
}

/// Waits until a condition holds, looking at it whenever the store may have changed.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::yield_now();
    }
}

#[test]
fn a_clone_follows_its_master_and_changes_it() {
    let (one, other) = pair();
    let master = master_of(&one, "s");
    master.put("a", &1_u64).unwrap();
    let clone = clone_of(&other, "s");
    assert_eq!(clone.get("a").unwrap(), Some(Value::Count(1)));
    clone.put("b", "text").unwrap();
    clone.increment("a", &4_u64).unwrap();
    assert!(clone.await_idle(LONG));
    assert_eq!(master.get("a").unwrap(), Some(Value::Count(5)));
    assert_eq!(master.get("b").unwrap(), Some(Value::from("text")));
    master.erase("b").unwrap();
    assert!(master.await_idle(LONG));
    assert_eq!(clone.get("b").unwrap(), None);
    assert_eq!(clone.keys().unwrap(), [Value::from("a")]);
    assert_eq!(clone.snapshot().unwrap(), master.snapshot().unwrap());
}

#[test]
fn clones_may_come_before_their_master() {
    let (one, other) = pair();
    let clone = clone_of(&other, "s");
    clone.put("k", &7_u64).unwrap();
    let master = master_of(&one, "s");
    eventually("the request", || {
        master.get("k").unwrap() == Some(Value::Count(7))
    });
    assert!(clone.await_idle(LONG));
    assert_eq!(clone.get("k").unwrap(), Some(Value::Count(7)));
}

#[test]
fn a_clone_and_its_master_share_an_endpoint() {
    let one = endpoint();
    let clone = clone_of(&one, "s");
    let master = master_of(&one, "s");
    clone.put("k", &1_u64).unwrap();
    assert!(clone.await_idle(LONG));
    assert_eq!(master.get("k").unwrap(), Some(Value::Count(1)));
    assert_eq!(clone.get("k").unwrap(), Some(Value::Count(1)));
}

#[test]
fn a_clone_that_is_cut_off_does_not_call_itself_idle() {
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    assert!(clone.await_idle(LONG));
    one.shutdown().wait();
    eventually("the end of the peering", || other.peers().is_empty());
    assert!(!clone.await_idle(Duration::from_millis(300)));
    // Only the new master knows what is there, so the clone has to find it first.
    let next = endpoint();
    let master = master_of(&next, "s");
    master.put("k", &1_u64).unwrap();
    peer(&other, &next);
    assert!(clone.await_idle(LONG));
    assert_eq!(clone.get("k").unwrap(), Some(Value::Count(1)));
}

#[test]
fn put_unique_has_one_winner() {
    let (one, other) = pair();
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let answers = [
        clone.put_unique("k", &1_u64, None).unwrap().wait().unwrap(),
        clone.put_unique("k", &2_u64, None).unwrap().wait().unwrap(),
        master
            .put_unique("k", &3_u64, None)
            .unwrap()
            .wait()
            .unwrap(),
    ];
    assert_eq!(answers, [true, false, false]);
    assert_eq!(clone.get("k").unwrap(), Some(Value::Count(1)));
}

#[test]
fn every_change_is_told_on_both_sides() {
    let (one, other) = pair();
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    assert!(clone.await_idle(LONG));
    for store in [&master, &clone] {
        let events = store.events().unwrap();
        clone
            .put_for("k", &1_u64, Some(Timespan::from_millis(50)))
            .unwrap();
        let insert = events.recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(insert.store, "s");
        assert_eq!(insert.publisher, clone.id());
        let expiry = Some(Timespan::from_millis(50));
        let value = Value::Count(1);
        assert_eq!(insert.change, StoreChange::Insert { value, expiry });
        let expire = events.recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(expire.change, StoreChange::Expire);
        assert_eq!(expire.publisher, master.id());
        // The other side has been told as well before it is asked.
        assert!(master.await_idle(LONG));
    }
}

/// An endpoint whose stores tick once an hour: what happens sooner does not wait for a tick.
fn without_ticks() -> Endpoint {
    with_ticks_of(Duration::from_secs(3600))
}

fn with_ticks_of(tick_interval: Duration) -> Endpoint {
    let options = broker::Options {
        disable_ssl: true,
        store: StoreOptions {
            tick_interval,
            ..StoreOptions::default()
        },
        ..broker::Options::default()
    };
    Endpoint::builder().options(options).build().unwrap()
}

fn expired(events: &broker::StoreEvents) -> Value {
    loop {
        let event = events.recv_timeout(LONG).unwrap().unwrap();
        if event.change == StoreChange::Expire {
            return event.key;
        }
    }
}

#[test]
fn entries_are_removed_when_they_are_over_and_not_with_a_tick() {
    let (one, other) = (without_ticks(), without_ticks());
    peer(&other, &one);
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let events = [master.events().unwrap(), clone.events().unwrap()];
    assert_eq!(clone.get("late").unwrap(), None);
    let put = |key: &str, ms: i64| {
        let expiry = Some(Timespan::from_millis(ms));
        master.put_for(key, &1_u64, expiry).unwrap();
    };
    // The second one ends sooner than what is waited for.
    put("late", 3_600_000);
    put("early", 20);
    for events in &events {
        assert_eq!(expired(events), Value::from("early"));
    }
    assert!(master.exists("late").unwrap() && clone.exists("late").unwrap());
    put("late", 20);
    for events in &events {
        assert_eq!(expired(events), Value::from("late"));
    }
    for store in [&master, &clone] {
        assert!(!store.exists("early").unwrap() && store.is_empty().unwrap());
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn entries_of_a_file_are_removed_when_they_are_over_also_those_of_an_earlier_time() {
    let directory = tempfile::tempdir().unwrap();
    let options = broker::SqliteOptions::new(directory.path().join("s.db"));
    let attach = |endpoint: &Endpoint| {
        let backend = Backend::Sqlite(options.clone());
        endpoint.attach_master("s", backend).unwrap()
    };
    let (before, after) = (without_ticks(), without_ticks());
    let master = attach(&before);
    let short = Some(Timespan::from_millis(1));
    master.put_for("k", &1_u64, short).unwrap();
    let events = master.events().unwrap();
    master.put_for("l", &1_u64, short).unwrap();
    while expired(&events) != Value::from("l") {}
    assert!(master.is_empty().unwrap());
    before.shutdown().wait();
    let mut storage = broker::SqliteBackend::open(&options).unwrap();
    {
        use broker::proto::store::Backend as _;
        let key = broker::data::to_bytes("old").unwrap();
        let at = broker::Timestamp::from_ns(1);
        storage.put(&key, &key, Some(at)).unwrap();
        storage.commit().unwrap();
    }
    drop(storage);
    let events = after.store_events().unwrap();
    let master = attach(&after);
    assert!(master.is_empty().unwrap());
    assert_eq!(expired(&events), Value::from("old"));
}

#[test]
fn many_entries_that_end_together_let_others_in_between() {
    let_others_in(|| Backend::Memory);
}

#[cfg(feature = "sqlite")]
#[test]
fn many_entries_of_a_file_that_end_together_let_others_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    let_others_in(|| {
        number += 1;
        let path = directory.path().join(format!("{number}.db"));
        Backend::Sqlite(broker::SqliteOptions::new(path))
    });
}

/// Each batch lets at least one in; but a busy machine may not run this thread meanwhile.
fn let_others_in(mut backend: impl FnMut() -> Backend) {
    let mut served = Vec::new();
    while served.last().is_none_or(|&between| between < 10) {
        assert!(served.len() < 5, "{served:?} requests between");
        served.push(requests_while_many_end(backend()));
    }
}

/// How many requests were served while entries were removed that all ended together.
fn requests_while_many_end(backend: Backend) -> u32 {
    const COUNT: u64 = 10_000;
    let endpoint = without_ticks();
    let master = endpoint.attach_master("s", backend).unwrap();
    let end = std::time::SystemTime::now() + Duration::from_secs(2);
    for number in 0..COUNT {
        let left = end.duration_since(std::time::SystemTime::now());
        let left = Timespan::try_from(left.unwrap_or_default()).unwrap();
        master.put_for(&number, &1_u64, Some(left)).unwrap();
    }
    let events = master.events().unwrap();
    let mut gone = 0;
    let mut served_between = 0;
    let mut mine = 0_u64;
    // Work, and not only waiting.
    let deadline = Instant::now() + 10 * LONG;
    while gone < COUNT {
        assert!(Instant::now() < deadline, "{gone} are gone");
        if gone > 0 {
            served_between += 1;
        }
        mine += 1;
        master.put("other", &mine).unwrap();
        assert_eq!(master.get("other").unwrap(), Some(Value::Count(mine)));
        while let Some(event) = events.try_recv() {
            gone += u64::from(event.change == StoreChange::Expire);
        }
    }
    assert_eq!(master.len().unwrap(), 1);
    served_between
}

#[test]
fn a_refused_request_is_an_error_event_where_it_was_made() {
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let errors = other.status_subscriber(false).unwrap();
    clone.put("k", "text").unwrap();
    clone.increment("k", &1_u64).unwrap();
    let Some(Event::Error(fault)) = errors.recv_timeout(LONG).unwrap() else {
        panic!("an error event")
    };
    assert_eq!(fault.code, ErrorCode::TypeClash);
    assert!(
        fault.text.contains("`s`") && fault.text.contains("`k`"),
        "{fault:?}"
    );
}

#[test]
fn a_master_that_a_peer_has_is_refused() {
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let topic = broker::proto::store::master_topic("s");
    eventually("the peer's filter", || {
        other.peer_subscriptions().contains(&topic)
    });
    let error = other.attach_master("s", Backend::Memory).unwrap_err();
    assert!(matches!(error, StoreError::MasterExists { .. }), "{error}");
    let error = one.attach_clone("s", CloneOptions::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSuchMaster);
}

#[test]
fn subscriptions_to_a_prefix_do_not_look_like_a_master() {
    let (one, other) = pair();
    let _all = one.subscriber([""]).unwrap();
    let _below = one.subscriber(["s/"]).unwrap();
    eventually("the subscription", || {
        !other.peer_subscriptions().is_empty()
    });
    assert!(other.attach_master("s", Backend::Memory).is_ok());
}

#[test]
fn a_relay_of_commands_is_no_second_master() {
    let one = endpoint();
    let master = master_of(&one, "s");
    let errors = one.status_subscriber(false).unwrap();
    let port = one.listen("127.0.0.1", 0).wait().unwrap();
    // One of the relays has the smaller endpoint id, most likely.
    for round in 0..8_u64 {
        let relay = endpoint();
        relay.forward([broker::proto::store::master_topic("s")]);
        relay.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
        master.put("k", &round).unwrap();
        assert_eq!(master.get("k").unwrap(), Some(Value::Count(round)));
        relay.shutdown().wait();
    }
    assert_eq!(errors.available(), 0);
}

#[test]
fn of_two_masters_that_meet_one_gives_way() {
    let (one, other) = (endpoint(), endpoint());
    let (first, second) = (master_of(&one, "s"), master_of(&other, "s"));
    let errors = [
        one.status_subscriber(false).unwrap(),
        other.status_subscriber(false).unwrap(),
    ];
    peer(&other, &one);
    for errors in &errors {
        let Some(Event::Error(fault)) = errors.recv_timeout(LONG).unwrap() else {
            panic!("an error event")
        };
        assert_eq!(fault.code, ErrorCode::MasterExists);
    }
    first.put("k", &1_u64).unwrap();
    second.put("k", &2_u64).unwrap();
    let writable = [&first, &second].map(|store| store.get("k").unwrap().is_some());
    assert_eq!(writable, [one.id() < other.id(), other.id() < one.id()]);
}

#[test]
fn a_search_without_a_master_fails_in_its_time_and_can_be_repeated() {
    let (one, other) = pair();
    let options = CloneOptions {
        resync_interval: Timespan::from_millis(300),
        ..CloneOptions::default()
    };
    let clone = other.attach_clone("s", options.clone()).unwrap();
    let error = clone.get("k").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSuchMaster);
    assert_eq!(clone.contact(), Contact::Failed);
    assert!(!clone.await_idle(LONG));
    let master = master_of(&one, "s");
    master.put("k", &1_u64).unwrap();
    let again = other.attach_clone("s", options).unwrap();
    assert_eq!(again.get("k").unwrap(), Some(Value::Count(1)));
    assert_eq!(clone.get("k").unwrap(), Some(Value::Count(1)));
}

#[test]
fn a_clone_goes_over_to_the_next_master() {
    let options = StoreOptions {
        tick_interval: Duration::from_millis(20),
        ..StoreOptions::default()
    };
    let options = broker::Options {
        disable_ssl: true,
        store: options,
        ..broker::Options::default()
    };
    let other = Endpoint::builder().options(options).build().unwrap();
    let port = other.listen("127.0.0.1", 0).wait().unwrap();
    let clone = clone_of(&other, "s");
    for round in 1..=2_u64 {
        let one = endpoint();
        let master = master_of(&one, "s");
        master.put("k", &round).unwrap();
        one.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
        eventually("the new master's content", || {
            clone.get("k").ok().flatten() == Some(Value::Count(round))
        });
        one.shutdown().wait();
    }
}

#[test]
fn a_copy_becomes_stale() {
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let options = CloneOptions {
        stale_interval: Timespan::from_secs(1),
        ..CloneOptions::default()
    };
    let clone = other.attach_clone("s", options).unwrap();
    // On a busy machine it is stale at times with a master, too.
    eventually("a copy", || {
        clone.get("k").is_ok_and(|value| value.is_none())
    });
    one.shutdown().wait();
    eventually("stale data", || {
        clone
            .get("k")
            .is_err_and(|error| error.code() == ErrorCode::StaleData)
    });
}

#[test]
fn a_closed_store_says_so() {
    let one = endpoint();
    let store = master_of(&one, "s");
    one.shutdown().wait();
    assert!(matches!(store.get("k"), Err(StoreError::Closed)));
    assert!(matches!(store.put("k", &1_u64), Err(StoreError::Closed)));
    assert!(!store.await_idle(LONG));
    assert!(store.is_closed());
    assert!(matches!(
        one.attach_master("t", Backend::Memory),
        Err(StoreError::Closed)
    ));
}

#[test]
fn many_requests_of_a_clone_arrive_in_order() {
    const COUNT: u64 = 20_000;
    let (one, other) = pair();
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    for number in 0..COUNT {
        clone.push("list", &number).unwrap();
        if number % 100 == 99 {
            clone.put("list", &Value::Vector(Vec::new())).unwrap();
        }
        clone.increment("sum", &number).unwrap();
    }
    assert!(clone.await_idle(LONG));
    assert!(master.await_idle(LONG));
    let sum = COUNT * (COUNT - 1) / 2;
    assert_eq!(master.get("sum").unwrap(), Some(Value::Count(sum)));
    assert_eq!(clone.get("sum").unwrap(), Some(Value::Count(sum)));
    assert_eq!(master.get("list").unwrap(), Some(Value::Vector(Vec::new())));
}

#[test]
fn waiting_for_idle_takes_no_tick() {
    const WAIT: Duration = Duration::from_secs(2);
    let (one, other) = (with_ticks_of(WAIT), with_ticks_of(WAIT));
    peer(&other, &one);
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let start = Instant::now();
    for number in 0..80_u64 {
        clone.put("k", &number).unwrap();
        assert!(clone.await_idle(LONG));
        assert!(master.await_idle(LONG));
    }
    // Eighty waits for a tick would take more than that.
    assert!(start.elapsed() < 40 * WAIT, "{:?}", start.elapsed());
}

#[test]
fn a_proxy_answers_by_number() {
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let proxy = clone.proxy();
    let unique = proxy.put_unique("k", &1_u64, None).unwrap();
    let first = proxy.recv_timeout(LONG).unwrap();
    assert_eq!(first.request, unique);
    assert_eq!(
        first.result.unwrap(),
        broker::store::StoreReply::Boolean(true)
    );
    let asked = [
        proxy.get("k").unwrap(),
        proxy.exists("none").unwrap(),
        proxy.keys().unwrap(),
    ];
    assert_eq!(asked, [2, 3, 4]);
    let replies: Vec<_> = (0..3).map(|_| proxy.recv_timeout(LONG).unwrap()).collect();
    let get = replies.iter().find(|reply| reply.request == 2).unwrap();
    assert_eq!(
        get.result.clone().unwrap(),
        broker::store::StoreReply::Value(Some(Value::Count(1)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_work_from_async_code() {
    let (one, other) = tokio::task::spawn_blocking(pair).await.unwrap();
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    clone.put_async("k", &1_u64, None).await.unwrap();
    assert!(clone.await_idle_async(LONG).await);
    assert_eq!(clone.get_async("k").await.unwrap(), Some(Value::Count(1)));
    let unique = master.put_unique("k", &2_u64, None).unwrap();
    let answer = tokio::time::timeout(STORE_REQUEST_TIMEOUT, unique.answered()).await;
    assert!(!answer.unwrap().unwrap());
}

#[test]
fn keys_and_values_of_every_kind() {
    let (one, other) = pair();
    let master = master_of(&one, "s");
    let clone = clone_of(&other, "s");
    let set: broker::Set = [Value::Count(2), Value::Count(1)].into_iter().collect();
    let table: broker::Table = [(Value::Set(set.clone()), Value::None)]
        .into_iter()
        .collect();
    let keys = [
        Value::None,
        Value::Boolean(true),
        Value::Count(1),
        Value::Integer(1),
        Value::Real(0.5),
        Value::from("text"),
        Value::Timespan(Timespan::from_secs(1)),
        Value::Set(set),
        Value::Table(table),
        Value::Vector(vec![Value::None]),
    ];
    for key in &keys {
        clone.put(key, key).unwrap();
    }
    assert!(clone.await_idle(LONG));
    for store in [&master, &clone] {
        for key in &keys {
            assert_eq!(store.get(key).unwrap().as_ref(), Some(key));
        }
        assert_eq!(store.len().unwrap(), keys.len() as u64);
    }
}

#[test]
fn a_million_keys_and_a_value_of_fifty_megabytes() {
    const KEYS: u64 = 1_000_000;
    let (one, other) = pair();
    let master = master_of(&one, "s");
    for key in 0..KEYS {
        master.put(&key, &key).unwrap();
    }
    let clone = clone_of(&other, "s");
    // Half a minute of work for an unoptimised build, and much more on a machine that is busy.
    assert!(clone.await_idle(20 * LONG));
    assert_eq!(clone.len().unwrap(), KEYS);
    assert_eq!(
        clone.get(&(KEYS - 1)).unwrap(),
        Some(Value::Count(KEYS - 1))
    );
    let large = vec![b'x'; 50_000_000];
    clone.append("large", &large).unwrap();
    assert!(clone.await_idle(20 * LONG));
    for store in [&master, &clone] {
        let value = store.get("large").unwrap().unwrap();
        assert_eq!(value.as_bytes().map(<[u8]>::len), Some(large.len()));
    }
}

#[test]
fn a_snapshot_that_does_not_fit_is_told_on_both_sides() {
    let options = broker::Options {
        disable_ssl: true,
        frame_bytes_max: 10_000,
        ..broker::Options::default()
    };
    let one = Endpoint::builder().options(options).build().unwrap();
    let other = endpoint();
    let errors = [
        one.status_subscriber(false).unwrap(),
        other.status_subscriber(false).unwrap(),
    ];
    let master = master_of(&one, "s");
    for key in 0..1000_u64 {
        master.put(&key, "a value of some length").unwrap();
    }
    peer(&other, &one);
    let clone = clone_of(&other, "s");
    for errors in &errors {
        let Some(Event::Error(fault)) = errors.recv_timeout(LONG).unwrap() else {
            panic!("an error event")
        };
        assert!(fault.text.contains("`frame_bytes_max`"), "{fault:?}");
    }
    // Neither endpoint nor store is the worse for it.
    master.clear().unwrap();
    master.put("k", &1_u64).unwrap();
    eventually("the snapshot that fits", || {
        clone.get("k").ok().flatten() == Some(Value::Count(1))
    });
}

#[test]
fn an_entry_that_cannot_be_sent_is_refused() {
    let options = broker::Options {
        disable_ssl: true,
        frame_bytes_max: 10_000,
        ..broker::Options::default()
    };
    let one = Endpoint::builder().options(options).build().unwrap();
    let errors = one.status_subscriber(false).unwrap();
    let master = master_of(&one, "s");
    master.append("k", vec![b'x'; 20_000]).unwrap();
    let Some(Event::Error(fault)) = errors.recv_timeout(LONG).unwrap() else {
        panic!("an error event")
    };
    assert_eq!(fault.code, ErrorCode::InvalidData);
    assert!(fault.text.contains("`frame_bytes_max`"), "{fault:?}");
    assert_eq!(master.get("k").unwrap(), None);
}

#[test]
fn thousands_of_requests_are_answered_although_the_master_is_gone() {
    const REQUESTS: u64 = 3000;
    let (one, other) = pair();
    let _master = master_of(&one, "s");
    let options = CloneOptions {
        mutation_buffer_interval: Timespan::from_secs(2),
        ..CloneOptions::default()
    };
    let clone = other.attach_clone("s", options).unwrap();
    assert!(clone.await_idle(LONG));
    one.shutdown().wait();
    let proxy = clone.proxy();
    for number in 0..REQUESTS {
        proxy.put_unique(&number, &number, None).unwrap();
    }
    for _ in 0..REQUESTS {
        let response = proxy.recv_timeout(LONG).unwrap();
        assert!(response.result.is_err(), "{response:?}");
    }
    // Beyond the interval nothing is kept any more.
    let refused = clone.put("k", &1_u64).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RequestTimeout);
}

#[cfg(feature = "sqlite")]
mod in_a_file {
    use broker::SqliteOptions;

    use super::*;

    fn file_store(endpoint: &Endpoint, path: &std::path::Path) -> Store {
        let backend = Backend::Sqlite(SqliteOptions::new(path));
        endpoint.attach_master("s", backend).unwrap()
    }

    #[test]
    fn entries_survive_a_restart_and_clones_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sqlite");
        let other = endpoint();
        let port = other.listen("127.0.0.1", 0).wait().unwrap();
        let clone = clone_of(&other, "s");
        for round in 0..2_u64 {
            let one = endpoint();
            let master = file_store(&one, &path);
            let before = (round > 0).then_some(Value::Count(round));
            assert_eq!(master.get("rounds").unwrap(), before);
            one.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
            eventually("the clone's contact", || {
                clone.get("rounds").ok().flatten() == before && clone.contact() == Contact::Attached
            });
            clone.increment("rounds", &1_u64).unwrap();
            eventually("the increment", || {
                master.get("rounds").unwrap() == Some(Value::Count(round + 1))
            });
            // Asked for just before the end, and done all the same.
            master.put("last", &round).unwrap();
            one.shutdown().wait();
        }
        let one = endpoint();
        let master = file_store(&one, &path);
        assert_eq!(master.get("last").unwrap(), Some(Value::Count(1)));
        one.shutdown().wait();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn requests_are_seen_by_the_reads_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let one = endpoint();
        let master = file_store(&one, &folder.path().join("s.sqlite"));
        for number in 0..200_u64 {
            master.put("k", &number).unwrap();
            assert_eq!(master.get("k").unwrap(), Some(Value::Count(number)));
        }
        let unique = master.put_unique("k", &1_u64, None).unwrap();
        assert!(!unique.wait().unwrap());
        let unique = master.put_unique("u", &1_u64, None).unwrap();
        assert!(unique.wait().unwrap());
        assert!(master.exists("u").unwrap());
        assert!(master.await_idle(LONG));
    }

    #[test]
    fn a_file_serves_one_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sqlite");
        let (one, other) = (endpoint(), endpoint());
        let _master = file_store(&one, &path);
        let backend = Backend::Sqlite(SqliteOptions::new(&path));
        let error = other.attach_master("t", backend).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BackendFailure);
        assert!(error.to_string().contains("s.sqlite"), "{error}");
    }

    #[test]
    fn what_the_file_cannot_take_is_an_error_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sqlite");
        let (one, other) = pair();
        let master = file_store(&one, &path);
        let memory = master_of(&one, "in memory");
        let clone = clone_of(&other, "s");
        clone.put("before", &1_u64).unwrap();
        assert!(clone.await_idle(LONG));
        let errors = [
            one.status_subscriber(false).unwrap(),
            other.status_subscriber(false).unwrap(),
        ];
        // Somebody else writes and does not finish: the file is locked for longer than is waited.
        let blocker = rusqlite::Connection::open(&path).unwrap();
        blocker.execute_batch("begin immediate").unwrap();
        clone.put("during", &2_u64).unwrap();
        for errors in errors {
            let Some(Event::Error(fault)) = errors.recv_timeout(LONG).unwrap() else {
                panic!("an error event")
            };
            assert_eq!(fault.code, ErrorCode::BackendFailure);
        }
        blocker.execute_batch("rollback").unwrap();
        memory.put("k", &1_u64).unwrap();
        assert_eq!(memory.get("k").unwrap(), Some(Value::Count(1)));
        clone.put("after", &3_u64).unwrap();
        eventually("the write after", || {
            master.get("after").unwrap() == Some(Value::Count(3))
        });
        assert_eq!(master.get("during").unwrap(), None);
        assert_eq!(clone.get("during").unwrap(), None);
    }
}
