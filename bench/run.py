#!/usr/bin/env python3
"""Runs the end-to-end benchmarks and prints every figure with the limits of the same run.

Each measurement uses processes of its own over loopback. The programs that are compared take turns
within one round; the table shows medians with their ranges. Results go to standard output as a table
and, with --json, to a file as JSON lines. At the end stand the targets of `targets.py`, reached or not.
Ends with exit code 1 if a floor was measured and not reached, or if a program failed.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from targets import Figures, shown as show, table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
RUST = ROOT / "target" / "release" / "broker-bench"
COUNTED = ROOT / "target" / "release" / "broker-counted"
DEADLINE = 600

# Messages per measurement; a Python process takes a tenth.
COUNTS = {"small": 2_000_000, "medium": 1_000_000, "large": 20_000}

# Messages of the runs that look for losses, and the most memory that either side may take meanwhile: its
# mailbox, as much again for what is in the sockets and on its way to objects, and the process itself.
ENDURANCE = 10_000_000
PEAK_KIB_MAX = 256 * 1024

# What must be reached on two cores: group, program, figure, least value.
FLOORS = [("python small", "plain", "rate", 100_000), ("relay small", "relay", "rate", 1_000_000),
          ("python store get", "memory", "rate", 100_000), ("python store put", "memory", "rate", 100_000),
          ("python store put", "clone", "rate", 30_000), ("python store put", "sqlite", "rate", 10_000)]

# What may not be exceeded: group, program, figure, greatest value.
CEILINGS = [("store attach", "100,000 entries", "attach_ms", 500)]

# Benchmarks of criterion whose figures are targets.
CRITERION = ("json", "logs")


class Role:
    """One process of a measurement; reads its JSON lines."""

    running = []

    def __init__(self, language, role, count, size="small", ports=(), tls=False, endpoints=1):
        program = [str(RUST)] if language == "rust" else [sys.executable, str(HERE / "python" / "roles.py")]
        command = program + [role, "--count", str(count), "--size", size, "--endpoints", str(endpoints)]
        for port in ports:
            command += ["--port", str(port)]
        if tls:
            command.append("--tls")
        self.name = "%s %s" % (language, role)
        self.start(command)

    def start(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = {}
        Role.running.append(self)

    @classmethod
    def stop_all(cls):
        """After a failure: the other processes of the measurement would wait for the one that failed."""
        for role in cls.running:
            role.process.kill()
            role.process.wait()
        cls.running.clear()

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
        Role.running.remove(self)
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


def endurance(language, count):
    """A sender at full speed without flow control of its own; the receiver fails if one message is missing."""
    result = throughput(language, count, "small")
    for side in ("receiver_peak_kib", "sender_peak_kib"):
        if result[side] > PEAK_KIB_MAX:
            raise RuntimeError("%s is %d" % (side, result[side]))
    return {"messages": count, **result}


def round_trip(language, count, kind="", tls=False):
    there, back = (kind + "-pong", kind + "-ping") if kind else ("pong", "ping")
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
    middle.read("peers")
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


class StoreRole(Role):
    """One process that serves or works on a data store."""

    def __init__(self, language, role, *options):
        script = [sys.executable, str(HERE / "python" / "store_roles.py")]
        program = [str(RUST)] if language == "rust" else script
        self.name = "%s %s" % (language, role)
        self.start([*program, role, *map(str, options)])


def figures_of(result):
    return {"rate": result["messages"] / result["seconds"],
            "cpu_us": result["cpu_seconds"] / result["messages"] * 1e6}


def at_master(language, operation, count, *options):
    """Work at a master of the same process; the time ends when all of it is in effect."""
    return figures_of(StoreRole(language, "store-work", "--operation", operation, "--count", count, *options).finish())


def in_file(language, operation, count, *options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.sqlite")
        return at_master(language, operation, count, "--sqlite", path, *options)


def bare_sqlite(count, group):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.sqlite")
        return figures_of(StoreRole("python", "bare-sqlite", "--count", count, "--sqlite", path, "--group", group).finish())


def through_clone(language, operation, count, *options, serve=()):
    """Work through a clone; the master is another process."""
    master = StoreRole("rust", "store-serve", *serve)
    result = figures_of(StoreRole(language, "store-work", "--operation", operation, "--count", count,
                                  "--port", master.read("port"), *options).finish())
    master.finish()
    return result


def through_clone_in_file(language, operation, count, *options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.sqlite")
        return through_clone(language, operation, count, *options, serve=("--sqlite", path))


def idle_clone(count):
    """How long a clone of a quiet store takes to say that everything is in effect."""
    master = StoreRole("rust", "store-serve")
    result = StoreRole("python", "store-idle", "--count", count, "--port", master.read("port")).finish()
    master.finish()
    return result


def attach_clone(entries):
    master = StoreRole("rust", "store-serve", "--keys", entries)
    port = master.read("port")
    result = StoreRole("rust", "store-join", "--keys", entries, "--port", port).finish()
    served = master.finish()
    return {"attach_ms": result["attach_ms"], "clone_kib": result["clone_kib"], "master_kib": served["peak_kib"]}


def store_measurements(scale):
    """The rows about data stores, as `measurements` returns them."""
    rows = []
    for language, share in (("rust", 1.0), ("python", 0.3)):
        count = max(1000, int(1_000_000 * scale * share))
        few = max(100, count // 1000)
        for operation in ("get", "put", "increment", "put-unique"):
            work = count // 10 if operation == "put-unique" else count
            alone = max(100, work // 20)
            rows.append(("%s store %s" % (language, operation), [], {
                "memory": lambda l=language, o=operation, c=work: at_master(l, o, c),
                "clone": lambda l=language, o=operation, c=alone if operation == "put-unique" else work: through_clone(l, o, c),
                "sqlite": lambda l=language, o=operation, c=few * 10 if operation == "put-unique" else work // 4: in_file(l, o, c),
                "clone sqlite": lambda l=language, o=operation, c=few if operation == "put-unique" else work // 4:
                    through_clone_in_file(l, o, c)}, False))
        rows.append(("%s store one by one" % language, [], {
            "memory put": lambda l=language, c=alone: at_master(l, "put", c, "--one-at-a-time"),
            "clone put": lambda l=language, c=alone: through_clone(l, "put", c, "--one-at-a-time"),
            "sqlite put": lambda l=language, c=few: in_file(l, "put", c, "--one-at-a-time")}, False))
    rows.append(("bare sqlite", [], {
        "groups of 1": lambda: bare_sqlite(max(100, int(300 * scale)), 1),
        "groups of 1000": lambda: bare_sqlite(max(1000, int(100_000 * scale)), 1000)}, False))
    rows.append(("python store idle", [], {"clone": lambda: idle_clone(max(100, int(2000 * scale)))}, False))
    rows.append(("store attach", [], {"100,000 entries": lambda: attach_clone(100_000)}, False))
    rows.append(("store catch-up", [], {
        "100,000 changes": lambda: StoreRole("rust", "store-catch-up", "--keys", 50_000).finish()}, True))
    return rows


def web_socket_fan_out(count, clients, bare=False):
    """A server sends the same messages to so many WebSocket clients."""
    server = Role("rust", "ws-bare-serve" if bare else "ws-serve", count, endpoints=clients)
    receiver = Role("rust", "ws-receive", count, ports=[server.read("port")], endpoints=clients)
    if not bare:
        server.read("clients")
        server.go()
    received, served = receiver.finish(), server.finish()
    return {"rate": received["messages"] / received["seconds"],
            "cpu_us": served["cpu_seconds"] / count / clients * 1e6, "server_peak_kib": served.get("peak_kib")}


def web_socket_round_trip(count, clients, server="ws-pong"):
    """So many WebSocket clients send pings at the same time, each one after the other."""
    count -= count % clients
    server = Role("rust", server, count, endpoints=clients)
    asking = Role("rust", "ws-ping", count, ports=[server.read("port")], endpoints=clients)
    result = asking.finish()
    server.finish()
    return {"p50_us": result["p50_us"], "p99_us": result["p99_us"],
            "rate": result["messages"] / result["seconds"]}


def segments(count, size, bare=False):
    """A sender that writes each message by itself; the rate is the receiver's."""
    receiver = Role("rust", "raw-receive" if bare else "subscribe", count, size)
    sender = Role("rust", "raw-segments" if bare else "segments", count, size, [receiver.read("port")])
    sent, received = sender.finish(), receiver.finish()
    return {"rate": received["messages"] / received["seconds"],
            "cpu_us": received["cpu_seconds"] / count * 1e6, "sender_cpu_us": sent["cpu_seconds"] / count * 1e6}


