"""What the listening side is told of connections that it refused, and failures to listen or to connect."""

import errno
import logging
import socket
import subprocess
import sys

import pytest

import broker
import broker.logging
import certificates
import peer as scripted
from certificates import configuration
from deadline import DEADLINE_S, take_one, wait_until
from scene import call, listen

EC = broker.EC
LOCALHOST = "127.0.0.1"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def trusted(directory):
    return certificates.make(directory, "trusted")


@pytest.fixture(scope="module")
def stranger(directory):
    return certificates.make(directory, "stranger")


def watched(scene, endpoint):
    return endpoint, scene.use(endpoint.make_status_subscriber(True))


def refusal(events):
    """The next event, which must be about a refused connection; its address and text."""
    error = take_one(events)
    assert type(error) is broker.Error and error.code() == EC.PeerRefused, error
    assert error.ec() == EC.PeerRefused and str(error).startswith("peer_refused(")
    assert error.message().startswith("refused an incoming connection: ")
    network = error.context().network.get()
    assert network.address == LOCALHOST and network.port > 0
    return network.port, error.message()


def dial(port, *octets):
    """Connects and sends these bytes; the connection is closed by the caller."""
    connection = socket.create_connection((LOCALHOST, port), 10)
    for chunk in octets:
        connection.sendall(chunk)
    return connection


@pytest.mark.parametrize("server_tls, said", [
    (True, "the other side is a Broker endpoint without TLS"),
    (False, "the other side uses TLS, this endpoint does not"),
])
def test_one_side_without_tls(scene, server_tls, said):
    server, heard = watched(scene, scene.endpoint(tls=server_tls))
    client = scene.endpoint(tls=not server_tls)
    assert client.peer(LOCALHOST, listen(server), 0.0) is False
    assert said in refusal(heard)[1]
    assert server.refusal_counts() == {"refused": 1, "silent": 0}


def test_another_authority(scene, trusted, stranger):
    server, heard = watched(scene, scene.adopt(broker.Endpoint(configuration(trusted, trusted))))
    port = listen(server)
    for client in (configuration(stranger, stranger), configuration(stranger, trusted)):
        assert scene.adopt(broker.Endpoint(client)).peer(LOCALHOST, port, 0.0) is False
        assert "trust" in refusal(heard)[1]


def test_no_certificate(scene, trusted):
    server, heard = watched(scene, scene.adopt(broker.Endpoint(configuration(trusted, trusted))))
    assert scene.endpoint().peer(LOCALHOST, listen(server), 0.0) is False
    assert "certificate" in refusal(heard)[1]


@pytest.mark.parametrize("tls, said", [(True, "does not speak TLS"), (False, "not a Broker endpoint")])
def test_another_protocol(scene, tls, said):
    server, heard = watched(scene, scene.endpoint(tls=tls))
    with dial(listen(server), b"GET / HTTP/1.0\r\n\r\n") as connection:
        own = connection.getsockname()[1]
        port, text = refusal(heard)
    assert port == own and said in text


def test_another_version(scene, endpoint):
    server, heard = watched(scene, endpoint)
    peer = scene.peer()
    peer.dial(listen(server))
    peer.send(scripted.hello(peer.id, 7, 9))
    assert "unsupported versions offered" in refusal(heard)[1]


def test_a_peer_that_leaves_in_the_middle(scene, endpoint):
    server, heard = watched(scene, endpoint)
    peer = scene.peer()
    peer.dial(listen(server))
    peer.send(scripted.hello(peer.id))
    peer.receive()
    peer.hang_up()
    assert "closed during the handshake" in refusal(heard)[1]


@pytest.mark.parametrize("tls", [True, False])
def test_a_probe_is_counted_and_makes_no_event(scene, tls):
    server, heard = watched(scene, scene.endpoint(tls=tls))
    port = listen(server)
    for _ in range(20):
        dial(port).close()
    wait_until(lambda: server.refusal_counts()["silent"] == 20, "the probes are counted")
    assert server.refusal_counts()["refused"] == 0
    assert heard.poll() == []


