"""Measures a member of a ZeroMQ cluster against pyzmq with msgpack: the same events, proxy and run.

A forwarder is measured against `zmq_proxy` of libzmq, each on a processor of its own.

`make bench-zeromq` runs it.

The other end of a rate is a bare socket that speaks ZMTP, so that the program that is measured and the
proxy of libzmq are all that takes time. Every message is counted.
"""

import argparse
import json
import os
import pathlib
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PROXY = HERE.parent / "python" / "tests" / "programs" / "proxy.py"
TOPIC, END, BACK = "bench.event", "bench.end", "bench.back"
DEADLINE_S = 120

# What must be reached, as a ratio to pyzmq; records per second for logs.
TARGETS = {"receive": 1.5, "publish": 1.5, "latency": 1.2, "logs": 150_000, "hop": 1, "hop to 4": 1}


# --- a bare socket that speaks ZMTP. Spec: zeromq 2 -----------------------------------------------

def frame(body, more=False, command=False):
    flags = more | 4 * command
    if len(body) > 255:
        return struct.pack(">BQ", flags | 2, len(body)) + body
    return struct.pack(">BB", flags, len(body)) + body


def message(*parts):
    return b"".join(frame(part, more=part is not parts[-1]) for part in parts)


def connect(port, kind):
    stream = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    greeting = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    stream.sendall(greeting + frame(ready, command=True))
    read = b""
    while b"READY" not in read:
        read += receive(stream)
    return stream, read


def receive(stream):
    data = stream.recv(1 << 20)
    if not data:
        raise ConnectionError("the other side ended the connection")
    return data


def until(stream, read, text):
    """Reads up to a text."""
    while text not in read:
        read = read[-len(text):] + receive(stream)


# --- what is sent ---------------------------------------------------------------------------------

def text(value):
    return b"\x05" + bytes([len(value)]) + value


def count(value):
    return b"\x02" + struct.pack(">Q", value)


def vector(*values):
    return b"\x0e" + bytes([len(values)]) + b"".join(values)


def event_bytes():
    """An event with a text and a number. Spec: zeromq 3.2."""
    arguments = vector(text(b"a small event"), count(42))
    return vector(count(1), count(1), vector(text(b"ping"), arguments))


def log_batch(records):
    """Records of a log with fields of the kinds that `conn` has. Spec: zeromq 7.2."""
    def string(value):
        return struct.pack(">I", len(value)) + value

    def address(number):
        return b"\x04" + bytes([10, 0, number >> 8 & 255, number & 255])

    fields = [(b"ts", 5, lambda n: struct.pack(">d", 1.7e9 + n)), (b"uid", 7, lambda n: string(b"CUid%012d" % n)),
              (b"id.orig_h", 11, address), (b"id.orig_p", 10, lambda n: struct.pack(">Qi", n & 65535, 1)),
              (b"id.resp_h", 11, address), (b"id.resp_p", 10, lambda n: struct.pack(">Qi", 443, 1)),
              (b"proto", 9, lambda n: string(b"tcp")), (b"service", 7, lambda n: string(b"ssl")),
              (b"duration", 6, lambda n: struct.pack(">d", 0.25)), (b"orig_bytes", 3, lambda n: struct.pack(">Q", n)),
              (b"resp_bytes", 3, lambda n: struct.pack(">Q", 2 * n)), (b"conn_state", 7, lambda n: string(b"SF")),
              (b"local_orig", 1, lambda n: struct.pack(">q", 1)), (b"local_resp", 1, lambda n: struct.pack(">q", 0)),
              (b"missed_bytes", 3, lambda n: struct.pack(">Q", 0)), (b"history", 7, lambda n: string(b"ShADadFf")),
              (b"orig_pkts", 3, lambda n: struct.pack(">Q", 10)), (b"orig_ip_bytes", 3, lambda n: struct.pack(">Q", n)),
              (b"resp_pkts", 3, lambda n: struct.pack(">Q", 12)), (b"resp_ip_bytes", 3, lambda n: struct.pack(">Q", n))]
    batch = b"".join(map(string, (b"Conn::LOG", b"Log::WRITER_ASCII", b"default", b"conn")))
    batch += struct.pack(">I", len(fields))
    for name, kind, _ in fields:
        batch += b"\0" + string(name) + struct.pack(">iiB", kind, 0, 1)
    batch += struct.pack(">I", records)
    return batch + b"".join(struct.pack(">iiB", kind, 0, 1) + value(number)
                            for number in range(records) for _, kind, value in fields)


# --- programs that are measured, each in a process of its own ---------------------------------------

def say(*words):
    print(*words, flush=True)


