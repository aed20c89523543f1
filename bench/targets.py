"""What the benchmarks are to reach, and how a run fares against it.

A target is a figure, or a ratio of two figures of one run, with a limit. Ratios are taken round by
round, because the compared programs take turns: what disturbs the machine disturbs both.

    targets.py FILE

prints the targets in a file of `run.py --json` as Markdown.
"""

import json
import statistics
import sys


class NotMeasured(Exception):
    """Why a figure is not there."""


class Figures:
    """The figures of a run by (group, program, figure), one value per round."""

    def __init__(self):
        self.rounds = {}
        self.reasons = {}

    def add(self, group, program, figure, values):
        self.rounds[group, program, figure] = list(values)

    def miss(self, group, reason, program=None):
        """Says why a group, or one program of it, has no figures."""
        self.reasons[group, program] = reason

    def __call__(self, group, program, figure):
        values = self.rounds.get((group, program, figure))
        if values:
            return values
        reason = self.reasons.get((group, program)) or self.reasons.get((group, None))
        raise NotMeasured(reason or "%s of %s, %s is not there" % (figure, group, program))

    def median(self, *key):
        return statistics.median(self(*key))


class Target:
    """A limit for what `measured` makes of the figures of a run; without one it is only told."""

    def __init__(self, text, measured, least=None, most=None, beside=None):
        self.text = text
        self.measured = measured
        self.least = least
        self.most = most
        self.beside = beside

    def judge(self, figures):
        """A row: text, limit, median, range, verdict."""
        if self.least is not None:
            limit = ">= %s" % shown(self.least)
        else:
            limit = "<= %s" % shown(self.most) if self.most is not None else "none"
        try:
            values = self.measured(figures)
        except NotMeasured as reason:
            return {"target": self.text, "limit": limit, "verdict": "not measured: %s" % reason}
        median = statistics.median(values)
        missed = (self.least is not None and median < self.least) or (self.most is not None and median > self.most)
        verdict = "told" if limit == "none" else "NOT reached" if missed else "reached"
        row = {"target": self.text, "limit": limit, "median": median, "min": min(values), "max": max(values),
               "verdict": verdict}
        if self.beside:
            try:
                row["verdict"] += ", %s" % self.beside(figures)
            except NotMeasured:
                pass
        return row


def shown(value):
    return "%.3g" % value if abs(value) < 1000 else format(int(value), ",")


def value(group, program, figure):
    def measured(figures):
        values = figures(group, program, figure)
        if figure == "cpu_us" and not any(values):
            raise too_small(group, program, figure)
        return values
    return measured


def too_small(group, program, figure):
    """Processor time comes in ticks of 10 ms."""
    return NotMeasured("%s of %s, %s is too small to see: more messages are needed" % (figure, group, program))


def combined(combine, *keys):
    """The rounds of several figures combined; of their medians where the rounds do not match."""
    def measured(figures):
        columns = [figures(*key) for key in keys]
        if len({len(column) for column in columns}) > 1:
            columns = [[statistics.median(column)] for column in columns]
        return [combine(*row) for row in zip(*columns)]
    return measured


def ratio(group, program, limit, figure="rate"):
    def divide(one, other):
        if not other:
            raise too_small(group, limit, figure)
        return one / other
    return combined(divide, (group, program, figure), (group, limit, figure))


def bare_sqlite(figures):
    return "bare SQLite in groups of 1,000: %s" % shown(figures.median("bare sqlite", "groups of 1000", "rate"))


