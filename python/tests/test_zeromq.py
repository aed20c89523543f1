"""Zeek clusters that use ZeroMQ as peers: against proxies of libzmq as processes, and nodes of libzmq.

The cases are those that Spec: zeromq 11 lists.
"""

import json
import socket
import subprocess
import sys
import threading

import pytest

zmq = pytest.importorskip("zmq")

import broker  # noqa: E402
import peer as wire  # noqa: E402
from cluster import LOCALHOST, Node, Proxy, wait_for_node  # noqa: E402
from deadline import DEADLINE_S, take, take_one, wait_until  # noqa: E402
from recordings import outside  # noqa: E402
from scene import connect, listen  # noqa: E402

PING = wire.event("ping", wire.string("hi"), wire.count(1))


@pytest.fixture
def proxy():
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def member(scene, proxy):
    """An endpoint that is peered with the proxy."""
    return join(scene, proxy)


def join(scene, proxy, *topics, **options):
    endpoint = scene.endpoint(tls=False)
    if topics:
        endpoint.forward(topics)
    assert endpoint.peer(proxy.url, retry=1.0, timeout=DEADLINE_S, **options)
    return endpoint


def ping(*args):
    return broker.zeek.Event("ping", *args)


def counts(endpoint):
    count, = endpoint.zeromq_peer_counts().values()
    return count


def wait_for_topic(endpoint, topic):
    wait_until(lambda: topic in map(str, endpoint.peer_subscriptions()), "the subscription to %s" % topic)


def wait_for_no_topic(endpoint, topic):
    wait_until(lambda: topic not in map(str, endpoint.peer_subscriptions()), "the end of %s" % topic)


def errors_of(endpoint):
    return endpoint.make_status_subscriber(True)


def next_error(events):
    while True:
        event = take_one(events)
        if isinstance(event, broker.Error):
            return event


def next_status(events, code):
    while True:
        event = take_one(events)
        if isinstance(event, broker.Status) and event.code() == code:
            return event