class WithBroker:
    """A member of the cluster, with this package."""

    def __init__(self, ports, *topics):
        import broker

        self.broker, self.endpoint = broker, broker.Endpoint()
        self.messages = self.endpoint.make_subscriber(list(topics))
        url = "zmq://127.0.0.1:%d?xsub=%d" % tuple(ports)
        if not self.endpoint.peer(url, 0):
            raise ConnectionError(url)

    def take(self, wanted):
        """Reads as many events, or a few more that are there."""
        taken = 0
        while taken < wanted:
            for _, data in [self.messages.get(), *self.messages.poll()]:
                self.broker.zeek.Event(data).args()
                taken += 1
        return taken

    def begin(self, topic):
        self.endpoint.publish(topic, self.broker.zeek.Event("ping", "begin"), wait_for_subscriber=DEADLINE_S)

    def send(self, topic):
        self.endpoint.publish(topic, self.broker.zeek.Event("ping", "a small event", self.broker.Count(42)))


class WithPyzmq:
    """The same on pyzmq, with msgpack for values."""

    def __init__(self, ports, *topics):
        import msgpack
        import zmq

        self.msgpack, context = msgpack, zmq.Context()
        self.xsub, self.xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        self.xpub.setsockopt(zmq.XPUB_NODROP, 1)
        for stream, port in zip((self.xsub, self.xpub), ports):
            stream.setsockopt(zmq.RCVHWM, 0)
            stream.setsockopt(zmq.SNDHWM, 0)
            stream.connect("tcp://127.0.0.1:%d" % port)
        for topic in topics:
            self.xsub.send(b"\1" + topic.encode())

    def take(self, wanted):
        for _ in range(wanted):
            _, _, _, payload = self.xsub.recv_multipart()
            self.msgpack.unpackb(payload)
        return wanted

    def begin(self, topic):
        notice = b""
        while not notice.startswith(b"\1" + topic.encode()):
            notice = self.xpub.recv()
        self.send(topic)

    def send(self, topic):
        payload = self.msgpack.packb([1, 1, ["ping", ["a small event", 42]]])
        self.xpub.send_multipart([topic.encode(), b"bench", b"msgpack", payload])


KINDS = {"broker": WithBroker, "pyzmq": WithPyzmq}


def receiver(kind, ports, number):
    member = KINDS[kind](ports, TOPIC)
    say("ready")
    # One more than that is sent.
    left = number + 1 - member.take(1)
    begun = time.perf_counter()
    member.take(left)
    say((time.perf_counter() - begun) * number / left)


def publisher(kind, ports, number):
    member = KINDS[kind](ports)
    member.begin(TOPIC)
    for _ in range(number):
        member.send(TOPIC)
    member.send(END)
    sys.stdin.readline()


def echo(kind, ports, number):
    member = KINDS[kind](ports, TOPIC)
    say("ready")
    member.begin(BACK)
    for _ in range(number):
        member.take(1)
        member.send(BACK)
    sys.stdin.readline()


def asker(kind, ports, number):
    member = KINDS[kind](ports, BACK)
    member.take(1)
    times = []
    for _ in range(number):
        begun = time.perf_counter()
        member.send(TOPIC)
        member.take(1)
        times.append(time.perf_counter() - begun)
    say(statistics.median(times))


def logs(_, ports, number):
    import broker

    receiver = broker.zeek.LogReceiver("zmq-pull://127.0.0.1:0")
    say(receiver.port)
    begun, read = None, 0
    for record in broker.zeek.logs(receiver):
        begun = begun or time.perf_counter()
        record["ts"], record["id.orig_h"], record["id.resp_h"], record["service"], record["orig_bytes"]
        read += 1
        if read == number:
            break
    say(time.perf_counter() - begun)


def forwarder(*_):
    import broker

    address = "tcp://127.0.0.1:0"
    forwarder = broker.zeek.Forwarder(xpub=address, xsub=address, curve=False)
    say("ports", forwarder.xpub_port, forwarder.xsub_port)
    sys.stdin.readline()


ROLES = {role.__name__: role for role in (receiver, publisher, echo, asker, logs, forwarder)}


# --- measurements ---------------------------------------------------------------------------------

