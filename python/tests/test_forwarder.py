"""A forwarder of this package between sockets of libzmq, each in a process of its own."""

import collections

import pytest

pytest.importorskip("zmq")

import broker  # noqa: E402
import peer as wire  # noqa: E402
from cluster import LOCALHOST, Node  # noqa: E402
from deadline import DEADLINE_S, take_one, wait_until  # noqa: E402
from process import Program  # noqa: E402

# Parts of every form of length.
EVENT = [b"topic/event", b"", b"broker-bin-v1", b"x" * 255, 70_000]
END = [b"topic/end"]
# Enough for the buffers of the system and of libzmq, and 64 KiB of the forwarder's.
BURST, BURST_BYTES = 400, 32 << 10


class Socket(Program):
    """A socket of libzmq that is connected to a port of a forwarder."""

    def __init__(self, kind, port, **options):
        super().__init__("zmq_socket.py", kind, port, *("%s=%s" % option for option in options.items()))
        self.expect("started")

    def say(self, command, *parts):
        """A part is bytes, or the number of its bytes."""
        self.tell(" ".join([command, *("x*%d" % it if isinstance(it, int) else it.hex() or "-" for it in parts)]))

    def got(self):
        word, *parts = self.line().split()
        assert word == "got", self.output
        return [b"" if part == "-" else bytes.fromhex(part) for part in parts]

    def next(self, *topics):
        """The next message that is none of a repeated one."""
        while True:
            parts = self.got()
            if parts[0] not in topics:
                return parts


class Sockets:
    """Sockets around a forwarder, all ended with it."""

    def __init__(self, forwarder):
        self.forwarder, self.open = forwarder, []

    def add(self, kind, keys=None, **options):
        port = self.forwarder.xpub_port if kind in ("SUB", "XSUB") else self.forwarder.xsub_port
        if keys is not None:
            options.update(server=keys.server, public=keys.public, secret=keys.secret)
        socket = Socket(kind, port, **options)
        self.open.append(socket)
        return socket

    def wait_for(self, **expected):
        def found():
            stats = self.forwarder.stats()
            return all(stats[name] == number for name, number in expected.items())
        wait_until(found, "%s of %s" % (expected, self.forwarder.stats()))

    def connection(self, side, number=0):
        found = [it for it in self.forwarder.connections() if it.side == side]
        return found[number] if number < len(found) else None


@pytest.fixture
def around():
    """Makes the sockets around a forwarder."""
    made = []

    def make(curve=False, **options):
        options = {"xpub": "tcp://127.0.0.1:0", "xsub": "tcp://127.0.0.1:0", **options}
        made.append(Sockets(broker.zeek.Forwarder(curve=curve, **options)))
        return made[-1]

    yield make
    for sockets in made:
        for socket in sockets.open:
            socket.__exit__()
        sockets.forwarder.close()


Keys = collections.namedtuple("Keys", "server public secret")


class Server:
    """The keys of a server, and of clients that know it."""

    def __init__(self):
        self.public, self.secret = broker.zeek.generate_curve_keypair()
        self.curve = {"server_publickey": self.public, "server_secretkey": self.secret}

    def client(self):
        return Keys(self.public, *broker.zeek.generate_curve_keypair())


def short(parts):
    """What is shown of a message."""
    return [b"x" * 64 if isinstance(part, int) else part[:64] for part in parts]