class TestMessages:
    def test_events_go_both_ways(self, proxy, member):
        with Node(proxy, "/tool/") as node, member.make_subscriber("/script/") as messages:
            node.until("/script/")
            member.publish("/tool/1", ping("hi", broker.Count(1)), wait_for_subscriber=DEADLINE_S)
            topic, sender, value = node.receive()
            assert (topic, value) == ("/tool/1", PING)
            assert sender.startswith("broker_observer_")
            node.send("/script/1", PING)
            topic, data = take_one(messages)
            event = broker.zeek.Event(data)
            assert (topic, event.name(), event.args()) == ("/script/1", "ping", ["hi", broker.Count(1)])

    def test_the_bytes_are_those_of_zeek(self, proxy, member):
        with Node(proxy, "/t") as node:
            member.publish("/t", ping("hi", broker.Count(1)), wait_for_subscriber=DEADLINE_S)
            parts = node.xsub.recv_multipart()
        assert len(parts) == 4 and parts[0] == b"/t" and parts[2] == b"broker-bin-v1"
        # Spec: zeromq 3.2.
        assert parts[3].hex() == ("0e030200000000000000010200000000000000010e02050470696e67"
                                  "0e0205026869020000000000000001")

    def test_what_is_published_after_peer_arrives(self, scene, proxy):
        with Node(proxy, "/t") as node:
            for number in range(10):
                endpoint = join(scene, proxy)
                endpoint.publish("/t", ping(number))
                _, _, value = node.receive()
                assert value == wire.event("ping", wire.integer(number))
                endpoint.shutdown()

    def test_what_others_publish_after_peer_arrives(self, scene, proxy):
        with Node(proxy) as node:
            for number in range(10):
                endpoint = scene.endpoint(tls=False)
                with endpoint.make_subscriber("/t%d" % number) as messages:
                    assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
                    node.until("/t%d" % number)
                    node.send("/t%d" % number, PING)
                    assert take_one(messages)[0] == "/t%d" % number
                endpoint.shutdown()

    def test_overlapping_prefixes_bring_one_copy(self, proxy, member):
        with Node(proxy) as node, member.make_subscriber("/a") as wide, member.make_subscriber("/a/b") as narrow:
            node.until("/a")
            node.send("/a/b/c", PING)
            node.send("/a/end", PING)
            assert [topic for topic, _ in take(wide, 2)] == ["/a/b/c", "/a/end"]
            assert take_one(narrow)[0] == "/a/b/c"
            assert narrow.available() == 0

    def test_own_messages_do_not_come_back(self, proxy, member):
        with Node(proxy, "/both") as node, member.make_subscriber("/both") as messages:
            node.until("/both")
            member.publish("/both", ping("mine"), wait_for_subscriber=DEADLINE_S)
            assert node.receive()[0] == "/both"
            wait_until(lambda: counts(member)["own"] == 1, "the own message")
            node.send("/both", PING)
            event = broker.zeek.Event(take_one(messages)[1])
            assert event.args() == ["hi", broker.Count(1)]
            assert messages.available() == 0

    def test_bad_messages_are_told_once_and_end_nothing(self, proxy, member):
        with Node(proxy) as node, member.make_subscriber("/t") as messages, errors_of(member) as events:
            node.until("/t")
            for parts in ([b"/t", b"s", b"broker-bin-v1"], [b"/t", b"s", b"broker-bin-v1", b"\1\1", b""],
                          [b"/t", b"s", b"other-v1", b"\1\1"], [b"/t", b"s", b"broker-bin-v1", b"\1"],
                          [b"/t", b"s", b"broker-bin-v1", b"\1\1\0"], [b"/t"]):
                node.xpub.send_multipart(parts)
            node.send("/t", PING)
            assert take_one(messages)[0] == "/t"
            error = next_error(events)
            assert error.code() == broker.EC.InvalidMessage
            assert "a message of 3 parts" in str(error)
            wait_until(lambda: counts(member)["bad"] == 6, "the count")
            assert len(member.peers()) == 1

    def test_json_is_read_as_zeek_writes_it(self, proxy, member):
        text = (b'{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count",'
                b'"data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"ping"},'
                b'{"@data-type":"vector","data":[{"@data-type":"string","data":"a\x00\xffb"}]}]}]}')
        with Node(proxy) as node, member.make_subscriber("/t") as messages:
            node.until("/t")
            node.send("/t", text, form="broker-json-v1")
            event = broker.zeek.Event(take_one(messages)[1])
            assert event.name() == "ping"
            assert broker.zeek.Event(ping(b"a\x00\xffb").as_data()).args() == event.args()

    def test_only_events_go_to_topics_of_zeek(self, proxy, member):
        with Node(proxy, "zeek.cluster.worker", "/own") as node, errors_of(member) as events:
            wait_for_topic(member, "zeek.cluster.worker")
            member.publish("zeek.cluster.worker", "no event")
            error = next_error(events)
            assert error.code() == broker.EC.InvalidData
            assert "`zeek.cluster.worker`" in str(error) and "events only" in str(error)
            assert counts(member)["refused"] == 1
            member.publish("/own", "any value")
            assert node.receive()[::2] == ("/own", wire.string("any value"))

    def test_large_and_many_messages(self, proxy, member):
        text = "x" * 100_000
        with Node(proxy, "/t") as node:
            wait_for_topic(member, "/t")
            received = []
            reader = threading.Thread(target=lambda: received.extend(node.receive() for _ in range(300)))
            reader.start()
            for number in range(300):
                member.publish("/t", ping(number, text))
            reader.join(DEADLINE_S)
            numbers = [value.body[2].body[1].body[0].body for _, _, value in received]
            assert numbers == list(range(300))