class Process:
    def __init__(self, *arguments, processor=None):
        command = [sys.executable, *map(str, arguments)]
        if processor is not None:
            command = ["taskset", "-c", str(processor), *command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @classmethod
    def role(cls, role, kind, ports, number, **options):
        return cls(__file__, "--role", role, kind, *ports, number, **options)

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("%s ended" % self.process.args)
        return line.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def proxy():
    process = Process(PROXY, 0, 0)
    process.ports = [int(port) for port in process.line().split()[1:]]
    return process


def measure_receive(kind, number):
    import msgpack

    payload = event_bytes() if kind == "broker" else msgpack.packb([1, 1, ["ping", ["a small event", 42]]])
    form = b"broker-bin-v1" if kind == "broker" else b"msgpack"
    sent = message(TOPIC.encode(), b"bench", form, payload)
    with proxy() as middle, Process.role("receiver", kind, middle.ports, number) as program:
        program.line()
        stream, read = connect(middle.ports[1], b"XPUB")
        with stream:
            until(stream, read, TOPIC.encode())
            stream.sendall(sent)
            for _ in range(number // 1000):
                stream.sendall(sent * 1000)
            return number / float(program.line())


def measure_publish(kind, number):
    with proxy() as middle:
        stream, read = connect(middle.ports[0], b"XSUB")
        with stream:
            for topic in (TOPIC, END):
                stream.sendall(message(b"\1" + topic.encode()))
            with Process.role("publisher", kind, middle.ports, number):
                until(stream, read, TOPIC.encode())
                begun = time.perf_counter()
                until(stream, b"", END.encode())
                return number / (time.perf_counter() - begun)


def measure_latency(kind, number):
    with proxy() as middle, Process.role("echo", kind, middle.ports, number) as other:
        other.line()
        with Process.role("asker", kind, middle.ports, number) as program:
            return float(program.line()) * 1e6


def measure_logs(records):
    batch = message(b"log-write", b"bench", b"zeek-bin-serializer", log_batch(1000))
    with Process.role("logs", "broker", (0, 0), records) as program:
        stream, _ = connect(int(program.line()), b"PUSH")
        with stream:
            for _ in range(records // 1000):
                stream.sendall(batch)
            return records / float(program.line())


def measure_hop(kind, number, subscribers):
    """Events per second from one publisher to all of these subscribers, through a proxy of one processor."""
    allowed = sorted(os.sched_getaffinity(0))
    sent = message(TOPIC.encode(), b"bench", b"broker-bin-v1", event_bytes())
    if kind == "broker":
        middle = Process.role("forwarder", kind, (0, 0), 0, processor=allowed[0])
    else:
        middle = Process(PROXY, 0, 0, processor=allowed[0])
    # This process has another one: what reads and writes here is no part of it.
    os.sched_setaffinity(0, allowed[1:] or allowed)
    streams = []
    try:
        with middle:
            ports = [int(port) for port in middle.line().split()[1:]]
            # First, to be told of each subscriber: those that are there already it is told of once.
            publisher, read = connect(ports[1], b"XPUB")
            streams.append(publisher)
            for _ in range(subscribers):
                stream, _ = connect(ports[0], b"XSUB")
                streams.append(stream)
                stream.sendall(message(b"\1" + TOPIC.encode()))
            while read.count(TOPIC.encode()) < subscribers:
                read += receive(publisher)
            writer = threading.Thread(target=lambda: [publisher.sendall(sent * 1000) for _ in range(number // 1000)])
            left = dict.fromkeys(streams[1:], number // 1000 * 1000 * len(sent))
            begun = time.perf_counter()
            writer.start()
            with selectors.DefaultSelector() as selector:
                for stream in left:
                    selector.register(stream, selectors.EVENT_READ)
                while left:
                    ready = selector.select(DEADLINE_S)
                    if not ready:
                        raise TimeoutError("%d messages are missing" % (max(left.values()) // len(sent)))
                    for key, _ in ready:
                        left[key.fileobj] -= len(receive(key.fileobj))
                        if not left[key.fileobj]:
                            selector.unregister(key.fileobj)
                            del left[key.fileobj]
            took = time.perf_counter() - begun
            writer.join()
            return number / took
    finally:
        for stream in streams:
            stream.close()
        os.sched_setaffinity(0, allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only-hop", action="store_true", help="only the forwarder beside zmq_proxy")
    options = parser.parse_args()
    found = {}
    for _ in range(options.rounds):
        for kind in KINDS:
            found.setdefault(("hop", kind), []).append(measure_hop(kind, options.number, 1))
            found.setdefault(("hop to 4", kind), []).append(measure_hop(kind, options.number // 2, 4))
        if options.only_hop:
            continue
        for kind in KINDS:
            found.setdefault(("receive", kind), []).append(measure_receive(kind, options.number))
            found.setdefault(("publish", kind), []).append(measure_publish(kind, options.number))
            found.setdefault(("latency", kind), []).append(measure_latency(kind, options.number // 50))
        found.setdefault(("logs", "broker"), []).append(measure_logs(options.number))
    result = {}
    for (what, kind), values in found.items():
        result.setdefault(what, {})[kind] = statistics.median(values)
    if options.json:
        print(json.dumps(result))
        return
    print("%-8s %12s %12s %7s %8s" % ("", "broker", "pyzmq", "ratio", "target"))
    for what, values in result.items():
        ours, other = values["broker"], values.get("pyzmq")
        ratio = "%.2f" % (ours / other) if other else ""
        print("%-8s %12.0f %12s %7s %8s" % (what, ours, "%.0f" % other if other else "", ratio, TARGETS[what]))
    print("messages or records per second; latency: median round trip in µs, least is best")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--role"]:
        role, kind, *numbers = sys.argv[2:]
        *ports, number = map(int, numbers)
        ROLES[role](kind, ports, number)
        # Nothing is left to be said: sockets of pyzmq would wait for their peers.
        sys.stdout.flush()
        os._exit(0)
    main()
