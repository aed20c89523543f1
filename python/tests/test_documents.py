"""The Python examples of the documents, as they stand there but for ports and names of files.

Every block of every document has to be run by a test: `test_every_example_is_run` fails for a new one.
The examples of docs/websocket.md that need another program are in test_websocket.py.
"""

import asyncio
import concurrent.futures
import datetime
import ipaddress
import itertools
import logging
import pathlib
import re
import shutil
import struct
import subprocess

import pytest

import broker
import broker.testing
import certificates
import log_stream
from broker import zeek
from deadline import DEADLINE_S, take_one, wait_until
from peer import Tag, encode
from ports import reserved_port
from recordings import REPOSITORY
from scene import connect, listen

HOST, TOOK = ipaddress.ip_address("192.0.2.1"), datetime.timedelta(seconds=2)
ELSEWHERE = "from websockets.sync.client import connect"

# How each example begins, by document.
EXAMPLES = {
    "docs/index.md": [
        'import broker.sync as broker\n\nwith broker.connect("ws://',
        'import broker.sync as broker\n\nwith broker.connect("zeek://',
    ],
    # Run by test_tutorial.py, with everything that is typed there.
    "docs/tutorial.md": ["# watch.py", "# detect.py", "# test_detect.py"],
    "README.md": [
        'import broker\n\nwith broker.Endpoint() as ep, ep.make_subscriber("/topic/test") as sub:',
        'with broker.Endpoint() as ep, ep.attach_master("hosts", broker.Backend.SQLite',
        'with broker.Endpoint() as ep, broker.zeek.logs(ep, ["conn", "dns"]) as logs:',
        "import broker.aio as broker\n\n\nasync def main():",
    ],
    "docs/zeek.md": [
        "import broker\n\nwith broker.Endpoint() as endpoint, broker.zeek.logs(",
        "async def watch(endpoint):",
        'with open("conn.log", "w") as out:',
        "import dataclasses",
        "app = broker.zeek.App(",
    ],
    "docs/python.md": [
        "import broker.aio as broker\n\n\nasync def main(address):",
        "import broker.sync as broker\n\n\ndef main(address):",
        "import broker.sync as broker\n\n\ndef test_the_program_asks_once(fake_zeek):",
        "import asyncio\n\nimport broker\n\n\nasync def show(messages):",
        "import pathlib\n\nimport broker\n\n\ndef endpoint(directory, name):",
    ],
    "docs/delivery.md": [
        'messages = endpoint.make_subscriber("/topic", on_loss="raise")',
    ],
    "docs/http.md": [
        "import broker\n\nwith broker.Endpoint() as endpoint:\n    port = endpoint.serve_http(\"127.0.0.1\", 9911)",
        "import broker\n\nwith broker.Endpoint() as endpoint:\n    port = endpoint.serve_http(\"127.0.0.1\", 0, web_socket=True)",
    ],
    "docs/operations.md": [
        "import logging\n\nimport broker\n\nlogging.basicConfig(level=logging.INFO)",
        "import broker\n\noptions = broker.BrokerOptions()\noptions.use_real_time = False",
    ],
    "docs/websocket.md": [
        "import json\n" + ELSEWHERE,
        'ep.peer("ws://localhost:27759", retry=5)',
        "options = broker.BrokerOptions()",
    ],
    # Run by test_nats.py, test_durable.py, test_stream_readers.py and test_replicated_stores.py, which have servers.
    "docs/nats.md": [
        'import broker\n\nwith broker.Endpoint() as endpoint, endpoint.make_subscriber("/site/alerts")',
        'import broker\n\nwith broker.Endpoint() as endpoint:\n    endpoint.peer(',
        'import broker\n\nwith broker.Endpoint() as endpoint:\n    endpoint.peer(',
        'import broker\n\nwith broker.Endpoint() as endpoint:\n    endpoint.peer(',
        'import broker\n\nwith broker.Endpoint() as endpoint:\n    settings = {',
    ],
    "docs/zeromq.md": [
        'import broker\n\nwith broker.Endpoint() as endpoint, endpoint.make_subscriber("/site/alerts")',
        'import broker\n\nwith broker.zeek.logs("zmq-pull://0.0.0.0:27764", "conn") as logs',
        "import broker\n\nwith broker.zeek.Forwarder(",
    ],
}


class Enough(Exception):
    """Ends an example that would go on for ever."""


def blocks(name):
    """The Python examples of a document."""
    found, block = [], None
    for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            if block is not None:
                found.append("\n".join(block))
                block = None
            elif line == "```python":
                block = []
        elif block is not None:
            block.append(line)
    return found


