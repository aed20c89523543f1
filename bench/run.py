#!/usr/bin/env python3
"""Runs the end-to-end benchmarks and prints every figure with the limit of the same run.

Each measurement uses processes of its own over loopback. The programs that are compared take turns
within one round; the table shows medians with their ranges. Results go to standard output as a table
and, with --json, to a file as JSON lines.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
RUST = ROOT / "target" / "release" / "broker-bench"
DEADLINE = 600

# Messages per measurement; a Python process takes a tenth.
COUNTS = {"small": 2_000_000, "medium": 1_000_000, "large": 20_000}


class Role:
    """One process of a measurement; reads its JSON lines."""

    def __init__(self, language, role, count, size="small", ports=(), tls=False, endpoints=1):
        program = [str(RUST)] if language == "rust" else [sys.executable, str(HERE / "python" / "roles.py")]
        command = program + [role, "--count", str(count), "--size", size, "--endpoints", str(endpoints)]
        for port in ports:
            command += ["--port", str(port)]
        if tls:
            command.append("--tls")
        self.name = "%s %s" % (language, role)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = {}

    def read(self, key):
        """Reads lines until one has `key`."""
        while key not in self.lines:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("%s ended early, exit code %s" % (self.name, self.process.wait()))
            self.lines.update(json.loads(line))
        return self.lines[key]

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self):
        self.process.stdin.close()
        for line in self.process.stdout:
            self.lines.update(json.loads(line))
        if self.process.wait(DEADLINE) != 0:
            raise RuntimeError("%s failed" % self.name)
        return self.lines


def throughput(language, count, size, tls=False, kind=""):
    """One sender, one receiver. Returns messages per second and CPU microseconds per message."""
    receive, send = {"": ("subscribe", "publish"), "raw": ("raw-receive", "raw-send"),
                     "sockets": ("sockets-subscribe", "sockets-publish")}[kind]
    receiver = Role(language, receive, count, size, tls=tls)
    sender = Role(language, send, count, size, [receiver.read("port")], tls=tls)
    sent, received = sender.finish(), receiver.finish()
    return {"rate": received["messages"] / received["seconds"],
            "cpu_us": (sent["cpu_seconds"] + received["cpu_seconds"]) / count * 1e6,
            "receiver_peak_kib": received["peak_kib"], "sender_peak_kib": sent["peak_kib"]}


def round_trip(language, count, kind="", tls=False):
    there, back = ("sockets-pong", "sockets-ping") if kind else ("pong", "ping")
    answering = Role(language, there, count, tls=tls)
    asking = Role(language, back, count, ports=[answering.read("port")], tls=tls)
    result = asking.finish()
    answering.finish()
    return {"p50_us": result["p50_us"], "p99_us": result["p99_us"]}


def relay(count, size, tls=False):
    """A publishes to B, B relays to C; the rate is C's, the CPU B's."""
    middle = Role("rust", "relay", count, size, tls=tls)
    port = middle.read("port")
    last = Role("rust", "join", count, size, [port], tls=tls)
    last.read("port")
    first = Role("rust", "publish", count, size, [port], tls=tls)
    first.finish()
    received = last.finish()
    relayed = middle.finish()
    return {"rate": received["messages"] / received["seconds"],
            "cpu_us": relayed["cpu_seconds"] / count * 1e6, "receiver_peak_kib": relayed.get("peak_kib")}


def bare_relay(count, size, fan_out=1):
    last = [Role("rust", "raw-receive", count, size) for _ in range(fan_out)]
    middle = Role("rust", "bare-relay", count, size, [role.read("port") for role in last])
    first = Role("rust", "raw-send", count, size, [middle.read("port")])
    received = [role.finish() for role in last]
    relayed = middle.finish()
    first.finish()
    slowest = max(line["seconds"] for line in received)
    return {"rate": count * fan_out / slowest, "cpu_us": relayed["cpu_seconds"] / count * 1e6}


def fan_out(count, size, targets):
    first = Role("rust", "publish", count, size, endpoints=targets)
    last = Role("rust", "join", count, size, [first.read("port")], endpoints=targets)
    last.read("port")
    first.go()
    sent = first.finish()
    last.finish()
    return {"rate": count * targets / sent["seconds"], "cpu_us": sent["cpu_seconds"] / count / targets * 1e6}


def single(language, role, count=200_000, endpoints=1):
    return Role(language, role, count, endpoints=endpoints).finish()


def measurements(scale):
    """Rows of (group, limit's name or None, {name: function})."""
    rows = []
    for size, full in COUNTS.items():
        count = max(1000, int(full * scale))
        few = max(1000, count // 10)
        rows.append(("rust %s" % size, "raw", {
            "raw": lambda c=count, s=size: throughput("rust", c, s, kind="raw"),
            "plain": lambda c=count, s=size: throughput("rust", c, s),
            "tls": lambda c=count, s=size: throughput("rust", c, s, tls=True)}))
        rows.append(("python %s" % size, "sockets", {
            "sockets": lambda c=few, s=size: throughput("python", c, s, kind="sockets"),
            "plain": lambda c=few, s=size: throughput("python", c, s),
            "tls": lambda c=few, s=size: throughput("python", c, s, tls=True)}))
        rows.append(("relay %s" % size, "bare-relay", {
            "bare-relay": lambda c=count, s=size: bare_relay(c, s),
            "relay": lambda c=count, s=size: relay(c, s)}))
    for targets in (1, 8, 32):
        count = max(1000, int(500_000 * scale) // targets)
        rows.append(("fan-out 1 -> %d" % targets, "bare-relay", {
            "bare-relay": lambda c=count, t=targets: bare_relay(c, "small", t),
            "fan-out": lambda c=count, t=targets: fan_out(c, "small", t)}))
    trips = max(1000, int(20_000 * scale))
    rows.append(("round trip", "sockets", {
        "sockets": lambda: round_trip("python", trips, "sockets"),
        "python": lambda: round_trip("python", trips),
        "python tls": lambda: round_trip("python", trips, tls=True),
        "rust": lambda: round_trip("rust", trips)}))
    rows.append(("python start", None, {"one": lambda: single("python", "idle"),
                                        "nine": lambda: single("python", "idle", endpoints=9)}))
    rows.append(("python convert", None, {"record": lambda: single("python", "convert")}))
    return rows


def show(value):
    return "%.3g" % value if abs(value) < 1000 else format(int(value), ",")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--only", default="", help="only groups whose name holds this text")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as JSON lines")
    options = parser.parse_args()
    out = options.json.open("w") if options.json else None
    machine = "%s, %d cores, Python %s" % (platform.machine(), os.cpu_count(), platform.python_version())
    print(machine)
    print("%-18s %-11s %-20s %12s %25s %8s" % ("group", "what", "figure", "median", "range", "of limit"))
    for group, limit, programs in measurements(options.scale):
        if options.only not in group:
            continue
        figures = {name: [] for name in programs}
        for number in range(options.rounds + 1):
            for name, run in programs.items():
                result = run()
                if number > 0:  # round 0 warms up
                    figures[name].append(result)
        for name, results in figures.items():
            for figure in results[0]:
                values = [r[figure] for r in results if isinstance(r.get(figure), (int, float))]
                if not values or figure in ("port", "endpoints"):
                    continue
                median = statistics.median(values)
                ratio = None
                if limit and name != limit and figure in figures[limit][0]:
                    ratio = median / statistics.median(r[figure] for r in figures[limit])
                print("%-18s %-11s %-20s %12s %25s %8s" % (
                    group, name, figure, show(median), "%s .. %s" % (show(min(values)), show(max(values))),
                    "" if ratio is None else "%.2f" % ratio), flush=True)
                if out:
                    print(json.dumps({"machine": machine, "group": group, "what": name, "figure": figure,
                                      "median": median, "min": min(values), "max": max(values),
                                      "ratio_to": limit if ratio is not None else None, "ratio": ratio}),
                          file=out, flush=True)


if __name__ == "__main__":
    main()
