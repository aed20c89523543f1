"""The recipes: the programs of examples/ as docs/recipes has them, each against what stands in for Zeek.

The code of a recipe is the text of its program, so what is tested is what is read.
"""

import asyncio
import datetime
import http.server
import importlib.util
import ipaddress
import itertools
import json
import logging
import os
import queue
import socket
import subprocess
import sys

import pytest

import broker
import log_stream
from broker import zeek
from deadline import DEADLINE_S, take_one, wait_until
from log_stream import ADDR, ENUM, SET, STRING, TIME, Log
from peer import Tag, encode
from ports import reserved_port
from process import Program
from recordings import REPOSITORY
from scene import connect, listen
from test_documents import blocks

EXAMPLES = REPOSITORY / "examples"
RECIPES = REPOSITORY / "docs" / "recipes"

ADDRESS = ipaddress.ip_address("192.0.2.66")
NOTICE = Log("Notice::LOG", "notice", ("ts", TIME), ("note", ENUM), ("msg", STRING), ("src", ADDR))
INTEL = Log("Intel::LOG", "intel", ("ts", TIME), ("seen.indicator", STRING), ("seen.where", ENUM), ("sources", SET, STRING))
SCAN = NOTICE.write(1700000000.25, "Scan::Port_Scan", "scanned 15 ports", "192.0.2.66")


