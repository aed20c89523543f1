"""The roles of the store benchmarks in Python; `run.py` starts and compares them.

Works with our package and with the original one alike. Every role checks at the end that the store
holds what it must.
"""

import argparse
import json
import resource
import sqlite3
import sys
import time

PATIENCE = 60.0


def emit(**line):
    print(json.dumps(line), flush=True)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ensure(condition, what):
    if not condition:
        sys.exit(what)


def make_endpoint():
    import broker
    settings = broker.BrokerOptions()
    settings.disable_ssl = True
    return broker.Endpoint(broker.Configuration(settings))


def attach_master(endpoint, options):
    import broker
    if options.sqlite:
        return endpoint.attach_master("bench", broker.Backend.SQLite, {"path": options.sqlite})
    return endpoint.attach_master("bench", broker.Backend.Memory, {})


def attach(endpoint, options):
    if not options.port:
        return attach_master(endpoint, options)
    ensure(endpoint.peer("127.0.0.1", options.port, 0.0), "no peering")
    store = endpoint.attach_clone("bench")
    ensure(store.await_idle(PATIENCE), "the clone has no master")
    return store


def store_work(options):
    endpoint = make_endpoint()
    store = attach(endpoint, options)
    if options.operation == "get" and not options.port:
        for key in range(options.keys):
            store.put(key, key)
    ensure(store.await_idle(PATIENCE), "the store is not idle")
    cpu, start = cpu_seconds(), time.perf_counter()
    keys, settle = options.keys, options.one_at_a_time
    if options.operation == "get":
        # The master of another process has counts as keys.
        import broker
        wanted = [broker.Count(key) if options.port else key for key in range(keys)]
        for number in range(options.count):
            if store.get(wanted[number % keys]) is None:
                sys.exit("key %d is missing" % (number % keys))
    elif options.operation == "put-unique":
        for number in range(options.count):
            ensure(store.put_unique("u%d" % number, number), "key %d was there" % number)
    else:
        for number in range(options.count):
            if options.operation == "put":
                store.put(number % keys, number)
            else:
                store.increment("n%d" % (number % keys), 1)
            if settle:
                ensure(store.await_idle(PATIENCE), "the store is not idle")
    ensure(store.await_idle(PATIENCE), "the store is not idle")
    seconds = time.perf_counter() - start
    emit(messages=options.count, seconds=seconds, cpu_seconds=cpu_seconds() - cpu,
         peak_kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if options.operation == "increment":
        total = sum(store.get("n%d" % key) for key in range(min(keys, options.count)))
        ensure(total == options.count, "%d of %d increments" % (total, options.count))
    endpoint.shutdown()


def store_idle(options):
    """How long `await_idle` takes on a store that nobody works on."""
    endpoint = make_endpoint()
    store = attach(endpoint, options)
    measured = []
    for _ in range(options.count):
        start = time.perf_counter()
        ensure(store.await_idle(PATIENCE), "the store is not idle")
        measured.append(time.perf_counter() - start)
    measured.sort()
    emit(p50_us=measured[len(measured) // 2] * 1e6, p99_us=measured[len(measured) * 99 // 100] * 1e6)
    endpoint.shutdown()


def bare_sqlite(options):
    """The same number of rows in bare transactions of the same grouping."""
    database = sqlite3.connect(options.sqlite, isolation_level=None)
    database.execute("create table if not exists store(key blob primary key, value blob, expiry integer)")
    cpu, start = cpu_seconds(), time.perf_counter()
    done = 0
    while done < options.count:
        database.execute("begin immediate")
        for number in range(done, min(done + options.group, options.count)):
            database.execute("replace into store values(?, ?, null)",
                             (b"\x03" + (number % options.keys).to_bytes(8, "big"), b"\x03" + number.to_bytes(8, "big")))
        database.execute("commit")
        done += options.group
    emit(messages=options.count, seconds=time.perf_counter() - start, cpu_seconds=cpu_seconds() - cpu)


ROLES = {role.__name__.replace("_", "-"): role for role in (store_work, store_idle, bare_sqlite)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--operation", choices=("put", "get", "increment", "put-unique"), default="put")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--group", type=int, default=1000)
    parser.add_argument("--sqlite")
    parser.add_argument("--port", type=int)
    parser.add_argument("--one-at-a-time", action="store_true")
    options = parser.parse_args()
    ROLES[options.role](options)


if __name__ == "__main__":
    main()
