"""Servers of NATS as peers: real ones, as processes on loopback, alone and as a cluster of three."""

import base64
import socket
import threading
import time

import pytest

import broker
import certificates
from deadline import DEADLINE_S, take, take_one, wait_until
from nats_server import LOCALHOST, RawClient, Server
from ports import reserved_port
from scene import connect
from test_documents import Enough, example, printing

FORMAT = b"Bk-Format: broker-bin-v1\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that lets everybody in."""
    port = reserved_port()
    with Server(tmp_path_factory.mktemp("nats"), port) as server:
        yield server


@pytest.fixture
def cluster(tmp_path):
    """Three servers that know each other, and the addresses of all."""
    ports = [reserved_port() for _ in range(6)]
    clients, routes = ports[:3], ports[3:]
    servers = []
    try:
        for port, route in zip(clients, routes):
            servers.append(Server(tmp_path, port, cluster=route, routes=routes))
        # Each tells clients of the other two.
        for it in servers:
            wait_until(lambda: len(told_by(it)) == 3, "the servers find each other")
        yield servers
    finally:
        for it in servers:
            it.kill()


def told_by(server):
    client = RawClient(server.port, check=False)
    client.close()
    return client.info.get("connect_urls", [])


def url(*servers):
    return "nats://" + ",".join("%s:%d" % (LOCALHOST, it.port) for it in servers)


def join(scene, *servers, **options):
    endpoint = scene.endpoint(tls=False)
    assert endpoint.peer(url(*servers), retry=1.0, timeout=DEADLINE_S, nats=options or None)
    return endpoint


def counts(endpoint):
    count, = endpoint.nats_peer_counts().values()
    return count


def next_event(events, kind, code):
    while True:
        event = take_one(events)
        if isinstance(event, kind) and event.code() == code:
            return event


def reach(sender, receiver):
    """Returns when what one publishes reaches the other: servers tell each other of subscriptions in
    their own time."""
    with receiver.make_subscriber("/reach/") as messages:
        def arrives():
            sender.publish("/reach/%s" % receiver.node_id(), None)
            return messages.get(1, 0.05)
        wait_until(arrives, "the subscription is known everywhere")