def example(name, number, **replaced):
    """One example; every text that is to be replaced has to be in it."""
    block = blocks(name)[number]
    assert block.startswith(EXAMPLES[name][number])
    for old, new in replaced.values():
        assert old in block
        block = block.replace(old, new)
    return compile(block, name, "exec")


def printing(lines, last=lambda lines: False):
    """A `print` that collects what is printed, and stops the example after the last line that is wanted."""
    def collect(*values):
        lines.append(values)
        if last(lines):
            raise Enough
    return collect


def documents():
    listed = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    return sorted(str(path.relative_to(REPOSITORY)) for path in listed)


def test_every_example_is_run():
    found = {name: blocks(name) for name in documents() if blocks(name)}
    assert set(found) == set(EXAMPLES)
    for name, beginnings in EXAMPLES.items():
        assert len(found[name]) == len(beginnings), name
        for block, beginning in zip(found[name], beginnings):
            assert block.startswith(beginning), name


def test_pages_with_scripts_of_zeek_say_that_these_are_not_run():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "docs" / "recipes").glob("*.md")]
    with_scripts = [page for page in pages if "\n```zeek\n" in page.read_text(encoding="utf-8")]
    assert len(with_scripts) >= 4
    assert [page.name for page in with_scripts if "not executed by the tests" not in page.read_text(encoding="utf-8")] == []


# --- README.md -----------------------------------------------------------------------------------


def test_the_first_example(scene):
    other = scene.endpoint()
    messages = scene.use(other.make_subscriber("/topic/test"))

    def answer():
        topic, value = take_one(messages)
        other.publish(topic, zeek.Event("pong", *zeek.Event(value).args()))

    answering, lines = scene.background(answer), []
    exec(example("README.md", 0, port=("9999", str(listen(other)))), {"print": printing(lines)})
    answering.result(DEADLINE_S)
    assert lines == [("/topic/test", "pong", [42])]


def test_the_store(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port, lines = reserved_port(), []
    names = {"broker": broker, "print": printing(lines, lambda lines: lines[-1][1] == "new")}

    def keep():
        with pytest.raises(Enough):
            exec(example("README.md", 1, port=("9999", str(port))), names)

    keeping = scene.background(keep)
    try:
        other = scene.endpoint()
        assert other.peer("127.0.0.1", port, 1.0, timeout=DEADLINE_S)
        clone = scene.use(other.attach_clone("hosts"))
        wait_until(lambda: clone.get("seen") == 1, "the entries of the master")
        assert clone.get("10.0.0.1") == "printer"
        # The master may not yet look at its events when the first change comes.
        number = 0

        def change_again():
            nonlocal number
            number += 1
            clone.put("new", number)
            return concurrent.futures.wait([keeping], 0.1).done

        wait_until(change_again, "the example has seen a change")
        keeping.result()
    finally:
        # Whatever failed, the example ends.
        if "ep" in names:
            names["ep"].shutdown()
    *own, (kind, _, value) = lines
    assert kind in ("insert", "update") and 1 <= value <= number
    # Its own changes come as well, as far as it looked at its events in time.
    assert set(own) <= {("insert", "10.0.0.1", "printer"), ("insert", "seen", 1)}
    assert pathlib.Path("hosts.sqlite").is_file()


# --- docs/index.md -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["websocket", "native"])
def test_the_first_page(scene, number):
    other, lines = scene.endpoint(), []
    app = zeek.App(other, "/topic/test")
    app.on("ping")(lambda n: zeek.Event("pong", n))
    serving = scene.background(app.run)
    port = other.listen_ws("127.0.0.1", 0, tls=False) if number == 0 else listen(other)
    exec(example("docs/index.md", number, port=("27759" if number == 0 else "9999", str(port))), {"print": printing(lines)})
    assert lines == [("pong", [42])]
    app.stop()
    serving.result(DEADLINE_S)


# --- logs ----------------------------------------------------------------------------------------


class WithLogs:
    """A scripted Zeek that waits for a connection and then sends a record of each of two logs."""

    def __init__(self, scene):
        self.peer = scene.peer(small=True)
        self.port = str(self.peer.listen())
        self.serving = scene.background(self._serve)

    def _serve(self):
        self.peer.accept()
        self.peer.shake_hands().sync()
        conn = log_stream.CONN.write(
            1700000000.25, "C1", "192.0.2.7", "49152/tcp", "198.51.100.1", "443/tcp", "tcp", None, None, None, True, [])
        dns = log_stream.DNS.write(1700000001.5, "example.org", ["192.0.2.1"], [300.0])
        for log, message in [(log_stream.CONN, log_stream.CONN.create()), (log_stream.CONN, conn),
                             (log_stream.DNS, log_stream.DNS.create()), (log_stream.DNS, dns)]:
            self.peer.send_envelope(Tag.DATA, log_stream.TOPIC % log.stream, encode(message))
        # The goodbye of an endpoint waits for its answer.
        self.peer.pong(self.peer.expect_bye().payload)


TIME = datetime.datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=datetime.timezone.utc)