def load(name):
    """A program of examples/ as a module of its own."""
    spec = importlib.util.spec_from_file_location("recipe_" + name, EXAMPLES / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(name, *arguments):
    """A program of examples/ as a process, for what ends with Ctrl-C only."""
    path = str(EXAMPLES / (name + ".py"))
    return Program(code="import runpy, sys; sys.argv = %r; runpy.run_path(%r, run_name='__main__')"
                   % ([path, *map(str, arguments)], path))


class ZeekWithLogs:
    """A scripted Zeek that sends its logs to the first that connects, and keeps the connection."""

    def __init__(self, scene, log, *records):
        self.peer = scene.peer(small=True)
        self.url = "zeek://127.0.0.1:%d" % self.peer.listen()
        self.messages = [log.create(), *records]
        self.topic = log_stream.TOPIC % log.stream
        self.serving = scene.background(self._serve)

    def _serve(self):
        self.peer.accept()
        self.peer.shake_hands().sync()
        for message in self.messages:
            self.peer.send_envelope(Tag.DATA, self.topic, encode(message))
        # The goodbye of an endpoint waits for its answer.
        self.peer.pong(self.peer.expect_bye().payload)


# --- The documents -------------------------------------------------------------------------------


def test_recipes_are_the_programs():
    shown = set()
    for page in sorted(RECIPES.glob("*.md")):
        for block in blocks(str(page.relative_to(REPOSITORY))):
            found = [path.name for path in EXAMPLES.glob("*.py") if path.read_text(encoding="utf-8").rstrip("\n") == block]
            assert found, "%s has a block that is no program of examples/:\n%s" % (page.name, block[:200])
            shown.update(found)
    assert shown == {"intel_feed.py", "netcontrol_backend.py", "block.py", "notices.py", "dedup.py", "ask_variable.py",
                     "logs_parquet.py", "web_service.py", "detection.py", "test_detection.py"}


def test_the_backend_of_netcontrol_is_short():
    code = [line for line in (EXAMPLES / "netcontrol_backend.py").read_text().splitlines()[6:] if line.strip()]
    assert len(code) <= 32


# --- Intelligence --------------------------------------------------------------------------------


def test_indicators_are_fed_and_seen(scene, tmp_path, capsys):
    recipe = load("intel_feed")
    server = ZeekWithLogs(scene, INTEL, INTEL.write(1700000000.25, "192.0.2.66", "Conn::IN_RESP", ["misp"]))
    feed = {"Event": {"Attribute": [
        {"type": "ip-dst", "value": "192.0.2.66", "to_ids": True, "comment": "scanner"},
        {"type": "url", "value": "http://example.org/x", "to_ids": True, "comment": ""},
        {"type": "domain", "value": "example.org", "to_ids": False},
        {"type": "comment", "value": "text", "to_ids": True},
    ]}}
    assert list(recipe.items(feed)) == [
        ["192.0.2.66", broker.Enum("Intel::ADDR"), ["misp", "scanner", None] + 16 * [None]],
        ["example.org/x", broker.Enum("Intel::URL"), ["misp", None, None] + 16 * [None]],
    ]
    (tmp_path / "event.json").write_text(json.dumps(feed))
    # The stream of sightings has no end: the program is ended like one at a prompt.
    with started("intel_feed", server.url, tmp_path / "event.json") as program:
        program.expect("2023-11-14 22:13:20.250000+00:00 192.0.2.66 Conn::IN_RESP misp")
        program.interrupt()
        server.serving.result(DEADLINE_S)


def test_indicators_arrive_at_the_manager(scene, tmp_path):
    manager = scene.endpoint()
    received = scene.use(manager.make_subscriber("zeek/cluster/manager"))
    feed = {"Event": {"Attribute": [{"type": "ip-dst", "value": "192.0.2.66", "to_ids": True}]}}
    (tmp_path / "event.json").write_text(json.dumps(feed))
    port = listen(manager)
    with started("intel_feed", "zeek://127.0.0.1:%d" % port, tmp_path / "event.json"):
        event = zeek.Event(take_one(received)[1])
    assert event.name() == "Intel::insert_item"
    assert event.args()[0][:2] == ("192.0.2.66", broker.Enum("Intel::ADDR"))


# --- NetControl ----------------------------------------------------------------------------------


def rule(kind="NetControl::ADDRESS"):
    entity = (broker.Enum(kind), None, None, ipaddress.ip_network("192.0.2.66/32"), None)
    return (broker.Enum("NetControl::DROP"), broker.Enum("NetControl::FORWARD"), entity, datetime.timedelta(hours=1),
            0, "", None, None, "", broker.Count(2))


def test_a_backend_of_netcontrol(scene):
    recipe, applied = load("netcontrol_backend"), []

    def apply(verb, rule):
        applied.append((verb, rule))
        return "no such element" if len(applied) == 3 else ""

    backend, manager = scene.endpoint(), scene.endpoint()
    app = recipe.serve(backend, apply)
    serving = scene.background(app.run)
    answers = scene.use(manager.make_subscriber("netcontrol"))
    connect(manager, backend)
    expected = []
    for event, arguments, answer in [("add", (), "added"), ("remove", ("expired",), "removed"),
                                     ("remove", ("",), "error")]:
        manager.publish("netcontrol", zeek.Event("NetControl::broker_%s_rule" % event, broker.Count(7), rule(), *arguments))
        reply = zeek.Event(take_one(answers)[1])
        assert reply.name() == "NetControl::broker_rule_" + answer
        assert reply.args() == [broker.Count(7), rule(), "no such element" if answer == "error" else ""]
        expected.append(("add" if event == "add" else "delete", rule()))
    assert applied == expected
    app.stop()
    serving.result(DEADLINE_S)


def test_what_nft_is_asked(monkeypatch):
    recipe, asked = load("netcontrol_backend"), []

    class Done:
        stderr = "Error: busy\n"

    monkeypatch.setattr(recipe.subprocess, "run", lambda command, **settings: asked.append(command) or Done)
    assert recipe.nft("add", rule()) == "Error: busy"
    assert " ".join(asked[0]) == "nft add element inet filter blocked { 192.0.2.66/32 }"
    assert recipe.nft("add", rule("NetControl::FLOW")) == "cannot add a rule about NetControl::FLOW"
    assert len(asked) == 1


# --- Blocking ------------------------------------------------------------------------------------


def test_blocking(scene, capsys):
    recipe, manager = load("block"), scene.endpoint()
    app, blocked = zeek.App(manager, "/block/do", reply_topic="/block/done"), {}

    @app.on("Block::drop")
    def drop(address, lasts):
        blocked[address] = lasts
        return zeek.Event("Block::dropped", address, "rule-7")

    @app.on("Block::release")
    def release(address):
        return zeek.Event("Block::released", address, blocked.pop(address, None) is not None)

    serving = scene.background(app.run)
    url = "zeek://127.0.0.1:%d" % listen(manager)
    recipe.main(url, "drop", "192.0.2.66", "60")
    assert blocked == {ADDRESS: datetime.timedelta(minutes=1)}
    recipe.main(url, "release", "192.0.2.66")
    recipe.main(url, "release", "192.0.2.66")
    assert capsys.readouterr().out.splitlines() == ["blocked by rule rule-7", "released", "was not blocked"]
    app.stop()
    serving.result(DEADLINE_S)


def test_a_zeek_that_does_not_answer(scene, monkeypatch):
    recipe, manager = load("block"), scene.endpoint()
    monkeypatch.setattr(recipe, "TIMEOUT_S", 0.1)
    with pytest.raises(TimeoutError):
        recipe.main("zeek://127.0.0.1:%d" % listen(manager), "release", "192.0.2.66")


# --- Notices -------------------------------------------------------------------------------------


def forwarded(scene, endpoint, recipe, send, *records):
    server = ZeekWithLogs(scene, NOTICE, *records)
    forwarding = scene.background(recipe.forward, endpoint, server.url, send)

    def end():
        endpoint.shutdown()
        forwarding.result(DEADLINE_S)
        server.serving.result(DEADLINE_S)
    return end


def test_notices_to_a_queue(scene, endpoint):
    recipe, sent = load("notices"), queue.Queue()

    class Producer:
        def send(self, topic, value):
            sent.put((topic, json.loads(value)))

    end = forwarded(scene, endpoint, recipe, recipe.queue(Producer()), SCAN)
    topic, notice = sent.get(timeout=DEADLINE_S)
    assert (topic, notice["note"], notice["src"]) == ("zeek-notices", "Scan::Port_Scan", "192.0.2.66")
    end()


def test_notices_to_syslog(scene, endpoint):
    recipe = load("notices")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(DEADLINE_S)
        end = forwarded(scene, endpoint, recipe, recipe.syslog(*server.getsockname()), SCAN)
        # Priority 12: facility "user", severity "warning".
        assert server.recv(4096).startswith(b'<12>zeek-notice: {"ts":1700000000.25,"note":"Scan::Port_Scan"')
        end()
    logging.getLogger("zeek.notices").handlers.pop().close()


def test_notices_to_a_webhook(scene, endpoint, capsys):
    recipe, posted = load("notices"), queue.Queue()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            # The first one fails, as chats do.
            self.send_response(503 if posted.qsize() == 1 else 200)
            self.end_headers()

        def log_message(self, *values):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        running = scene.background(server.serve_forever)
        end = forwarded(scene, endpoint, recipe, recipe.webhook("http://127.0.0.1:%d/" % server.server_port), SCAN, SCAN)
        wait_until(lambda: posted.qsize() == 2, "both notices were posted")
        assert posted.get() == {"text": "*Scan::Port_Scan*: scanned 15 ports"}
        end()
        server.shutdown()
        running.result(DEADLINE_S)
    assert capsys.readouterr().err.startswith("not sent: HTTP Error 503")


# --- One alert for many sensors ------------------------------------------------------------------


def test_one_of_many_sensors_alerts(scene, tmp_path, capsys):
    recipe, port = load("dedup"), reserved_port()
    with started("dedup", "keep", port, tmp_path / "alerts.sqlite") as keeper:
        keeper.expect("ready")
        asking = [scene.background(recipe.alert, "127.0.0.1:%d" % port, "scan", "192.0.2.66") for _ in range(4)]
        for one in asking:
            one.result(DEADLINE_S)
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("ALERT: scan 192.0.2.66") == 1
    assert sum(line.startswith("known, first seen by ") for line in lines) == 3


# --- Variables -----------------------------------------------------------------------------------


def test_nodes_are_asked_for_a_variable(scene, capsys, monkeypatch):
    recipe, urls = load("ask_variable"), []
    for number in range(3):
        node = scene.endpoint()
        urls.append("zeek://127.0.0.1:%d" % listen(node))
        app = zeek.App(node, "zeek/control/" + node.node_id(), reply_topic="zeek/control/response")
        if number < 2:
            app.on("Control::id_value_request")(
                lambda name, number=number: zeek.Event("Control::id_value_response", name, "{ 10.%d.0.0/16 }" % number))
            scene.background(app.run)
        else:
            # Silent, as a node without the script; only it waits for so long.
            monkeypatch.setattr(recipe, "TIMEOUT_S", 1.0)
            recipe.main("Site::local_nets", urls[-1], "zeek://127.0.0.1:1")
    monkeypatch.setattr(recipe, "TIMEOUT_S", DEADLINE_S)
    recipe.main("Site::local_nets", *urls[:2])
    assert capsys.readouterr().out.splitlines() == [
        urls[2] + ": no answer", "zeek://127.0.0.1:1: cannot peer",
        urls[0] + ": { 10.0.0.0/16 }", urls[1] + ": { 10.1.0.0/16 }"]


# --- Parquet -------------------------------------------------------------------------------------


def test_logs_to_parquet(scene, endpoint, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="no pyarrow: see tools/requirements-dev.txt")
    recipe, path = load("logs_parquet"), tmp_path / "conn.parquet"
    record = log_stream.CONN.write(1700000000.25, "C1", "192.0.2.7", "49152/tcp", "198.51.100.1", "443/tcp", "tcp", None,
                                   1.5, 2**63, True, ["b", "a"])
    server = ZeekWithLogs(scene, log_stream.CONN, record, record, record)
    with zeek.logs(endpoint, ["conn"]) as logs:
        assert endpoint.peer(server.url, retry=0)
        assert recipe.write(itertools.islice(logs, 3), str(path), rows=2) == 3
    endpoint.shutdown()
    server.serving.result(DEADLINE_S)
    table = parquet.read_table(path)
    assert parquet.ParquetFile(path).num_row_groups == 2
    assert table.to_pylist()[2] == {
        "ts": datetime.datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=datetime.timezone.utc), "uid": "C1",
        "id.orig_h": "192.0.2.7", "id.orig_p": "49152/tcp", "id.resp_h": "198.51.100.1", "id.resp_p": "443/tcp",
        "proto": "tcp", "service": None, "duration": datetime.timedelta(seconds=1.5), "orig_bytes": 2**63,
        "local_orig": True, "tunnel_parents": "a,b"}


