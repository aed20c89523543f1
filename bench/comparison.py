#!/usr/bin/env python3
"""Measures the same program with this package, nats-py, eclipse-zenoh and zeekpy: lines, rate, latency.

One process sends numbered events to another, which checks that none is missing or out of order, and then
asks it questions one after the other. The programs take turns within a round; the table shows medians.
`make bench-comparison` runs it.
"""

import argparse
import json
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tokenize

HERE = pathlib.Path(__file__).resolve().parent / "comparison"
DEADLINE_S = 600
# The name, the program, and what stands between its two processes.
PROGRAMS = [("broker, a loop", "with_broker_loop.py", None), ("broker, handlers", "with_broker.py", None),
            ("broker.aio", "with_broker_aio.py", None),
            ("nats-py", "with_nats.py", "nats"),
            ("eclipse-zenoh", "with_zenoh.py", None), ("zeekpy", "with_zeekpy.py", "websocket")]
# zeekpy is slow: with as many events a round would take minutes.
FEWER = {"zeekpy": 10}
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
            tokenize.ENDMARKER}
RELAY = """
import broker, threading
with broker.Endpoint() as endpoint:
    print(endpoint.listen_ws("127.0.0.1", 0, tls=False), flush=True)
    threading.Event().wait()
"""


def lines_of_code(path):
    """Lines with code: no blank ones, no comments, no docstring of the file."""
    with open(path, "rb") as source:
        found = {token.start[0] for token in tokenize.tokenize(source.readline) if token.type not in NOT_CODE}
    return len(found) - 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*command):
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def between(kind):
    """What stands between, and its port."""
    if kind == "websocket":
        server = start(sys.executable, "-c", RELAY)
        return server, int(server.stdout.readline())
    port = free_port()
    if kind == "nats":
        # Beside this interpreter, where its package is installed.
        path = shutil.which("nats-server", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("nats-server")
        server = subprocess.Popen([path, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.PIPE, text=True)
        for line in server.stderr:
            if "Server is ready" in line:
                return server, port
        raise RuntimeError("nats-server did not start")
    return None, port


def measure(program, kind, count, pings):
    server, port = between(kind)
    serving = start(sys.executable, HERE / program, "serve", *([] if "broker" in program else [port]))
    try:
        port = int(serving.stdout.readline())
        driving = subprocess.run([sys.executable, str(HERE / program), "drive", str(port), str(count), str(pings)],
                                 stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=True)
        return json.loads(driving.stdout)
    finally:
        for process in filter(None, [serving, server]):
            process.kill()
            # Closes its output, too.
            process.communicate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=100_000, help="events per round (%(default)s)")
    parser.add_argument("--pings", type=int, default=2_000, help="questions per round (%(default)s)")
    arguments = parser.parse_args()
    results = {name: [] for name, _, _ in PROGRAMS}
    for _ in range(arguments.rounds):
        for name, program, kind in PROGRAMS:
            fewer = FEWER.get(name, 1)
            results[name].append(measure(program, kind, arguments.count // fewer, arguments.pings))
    print("Python %s, %s; %d rounds of %d events and %d questions" % (
        platform.python_version(), platform.machine(), arguments.rounds, arguments.count, arguments.pings))
    print("| program | lines | events a second | round trip, median | 99 of 100 within |")
    print("|---|---|---|---|---|")
    for name, program, _ in PROGRAMS:
        rate, median, slow = (statistics.median(result[key] for result in results[name])
                              for key in ("rate", "median_us", "p99_us"))
        print("| %s | %d | %s | %d us | %d us |" % (
            name, lines_of_code(HERE / program), format(round(rate, -2), ",.0f"), median, slow))


if __name__ == "__main__":
    main()