class TestMessages:
    @pytest.mark.parametrize("encrypted", [False, True], ids=["null", "curve"])
    @pytest.mark.parametrize("publishes, subscribes", [("XPUB", "XSUB"), ("PUB", "SUB")])
    def test_messages_pass_in_order(self, around, publishes, subscribes, encrypted):
        server = Server()
        keys = server.client() if encrypted else None
        sockets = around(server.curve, clients=[keys.public]) if encrypted else around()
        subscriber = sockets.add(subscribes, keys)
        subscriber.say("subscribe", b"topic/")
        publisher = sockets.add(publishes, keys)
        # A PUB does not say when it knows the subscription.
        publisher.say("repeat", b"topic/probe")
        assert subscriber.got() == [b"topic/probe"]
        for number in range(20):
            publisher.say("send", b"unwanted", b"%d" % number)
            publisher.say("send", b"topic/%d" % number, *EVENT[1:])
        publisher.say("send", *END)
        for number in range(20):
            assert subscriber.next(b"topic/probe") == short([b"topic/%d" % number, *EVENT[1:]])
        assert subscriber.got() == END
        # What is not wanted does not even leave the publisher.
        stats = sockets.forwarder.stats()
        assert (stats["unwanted"], stats["dropped"], stats["refused"]) == (0, 0, 0)
        connection = sockets.connection("subscriber")
        assert connection.key == (keys.public if encrypted else None)
        assert (connection.messages, connection.dropped) == (stats["messages"], 0)

    def test_prefixes_that_overlap_bring_one_copy_to_each(self, around):
        sockets = around()
        both = sockets.add("XSUB"), sockets.add("SUB")
        for subscriber in both:
            for prefix in (b"topic/", b"topic/e", b""):
                subscriber.say("subscribe", prefix)
        publisher = sockets.add("XPUB")
        sockets.wait_for(subscriptions=6)
        wanted = set()
        while wanted < {b"\1topic/", b"\1topic/e", b"\1"}:
            wanted.update(publisher.got())
        publisher.say("send", *EVENT)
        publisher.say("send", *END)
        for subscriber in both:
            assert [subscriber.got(), subscriber.got()] == [short(EVENT), END]

    def test_an_endpoint_and_a_node_of_libzmq_meet(self, around):
        sockets = around()
        ports = sockets.forwarder.xpub_port, sockets.forwarder.xsub_port
        at = collections.namedtuple("At", "ports")(ports)
        with broker.Endpoint() as endpoint, endpoint.make_subscriber("/script/") as messages:
            assert endpoint.peer("zmq://%s:%d?xsub=%d" % (LOCALHOST, *ports), retry=1.0, timeout=DEADLINE_S)
            with Node(at, "/tool/") as node:
                node.until("/script/")
                event = broker.zeek.Event("ping", "hi", broker.Count(1))
                endpoint.publish("/tool/1", event, wait_for_subscriber=DEADLINE_S)
                value = wire.event("ping", wire.string("hi"), wire.count(1))
                topic, _, received = node.receive()
                assert (topic, received) == ("/tool/1", value)
                node.send("/script/1", value)
                topic, data = take_one(messages)
                assert (topic, broker.zeek.Event(data).name()) == ("/script/1", "ping")


class TestSubscriptions:
    def test_both_forms_are_told_and_unsubscriptions(self, around):
        sockets = around()
        publisher = sockets.add("XPUB")
        # Stored before there is a connection, libzmq sends it as a command.
        subscriber = sockets.add("SUB", subscribe=b"stored".hex())
        assert publisher.got() == [b"\1stored"]
        subscriber.say("subscribe", b"later")
        assert publisher.got() == [b"\1later"]
        by_message = sockets.add("XSUB")
        by_message.say("subscribe", b"stored")
        # As XPUB_VERBOSER has it: again, though it is known.
        assert publisher.got() == [b"\1stored"]
        for socket, prefix in [(subscriber, b"later"), (by_message, b"stored"), (subscriber, b"stored")]:
            socket.say("unsubscribe", prefix)
        assert publisher.got() == [b"\0later"]
        assert publisher.got() == [b"\0stored"]
        sockets.wait_for(subscriptions=0)
        publisher.say("send", b"stored")
        by_message.say("subscribe", b"mark")
        assert publisher.got() == [b"\1mark"]
        publisher.say("send", b"mark")
        assert by_message.got() == [b"mark"]

    def test_a_publisher_that_comes_later_is_told_and_ends_are_withdrawn(self, around):
        sockets = around()
        subscriber, other = sockets.add("SUB"), sockets.add("XSUB")
        subscriber.say("subscribe", b"one")
        other.say("subscribe", b"two")
        sockets.wait_for(subscriptions=2)
        publisher = sockets.add("XPUB")
        assert sorted([publisher.got(), publisher.got()]) == [[b"\1one"], [b"\1two"]]
        # A process that is killed says nothing.
        other.__exit__()
        assert publisher.got() == [b"\0two"]
        sockets.wait_for(connections=2, subscriptions=1)

    def test_both_sides_come_back_to_a_forwarder_that_was_restarted(self, around):
        first = around()
        ports = {name: "tcp://127.0.0.1:%d" % getattr(first.forwarder, name + "_port") for name in ("xpub", "xsub")}
        subscriber, publisher = first.add("SUB"), first.add("XPUB")
        subscriber.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        first.forwarder.close()

        def restarted():
            try:
                return around(**ports)
            except broker.BrokerError:
                # Not released yet.
                return None

        second = wait_until(restarted, "a forwarder on the same ports")
        second.wait_for(connections=2, subscriptions=1)
        publisher.say("repeat", *END)
        assert subscriber.got() == END


