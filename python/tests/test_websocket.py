"""WebSocket clients: plain ones, and programs of others as they are. Spec: websocket, endpoint 3."""

import asyncio
import datetime
import ipaddress
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading

import pytest

import broker
import certificates
from deadline import DEADLINE_S, take, take_one, wait_until
from ports import reserved_port
from scene import connect

# The releases of other programs that the tests run need Python 3.11; from there on they have to be installed.
if sys.version_info < (3, 11):
    pytest.skip("clients of the WebSocket server need Python 3.11", allow_module_level=True)
import websockets.asyncio.client as websockets_asyncio  # noqa: E402
import websockets.sync.client as websockets  # noqa: E402
import zeekpy  # noqa: E402

LOCALHOST = "127.0.0.1"
PATH = "/v1/messages/json"
COUNT = '{"type":"data-message","topic":"%s","@data-type":"count","data":%d}'


def url(port, scheme="ws"):
    return "%s://%s:%d%s" % (scheme, LOCALHOST, port, PATH)


def serve(endpoint, **options):
    port = endpoint.listen_ws(LOCALHOST, 0, **options)
    assert port != 0
    return port


class OnALoop:
    """The asynchronous client of `websockets`, used like the one with threads.

    That one reads in one thread and writes in another. Under TLS the request of about one connection
    in five hundred never leaves, whoever the server is: one session of OpenSSL must not be used by
    two threads, and CPython takes care of that since 3.13 only.
    """

    def __init__(self, address, **settings):
        self._loop = asyncio.new_event_loop()
        try:
            self._socket = self._wait(websockets_asyncio.connect(address, **settings))
        except BaseException:
            self._loop.close()
            raise

    def _wait(self, step):
        return self._loop.run_until_complete(asyncio.wait_for(step, DEADLINE_S))

    def send(self, text):
        self._wait(self._socket.send(text))

    def recv(self, timeout):
        return self._loop.run_until_complete(asyncio.wait_for(self._socket.recv(), timeout))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._wait(self._socket.close())
        self._loop.close()