def bridge(count, size, clients):
    """A native peer publishes, an endpoint passes it on to WebSocket clients."""
    middle = Role("rust", "ws-serve", count, size, endpoints=clients)
    last = Role("rust", "ws-receive", count, size, [middle.read("port")], endpoints=clients)
    middle.read("clients")
    first = Role("rust", "publish", count, size, [middle.read("native")], endpoints=0)
    received = last.finish()
    first.finish()
    passed = middle.finish()
    return {"rate": received["messages"] / received["seconds"],
            "cpu_us": passed["cpu_seconds"] / count / clients * 1e6}


def web_socket_measurements(scale):
    """The rows about WebSocket clients, as `measurements` returns them."""
    rows = []
    for clients in (1, 8, 64):
        count = max(1000, int(1_000_000 * scale) // clients)
        rows.append(("websocket 1 -> %d" % clients, ["bare"], {
            "bare": lambda c=count, n=clients: web_socket_fan_out(c, n, bare=True),
            "server": lambda c=count, n=clients: web_socket_fan_out(c, n)}, False))
    for clients in (1, 8, 64):
        trips = max(1000, int(20_000 * scale))
        rows.append(("websocket trip %d" % clients, ["bare"], {
            "bare": lambda c=trips, n=clients: web_socket_round_trip(c, n, "ws-bare-echo"),
            "server": lambda c=trips, n=clients: web_socket_round_trip(c, n),
            "server, task": lambda c=trips, n=clients: web_socket_round_trip(c, n, "ws-pong-task")}, False))
    for size in ("small", "medium"):
        count = max(1000, int(COUNTS[size] * scale) // 4)
        rows.append(("bridge %s" % size, [], {
            "1 client": lambda c=count, s=size: bridge(c, s, 1),
            "8 clients": lambda c=count // 8, s=size: bridge(c, s, 8)}, False))
    return rows


def criterion(name):
    """Nanoseconds per iteration of each benchmark of that name, as criterion measures them."""
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"
    begun = time.time()
    run = subprocess.run(["cargo", "bench", "--locked", "--quiet", "-p", "broker-bench", "--bench", name],
                         cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError("`cargo bench --bench %s` failed: %s" % (name, run.stderr[-2000:]))
    found = {}
    for estimates in folder.glob("*/*/new/estimates.json"):
        # What another benchmark left there is older.
        if estimates.stat().st_mtime >= begun:
            ours = json.loads((estimates.parent / "benchmark.json").read_text())
            found[ours["full_id"]] = json.loads(estimates.read_text())["median"]["point_estimate"]
    return found


def python_logs(records):
    """Records per second of the loops of `logs.py`."""
    run = subprocess.run([sys.executable, str(HERE / "python" / "logs.py"), str(records)],
                         capture_output=True, text=True, timeout=DEADLINE)
    if run.returncode != 0:
        raise RuntimeError("logs.py failed: %s" % run.stderr)
    lines = [line.split() for line in run.stdout.splitlines()[1:]]
    return {name: float(rate) for name, rate, _ in lines}


def wheel():
    """The size of the wheel of this interpreter."""
    built = list((ROOT / "dist" / "cpython").glob("*.whl"))
    if len(built) != 1:
        raise RuntimeError("there is no wheel in dist/cpython: `make wheel` builds it")
    return {"kib": built[0].stat().st_size / 1024}


def clean_build():
    """Seconds to build the wheel with nothing built before, downloads excepted."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked",
                        "-m", str(ROOT / "python" / "Cargo.toml"), "-i", sys.executable, "--out", folder],
                       env={**os.environ, "CARGO_TARGET_DIR": os.path.join(folder, "target")}, check=True)
        return {"seconds": time.perf_counter() - begun}


def scrape(peers, count=50):
    """Milliseconds of processor time that both ends take for a scrape of the metrics."""
    run = subprocess.run([str(COUNTED), "metrics", str(count), str(peers)], capture_output=True, text=True,
                         timeout=DEADLINE)
    if run.returncode != 0:
        raise RuntimeError("broker-counted metrics failed: %s" % run.stderr)
    return {"cpu_ms": json.loads(run.stdout)["ns"] / 1e6}


def single(language, role, count=200_000, endpoints=1):
    return Role(language, role, count, endpoints=endpoints).finish()


def measurements(scale):
    """Rows of (group, names of the limits, {name: function}, whether one round is enough)."""
    rows = []
    for size, full in COUNTS.items():
        count = max(1000, int(full * scale))
        few = max(1000, count // 10)
        raw = {"raw": lambda c=count, s=size: throughput("rust", c, s, kind="raw")}
        rows.append(("rust %s" % size, ["raw"], {
            **raw,
            "plain": lambda c=count, s=size: throughput("rust", c, s),
            "tls": lambda c=count, s=size: throughput("rust", c, s, tls=True)}, False))
        rows.append(("python %s" % size, ["raw", "sockets"], {
            **raw,
            "sockets": lambda c=few, s=size: throughput("python", c, s, kind="sockets"),
            "plain": lambda c=few, s=size: throughput("python", c, s),
            "tls": lambda c=few, s=size: throughput("python", c, s, tls=True)}, False))
        rows.append(("relay %s" % size, ["raw", "bare-relay"], {
            **raw,
            "bare-relay": lambda c=count, s=size: bare_relay(c, s),
            "relay": lambda c=count, s=size: relay(c, s),
            "relay tls": lambda c=count, s=size: relay(c, s, tls=True)}, False))
    apart = max(1000, int(400_000 * scale))
    rows.append(("segments small", ["bare"], {
        "bare": lambda c=apart: segments(c, "small", bare=True),
        "subscriber": lambda c=apart: segments(c, "small")}, False))
    for targets in (1, 8, 32):
        count = max(1000, int(2_000_000 * scale) // targets)
        rows.append(("fan-out 1 -> %d" % targets, ["raw", "bare-relay"], {
            "raw": lambda c=count * targets: throughput("rust", c, "small", kind="raw"),
            "bare-relay": lambda c=count, t=targets: bare_relay(c, "small", t),
            "fan-out": lambda c=count, t=targets: fan_out(c, "small", t)}, False))
    trips = max(1000, int(20_000 * scale))
    rows.append(("round trip", ["raw", "sockets"], {
        "raw": lambda: round_trip("rust", trips, "raw"),
        "sockets": lambda: round_trip("python", trips, "sockets"),
        "python": lambda: round_trip("python", trips),
        "python tls": lambda: round_trip("python", trips, tls=True),
        "rust": lambda: round_trip("rust", trips),
        "rust tls": lambda: round_trip("rust", trips, tls=True)}, False))
    rows.append(("python start", [], {"one": lambda: single("python", "idle"),
                                      "nine": lambda: single("python", "idle", endpoints=9)}, False))
    rows.append(("rust start", [], {"one": lambda: single("rust", "idle"),
                                    "nine": lambda: single("rust", "idle", endpoints=9)}, False))
    rows.append(("python convert", [], {"record": lambda: single("python", "convert")}, False))
    for language in ("rust", "python"):
        rows.append(("endurance %s" % language, [], {
            "plain": lambda l=language: endurance(l, ENDURANCE)}, True))
    rows += store_measurements(scale)
    rows += web_socket_measurements(scale)
    records = max(2000, int(400_000 * scale))
    rows.append(("python logs", [], {"all": lambda: python_logs(records)}, False))
    rows.append(("scrape", [], {"%s peers" % format(peers, ","): lambda p=peers: scrape(p)
                                for peers in (100, 1000)}, False))
    rows.append(("wheel", [], {"this interpreter": wheel}, True))
    return rows


# Groups whose one run reports several programs, each with one figure of that name.
SPLIT = {"python logs": "rate", **{"criterion %s" % name: "ns" for name in CRITERION}}


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
                platform.machine())


def commit():
    run = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                         capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def measure(programs, rounds):
    """The results of each program, and why some have none. The programs take turns, and a round
    before the first warms up; one that failed is not run again."""
    figures, failures = {name: [] for name in programs}, {}
    for number in range(rounds + 1 if rounds > 1 else 1):
        for name, run in programs.items():
            if name in failures:
                continue
            try:
                result = run()
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                Role.stop_all()
                failures[name] = str(error)
                figures.pop(name)
                continue
            if number > 0 or rounds == 1:
                figures[name].append(result)
    return figures, failures


def split(figures, figure):
    """One program that reports figures of several, as those programs."""
    names = {name: None for results in figures.values() for result in results for name in result}
    return {name: [{figure: result[name]} for results in figures.values() for result in results]
            for name in names}


def check_floors(medians):
    """Whether a floor or a ceiling was measured and missed; prints all that were measured."""
    missed = False
    for group, name, figure, least in FLOORS:
        reached = medians.get((group, name, figure))
        if reached is not None:
            missed |= reached < least
            print("floor: %s, %s of %s: %s of at least %s, %s" % (
                group, figure, name, show(reached), show(least),
                "not reached" if reached < least else "reached"))
    for group, name, figure, most in CEILINGS:
        reached = medians.get((group, name, figure))
        if reached is not None:
            missed |= reached > most
            print("ceiling: %s, %s of %s: %s of at most %s, %s" % (
                group, figure, name, show(reached), show(most),
                "not reached" if reached > most else "reached"))
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--only", default="", help="only groups whose name holds this text")
    parser.add_argument("--clean-build", action="store_true", help="also build the wheel from nothing: minutes")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as JSON lines")
    options = parser.parse_args()
    out = options.json.open("w") if options.json else None
    machine = "%s, %d cores, Python %s, %s" % (
        processor(), os.cpu_count(), platform.python_version(), commit())
    print(machine)
    print("%-18s %-11s %-20s %12s %25s  %s" % ("group", "what", "figure", "median", "range", "of limit"))
    groups = measurements(options.scale)
    groups += [("criterion %s" % name, [], {"all": lambda n=name: criterion(n)}, True) for name in CRITERION]
    groups.append(("clean build", [], {"wheel": clean_build}, True))
    medians, found, failed = {}, Figures(), False
    for group, limits, programs, once in groups:
        if options.only not in group:
            found.miss(group, "left out by --only")
            continue
        if group == "clean build" and not options.clean_build:
            found.miss(group, "takes minutes, asked for by --clean-build")
            continue
        figures, failures = measure(programs, 1 if once else options.rounds)
        for name, reason in failures.items():
            failed = True
            found.miss(group, "failed: %s" % reason, None if group in SPLIT else name)
            print("%-18s %-11s failed: %s" % (group, name, reason), flush=True)
        if group in SPLIT:
            figures = split(figures, SPLIT[group])
        for name, results in figures.items():
            for figure in results[0]:
                values = [r[figure] for r in results if isinstance(r.get(figure), (int, float))]
                if not values or figure in ("port", "endpoints"):
                    continue
                found.add(group, name, figure, values)
                median = medians[group, name, figure] = statistics.median(values)
                ratios = {limit: median / medians[group, limit, figure] for limit in limits
                          if name != limit and "peak" not in figure and medians.get((group, limit, figure))}
                shown = ", ".join("%.2f %s" % (ratio, limit) for limit, ratio in ratios.items())
                print("%-18s %-11s %-20s %12s %25s  %s" % (
                    group, name, figure, show(median), "%s .. %s" % (show(min(values)), show(max(values))),
                    shown), flush=True)
                if out:
                    print(json.dumps({"machine": machine, "group": group, "what": name, "figure": figure,
                                      "median": median, "min": min(values), "max": max(values),
                                      "ratios": ratios}), file=out, flush=True)
    missed = check_floors(medians)
    rows, text = table(found)
    print(text)
    if out:
        for row in rows:
            print(json.dumps({"machine": machine, **row}), file=out)
    if missed or failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
