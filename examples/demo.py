#!/usr/bin/env python3
"""Shows what the package does, and fails unless all of it works.

Part 1: this process and a second one peer over TLS. Values of every type go there and come back, Zeek
events are answered, and both sides watch the peering begin and end.

Part 2: the same once more over WebSocket; only the URL of the second process is another.

Part 3: the same API talks to a recorded Zeek: a third process replays the sessions of a real Zeek from
vectors/zeek and checks every byte we send.

Part 4: logs as they come from Zeek, printed as JSON lines and compared with what Zeek's own JSON logs
have: a stream of our own making, and one of a real Zeek where its recording is at hand.

Part 5: a data store shared with a process that keeps it in a file. That process ends and starts again, and
everything is still there.

Part 6: the command at the running endpoint: what it subscribes to, publishes, finds in a store, and says
about a topic that does not arrive. The endpoint's page for the browser is there as well.

Part 7: a Zeek cluster that uses ZeroMQ, where its recording is at hand: a forwarder of this package takes the
place of the manager's proxy, a third process is a recorded worker, and events and logs of it arrive.

    make demo
"""

import datetime
import ipaddress
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import broker
import outside_files

HERE = pathlib.Path(__file__).resolve().parent
RECORDINGS = HERE.parent / "vectors" / "zeek"
# One real stream is enough: the first of these that is there.
REAL_LOGS = ("zeek-logs-mixed.json", "zeek-logs-http.json", "zeek-logs-types.json")
# Zeek wrote the first line of these logs before the recorder was connected.
EARLY = ("reporter", "packet_filter")

# No step of the demonstration takes more than a moment; only a failure waits this long.
DEADLINE_S = 60.0

LOCALHOST = "127.0.0.1"
WIDTH = 100


class Failure(Exception):
    """Something did not arrive, or not as it should."""


class Process:
    """A Python program next to this one that prints its port, later what it saw."""

    def __init__(self, *arguments):
        self.name = pathlib.Path(arguments[0]).name
        self.process = subprocess.Popen([sys.executable, *map(str, arguments)], text=True,
                                        stdout=subprocess.PIPE)
        # Whatever goes wrong over there, reading its output ends.
        self.deadline = threading.Timer(2 * DEADLINE_S, self.process.kill)
        self.deadline.daemon = True
        self.deadline.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.deadline.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def port(self):
        line = self.process.stdout.readline()
        require(line, "%s did not start" % self.name)
        return json.loads(line)["port"]

    def finish(self):
        """Waits for the end and shows what the process printed."""
        for line in self.process.stdout:
            show(self.name, line.rstrip())
        code = self.process.wait(DEADLINE_S)
        require(code == 0, "%s ended with exit code %d" % (self.name, code))


def require(fact, text):
    if not fact:
        raise Failure(text)


def show(label, text):
    line = "  %-20s %s" % (label, text)
    print(line if len(line) <= WIDTH else line[:WIDTH - 4] + " ...", flush=True)


def heading(text):
    print("\n%s" % text, flush=True)


def receive(subscriber, what):
    """Returns the next message or status, or fails after the deadline."""
    received = subscriber.get(1, DEADLINE_S)
    require(received, "no %s within %d s" % (what, DEADLINE_S))
    return received[0]


def values():
    """One value of every type, and what programs make of them."""
    moment = datetime.datetime(2024, 2, 29, 12, 30, 0, 250000, tzinfo=datetime.timezone.utc)
    address = ipaddress.ip_address
    network = ipaddress.ip_network
    return [
        ("none", None),
        ("boolean", True),
        ("count", broker.Count(2**64 - 1)),
        ("integer", -42),
        ("real", 0.1),
        ("string", "gr\u00fc\u00df dich"),
        ("string (bytes)", b"\xff\x00\xfe"),
        ("address (v4)", address("192.0.2.1")),
        ("address (v6)", address("2001:db8::1")),
        ("subnet (v4)", network("198.51.100.0/24")),
        ("subnet (v6)", network("2001:db8::/32")),
        ("port", broker.Port(443, broker.Port.TCP)),
        ("timestamp", moment),
        ("timespan", datetime.timedelta(minutes=-1, microseconds=7)),
        ("enum", broker.Enum("Conn::LOG")),
        ("set", {1, 2, 3}),
        ("table", {"http": broker.Port(80, broker.Port.TCP), "dns": broker.Port(53, broker.Port.UDP)}),
        ("vector", (1, "two", (3.0, None))),
        ("record", ("CHhAvVGS1DHFjwGM9", moment, address("192.0.2.1"), None, {"a", "b"})),
        ("64 KiB string", "x" * 65536),
    ]