class TestMessages:
    def test_values_of_all_sorts_go_across_a_cluster_in_order(self, scene, cluster):
        sender, receiver = join(scene, cluster[0]), join(scene, cluster[1])
        values = [None, True, 1, -1, 2.5, "\u00e9", b"\xff", [1, "a"], {"k": {1, 2}}, "x" * 100_000]
        with receiver.make_subscriber("/t") as messages:
            reach(sender, receiver)
            for number in range(1500):
                # Two topics in turns, so that there are batches and single messages.
                sender.publish("/t/%d" % (number // 7 % 2), [number, values[number % len(values)]])
            for number, (topic, value) in enumerate(take(messages, 1500)):
                assert topic == "/t/%d" % (number // 7 % 2)
                assert value[0] == number
        assert counts(sender)["own"] == counts(receiver)["bad"] == 0

    def test_what_a_server_sees_is_as_documented(self, scene, server):
        endpoint = join(scene, server)
        reader = RawClient(server.port).send(b"SUB bk.%.seen.> 1\r\n").sync()
        endpoint.publish("/seen/a b", broker.Count(7))
        subject, headers, payload = reader.message()
        reader.close()
        assert subject == "bk.%.seen.a%20b"
        lines = headers.split(b"\r\n")
        assert lines[0] == b"NATS/1.0" and lines[-2:] == [b"", b""]
        fields = dict(line.split(b": ") for line in lines[1:-2])
        assert fields[b"Bk-Topic"] == b"/seen/a%20b"
        assert fields[b"Bk-Format"] == b"broker-bin-v1"
        assert fields[b"Bk-Sender"].decode() == endpoint.node_id()
        assert len(fields[b"Bk-Origin"]) == 32
        assert payload.hex() == "020000000000000007"

    def test_the_example_of_the_document(self, scene, server):
        other, lines = join(scene, server), []
        with other.make_subscriber("/site/ask") as asked:
            def answer():
                assert take_one(asked) == ("/site/ask", "who")
                other.publish("/site/alerts", "me")

            answering = scene.background(answer)
            with pytest.raises(Enough):
                exec(example("docs/nats.md", 0, url=("nats://a:4222,b:4222,c:4222", url(server))),
                     {"print": printing(lines, lambda lines: True)})
            answering.result(DEADLINE_S)
        assert lines == [("/site/alerts", "me")]

    def test_prefixes_are_those_of_bytes(self, scene, server):
        sender, receiver = join(scene, server), join(scene, server)
        deep = "/zeek/lo" + "/x" * 40
        long = "/zeek/lo" + "y" * 2000
        with receiver.make_subscriber(["/zeek/lo", "/end"]) as messages:
            reach(sender, receiver)
            wanted = ["/zeek/lo", "/zeek/logs/a", "/zeek/lo\u00e9/*/>/$", deep, long]
            for topic in ["/zeek/l", "/zeek", *wanted, "/zeek/lp", "/ze/lo", "zeek/lo"]:
                sender.publish(topic, topic)
            sender.publish("/end", 1)
            assert [topic for topic, _ in take(messages, len(wanted) + 1)] == [*wanted, "/end"]

    def test_a_change_of_subscriptions_loses_and_doubles_nothing(self, scene, server):
        sender, receiver = join(scene, server), join(scene, server)
        stop = threading.Event()
        with receiver.make_subscriber("/t/a/") as messages:
            reach(sender, receiver)
            sent = []

            def send():
                while not stop.is_set():
                    sender.publish("/t/a/b", len(sent))
                    sent.append(None)
                    time.sleep(0)

            thread = threading.Thread(target=send)
            thread.start()
            try:
                for _ in range(20):
                    with receiver.make_subscriber("/t/") as wide:
                        take_one(wide)
                    receiver.make_subscriber("").reset()
            finally:
                stop.set()
                thread.join()
            got = take(messages, len(sent))
            assert [value for _, value in got] == list(range(len(sent)))

    def test_topics_of_endpoints_and_stores_stay_here(self, scene, server):
        sender, receiver = join(scene, server), join(scene, server)
        with receiver.make_subscriber("") as messages:
            reach(sender, receiver)
            sender.attach_master("s", broker.Backend.Memory).put("k", 1)
            sender.publish("/end", 1)
            topics = set()
            while "/end" not in topics:
                topics.add(take_one(messages)[0])
            assert {topic for topic in topics if not topic.startswith("/reach/")} == {"/end"}

    def test_prefixes_of_subjects_part_the_space(self, scene, server):
        here = [join(scene, server, prefix="here.bk.") for _ in range(2)]
        there = join(scene, server, prefix="there.bk.")
        with here[1].make_subscriber("/t") as messages, there.make_subscriber("/t") as others:
            reach(here[0], here[1])
            here[0].publish("/t", 1)
            assert take_one(messages) == ("/t", 1)
            # What the other space has comes behind it, if it came.
            RawClient(server.port).publish(
                "there.bk.%.t", b"NATS/1.0\r\n" + FORMAT + b"\r\n", bytes.fromhex("0101")
            ).sync().close()
            assert take_one(others) == ("/t", True)


class TestBridges:
    def test_native_peers_that_are_all_members_get_everything_once(self, scene, server):
        # A ring of three native peers, two of them members; two more are members only.
        native = [scene.endpoint(tls=False) for _ in range(3)]
        for dialer, listener in [(0, 1), (1, 2), (2, 0)]:
            connect(native[dialer], native[listener])
        for it in native[:2]:
            it.forward(["/t", "/end", "/reach/"])
            assert it.peer(url(server), retry=1.0, timeout=DEADLINE_S)
        members = [join(scene, server) for _ in range(2)]
        everyone = native + members
        queues = [it.make_subscriber(["/t", "/end"]) for it in everyone]
        try:
            for sender in everyone:
                for receiver in everyone:
                    if sender is not receiver:
                        reach(sender, receiver)
            for number, sender in enumerate(everyone):
                for count in range(50):
                    sender.publish("/t/%d" % number, count)
            for index, queue in enumerate(queues):
                got = take(queue, 50 * (len(everyone) - 1))
                for number in range(len(everyone)):
                    values = [value for topic, value in got if topic == "/t/%d" % number]
                    assert values == ([] if number == index else list(range(50)))
            # Whatever still goes round is before these.
            for number, sender in enumerate(everyone):
                sender.publish("/end/%d" % number, None)
            for queue in queues:
                ends = {topic for topic, _ in take(queue, len(everyone) - 1)}
                assert len(ends) == len(everyone) - 1 and all(it.startswith("/end/") for it in ends)
            assert all(queue.available() == 0 for queue in queues)
        finally:
            for queue in queues:
                queue.reset()

    def test_a_member_joins_two_groups_of_native_peers(self, scene, server):
        left, right = scene.endpoint(tls=False), scene.endpoint(tls=False)
        bridges = [join(scene, server) for _ in range(2)]
        for it in bridges:
            it.forward(["/t", "/reach/"])
        connect(left, bridges[0])
        connect(right, bridges[1])
        with right.make_subscriber("/t") as messages:
            reach(left, right)
            for number in range(100):
                left.publish("/t", number)
            assert [value for _, value in take(messages, 100)] == list(range(100))


class TestStrangers:
    def test_nothing_that_is_published_ends_a_peering(self, scene, server):
        sender, receiver = join(scene, server), join(scene, server)
        stranger = RawClient(server.port)
        good = b"NATS/1.0\r\n" + FORMAT + b"\r\n"
        value = bytes.fromhex("0101")
        huge = "x" * 3000
        bad = [
            ("bk.%.t", b"NATS/1.0\r\nBk-Topic: \xff\xfe\r\n" + FORMAT + b"\r\n", value),
            ("bk.%.t", b"no headers at all", value),
            ("bk.%.t", b"NATS/1.0 999 what\r\n:::\r\n\r\n", value),
            ("bk.%.t", b"", value),
            ("bk.%.t", good, b"\xff" * 100),
            ("bk.%.t", good, b""),
            ("bk.%.t", b"NATS/1.0\r\nBk-Format: json\r\n\r\n", b"{}"),
            ("bk.%.t", b"NATS/1.0\r\nBk-Topic: /other\r\n" + FORMAT + b"\r\n", value),
            ("bk.%.t", b"NATS/1.0\r\nBk-Sender: me\r\n" + FORMAT + b"\r\n", value),
            ("bk.%.t", b"NATS/1.0\r\nBk-Origin: me\r\n" + FORMAT + b"\r\n", value),
            ("bk.%.t", b"NATS/1.0\r\nBk-Batch: 2\r\n" + FORMAT + b"\r\n", value),
            ("bkb.%.t", b"NATS/1.0\r\nBk-Batch: 99999\r\n" + FORMAT + b"\r\n", value),
            ("bkb.%.t", b"NATS/1.0\r\nBk-Batch: 1\r\n" + FORMAT + b"\r\n", b"\xff\xff\xff\xff" + value),
            ("bk.%.t.%zz", good, value),
            ("bk.%.t." + huge, good, value),
            ("bk.%long." + "0" * 32, good, value),
            ("bk.%3C%24%3E.local.data.errors", good, value),
        ]
        with receiver.make_subscriber("") as messages, receiver.make_status_subscriber(True) as events:
            reach(sender, receiver)
            before = counts(receiver)
            for subject, headers, payload in bad:
                stranger.publish(subject, headers, payload)
            stranger.send(b"PUB bk.%.t 2\r\n\x01\x01\r\n")
            stranger.publish("bk.%.good", good, value).sync().close()
            topic = None
            while topic != "/good":
                topic, _ = take_one(messages)
                # The endpoint's own error events are among what comes under the empty prefix.
                assert topic == "/good" or topic.startswith(("/reach/", "<$>/local/data/errors"))
            after = counts(receiver)
            assert after["bad"] - before["bad"] == len(bad) + 1
            assert (after["connects"], after["failures"]) == (1, 0)
            error = next_event(events, broker.Error, broker.EC.InvalidMessage)
            assert "bk.%.t" in str(error)

    def test_a_server_that_is_none_is_refused_by_name(self, scene):
        with socket.create_server((LOCALHOST, 0)) as listener:
            greetings = [
                b"SSH-2.0-x\r\n",
                b'INFO {"version":"2.10.21","headers":true}\r\n',
                b'INFO {"version":"2.1.0"}\r\n',
                b'INFO {"version":"2.11.0","headers":true}\r\nGET /\r\n',
                b"",
            ]

            def serve():
                for greeting in greetings:
                    client, _ = listener.accept()
                    with client:
                        client.sendall(greeting)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(1000):
                            pass

            thread = threading.Thread(target=serve)
            thread.start()
            endpoint = scene.endpoint(tls=False)
            place = "nats://%s:%d" % listener.getsockname()
            with endpoint.make_status_subscriber(True) as events:
                for part in ["INFO", "2.10.23 or newer", "no messages with headers", "GET /", "NATS server"]:
                    assert not endpoint.peer(place, retry=0.0, timeout=DEADLINE_S)
                    error = next_event(events, broker.Error, broker.EC.PeerUnavailable)
                    assert part in str(error)
            thread.join()


class TestConnections:
    def test_a_killed_server_is_left_for_another_of_its_cluster(self, scene, cluster):
        # It is told of one server only, and learns of the others.
        sender, receiver = join(scene, cluster[0]), join(scene, cluster[1])
        with receiver.make_subscriber("/t") as messages, sender.make_status_subscriber(True) as events:
            reach(sender, receiver)
            cluster[0].kill()
            next_event(events, broker.Status, broker.SC.PeerLost)
            next_event(events, broker.Status, broker.SC.PeerAdded)
            assert counts(sender)["reconnects"] == 1
            reach(sender, receiver)
            sender.publish("/t", "still here")
            assert take_one(messages) == ("/t", "still here")
            sender.unpeer(url(cluster[0]))
            next_event(events, broker.Status, broker.SC.PeerRemoved)
            assert sender.peers() == []

    def test_messages_name_the_servers_as_the_list_of_peers_does(self, scene, server):
        sender, receiver = join(scene, server), join(scene, server)
        reach(sender, receiver)
        with receiver.make_subscriber("/t") as messages:
            # Servers learn of this subscription in their own time, too.
            wait_until(lambda: sender.publish("/t", 1) or messages.available(), "a message is there")
            message = messages.take(1)[0]
        peer, = receiver.peers()
        assert (message.value, message.peer) == (1, peer.peer.node_id())

    def test_peers_are_listed_by_their_address(self, scene, server):
        endpoint = join(scene, server)
        peer, = endpoint.peers()
        assert peer.peer.network.get().address == url(server)
        with pytest.raises(ValueError, match="no path"):
            endpoint.peer("nats://h/x")
        with pytest.raises(ValueError, match="nats://"):
            endpoint.peer("ws://h", nats={"user": "u", "password": "p"})
        with pytest.raises(ValueError, match="found `pasword`"):
            endpoint.peer("nats://h", nats={"pasword": "secret"})
        with pytest.raises(ValueError, match="to be text"):
            endpoint.peer("nats://h", nats={"token": 1})


LIMITED = """
max_payload: 1000
authorization { users: [
  { user: u, password: "right" },
  { user: mute, password: p, permissions: { publish: ["bk.>"], subscribe: { deny: "bk.%%.secret.>" } } },
  { nkey: %s },
] }
"""


@pytest.fixture(scope="module")
def keys():
    """A key of a user of NATS: public text, and the seed as text."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()

    def text(octets):
        crc = 0
        for octet in octets:
            crc ^= octet << 8
            for _ in range(8):
                crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
        return base64.b32encode(octets + crc.to_bytes(2, "little")).rstrip(b"=").decode()

    public = private.public_key().public_bytes_raw()
    return text(bytes([20 << 3]) + public), text(bytes([149, 0]) + private.private_bytes_raw())


@pytest.fixture(scope="module")
def limited(tmp_path_factory, keys):
    """A server that knows its users, and takes small messages only."""
    port = reserved_port()
    with Server(tmp_path_factory.mktemp("limited"), port, LIMITED % keys[0]) as server:
        yield server


class TestUsers:
    def test_who_may_not_is_told_so(self, scene, limited):
        endpoint = scene.endpoint(tls=False)
        with endpoint.make_status_subscriber(True) as events:
            for options, named in [
                ({"user": "u", "password": "wrong-secret"}, "`u`"),
                ({"token": "wrong-secret"}, "`the token`"),
                (None, "nobody"),
            ]:
                assert not endpoint.peer(url(limited), retry=0.0, timeout=DEADLINE_S, nats=options)
                text = str(next_event(events, broker.Error, broker.EC.PeerUnavailable))
                assert named in text and "Authorization Violation" in text
                assert "secret" not in text
        join(scene, limited, user="u", password="right")

    def test_keys_log_in(self, scene, limited, keys, tmp_path):
        path = tmp_path / "user.nk"
        path.write_text(keys[1] + "\n")
        join(scene, limited, credentials_file=path)
        path.write_text("nothing")
        endpoint = scene.endpoint(tls=False)
        with endpoint.make_status_subscriber(True) as events:
            options = {"credentials_file": path}
            assert not endpoint.peer(url(limited), retry=0.0, timeout=DEADLINE_S, nats=options)
            text = str(next_event(events, broker.Error, broker.EC.PeerUnavailable))
            assert str(path) in text and "seed" in text

    def test_a_subject_that_is_denied_is_an_error_event(self, scene, limited):
        endpoint = join(scene, limited, user="mute", password="p")
        with endpoint.make_status_subscriber(True) as events, endpoint.make_subscriber("/secret/x"):
            error = next_event(events, broker.Error, broker.EC.Unspecified)
            assert "Permissions Violation for Subscription" in str(error)
            assert counts(endpoint)["errors"] >= 1 and counts(endpoint)["peered"] == 1

    def test_a_message_that_is_too_large_is_an_error_event_with_both_numbers(self, scene, limited):
        options = {"user": "u", "password": "right"}
        sender, receiver = (join(scene, limited, **options) for _ in range(2))
        with sender.make_status_subscriber(True) as events, receiver.make_subscriber("/t") as messages:
            reach(sender, receiver)
            sender.publish("/t", "x" * 1000)
            sender.publish("/t", "small")
            assert take_one(messages) == ("/t", "small")
            text = str(next_event(events, broker.Error, broker.EC.InvalidData))
            assert "takes 1000" in text and "has 1" in text and "`/t`" in text
            assert counts(sender)["refused"] == 1

    def test_servers_with_tls_are_those_of_a_known_authority(self, scene, tmp_path):
        authority = certificates.make(tmp_path, "authority")
        identity = certificates.make(tmp_path, "localhost", authority)
        port = reserved_port()
        text = 'tls { cert_file: "%s", key_file: "%s" }' % (identity.certificate_file, identity.key_file)
        with Server(tmp_path, port, text) as server:
            place = "nats://localhost:%d" % port
            endpoint = scene.endpoint(tls=False)
            with endpoint.make_status_subscriber(True) as events:
                trusted = {"ca_file": authority.certificate_file}
                assert endpoint.peer(place, retry=0.0, timeout=DEADLINE_S, nats=trusted)
                endpoint.unpeer(place)
                assert not endpoint.peer(place, retry=0.0, timeout=DEADLINE_S)
                error = next_event(events, broker.Error, broker.EC.PeerUnavailable)
                assert "certificate" in str(error)
