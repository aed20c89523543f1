"""The roles of the end-to-end benchmarks in Python; `run.py` starts and compares them.

Each role prints JSON lines, like the Rust roles: `{"port": n}` when it listens, and one closing line.
"""

import argparse
import datetime
import ipaddress
import json
import resource
import socket
import struct
import sys
import time

TOPIC = "/benchmark/events"
REPLY_TOPIC = "/benchmark/replies"
LARGE = "x" * (64 * 1024)


def emit(**line):
    print(json.dumps(line), flush=True)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def done(messages, start, cpu):
    emit(messages=messages, seconds=time.perf_counter() - start, cpu_seconds=cpu_seconds() - cpu,
         peak_kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# -- endpoints -------------------------------------------------------------------------------------

def make_endpoint(options):
    import broker
    settings = broker.BrokerOptions()
    settings.disable_ssl = not options.tls
    return broker.Endpoint(broker.Configuration(settings))


def connection_record():
    """Twenty fields such as a connection log has."""
    import broker
    return (
        datetime.datetime(2023, 4, 18, 14, 13, 14, 123456, tzinfo=datetime.timezone.utc),
        "CHhAvVGS1DHFjwGM9",
        ipaddress.ip_address("10.0.0.7"), broker.Port(49152, broker.Port.TCP),
        ipaddress.ip_address("192.0.2.33"), broker.Port(443, broker.Port.TCP),
        broker.Enum("tcp"), "ssl", datetime.timedelta(seconds=1.5),
        broker.Count(1234), broker.Count(56789), "SF", True, False, broker.Count(0), "ShADadFf",
        broker.Count(12), broker.Count(2048), broker.Count(15), 0.25,
    )


def event_maker(size):
    import broker
    event = broker.zeek.Event
    if size == "small":
        return lambda n: event("ping", n)
    if size == "medium":
        record = connection_record()
        return lambda n: event("connection", n, record)
    return lambda n: event("blob", n, LARGE)


def subscribe(options):
    with make_endpoint(options) as endpoint, endpoint.make_subscriber(TOPIC) as subscriber:
        emit(port=endpoint.listen("127.0.0.1", 0))
        expected = 0
        start = cpu = None
        while expected < options.count:
            messages = [subscriber.get()] + subscriber.poll()
            if start is None:
                start, cpu = time.perf_counter(), cpu_seconds()
            for _, data in messages:
                number = data[2][1][0]
                if number != expected:
                    sys.exit("expected message %d, got %d" % (expected, number))
                expected += 1
        done(expected, start, cpu)
        endpoint.publish(REPLY_TOPIC, "done")


def publish(options):
    with make_endpoint(options) as endpoint, endpoint.make_subscriber(REPLY_TOPIC) as replies:
        if not endpoint.peer("127.0.0.1", options.port[0], 0):
            sys.exit("cannot peer")
        make = event_maker(options.size)
        start, cpu = time.perf_counter(), cpu_seconds()
        for number in range(options.count):
            endpoint.publish(TOPIC, make(number))
        emit(publish_seconds=time.perf_counter() - start)
        replies.get(120.0)
        done(options.count, start, cpu)


def pong(options):
    with make_endpoint(options) as endpoint, endpoint.make_subscriber(TOPIC) as pings:
        emit(port=endpoint.listen("127.0.0.1", 0))
        for _ in range(options.count):
            endpoint.publish(REPLY_TOPIC, pings.get()[1])


def percentiles(round_trips):
    measured = sorted(round_trips[len(round_trips) // 10:])
    emit(p50_us=measured[len(measured) // 2] * 1e6, p99_us=measured[len(measured) * 99 // 100] * 1e6)


def ping(options):
    with make_endpoint(options) as endpoint, endpoint.make_subscriber(REPLY_TOPIC) as pongs:
        if not endpoint.peer("127.0.0.1", options.port[0], 0):
            sys.exit("cannot peer")
        make = event_maker("small")
        round_trips = []
        start, cpu = time.perf_counter(), cpu_seconds()
        for number in range(options.count):
            sent = time.perf_counter()
            endpoint.publish(TOPIC, make(number))
            if pongs.get()[1][2][1][0] != number:
                sys.exit("a pong out of order")
            round_trips.append(time.perf_counter() - sent)
        percentiles(round_trips)
        done(options.count, start, cpu)


def idle(options):
    """What `import broker` and the first endpoint cost."""
    def status(name):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(name))

    before = status("VmRSS")
    start = time.perf_counter()
    import broker
    imported = time.perf_counter()
    endpoints = [broker.Endpoint() for _ in range(options.endpoints)]
    made = time.perf_counter()
    rss, threads, cpu = status("VmRSS"), status("Threads"), cpu_seconds()
    time.sleep(5)  # idling is what is measured
    emit(import_ms=(imported - start) * 1e3, endpoint_ms=(made - imported) * 1e3,
         rss_kib_added=rss - before, threads=threads, endpoints=len(endpoints),
         idle_cpu_percent=(cpu_seconds() - cpu) / 5 * 100)


def convert(options):
    """Nanoseconds per leaf value into and out of the wire form."""
    import broker
    values = connection_record()
    rounds = options.count // 100
    start = time.perf_counter()
    for _ in range(rounds):
        broker.Data(values)
    into = time.perf_counter() - start
    data = broker.Data(values)
    start = time.perf_counter()
    for _ in range(rounds):
        broker.Data.to_py(data)
    out = time.perf_counter() - start
    emit(into_ns_per_leaf=into / rounds / len(values) * 1e9,
         out_ns_per_leaf=out / rounds / len(values) * 1e9)


# -- plain sockets ---------------------------------------------------------------------------------

def plain_maker(size):
    if size == "small":
        return lambda n: ("ping", n)
    if size == "medium":
        record = (1681827194.123456, "CHhAvVGS1DHFjwGM9", "10.0.0.7", "49152/tcp", "192.0.2.33",
                  "443/tcp", "tcp", "ssl", 1.5, 1234, 56789, "SF", True, False, 0, "ShADadFf",
                  12, 2048, 15, 0.25)
        return lambda n: ("connection", n, record)
    return lambda n: ("blob", n, LARGE)


def sockets_subscribe(options):
    import msgpack
    with socket.create_server(("127.0.0.1", 0)) as listener:
        emit(port=listener.getsockname()[1])
        stream, _ = listener.accept()
    held = bytearray()
    expected = 0
    start = cpu = None
    while expected < options.count:
        chunk = stream.recv(256 * 1024)
        if not chunk:
            sys.exit("the sender closed after %d messages" % expected)
        if start is None:
            start, cpu = time.perf_counter(), cpu_seconds()
        held += chunk
        position, size = 0, len(held)
        with memoryview(held) as view:
            while size - position >= 4:
                (length,) = struct.unpack_from(">I", held, position)
                if size - position - 4 < length:
                    break
                topic, data = msgpack.unpackb(view[position + 4:position + 4 + length])
                if topic != TOPIC or data[1] != expected:
                    sys.exit("expected message %d, got %r" % (expected, data[1]))
                expected += 1
                position += 4 + length
        del held[:position]
    done(expected, start, cpu)
    stream.sendall(b"!")


def sockets_publish(options):
    import msgpack
    stream = socket.create_connection(("127.0.0.1", options.port[0]))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    make = plain_maker(options.size)
    start, cpu = time.perf_counter(), cpu_seconds()
    for number in range(options.count):
        body = msgpack.packb((TOPIC, make(number)))
        stream.sendall(struct.pack(">I", len(body)) + body)
    emit(publish_seconds=time.perf_counter() - start)
    stream.recv(1)
    done(options.count, start, cpu)


def receive_exactly(stream, size):
    held = b""
    while len(held) < size:
        chunk = stream.recv(size - len(held))
        if not chunk:
            sys.exit("the other side closed")
        held += chunk
    return held


def sockets_pong(options):
    import msgpack
    with socket.create_server(("127.0.0.1", 0)) as listener:
        emit(port=listener.getsockname()[1])
        stream, _ = listener.accept()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(options.count):
        (length,) = struct.unpack(">I", receive_exactly(stream, 4))
        body = msgpack.packb(msgpack.unpackb(receive_exactly(stream, length)))
        stream.sendall(struct.pack(">I", len(body)) + body)


def sockets_ping(options):
    import msgpack
    stream = socket.create_connection(("127.0.0.1", options.port[0]))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    round_trips = []
    start, cpu = time.perf_counter(), cpu_seconds()
    for number in range(options.count):
        sent = time.perf_counter()
        body = msgpack.packb((TOPIC, ("ping", number)))
        stream.sendall(struct.pack(">I", len(body)) + body)
        (length,) = struct.unpack(">I", receive_exactly(stream, 4))
        if msgpack.unpackb(receive_exactly(stream, length))[1][1] != number:
            sys.exit("a pong out of order")
        round_trips.append(time.perf_counter() - sent)
    percentiles(round_trips)
    done(options.count, start, cpu)


ROLES = {role.__name__.replace("_", "-"): role for role in (
    subscribe, publish, ping, pong, idle, convert,
    sockets_subscribe, sockets_publish, sockets_ping, sockets_pong)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--size", choices=("small", "medium", "large"), default="small")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--port", type=int, action="append", default=[])
    parser.add_argument("--endpoints", type=int, default=1)
    options = parser.parse_args()
    ROLES[options.role](options)


if __name__ == "__main__":
    main()