class TestSlowSubscribers:
    def test_one_that_does_not_read_loses_and_no_other_waits(self, around):
        sockets = around(queue_bytes=64 << 10)
        slow, quick = sockets.add("SUB", receive_buffer=4096), sockets.add("XSUB")
        publisher = sockets.add("XPUB")
        slow.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        slow.say("rest")
        slow.expect("resting")
        quick.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        # One after the other, so that the one that reads has room for each.
        for number in range(BURST):
            publisher.say("send", b"topic/%d" % number, BURST_BYTES)
            assert quick.got()[0] == b"topic/%d" % number
        lost, kept = sockets.connection("subscriber", 0), sockets.connection("subscriber", 1)
        assert kept.dropped == 0 and kept.messages >= BURST - 1
        assert 0 < lost.dropped < BURST
        assert lost.waiting > 0 and lost.waiting_bytes <= 64 << 10
        assert sockets.forwarder.stats()["dropped"] == lost.dropped
        # It gets what it has room for, and once it reads again everything that is new.
        slow.say("read")
        wait_until(lambda: sockets.connection("subscriber", 0).waiting == 0, "what waits is read")
        publisher.say("send", *END)
        numbers = []
        for topic, *_ in iter(slow.got, END):
            numbers.append(int(topic.partition(b"/")[2]))
        assert numbers == sorted(set(numbers))
        assert len(numbers) == BURST - lost.dropped
        # The count stays when it goes.
        slow.__exit__()
        sockets.wait_for(connections=2, dropped=lost.dropped)


    def test_what_waits_for_all_together_is_bounded(self, around):
        # Four queues of 1 MiB, and a quarter of that in all.
        sockets = around(queue_bytes=1 << 20, total_bytes=1 << 20)
        topics = [b"a", b"b", b"c", b"d"]
        publisher = sockets.add("XPUB")
        for topic in topics:
            slow = sockets.add("SUB", receive_buffer=4096)
            slow.say("subscribe", topic)
            assert publisher.got() == [b"\1" + topic]
            slow.say("rest")
            slow.expect("resting")

        def subscribers():
            return [it for it in sockets.forwarder.connections() if it.side == "subscriber"]

        while not all(it.dropped for it in subscribers()):
            for topic in topics:
                publisher.say("send", topic, BURST_BYTES)
        for connection in subscribers():
            assert connection.waiting_bytes <= (1 << 20) // len(topics)


class TestKeys:
    def test_keys_of_the_list_are_let_in_and_no_other(self, around):
        server = Server()
        first, second, third = (server.client() for _ in range(3))
        sockets = around(server.curve, clients=[first.public, second.public])
        subscriber, publisher = sockets.add("SUB", first), sockets.add("XPUB", second)
        subscriber.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        stranger, without = sockets.add("SUB", third), sockets.add("SUB")
        for socket in (stranger, without):
            socket.say("subscribe", b"")
        # libzmq ends after the answer 400, and tries for ever without keys.
        wait_until(lambda: sockets.forwarder.stats()["refused"] >= 2, "both are refused")
        publisher.say("send", *END)
        assert subscriber.got() == END
        assert {it.key for it in sockets.forwarder.connections()} == {first.public, second.public}
        assert sockets.forwarder.stats()["subscriptions"] == 1

    def test_a_key_of_the_cluster_is_let_in_beside_the_list(self, around):
        server = Server()
        cluster, other = server.client(), server.client()
        curve = dict(server.curve, client_publickey=cluster.public)
        sockets = around(curve, clients=[other.public])
        for keys in (cluster, other):
            sockets.add("SUB", keys)
        sockets.wait_for(connections=2, refused=0)

    def test_a_key_that_is_taken_off_the_list_is_cut_off(self, around):
        server = Server()
        stays, goes = server.client(), server.client()
        sockets = around(server.curve, clients=[stays.public, goes.public])
        subscriber, publisher = sockets.add("SUB", stays), sockets.add("XPUB", stays)
        withdrawn = sockets.add("XSUB", goes)
        withdrawn.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        subscriber.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        sockets.forwarder.set_keys(curve=server.curve, clients=[stays.public])
        # It tries again, and is refused.
        wait_until(lambda: sockets.forwarder.stats()["refused"], "it is refused")
        sockets.wait_for(connections=2, subscriptions=1)
        publisher.say("send", *END)
        assert subscriber.got() == END
        # Incomplete keys change nothing.
        with pytest.raises(broker.BrokerError, match="`client_publickey` is missing"):
            sockets.forwarder.set_keys(curve=server.curve)
        publisher.say("send", *END)
        assert subscriber.got() == END

    def test_one_that_does_not_read_is_cut_off_as_well(self, around):
        server = Server()
        stays, goes = server.client(), server.client()
        sockets = around(server.curve, clients=[stays.public, goes.public], queue_bytes=64 << 10)
        stuck, publisher = sockets.add("SUB", goes, receive_buffer=4096), sockets.add("XPUB", stays)
        stuck.say("subscribe", b"topic/")
        assert publisher.got() == [b"\1topic/"]
        stuck.say("rest")
        stuck.expect("resting")
        while not sockets.forwarder.stats()["dropped"]:
            publisher.say("send", b"topic/", BURST_BYTES)
        sockets.forwarder.set_keys(curve=server.curve, clients=[stays.public])
        sockets.wait_for(connections=1, subscriptions=0)
        assert publisher.got() == [b"\0topic/"]