# --- A web service -------------------------------------------------------------------------------


def test_a_web_service(scene, monkeypatch):
    pytest.importorskip("fastapi", reason="no fastapi: see tools/requirements-dev.txt")
    import httpx

    server = ZeekWithLogs(scene, NOTICE, SCAN)
    monkeypatch.setenv("ZEEK", server.url)
    recipe = load("web_service")

    async def use():
        async with recipe.lifespan(recipe.app):
            async with httpx.AsyncClient(transport=httpx.ASGITransport(recipe.app), base_url="http://service") as client:
                while not (notices := (await client.get("/notices")).json()):
                    await asyncio.sleep(0.005)
                assert [notice["note"] for notice in notices] == ["Scan::Port_Scan"]
                assert (await client.post("/block/192.0.2.66?seconds=60")).json() == {"asked": "192.0.2.66"}
                assert (await client.post("/block/nonsense")).status_code == 422

    asyncio.run(asyncio.wait_for(use(), DEADLINE_S))
    server.serving.result(DEADLINE_S)


# --- Testing -------------------------------------------------------------------------------------


def test_the_test_of_a_detection():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(EXAMPLES), "-p",
                           "no:cacheprovider", str(EXAMPLES / "test_detection.py")], cwd=EXAMPLES, text=True,
                          capture_output=True, timeout=2 * DEADLINE_S)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


