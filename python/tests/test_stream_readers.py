"""Last values and replays of streams on servers of NATS: real ones with JetStream."""

import asyncio
import datetime
import json
import subprocess
import sys
import time

import pytest

import broker
import broker.aio
import broker.sync
from deadline import DEADLINE_S, wait_until
from nats_server import Server
from ports import reserved_port
from scene import connect
from test_documents import Enough, example, printing
from test_durable import join, jetstream, publish, url


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with JetStream."""
    folder = tmp_path_factory.mktemp("readers")
    with Server(folder, reserved_port(), jetstream(folder, 0)) as server:
        yield server


_names = iter(range(10_000))


@pytest.fixture
def topic(scene, server):
    """A topic of which one stream keeps everything and another one last values."""
    name = "r%d" % next(_names)
    maker = join(scene, server)
    maker.make_stream(name, "/" + name, timeout=DEADLINE_S)
    maker.make_stream(name + "-last", "/" + name, retained=True, timeout=DEADLINE_S)
    return "/" + name


def retain(endpoint, topic, value, **options):
    return endpoint.publish(topic, value, retain=True, timeout=DEADLINE_S, **options)


def last_values(endpoint, topics, **options):
    return endpoint.make_subscriber(topics, retained=True, timeout=DEADLINE_S, **options)


def receive(reader, count):
    messages = []
    while len(messages) < count:
        more = reader.get(count - len(messages), DEADLINE_S)
        assert more, "%d of %d" % (len(messages), count)
        messages += more
    return messages


class TestRetained:
    def test_who_comes_late_gets_the_present_state_and_then_changes(self, scene, server, topic):
        sender = join(scene, server)
        for number in range(3):
            retain(sender, topic + "/a", number)
            stored = retain(sender, topic + "/b", number)
        assert stored.stream == topic[1:] + "-last"
        with last_values(join(scene, server), topic) as values:
            assert not values.current
            state = receive(values, 2)
            assert [(it.topic, it.value) for it in state] == [(topic + "/a", 2), (topic + "/b", 2)]
            assert values.current
            retain(sender, topic + "/a", "new")
            retain(sender, topic + "/c", "first")
            changes = receive(values, 2)
            assert [it.value for it in changes] == ["new", "first"]
            assert not any(it.withdrawn for it in state + changes)
            assert values.stream == topic[1:] + "-last"

    def test_where_there_is_nothing_the_state_is_complete_at_once(self, scene, server, topic):
        with last_values(join(scene, server), topic) as values:
            assert values.current and values.get(0.01) is None

    def test_a_value_that_is_withdrawn_is_no_state_any_more_and_a_change(self, scene, server, topic):
        sender = join(scene, server)
        retain(sender, topic, 1)
        retain(sender, topic + "/b", 2)
        with last_values(join(scene, server), topic) as early:
            receive(early, 2)
            sender.withdraw(topic, timeout=DEADLINE_S)
            gone = early.get(DEADLINE_S)
            assert (gone.topic, gone.value, gone.withdrawn) == (topic, None, True)
        with last_values(join(scene, server), topic) as late:
            assert late.get(DEADLINE_S).value == 2
            retain(sender, topic, None)
            again = late.get(DEADLINE_S)
            assert (again.topic, again.value, again.withdrawn) == (topic, None, False)

    def test_ordinary_subscribers_get_it_once_and_streams_keep_it(self, scene, server, topic):
        sender, member, native = join(scene, server), join(scene, server), scene.endpoint(tls=False)
        connect(sender, native)
        queues = [it.make_subscriber([topic, "/reach"]) for it in (member, native)]
        wait_until(lambda: len(sender.peer_subscriptions()) >= 2, "the native peer is subscribed")
        wait_until(lambda: sender.publish("/reach", 1) or queues[0].get(1, 0.05), "the member is there")
        retain(sender, topic, "value", message_id="once")
        retain(sender, topic, "value", message_id="once")
        sender.publish(topic, "end")
        for queue in queues:
            seen = []
            while not seen or seen[-1] != "end":
                name, value = queue.get(DEADLINE_S)
                if name == topic:
                    seen.append(value)
            assert seen == ["value", "end"]
            queue.reset()
        # What was published without `retain` is no last value.
        with last_values(member, topic) as values:
            assert [it.value for it in receive(values, 1)] == ["value"]
            assert values.current and values.get(0.01) is None
        with member.make_subscriber(topic, durable="all", start="first", timeout=DEADLINE_S) as kept:
            assert [kept.get(DEADLINE_S).value for _ in range(2)] == ["value", "end"]

    def test_without_a_stream_for_them_it_says_so(self, scene, server):
        endpoint = join(scene, server)
        endpoint.make_stream("plain", "/plain", timeout=DEADLINE_S)
        with pytest.raises(broker.DurableError, match="no stream keeps last values of `/plain`"):
            retain(endpoint, "/plain", 1)
        with pytest.raises(broker.DurableError, match="no stream keeps last values of `/plain`"):
            last_values(endpoint, "/plain")
        with pytest.raises(broker.DurableError, match="no stream keeps last values"):
            last_values(endpoint, "/plain", stream="plain")
        with pytest.raises(broker.ConfigurationError, match="one message per topic"):
            endpoint.make_stream("x", "/x", retained=True, max_messages_per_topic=2)
        with pytest.raises(TypeError, match="without `durable`"):
            last_values(endpoint, "/plain", durable="x")

    def test_it_survives_its_server_without_gaps_and_doubles(self, scene, tmp_path):
        with Server(tmp_path, reserved_port(), jetstream(tmp_path, 0)) as server:
            sender, receiver = join(scene, server), join(scene, server)
            sender.make_stream("last", "/state", retained=True, timeout=DEADLINE_S)
            for number in range(500):
                retain(sender, "/state/%d" % number, "old") if number % 10 == 0 else None
            with last_values(receiver, "/state", prefetch=8) as values:
                first = receive(values, 5)
                server.kill()
                server.start()
                rest = receive(values, 45)
                names = [it.topic for it in first + rest]
                assert len(set(names)) == 50 and values.current
                sequences = [it.sequence for it in first + rest]
                assert sequences == sorted(set(sequences))
                server.kill()
                server.start()
                retain(sender, "/state/0", "new")
                assert values.get(DEADLINE_S).value == "new"

    def test_a_stream_that_is_deleted_ends_it_with_an_error(self, scene, tmp_path):
        from nats_server import RawClient

        with Server(tmp_path, reserved_port(), jetstream(tmp_path, 0)) as server:
            endpoint = join(scene, server)
            endpoint.make_stream("last", "/state", retained=True, timeout=DEADLINE_S)
            with last_values(endpoint, "/state") as values:
                admin = RawClient(server.port)
                admin.send(b"PUB $JS.API.STREAM.DELETE.last 0\r\n\r\n").sync()
                admin.close()
                with pytest.raises(broker.DurableError, match="`last` came to an end before its time"):
                    values.get(DEADLINE_S)


class TestReplay:
    def test_it_ends_with_what_there_was_when_it_began(self, scene, server, topic):
        sender = join(scene, server)
        for number in range(50):
            publish(sender, "%s/%d" % (topic, number % 3), number)
        replay = join(scene, server).replay(topic, speed=None, timeout=DEADLINE_S)
        publish(sender, topic, "later")
        got = list(replay)
        assert [it.value for it in got] == list(range(50))
        assert [it.topic for it in got[:2]] == [topic + "/0", topic + "/1"]
        assert replay.finished and list(replay) == []
        with pytest.raises(broker.ClosedError, match="at its end"):
            replay.get(DEADLINE_S)

    def test_it_begins_and_ends_where_it_is_told(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(1, 6):
            publish(endpoint, topic, number)
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)

        def values(**options):
            with endpoint.replay(topic, speed=None, timeout=DEADLINE_S, **options) as replay:
                return [it.value for it in replay]

        everything = [1, 2, 3, 4, 5]
        assert values(since=3) == [3, 4, 5]
        assert values(until=2) == [1, 2]
        assert values(since=2, until=4) == [2, 3, 4]
        assert values(since="-1h") == values(since=now - hour) == everything
        assert values(since=now + hour) == []
        assert values(until=now + hour) == values(until=99) == everything
        assert values(until=now - hour) == values(until="-1h") == []
        with endpoint.replay(topic, speed=None, timeout=DEADLINE_S) as replay:
            times = [it.time for it in replay]
        # Servers count nanoseconds, a datetime has microseconds.
        assert values(until=times[2] + datetime.timedelta(microseconds=1)) == [1, 2, 3]
        assert values(since=times[3] - datetime.timedelta(microseconds=1)) == [4, 5]

    def test_an_empty_stream_is_at_its_end(self, scene, server, topic):
        replay = join(scene, server).replay(topic, timeout=DEADLINE_S)
        assert replay.finished and list(replay) == []

    def test_prefixes_are_those_of_bytes_also_at_the_end(self, scene, server, topic):
        endpoint = join(scene, server)
        for end in ["/lo", "/other", "/logs/a", "/l"]:
            publish(endpoint, topic + end, end)
        replay = endpoint.replay(topic + "/lo", speed=None, timeout=DEADLINE_S)
        assert [it.value for it in replay] == ["/lo", "/logs/a"]

    def test_what_went_in_batches_comes_in_order_through_a_small_window(self, scene, server, topic):
        sender = join(scene, server)
        for number in range(3000):
            sender.publish(topic, number)
        state = wait_until(lambda: complete(sender, topic, 3000), "everything is stored")
        assert state == list(range(3000))
        with sender.replay(topic, speed=None, prefetch=2, timeout=DEADLINE_S) as replay:
            assert [it.value for it in replay] == list(range(3000))

    def test_its_speed_is_that_of_the_messages(self, scene, server, topic):
        endpoint = join(scene, server)
        publish(endpoint, topic, 0)
        time.sleep(0.2)  # What is measured: messages that were stored apart.
        publish(endpoint, topic, 1)
        for speed in (1.0, 0.5):
            with endpoint.replay(topic, speed=speed, timeout=DEADLINE_S) as replay:
                first = replay.get(DEADLINE_S)
                began = time.monotonic()
                second = replay.get(DEADLINE_S)
                apart = (second.time - first.time).total_seconds() / speed
                # The first one was handed out a little before `began`.
                assert time.monotonic() - began > apart - 0.1
                assert list(replay) == []
        # Years would pass if it were slower.
        with endpoint.replay(topic, speed=1e9, timeout=DEADLINE_S) as replay:
            assert [it.value for it in replay] == [0, 1]
        with endpoint.replay(topic, speed=1e-9, timeout=DEADLINE_S) as replay:
            assert replay.get(DEADLINE_S).value == 0
            assert replay.get(0.01) is None and not replay.finished

    def test_what_could_never_work_is_refused_by_name(self, scene, server, topic):
        endpoint = join(scene, server)
        for wrong, named in [({"speed": -1.0}, "speed"), ({"since": "new"}, "since"),
                             ({"until": "first"}, "until"), ({"prefetch": 0}, "prefetch")]:
            with pytest.raises(broker.ConfigurationError, match=named):
                endpoint.replay(topic, timeout=DEADLINE_S, **wrong)
        for wrong in [{"since": "later"}, {"until": ""}]:
            with pytest.raises(ValueError, match=next(iter(wrong))):
                endpoint.replay(topic, timeout=DEADLINE_S, **wrong)
        with pytest.raises(broker.DurableError, match="no stream keeps `/nowhere`"):
            endpoint.replay("/nowhere", timeout=DEADLINE_S)

    def test_it_is_an_asynchronous_iterator(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(20):
            publish(endpoint, topic, number)

        async def main():
            with endpoint.replay(topic, speed=None, timeout=DEADLINE_S) as replay:
                return [it.value async for it in replay]

        assert asyncio.run(asyncio.wait_for(main(), DEADLINE_S)) == list(range(20))

    def test_an_endpoint_that_is_shut_down_cuts_it_short(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(20):
            publish(endpoint, topic, number)
        replay = endpoint.replay(topic, speed=1e-9, timeout=DEADLINE_S)
        assert replay.get(DEADLINE_S).value == 0
        endpoint.shutdown()
        with pytest.raises(broker.DurableError, match="before its time"):
            list(replay)

    def test_it_goes_on_after_its_server_was_away(self, scene, tmp_path):
        with Server(tmp_path, reserved_port(), jetstream(tmp_path, 0)) as server:
            endpoint = join(scene, server)
            endpoint.make_stream("kept", "/kept", timeout=DEADLINE_S)
            for number in range(200):
                publish(endpoint, "/kept", number)
            with endpoint.replay("/kept", speed=None, prefetch=4, timeout=DEADLINE_S) as replay:
                got = [replay.get(DEADLINE_S).value for _ in range(20)]
                server.kill()
                server.start()
                assert got + [it.value for it in replay] == list(range(200))

    def test_messages_that_the_stream_forgets_meanwhile_are_no_reason_to_wait(self, scene, tmp_path):
        from nats_server import RawClient

        with Server(tmp_path, reserved_port(), jetstream(tmp_path, 0)) as server:
            endpoint = join(scene, server)
            endpoint.make_stream("kept", "/kept", timeout=DEADLINE_S)
            for number in range(100):
                publish(endpoint, "/kept", number)
            with endpoint.replay("/kept", speed=None, prefetch=1, timeout=DEADLINE_S) as replay:
                assert replay.get(DEADLINE_S).value == 0
                admin = RawClient(server.port)
                admin.send(b"PUB $JS.API.STREAM.PURGE.kept 0\r\n\r\n").sync()
                admin.close()
                rest = [it.value for it in replay]
                assert len(rest) < 99 and rest == list(range(1, 1 + len(rest)))


def complete(endpoint, topic, count):
    with endpoint.replay(topic, speed=None, timeout=DEADLINE_S) as replay:
        values = [it.value for it in replay]
    return values if len(values) == count else None


def test_the_example_of_last_values(server):
    lines = []
    code = example("docs/nats.md", 2, url=("nats://a:4222,b:4222,c:4222", url(server)),
                   copies=("replicas=3", "replicas=1"))
    with pytest.raises(Enough):
        exec(code, {"print": printing(lines, lambda lines: True)})
    assert lines == [("/state/door", "open", True)]


def test_the_example_of_a_replay(scene, server):
    endpoint = join(scene, server)
    endpoint.make_stream("notices", ["/notices"], timeout=DEADLINE_S)
    for number in range(3):
        publish(endpoint, "/notices/scan", number)
    lines = []
    code = example("docs/nats.md", 3, url=("nats://a:4222,b:4222,c:4222", url(server)))
    exec(code, {"print": printing(lines)})
    assert [(topic, value) for _, topic, value in lines] == [("/notices/scan", it) for it in range(3)]


def test_the_command_makes_streams_and_tells_of_them(scene, server):
    def run(*words):
        command = [sys.executable, "-m", "broker", "--json", "nats", *words, "-u", url(server)]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)

    for created in (True, False):
        done = run("init", "made", "/made", "--max-age", "7d")
        assert done.returncode == 0, done
        assert json.loads(done.stdout) == {"stream": "made", "created": created, "replicas": 1, "messages": 0}
    differs = run("init", "made", "/made")
    assert differs.returncode == 1 and "another shape" in differs.stderr
    endpoint = join(scene, server)
    publish(endpoint, "/made", 1)
    with endpoint.make_subscriber("/made", durable="siem", start="first", prefetch=1, timeout=DEADLINE_S) as messages:
        wait_until(messages.available, "it has the message")
        done = run("status")
        streams = {it["stream"]: it for it in map(json.loads, done.stdout.splitlines())}
        assert streams["made"]["cursors"] == [{"name": "siem", "pending": 0, "unacknowledged": 1}]
        assert (streams["made"]["messages"], streams["made"]["late"]) == (1, [])


class TestTwins:
    """The same by `broker.aio` and `broker.sync`."""

    def test_everything_with_an_event_loop(self, server):
        name = "twin%d" % next(_names)

        async def main():
            async with broker.aio.connect(url(server), timeout=DEADLINE_S) as b:
                state = await b.make_stream(name, ["/" + name], timeout=DEADLINE_S)
                assert state.created
                await b.make_stream(name + "-last", ["/" + name], retained=True, timeout=DEADLINE_S)
                for number in range(5):
                    stored = await b.publish_durable("/" + name, number, timeout=DEADLINE_S)
                    assert stored.sequence == number + 1
                with pytest.raises(broker.DurableError, match="no stream keeps"):
                    await b.publish_durable("/nowhere", 1, timeout=DEADLINE_S)
                replay = await b.replay("/" + name, speed=None, timeout=DEADLINE_S)
                assert [it.value async for it in replay] == list(range(5)) and replay.finished
                await b.publish_durable("/%s/a" % name, "x", retain=True, timeout=DEADLINE_S)
                async with await b.subscribe_retained("/" + name, timeout=DEADLINE_S) as values:
                    assert (await values.receive(DEADLINE_S)).value == "x" and values.current
                    waiting = asyncio.ensure_future(values.receive(DEADLINE_S))
                    await b.withdraw("/%s/a" % name, timeout=DEADLINE_S)
                    assert (await waiting).withdrawn
                with pytest.raises(KeyError):
                    async with await b.subscribe_durable("siem", "/" + name, start="first", stream=name,
                                                         ack_wait=DEADLINE_S, timeout=DEADLINE_S) as notices:
                        assert [(await notices.receive(DEADLINE_S)).value for _ in range(2)] == [0, 1]
                        raise KeyError
                async with await b.subscribe_durable("siem", "/" + name, stream=name, ack="manual",
                                                     ack_wait=DEADLINE_S, timeout=DEADLINE_S) as notices:
                    seen = set()
                    while len(seen) < 5:
                        message = await notices.receive(DEADLINE_S)
                        seen.add(message.value)
                        notices.ack(message)
                    # The first one was acknowledged when the second one was asked for.
                    assert seen == {1, 2, 3, 4, "x"}

        asyncio.run(asyncio.wait_for(main(), DEADLINE_S))

    def test_everything_without_one(self, server):
        name = "twin%d" % next(_names)
        with broker.sync.connect(url(server), timeout=DEADLINE_S) as b:
            b.make_stream(name, ["/" + name], timeout=DEADLINE_S)
            b.make_stream(name + "-last", ["/" + name], retained=True, timeout=DEADLINE_S)
            for number in range(5):
                b.publish_durable("/" + name, number, timeout=DEADLINE_S)
            with b.replay("/" + name, speed=None, timeout=DEADLINE_S) as replay:
                assert [it.value for it in replay] == list(range(5)) and replay.finished
            b.publish_durable("/%s/a" % name, "x", retain=True, timeout=DEADLINE_S)
            with b.subscribe_retained("/" + name, timeout=DEADLINE_S) as values:
                assert values.receive(DEADLINE_S).value == "x" and values.current
                b.withdraw("/%s/a" % name, timeout=DEADLINE_S)
                assert values.receive(DEADLINE_S).withdrawn
            with b.subscribe_durable("siem", "/" + name, start="first", stream=name,
                                     timeout=DEADLINE_S) as notices:
                assert [notices.receive(DEADLINE_S).value for _ in range(3)] == [0, 1, 2]
            with b.subscribe_durable("siem", "/" + name, stream=name, ack="manual",
                                     timeout=DEADLINE_S) as notices:
                # Those that were fetched ahead come again, in some order.
                assert {notices.receive(DEADLINE_S).value for _ in range(3)} == {3, 4, "x"}
                notices.ack()

    def test_a_message_that_was_taken_and_not_handed_over_is_given_back(self, server):
        name = "twin%d" % next(_names)
        with broker.sync.connect(url(server), timeout=DEADLINE_S) as b:
            b.make_stream(name, ["/" + name], timeout=DEADLINE_S)
            b.publish_durable("/" + name, "work", timeout=DEADLINE_S)
            options = {"start": "first", "ack_wait": DEADLINE_S * 10, "timeout": DEADLINE_S}
            notices = b.subscribe_durable("siem", "/" + name, **options)
            # As if the task that waited was cancelled just then.
            broker.sync.run(notices._core._fill(None))
            assert len(notices._core._items) == 1
            notices.close()
            with b.subscribe_durable("siem", "/" + name, **options) as again:
                message = again.receive(DEADLINE_S)
                assert (message.value, message.redelivered) == ("work", True)
