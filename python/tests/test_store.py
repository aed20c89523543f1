"""Data stores: what each call does, on a master in memory, on one in a file and on a clone."""

import datetime
import ipaddress
import math
import select
import threading
import time

import pytest

import broker
from deadline import DEADLINE_S, FOR_EVER_S, Stopwatch, take, take_one, wait_until
from scene import connect


@pytest.fixture(params=["memory", "file"])
def master(request, endpoint, tmp_path):
    """A master of either kind."""
    return attach(endpoint, request.param, tmp_path)


def attach(endpoint, kind, directory, name="store"):
    if kind == "memory":
        return endpoint.open_master(name, broker.Backend.Memory)
    return endpoint.open_master(name, broker.Backend.SQLite, {"path": str(directory / (name + ".sqlite"))})


@pytest.fixture(params=["master in memory", "master in a file", "clone"])
def store(request, endpoint, scene, tmp_path):
    """A master of either kind, or a clone that is attached."""
    if request.param == "clone":
        other = scene.endpoint()
        clone = endpoint.attach_clone("store")
        other.attach_master("store")
        connect(endpoint, other)
        assert clone.await_idle()
        return clone
    return attach(endpoint, "memory" if request.param.endswith("memory") else "file", tmp_path)


def errors_of(scene, endpoint):
    return scene.use(endpoint.make_status_subscriber())


# --- attaching -----------------------------------------------------------------------------------


def test_attaching_gives_a_store(endpoint):
    store = endpoint.attach_master("store", broker.Backend.Memory)
    assert type(store) is broker.Store
    assert store.name() == "store"
    assert type(endpoint.attach_clone("elsewhere")) is broker.Store


def test_a_master_is_in_memory_unless_told_otherwise(endpoint):
    store = endpoint.attach_master("store")
    store.put("k", 1)
    assert store.get("k") == 1
    assert endpoint.attach_master("other", None, {}).name() == "other"


def test_attaching_again_gives_another_handle(endpoint):
    first, second = endpoint.attach_master("store"), endpoint.attach_master("store", broker.Backend.SQLite,
                                                                            {"path": "/nowhere"})
    first.put("k", 1)
    assert second.get("k") == 1
    first, second = endpoint.attach_clone("clone"), endpoint.attach_clone("clone")
    assert first.name() == second.name() == "clone"


def test_bytes_are_taken_as_names_too(endpoint):
    assert endpoint.attach_master(b"store").name() == "store"
    with pytest.raises(UnicodeDecodeError):
        endpoint.attach_master(b"\xff")


@pytest.mark.parametrize("arguments", [(), (5,), (None,), ("s", 1), ("s", "Memory"), ("s", broker.Backend.SQLite, {1: 2}),
                                       ("s", broker.Backend.SQLite, {"path": object()})])
def test_wrong_types_of_arguments(endpoint, arguments):
    with pytest.raises(TypeError):
        endpoint.attach_master(*arguments)


def test_options_of_memory_are_ignored(endpoint):
    assert endpoint.attach_master("store", broker.Backend.Memory, {"path": 5, "unknown": None})


def test_an_empty_name_is_a_store_that_keeps_nothing(endpoint):
    for store in (endpoint.attach_master(""), endpoint.attach_clone("")):
        assert store.name() == ""
        assert store.put("k", 1) is None
        assert (store.get("k"), store.keys(), store.put_unique("k", 1)) == (None, None, None)
        with pytest.raises(broker.StoreError):
            store.exists("k")
    with pytest.raises(broker.StoreError) as info:
        endpoint.open_master("")
    assert info.value.code == broker.EC.InvalidTopicKey


def test_a_clone_beside_its_master_is_none(endpoint):
    endpoint.attach_master("store")
    assert endpoint.attach_clone("store") is None
    with pytest.raises(broker.StoreError) as info:
        endpoint.open_clone("store")
    assert info.value.code == broker.EC.NoSuchMaster
    assert isinstance(info.value, broker.BrokerError) and isinstance(info.value, RuntimeError)