class TestSubscriptions:
    def test_those_of_others_are_known_and_own_ones_are_not_among_them(self, proxy, member):
        with member.make_subscriber("/mine"), Node(proxy, "/first", "/both") as node:
            node.until("/mine")
            wait_for_topic(member, "/both")
            with member.make_subscriber("/both"):
                node.subscribe("/late")
                wait_for_topic(member, "/late")
                assert sorted(map(str, member.peer_subscriptions())) == ["/both", "/first", "/late"]
                node.unsubscribe("/late")
                wait_for_no_topic(member, "/late")

    def test_nothing_is_sent_that_is_wanted_by_nobody_else(self, proxy, member):
        with member.make_subscriber("/mine"), Node(proxy, "/marker") as node:
            node.until("/mine")
            wait_for_topic(member, "/marker")
            member.publish("/mine/1", ping())
            member.publish("/nobody", ping())
            member.publish("/marker", ping())
            assert node.receive()[0] == "/marker"
            assert counts(member)["sent"] == 1

    def test_a_topic_is_wanted_until_the_last_one_is_gone(self, proxy, member):
        with Node(proxy, "/t", "/end") as second:
            with Node(proxy, "/t"):
                wait_for_topic(member, "/end")
            # The first one is gone, with its connection.
            member.publish("/t", ping())
            assert second.receive()[0] == "/t"
            second.unsubscribe("/t")
            wait_for_no_topic(member, "/t")
            sent = counts(member)["sent"]
            member.publish("/t", ping())
            member.publish("/end", ping())
            assert second.receive()[0] == "/end"
            assert counts(member)["sent"] == sent + 1

    def test_publishing_can_wait_for_a_subscriber(self, proxy, member):
        with pytest.raises(TimeoutError, match="`/t`.*nothing was sent"):
            member.publish("/t", ping(), wait_for_subscriber=0.05)
        with pytest.raises(TypeError):
            member.publish("/t", ping(), to=member.node_id(), wait_for_subscriber=1)
        with Node(proxy) as node:
            # Its own subscription is that of nobody else.
            with member.make_subscriber("/t"):
                node.until("/t")
                with pytest.raises(TimeoutError):
                    member.publish("/t", ping(), wait_for_subscriber=0.05)
                later = threading.Timer(0.1, node.subscribe, ["/t"])
                later.start()
                member.publish("/t", ping(), wait_for_subscriber=DEADLINE_S)
                assert node.receive()[0] == "/t"
                later.join()

    def test_no_subscription_makes_a_node_of_an_observer(self, proxy, member):
        with Node(proxy) as node, errors_of(member) as events:
            with member.make_subscriber(["zeek.cluster.nodeid.x.", "/other"]):
                node.until("/other")
                error = next_error(events)
                assert error.code() == broker.EC.InvalidTopicKey
                assert "zeek.cluster.nodeid.x." in str(error) and "`zeek.cluster.node`" in str(error)
                assert not any("nodeid" in topic for topic in node.notices())
            with member.make_subscriber("zeek.cluster.node"):
                node.until("zeek.cluster.node")

    def test_proxies_of_zeek_7_1_tell_less(self, scene):
        with Proxy("quiet") as proxy, Node(proxy, "/both", "zeek.cluster.nodeid.zeromq_worker-1_h_1_x") as node:
            member = join(scene, proxy, "/both", "/mine")
            # It cannot be told apart whether anybody else wants what this endpoint does.
            assert sorted(map(str, member.peer_subscriptions())) == [
                "/both", "/mine", "zeek.cluster.nodeid.zeromq_worker-1_h_1_x"]
            member.publish("/both", ping())
            assert node.receive()[0] == "/both"
            found, = member.cluster_nodes()
            assert (found.name, found.id, found.kind) == ("worker-1", "zeromq_worker-1_h_1_x", "worker")


class TestPeering:
    def test_addresses_and_the_end(self, scene, proxy):
        endpoint = scene.endpoint(tls=False)
        with Node(proxy) as node, errors_of(endpoint) as events, endpoint.make_subscriber("/t"):
            assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
            node.until("/t")
            next_status(events, broker.SC.PeerAdded)
            info, = endpoint.peers()
            network = info.peer.network.get()
            assert (network.address, network.port) == (proxy.url, proxy.ports[0])
            assert [peer["transport"] for peer in endpoint.stats()["peers"]] == ["zeromq"]
            # Again is success at once.
            assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
            assert endpoint.unpeer(proxy.url)
            next_status(events, broker.SC.PeerRemoved)
            node.until_gone("/t")
            assert endpoint.peers() == []
            endpoint.peer_nosync(proxy.url)
            next_status(events, broker.SC.PeerAdded)
            node.until("/t")
        endpoint.shutdown()

    def test_ipv6(self, scene, proxy):
        if not socket.has_ipv6:
            pytest.skip("*** NOT TESTED: no IPv6 ***")
        endpoint = scene.endpoint(tls=False)
        with Node(proxy, "/t") as node:
            assert endpoint.peer(proxy.at("[::1]"), timeout=DEADLINE_S)
            endpoint.publish("/t", ping())
            assert node.receive()[0] == "/t"

    def test_a_proxy_that_comes_later_is_found(self, scene, proxy):
        proxy.kill()
        endpoint = scene.endpoint(tls=False)
        with errors_of(endpoint) as events:
            endpoint.peer_nosync(proxy.url, retry=1.0)
            assert next_error(events).code() == broker.EC.PeerUnavailable
            proxy.start()
            next_status(events, broker.SC.PeerAdded)

    def test_a_proxy_that_is_killed_under_load_is_found_again(self, scene, proxy):
        member = join(scene, proxy)
        stop = threading.Event()

        def publish():
            number = 0
            while not stop.is_set():
                member.publish("/load", ping(number))
                number += 1

        def read(node):
            # Always: a reader that stops would stop the proxy.
            while not stop.is_set():
                if node.xsub.poll(100):
                    node.xsub.recv_multipart()

        with errors_of(member) as events, Node(proxy, "/load") as sink, Node(proxy, "/marker") as node, \
                member.make_subscriber("/back") as messages:
            wait_for_topic(member, "/load")
            threads = [threading.Thread(target=publish), threading.Thread(target=read, args=[sink])]
            for thread in threads:
                thread.start()
            try:
                for round_ in range(3):
                    proxy.kill()
                    next_status(events, broker.SC.PeerLost)
                    assert member.peer_subscriptions() == []
                    proxy.start()
                    next_status(events, broker.SC.PeerAdded)
                    # Sockets of libzmq subscribe again within calls only.
                    wait_until(lambda: node.drain() and {"/load", "/marker"} <= set(
                        map(str, member.peer_subscriptions())), "the subscriptions of the nodes")
                    member.publish("/marker", ping(round_))
                    assert node.receive()[::2] == ("/marker", wire.event("ping", wire.integer(round_)))
                    node.send("/back", PING)
                    assert take_one(messages)[0] == "/back"
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert counts(member)["reconnects"] == 3

    @pytest.mark.parametrize("url", ["zmq://", "zmq://h/path", "zmq://h:1?xsub=1", "zmq://h?x=1", "zmq://h:0"])
    def test_urls_that_make_no_sense(self, endpoint, url):
        with pytest.raises(ValueError, match="no address of a peer"):
            endpoint.peer(url)

    def test_arguments_that_make_no_sense(self, endpoint):
        for keywords in [{"membership": "boss"}, {"membership": "node"}, {"name": "proxy-1"},
                         {"membership": "node", "name": ""}, {"curve": {"server": "x"}},
                         {"curve": {"server_publickey": "too short"}}, {"curve": {"client_secretkey": "0" * 40}},
                         {"curve": 7}, {"curve": "/nonexistent"}]:
            for peer in (endpoint.peer, endpoint.peer_nosync):
                with pytest.raises((ValueError, TypeError, broker.BrokerError)) as raised:
                    peer("zmq://127.0.0.1:1", **keywords)
                assert "0" * 40 not in str(raised.value)
        with pytest.raises(ValueError, match="`zmq://`"):
            endpoint.peer("127.0.0.1", 1, unify_topics=True)


