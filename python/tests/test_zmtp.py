"""Connections of ZeroMQ against libzmq itself, in every role and mechanism: `broker_proto::zmtp`."""

import contextlib
import threading

import pytest

zmq = pytest.importorskip("zmq")

from zmq.auth.thread import ThreadAuthenticator  # noqa: E402
from zmq.utils.monitor import recv_monitor_message  # noqa: E402
from zmtp_peer import PATIENCE, ZmtpPeer, build  # noqa: E402

LARGE = bytes(range(256)) * 4096
# Messages whose parts have every form of length.
MESSAGES = [[b"topic", b"sender", b"broker-bin-v1", b"\x01\x01"], [b"topic", b"", b"x" * 255, LARGE]]


@pytest.fixture(scope="module")
def program():
    return build()


@pytest.fixture
def context():
    context = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


class Keys:
    """Key pairs of a server and a client."""

    def __init__(self):
        self.server = [key.decode() for key in zmq.curve_keypair()]
        self.client = [key.decode() for key in zmq.curve_keypair()]

    def as_client(self):
        return ["client", self.server[0], self.client[1]]

    def as_server(self):
        return ["server", self.server[1], self.client[0]]

    def make_client(self, socket):
        socket.curve_serverkey = self.server[0].encode()
        socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in self.client)

    def make_server(self, socket):
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in self.server)


@pytest.fixture(params=["null", "our-client", "our-server"])
def keys(request):
    """Nothing, or keys and which end is the server."""
    return None if request.param == "null" else (Keys(), request.param)


@contextlib.contextmanager
def admitting(context, *clients):
    """A libzmq that admits clients with these keys, as Zeek does."""

    class Provider:
        def callback(self, domain, key):
            return key.decode() in clients

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback("*", Provider())
    try:
        yield
    finally:
        authenticator.stop()


class Pair:
    """A socket of libzmq and a connection of ours with it."""

    def __init__(self, program, context, theirs, ours, keys, way):
        self.socket = context.socket(getattr(zmq, theirs))
        self.socket.rcvtimeo = self.socket.sndtimeo = PATIENCE * 1000
        self.socket.setsockopt(zmq.LINGER, 0)
        if theirs == "XPUB":
            self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        monitor.rcvtimeo = PATIENCE * 1000
        security = []
        if keys is not None:
            both, who = keys
            if who == "our-client":
                both.make_server(self.socket)
                security = both.as_client()
            else:
                both.make_client(self.socket)
                security = both.as_server()
        if theirs == "SUB":
            # Stored before there is a connection: libzmq sends it as a command.
            self.socket.subscribe(b"topic")
        if way == "connect":
            port = self.socket.bind_to_random_port("tcp://127.0.0.1")
            self.peer = ZmtpPeer(program, ours, "connect", "127.0.0.1:%d" % port, *security)
        else:
            self.peer = ZmtpPeer(program, ours, "listen", "127.0.0.1:0", *security)
            self.socket.connect("tcp://127.0.0.1:%s" % self.peer.hear("port")[0])
        # A socket that is bound learns of a connection in its next call only.
        recv_monitor_message(monitor)
        self.socket.disable_monitor()
        monitor.close()
        self.socket.poll(0)
        kind, version, *key = self.peer.hear("ready")
        assert (kind, version) == (theirs, "3.1")
        assert key == ([keys[0].client[0]] if keys and keys[1] == "our-server" else [])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.__exit__()
        self.socket.close()

    def send_to_them(self):
        for parts in MESSAGES:
            self.peer.say("send", *parts)
            assert self.socket.recv_multipart() == parts

    def send_to_us(self):
        for parts in MESSAGES:
            self.socket.send_multipart(parts)
            assert self.peer.hear_parts("message") == parts


@pytest.mark.parametrize("way", ["connect", "listen"])
class TestRoles:
    @pytest.mark.parametrize("ours", ["SUB", "XSUB"])
    def test_we_subscribe(self, program, context, keys, way, ours):
        with Pair(program, context, "XPUB", ours, keys, way) as pair:
            pair.peer.say("subscribe", b"topic")
            assert pair.socket.recv() == b"\x01topic"
            pair.peer.say("subscribe", b"other")
            assert pair.socket.recv() == b"\x01other"
            pair.socket.send_multipart([b"unwanted"])
            pair.send_to_us()
            pair.peer.say("unsubscribe", b"topic")
            assert pair.socket.recv() == b"\x00topic"
            pair.socket.send_multipart(MESSAGES[0])
            pair.socket.send_multipart([b"other"])
            assert pair.peer.hear_parts("message") == [b"other"]

    @pytest.mark.parametrize("ours", ["PUB", "XPUB"])
    def test_they_subscribe(self, program, context, keys, way, ours):
        with Pair(program, context, "SUB", ours, keys, way) as pair:
            assert pair.peer.hear_parts("subscribed") == [b"topic"]
            pair.send_to_them()
            pair.socket.subscribe(b"late")
            assert pair.peer.hear_parts("subscribed") == [b"late"]
            pair.socket.unsubscribe(b"topic")
            assert pair.peer.hear_parts("unsubscribed") == [b"topic"]

    def test_they_subscribe_by_messages(self, program, context, keys, way):
        with Pair(program, context, "XSUB", "XPUB", keys, way) as pair:
            for notice, heard in [
                (b"\x01topic", "subscribed"),
                (b"\x01topi", "subscribed"),
                (b"\x00topi", "unsubscribed"),
            ]:
                pair.socket.send(notice)
                assert pair.peer.hear_parts(heard) == [notice[1:]]
            pair.send_to_them()

    def test_we_push(self, program, context, keys, way):
        with Pair(program, context, "PULL", "PUSH", keys, way) as pair:
            pair.send_to_them()

    def test_they_push(self, program, context, keys, way):
        with Pair(program, context, "PUSH", "PULL", keys, way) as pair:
            pair.send_to_us()
            pair.socket.close()
            assert pair.peer.hear_failure() == "the peer closed the connection"


