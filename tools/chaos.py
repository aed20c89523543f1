#!/usr/bin/env python3
"""Stores on real NATS servers while servers and endpoints are killed and stopped; what clients saw is checked.

    chaos.py [--faults 100] [--seed N] [--keep]

Three servers with JetStream and `sync_interval: always`, and three endpoints that attach the same store, each a
process with clients in four threads. One fault after the other: a server or an endpoint is killed and started
again, or stopped for a while; the next one comes when calls are answered again. Every call is recorded with its
begin and its end, and each fault has keys of its own, which are read at the end. The history is then checked for
linearizability (`broker-sim --history`): no acknowledged change lost, none applied twice, no read of the past.

The seed decides the faults and what clients ask for; when things happen is up to the machine. The exit code is 1
if the history is wrong. The folder with history and logs is kept then, and with `--keep`.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "python" / "tests"))

ENDPOINTS = 3
THREADS = 4
KEYS = 4
LEASE_S = 2
# Between two calls of one thread: a history of some hundred calls per key can be searched.
PAUSE_S = 0.01
# How long calls may be without an answer after a fault before the run is given up.
PATIENCE_S = 120.0
# What clients do between two faults.
CALLS_BETWEEN = 60


# --- an endpoint with clients ---------------------------------------------------------------------------------

def client(store, history, stage, number, seed):
    """One thread: calls of random kinds, each with a line when its result is there."""
    import broker

    chance = random.Random(seed)
    count = 0
    while True:
        key = "e%d-%d" % (stage[0], chance.randrange(KEYS))
        count += 1
        value = number * 1_000_000 + count
        kind = chance.choice(["put", "unique", "erase", "add", "add", "read", "read"])
        begun = time.monotonic_ns()
        # Of a process that is killed this line remains: a call without an end.
        words = {"put": "put %d" % value, "unique": "unique %d -" % value, "erase": "erase",
                 "add": "add %d" % (value % 1000), "read": "read ?"}[kind]
        history.write("? %d %s %d - %s\n" % (number, key, begun, words))
        try:
            if kind == "put":
                store.put(key, broker.Count(value))
            elif kind == "unique":
                applied = store.put_unique(key, broker.Count(value))
                words = "unique %d %s" % (value, str(applied).lower())
            elif kind == "erase":
                store.erase(key)
            elif kind == "add":
                store.increment(key, broker.Count(value % 1000))
            else:
                try:
                    words = "read %d" % store.lookup(key)
                except KeyError:
                    words = "read -"
            history.write(". %d %s %d %d %s\n" % (number, key, begun, time.monotonic_ns(), words))
        except broker.StoreError as error:
            # It was refused and never applied, or nothing is known of it; a read does nothing anyway.
            is_refused = kind == "read" or error.code == broker.EC.NoSuchMaster
            history.write("%s %d\n" % ("!" if is_refused else "~", number))
            time.sleep(5 * PAUSE_S)
        time.sleep(PAUSE_S)


def endpoint(name, url, path, seed):
    import broker

    options = broker.BrokerOptions()
    options.disable_ssl = True
    history = open(path, "w", buffering=1)
    stage = [0]
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        settings = {"url": url, "replicas": 3, "lease": LEASE_S, "snapshot_entries": 200}
        while True:
            try:
                store = endpoint.open_master(name, broker.Backend.JetStream, settings)
                break
            except broker.StoreError as error:
                print(error, file=sys.stderr, flush=True)
        for number in range(THREADS):
            arguments = (store, history, stage, number, "%s %d" % (seed, number))
            threading.Thread(target=client, args=arguments, daemon=True).start()
        for line in sys.stdin:
            stage[0] = int(line)
        os._exit(0)


# --- the run --------------------------------------------------------------------------------------------------

class Worker:
    """The process of one endpoint."""

    count = 0

    def __init__(self, folder, url, seed):
        Worker.count += 1
        self.path = folder / ("history-%d" % Worker.count)
        self.path.touch()
        command = [sys.executable, __file__, "--endpoint", json.dumps(["chaos", url, str(self.path), "%s %d" % (seed, Worker.count)])]
        with open(folder / ("endpoint-%d.log" % Worker.count), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, text=True, bufsize=1)

    def stage(self, number):
        try:
            self.process.stdin.write("%d\n" % number)
        except BrokenPipeError:
            pass

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


def answered(paths):
    """How many calls have a result."""
    return sum(path.read_bytes().count(b"\n. ") for path in paths)


def last_answer(worker):
    """When the last call of an endpoint had its result, in ns; what leads answers."""
    last = 0
    for line in worker.path.read_text().splitlines()[-100:]:
        words = line.split()
        if words and words[0] == "." and len(words) > 4:
            last = max(last, int(words[4]))
    return last


class Run:
    def __init__(self, folder, seed):
        from nats_server import LOCALHOST, Server
        from ports import reserved_port

        self.folder, self.chance, self.seed = folder, random.Random(seed), seed
        ports = [reserved_port() for _ in range(6)]
        clients, routes = ports[:3], ports[3:]
        self.servers = []
        for number, (port, route) in enumerate(zip(clients, routes)):
            extra = 'jetstream { store_dir: "%s", sync_interval: always }' % (folder / ("js%d" % number))
            self.servers.append(Server(folder, port, extra, cluster=route, routes=routes))
        self.url = "nats://" + ",".join("%s:%d" % (LOCALHOST, port) for port in clients)
        self.workers, self.paths, self.gaps, self.current = [], [], {}, 0
        for _ in range(ENDPOINTS):
            self.start_worker()

    def start_worker(self):
        worker = Worker(self.folder, self.url, self.seed)
        worker.stage(self.current)
        self.workers.append(worker)
        self.paths.append(worker.path)

    def leader(self):
        return max(self.workers, key=last_answer)

    def standby(self):
        leader = self.leader()
        return self.chance.choice([it for it in self.workers if it is not leader])

    def fault(self):
        """One fault, healed again; its name."""
        name = self.chance.choice([
            "kill a server", "stop a server", "kill the leader", "stop the leader", "kill a standby", "stop a standby",
        ])
        pause = self.chance.uniform(0.2, 2.5 * LEASE_S)
        verb, _, noun = name.split()
        if noun == "server":
            server = self.chance.choice(self.servers)
            process = server._process
            if verb == "kill":
                server.kill()
                time.sleep(pause)
                server.start()
            else:
                process.send_signal(signal.SIGSTOP)
                time.sleep(pause)
                process.send_signal(signal.SIGCONT)
            return name
        worker = self.leader() if noun == "leader" else self.standby()
        if verb == "kill":
            worker.kill()
            self.workers.remove(worker)
            self.start_worker()
        else:
            worker.signal(signal.SIGSTOP)
            time.sleep(pause)
            worker.signal(signal.SIGCONT)
        return name

    def progress(self, calls):
        """Waits until so many more calls have results."""
        before, begun = answered(self.paths), time.monotonic()
        while answered(self.paths) - before < calls:
            took = time.monotonic() - begun
            if took > PATIENCE_S:
                raise SystemExit("no progress for %g s after the fault, seed %s, see %s" % (took, self.seed, self.folder))
            time.sleep(0.05)

    def gap(self, since):
        """The longest time without any result since a moment in ns; seconds."""
        ends = [since]
        for path in self.paths:
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) > 4 and words[0] == "." and int(words[4]) > since:
                    ends.append(int(words[4]))
        ends.sort()
        return max(after - before for before, after in zip(ends, ends[1:])) / 1e9

    def next_stage(self):
        self.current += 1
        for worker in self.workers:
            worker.stage(self.current)

    def read_all(self):
        """A last read of every key, by a new endpoint that leads or is asked until it does."""
        import broker

        for worker in self.workers:
            worker.kill()
        options = broker.BrokerOptions()
        options.disable_ssl = True
        lines = []
        with broker.Endpoint(broker.Configuration(options)) as endpoint:
            settings = {"url": self.url, "replicas": 3, "lease": 30}
            store = endpoint.open_master("chaos", broker.Backend.JetStream, settings)
            deadline = time.monotonic() + PATIENCE_S
            while store.standing() != "leader":
                if time.monotonic() > deadline:
                    raise SystemExit("no leader at the end, seed %s, see %s" % (self.seed, self.folder))
                time.sleep(0.05)
            found = store.snapshot()
            for stage in range(self.current + 1):
                for number in range(KEYS):
                    key = "e%d-%d" % (stage, number)
                    value = found.get(key, "-")
                    now = time.monotonic_ns()
                    lines.append("%s %d %d read %s" % (key, now, now, value))
        return lines

    def history(self):
        """All calls: those with results, those without, and no refused ones."""
        lines = []
        for path in self.paths:
            begun = {}
            for line in path.read_text().splitlines():
                mark, number, *rest = line.split()
                if mark == "?":
                    begun[number] = rest
                    continue
                if number not in begun:
                    raise SystemExit("%s: a result without a call: %s" % (path, line))
                call = begun.pop(number)
                if mark == ".":
                    lines.append(" ".join(rest))
                elif mark == "~":
                    lines.append(" ".join(call))
            # A read that was never answered says nothing.
            lines += [" ".join(call) for call in begun.values() if call[3:4] != ["read"]]
        return lines

    def close(self):
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        for server in self.servers:
            if server._process.poll() is None:
                server._process.send_signal(signal.SIGCONT)
            server.kill()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def run(folder, faults, seed):
    """The exit code: whether the history is that of one store."""
    it = Run(folder, seed)
    try:
        it.progress(CALLS_BETWEEN)
        for number in range(faults):
            it.next_stage()
            since = time.monotonic_ns()
            name = it.fault()
            it.progress(CALLS_BETWEEN)
            gap = it.gap(since)
            it.gaps.setdefault(name, []).append(gap)
            print("%d: %s, no answers for %.2f s" % (number + 1, name, gap), flush=True)
        final = it.read_all()
        lines = it.history() + final
    finally:
        it.close()
    path = folder / "history"
    path.write_text("\n".join(lines) + "\n")
    for name, gaps in sorted(it.gaps.items()):
        print("%-16s %3d times, longest time without an answer: p50 %.2f s, p95 %.2f s, most %.2f s"
              % (name, len(gaps), percentile(gaps, 0.5), percentile(gaps, 0.95), max(gaps)))
    command = ["cargo", "run", "--locked", "--quiet", "-p", "broker-sim", "--", "--history", str(path)]
    return subprocess.run(command, cwd=ROOT).returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", default=None)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--endpoint")
    arguments = parser.parse_args()
    if arguments.endpoint:
        return endpoint(*json.loads(arguments.endpoint))
    seed = arguments.seed or str(random.randrange(1 << 32))
    print("seed %s: tools/chaos.py --faults %d --seed %s" % (seed, arguments.faults, seed), flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    code = run(folder, arguments.faults, seed)
    if code or arguments.keep:
        print("history and logs are in %s" % folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