class TestWrongPlaces:
    """Whoever peers with something else learns what it is."""

    def refused(self, scene, url, **options):
        endpoint = scene.endpoint(tls=False)
        with errors_of(endpoint) as events:
            assert not endpoint.peer(url, retry=0.0, timeout=DEADLINE_S, **options)
            return str(next_error(events))

    def test_ports_the_other_way_round(self, scene, proxy):
        xpub, xsub = proxy.ports
        text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, xsub, xpub))
        assert "the other port of the proxy" in text or "the other way round" in text

    def test_a_native_port(self, scene, proxy):
        native = scene.endpoint(tls=False)
        port = listen(native)
        text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, port, proxy.ports[1]))
        assert "native Broker" in text and "XPUB" in text

    def test_tls(self, scene, proxy):
        native = scene.endpoint()
        port = listen(native)
        text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, proxy.ports[0], port))
        assert "XSUB" in text and ("TLS" in text or "native Broker" in text)

    def test_http(self, scene, proxy):
        web = scene.endpoint(tls=False)
        port = web.listen_ws(LOCALHOST, 0)
        text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, port, proxy.ports[1]))
        assert "HTTP" in text or "no ZeroMQ greeting" in text

    def test_nobody(self, scene, proxy):
        proxy.kill()
        text = self.refused(scene, proxy.url)
        assert "port %d" % proxy.ports[0] in text

    def test_no_xsub(self, scene, proxy):
        with socket.socket() as unused:
            unused.bind((LOCALHOST, 0))
            port = unused.getsockname()[1]
            text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, proxy.ports[0], port))
        assert "the proxy's XSUB, port %d" % port in text and "?xsub=PORT" in text

    def test_two_proxies(self, scene, proxy):
        # Both are proxies, but not the same one: nothing comes back.
        with Proxy("stuck") as other:
            text = self.refused(scene, "zmq://%s:%d?xsub=%d" % (LOCALHOST, proxy.ports[0], other.ports[1]))
        assert "connected but never ready" in text and "two proxies" in text