def test_a_master_that_a_peer_has_is_none(pair):
    one, other = pair
    one.attach_master("store")
    wait_until(lambda: other.peer_subscriptions(), "the peer's subscription")
    assert other.attach_master("store") is None
    with pytest.raises(broker.StoreError) as info:
        other.open_master("store")
    assert info.value.code == broker.EC.MasterExists
    assert one.node_id() in str(info.value)


def enum(name):
    return broker.Enum("Broker::SQLITE_" + name)


@pytest.mark.parametrize("options", [
    {"synchronous": enum("SYNCHRONOUS_OFF")},
    {"synchronous": enum("SYNCHRONOUS_EXTRA"), "journal_mode": enum("JOURNAL_MODE_WAL")},
    {"journal_mode": enum("JOURNAL_MODE_DELETE"), "failure_mode": enum("FAILURE_MODE_FAIL")},
    {"failure_mode": enum("FAILURE_MODE_DELETE"), "integrity_check": True},
    {"unknown": "ignored"},
])
def test_options_of_files(endpoint, tmp_path, options):
    path = tmp_path / "made" / "on the way" / "store.sqlite"
    store = endpoint.attach_master("store", broker.Backend.SQLite, {"path": str(path), **options})
    store.put("k", 1)
    assert store.get("k") == 1
    assert path.exists()


def test_a_file_that_is_memory(endpoint):
    store = endpoint.attach_master("store", broker.Backend.SQLite, {"path": ":memory:"})
    store.put("k", 1)
    assert store.get("k") == 1