def test_the_logs_of_the_readme(scene):
    server, lines = WithLogs(scene), []
    with pytest.raises(KeyError, match="id.orig_h"):
        # A DNS log of Zeek has the field; the one of this test does not, and so ends the example.
        exec(example("README.md", 2, port=("9999", server.port)), {"broker": broker, "print": printing(lines)})
    server.serving.result(DEADLINE_S)
    [(when, host, line)] = lines
    assert (when, host) == (TIME, ipaddress.ip_address("192.0.2.7"))
    assert line.startswith('{"ts":1700000000.25,"uid":"C1","id.orig_h":"192.0.2.7"')


def test_the_logs_of_the_page(scene):
    server, lines = WithLogs(scene), []
    with pytest.raises(Enough):
        exec(example("docs/zeek.md", 0, port=("9999", server.port)), {"print": printing(lines, lambda lines: len(lines) == 2)})
    server.serving.result(DEADLINE_S)
    assert lines[0] == (TIME, ipaddress.ip_address("192.0.2.7"), "-")
    assert lines[1][0].startswith('{"ts":1700000000.25,"uid":"C1"')


def test_logs_on_an_event_loop(scene, endpoint):
    server, lines = WithLogs(scene), []
    names = {"broker": broker, "asyncio": asyncio, "print": printing(lines, lambda lines: True)}
    exec(example("docs/zeek.md", 1, port=("9999", server.port)), names)
    with pytest.raises(Enough):
        asyncio.run(asyncio.wait_for(names["watch"](endpoint), DEADLINE_S))
    endpoint.shutdown()
    server.serving.result(DEADLINE_S)
    assert lines[0][0].startswith('{"ts":1700000000.25,"uid":"C1"')


