"""WebSocket servers as peers: the program of a native peering with another address."""

import base64
import datetime
import hashlib
import socket

import pytest

import broker
import certificates
from deadline import DEADLINE_S, take_one, wait_until
from process import Program
from scene import listen

LOCALHOST = "127.0.0.1"
PATH = "/v1/messages/json"


@pytest.fixture
def server(scene):
    return scene.endpoint(tls=False)


def serve(endpoint, **options):
    port = endpoint.listen_ws(LOCALHOST, 0, **options)
    assert port != 0
    return port


def answer(subscriber, server):
    """Answers one question of `ask.py`."""
    topic, data = take_one(subscriber)
    number = broker.zeek.Event(data).args()[0]
    to = "/late" if topic == "/questions/late" else "/answers"
    server.publish(to, broker.zeek.Event("doubled", broker.Count(2 * number.value)))


def run(server, *address):
    with server.make_subscriber("/questions") as questions, Program("ask.py", *address) as program:
        for _ in range(6):
            answer(questions, server)
        return program.finish()


def test_a_program_does_not_notice_the_protocol(server):
    native, web_socket = listen(server), serve(server)
    expected = run(server, LOCALHOST, native)
    assert len(expected) == 9, expected
    assert expected[0] == "added SC.PeerAdded"
    for address in [
        ("zeek://%s:%d" % (LOCALHOST, native),),
        ("tcp://%s:%d" % (LOCALHOST, native),),
        ("ws://%s:%d%s" % (LOCALHOST, web_socket, PATH),),
        ("ws://%s:%d" % (LOCALHOST, web_socket),),
        ("ws://" + LOCALHOST, web_socket),
    ]:
        assert run(server, *address) == expected, address


def test_addresses(scene, server):
    port = serve(server)
    client = scene.endpoint(tls=False)
    url = "ws://%s:%d" % (LOCALHOST, port)
    assert client.peer(url, retry=0.0)
    assert client.await_peer(server.node_id())
    info, = client.peers()
    network = info.peer.network.get()
    assert (network.address, network.port) == (url + PATH, port)
    # The port is part of the URL and not repeated behind it.
    assert repr(network) == repr(info.peer.network) == url + PATH
    assert client.unpeer(url)
    assert client.peers() == []
    client.peer_nosync(url, retry=0.0)
    assert client.await_peer(server.node_id())
    client.unpeer_nosync(url, port)


@pytest.mark.parametrize("url", ["http://a", "ws://", "ws://a:70000", "ws://u@a", "zeek://a/b"])
def test_urls_that_make_no_sense(endpoint, url):
    for call in endpoint.peer, endpoint.peer_nosync, endpoint.unpeer:
        with pytest.raises(ValueError, match="no address of a peer"):
            call(url)
    with pytest.raises(ValueError, match="another port"):
        endpoint.peer("ws://a:1", 2)
    with pytest.raises(TypeError, match="port"):
        endpoint.peer("host")


@pytest.mark.parametrize("attach", ["attach_clone", "open_clone"])
def test_a_clone_that_only_web_sockets_could_serve(scene, server, attach):
    server.attach_master("hosts")
    client = scene.endpoint(tls=False)
    url = "ws://%s:%d%s" % (LOCALHOST, serve(server), PATH)
    assert client.peer(url, retry=0.0)
    with pytest.raises(broker.StoreError) as info:
        getattr(client, attach)("hosts")
    assert info.value.code == broker.EC.NoSuchMaster
    assert "`hosts`" in str(info.value) and "`%s`" % url in str(info.value)
    assert client.attach_master("own").put("k", 1) is None
    # The native peering that the same program would have had.
    assert client.unpeer(url) and client.peer(LOCALHOST, listen(server), 0.0)
    clone = getattr(client, attach)("hosts")
    assert clone.await_idle(DEADLINE_S)


def test_a_clone_between_native_peers_and_web_sockets(scene, server):
    client, other = scene.endpoint(tls=False), scene.endpoint(tls=False)
    url = "ws://%s:%d%s" % (LOCALHOST, serve(server), PATH)
    assert client.peer(url, retry=0.0) and client.peer(LOCALHOST, listen(other), 0.0)
    clone = client.attach_clone("hosts", resync_interval=0.2)
    with pytest.raises(broker.StoreError) as info:
        clone.lookup("k")
    assert info.value.code == broker.EC.NoSuchMaster and url in str(info.value)


