"""Measures the command: how fast it starts, prints and records what an endpoint publishes.

`make bench` runs it on the release build. Every message is counted; a run that lost one fails.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from run import Role

HERE = pathlib.Path(__file__).resolve().parent
BROKER = HERE.parent / "target" / "release" / "broker"
TOPIC = "/benchmark/events"
DEADLINE_S = 300

# What must be reached on two cores that have nothing else to do; ms is a greatest value.
TARGETS = {"version": ("ms", 10), "sub --raw": ("rate", 1_000_000), "sub": ("rate", 300_000),
           "record": ("rate", 1_000_000)}


def start_time():
    """The shortest of many starts: anything else on the machine only adds to it."""
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        subprocess.run([BROKER, "version"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return {"ms": min(times) * 1e3}


def consume(count, *arguments):
    """An endpoint publishes small events as fast as the command takes them into a pipe."""
    sender = Role("rust", "publish", count, "small")
    url = "127.0.0.1:%d" % sender.read("port")
    command = [BROKER, *arguments, "-u", url, "--no-tls", "-n", str(count)]
    printed = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        sender.go()
        begun = time.perf_counter()
        while chunk := os.read(process.stdout.fileno(), 1 << 20):
            printed += chunk.count(b"\n") if "--raw" not in arguments else len(chunk)
        elapsed = time.perf_counter() - begun
        if process.wait(DEADLINE_S) != 0:
            raise RuntimeError("%s ended with %d" % (command, process.returncode))
    # It waits for an answer that the command does not give.
    sender.process.kill()
    sender.process.wait()
    Role.running.remove(sender)
    if "--raw" not in arguments and printed != count:
        raise RuntimeError("%d of %d lines" % (printed, count))
    return {"rate": count / elapsed}


def record(count):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.rec")
        sender = Role("rust", "publish", count, "small")
        url = "127.0.0.1:%d" % sender.read("port")
        command = [BROKER, "record", path, TOPIC, "-u", url, "--no-tls", "-n", str(count)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            sender.go()
            begun = time.perf_counter()
            if process.wait(DEADLINE_S) != 0:
                raise RuntimeError("record ended with %d" % process.returncode)
            elapsed = time.perf_counter() - begun
        sender.process.kill()
        sender.process.wait()
        Role.running.remove(sender)
        told = subprocess.run([BROKER, "record", path, "--info", "--json"], check=True, capture_output=True)
        messages = json.loads(told.stdout)["messages"]
        if messages != count:
            raise RuntimeError("%d of %d messages are in the file" % (messages, count))
        return {"rate": count / elapsed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    measured = {"version": [start_time()]}
    for name, arguments in (("sub --raw", ("sub", TOPIC, "--raw")), ("sub", ("sub", TOPIC)),
                            ("sub --json", ("sub", TOPIC, "--json"))):
        measured[name] = [consume(options.count, *arguments) for _ in range(options.runs)]
    measured["record"] = [record(options.count) for _ in range(options.runs)]
    missed = []
    for name, runs in measured.items():
        figure, target = TARGETS.get(name, ("rate", None))
        values = sorted(run[figure] for run in runs)
        best = values[0] if figure == "ms" else values[-1]
        unit = "ms" if figure == "ms" else "messages/s"
        aim = "" if target is None else " (target %s)" % format(target, ",")
        print("%-12s %12s %s, median %s%s" % (name, format(round(best, 1), ","), unit,
                                              format(round(values[len(values) // 2], 1), ","), aim))
        if target is not None and (best > target if figure == "ms" else best < target):
            missed.append(name)
    if missed:
        print("missed: %s" % ", ".join(missed), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        Role.stop_all()