def test_a_log_file_as_zeek_writes_it(scene, endpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = WithLogs(scene)
    with zeek.logs(endpoint, ["conn"]) as logs:
        assert endpoint.peer("127.0.0.1", int(server.port), 0.0)
        exec(example("docs/zeek.md", 2), {"logs": itertools.islice(logs, 1)})
    endpoint.shutdown()
    server.serving.result(DEADLINE_S)
    lines = (tmp_path / "conn.log").read_text().splitlines()
    fields = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
    [record] = [line.split("\t") for line in lines if not line.startswith("#")]
    assert dict(zip(fields, record))["id.orig_h"] == "192.0.2.7"
    assert (lines[0], lines[-1].split("\t")[0]) == ("#separator \\x09", "#close")


# --- docs/delivery.md ----------------------------------------------------------------------------


class Overrun:
    """An endpoint whose subscriber has lost messages before it is read."""

    def __init__(self, scene, endpoint):
        self.scene, self.endpoint = scene, endpoint

    def make_subscriber(self, topic, on_loss):
        messages = self.scene.use(self.endpoint.make_subscriber(topic, on_loss=on_loss))
        sender = self.scene.endpoint()
        connect(sender, self.endpoint)
        flood = self.scene.background(lambda: [sender.publish(topic, "x" * (1 << 20)) for _ in range(200)])
        wait_until(lambda: messages.dropped > 0, "messages are dropped")
        flood.result(DEADLINE_S)
        return messages


def test_a_loss_that_is_raised(scene, endpoint):
    lines = []
    exec(example("docs/delivery.md", 0), {"broker": broker, "endpoint": Overrun(scene, endpoint), "print": printing(lines)})
    [(missed, count)] = lines
    assert missed == "missed" and count > 0


# --- events --------------------------------------------------------------------------------------


def test_events_as_classes(scene):
    endpoint, other = scene.endpoint(), scene.endpoint()
    messages = scene.use(other.make_subscriber("/demo"))
    connect(endpoint, other)
    arguments = ("root", broker.Count(3), HOST, TOOK, None)
    names = {"endpoint": endpoint, "host": HOST, "took": TOOK, "value": zeek.Event("Demo::login", *arguments)}
    exec(example("docs/zeek.md", 3), names)
    topic, value = take_one(messages)
    assert (topic, zeek.Event(value).name(), tuple(zeek.Event(value).args())) == ("/demo", "Demo::login", arguments)
    assert names["login"] == names["Login"]("root", broker.Count(3), HOST, TOOK)


def test_events_as_functions(scene):
    endpoint, other = scene.endpoint(), scene.endpoint()
    messages = scene.use(other.make_subscriber("/topic/test"))
    names = {"broker": broker, "endpoint": endpoint, "Count": broker.Count}
    running = scene.background(exec, example("docs/zeek.md", 4), names)
    wait_until(lambda: "ping" in names, "the handler")
    connect(endpoint, other)
    other.publish("/topic/test", zeek.Event("ping", "hi", broker.Count(1)))
    topic, value = take_one(messages)
    event = zeek.Event(value)
    assert (topic, event.name(), event.args()) == ("/topic/test", "pong", ["hi", broker.Count(1)])
    names["app"].stop()
    assert running.result(DEADLINE_S) is None


# --- docs/http.md --------------------------------------------------------------------------------


def test_metrics_and_stats():
    lines, port = [], reserved_port()
    exec(example("docs/http.md", 0, port=("9911", str(port))), {"print": printing(lines)})
    assert lines == [([],)]


def test_web_sockets_at_the_port_of_metrics():
    lines = []
    exec(example("docs/http.md", 1), {"print": printing(lines)})
    [(url,)] = lines
    assert url.startswith("ws://localhost:") and url.endswith("/v1/messages/json")


# --- docs/operations.md --------------------------------------------------------------------------


def test_the_log_reaches_logging(caplog):
    try:
        with caplog.at_level(logging.DEBUG, "broker"):
            exec(example("docs/operations.md", 0), {})
            assert broker.logging.flush(DEADLINE_S)
        assert "dial-failed" in [getattr(record, "event", None) for record in caplog.records]
        assert logging.getLogger("broker.websocket").level == logging.DEBUG
    finally:
        logging.getLogger("broker.websocket").setLevel(logging.NOTSET)


def test_the_clock_of_data_stores():
    exec(example("docs/operations.md", 1), {})


# --- docs/websocket.md ---------------------------------------------------------------------------


def test_a_web_socket_server_as_a_peer(scene):
    server, client = scene.endpoint(tls=False), scene.endpoint()
    port = server.listen_ws("127.0.0.1", 0)
    exec(example("docs/websocket.md", 1, port=("27759", str(port))), {"ep": client})
    assert client.peers() == []
    url = "ws://localhost:%d/v1/messages/json" % port
    assert client.web_socket_peer_counts()[url]["connects"] == 1


def test_a_private_authority(scene, tmp_path):
    authority = certificates.make(tmp_path, "authority")
    identity = certificates.make(tmp_path, "localhost", authority)
    server = scene.endpoint()
    port = server.listen_ws("127.0.0.1", 0, certificate=identity.certificate_file, key=identity.key_file)
    names = {"broker": broker}
    exec(example("docs/websocket.md", 2, file=("/etc/site/ca.pem", str(authority.certificate_file)),
                 url=("zeek.example:27759", "localhost:%d" % port)), names)
    client = scene.adopt(names["endpoint"])
    assert len(client.peers()) == 1


# --- docs/python.md ------------------------------------------------------------------------------


def test_the_async_example(scene):
    lines = []
    with broker.testing.FakeZeek() as fake:
        fake.on("ping", lambda event: broker.zeek.Event("pong", *event.args()))
        names = {"print": printing(lines, lambda lines: len(lines) == 3)}
        address = ("ws://127.0.0.1:27759", fake.web_socket_address)
        exec(example("README.md", 3, address=address), names)
        with pytest.raises(Enough):
            sending = scene.background(fake.publish, "/topic/test", broker.zeek.Event("hello"))
            asyncio.run(asyncio.wait_for(names["main"](), DEADLINE_S))
        sending.result(DEADLINE_S)
    assert lines[0] == ([42],)
    assert {event.name() for _, event in lines[1:]} == {"pong", "hello"}


@pytest.mark.parametrize("number", [0, 1], ids=["aio", "sync"])
def test_the_twins(capsys, number):
    names = {}
    exec(example("docs/python.md", number), names)
    with broker.testing.FakeZeek() as fake:
        fake.on("ping", lambda event: broker.zeek.Event("pong", *event.args()))
        fake.endpoint.attach_master("hosts")
        running = names["main"](fake.address)
        if number == 0:
            asyncio.run(asyncio.wait_for(running, DEADLINE_S))
    printed = capsys.readouterr().out
    assert printed.startswith("/topic/test <SafeEvent pong(1)>\n")
    if number == 0:
        assert printed.endswith("[2]\n0\nprinter\n{}\n")


def test_a_program_is_tested_without_zeek(fake_zeek):
    names = {}
    exec(example("docs/python.md", 2), names)
    names["test_the_program_asks_once"](fake_zeek)


def test_an_event_loop(scene, capsys):
    other, names = scene.endpoint(), {}
    port = listen(other)
    exec(example("docs/python.md", 3), names)

    async def main():
        running = asyncio.ensure_future(names["main"]("127.0.0.1", port))
        await asyncio.get_running_loop().run_in_executor(
            None, wait_until, other.peer_subscriptions, "the program subscribed")
        other.publish("/topic", "hello")
        shown = ""
        while not shown:
            await asyncio.sleep(0)
            shown = capsys.readouterr().out
            assert not running.done(), running
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return shown

    assert asyncio.run(asyncio.wait_for(main(), 3 * DEADLINE_S)) == "/topic hello\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command of OpenSSL is not there")
