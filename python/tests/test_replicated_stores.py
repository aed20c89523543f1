"""Stores on streams of NATS servers: real ones with JetStream, alone and as a cluster of three."""

import datetime
import json

import pytest

import broker
from deadline import DEADLINE_S, wait_until
from nats_server import LOCALHOST, RawClient, Server
from ports import reserved_port
from store_program import Program, open_store
from test_documents import example, printing

# Longer than a busy machine stops for: what ends with a shutdown needs no lease to be over.
LONG_S = 60
# What a test waits for where a leader is killed.
SHORT_S = 2


def jetstream(folder, number):
    return 'jetstream { store_dir: "%s", sync_interval: always }' % (folder / ("js%d" % number))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with JetStream."""
    folder = tmp_path_factory.mktemp("replicated")
    with Server(folder, reserved_port(), jetstream(folder, 0)) as server:
        yield server


@pytest.fixture
def cluster(tmp_path):
    """Three servers with JetStream."""
    ports = [reserved_port() for _ in range(6)]
    clients, routes = ports[:3], ports[3:]
    servers = []
    try:
        for number, (port, route) in enumerate(zip(clients, routes)):
            servers.append(Server(tmp_path, port, jetstream(tmp_path, number), cluster=route, routes=routes))
        yield servers
    finally:
        for it in servers:
            it.kill()


def options(*servers, **more):
    url = "nats://" + ",".join("%s:%d" % (LOCALHOST, it.port) for it in servers)
    return {"url": url, "replicas": len(servers), "lease": LONG_S, **more}


_names = iter(range(10_000))


@pytest.fixture
def name():
    return "store/%d" % next(_names)


def attach(scene, name, settings):
    """An endpoint and its store, which leads or sees another one lead."""
    endpoint = scene.endpoint(tls=False)
    return endpoint, open_store(endpoint, name, settings)


def await_standing(store, wanted):
    wait_until(lambda: store.standing() == wanted, "it is %s" % wanted)


def until_done(call, *arguments):
    """Calls until no replica refuses it; what it refuses is not applied."""
    def attempt():
        try:
            return [call(*arguments)]
        except broker.StoreError:
            return []
    return wait_until(attempt, "%s is done" % call.__name__)[0]


class TestOneEndpoint:
    def test_all_commands_are_stored_and_are_there_for_the_next_endpoint(self, scene, server, name):
        endpoint, store = attach(scene, name, options(server))
        await_standing(store, "leader")
        store.put("number", 1)
        store.increment("number", 5)
        store.decrement("number", 2)
        store.append("text", "ab")
        store.append("text", "c")
        store.insert_into("set", "a")
        store.insert_into("set", "b")
        store.remove_from("set", "a")
        store.insert_into("table", "k", 7)
        store.push("list", 1)
        store.push("list", 2)
        store.pop("list")
        assert store.put_unique("unique", 1) is True
        assert store.put_unique("unique", 2) is False
        store.put("gone", 1)
        store.erase("gone")
        expected = {
            "number": 4, "text": "abc", "set": {"b"}, "table": {"k": 7}, "list": (1,), "unique": 1,
        }
        assert store.snapshot() == expected
        assert (len(store), store.keys(), "gone" in store) == (6, set(expected), False)
        assert store.get_index_from_value("table", "k") == 7
        endpoint.shutdown()
        _, again = attach(scene, name, options(server))
        await_standing(again, "leader")
        assert again.snapshot() == expected
        again.clear()
        assert again.snapshot() == {}

    def test_a_wrong_type_is_an_error_event_and_changes_nothing(self, scene, server, name):
        endpoint, store = attach(scene, name, options(server))
        store.put("text", "a")
        with endpoint.make_status_subscriber() as events:
            store.increment("text", 1)
            event, = events.get(1, DEADLINE_S)
            assert event.code() == broker.EC.TypeClash
        assert store.get("text") == "a"

    def test_a_change_that_the_stream_has_no_room_for_is_an_error(self, scene, server, name):
        _, store = attach(scene, name, options(server))
        large = "x" * 600_000
        changes = [
            lambda: store.put("value", large),
            lambda: store.put(large, 1),
            lambda: store.put_unique("unique", large),
        ]
        for change in changes:
            with pytest.raises(broker.StoreError, match="has room for"):
                change()
        store.put("text", "a")
        with pytest.raises(broker.StoreError, match="has room for"):
            store.append("text", large)
        assert store.snapshot() == {"text": "a"}

    def test_what_is_over_is_removed(self, scene, server, name):
        _, store = attach(scene, name, options(server))
        store.put("short", 1, datetime.timedelta(milliseconds=1))
        store.put("long", 1, datetime.timedelta(hours=1))
        wait_until(lambda: store.keys() == {"long"}, "it is over")

    def test_events_tell_of_changes_that_are_stored(self, scene, server, name):
        endpoint, store = attach(scene, name, options(server))
        with store.events() as events:
            store.put("a", 1)
            store.put("a", 2)
            changes = [events.recv(DEADLINE_S) for _ in range(2)]
        assert [(it.key, it.value) for it in changes] == [("a", 1), ("a", 2)]


class TestRefusals:
    def open(self, scene, settings):
        endpoint = scene.endpoint(tls=False)
        return endpoint.open_master("refused", broker.Backend.JetStream, settings)

    def test_old_servers_are_named_with_both_versions(self, scene):
        from old_nats_server import OldServer

        with OldServer("2.10.29") as old:
            with pytest.raises(broker.StoreError, match="version 2.10.29: stores on streams need 2.11 or newer"):
                self.open(scene, options(old))

    def test_servers_without_streams_are_named(self, scene, tmp_path):
        with Server(tmp_path, reserved_port()) as server:
            with pytest.raises(broker.StoreError, match="no JetStream"):
                self.open(scene, options(server))

    def test_one_copy_is_refused_where_more_are_required(self, scene, server):
        with pytest.raises(broker.StoreError, match="has one copy, and `require_durable`"):
            self.open(scene, options(server, require_durable=True))

    def test_more_copies_than_servers_are_refused(self, scene, server):
        with pytest.raises(broker.StoreError, match="replicas"):
            self.open(scene, {**options(server), "replicas": 3})

    def test_misspelt_options_are_named(self, scene, server):
        with pytest.raises(broker.StoreError, match="`replica` is none of"):
            self.open(scene, options(server, replica=1))


class TestSeveralEndpoints:
    def test_a_standby_follows_and_takes_over(self, scene, server, name):
        first, leader = attach(scene, name, options(server))
        _, standby = attach(scene, name, options(server, stale_reads="allow"))
        await_standing(leader, "leader")
        assert standby.standing() == "standby"
        leader.put("a", 1)
        wait_until(lambda: standby.get("a") == 1, "the standby follows")
        with pytest.raises(broker.StoreError, match="does not lead"):
            standby.put("a", 2)
        first.shutdown()
        await_standing(standby, "leader")
        assert standby.get("a") == 1
        standby.put("a", 2)
        assert standby.get("a") == 2

    def test_reads_of_a_standby_are_refused_unless_stale_ones_are_allowed(self, scene, server, name):
        attach(scene, name, options(server))[1].put("a", 1)
        _, standby = attach(scene, name, options(server))
        with pytest.raises(broker.StoreError, match="may be old"):
            standby.lookup("a")

    def test_a_killed_leader_loses_nothing_that_was_acknowledged(self, scene, cluster, name):
        settings = options(*cluster, lease=SHORT_S)
        with Program(name, settings) as leader:
            leader.await_standing("leader")
            _, standby = attach(scene, name, settings)
            for number in range(50):
                leader.until_done("put", number, number)
            for number in range(50, 100):
                leader.tell("put", number, number)
            acknowledged = [leader.heard()[0] for _ in range(25)]
            leader.kill()
            await_standing(standby, "leader")
        found = until_done(standby.snapshot)
        expected = list(range(50)) + [50 + at for at, is_done in enumerate(acknowledged) if is_done]
        assert [it for it in expected if found.get(it) != it] == []

    def test_a_stopped_leader_steps_down_when_it_goes_on(self, scene, cluster, name):
        settings = options(*cluster, lease=SHORT_S)
        with Program(name, settings) as old:
            old.await_standing("leader")
            old.until_done("put", "a", 1)
            _, new = attach(scene, name, settings)
            old.stop()
            await_standing(new, "leader")
            until_done(new.put, "a", 2)
            # It is there before it can notice what happened.
            old.tell("put", "a", 3)
            old.go_on()
            assert old.heard()[0] is False
            old.await_standing("standby")
        assert until_done(new.lookup, "a") == 2

    def test_a_native_clone_goes_on_with_the_new_leader(self, scene, cluster, name):
        settings = options(*cluster, lease=SHORT_S)
        with Program(name, settings) as leader:
            leader.await_standing("leader")
            other, standby = attach(scene, name, settings)
            reader = scene.endpoint(tls=False)
            assert reader.peer(LOCALHOST, leader.port, 0.0)
            assert reader.peer(LOCALHOST, other.listen(LOCALHOST, 0), 0.0)
            leader.until_done("put", "a", 1)
            clone = reader.open_clone(name)
            wait_until(lambda: clone.get("a") == 1, "the clone has a copy")
            clone.put("b", 2)
            wait_until(lambda: clone.get("b") == 2, "the leader has taken its change")
            leader.kill()
            await_standing(standby, "leader")
            until_done(standby.put, "c", 3)
            wait_until(lambda: clone.get("c") == 3, "the clone follows the new leader")
            clone.put("d", 4)
            wait_until(lambda: clone.get("d") == 4, "and writes through it")
            assert clone.snapshot() == {"a": 1, "b": 2, "c": 3, "d": 4}

    def test_a_store_begins_with_a_snapshot_once_the_log_is_cut(self, scene, server, name):
        settings = options(server, snapshot_entries=10)
        first, store = attach(scene, name, settings)
        log = "BK_ST_" + name.replace("/", "=2F")

        def is_cut(count=iter(range(100_000))):
            store.put("key", next(count))
            store.put("last", "value")
            return first_sequence(server, log) > 1

        wait_until(is_cut, "entries before a snapshot are removed")
        expected = store.snapshot()
        first.shutdown()
        _, again = attach(scene, name, settings)
        await_standing(again, "leader")
        assert again.snapshot() == expected


def test_the_example_of_the_document(server):
    lines = []
    code = example("docs/nats.md", 4, url=("nats://a:4222,b:4222,c:4222", options(server)["url"]),
                   copies=('"replicas": 3', '"replicas": 1'))
    exec(code, {"print": printing(lines, lambda lines: False)})
    assert lines == [("leader",)]


def first_sequence(server, stream):
    """The number of the first message that a stream still has."""
    client = RawClient(server.port)
    try:
        client.send(b"SUB answer 1\r\nPUB $JS.API.STREAM.INFO.%s answer 0\r\n\r\n" % stream.encode())
        words = client._file.readline().split()
        assert words[0] == b"MSG", words
        return json.loads(client._file.read(int(words[-1]) + 2))["state"]["first_seq"]
    finally:
        client.close()