def test_a_flood_makes_few_events(scene):
    server, heard = watched(scene, scene.endpoint(tls=False))
    port = listen(server)
    count = 300
    for _ in range(count):
        dial(port, b"GET / HTTP/1.0\r\n\r\n").close()
    wait_until(lambda: server.refusal_counts()["refused"] == count, "the refusals are counted")
    # A burst of ten, and one for each second that the flood took.
    assert 10 <= heard.available() < count / 2


def test_a_redundant_connection_is_no_refusal(scene, endpoint):
    server, heard = watched(scene, endpoint)
    port, client = listen(server), scene.endpoint()
    assert client.peer(LOCALHOST, port, 0.0)
    assert client.peer("localhost", port, 0.0)
    assert server.await_peer(client.node_id())
    assert [type(event) for event in heard.poll()] == [broker.Status] * 2
    assert server.refusal_counts()["refused"] == 0


# --- failures to listen --------------------------------------------------------------------------


@pytest.fixture
def taken():
    with socket.create_server((LOCALHOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use(scene, endpoint, caplog, taken):
    errors = scene.use(endpoint.make_status_subscriber())
    with caplog.at_level(logging.WARNING, "broker"):
        assert endpoint.listen(LOCALHOST, taken) == 0
    error = take_one(errors)
    assert error.code() == EC.CannotOpenResource
    assert str(error.context().network) == "%s:%d" % (LOCALHOST, taken)
    said = "cannot listen on `%s` port %d: " % (LOCALHOST, taken)
    assert error.message().startswith(said) and "in use" in error.message()
    assert broker.logging.flush()
    (record,) = caplog.records
    assert error.message() in record.getMessage()
    with pytest.raises(broker.ListenError, match="in use") as failed:
        endpoint.open_listener(LOCALHOST, taken)
    assert failed.value.errno == errno.EADDRINUSE
    assert failed.value.code == EC.CannotOpenResource
    assert isinstance(failed.value, OSError) and isinstance(failed.value, broker.BrokerError)
    assert str(failed.value) == error.message()


def test_an_unknown_host(endpoint):
    with pytest.raises(broker.ListenError, match="no.such.host.invalid"):
        endpoint.open_listener("no.such.host.invalid", 0)


def test_a_server_for_websockets_on_a_port_in_use(scene, endpoint, caplog, taken):
    errors = scene.use(endpoint.make_status_subscriber())
    assert endpoint.listen_ws(LOCALHOST, taken) == 0
    assert "in use" in take_one(errors).message()
    assert broker.logging.flush()
    assert len(caplog.records) == 1


def test_a_program_without_handlers_reads_why_on_standard_error(taken):
    program = "import broker; e = broker.Endpoint(); assert e.listen('%s', %d) == 0" % (
        LOCALHOST, taken)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=True)
    assert done.stderr.count("cannot listen on `%s` port %d: " % (LOCALHOST, taken)) == 1


def test_open_listener_listens(scene, endpoint):
    assert scene.endpoint().peer(LOCALHOST, endpoint.open_listener(LOCALHOST, 0), 0.0)
    endpoint.shutdown()
    with pytest.raises(broker.ClosedError):
        endpoint.open_listener(LOCALHOST, 0)


# --- failures to connect -------------------------------------------------------------------------


@pytest.mark.parametrize("host, said", [
    ("127.0.0.1:41435", "cannot resolve `127.0.0.1:41435`: a host has no port in it"),
    ("no.such.host.invalid", "cannot resolve `no.such.host.invalid`"),
])
def test_a_host_without_an_address(scene, endpoint, host, said):
    errors = scene.use(endpoint.make_status_subscriber())
    assert endpoint.peer(host, 9999, 0.0) is False
    error = take_one(errors)
    assert error.code() == EC.PeerUnavailable
    assert error.message().startswith("unable to connect to remote peer: " + said)


def test_a_peer_that_nobody_accepts_is_told(scene, endpoint):
    """The other side of the same: who connects hears the reason, and no refusal of its own."""
    errors = scene.use(endpoint.make_status_subscriber())
    peer = scene.peer()
    peering = call(scene, endpoint, peer)
    peer.send(scripted.drop_conn(peer.id, 2, "too old"))
    assert peering.result(DEADLINE_S) is False
    assert "too old" in take_one(errors).message()
    assert endpoint.refusal_counts() == {"refused": 0, "silent": 0}