def peer_with(url, endpoint, statuses):
    require(endpoint.peer(url, retry=0.0), "no peering with %s" % url)
    show("peer", url)
    for expected in (broker.SC.EndpointDiscovered, broker.SC.PeerAdded):
        status = receive(statuses, "status event")
        show("status", status)
        require(type(status) is broker.Status and status.code() == expected,
                "expected %s, got %s" % (expected, status))


def send_values(endpoint, messages):
    for name, value in values():
        endpoint.publish("/demo/to-partner/value", value)
        topic, echo = receive(messages, "echo of the %s" % name)
        require(topic == "/demo/to-main/value", "unexpected topic %s" % topic)
        require(type(echo) is type(value) and echo == value,
                "%s came back as %r instead of %r" % (name, echo, value))
        show(name, repr(echo))


def send_events(endpoint, messages):
    for n in range(5):
        endpoint.publish("/demo/to-partner/event", broker.zeek.Event("ping", n, broker.Count(n)))
        _, value = receive(messages, "pong")
        event = broker.zeek.Event(value)
        require(event.valid() and event.name() == "pong", "not a pong: %r" % (value,))
        require(event.args() == [n, broker.Count(n)], "wrong arguments: %r" % (event.args(),))
        show("event", "%s%s" % (event.name(), tuple(event.args())))


def lose_the_peer(endpoint, statuses, partner):
    endpoint.publish("/demo/to-partner/stop", None)
    partner.finish()
    for expected in (broker.SC.PeerLost, broker.SC.EndpointUnreachable):
        status = receive(statuses, "status event")
        show("status", status)
        require(type(status) is broker.Status and status.code() == expected,
                "expected %s, got %s" % (expected, status))


def peer_with_nobody(scheme, endpoint, statuses):
    # A port that is kept and at which nothing listens.
    with socket.socket() as unused:
        unused.bind((LOCALHOST, 0))
        address = "%s://%s:%d" % (scheme, LOCALHOST, unused.getsockname()[1])
        require(not endpoint.peer(address, retry=0.0), "peered with nobody")
    error = receive(statuses, "error event")
    show("error", error)
    require(type(error) is broker.Error and error.code() == broker.EC.PeerUnavailable,
            "expected PeerUnavailable, got %s" % error)


def endpoint_for_both():
    """An endpoint whose values survive JSON to the last nanosecond; to native peers that is no matter."""
    options = broker.BrokerOptions()
    options.web_socket_lossless = True
    return broker.Endpoint(broker.Configuration(options))


def two_processes(scheme):
    with Process(HERE / "demo_partner.py", scheme) as partner, endpoint_for_both() as endpoint, \
            endpoint.make_subscriber("/demo/to-main") as messages, \
            endpoint.make_status_subscriber(True) as statuses:
        peer_with("%s://%s:%d" % (scheme, LOCALHOST, partner.port()), endpoint, statuses)
        send_values(endpoint, messages)
        send_events(endpoint, messages)
        lose_the_peer(endpoint, statuses, partner)
        peer_with_nobody(scheme, endpoint, statuses)


def plain_endpoint():
    """An endpoint without TLS: the recordings hold what was inside of it."""
    options = broker.BrokerOptions()
    options.disable_ssl = True
    return broker.Endpoint(broker.Configuration(options))