def test_nobody_there(scene, endpoint):
    with socket.socket() as unused:
        unused.bind((LOCALHOST, 0))
        statuses = scene.use(endpoint.make_status_subscriber())
        url = "ws://%s:%d" % unused.getsockname()
        assert not endpoint.peer(url, retry=0.0)
        assert "*%s%s)" % (url, PATH) in repr(take_one(statuses))


def test_certificates(scene, server, tmp_path):
    identity = certificates.make(tmp_path, "server", certificates.make(tmp_path, "authority"))
    port = serve(server, certificate=identity.certificate_file, key=identity.key_file)
    url = "wss://%s:%d" % (LOCALHOST, port)

    def client(trust):
        options = broker.BrokerOptions()
        options.web_socket_trust = trust
        return scene.adopt(broker.Endpoint(broker.Configuration(options)))

    assert not client("certificate").peer(url, retry=0.0)
    trusting = client("anybody")
    messages = scene.use(trusting.make_subscriber("/t"))
    assert trusting.peer(url, retry=0.0)
    server.publish("/t", "encrypted")
    assert take_one(messages) == ("/t", "encrypted")


def test_authorities_for_web_sockets_only(scene, server, tmp_path):
    """Neither a certificate of our own nor one of native peers is needed for that."""
    authority, other = certificates.make(tmp_path, "authority"), certificates.make(tmp_path, "other")
    identity = certificates.make(tmp_path, "localhost", authority)
    port = serve(server, certificate=identity.certificate_file, key=identity.key_file)
    url = "wss://%s:%d" % ("localhost", port)

    def client(**settings):
        return configured(scene, disable_ssl=False, **settings)

    trusting = client(web_socket_cafile=str(authority.certificate_file))
    messages = scene.use(trusting.make_subscriber("/t"))
    assert trusting.peer(url, retry=0.0)
    server.publish("/t", "encrypted")
    assert take_one(messages) == ("/t", "encrypted")
    native = scene.endpoint()
    assert trusting.peer(LOCALHOST, listen(native), retry=0.0)
    assert not client(web_socket_cafile=str(other.certificate_file)).peer(url, retry=0.0)
    with pytest.raises(ValueError, match="no-file.pem"):
        client(web_socket_cafile=str(tmp_path / "no-file.pem"))
    with pytest.raises(ValueError, match="no-directory"):
        client(web_socket_capath=str(tmp_path / "no-directory"))
    with pytest.raises(ValueError, match="trust"):
        client(web_socket_cafile=str(authority.certificate_file), web_socket_trust="anybody")


def test_anonymous_tls(scene):
    server = scene.endpoint()
    url = "wss://%s:%d" % (LOCALHOST, serve(server))
    assert not scene.endpoint().peer(url, retry=0.0)
    options = broker.BrokerOptions()
    options.web_socket_trust = "anonymous"
    client = scene.adopt(broker.Endpoint(broker.Configuration(options)))
    assert client.peer(url, retry=0.0)


def test_options():
    options = broker.BrokerOptions()
    assert options.web_socket_trust == "certificate"
    assert options.web_socket_cafile == options.web_socket_capath == ""
    options.web_socket_capath = "directory"
    assert (options.web_socket_cafile, options.web_socket_capath) == ("", "directory")
    options.web_socket_capath = ""
    assert options.web_socket_application == ""
    assert options.web_socket_lossless is False
    assert (options.web_socket_ack_timeout, options.web_socket_ping_interval) == (30.0, 15.0)
    assert options.web_socket_message_bytes_max == 16 * 1024 * 1024
    with pytest.raises(ValueError, match="everybody"):
        options.web_socket_trust = "everybody"
    options.web_socket_application = "a\r\nb"
    with pytest.raises(broker.BrokerError, match="application"):
        broker.Endpoint(broker.Configuration(options))


def configured(scene, **settings):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    for name, value in settings.items():
        setattr(options, name, value)
    return scene.adopt(broker.Endpoint(broker.Configuration(options)))