class TestKeys:
    @pytest.fixture
    def keys(self):
        server, client = zmq.curve_keypair(), zmq.curve_keypair()
        return {"server_publickey": server[0].decode(), "server_secretkey": server[1].decode(),
                "client_publickey": client[0].decode(), "client_secretkey": client[1].decode()}

    @pytest.fixture
    def encrypted(self, keys):
        with Proxy("curve", keys["server_secretkey"], keys["client_publickey"]) as proxy:
            yield proxy

    def test_the_right_ones(self, scene, encrypted, keys):
        shared = {name: key for name, key in keys.items() if name != "server_secretkey"}
        member = join(scene, encrypted, "/back", curve=shared)
        with Node(encrypted, "/t", keys=keys) as node, member.make_subscriber("/back") as messages:
            member.publish("/t", ping("x" * 1000), wait_for_subscriber=DEADLINE_S)
            assert node.receive()[0] == "/t"
            node.send("/back", PING)
            assert take_one(messages)[0] == "/back"

    def test_those_of_the_environment_of_files_and_of_the_command(
            self, scene, encrypted, keys, tmp_path, monkeypatch):
        for name, key in keys.items():
            (tmp_path / name).write_text(key + "\n")
            (tmp_path / name).chmod(0o600)
        member = join(scene, encrypted, curve=tmp_path)
        with member.make_subscriber("/tool") as messages:
            # Keys never stand on a command line.
            command = [sys.executable, "-m", "broker", "pub", "/tool", "--event", "ping", "hi",
                       "--wait-for-subscriber", "-u", encrypted.url, "--curve", str(tmp_path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
            assert done.returncode == 0, done
            assert broker.zeek.Event(take_one(messages)[1]).args() == ["hi"]
            assert not any(key in done.stdout + done.stderr for key in keys.values())
        for name, key in keys.items():
            monkeypatch.setenv("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_" + name.upper(), key)
        join(scene, encrypted)
        endpoint = scene.endpoint(tls=False)
        assert not endpoint.peer(encrypted.url, retry=0.0, timeout=DEADLINE_S, curve=False)
        monkeypatch.delenv("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY")
        with pytest.raises(broker.BrokerError, match="CURVE_SERVER_PUBLICKEY` is missing"):
            endpoint.peer(encrypted.url)

    @pytest.mark.parametrize("wrong, text", [
        ("client", "the server refused the CURVE client key given here"),
        ("server", "the server has another CURVE key"),
        ("none", "encrypted with CURVE: give the keys of the cluster"),
    ])
    def test_the_wrong_ones(self, scene, encrypted, keys, wrong, text):
        curve = {name: key for name, key in keys.items() if name != "server_secretkey"}
        public, secret = (key.decode() for key in zmq.curve_keypair())
        if wrong == "client":
            curve.update(client_publickey=public, client_secretkey=secret)
        elif wrong == "server":
            curve.update(server_publickey=public)
        endpoint = scene.endpoint(tls=False)
        with errors_of(endpoint) as events:
            options = {} if wrong == "none" else {"curve": curve}
            assert not endpoint.peer(encrypted.url, retry=0.0, timeout=DEADLINE_S, **options)
            error = str(next_error(events))
        assert text in error
        assert not any(key in error for key in [*keys.values(), secret])

    def test_keys_where_there_is_no_encryption(self, scene, proxy, keys):
        endpoint = scene.endpoint(tls=False)
        del keys["server_secretkey"]
        with errors_of(endpoint) as events:
            assert not endpoint.peer(proxy.url, retry=0.0, timeout=DEADLINE_S, curve=keys)
            assert "not encrypted, but CURVE keys are given here" in str(next_error(events))


class TestMembers:
    HELLO, UP = "Cluster::Backend::ZeroMQ::hello", "Cluster::hello"

    def test_observers_see_nodes(self, proxy, member):
        with errors_of(member) as events:
            with Node(proxy, name="worker-1") as node:
                node.subscribe("zeek.cluster.nodeid.%s." % node.id)
                found = wait_for_node(member, "worker-1")
                assert (found.id, found.kind, found.state) == (node.id, "worker", "seen")
                assert "`worker-1` is up" in str(next_status(events, broker.SC.EndpointDiscovered))
                # An observer says nothing, and is subscribed to nothing that could be taken for a node.
                assert not any("nodeid" in topic for topic in node.notices() if node.id not in topic)
            gone = next_status(events, broker.SC.EndpointUnreachable)
            assert node.id in str(gone)
            wait_until(lambda: member.cluster_nodes() == [], "the end of the node")

    def test_a_node_says_hello_as_zeek_does(self, scene, proxy):
        with Node(proxy, name="manager") as node:
            own = "zeek.cluster.nodeid.%s." % node.id
            node.subscribe(own)
            member = join(scene, proxy, membership="node", name="proxy-1")
            # In Zeek's spelling, with the id of this endpoint.
            for topic in ("zeek.cluster.pool.proxy", "zeek.cluster.proxy", "zeek.cluster.node.proxy-1."):
                node.until(topic)
            topic, identity, value = node.receive()
            assert (topic, value) == (own, self.hello(self.HELLO, "proxy-1", identity))
            assert identity.startswith("broker_proxy-1_")
            theirs = "zeek.cluster.nodeid.%s." % identity
            node.until(theirs)
            # Nothing more before the node says hello itself.
            node.send(theirs, self.hello(self.HELLO, "manager", node.id))
            topic, _, value = node.receive()
            assert (topic, value) == (own, self.hello(self.UP, "proxy-1", identity))
            with errors_of(member) as events:
                node.send(theirs, self.hello(self.UP, "manager", node.id))
                assert "`manager` is up" in str(next_status(events, broker.SC.EndpointDiscovered))
                found, = member.cluster_nodes()
                assert (found.name, found.state) == ("manager", "up")
                # What goes to its kind and its pool arrives.
                with member.make_subscriber("zeek.cluster.") as messages:
                    node.send("zeek.cluster.pool.proxy", PING)
                    node.send("zeek.cluster.node.proxy-1.x", PING)
                    topics = [topic for topic, _ in take(messages, 2)]
                    assert topics == ["zeek.cluster.pool.proxy", "zeek.cluster.node.proxy-1.x"]
            member.shutdown()
            node.until_gone(theirs)

    def test_two_of_ours_are_nodes_of_each_other(self, scene, proxy):
        first = join(scene, proxy, membership="node", name="proxy-1")
        second = join(scene, proxy, membership="node", name="worker-1")
        for endpoint, name in ((first, "worker-1"), (second, "proxy-1")):
            wait_until(lambda: [(node.name, node.state) for node in endpoint.cluster_nodes()] == [(name, "up")],
                       "%s" % name)

    def hello(self, kind, name, identity):
        return wire.event(kind, wire.string(name), wire.string(identity))


class TestTopics:
    def test_both_spellings(self):
        topics = broker.zeek.topics
        assert topics("worker") == "zeek.cluster.worker"
        assert topics("worker", backend="broker") == "zeek/cluster/worker"
        assert topics("proxy", pool=True) == "zeek.cluster.pool.proxy"
        assert topics(node="worker-1") == "zeek.cluster.node.worker-1."
        assert topics(node="worker-1", backend="broker") == "zeek/cluster/node/worker-1/"
        for arguments in [{}, {"kind": "boss"}, {"kind": "worker", "node": "x"}, {"kind": "manager", "pool": True},
                          {"kind": "worker", "backend": "nats"}]:
            with pytest.raises(ValueError):
                topics(**arguments)

    def test_one_spelling_for_both_on_request(self, scene, proxy):
        member = join(scene, proxy, "zeek/cluster/manager", unify_topics=True)
        with Node(proxy, "zeek.cluster.worker", "zeek.cluster.node.worker-1.") as node, \
                member.make_subscriber("zeek/cluster/manager") as messages:
            node.until("zeek.cluster.manager")
            for topic, expected in [("zeek/cluster/worker", "zeek.cluster.worker"),
                                    ("zeek/cluster/node/worker-1/", "zeek.cluster.node.worker-1."),
                                    ("zeek.cluster.worker", "zeek.cluster.worker")]:
                member.publish(topic, ping(), wait_for_subscriber=DEADLINE_S)
                assert node.receive()[0] == expected
            node.send("zeek.cluster.manager", PING)
            assert take_one(messages)[0] == "zeek/cluster/manager"

    def test_spellings_differ_without_a_request(self, proxy, member):
        with Node(proxy, "zeek.cluster.worker", "/end") as node:
            wait_for_topic(member, "/end")
            member.publish("zeek/cluster/worker", ping())
            member.publish("/end", ping())
            assert node.receive()[0] == "/end"


class TestOtherPeers:
    def test_native_peers_are_forwarded_to_and_from_without_loops(self, scene, proxy):
        bridge, outside = scene.endpoint(tls=False), scene.endpoint(tls=False)
        connect(outside, bridge)
        bridge.forward(["/in", "/out"])
        assert bridge.peer(proxy.url, timeout=DEADLINE_S)
        with Node(proxy, "/out") as node, outside.make_subscriber("/in") as messages:
            node.until("/in")
            wait_for_topic(bridge, "/in")
            outside.publish("/out", ping("once"), wait_for_subscriber=DEADLINE_S)
            assert node.receive()[0] == "/out"
            node.send("/in", PING)
            node.send("/in", wire.event("last"))
            names = [broker.zeek.Event(data).name() for _, data in take(messages, 2)]
            assert names == ["ping", "last"]
            assert counts(bridge)["received"] == 2
            assert node.xsub.poll(0) == 0

    def test_members_that_are_native_peers_pass_nothing_round(self, scene, proxy):
        first, second = scene.endpoint(tls=False), scene.endpoint(tls=False)
        connect(first, second)
        for endpoint in (first, second):
            endpoint.forward(["/t", "/end"])
            assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
        with Node(proxy, "/t", "/end") as node:
            for endpoint in (first, second):
                wait_for_topic(endpoint, "/end")
            node.send("/t", PING)
            # Each passes it to the other, which passes it to the cluster, once.
            assert [node.receive()[0] for _ in range(3)] == ["/t"] * 3
            wait_until(lambda: all(counts(endpoint)["own"] == 2 for endpoint in (first, second)),
                       "both copies at both")
            for endpoint in (first, second):
                assert counts(endpoint)["sent"] == counts(endpoint)["received"] == 1
            first.publish("/end", ping())
            assert node.receive()[0] == "/end"

    def test_what_endpoints_send_is_not_passed_on(self, scene, proxy):
        sender, bridge, outside = (scene.endpoint(tls=False) for _ in range(3))
        connect(outside, bridge)
        bridge.forward(["/t"])
        for endpoint in (sender, bridge):
            assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
        with Node(proxy) as node, bridge.make_subscriber("/t") as here, outside.make_subscriber("/t") as there:
            sender.publish("/t", ping("endpoint"), wait_for_subscriber=DEADLINE_S)
            assert broker.zeek.Event(take_one(here)[1]).args() == ["endpoint"]
            node.send("/t", PING)
            assert broker.zeek.Event(take_one(there)[1]).args() == ["hi", broker.Count(1)]
            assert there.available() == 0

    def test_stores_do_not_reach_through(self, scene, proxy):
        member = join(scene, proxy)
        with Node(proxy) as node:
            with pytest.raises(broker.StoreError):
                member.attach_clone("store")
            assert not any("<$>" in topic for topic in node.notices())

    def test_numbers(self, proxy, member):
        with Node(proxy, "/t") as node:
            member.publish("/t", ping(), wait_for_subscriber=DEADLINE_S)
            node.receive()
        assert member.zeromq_peer_counts() == {proxy.url: {
            "peered": 1, "connects": 1, "reconnects": 0, "received": 0, "sent": 1, "own": 0, "bad": 0,
            "refused": 0, "dropped": 0, "failures": 0}}
        member.unpeer(proxy.url)
        wait_until(lambda: counts(member)["peered"] == 0, "the end of the peering")


class TestCommand:
    def run(self, *words):
        command = [sys.executable, "-m", "broker", *words]
        return subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def test_it_publishes_and_subscribes(self, proxy):
        with Node(proxy, "/t") as node:
            with self.run("pub", "/t", "5c", "-u", proxy.url) as program:
                assert node.receive()[::2] == ("/t", wire.count(5))
                assert program.wait(DEADLINE_S) == 0, program.stderr.read()
            with self.run("sub", "/back", "--count", "1", "--json", "-u", proxy.url) as program:
                node.until("/back")
                node.send("/back/1", PING)
                line = json.loads(program.stdout.readline())
                assert line["topic"] == "/back/1"
                assert program.wait(DEADLINE_S) == 0

    def test_it_says_what_is_wrong(self, proxy):
        xpub, xsub = proxy.ports
        url = "zmq://%s:%d?xsub=%d" % (LOCALHOST, xsub, xpub)
        with self.run("pub", "/t", "1", "-u", url) as program:
            assert "the other port of the proxy" in program.stderr.read()
            assert program.wait(DEADLINE_S) != 0
        with self.run("doctor", proxy.url) as program:
            output = program.stdout.read()
            assert "ZeroMQ" in output, (output, program.stderr.read())


def value_of(frames):
    """The value of a recorded message, if it has one in its format."""
    if frames[2] != b"broker-bin-v1":
        return None
    try:
        return wire.decode(frames[3])
    except Exception:
        return None


class TestRecordings:
    """What a real cluster of Zeek 8.0.10 said, said again by a node of libzmq."""

    @pytest.fixture
    def sessions(self):
        return json.loads(outside("zeek", "zeek-zeromq.json").read_text())["sessions"]

    def replay(self, scene, session):
        """The values that arrive, by topic, and the nodes with the states they came to."""
        said = [message for message in session["messages"] if message.get("dir") == "cluster->recorder"]
        expected = []
        with Proxy() as proxy, Node(proxy) as node:
            endpoint = scene.endpoint(tls=False)
            with endpoint.make_subscriber("z") as messages:
                assert endpoint.peer(proxy.url, timeout=DEADLINE_S)
                node.until("z")
                nodes = {}
                for message in said:
                    frames = [bytes.fromhex(frame) for frame in message["frames"]]
                    if message["socket"] == "XSUB":
                        node.xpub.send_multipart(frames)
                        if len(frames) == 4 and frames[2] in (b"broker-bin-v1", b"broker-json-v1"):
                            expected.append((frames[0].decode(), frames))
                        continue
                    # The notices of others; the recorder's own is among them.
                    topic = frames[0][1:].decode()
                    if topic == "z":
                        continue
                    (node.subscribe if frames[0][:1] == b"\1" else node.unsubscribe)(topic)
                    if "nodeid" in topic and frames[0][:1] == b"\1":
                        # As the cluster waits for it: a notice comes before what is said because of it.
                        wait_until(lambda: any(topic.endswith(known.id + ".") for known in endpoint.cluster_nodes()),
                                   "the node of %s" % topic)
                    nodes.update({known.id: known for known in endpoint.cluster_nodes()})
                node.send("z.end", PING)
                received = []
                while not received or received[-1][0] != "z.end":
                    received.append(take_one(messages))
                received.pop()
                nodes.update({known.id: known for known in endpoint.cluster_nodes()})
        return expected, received, nodes

    def test_events_and_nodes(self, scene, sessions):
        expected, received, nodes = self.replay(scene, sessions[0])
        values = [(topic, value_of(frames)) for topic, frames in expected]
        values = [(topic, value) for topic, value in values if value is not None]
        # Those that have no value were counted; all others came, in order.
        assert len(received) == len(values) > 40
        assert [topic for topic, _ in received] == [topic for topic, _ in values]
        names = {(node.name, node.kind) for node in nodes.values()}
        assert {("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")} <= names
        for (_, data), (_, value) in zip(received, values):
            event = broker.zeek.Event(data)
            if event.valid():
                assert event.name().encode() == value.body[2].body[0].body

    def test_json(self, scene, sessions):
        session, = (session for session in sessions if session["title"].startswith("JSON events"))
        expected, received, _ = self.replay(scene, session)
        assert [topic for topic, _ in received] == [topic for topic, _ in expected]
        events = [broker.zeek.Event(data) for _, data in received]
        assert all(event.valid() for event in events)
        assert "Cluster::hello" in {event.name() for event in events}


class TestSlowReaders:
    """Spec: zeromq 6.1. One reader that stops would stop everybody's events."""

    # More than a queue of this endpoint has room for, which is 64 MiB.
    MESSAGES, SIZE = 1600, 65536

    def test_an_application_that_does_not_read_stops_nobody(self, proxy, member):
        message = wire.event("ping", wire.string("x" * self.SIZE))
        with Node(proxy) as publisher, Node(proxy, "/t") as reader, errors_of(member) as events, \
                member.make_subscriber("/t") as stopped, member.make_subscriber("/end") as quick:
            publisher.until("/end")
            received = []
            thread = threading.Thread(
                target=lambda: received.extend(reader.receive()[0] for _ in range(self.MESSAGES)))
            thread.start()
            for _ in range(self.MESSAGES):
                publisher.send("/t", message)
            publisher.send("/end", PING)
            thread.join(DEADLINE_S)
            assert len(received) == self.MESSAGES
            assert take_one(quick)[0] == "/end"
            lost = next_error(events)
            assert lost.code() == broker.EC.MessagesLost
            dropped = counts(member)["dropped"]
            assert 0 < dropped < self.MESSAGES
            take(stopped, self.MESSAGES - dropped)
            assert stopped.available() == 0
            assert len(member.peers()) == 1

    def test_the_doctor_knows_a_proxy_that_stands_still(self, proxy):
        with Node(proxy, "/t", receive_buffer=4096), Node(proxy) as node:
            # It does not read; once this one cannot send any more, the proxy does not pass on.
            node.until("/t")
            node.xpub.sndtimeo = 2000
            with pytest.raises(zmq.Again):
                while True:
                    node.send("/t", b"x" * 4096)
            command = [sys.executable, "-m", "broker", "doctor", proxy.url, "--timeout", "2s", "--json"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        finding = [it for it in findings if it.get("code") == "zeromq-stands-still"][0]
        assert (done.returncode, finding["step"]) == (4, "flow"), done
        assert "never ready" in finding["text"] and "listen_xpub_nodrop = F" in str(finding), finding

    def test_a_proxy_that_somebody_stops_is_found_again(self, scene, proxy):
        member = join(scene, proxy)
        message, stop = ping("x" * self.SIZE), threading.Event()

        def publish():
            while not stop.is_set():
                member.publish("/t", message)

        with errors_of(member) as events:
            with Node(proxy, "/t", receive_buffer=4096):
                # It does not read, so the proxy takes nothing any more, and what waits here has no room.
                publisher = threading.Thread(target=publish)
                publisher.start()
                try:
                    next_status(events, broker.SC.PeerLost)
                finally:
                    stop.set()
                    publisher.join()
            next_status(events, broker.SC.PeerAdded)
            with Node(proxy, "/end") as node:
                member.publish("/end", ping(), wait_for_subscriber=DEADLINE_S)
                assert node.receive()[0] == "/end"
