#!/usr/bin/env python3
"""Records per second of a log stream in Python: connections, in batches of 400 as Zeek sends them.

    .venv/bin/python bench/python/logs.py [RECORDS]

A second process writes frames that were made before; they cross loopback TCP, the runtime and the
decoder, and come out of a loop over `broker.zeek.logs`. `iterate` only counts the records, `fields`
reads five fields of each, `dict` makes all values of each, `json` makes its line of JSON.

`records/s` is what the clock says, `per CPU` what it would be if the process had needed one CPU for
exactly as long as it used CPUs: on a busy machine only that means something.
"""

import multiprocessing
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python" / "tests"))

import broker
import log_stream
import peer as scripted
from log_stream import ADDR, BOOL, COUNT, ENUM, INTERVAL, PORT, SET, STRING, TIME

BATCH = 400
RECORDS = 400_000

# The fields of conn.log in Zeek's default configuration.
CONN = log_stream.Log(
    "Conn::LOG", "conn", ("ts", TIME), ("uid", STRING), ("id.orig_h", ADDR), ("id.orig_p", PORT),
    ("id.resp_h", ADDR), ("id.resp_p", PORT), ("proto", ENUM), ("service", STRING), ("duration", INTERVAL),
    ("orig_bytes", COUNT), ("resp_bytes", COUNT), ("conn_state", STRING), ("local_orig", BOOL),
    ("local_resp", BOOL), ("missed_bytes", COUNT), ("history", STRING), ("orig_pkts", COUNT),
    ("orig_ip_bytes", COUNT), ("resp_pkts", COUNT), ("resp_ip_bytes", COUNT), ("tunnel_parents", SET, STRING),
    ("ip_proto", COUNT))


def record(number):
    return CONN.write(
        1700000000.123456 + number, "CEVvDE4AfNHdfRrfx", "192.168.1.7", "49152/tcp", "192.168.1.8", "443/tcp", "tcp",
        "http", 0.004919052, number, 2048, "SF", True, True, 0, "ShADadFf", 7, 3539, 5, 695, None, 6)


def frames(*messages):
    payloads = (scripted.envelope(scripted.Tag.DATA, bytes(15) + b"\x01", bytes(16), "zeek/logs/Conn::LOG",
                                  scripted.encode(message)) for message in messages)
    return b"".join(map(scripted.frame, payloads))


def publish(port, batches):
    create = frames(CONN.create())
    batch = frames(log_stream.batch(*map(record, range(BATCH))))
    with scripted.Peer(tls=False) as publisher:
        publisher.dial(port)
        publisher.shake_hands().sync()
        publisher.send_octets(create)
        for _ in range(batches):
            publisher.send_octets(batch)
        publisher.receive(timeout=600)


def iterate(logs, count):
    for _, _record in zip(range(count), logs):
        pass


def fields(logs, count):
    for _, found in zip(range(count), logs):
        found["id.orig_h"], found["id.resp_h"], found["id.resp_p"], found["service"], found["orig_bytes"]


def as_dict(logs, count):
    for _, found in zip(range(count), logs):
        found.to_dict()


def as_json(logs, count):
    for _, found in zip(range(count), logs):
        found.json()


def measure(consume, records):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        with broker.zeek.logs(endpoint, "conn") as logs:
            port = endpoint.listen("127.0.0.1", 0)
            publisher = multiprocessing.get_context("spawn").Process(
                target=publish, args=(port, records // BATCH), daemon=True)
            publisher.start()
            consume(logs, BATCH)
            count = records - BATCH
            start, cpu_start = time.perf_counter(), time.process_time()
            consume(logs, count)
            elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu_start
            publisher.terminate()
            publisher.join()
    return count / elapsed, count / cpu


def main():
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    print("%-8s %12s %12s" % ("", "records/s", "per CPU"))
    for name, consume in [("iterate", iterate), ("fields", fields), ("dict", as_dict), ("json", as_json)]:
        print("%-8s %12.0f %12.0f" % (name, *measure(consume, records)), flush=True)


if __name__ == "__main__":
    main()