def recorded_ping():
    heading("A recorded Zeek answers ping events")
    with Process(HERE / "zeek_replay.py", RECORDINGS / "zeek-ping-responder.json") as zeek, \
            plain_endpoint() as endpoint, endpoint.make_subscriber("/topic/test") as messages:
        port = zeek.port()
        require(endpoint.peer(LOCALHOST, port, 0.0), "the recorded Zeek did not peer")
        # Zeek's ping takes an int: it drops the event with a count, so no pong(9) comes back.
        for argument in (0, 1, 2, broker.Count(9), 77):
            endpoint.publish("/topic/test", broker.zeek.Event("ping", argument))
            if isinstance(argument, broker.Count):
                show("ping(%r)" % argument, "ignored by Zeek: wrong type")
                continue
            _, value = receive(messages, "pong")
            event = broker.zeek.Event(value)
            require(event.valid() and event.name() == "pong" and event.args() == [argument],
                    "expected pong(%s), got %r" % (argument, value))
            show("ping(%r)" % argument, "%s%s" % (event.name(), event.args()))
        endpoint.unpeer(LOCALHOST, port)
        zeek.finish()


def recorded_types():
    heading("A recorded Zeek sends every type it has")
    address = ipaddress.ip_address
    questions = [
        (broker.zeek.Event("ask", broker.Count(42)), "all_types"),
        (broker.zeek.Event("echo_any", broker.Count(1)), "[data=broker::data{1}]"),
        (broker.zeek.Event("echo_any", "x"), "[data=broker::data{x}]"),
        (broker.zeek.Event("echo_any", (broker.Count(1), "y")), "[data=broker::data{(1, y)}]"),
        (broker.zeek.Event("echo_any", None), "[data=broker::data{nil}]"),
        (broker.zeek.Event("echo_any", {address("10.0.0.1")}), "[data=broker::data{{10.0.0.1}}]"),
    ]
    with Process(HERE / "zeek_replay.py", RECORDINGS / "zeek-all-types.json") as zeek, \
            plain_endpoint() as endpoint, endpoint.make_subscriber("/types/out") as messages:
        port = zeek.port()
        require(endpoint.peer(LOCALHOST, port, 0.0), "the recorded Zeek did not peer")
        for question, expected in questions:
            endpoint.publish("/types/in", question)
            _, value = receive(messages, "answer to %s" % question.name())
            event = broker.zeek.Event(value)
            require(event.valid(), "not an event: %r" % (value,))
            if expected == "all_types":
                require(event.name() == expected and len(event.args()) == 20,
                        "unexpected answer %r" % (value,))
                for argument in event.args():
                    show(type(argument).__name__, repr(argument))
            else:
                require(event.args() == [broker.Count(1), expected],
                        "expected %s, got %r" % (expected, event.args()))
                show(event.name(), event.args()[1])
        endpoint.unpeer(LOCALHOST, port)
        zeek.finish()


def as_text(line):
    """A line of JSON with every field in its order and every number as it reads."""
    return json.dumps(json.loads(line))


def log_stream(path, is_recorded, records_shown):
    """Peers with a recorded Zeek and prints its logs, each as it is in Zeek's own JSON logs."""
    expected = json.loads(path.read_text(encoding="utf-8"))["expected"]
    if is_recorded:
        expected = {name: lines[name in EARLY:] for name, lines in expected.items()}
    waiting = {name: list(map(json.dumps, lines)) for name, lines in expected.items()}
    records = sum(map(len, waiting.values()))
    shown = dict.fromkeys(waiting, 0)
    with Process(HERE / "zeek_replay.py", path) as zeek, plain_endpoint() as endpoint, \
            broker.zeek.logs(endpoint) as logs:
        require(endpoint.peer(LOCALHOST, zeek.port(), 0.0), "the recorded Zeek did not peer")
        if is_recorded:
            # Zeek was asked to end, and then wrote its last records.
            endpoint.publish("/stop", broker.zeek.Event("stop_now"))
        for number in range(records):
            record = logs.recv(DEADLINE_S)
            require(record is not None, "%d of %d records of %s; last problem: %s"
                    % (number, records, path.name, logs.last_problem))
            lines = waiting.get(record.path)
            require(lines and as_text(record.json()) == lines.pop(0),
                    "not in Zeek's log: %s %s" % (record.path, record.json()))
            shown[record.path] += 1
            if shown[record.path] <= records_shown:
                show(record.path, record.json())
        zeek.finish()
        # What else has arrived can still be read, then the iteration ends.
        endpoint.shutdown()
        for record in logs:
            raise Failure("more than in Zeek's log: %s %s" % (record.path, record.json()))
        require(logs.skipped == 0, "%d messages skipped, the last: %s" % (logs.skipped, logs.last_problem))
    show("all", "%d records of %d logs, each as in Zeek's own JSON logs" % (records, len(expected)))