class TestPython:
    def test_options_that_make_no_sense_are_named(self, tmp_path):
        make = broker.zeek.Forwarder
        public, secret = broker.zeek.generate_curve_keypair()
        with pytest.raises(broker.BrokerError, match="udp"):
            make(xpub="udp://127.0.0.1:0", curve=False)
        with pytest.raises(broker.BrokerError, match="there is none of server_publickey"):
            make(curve=tmp_path)
        with pytest.raises(broker.BrokerError, match="`client_publickey` is missing"):
            make(curve={"server_secretkey": secret})
        with pytest.raises(ValueError, match="`clients`, key 1: a CURVE key has 40 characters") as raised:
            make(curve={"server_secretkey": secret}, clients=[public, secret[:-1]])
        assert secret[:-1] not in str(raised.value)
        with pytest.raises(ValueError, match="`clients`, key 0: expected a public key as text"):
            make(clients=[1])
        with pytest.raises(TypeError, match="found one str"):
            make(clients=public)
        with pytest.raises(TypeError):
            make("tcp://127.0.0.1:0")

    def test_ports_that_are_taken_are_named(self, around):
        taken = around().forwarder
        with pytest.raises(broker.BrokerError, match=str(taken.xsub_port)):
            around(xsub="tcp://127.0.0.1:%d" % taken.xsub_port)

    def test_the_end(self):
        with broker.zeek.Forwarder(xpub="tcp://127.0.0.1:0", xsub="*:0", curve=False) as forwarder:
            assert forwarder.xpub_port and forwarder.xsub_port
            assert "127.0.0.1:%d" % forwarder.xpub_port in repr(forwarder)
            assert forwarder.connections() == []
            assert set(forwarder.stats().values()) == {0}
        forwarder.close()
        assert repr(forwarder) == "<Forwarder closed>"
        for call in (forwarder.stats, forwarder.connections, forwarder.set_keys, lambda: forwarder.xpub_port):
            with pytest.raises(broker.ClosedError, match="the forwarder was closed"):
                call()

    def test_an_endpoint_tells_its_numbers_until_it_is_closed(self, around):
        sockets = around()
        subscriber = sockets.add("SUB")
        subscriber.say("subscribe", b"topic/")
        sockets.wait_for(subscriptions=1)
        with broker.Endpoint() as endpoint:
            endpoint.report_forwarder(sockets.forwarder)
            told, = endpoint.stats()["forwarders"]
            assert told["xpub"] == "127.0.0.1:%d" % sockets.forwarder.xpub_port
            assert [it["side"] for it in told["connections"]] == ["subscriber"]
            sockets.forwarder.close()
            wait_until(lambda: endpoint.stats()["forwarders"] == [], "it is gone")
            with pytest.raises(broker.ClosedError):
                endpoint.report_forwarder(sockets.forwarder)

    def test_a_child_of_a_fork_has_none(self):
        code = """
import os, broker
forwarder = broker.zeek.Forwarder(xpub="tcp://127.0.0.1:0", xsub="tcp://127.0.0.1:0", curve=False)
child = os.fork()
if child == 0:
    try:
        forwarder.stats()
    except RuntimeError as error:
        print(str(error).partition(":")[2], flush=True)
    del forwarder
    os._exit(0)
print(os.waitpid(child, 0)[1], forwarder.stats()["connections"])
"""
        with Program(code=code) as program:
            program.expect(" after a fork, the child needs endpoints of its own")
            program.expect("0 0")
            program.finish()