def targets():
    rows = []

    def least(limit, text, measured, **more):
        rows.append(Target(text, measured, least=limit, **more))

    def most(limit, text, measured, **more):
        rows.append(Target(text, measured, most=limit, **more))

    for size, times in (("small", 1.6), ("medium", 0.5), ("large", 0.7)):
        least(times, "Python to Python, %s: x sockets" % size, ratio("python " + size, "plain", "sockets"))
    for size in ("small", "medium"):
        least(0.85, "Python with TLS, %s: x plain" % size, ratio("python " + size, "tls", "plain"))
    most(1.5, "Python round trip, p50: x sockets", ratio("round trip", "python", "sockets", "p50_us"))
    most(2, "Python round trip, p99: x sockets", ratio("round trip", "python", "sockets", "p99_us"))
    for size, times in (("small", 0.45), ("medium", 0.45), ("large", 0.8)):
        least(times, "Rust relay, %s: x bare relay" % size, ratio("relay " + size, "relay", "bare-relay"))
    least(0.37, "Rust fan-out 1 -> 32: x bare relay", ratio("fan-out 1 -> 32", "fan-out", "bare-relay"))
    most(0.25, "CPU of the hub per small message relayed, us", value("relay small", "relay", "cpu_us"))
    most(100, "Python value to wire, ns per leaf", value("python convert", "record", "into_ns_per_leaf"))
    most(100, "wire to Python value, ns per leaf", value("python convert", "record", "out_ns_per_leaf"))

    most(10, "import broker and first endpoint, ms", combined(
        lambda one, other: one + other, ("python start", "one", "import_ms"), ("python start", "one", "endpoint_ms")))
    most(4096, "import broker and first endpoint, KiB", value("python start", "one", "rss_kib_added"))
    most(3, "first endpoint: threads", value("python start", "one", "threads"))
    most(4, "nine endpoints: threads", value("python start", "nine", "threads"))
    most(0.2, "nine endpoints idle, % of a processor", value("python start", "nine", "idle_cpu_percent"))

    for language in ("rust", "python"):
        group = "endurance " + language
        least(10_000_000, "messages at full speed, none lost, %s" % language.title(), value(group, "plain", "messages"))
        most(256 * 1024, "  peak of the larger side, KiB, %s" % language.title(), combined(
            max, (group, "plain", "receiver_peak_kib"), (group, "plain", "sender_peak_kib")))

    for place in ("memory", "clone", "clone sqlite"):
        least(350_000, "Python store get, %s, per s" % place, value("python store get", place, "rate"))
    least(450_000, "Python store put, memory, per s", value("python store put", "memory", "rate"))
    least(550_000, "Python store increment, memory, per s", value("python store increment", "memory", "rate"))
    for operation in ("put", "increment"):
        least(115_000, "Python store %s, clone, per s" % operation,
              value("python store " + operation, "clone", "rate"))
    least(90_000, "Python store get, SQLite, per s", value("python store get", "sqlite", "rate"))
    for operation in ("put", "increment"):
        least(45_000, "Python store %s, SQLite, per s" % operation,
              value("python store " + operation, "sqlite", "rate"), beside=bare_sqlite)
    for operation in ("put", "increment"):
        least(25_000, "Python store %s, clone of SQLite, per s" % operation,
              value("python store " + operation, "clone sqlite", "rate"))
    most(150, "clone with 100,000 entries attached, ms", value("store attach", "100,000 entries", "attach_ms"))
    most(70 * 1024, "  memory of the clone, KiB more", value("store attach", "100,000 entries", "clone_kib"))
    most(40 * 1024, "  memory of the master, KiB", value("store attach", "100,000 entries", "master_kib"))
    most(1000, "await_idle of a quiet clone beyond a round trip, us", combined(
        lambda idle, trip: idle - trip, ("python store idle", "clone", "p50_us"), ("round trip", "python", "p50_us")))

    for size in ("small", "medium", "large"):
        for work in ("decode", "encode"):
            least(1, "JSON %s, %s: x serde_json" % (work, size), combined(
                lambda ours, theirs: theirs / ours,
                ("criterion json", "json %s/%s" % (size, work), "ns"),
                ("criterion json", "json %s/%s serde_json" % (size, work), "ns")))
    least(0.8, "a peer that writes each message by itself: x bare", ratio("segments small", "subscriber", "bare"))
    least(0.6, "WebSocket server, 1 client: x bare", ratio("websocket 1 -> 1", "server", "bare"))
    for text, program in (("asynchronous application", "server, task"), ("application with a thread", "server")):
        most(1.3, "WebSocket round trip, 1 client, %s, p50: x bare" % text,
             ratio("websocket trip 1", program, "bare", "p50_us"))
    for text, case in (("checked", "decode"), ("checked, and all values read", "decode, all values")):
        least(1_000_000, "conn log records %s, Rust, per s" % text, combined(
            lambda ns: RECORDS_PER_BATCH / ns * 1e9, ("criterion logs", "conn log/" + case, "ns")))
        least(1_000_000, "  the same over ZeroMQ, %s, per s" % text, combined(
            lambda ns: ZEROMQ_RECORDS_PER_BATCH / ns * 1e9, ("criterion logs", "conn log over ZeroMQ/" + case, "ns")))
    least(1_000_000, "  from a socket of ZeroMQ to all values, per s", combined(
        lambda ns: ZEROMQ_RECORDS_PER_BATCH / ns * 1e9,
        ("criterion logs", "conn log over ZeroMQ/socket to all values", "ns")))
    least(150_000, "conn log records, five fields read, Python, per s", value("python logs", "fields", "rate"))
    for size in ("small", "medium"):
        most(0.8, "bridge, %s: CPU per message and client, 8 clients x 1" % size,
             ratio("bridge " + size, "8 clients", "1 client", "cpu_us"))
    most(20, "a scrape of 1,000 peers' metrics, both ends, ms of CPU", value("scrape", "1,000 peers", "cpu_ms"))
    most(6 * 1024, "wheel, KiB", value("wheel", "this interpreter", "kib"))
    rows.append(Target("clean build of the wheel, s", value("clean build", "wheel", "seconds")))
    return rows


# Records of one iteration of the benchmark `conn log`: a batch as Zeek sends it.
RECORDS_PER_BATCH = 400

# The same of the benchmark `conn log over ZeroMQ`, a full batch of Zeek.
ZEROMQ_RECORDS_PER_BATCH = 1000


def table(figures):
    """The rows of all targets, and the text that shows them."""
    rows = [target.judge(figures) for target in targets()]
    lines = ["%-56s %12s %12s %23s  %s" % ("target", "limit", "median", "range", "verdict")]
    for row in rows:
        measured = "median" in row
        lines.append("%-56s %12s %12s %23s  %s" % (
            row["target"], row["limit"], shown(row["median"]) if measured else "",
            "%s .. %s" % (shown(row["min"]), shown(row["max"])) if measured else "", row["verdict"]))
    counts = [sum(row["verdict"].startswith(word) for row in rows) for word in ("reached", "NOT", "not measured")]
    lines.append("%d targets: %d reached, %d not reached, %d not measured" % (len(rows), *counts))
    return rows, "\n".join(lines)


def markdown(lines):
    """The targets among the JSON lines of a run, as a table of Markdown."""
    rows = [row for row in map(json.loads, lines) if "target" in row]
    text = ["| target | limit | median | range | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        measured = "median" in row
        text.append("| %s | %s | %s | %s | %s |" % (
            row["target"].strip(), row["limit"], shown(row["median"]) if measured else "",
            "%s .. %s" % (shown(row["min"]), shown(row["max"])) if measured else "", row["verdict"]))
    return "\n".join(text)


if __name__ == "__main__":
    with open(sys.argv[1]) as lines:
        print(markdown(lines))