# --- The other programs --------------------------------------------------------------------------


def test_ping(scene):
    zeek_like = scene.endpoint()
    app = zeek.App(zeek_like, "/topic/test")
    app.on("ping")(lambda n: zeek.Event("pong", n))
    serving = scene.background(app.run)
    with started("ping", "127.0.0.1", listen(zeek_like)) as program:
        assert program.finish() == ["received pong[%d]" % n for n in range(5)]
    app.stop()
    serving.result(DEADLINE_S)


def test_logs(scene):
    server = ZeekWithLogs(scene, NOTICE, SCAN)
    with started("logs", "127.0.0.1", server.url.rpartition(":")[2], "notice") as program:
        assert program.line().startswith('notice {"ts":1700000000.25,"note":"Scan::Port_Scan"')
        program.interrupt()
        server.serving.result(DEADLINE_S)
        program.finish()


def test_a_store_of_host_names(scene, tmp_path):
    port = reserved_port()
    with started("store", "keep", tmp_path / "hosts.sqlite", port) as keeper:
        assert keeper.line().startswith("0 entries in ")
        with started("store", "set", "127.0.0.1", port, "10.0.0.1", "printer") as setting:
            setting.finish()
        keeper.expect("10.0.0.1 = 'printer'")
        with started("store", "show", "127.0.0.1", port) as showing:
            assert showing.finish() == ["10.0.0.1 = 'printer'"]
        keeper.interrupt()
        keeper.finish()


def test_subscribe(scene):
    publisher, port = scene.endpoint(), reserved_port()
    with started("subscribe", port, "/topic/test") as program:
        assert program.line().startswith("listening on port %d as " % port)
        assert publisher.peer("127.0.0.1", port, 0.0)
        publisher.publish("/topic/test/a", ("x", 1))
        publisher.publish("/topic/test/b", zeek.Event("ping", 1))
        program.expect("/topic/test/a: ('x', 1)")
        program.expect("/topic/test/b: event ping(1,)")
        program.interrupt()
        program.finish()
