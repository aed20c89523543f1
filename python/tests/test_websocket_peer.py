"""WebSocket servers as peers: the program of a native peering with another address."""

import socket

import pytest

import broker
import certificates
from deadline import DEADLINE_S, take_one
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


def test_nobody_there(endpoint):
    with socket.socket() as unused:
        unused.bind((LOCALHOST, 0))
        assert not endpoint.peer("ws://%s:%d" % unused.getsockname(), retry=0.0)


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
    assert options.web_socket_application == ""
    assert options.web_socket_lossless is False
    with pytest.raises(ValueError, match="everybody"):
        options.web_socket_trust = "everybody"
    options.web_socket_application = "a\r\nb"
    with pytest.raises(broker.BrokerError, match="application"):
        broker.Endpoint(broker.Configuration(options))


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