def log_streams():
    heading("Logs as JSON lines")
    log_stream(HERE / "log_stream.json", False, records_shown=2)
    heading("The logs of a real Zeek, the first line of each")
    try:
        found = [path for path in (outside_files.find("zeek", name) for name in REAL_LOGS) if path]
    except outside_files.MissingFile as problem:
        raise Failure(str(problem)) from None
    if found:
        log_stream(found[0], True, records_shown=1)
    else:
        show("not shown", outside_files.missing("zeek"))


def fill_the_store(clone):
    for name, value in values():
        clone.put(name, value)
    require(clone.put_unique("owner", "demo.py") is True, "put_unique did not win")
    require(clone.put_unique("owner", "somebody") is False, "put_unique won twice")
    clone.increment("starts", 1)
    clone.insert_into("seen", "first")
    clone.put("short-lived", 1, expiry=0.1)


def check_the_store(clone, starts):
    require(clone.await_idle(DEADLINE_S), "the clone did not catch up")
    for name, value in values():
        require(clone.lookup(name) == value, "%s is %r" % (name, clone.get(name)))
    require(clone.lookup("owner") == "demo.py", "the owner changed")
    require(clone.lookup("starts") == starts, "%r starts" % clone.get("starts"))


def await_event(events, kind, key):
    while True:
        event = events.recv(DEADLINE_S)
        require(event, "no %s of %s" % (kind, key))
        if (event.kind, event.key) == (kind, key):
            show("event", event)
            return


def shared_store():
    heading("A store in a file, shared by two processes")
    with tempfile.TemporaryDirectory() as directory, broker.Endpoint() as endpoint:
        path = pathlib.Path(directory) / "demo.sqlite"
        clone = endpoint.attach_clone("demo")
        with clone.events() as events, Process(HERE / "demo_keeper.py", path) as keeper:
            require(endpoint.peer(LOCALHOST, keeper.port(), 0.0), "the peering failed")
            fill_the_store(clone)
            check_the_store(clone, 1)
            show("clone", "%d entries, among them seen = %r" % (len(clone), clone.lookup("seen")))
            await_event(events, "expire", "short-lived")
            endpoint.publish("/demo/to-keeper/stop", None)
            keeper.finish()
        show("clone", "still answers: owner = %r" % clone.lookup("owner"))
        # Nobody keeps the store now: this waits for the next keeper.
        clone.increment("starts", 1)
        with Process(HERE / "demo_keeper.py", path) as keeper:
            require(endpoint.peer(LOCALHOST, keeper.port(), 0.0), "the peering failed")
            # The clone notices that its master is gone, finds the new one and compares notes.
            require(clone.await_idle(DEADLINE_S), "the clone did not find the new keeper")
            require(clone.put_unique("owner", "somebody") is False, "the owner is forgotten")
            check_the_store(clone, 2)
            show("clone", "after the restart: starts = %r" % clone.lookup("starts"))
            endpoint.publish("/demo/to-keeper/stop", None)
            keeper.finish()


def at_a_prompt(*arguments, code=0):
    """Runs the command and shows what it prints."""
    show("$", "broker " + " ".join(arguments))
    done = subprocess.run([sys.executable, "-m", "broker", *arguments], capture_output=True, text=True,
                          timeout=2 * DEADLINE_S)
    for line in done.stdout.splitlines():
        print("      " + line, flush=True)
    require(done.returncode == code, "broker %s ended with exit code %d: %s"
            % (arguments[0], done.returncode, done.stderr))
    return done.stdout