class Client:
    """A client of the library `websockets`, subscribed."""

    def __init__(self, port, *topics, scheme="ws", **settings):
        kind = OnALoop if scheme == "wss" else websockets.connect
        self._context = kind(url(port, scheme), open_timeout=DEADLINE_S, proxy=None, **settings)
        self.socket = self._context.__enter__()
        self.socket.send(json.dumps(topics))
        self.ack = json.loads(self.socket.recv(DEADLINE_S))
        assert self.ack["type"] == "ack"

    def publish(self, topic, number):
        self.socket.send(COUNT % (topic, number))

    def take(self):
        return self.socket.recv(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._context.__exit__(*exception)


@pytest.fixture
def endpoint(scene):
    return scene.endpoint(tls=False)


# --- listening -----------------------------------------------------------------------------------


def test_a_client_exchanges_messages_with_the_endpoint(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/test"))
    with Client(serve(endpoint), "/test") as client:
        assert client.ack["endpoint"] == endpoint.node_id()
        assert client.ack["version"] == broker.Version.string()
        client.publish("/test/a", 1)
        assert take_one(messages) == ("/test/a", broker.Count(1))
        endpoint.publish("/test/b", broker.Count(2))
        assert client.take() == COUNT % ("/test/b", 2)
    counts = endpoint.web_socket_counts()["unknown"]
    assert (counts["subscribed"], counts["received"], counts["sent"]) == (1, 1, 1)


def test_a_client_reaches_peers_and_peers_reach_it(scene, endpoint):
    peer = scene.endpoint(tls=False)
    messages = scene.use(peer.make_subscriber("/test"))
    connect(peer, endpoint)
    with Client(serve(endpoint), "/other") as client:
        wait_until(lambda: peer.peer_subscriptions() and endpoint.peer_subscriptions(), "subscriptions")
        client.publish("/test", 1)
        assert take_one(messages) == ("/test", broker.Count(1))
        peer.publish("/other", broker.Count(2))
        assert client.take() == COUNT % ("/other", 2)


def test_a_port_in_use_gives_zero(scene, endpoint):
    with socket.socket() as other:
        other.bind((LOCALHOST, 0))
        other.listen()
        assert endpoint.listen_ws(LOCALHOST, other.getsockname()[1]) == 0


@pytest.mark.parametrize("options", [
    {"overflow": "explode"}, {"buffer_size": 0}, {"ping_interval": -1.0}, {"ping_timeout": -1.0},
    {"clients_max": 0},
    {"certificate": "/nowhere"}, {"tls": False, "certificate": "x", "key": "y"},
])
def test_options_that_cannot_be_are_refused(endpoint, options):
    with pytest.raises(ValueError):
        endpoint.listen_ws(LOCALHOST, 0, **options)


def test_options_are_heeded(endpoint):
    port = serve(endpoint, origins=["https://ours.example"], clients_max=1,
                 subscription_timeout=datetime.timedelta(seconds=30), overflow="drop_oldest",
                 buffer_size=10, message_bytes_max=1000, ping_interval=0, connects_per_second_max=0)
    with pytest.raises(Exception, match="403"):
        Client(port, origin="https://theirs.example")
    with Client(port, origin="https://ours.example") as client:
        with pytest.raises(Exception, match="503"):
            Client(port)
        client.socket.send(" " * 1001)
        with pytest.raises(Exception, match="1009"):
            client.take()


class Deaf:
    """A client that only publishes: it answers no pings, as programs do that never receive."""

    def __init__(self, port):
        self._socket = socket.create_connection((LOCALHOST, port), timeout=DEADLINE_S)
        self._socket.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % PATH.encode())
        self.send("[]")
        self.read_up_to(b'"ack"')

    def send(self, text):
        """As one frame, masked with zeros."""
        assert len(text) < 126
        self._socket.sendall(b"\x81%c\0\0\0\0" % (0x80 | len(text)) + text.encode())

    def read_up_to(self, end, times=1):
        received = b""
        while received.count(end) < times:
            more = self._socket.recv(4096)
            assert more, received
            received += more

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


def test_clients_may_leave_pings_unanswered(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/test"))
    with Deaf(serve(endpoint, ping_interval=0.02)) as client:
        client.read_up_to(b"\x89\0", times=4)
        client.send(COUNT % ("/test", 1))
        assert take_one(messages) == ("/test", broker.Count(1))


def test_clients_may_be_made_to_answer_pings(endpoint):
    with Deaf(serve(endpoint, ping_interval=0.02, ping_timeout=datetime.timedelta(milliseconds=20))) as client:
        client.read_up_to(b"no answer to pings")


def test_the_environment_starts_a_server(scene, monkeypatch):
    port = reserved_port()
    monkeypatch.setenv("BROKER_WEB_SOCKET_PORT", "%d/tcp" % port)
    scene.endpoint(tls=False)
    with Client(port):
        pass
    monkeypatch.setenv("BROKER_WEB_SOCKET_PORT", "abc")
    with pytest.raises(broker.ConfigurationError, match="BROKER_WEB_SOCKET_PORT"):
        broker.Endpoint()


def test_shutdown_says_goodbye(endpoint):
    with Client(serve(endpoint), "/test") as client:
        endpoint.publish("/test", broker.Count(1))
        endpoint.shutdown()
        assert client.take() == COUNT % ("/test", 1)
        with pytest.raises(Exception, match="1001"):
            client.take()


def test_a_slow_client_is_told(endpoint):
    with Client(serve(endpoint, buffer_size=16), "/test", max_queue=1) as client:
        large = "x" * 100_000
        wait_until(
            lambda: endpoint.publish("/test", large) or endpoint.web_socket_counts()["unknown"]["overflowed"],
            "overflow")
        with pytest.raises(Exception, match="1013") as cut:
            while True:
                last = client.take()
        assert json.loads(last)["code"] == "backpressure_overflow"
        assert "does not take its messages" in str(cut.value)


def test_status_events_tell_of_clients(scene, endpoint):
    events = scene.use(endpoint.make_status_subscriber(True))
    with Client(serve(endpoint)):
        found, added = take(events, 2)
        assert (found.code(), added.code()) == (broker.SC.EndpointDiscovered, broker.SC.PeerAdded)
        assert added.context().network.get().address == LOCALHOST
    lost, unreachable = take(events, 2)
    assert (lost.code(), unreachable.code()) == (broker.SC.PeerLost, broker.SC.EndpointUnreachable)


# --- TLS -----------------------------------------------------------------------------------------


def anonymous():
    """What clients of the original use without certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.set_ciphers("AECDH-AES256-SHA@SECLEVEL=0")
    except ssl.SSLError:
        pytest.skip("this Python's OpenSSL has no anonymous ciphers")
    return context


def test_tls_is_that_of_peers(scene):
    endpoint = scene.endpoint(tls=True)
    with Client(serve(endpoint), "/test", scheme="wss", ssl=anonymous()) as client:
        endpoint.publish("/test", broker.Count(1))
        assert client.take() == COUNT % ("/test", 1)


def test_tls_can_be_off_where_peers_have_it(scene):
    endpoint = scene.endpoint(tls=True)
    with Client(serve(endpoint, tls=False)):
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def identity(tmp_path_factory, authority):
    return certificates.make(tmp_path_factory.mktemp("identity"), "server", authority)


def trusting(authority):
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    context.check_hostname = False
    return context


def test_a_certificate_can_be_that_of_the_server_alone(endpoint, authority, identity):
    port = serve(endpoint, certificate=identity.certificate_file, key=identity.key_file)
    with Client(port, "/test", scheme="wss", ssl=trusting(authority)) as client:
        endpoint.publish("/test", broker.Count(1))
        assert client.take() == COUNT % ("/test", 1)


def test_with_an_authority_clients_need_a_certificate(endpoint, authority, identity):
    port = serve(endpoint, certificate=identity.certificate_file, key=identity.key_file,
                 cafile=authority.certificate_file)
    with pytest.raises(Exception):
        Client(port, scheme="wss", ssl=trusting(authority))
    context = trusting(authority)
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    with Client(port, scheme="wss", ssl=context):
        pass


def test_a_client_without_tls_is_given_up_where_there_is_tls(scene):
    port = serve(scene.endpoint(tls=True))
    with pytest.raises(Exception):
        Client(port)


# --- programs of others --------------------------------------------------------------------------


# How it uses its own libraries is its business.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_zeekpy(scene, endpoint, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    messages = scene.use(endpoint.make_subscriber("/to"))
    zeek = zeekpy.Zeek(url(serve(endpoint)), topics=["/from"], app_name="tests/1")
    received = []

    @zeek.on("values")
    def values(number: zeekpy.count, text: str, real: float, when: datetime.datetime,
               span: datetime.timedelta, address: zeekpy.addr, many: list[zeekpy.count]):
        received.append((number, text, real, when, span, address, many))
        zeek.publish("/to", "answer", [number, text, span, when, address])
        zeek.stop()

    when = datetime.datetime(2023, 4, 18, 14, 13, 14, 123000, tzinfo=datetime.timezone.utc)
    span = datetime.timedelta(seconds=1, milliseconds=500)
    address = ipaddress.ip_address("10.1.2.3")
    event = broker.zeek.Event(
        "values", broker.Count(7), "seven", 7.0, when, span, address, (broker.Count(1), broker.Count(2)))
    with zeek:
        endpoint.publish("/from/here", event)
        zeek.consume(DEADLINE_S)
        topic, value = take_one(messages)
    [(number, text, real, at, took, where, many)] = received
    assert (number, text, real, took, where, many) == (7, "seven", 7.0, span, address, [1, 2])
    assert at.replace(tzinfo=datetime.timezone.utc) == when
    answer = broker.zeek.Event(value)
    assert (topic, answer.name()) == ("/to", "answer")
    assert list(answer.args()) == [broker.Count(7), "seven", span, when, address]
    assert endpoint.web_socket_counts()["tests/1"]["received"] == 1


class Controller:
    """Answers what zeek-client asks the controller of Zeek's management framework."""

    TOPIC = "zeek/management/controller"
    API = "Management::Controller::API::"

    def __init__(self, scene, endpoint):
        self._endpoint = endpoint
        self._messages = scene.use(endpoint.make_subscriber(self.TOPIC))
        self.heard = []
        self._thread = threading.Thread(target=self._run)
        self._over = threading.Event()
        self._thread.start()

    def _run(self):
        while not self._over.is_set():
            for _, value in self._messages.get(10, 0.05):
                event = broker.zeek.Event(value)
                assert event.valid()
                self.heard.append((event.name(), event.args()))
                self._answer(event.name().replace(self.API, ""), *event.args())

    def _answer(self, name, reqid, *arguments):
        respond = getattr(self, name, None)
        if respond is not None:
            event, data = respond(*arguments)
            result = (reqid, True, None, data, None, None)
            self._endpoint.publish(self.TOPIC, broker.zeek.Event(self.API + event, reqid, result))

    @staticmethod
    def get_instances_request():
        instances = (("agent-b", ipaddress.ip_address("192.168.0.2"), broker.Port(2151, broker.Port.TCP)),
                     ("agent-a", ipaddress.ip_address("2001:db8::1"), None))
        return "get_instances_response", instances

    @staticmethod
    def test_timeout_request(with_state):
        return "test_timeout_response", None

    def close(self):
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_zeek_client(scene, tls):
    program = pathlib.Path(sys.executable).with_name("zeek-client")
    assert program.exists(), "zeek-client is not installed"
    if tls:
        anonymous()
    endpoint = scene.endpoint(tls=tls)
    port = serve(endpoint)
    controller = Controller(scene, endpoint)

    def run(*arguments):
        return subprocess.run(
            [str(program), "--controller", "%s:%d" % (LOCALHOST, port),
             "--set", "ssl.enable=%s" % str(tls).lower(), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False, text=True,
            env={**os.environ, "NO_PROXY": "*"})

    try:
        instances = run("get-instances")
        assert instances.returncode == 0, instances.stderr
        assert json.loads(instances.stdout) == {
            "agent-a": {"host": "2001:db8::1"},
            "agent-b": {"host": "192.168.0.2", "port": 2151},
        }
        timeout = run("test-timeout", "--with-state")
        assert json.loads(timeout.stdout) == {"success": True, "error": None}, timeout.stderr
    finally:
        controller.close()
    assert [name for name, _ in controller.heard if name.endswith("request")] == [
        Controller.API + "get_instances_request", Controller.API + "test_timeout_request"]
    requests = [args for name, args in controller.heard if name.endswith("request")]
    assert list(requests[1][1:]) == [True]


# --- the documentation ---------------------------------------------------------------------------

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "websocket.md"


def blocks(language):
    """The examples of the document in that language."""
    lines, block = DOCUMENT.read_text(encoding="utf-8").splitlines(), None
    for line in lines:
        if line.startswith("```"):
            if block is not None:
                yield "\n".join(block)
                block = None
            elif line == "```" + language:
                block = []
        elif block is not None:
            block.append(line)


def test_the_commands_of_the_documentation(scene, endpoint):
    messages = scene.use(endpoint.make_subscriber("/topic"))
    port = serve(endpoint)
    commands = [block for block in blocks("sh") if "websockets" in block]
    assert len(commands) == 1
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    shell = subprocess.run(
        ["sh", "-c", commands[0].replace("9997", str(port))], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=DEADLINE_S, check=True, text=True,
        env={**os.environ, "PATH": path, "NO_PROXY": "*"})
    assert take_one(messages) == ("/topic/test", broker.Count(42))
    assert '{"type":"ack"' in shell.stdout


def test_the_program_of_the_documentation(scene, endpoint, capsys):
    port = serve(endpoint)
    [program] = [block for block in blocks("python") if "websockets" in block]
    echo = scene.use(endpoint.make_subscriber("/topic/question"))

    def answer():
        topic, value = take_one(echo)
        endpoint.publish("/topic/answer", value)

    answering = scene.background(answer)
    exec(compile(program.replace("9997", str(port)), str(DOCUMENT), "exec"), {})
    answering.result(DEADLINE_S)
    assert '"topic":"/topic/answer"' in capsys.readouterr().out