@pytest.mark.parametrize("options", [
    {}, {"path": 5}, {"path": "s", "synchronous": "FULL"}, {"path": "s", "synchronous": enum("FULL")},
    {"path": "s", "journal_mode": enum("JOURNAL_MODE_OFF")}, {"path": "s", "integrity_check": 1},
    {"path": "."}, {"path": "/dev/null/below"},
])
def test_files_that_cannot_be(endpoint, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    assert endpoint.attach_master("store", broker.Backend.SQLite, options) is None
    with pytest.raises(broker.StoreError) as info:
        endpoint.open_master("store", broker.Backend.SQLite, options)
    assert info.value.code == broker.EC.BackendFailure
    assert "`store`" in str(info.value)


def test_a_file_that_is_no_database(endpoint, tmp_path):
    path = tmp_path / "text"
    path.write_text("no database at all\n" * 100)
    assert endpoint.attach_master("store", broker.Backend.SQLite, {"path": str(path)}) is None
    store = endpoint.attach_master("store", broker.Backend.SQLite,
                                   {"path": str(path), "failure_mode": enum("FAILURE_MODE_DELETE")})
    assert len(store) == 0


def test_a_file_serves_one_store(endpoint, tmp_path):
    options = {"path": str(tmp_path / "store.sqlite")}
    assert endpoint.attach_master("one", broker.Backend.SQLite, options)
    with pytest.raises(broker.StoreError, match="in use"):
        endpoint.open_master("two", broker.Backend.SQLite, options)


def test_files_keep_what_was_put(scene, tmp_path):
    values = {"k": 1, "list": [1, 2], b"\xff": broker.Count(3), None: {1: 2}, (1, "a"): {"x"}}
    for attempt in range(2):
        endpoint = scene.endpoint()
        store = attach(endpoint, "file", tmp_path)
        if attempt == 0:
            for key, value in values.items():
                store.put(key, value)
        else:
            assert store.snapshot() == {**values, "list": (1, 2)}
        endpoint.shutdown()
    assert [path.name for path in tmp_path.iterdir() if path.suffix in ("-wal", "-shm", "-journal")] == []


# --- the handle ----------------------------------------------------------------------------------


def test_a_handle_is_given_up_at_the_end_of_its_block(endpoint):
    with endpoint.attach_master("store") as store:
        assert store.put("k", 1) is None
    for call in (store.name, store.keys, store.clear, store.events, store.await_idle, lambda: store.get("k")):
        with pytest.raises(AttributeError):
            call()
        with pytest.raises(RuntimeError):
            call()
    store.reset()
    assert endpoint.attach_master("store").get("k") == 1


def test_a_store_keeps_its_endpoint(scene):
    store = broker.Endpoint().attach_master("store")
    store.put("k", 1)
    assert store.get("k") == 1
    store.reset()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_after_the_end_of_the_endpoint(scene, tmp_path, kind):
    endpoint = broker.Endpoint()
    store = attach(endpoint, kind, tmp_path)
    events = store.events()
    store.put("k", 1)
    endpoint.shutdown()
    assert store.name() == ""
    assert (store.get("k"), store.get("k", 5), store.keys()) == (None, 5, None)
    assert store.get_index_from_value("k", 1) is None
    assert store.put_unique("k", 1) is None
    assert store.await_idle() is False
    for call in (lambda: store.put("k", 2), lambda: store.increment("k", 2), store.clear, lambda: store.erase("k")):
        assert call() is None
    for call in (lambda: store.exists("k"), lambda: store.lookup("k"), lambda: "k" in store, lambda: len(store),
                 store.items, store.snapshot, store.events):
        with pytest.raises(broker.StoreError) as info:
            call()
        assert info.value.code == broker.EC.BadMemberFunctionCall
    assert [event.kind for event in events] == ["insert"]
    for call in (endpoint.attach_master, endpoint.attach_clone, endpoint.open_master, endpoint.open_clone):
        with pytest.raises(RuntimeError):
            call("other")


def test_stores_are_made_by_endpoints(endpoint):
    for argument in (None, 5, endpoint):
        with pytest.raises(TypeError):
            broker.Store(argument)
    with pytest.raises(AttributeError):
        broker.Store.__new__(broker.Store).get("k")
    store = endpoint.attach_master("store")
    again = broker.Store(store)
    store.put("k", 1)
    store.reset()
    assert again.get("k") == 1


def test_a_store_is_true_even_when_empty(endpoint):
    store = endpoint.attach_master("store")
    assert len(store) == 0
    assert store


# --- values --------------------------------------------------------------------------------------

VALUES = [
    None, True, broker.Count(5), -5, 1.5, math.inf, "text", b"\xff\x00", "", broker.Address(bytes(16), 6),
    ipaddress.ip_address("1.2.3.4"), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"),
    broker.Port(80, broker.Port.TCP), datetime.datetime(2020, 2, 3, 4, 5, 6, 7, tzinfo=broker.utc),
    datetime.timedelta(days=-3, microseconds=7), broker.Enum("Some::NAME"), (), (1, "a", None), set(), {1, "a"}, {},
    {"a": 1, (1, 2): {"b": set()}}, broker.zeek.Event("e", 1, "a"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_and_keys_of_every_type(store, value):
    expected = broker.Data.to_py(broker.Data(value))
    store.put("value", value)
    store.put(value, "key")
    assert store.await_idle()
    assert store.get("value") == expected
    assert type(store.get("value")) is type(expected)
    assert store.exists(value)
    assert store.get(value) == store.lookup(value) == "key"
    assert len(store) == 2
    items = store.items()
    assert sorted(map(str, store.snapshot().values())) == sorted(str(value) for _, value in items)
    assert (broker.ImmutableData.to_py(broker.Data(value)), "key") in items
    store.erase(value)
    assert store.await_idle()
    assert not store.exists(value)


def test_a_stored_none_is_not_a_missing_key(store):
    store.put("k", None)
    assert store.await_idle()
    assert store.get("k", "default") is None
    assert store.get("missing", "default") == "default"
    assert store.get("missing", default=7) == 7
    assert store.get("missing") is None
    assert store.lookup("k") is None
    with pytest.raises(KeyError) as info:
        store.lookup(("missing", 1))
    assert info.value.args == (("missing", 1),)
    assert (store.exists("k"), store.exists("missing")) == (True, False)
    assert "k" in store and "missing" not in store


@pytest.mark.parametrize("value", [object(), 2**63, float, [object()]])
def test_values_that_cannot_be_stored(store, value):
    for call in (lambda: store.put("k", value), lambda: store.put(value, 1), lambda: store.put_unique("k", value),
                 lambda: store.get(value), lambda: store.exists(value), lambda: store.erase(value),
                 lambda: store.insert_into("t", 1, value), lambda: store.push("v", value)):
        with pytest.raises((TypeError, OverflowError)):
            call()
    assert store.await_idle()
    assert len(store) == 0


def test_keys(store):
    assert store.keys() == set()
    for key in (1, "a", broker.Count(1), (1, 2)):
        store.put(key, 0)
    assert store.await_idle()
    assert store.keys() == {1, "a", broker.Count(1), (1, 2)}
    assert type(store.keys()) is set


# Sets and tables that Python cannot hash as they were put, and what stands for them.
Frozen = broker.ImmutableData.HashableReadOnlyDict
UNHASHABLE = [({1}, frozenset([1])), ({"a": 1}, Frozen({"a": 1})), ((1, {2}), (1, frozenset([2])))]


@pytest.mark.parametrize("key, frozen", UNHASHABLE, ids=str)
def test_keys_that_python_cannot_hash(store, endpoint, key, frozen):
    with store.events() as events:
        store.put("plain", 0)
        store.put(key, 1)
        assert store.await_idle()
        assert store.keys() == {"plain", frozen}
        assert store.snapshot() == {"plain": 0, frozen: 1}
        assert sorted(store.items(), key=str) == sorted([("plain", 0), (frozen, 1)], key=str)
        assert store.get(frozen) == store.get(key) == store.lookup(key) == 1
        assert [take_event(events).key for _ in range(2)] == ["plain", frozen]
    proxy = store.proxy()
    number = proxy.keys()
    assert proxy.recv(DEADLINE_S) == (number, {"plain", frozen})


@pytest.mark.parametrize("inner, frozen", UNHASHABLE, ids=str)
def test_values_that_python_cannot_hash(store, inner, frozen):
    with store.events() as events:
        store.put("plain", 0)
        store.put("set", {frozen})
        store.put("table", {frozen: inner})
        assert store.await_idle()
        assert store.snapshot() == {"plain": 0, "set": {frozen}, "table": {frozen: inner}}
        assert (store.get("set"), store.lookup("table")) == ({frozen}, {frozen: inner})
        assert (type(store.get("set")), type(store.get("table"))) == (set, dict)
        assert [take_event(events).value for _ in range(3)] == [0, {frozen}, {frozen: inner}]
    assert store.get_index_from_value("table", frozen) == inner


# --- changes -------------------------------------------------------------------------------------


def test_put_and_erase_and_clear(store):
    store.put("a", 1)
    store.put(key="b", value=2)
    store.put("a", 3)
    store.erase("b")
    store.erase("missing")
    assert store.await_idle()
    assert store.snapshot() == {"a": 3}
    store.clear()
    assert store.await_idle()
    assert store.snapshot() == {}


def test_put_unique(store):
    assert store.put_unique("k", 1) is True
    assert store.put_unique("k", 2) is False
    assert store.put_unique(key="l", value=2, expiry=None) is True
    assert store.get("k") == 1


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=broker.utc)
SECOND = datetime.timedelta(seconds=1)


@pytest.mark.parametrize("start, amount, up, down", [
    (5, 2, 7, 3), (broker.Count(5), broker.Count(2), broker.Count(7), broker.Count(3)), (5.0, 0.5, 5.5, 4.5),
    (SECOND, SECOND, 2 * SECOND, 0 * SECOND), (EPOCH, SECOND, EPOCH + SECOND, EPOCH - SECOND),
])
def test_numbers_and_times(store, start, amount, up, down):
    for key in ("up", "down"):
        store.put(key, start)
    store.increment("up", amount)
    store.decrement(key="down", amount=amount, expiry=None)
    assert store.await_idle()
    assert (store.get("up"), store.get("down")) == (up, down)


@pytest.mark.parametrize("amount, created", [(2, 2), (broker.Count(2), broker.Count(2)), (2.5, 2.5),
                                             (SECOND, EPOCH + SECOND)])
def test_what_an_increment_creates(store, amount, created):
    store.increment("k", amount)
    store.decrement("missing", amount)
    assert store.await_idle()
    assert store.snapshot() == {"k": created}


def test_strings_sets_tables_vectors(store):
    store.append("s", "a")
    store.append(key="s", s="b")
    store.insert_into("set", 1)
    store.insert_into("set", 2)
    store.insert_into(key="table", index="a", value=1)
    store.insert_into("table", "b", 2)
    store.push("vector", 1)
    store.push("vector", 2)
    store.push("vector", 3)
    store.remove_from("set", 1)
    store.remove_from(key="table", index="a", expiry=None)
    store.remove_from("set", "missing")
    store.pop("vector")
    assert store.await_idle()
    assert store.snapshot() == {"s": "ab", "set": {2}, "table": {"b": 2}, "vector": (1, 2)}


@pytest.mark.parametrize("value", [0, "", False, 0.0, (), {}, broker.Count(0), set()], ids=repr)
def test_falsy_values_go_into_tables(store, value):
    store.insert_into("table", 1, value)
    assert store.await_idle()
    assert store.get("table") == {1: value}


def test_get_index_from_value(store):
    for key, value in (("t", {"a": 1, "n": None}), ("v", (7, 8)), ("s", {1}), ("x", "text")):
        store.put(key, value)
    assert store.await_idle()
    rows = [("t", "a", 1), ("t", "n", None), ("t", "z", None), ("v", 0, 7), ("v", broker.Count(1), 8), ("v", 2, None),
            ("v", -1, None), ("v", "0", None), ("s", 1, True), ("s", 2, False), ("x", 5, "text"), ("missing", 0, None)]
    assert [store.get_index_from_value(key, index) for key, index, _ in rows] == [value for *_, value in rows]
    assert store.get_index_from_value(key="s", index=1) is True


@pytest.mark.parametrize("change", [
    lambda store: store.increment("text", 1), lambda store: store.append("number", "a"),
    lambda store: store.append("text", 5), lambda store: store.insert_into("number", "a"),
    lambda store: store.push("text", 1), lambda store: store.pop("text"), lambda store: store.remove_from("number", "a"),
    lambda store: store.increment("number", broker.Count(1)), lambda store: store.increment("new", "text"),
    lambda store: store.insert_into("text", 1, 2),
])
def test_types_that_do_not_go_together(scene, endpoint, store, change):
    errors = errors_of(scene, endpoint)
    before = {"text": "t", "number": 1}
    for key, value in before.items():
        store.put(key, value)
    assert change(store) is None
    error = take_one(errors)
    assert error.ec() == broker.EC.TypeClash
    assert "`store`" in error.message()
    assert store.await_idle()
    assert store.snapshot() == before


def test_a_missing_key_is_an_error_event(scene, endpoint, store):
    errors = errors_of(scene, endpoint)
    store.decrement("missing", 1)
    store.remove_from("missing", 1)
    store.pop("missing")
    assert [error.ec() for error in take(errors, 3)] == [broker.EC.NoSuchKey] * 3


@pytest.mark.parametrize("start, change, end", [
    (broker.Count(1), lambda store: store.decrement("k", broker.Count(5)), broker.Count(2**64 - 4)),
    (2**63 - 1, lambda store: store.increment("k", 1), -2**63),
])
def test_wrapping_around_is_an_error_event(scene, endpoint, store, start, change, end):
    errors = errors_of(scene, endpoint)
    store.put("k", start)
    change(store)
    assert "`k`" in take_one(errors).message()
    assert store.await_idle()
    assert store.get("k") == end


# --- expiry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("expiry", [0.2, "0.2", broker.Timespan(0.2), datetime.timedelta(seconds=0.2)], ids=repr)
def test_entries_expire(store, expiry):
    with Stopwatch() as took:
        store.put("k", 1, expiry)
        assert store.put_unique("l", 1, expiry=expiry)
        assert store.await_idle()
        wait_until(lambda: not store.exists("k") and not store.exists("l"), "both are gone")
        store.put("stays", 1)
    assert 0.2 <= took.seconds


@pytest.mark.parametrize("expiry", [0, -1, 0.0])
def test_no_time_and_less_than_none(store, expiry):
    store.put("k", 1, expiry)
    assert store.await_idle()
    wait_until(lambda: not store.exists("k"), "it is gone")


def test_what_is_over_is_gone_for_every_read(store):
    store.put("k", {1: 2}, datetime.timedelta(microseconds=1))
    assert store.await_idle()
    assert not store.exists("k") and "k" not in store
    assert (store.get("k"), store.get_index_from_value("k", 1)) == (None, None)
    with pytest.raises(KeyError):
        store.lookup("k")
    assert (store.keys(), store.items(), store.snapshot(), len(store)) == (set(), [], {}, 0)
    assert store.put_unique("k", 1)
    assert store.get("k") == 1


def test_what_ended_while_its_file_was_closed_is_not_there_again(scene, tmp_path):
    ended = 0.0
    # On a busy machine the entry may end before its file is closed; then once more.
    while time.time() > ended:
        first = scene.endpoint()
        store = attach(first, "file", tmp_path)
        ended = time.time() + 0.2
        store.put("blocked", 1, expiry=0.2)
        store.put("for ever", 1)
        first.shutdown()
    wait_until(lambda: time.time() > ended + 0.01, "its time is over")
    endpoint = scene.endpoint()
    events = scene.use(endpoint.store_events())
    store = attach(endpoint, "file", tmp_path)
    assert not store.exists("blocked")
    assert (store.get("blocked"), store.keys(), len(store)) == (None, {"for ever"}, 1)
    event = take_event(events)
    assert (event.kind, event.key) == ("expire", "blocked")


def test_a_change_without_expiry_cancels_it(store, scene, endpoint):
    events = scene.use(store.events())
    in_time = False
    while not in_time:
        began = time.monotonic()
        store.put("k", 1, 0.3)
        store.increment("k", 1)
        # On a busy machine the entry may have ended before the change; then this says nothing.
        in_time = time.monotonic() - began < 0.3
        store.put("short", 1, 0.3)
        ended = set()
        while "short" not in ended:
            event = take_event(events)
            ended |= {event.key} if event.kind == "expire" else set()
    assert ended == {"short"}
    assert store.get("k") == 2


@pytest.mark.parametrize("call", [
    lambda store, expiry: store.increment("n", 1, expiry), lambda store, expiry: store.decrement("n", 1, expiry),
    lambda store, expiry: store.append("s", "a", expiry), lambda store, expiry: store.insert_into("set", 1, None, expiry),
    lambda store, expiry: store.insert_into("t", 1, 1, expiry), lambda store, expiry: store.remove_from("set", 1, expiry),
    lambda store, expiry: store.push("v", 1, expiry), lambda store, expiry: store.pop("v", expiry),
])
def test_every_change_takes_an_expiry(endpoint, call):
    store = endpoint.attach_master("store")
    for key, value in (("n", 1), ("s", ""), ("set", {1}), ("t", {}), ("v", (1,))):
        store.put(key, value)
    call(store, 0.05)
    wait_until(lambda: len(store) == 4, "one is gone")


@pytest.mark.parametrize("expiry, error", [("soon", ValueError), (object(), TypeError), (math.nan, ValueError),
                                           (math.inf, OverflowError), (1e10, OverflowError), ([], TypeError)])
def test_what_is_no_expiry(store, expiry, error):
    for call in (lambda: store.put("k", 1, expiry), lambda: store.put_unique("k", 1, expiry),
                 lambda: store.increment("k", 1, expiry), lambda: store.pop("k", expiry)):
        with pytest.raises(error):
            call()


# --- events --------------------------------------------------------------------------------------


def take_event(events):
    event = events.recv(DEADLINE_S)
    assert event is not None
    return event


def test_events_of_a_store(store, endpoint):
    with store.events() as events:
        store.put("k", 1, 100)
        store.put("k", {2})
        store.erase("k")
        store.put(frozenset([1]), 2, datetime.timedelta(milliseconds=50))
        insert, update, erase, other, expire = events.recv_many(5, DEADLINE_S)
    assert [event.kind for event in (insert, update, erase, other, expire)] == [
        "insert", "update", "erase", "insert", "expire"]
    assert {event.store for event in (insert, update, erase, other, expire)} == {"store"}
    assert (insert.key, insert.value, insert.old, insert.expiry) == ("k", 1, None, datetime.timedelta(seconds=100))
    assert (update.key, update.value, update.old, update.expiry) == ("k", {2}, 1, None)
    assert (erase.key, erase.value, erase.old, erase.expiry) == ("k", None, None, None)
    assert (other.key, expire.key) == (frozenset([1]), frozenset([1]))
    assert insert.publisher == update.publisher == erase.publisher
    assert insert.publisher[0] == endpoint.node_id()
    assert repr(insert) == "<StoreEvent insert 'store'['k'] = 1>"
    with pytest.raises(AttributeError):
        events.poll()


def test_events_are_those_of_one_store(endpoint, scene):
    names = ["a", "ab", "abc"]
    stores = [endpoint.attach_master(name) for name in names]
    events = [scene.use(store.events()) for store in stores]
    everything = scene.use(endpoint.store_events())
    for number, store in enumerate(stores):
        store.put("k", number)
    assert [take_event(events).value for events in events] == [0, 1, 2]
    assert [event.store for event in everything.recv_many(3, DEADLINE_S)] == names
    assert [events.poll() for events in events] == [[], [], []]


def test_waiting_for_events(endpoint, scene):
    store = endpoint.attach_master("store")
    events = scene.use(store.events())
    with Stopwatch() as took:
        assert events.recv(0.1) is None
        assert events.recv_many(2, broker.Timespan(0.1)) == []
    assert took.seconds >= 0.2
    assert events.available() == 0
    descriptor = events.fd()
    assert not select.select([descriptor], [], [], 0)[0]
    later = scene.background(events.recv)
    store.put("k", 1)
    assert later.result(DEADLINE_S).value == 1
    store.put("l", 2)
    assert select.select([descriptor], [], [], DEADLINE_S)[0]
    assert [event.key for event in events.poll()] == ["l"]


def test_iteration_over_events_ends_with_the_endpoint(scene):
    endpoint = broker.Endpoint()
    store = endpoint.attach_master("store")
    kinds = scene.background(lambda events: [event.kind for event in events], store.events())
    store.put("k", 1)
    store.clear()
    endpoint.shutdown()
    assert kinds.result(DEADLINE_S) == ["insert", "erase"]


# --- proxies -------------------------------------------------------------------------------------


def test_a_proxy_answers_by_number(store):
    store.put("k", (1, 2))
    assert store.await_idle()
    proxy = store.proxy()
    numbers = [proxy.get("k"), proxy.get("missing"), proxy.exists("k"), proxy.get_index_from_value("k", 1),
               proxy.keys()]
    responses = [proxy.recv(DEADLINE_S) for _ in numbers]
    assert responses == list(zip(numbers, [(1, 2), None, True, 2, {"k"}]))
    first, second = proxy.put_unique("u", 1), proxy.put_unique("u", 2, expiry=10)
    assert dict([proxy.recv(DEADLINE_S), proxy.recv(DEADLINE_S)]) == {first: True, second: False}
    assert proxy.recv(0.01) is None


def test_a_proxy_tells_errors(endpoint):
    store = endpoint.attach_clone("nowhere", resync_interval=0.2)
    assert store.await_idle() is False
    proxy = store.proxy()
    number = proxy.exists("k")
    answered, error = proxy.recv(DEADLINE_S)
    assert answered == number
    assert isinstance(error, broker.StoreError)


# --- clones --------------------------------------------------------------------------------------


def test_a_clone_without_a_master(endpoint, scene):
    errors = errors_of(scene, endpoint)
    with Stopwatch() as took:
        store = endpoint.attach_clone("nowhere", resync_interval=datetime.timedelta(seconds=0.3))
        waiting = scene.background(store.put_unique, "k", 1)
        assert store.get("k") is None
    assert 0.3 <= took.seconds < DEADLINE_S
    assert waiting.result(DEADLINE_S) is None
    assert (store.keys(), store.get("k", 1)) == (None, 1)
    assert store.await_idle() is False
    for call in (lambda: store.exists("k"), lambda: store.lookup("k"), lambda: len(store), store.snapshot):
        with pytest.raises(broker.StoreError):
            call()
    assert take_one(errors).ec() == broker.EC.NoSuchMaster
    assert store.put("k", 1) is None
    assert take_one(errors).ec() == broker.EC.NoSuchMaster


def test_reads_wait_for_the_first_copy(scene, endpoint):
    clone = endpoint.attach_clone("store")
    reading = scene.background(clone.get, "k")
    other = scene.endpoint()
    other.attach_master("store").put("k", 5)
    connect(endpoint, other)
    assert reading.result(DEADLINE_S) == 5


def test_a_clone_that_was_silent_for_long_is_stale(scene, endpoint):
    other = scene.endpoint()
    other.attach_master("store").put("k", 5)
    connect(endpoint, other)
    clone = endpoint.attach_clone("store", stale_interval=1, resync_interval=100, mutation_buffer_interval=broker.Timespan(1.0))
    wait_until(lambda: clone.get("k") == 5, "the first copy")
    began = time.monotonic()
    other.shutdown()
    # A busy machine may have taken all of the second for the shutdown.
    assert clone.get("k") == 5 or time.monotonic() - began >= 1

    def is_stale():
        try:
            return clone.lookup("k") and None
        except broker.StoreError as error:
            return error.code
    assert wait_until(is_stale, "the copy is stale") == broker.EC.StaleData
    assert clone.get("k", "default") == "default"


@pytest.mark.parametrize("intervals, error", [
    ({"resync_interval": "soon"}, ValueError), ({"stale_interval": object()}, TypeError),
    ({"mutation_buffer_interval": math.nan}, ValueError), ({"other_interval": 1}, TypeError),
])
def test_intervals_that_are_none(endpoint, intervals, error):
    with pytest.raises(error):
        endpoint.attach_clone("store", **intervals)


def test_await_idle(scene, pair):
    one, other = pair
    master = one.attach_master("store")
    clone = other.attach_clone("store")
    for timeout in (None, 0, 60, 60.0, "60", datetime.timedelta(seconds=60), broker.Timespan(60.0)):
        clone.increment("n", 1)
        assert clone.await_idle(timeout)
        assert master.await_idle(timeout=timeout)
    assert clone.get("n") == master.get("n") == 7
    with pytest.raises((TypeError, ValueError)):
        clone.await_idle("long")
    lonely = one.attach_clone("nowhere")
    with Stopwatch() as took:
        assert lonely.await_idle(0.3) is False
    assert 0.3 <= took.seconds < DEADLINE_S


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file", "clone"])
def test_increments_of_many_threads_are_all_there(scene, pair, tmp_path, kind):
    one, other = pair
    master = attach(one, "file" if kind == "file" else "memory", tmp_path)
    store = other.attach_clone("store") if kind == "clone" else master
    rounds = 200

    def work():
        for _ in range(rounds):
            store.increment("n", 1)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.await_idle()
    assert master.get("n") == 4 * rounds


def test_put_unique_of_many_threads_has_one_winner(scene, pair):
    one, other = pair
    stores = [one.attach_master("store"), other.attach_clone("store")]
    assert stores[1].await_idle()
    for key in range(20):
        answers = [scene.background(stores[number % 2].put_unique, key, number) for number in range(8)]
        assert sorted(answer.result(DEADLINE_S) for answer in answers) == [False] * 7 + [True]


def test_a_wait_lets_other_threads_run(scene, endpoint):
    clone = endpoint.attach_clone("nowhere", resync_interval=FOR_EVER_S)
    waiting = scene.background(clone.get, "k")
    ticks = 0
    while not waiting.done() and ticks < 50:
        threading.Event().wait(0.001)
        ticks += 1
    assert ticks == 50
    endpoint.shutdown()
    assert waiting.result(DEADLINE_S) is None


def test_a_shutdown_ends_what_waits(scene):
    endpoint = broker.Endpoint()
    clone = endpoint.attach_clone("nowhere")
    calls = [scene.background(call) for call in (lambda: clone.get("k"), lambda: clone.put_unique("k", 1),
                                                 clone.keys, clone.await_idle)]
    wait_until(lambda: all(call.running() for call in calls), "all of them wait")
    endpoint.shutdown()
    assert [call.result(DEADLINE_S) for call in calls] == [None, None, None, False]