def the_command():
    heading("The same at a prompt, and a page")
    with broker.Endpoint() as endpoint, endpoint.make_subscriber(["/demo/"]) as messages, \
            endpoint.attach_master("demo", broker.Backend.Memory):
        url = "%s:%d" % (LOCALHOST, endpoint.listen(LOCALHOST, 0))
        with subprocess.Popen([sys.executable, "-m", "broker", "sub", "/demo/", "-u", url, "-n", "1"],
                              text=True, stdout=subprocess.PIPE) as subscribed:
            # What comes before its peering is there does not reach it.
            deadline = time.monotonic() + DEADLINE_S
            while not endpoint.peers():
                require(time.monotonic() < deadline, "`broker sub` did not peer")
                time.sleep(0.01)
            at_a_prompt("pub", "/demo/hello", "-u", url, "--event", "hello", "world", "3c")
            topic, value = receive(messages, "event of the command")
            require(broker.zeek.Event(value).args() == ["world", broker.Count(3)],
                    "unexpected event %s %r" % (topic, value))
            line = subscribed.stdout.readline().rstrip()
            require(line.endswith('/demo/hello hello("world", 3c)'), "unexpected line %r" % line)
            show("broker sub", line)
        at_a_prompt("store", "put", "demo", "colour", "blue", "-u", url)
        require(at_a_prompt("store", "get", "demo", "colour", "-u", url).strip() == '"blue"',
                "the store has another value")
        at_a_prompt("doctor", url)
        wrong = at_a_prompt("doctor", url, "--topic", "demo/hello", "--wait", "100ms", code=1)
        require("nearly: `/demo/`" in wrong, "the doctor does not see the slash")
        page = "http://%s:%d/" % (LOCALHOST, endpoint.serve_http(LOCALHOST, 0))
        with urllib.request.urlopen(page, timeout=DEADLINE_S) as answer:
            require(b"<html" in answer.read().lower(), "there is no page")
        show("page", "%s while the endpoint runs" % page)


def recorded_cluster():
    heading("A recorded worker of a Zeek cluster over ZeroMQ, at a forwarder of ours")
    try:
        path = outside_files.find("zeek", "zeek-zeromq.json")
    except outside_files.MissingFile as problem:
        raise Failure(str(problem)) from None
    if not path:
        show("not shown", outside_files.missing("zeek"))
        return
    batches = json.loads(path.read_text(encoding="utf-8"))["logs"]["real"]
    address = "tcp://%s:0" % LOCALHOST
    receiver = broker.zeek.LogReceiver(address, curve=False)
    with broker.zeek.Forwarder(xpub=address, xsub=address, curve=False) as forwarder, \
            broker.zeek.logs(receiver) as logs, plain_endpoint() as endpoint, \
            endpoint.make_subscriber("zmqtest.out") as messages, \
            Process(HERE / "zeek_zeromq_replay.py", path, forwarder.xpub_port, forwarder.xsub_port,
                    receiver.port) as worker:
        url = "zmq://%s?xpub=%d&xsub=%d" % (LOCALHOST, forwarder.xpub_port, forwarder.xsub_port)
        require(endpoint.peer(url, retry=0.0), "no peering with %s" % url)
        show("peer", url)
        endpoint.publish("zmqtest.in.worker-1", broker.zeek.Event("ping", "from outside", broker.Count(41)),
                         wait_for_subscriber=DEADLINE_S)
        topic, value = receive(messages, "answer of the worker")
        event = broker.zeek.Event(value)
        require(event.args() == ["from outside", broker.Count(42), "worker-1"], "unexpected answer %r" % (value,))
        show(topic, "%s%s" % (event.name(), tuple(event.args())))
        for node in endpoint.cluster_nodes():
            show("node", node)
        expected = [line for batch in batches for line in batch["expected"]]
        for line in expected:
            record = logs.recv(DEADLINE_S)
            require(record is not None and json.loads(record.json()) == line,
                    "%r instead of %s; last problem: %s" % (record, line, logs.last_problem))
        show(record.path, record.json())
        show("all", "%d records, each as in Zeek's own JSON logs" % len(expected))
        show("forwarder", forwarder.stats())
        receiver.close()
        worker.finish()


def main():
    try:
        heading("Two processes, one TLS peering")
        two_processes("zeek")
        heading("The same over WebSocket, another URL and nothing else")
        two_processes("ws")
        recorded_ping()
        recorded_types()
        log_streams()
        shared_store()
        the_command()
        recorded_cluster()
    except Failure as failure:
        print("\ndemo FAILED: %s" % failure, file=sys.stderr)
        return 1
    heading("demo: everything arrived")
    return 0


if __name__ == "__main__":
    sys.exit(main())