class TestWrongKeys:
    """The three kinds, against a libzmq that admits one key, as Zeek's proxy does."""

    @pytest.fixture
    def proxy(self, context):
        keys = Keys()
        with admitting(context, keys.client[0]):
            socket = context.socket(zmq.XPUB)
            keys.make_server(socket)
            socket.rcvtimeo = PATIENCE * 1000
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            yield keys, socket, "127.0.0.1:%d" % port
            socket.close(linger=0)

    def test_right_keys(self, program, proxy):
        keys, socket, address = proxy
        with ZmtpPeer(program, "SUB", "connect", address, *keys.as_client()) as peer:
            peer.hear("ready")
            peer.say("subscribe", b"topic")
            assert socket.recv() == b"\x01topic"

    def test_another_client_key(self, program, proxy):
        keys, _, address = proxy
        own = zmq.curve_keypair()[1].decode()
        with ZmtpPeer(program, "SUB", "connect", address, "client", keys.server[0], own) as peer:
            assert "refused the CURVE client key given here with status 400" in peer.hear_failure()

    def test_another_server_key(self, program, proxy):
        keys, _, address = proxy
        other = zmq.curve_keypair()[0].decode()
        with ZmtpPeer(program, "SUB", "connect", address, "client", other, keys.client[1]) as peer:
            assert "another CURVE key than the server public key given here" in peer.hear_failure()

    def test_no_keys(self, program, proxy):
        _, _, address = proxy
        with ZmtpPeer(program, "SUB", "connect", address) as peer:
            assert "the peer is encrypted with CURVE" in peer.hear_failure()

    def test_keys_for_a_server_without(self, program, context):
        with context.socket(zmq.XPUB) as socket:
            address = "127.0.0.1:%d" % socket.bind_to_random_port("tcp://127.0.0.1")
            with ZmtpPeer(program, "SUB", "connect", address, *Keys().as_client()) as peer:
                assert "the peer is not encrypted" in peer.hear_failure()

    def test_a_client_of_theirs_that_is_not_admitted(self, program, context):
        keys = Keys()
        other = zmq.curve_keypair()[0].decode()
        security = ["server", keys.server[1], other]
        with ZmtpPeer(program, "PULL", "listen", "127.0.0.1:0", *security) as peer:
            with context.socket(zmq.PUSH) as socket:
                socket.linger = 0
                keys.make_client(socket)
                monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
                monitor.rcvtimeo = PATIENCE * 1000
                socket.connect("tcp://127.0.0.1:%s" % peer.hear("port")[0])
                assert keys.client[0] in peer.hear_failure()
                # A node of Zeek ends then: it is what says "not admitted" to it.
                event = recv_monitor_message(monitor)
                assert (event["event"], event["value"]) == (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
                socket.disable_monitor()
                monitor.close()


def test_the_other_port_of_the_proxy(program, context):
    with context.socket(zmq.XSUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with ZmtpPeer(program, "XSUB", "connect", "127.0.0.1:%d" % port) as peer:
            # Which of the two depends on who closes the connection first.
            failure = peer.hear_failure()
            assert "the other way round" in failure or "the other port" in failure


@pytest.fixture
def forwarder(context):
    """What Zeek's manager runs: XPUB and XSUB, bound. Returns their addresses."""
    xpub, xsub, control = (context.socket(kind) for kind in (zmq.XPUB, zmq.XSUB, zmq.PAIR))
    xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
    xpub.setsockopt(zmq.XPUB_NODROP, 1)
    ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (xpub, xsub)]
    control.bind("inproc://control")
    steering = context.socket(zmq.PAIR)
    steering.connect("inproc://control")
    thread = threading.Thread(target=zmq.proxy_steerable, args=(xpub, xsub, None, control))
    thread.start()
    yield ["127.0.0.1:%d" % port for port in ports]
    steering.send(b"TERMINATE")
    thread.join()
    for socket in (xpub, xsub, control, steering):
        socket.close(linger=0)


def test_a_probe_passes_the_proxy(program, forwarder):
    """Spec: zeromq 5.2. What was subscribed before the probe is known when the probe is back."""
    probe = b"zeek.zeromq.internal.tool.1."
    to_xpub, to_xsub = forwarder
    with ZmtpPeer(program, "XSUB", "connect", to_xpub) as reader:
        reader.hear("ready")
        for topic in (b"/tool/", b"/other/", probe):
            reader.say("subscribe", topic)
        with ZmtpPeer(program, "XPUB", "connect", to_xsub) as writer:
            writer.hear("ready")
            heard = [writer.hear_parts("subscribed") for _ in range(3)]
            assert sorted(heard) == [[b"/other/"], [b"/tool/"], [probe]]
            reader.say("unsubscribe", probe)
            assert writer.hear_parts("unsubscribed") == [probe]
            # An echo: our own subscription matches.
            writer.say("send", *MESSAGES[0])
            writer.say("send", b"/tool/x", b"id", b"broker-bin-v1", b"\x01\x01")
            assert reader.hear_parts("message") == [b"/tool/x", b"id", b"broker-bin-v1", b"\x01\x01"]