def test_certificates_of_native_peers(tmp_path):
    text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    commands, = re.findall("```sh\n(.*?)```", text, re.DOTALL)
    subprocess.run(["sh", "-e"], input=commands, text=True, cwd=tmp_path, check=True, capture_output=True)
    names = {}
    exec(example("docs/python.md", 4), names)
    make = names["endpoint"]
    with make(tmp_path, "sensor") as one, make(tmp_path, "sensor") as two, broker.Endpoint() as stranger, \
            one.make_subscriber("/t") as messages:
        port = listen(one)
        assert not stranger.peer("127.0.0.1", port, 0)
        assert two.peer("127.0.0.1", port, 0)
        two.publish("/t", 1)
        assert take_one(messages) == ("/t", 1)
    with pytest.raises(broker.ConfigurationError):
        make(tmp_path, "nobody")


# --- docs/zeromq.md ------------------------------------------------------------------------------


def test_a_cluster_that_uses_zeromq():
    pytest.importorskip("zmq")
    import peer
    from cluster import Node, Proxy

    with Proxy() as proxy, Node(proxy, "/site/ask") as node:
        def answer():
            node.until("/site/alerts")
            assert node.receive()[::2] == ("/site/ask", peer.event("ask", peer.string("who")))
            node.send("/site/alerts", peer.event("alert", peer.string("me")))

        lines = []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answering = pool.submit(answer)
            with pytest.raises(Enough):
                exec(example("docs/zeromq.md", 0, url=("zmq://manager:27760", proxy.url)),
                     {"print": printing(lines, lambda lines: True)})
            answering.result(DEADLINE_S)
        (topic, event), = lines
        assert (topic, event.name(), event.args()) == ("/site/alerts", "alert", ["me"])


def log_batch(path, service):
    """A record with one text, as a node pushes it. Spec: zeromq 7.2."""
    def text(value):
        return struct.pack(">I", len(value)) + value

    names = b"".join(map(text, [b"Conn::LOG", b"Log::WRITER_ASCII", b"default", path]))
    field = struct.pack(">IB", 1, 0) + text(b"service") + struct.pack(">iiB", 7, 0, 1)
    return names + field + struct.pack(">IiiB", 1, 7, 0, 1) + text(service)


def test_records_that_go_on_to_another_logger():
    archive = zeek.LogReceiver("zmq-pull://127.0.0.1:0")
    address = "127.0.0.1:%d" % reserved_port()
    with concurrent.futures.ThreadPoolExecutor() as pool, zeek.LogSender("zmq-push://" + address) as node:
        running = pool.submit(exec, example(
            "docs/zeromq.md", 1, address=("0.0.0.0:27764", address),
            archive=("archive:27764", "127.0.0.1:%d" % archive.port),
            end=("archive.send(record)", "archive.send(record) and archive.close(60) and end()")),
            {"end": enough})
        for service in b"http", b"ssh":
            assert node.send_batch(log_batch(b"conn", service))
        with pytest.raises(Enough):
            running.result(DEADLINE_S)
    with zeek.logs(archive) as logs:
        assert logs.recv(DEADLINE_S)["service"] == "ssh"


def enough():
    raise Enough


def test_a_forwarder():
    lines = []
    exec(example("docs/zeromq.md", 2, xpub=("0.0.0.0:27760", "127.0.0.1:0"), xsub=("0.0.0.0:27761", "127.0.0.1:0")),
         {"print": printing(lines)})
    assert lines[0][0]["connections"] == 0
