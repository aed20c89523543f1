"""Durable topics on servers of NATS: real ones with JetStream, alone and as a cluster of three."""

import asyncio
import datetime
import json
import threading

import pytest

import broker
from deadline import DEADLINE_S, take_one, wait_until
from nats_server import LOCALHOST, RawClient, Server
from ports import reserved_port
from scene import connect
from test_documents import Enough, example, printing

# Short for a test, and longer than a busy machine stops for.
ACK_WAIT_S = 1.0
FORMAT = b"NATS/1.0\r\nBk-Format: broker-bin-v1\r\n\r\n"


def jetstream(folder, number):
    return 'jetstream { store_dir: "%s", sync_interval: always }' % (folder / ("js%d" % number))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with JetStream."""
    folder = tmp_path_factory.mktemp("durable")
    port = reserved_port()
    with Server(folder, port, jetstream(folder, 0)) as server:
        yield server


@pytest.fixture
def cluster(tmp_path):
    """Three servers with JetStream that have a leader."""
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


def url(*servers):
    return "nats://" + ",".join("%s:%d" % (LOCALHOST, it.port) for it in servers)


def join(scene, *servers, **options):
    endpoint = scene.endpoint(tls=False)
    assert endpoint.peer(url(*servers), retry=1.0, timeout=DEADLINE_S, nats=options or None)
    return endpoint


_names = iter(range(10_000))


@pytest.fixture
def topic(scene, server):
    """A topic that a stream of its own keeps, and dead letters with it."""
    name = "t%d" % next(_names)
    maker = join(scene, server)
    maker.make_stream(name, ["/" + name, "/dead-letters/" + name], timeout=DEADLINE_S)
    return "/" + name


def publish(endpoint, topic, value, **options):
    return endpoint.publish(topic, value, durable=True, timeout=DEADLINE_S, **options)


def subscribe(endpoint, topics, name, **options):
    return endpoint.make_subscriber(topics, durable=name, timeout=DEADLINE_S, **options)


def take(subscriber, count):
    messages = []
    while len(messages) < count:
        more = subscriber.get(count - len(messages), DEADLINE_S)
        assert more, "%d of %d" % (len(messages), count)
        messages += more
    return messages


class TestPublishing:
    def test_returns_when_a_stream_has_it(self, scene, server, topic):
        endpoint = join(scene, server)
        first, second = publish(endpoint, topic + "/a", 1), publish(endpoint, topic, [1, "two"])
        assert (first.stream, first.sequence, first.duplicate) == (topic[1:], 1, False)
        assert second.sequence == 2 and first.message_id != second.message_id
        state = endpoint.make_stream(topic[1:], [topic, "/dead-letters" + topic], timeout=DEADLINE_S)
        assert (state.messages, state.last_sequence, state.replicas, state.created) == (2, 2, 1, False)

    def test_the_same_id_is_stored_once(self, scene, server, topic):
        endpoint, other = join(scene, server), join(scene, server)
        first = publish(endpoint, topic, 1, message_id="one")
        again = publish(other, topic, 1, message_id="one")
        assert (again.sequence, again.duplicate, again.message_id) == (first.sequence, True, "one")
        assert publish(endpoint, topic, 2).sequence == first.sequence + 1

    def test_a_topic_of_no_stream_is_an_error_that_names_it(self, scene, server, topic):
        endpoint = join(scene, server)
        for wrong in [topic + "able", "/elsewhere"]:
            with pytest.raises(broker.DurableError, match="no stream keeps `%s`" % wrong):
                publish(endpoint, wrong, 1)

    def test_what_is_expected_of_the_topic_is_checked(self, scene, server, topic):
        endpoint = join(scene, server)
        first = publish(endpoint, topic, 1, expected_last=0)
        with pytest.raises(broker.DurableError, match="not where it was expected"):
            publish(endpoint, topic, 2, expected_last=0)
        publish(endpoint, topic, 2, expected_last=first.sequence)

    def test_it_needs_one_peering(self, scene, server):
        endpoint = scene.endpoint(tls=False)
        with pytest.raises(broker.DurableError, match="nats://"):
            endpoint.publish("/t", 1, durable=True)
        endpoint.peer_nosync(url(server), retry=1.0)
        endpoint.peer_nosync("nats://localhost:1", retry=1.0)
        with pytest.raises(broker.DurableError, match="localhost:1"):
            endpoint.publish("/t", 1, durable=True)

    def test_options_without_meaning_are_refused(self, scene, server):
        endpoint = join(scene, server)
        with pytest.raises(TypeError, match="durable=True"):
            endpoint.publish("/t", 1, message_id="x")
        with pytest.raises(TypeError, match="without `to`"):
            endpoint.publish("/t", 1, durable=True, wait_for_subscriber=1)
        with pytest.raises(ValueError, match="message_id"):
            publish(endpoint, "/t", 1, message_id="a b")
        with pytest.raises(ValueError, match="belongs to endpoints"):
            publish(endpoint, "<$>/local/data", 1)

    def test_peers_of_all_kinds_get_it_once(self, scene, server, topic):
        sender, member, native, other = join(scene, server), join(scene, server), *(
            scene.endpoint(tls=False) for _ in range(2))
        connect(sender, native)
        connect(other, sender)
        queues = [it.make_subscriber([topic, "/end"]) for it in (member, native, other)]
        wait_until(lambda: len(sender.peer_subscriptions()) >= 2, "natives are subscribed")
        # Until the server's other clients are known to be subscribed.
        with member.make_subscriber("/reach") as reached:
            wait_until(lambda: sender.publish("/reach", 1) or reached.get(1, 0.05), "the member is there")
        for number in range(20):
            publish(sender, topic, number)
        sender.publish("/end", None)
        for queue in queues:
            values = []
            while not values or values[-1] is not None:
                values.append(take_one(queue)[1])
            assert values == [*range(20), None]
            queue.reset()


class TestSubscribers:
    def test_what_came_meanwhile_comes_first(self, scene, server, topic):
        sender = join(scene, server)
        with subscribe(join(scene, server), topic, "siem") as messages:
            publish(sender, topic, 0)
            assert [it.value for it in take(messages, 1)] == [0]
        for number in range(1, 100):
            publish(sender, "%s/%d" % (topic, number), number)
        # Another process, as far as the server can tell.
        with subscribe(join(scene, server), topic, "siem") as messages:
            got = take(messages, 99)
            assert [it.value for it in got] == list(range(1, 100))
            assert [it.topic for it in got[:2]] == [topic + "/1", topic + "/2"]
            assert not any(it.redelivered for it in got)
            publish(sender, topic, "live")
            assert messages.get(DEADLINE_S).value == "live"

    def test_a_message_tells_of_itself(self, scene, server, topic):
        sender = join(scene, server)
        before = datetime.datetime.now(datetime.timezone.utc)
        stored = publish(sender, topic, {"k": {1, 2}})
        publish(sender, topic, 2)
        with subscribe(join(scene, server), topic, "one", start="first") as messages:
            message = messages.get(DEADLINE_S)
            assert (message.topic, message.value, message.sequence) == (topic, {"k": {1, 2}}, stored.sequence)
            assert (message.deliveries, message.redelivered, message.pending) == (1, False, 1)
            assert abs(message.time - before) < datetime.timedelta(hours=1)
            name, value = message
            assert (name, value) == (topic, {"k": {1, 2}}) and topic in repr(message)
            assert (messages.name, messages.stream) == ("one", topic[1:])

    def test_a_cursor_begins_where_it_is_told(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(1, 6):
            publish(endpoint, topic, number)
        now = datetime.datetime.now(datetime.timezone.utc)
        for index, (start, expected) in enumerate([
            ("first", 1), (3, 3), ("-1h", 1), (datetime.timedelta(days=1), 1),
            (now - datetime.timedelta(hours=1), 1), ("new", 6), (None, 6),
            (now + datetime.timedelta(days=1), None),
        ]):
            with subscribe(endpoint, topic, "start%d" % index, start=start) as messages:
                if start in ("new", None):
                    publish(endpoint, topic, 6)
                if expected is not None:
                    assert messages.get(DEADLINE_S).value == expected, start
        # An existing cursor goes on where it was. What was fetched ahead comes again, in some order.
        with subscribe(endpoint, topic, "start0", start="new") as messages:
            assert {it.value for it in take(messages, 4)} == {2, 3, 4, 5}
        for wrong in ["later", "-1y", "-xh", ""]:
            with pytest.raises(ValueError, match="start"):
                subscribe(endpoint, topic, "wrong", start=wrong)

    def test_what_is_not_acknowledged_comes_again(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(3):
            publish(endpoint, topic, number)
        with subscribe(endpoint, topic, "manual", start="first", ack="manual",
                       ack_wait=ACK_WAIT_S) as messages:
            first, second, third = take(messages, 3)
            messages.ack(first)
            messages.ack(first)
            messages.ack(third)
            again = messages.get(DEADLINE_S)
            assert (again.value, again.redelivered, again.sequence) == (1, True, second.sequence)
            messages.ack()
            publish(endpoint, topic, "end")
            assert messages.get(DEADLINE_S).value == "end"

    def test_a_subscriber_that_fails_gives_its_messages_back(self, scene, server, topic):
        endpoint = join(scene, server)
        publish(endpoint, topic, "work")
        options = {"start": "first", "ack_wait": DEADLINE_S * 10}
        with pytest.raises(KeyError), subscribe(endpoint, topic, "fails", **options) as messages:
            assert messages.get(DEADLINE_S).value == "work"
            raise KeyError
        with subscribe(endpoint, topic, "fails", **options) as messages:
            message = messages.get(DEADLINE_S)
            assert (message.value, message.redelivered) == ("work", True)
        # Now it is done.
        publish(endpoint, topic, "next")
        with subscribe(endpoint, topic, "fails", **options) as messages:
            assert messages.get(DEADLINE_S).value == "next"

    def test_batches_are_acknowledged_as_a_whole_or_not(self, scene, server, topic):
        endpoint = join(scene, server)
        for number in range(10):
            publish(endpoint, topic, number)
        seen = []
        with subscribe(endpoint, topic, "batch", start="first", ack="manual",
                       ack_wait=DEADLINE_S * 10) as messages:
            with pytest.raises(KeyError), messages.batch(100, DEADLINE_S) as batch:
                assert batch and batch[0].value == 0
                raise KeyError
            while len(set(seen)) < 10:
                with messages.batch(4, DEADLINE_S) as batch:
                    assert 1 <= len(batch) <= 4
                    seen += [it.value for it in batch]
            assert sorted(seen) == list(range(10))
            with messages.batch(5, 0.01) as batch:
                assert batch == []

    def test_a_message_that_is_never_dealt_with_becomes_a_dead_letter(self, scene, server, topic):
        endpoint, name = join(scene, server), topic[1:]
        stored = publish(endpoint, topic, "poison")
        publish(endpoint, topic, "good")
        with subscribe(endpoint, topic, name, start="first", ack="manual", deliveries_max=2,
                       ack_wait=DEADLINE_S * 10) as messages, \
                subscribe(endpoint, "/dead-letters/", "u", start="first", stream=name) as dead:
            poison = messages.get(DEADLINE_S)
            messages.retry(poison)
            seen = []
            while "poison" not in seen:
                message = messages.get(DEADLINE_S)
                seen.append(message.value)
                if message.value == "good":
                    messages.ack(message)
                else:
                    assert message.deliveries == 2
                    messages.retry(message)
            # Whoever waits for the next one has it found dead.
            assert messages.get(0.01) is None or seen == ["poison"]
            letter = wait_until(lambda: (messages.get(0.05), dead.get(0.05))[1], "there is a dead letter")
            topic_of, value, reason, deliveries, stream, sequence = letter.value
            assert letter.topic == "/dead-letters/" + name
            assert (topic_of, value, stream, int(sequence)) == (topic, "poison", name, stored.sequence)
            assert "not acknowledged after 2 deliveries" in reason and int(deliveries) == 3

    def test_a_rejected_message_is_a_dead_letter_with_the_reason(self, scene, server, topic):
        endpoint, name = join(scene, server), topic[1:]
        publish(endpoint, topic, "odd")
        with subscribe(endpoint, topic, name, start="first", ack="manual") as messages, \
                subscribe(endpoint, "/dead-letters/" + name, "u", start="first", stream=name) as dead:
            messages.reject(messages.get(DEADLINE_S), "it is odd")
            assert dead.get(DEADLINE_S).value[2] == "it is odd"

    def test_dead_letters_that_no_stream_keeps_are_refused(self, scene, server, topic):
        endpoint = join(scene, server)
        with pytest.raises(broker.DurableError, match="no stream keeps `/nowhere`"):
            subscribe(endpoint, topic, "x", deliveries_max=2, dead_letters="/nowhere")

    def test_what_it_did_not_ask_for_is_counted_and_told(self, scene, server, topic):
        sender, receiver = join(scene, server), join(scene, server)
        stream = topic[1:]
        spy = RawClient(server.port)
        spy.send(b"SUB $JS.API.CONSUMER.MSG.NEXT.%s.all 1\r\n" % stream.encode()).sync()
        events = receiver.make_status_subscriber(True)
        for number in range(3):
            publish(sender, topic, number)
        with subscribe(receiver, topic, "all", start="first", prefetch=1) as messages:
            wait_until(messages.available, "its queue is full")
            # Where its messages go to, as a client sees it that may see everything, and has the messages of a
            # consumer of its own sent there.
            inbox = spy.line().split()[3].decode()
            config = {"name": "other", "durable_name": "other", "ack_policy": "explicit"}
            body = json.dumps({"stream_name": stream, "config": config}).encode()
            spy.send(b"SUB back 2\r\nPUB $JS.API.CONSUMER.CREATE.%s.other back %d\r\n%s\r\n"
                     % (stream.encode(), len(body), body))
            while not spy.line().startswith(b"MSG back"):
                pass
            spy.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.%s.other %s 1\r\n3\r\n" % (stream.encode(), inbox.encode()))
            # Closed before that is handled, it would be reset, as it has not read all that came.
            spy.sync().close()

            def told():
                return next((it for it in events.poll() if "had not asked" in str(it)), None)

            assert "_INBOX" in str(wait_until(told, "it is told"))
            wait_until(lambda: receiver.nats_peer_counts().popitem()[1]["unasked"] == 3, "all are counted")
            assert messages.get(DEADLINE_S).value == 0

    def test_members_of_a_group_share_the_messages(self, scene, server, topic):
        sender = join(scene, server)
        members = [join(scene, server).make_subscriber(topic, group="workers", prefetch=1,
                                                       timeout=DEADLINE_S) for _ in range(2)]
        for number in range(20):
            publish(sender, topic, number)
        seen = []

        def work(member):
            while len(seen) < 20:
                message = member.get(0.05)
                if message is not None:
                    seen.append(message.value)

        threads = [threading.Thread(target=work, args=(it,)) for it in members]
        for it in threads:
            it.start()
        for it in threads:
            it.join()
        assert sorted(seen) == list(range(20))
        # What a member has and does not acknowledge goes to another one.
        publish(sender, topic, "last")
        holder = wait_until(lambda: next((it for it in members if it.available()), None), "one has it")
        other, = [it for it in members if it is not holder]
        holder.close()
        assert other.get(DEADLINE_S).value == "last"
        other.close()

    def test_prefixes_are_those_of_bytes(self, scene, server, topic):
        endpoint = join(scene, server)
        for end in ["/lo", "/logs/a", "/l", "/lp", "/lo\u00e9/*/>/$"]:
            publish(endpoint, topic + end, end)
        publish(endpoint, topic + "/lo/end", "end")
        with subscribe(endpoint, topic + "/lo", "bytes", start="first") as messages:
            assert [it.value for it in take(messages, 4)] == ["/lo", "/logs/a", "/lo\u00e9/*/>/$", "end"]

    def test_what_was_published_without_waiting_is_kept_in_order(self, scene, server, topic):
        sender = join(scene, server)
        for number in range(2000):
            sender.publish("%s/%d" % (topic, number // 7 % 2), number)
        with subscribe(join(scene, server), topic, "plain", start="first") as messages:
            got = take(messages, 2000)
        assert [it.value for it in got] == list(range(2000))
        sequences = [it.sequence for it in got]
        assert sequences == sorted(sequences)

    def test_what_cannot_be_read_is_given_up_and_told(self, scene, server, topic):
        endpoint = join(scene, server)
        stranger = RawClient(server.port)
        for payload in [b"\xff\xff", b""]:
            stranger.publish("bk.%" + topic.replace("/", "."), FORMAT, payload)
        stranger.sync().close()
        publish(endpoint, topic, "good")
        with endpoint.make_status_subscriber(True) as events, \
                subscribe(endpoint, topic, "bad", start="first") as messages:
            assert messages.get(DEADLINE_S).value == "good"
            error = next(it for it in iter(lambda: take_one(events), None) if isinstance(it, broker.Error))
            assert error.code() == broker.EC.InvalidMessage and "given up" in str(error)

    def test_a_cursor_of_other_topics_is_an_error_that_shows_the_difference(self, scene, server, topic):
        endpoint = join(scene, server)
        subscribe(endpoint, topic + "/a/", "differs").close()
        with pytest.raises(broker.DurableError, match=r"bk\.%\..*\.b\.>"):
            subscribe(endpoint, topic + "/b/", "differs")
        assert endpoint.delete_cursor(topic[1:], "differs", timeout=DEADLINE_S)
        assert not endpoint.delete_cursor(topic[1:], "differs", timeout=DEADLINE_S)
        subscribe(endpoint, topic + "/b/", "differs").close()

    def test_a_cursor_that_is_deleted_ends_its_subscriber(self, scene, server, topic):
        endpoint = join(scene, server)
        messages = subscribe(endpoint, topic, "deleted")
        assert endpoint.delete_cursor(topic[1:], "deleted", timeout=DEADLINE_S)
        with pytest.raises(broker.DurableError, match="`deleted` is gone"):
            messages.get(DEADLINE_S)

    def test_the_end_of_the_endpoint_ends_its_subscribers(self, scene, server, topic):
        endpoint = join(scene, server)
        messages = subscribe(endpoint, topic, "ends")
        waiting = scene.background(messages.get)
        endpoint.shutdown()
        with pytest.raises(broker.ClosedError):
            waiting.result(DEADLINE_S)
        assert list(messages) == []
        with pytest.raises(broker.ClosedError):
            publish(endpoint, topic, 1)

    def test_an_event_loop_waits_for_messages(self, scene, server, topic):
        endpoint, sender = join(scene, server), join(scene, server)

        async def main():
            seen = []
            with subscribe(endpoint, topic, "loop") as messages:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, publish, sender, topic, 0)
                async for message in messages:
                    seen.append(message.value)
                    if len(seen) == 3:
                        return seen
                    await loop.run_in_executor(None, publish, sender, topic, len(seen))

        assert asyncio.run(asyncio.wait_for(main(), DEADLINE_S)) == [0, 1, 2]

    def test_keywords_that_do_not_fit_are_refused(self, scene, server, topic):
        endpoint = join(scene, server)
        with pytest.raises(TypeError, match="`ack_wait`"):
            endpoint.make_subscriber(topic, ack_wait=1)
        with pytest.raises(TypeError, match="either `durable` or `group`"):
            endpoint.make_subscriber(topic, durable="a", group="b")
        with pytest.raises(TypeError, match="buffer"):
            endpoint.make_subscriber(topic, durable="a", buffer=1)
        with pytest.raises(ValueError, match="`ack`"):
            subscribe(endpoint, topic, "a", ack="never")
        with pytest.raises(ValueError, match="`a.b`"):
            subscribe(endpoint, topic, "a.b")


class TestStreams:
    def test_a_stream_of_another_shape_is_an_error_that_shows_the_difference(self, scene, server):
        endpoint = join(scene, server)
        shape = {"max_age": 3600, "max_messages_per_topic": 5, "timeout": DEADLINE_S}
        assert endpoint.make_stream("shape", ["/shape"], **shape).created
        assert not endpoint.make_stream("shape", ["/shape"], **shape).created
        with pytest.raises(broker.DurableError) as caught:
            endpoint.make_stream("shape", ["/shape", "/more"], **{**shape, "max_age": 60})
        text = str(caught.value)
        assert "3600000000000" in text and "60000000000" in text and "bk.%.more" in text

    def test_a_limit_of_messages_per_topic_is_kept(self, scene, server):
        endpoint = join(scene, server)
        endpoint.make_stream("few", "/few", max_messages_per_topic=1, timeout=DEADLINE_S)
        for number in range(5):
            publish(endpoint, "/few/a", number)
            publish(endpoint, "/few/b", number)
        with subscribe(endpoint, "/few", "last", start="first") as messages:
            assert [(it.topic, it.value) for it in take(messages, 2)] == [("/few/a", 4), ("/few/b", 4)]

    def test_one_copy_is_refused_where_more_are_required(self, scene, server):
        endpoint = join(scene, server)
        with pytest.raises(broker.DurableError, match="one server only"):
            endpoint.make_stream("single", "/single", require_durable=True, timeout=DEADLINE_S)

    def test_topics_in_several_streams_need_a_name(self, scene, server):
        endpoint = join(scene, server)
        for name in ["left", "right"]:
            endpoint.make_stream(name, "/several/" + name, timeout=DEADLINE_S)
            publish(endpoint, "/several/" + name, name)
        with pytest.raises(broker.DurableError, match="left, right"):
            subscribe(endpoint, "/several", "x")
        with subscribe(endpoint, "/several", "x", stream="right", start="first") as messages:
            assert messages.get(DEADLINE_S).value == "right"
        with pytest.raises(broker.DurableError, match="no stream keeps `/none`"):
            subscribe(endpoint, "/none", "x")

    def test_a_server_without_streams_says_so(self, scene, tmp_path):
        port = reserved_port()
        with Server(tmp_path, port) as plain:
            endpoint = join(scene, plain)
            with pytest.raises(broker.DurableError, match="no JetStream"):
                publish(endpoint, "/t", 1)

    def test_an_old_server_is_refused_by_name(self, scene):
        from old_nats_server import OldServer

        with OldServer("2.9.10") as old:
            endpoint = scene.endpoint(tls=False)
            endpoint.peer_nosync("nats://%s:%d" % (LOCALHOST, old.port), retry=1.0)
            with pytest.raises(broker.DurableError, match=r"2\.9\.10: durable topics need 2\.10 or newer"):
                publish(endpoint, "/t", 1)


class TestFailures:
    def test_a_server_that_is_not_there_is_a_timeout_that_can_be_repeated(self, scene):
        port = reserved_port()
        endpoint = scene.endpoint(tls=False)
        endpoint.peer_nosync("nats://%s:%d" % (LOCALHOST, port), retry=1.0)
        with pytest.raises(broker.DurableTimeout, match="in time") as caught:
            endpoint.publish("/t", 1, durable=True, timeout=0.1)
        assert isinstance(caught.value, TimeoutError)

    def test_a_server_that_is_killed_and_comes_again_has_everything_once(self, scene, tmp_path):
        port = reserved_port()
        with Server(tmp_path, port, jetstream(tmp_path, 0)) as server:
            sender, receiver = join(scene, server), join(scene, server)
            sender.make_stream("kept", "/kept", timeout=DEADLINE_S)
            with subscribe(receiver, "/kept", "all") as messages:
                publishing = scene.background(
                    lambda: [publish(sender, "/kept", number).sequence for number in range(200)])
                first = take(messages, 20)
                server.kill()
                server.start()
                publishing.result(DEADLINE_S)
                values = {it.value for it in first}
                while len(values) < 200:
                    values.add(messages.get(DEADLINE_S).value)
                assert values == set(range(200))
            state = sender.make_stream("kept", "/kept", timeout=DEADLINE_S)
            assert state.messages == 200

    def test_a_cluster_loses_nothing_that_was_acknowledged_with_a_server(self, scene, cluster):
        sender, receiver = join(scene, *cluster), join(scene, *reversed(cluster))
        made = wait_until(lambda: made_stream(sender), "the cluster has a leader")
        assert made.replicas == 3
        with subscribe(receiver, "/kept", "all", start="first") as messages:
            stored = []

            def send():
                for number in range(150):
                    stored.append(publish(sender, "/kept", number).sequence)

            sending = scene.background(send)
            values = {it.value for it in take(messages, 20)}
            # The one that the sender or the receiver is connected to, or the leader, or none of them.
            cluster[0].kill()
            sending.result(DEADLINE_S)
            while len(values) < 150:
                values.add(messages.get(DEADLINE_S).value)
            assert values == set(range(150))
            assert sorted(stored) == stored and len(set(stored)) == 150


def made_stream(endpoint):
    try:
        return endpoint.make_stream("kept", "/kept", replicas=3, require_durable=True, timeout=5)
    except broker.DurableError:
        return None


def test_the_example_of_the_document(scene, server):
    lines = []
    code = example("docs/nats.md", 1, url=("nats://a:4222,b:4222,c:4222", url(server)),
                   copies=("replicas=3", "replicas=1"))
    with pytest.raises(Enough):
        exec(code, {"print": printing(lines, lambda lines: True)})
    (sequence, topic, value), = lines
    assert (sequence, topic, value) == (1, "/notices/scan", "10.0.0.1")
