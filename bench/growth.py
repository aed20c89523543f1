#!/usr/bin/env python3
"""What a message costs beside idle peers, subscriptions, topics and stored keys, and what they take
in memory.

Runs `broker-counted` with growing sizes and writes to bench/results, per group of curves, a table
(CSV) and a picture (PNG), and a table of memory. A curve has two measures: instructions, which
nothing else on the machine disturbs, where valgrind is there; and nanoseconds, the least of some
runs, which also see how well the processor's caches still work. Both exclude preparation.
"""

import argparse
import csv
import json
import pathlib
import re
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"

# Per picture: title, what grows, and the curves: name, case, sizes, iterations that are timed and, for
# the difference of two counts, fewer and more. Through a clone several threads work, which makes the
# count vary by a few per cent.
PICTURES = {
    "peers": ("a relayed message beside idle peers", "idle peers", [
        ("one topic", "idle-peers", (1, 10, 100, 1000), 400_000, (20_000, 60_000)),
        ("10,000 topics in turn", "idle-peers-new-topics", (1, 10, 100, 1000), 40_000, (20_000, 40_000))]),
    "subscriptions": ("a message beside other subscriptions", "subscriptions", [
        ("relay, filter of the peer", "peer-filter", (10, 100, 1000, 10_000, 100_000), 400_000, (20_000, 60_000)),
        ("the same, 10,000 topics in turn", "peer-filter-new-topics", (10, 100, 1000, 10_000, 100_000), 200_000,
         (20_000, 60_000)),
        ("publish, topics of the subscriber", "subscriptions", (10, 100, 1000, 10_000, 100_000), 1_000_000,
         (20_000, 60_000)),
        ("publish, other subscribers", "subscribers", (10, 100, 1000, 10_000), 1_000_000, (20_000, 60_000))]),
    "subscribing": ("one more subscription, and one fewer", "subscriptions that are there", [
        ("subscriber, beside others", "subscribing-subscribers", (10, 100, 1000, 10_000, 100_000), 20_000,
         (2000, 10_000)),
        ("topic of a subscriber, beside others", "subscribing-topics", (10, 100, 1000, 10_000, 100_000, 300_000),
         100_000, (2000, 10_000)),
        ("each of many topics at once", "subscribing-bulk", (1000, 10_000, 100_000, 300_000), 600_000,
         (300_000, 900_000))]),
    "topics": ("a relayed message among topics seen before", "different topics, in turn", [
        ("relay", "topics", (1, 10, 100, 1000, 10_000, 100_000), 400_000, (200_000, 400_000))]),
    "keys": ("an operation on a store in memory", "stored keys", [
        ("get", "keys-get", (1000, 10_000, 100_000, 1_000_000), 400_000, (20_000, 60_000)),
        ("put", "keys-put", (1000, 10_000, 100_000, 1_000_000), 400_000, (20_000, 60_000)),
        ("increment", "keys-increment", (1000, 10_000, 100_000, 1_000_000), 400_000, (20_000, 60_000)),
        ("put through a clone", "clone-apply", (1000, 10_000, 100_000, 1_000_000), 200_000,
         (20_000, 60_000))]),
}

MAILBOX_BOUND = "64 MiB and 1,048,576 messages per mailbox (MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX)"
PEER_BOUND = "256 handshakes at a time (PENDING_CONNECTIONS_MAX), then a read buffer and a mailbox each"

# What is measured of memory, how many of it, and what bounds the whole.
MEMORY = [
    ("idle-peer", 100, PEER_BOUND),
    ("idle-peer", 1000, PEER_BOUND),
    ("peer-subscription", 100_000, "256 MiB of filter per peer (FILTER_BYTES_MAX)"),
    ("subscription", 100_000, "none but what the program asks for"),
    ("subscriber", 1000, "none but what the program asks for; each has a mailbox"),
    ("stored-key", 100_000, "none but what is put and does not expire"),
    ("stored-key", 1_000_000, "none but what is put and does not expire"),
    ("queued-message", 100_000, MAILBOX_BOUND),
]


def run(program, *words):
    result = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def count(program, *words):
    """Instructions of a run, or nothing where they cannot be counted."""
    try:
        result = subprocess.run(
            ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", str(program),
             *map(str, words)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return None
    return int(re.search(r"I\s+refs:\s+([\d,]+)", result.stderr).group(1).replace(",", ""))


def instructions(program, case, size, counted):
    few, many = counted
    low, high = count(program, case, few, size), count(program, case, many, size)
    return None if low is None else (high - low) / (many - few)


def measure(program, name, rounds):
    """The rows of a picture's table, printed as they come."""
    _, _, curves = PICTURES[name]
    rows = []
    for label, case, sizes, iterations, counted in curves:
        for size in sizes:
            each = instructions(program, case, size, counted)
            timed = [run(program, case, iterations, size)["ns"] for _ in range(rounds)]
            rows.append({"curve": label, "size": size, "instructions": "" if each is None else round(each, 1),
                         "ns_least": round(min(timed), 1), "ns_median": round(statistics.median(timed), 1)})
            first = next(row for row in rows if row["curve"] == label)
            print("%-14s %-32s %9d %12s instructions %10.1f ns, %.2f times the first" % (
                name, label, size, rows[-1]["instructions"], rows[-1]["ns_least"],
                rows[-1]["ns_least"] / first["ns_least"] if each is None else each / first["instructions"]), flush=True)
    return rows


def save(path, rows):
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def load(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def draw(name):
    """The picture of a table, two panels with the same curves; a level line does not grow."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    title, grows, _ = PICTURES[name]
    rows = load(RESULTS / ("growth-%s.csv" % name))
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    labels = list(dict.fromkeys(row["curve"] for row in rows))
    for panel, column, what in zip(panels, ("instructions", "ns_least"), ("instructions", "nanoseconds")):
        for number, label in enumerate(labels):
            curve = [row for row in rows if row["curve"] == label and row[column]]
            if curve:
                panel.plot([int(row["size"]) for row in curve], [float(row[column]) for row in curve],
                           marker="o", label=label, color="C%d" % number)
        panel.set(xscale="log", yscale="log", xlabel=grows, ylabel=what)
        # Whole decades, so that a line that looks steep is steep.
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, high / 100), high * 2)
        panel.grid(True, which="major", alpha=0.4)
    panels[1].legend(fontsize="small")
    figure.suptitle("What it costs: " + title)
    figure.savefig(RESULTS / ("growth-%s.png" % name), dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def memory(program):
    rows = []
    for what, size, bound in MEMORY:
        found = run(program, "memory", what, size)
        rows.append({"what": what, "number": size, "bytes_each": round(found["bytes_each"]),
                     "added_kib": found["added_kib"], "process_kib": found["process_kib"], "bound": bound})
        print("%-18s %9d %9d bytes each, process %9d KiB; %s" % (
            what, size, rows[-1]["bytes_each"], found["process_kib"], bound), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "broker-counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only pictures whose name holds this text, or `memory`")
    parser.add_argument("--draw", action="store_true", help="only draw what the tables hold")
    options = parser.parse_args()
    for name in PICTURES:
        if options.only not in name:
            continue
        if not options.draw:
            save(RESULTS / ("growth-%s.csv" % name), measure(options.program, name, options.rounds))
        draw(name)
    if options.only in "memory" and not options.draw:
        save(RESULTS / "growth-memory.csv", memory(options.program))


if __name__ == "__main__":
    main()