@pytest.mark.parametrize("name", ["web_socket_ack_timeout", "web_socket_ping_interval"])
def test_options_that_are_times(name):
    options = broker.BrokerOptions()
    for value in 2.5, datetime.timedelta(seconds=2, milliseconds=500), broker.Timespan(2_500_000_000):
        setattr(options, name, value)
        assert getattr(options, name) == 2.5
    for value in -1, float("nan"):
        with pytest.raises(ValueError, match="at least 0"):
            setattr(options, name, value)
    for value in "1", None:
        with pytest.raises(TypeError):
            setattr(options, name, value)
    assert getattr(options, name) == 2.5


def test_options_that_would_leave_nothing():
    options = broker.BrokerOptions()
    options.web_socket_ping_interval = 0
    with pytest.raises(ValueError, match="more than 0"):
        options.web_socket_ack_timeout = 0
    with pytest.raises(ValueError, match="at least 1 byte"):
        options.web_socket_message_bytes_max = 0
    with pytest.raises(TypeError, match="from 0 to"):
        options.web_socket_message_bytes_max = -1
    with pytest.raises(TypeError):
        options.web_socket_message_bytes_max = 1.5


def test_a_server_that_acknowledges_nothing_is_not_waited_for(scene):
    """It takes the connection and says no word after the handshake."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        client = configured(scene, web_socket_ack_timeout=0.2)
        url = "ws://%s:%d%s" % (*listener.getsockname(), PATH)
        answering = scene.background(answer_handshake, listener)
        assert not client.peer(url, retry=0.0)
        answering.result(DEADLINE_S)
    assert client.web_socket_peer_counts()[url]["failures"] == 1


def answer_handshake(listener):
    """The WebSocket handshake, and nothing after that until the client gives up."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(DEADLINE_S)
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        key = next(line.split(b": ")[1] for line in request.split(b"\r\n")
                   if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while connection.recv(4096):
            pass


def test_a_message_that_is_too_large_ends_the_connection(scene, server):
    client = configured(scene, web_socket_message_bytes_max=4096)
    statuses = scene.use(client.make_status_subscriber(True))
    messages = scene.use(client.make_subscriber("/t"))
    url = "ws://%s:%d%s" % (LOCALHOST, serve(server), PATH)
    assert client.peer(url, retry=0.0)
    server.publish("/t", "small")
    assert take_one(messages) == ("/t", "small")
    server.publish("/t", "x" * 5000)
    while statuses.recv(DEADLINE_S).code() != broker.SC.PeerLost:
        pass
    counts = client.web_socket_peer_counts()[url]
    assert (counts["received"], counts["failures"]) == (1, 1)


def test_counters(scene, server):
    client = scene.endpoint(tls=False)
    assert client.web_socket_peer_counts() == {}
    url = "ws://%s:%d%s" % (LOCALHOST, serve(server), PATH)
    heard = scene.use(server.make_subscriber("/"))
    messages = scene.use(client.make_subscriber("/a"))
    assert client.peer(url, retry=0.0)
    late = scene.use(client.make_subscriber("/b"))
    for number in range(3):
        client.publish("/question", number)
        take_one(heard)
        server.publish("/a", number)
        take_one(messages)
    server.publish("/b", 1)
    take_one(late)
    peered = {"peered": 1, "connects": 1, "reconnects": 0, "renewals": 1, "received": 4, "sent": 3, "errors": 0,
              "failures": 0}
    # The last message is counted when it has been handed on.
    wait_until(lambda: client.web_socket_peer_counts() == {url: peered}, "the numbers")
    client.unpeer(url)
    wait_until(lambda: client.web_socket_peer_counts()[url]["peered"] == 0, "the end of the peering")
    assert client.peer(url, retry=0.0)
    counts = client.web_socket_peer_counts()[url]
    assert (counts["connects"], counts["reconnects"], counts["failures"]) == (2, 1, 0)


def test_a_lossless_peering(scene, server):
    options = broker.BrokerOptions()
    options.web_socket_lossless = True
    options.web_socket_application = "test"
    client = scene.adopt(broker.Endpoint(broker.Configuration(options)))
    messages = scene.use(client.make_subscriber("/t"))
    assert client.peer("ws://%s:%d" % (LOCALHOST, serve(server)), retry=0.0)
    server.publish("/t", float("inf"))
    assert take_one(messages) == ("/t", float("inf"))
    assert server.web_socket_counts()["test"]["clients"] == 1
