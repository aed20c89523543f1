#!/usr/bin/env python3
"""A small log stream of our own, encoded independently of the package.

    python3 python/tests/log_stream.py > examples/log_stream.json

The file has the layout of recordings with Zeek: the frames of a session with a subscriber to
`zeek/logs/`, from the handshake to Zeek's goodbye, and the records that its JSON logs would show.
"""

import ipaddress
import json
import struct

from peer import (BYE, CONTROL_TOPIC, TTL, Tag, boolean, count, encode, enum_value, envelope, frame, hello, none,
                  originator_ack, originator_syn, probe, real, responder_syn_ack, string, table_of, vector,
                  version_select)

WRITER = "Log::WRITER_ASCII"
SENDER = bytes(range(16))
RECORDER = bytes(range(0x80, 0x90))
NOBODY = bytes(16)
GOODBYE = BYE + bytes([0, 0, 0, 0, 0, 0, 0, 16])

BOOL, INT, COUNT, DOUBLE, TIME, INTERVAL, STRING = 1, 2, 3, 4, 5, 6, 7
ENUM, PORT, ADDR, SUBNET, SET, FUNC, FILE, VECTOR = 9, 10, 11, 12, 14, 17, 18, 19
PROTOCOLS = {"tcp": 1, "udp": 2, "icmp": 3, "unknown": 0}


class Log:
    """A log with its fields: (name, type) or (name, set or vector, type of the elements)."""

    def __init__(self, stream, path, *fields):
        self.stream, self.path = stream, path
        self.fields = [(*field, 0)[:3] for field in fields]

    def create(self):
        info = vector(string(self.path), real(0.0), real(0.0), real(0.0), table_of(), string(""))
        fields = vector(*(vector(string(name), none(), count(kind), count(inner), boolean(True))
                          for name, kind, inner in self.fields))
        return self._message(2, info, fields)

    def write(self, *values):
        assert len(values) == len(self.fields)
        blob = struct.pack(">i", len(values)) + b"".join(
            _value(value, kind, inner) for value, (_, kind, inner) in zip(values, self.fields))
        return self._message(3, string(self.path), string(blob))

    def _message(self, kind, *content):
        return vector(count(1), count(kind), vector(enum_value(self.stream), enum_value(WRITER), *content))


def batch(*messages):
    return vector(count(1), count(5), vector(*messages))


def _octets(text):
    return text if isinstance(text, bytes) else text.encode()


def _address(text):
    address = ipaddress.ip_address(text)
    return bytes([address.version]) + address.packed


def _content(value, kind, inner):
    if kind in (BOOL, INT):
        return struct.pack(">q", value)
    if kind == COUNT:
        return struct.pack(">Q", value)
    if kind in (DOUBLE, TIME, INTERVAL):
        return struct.pack(">d", value)
    if kind in (STRING, ENUM, FUNC, FILE):
        return struct.pack(">I", len(_octets(value))) + _octets(value)
    if kind == PORT:
        number, protocol = value.split("/")
        return struct.pack(">Qi", int(number), PROTOCOLS[protocol])
    if kind == ADDR:
        return _address(value)
    if kind == SUBNET:
        network = ipaddress.ip_network(value)
        length = network.prefixlen + (96 if network.version == 4 else 0)
        return bytes([length]) + _address(str(network.network_address))
    assert kind in (SET, VECTOR)
    return struct.pack(">q", len(value)) + b"".join(_value(element, inner, 0) for element in value)


def _value(value, kind, inner):
    if value is None:
        return struct.pack(">ii?", kind, 0, False)
    return struct.pack(">ii?", kind, 0, True) + _content(value, kind, inner)


CONN = Log("Conn::LOG", "conn", ("ts", TIME), ("uid", STRING), ("id.orig_h", ADDR), ("id.orig_p", PORT),
           ("id.resp_h", ADDR), ("id.resp_p", PORT), ("proto", ENUM), ("service", STRING), ("duration", INTERVAL),
           ("orig_bytes", COUNT), ("local_orig", BOOL), ("tunnel_parents", SET, STRING))
SHORT = Log("Conn::LOG", "conn-short", ("uid", STRING), ("orig_bytes", COUNT))
DNS = Log("DNS::LOG", "dns", ("ts", TIME), ("query", STRING), ("answers", VECTOR, STRING), ("TTLs", VECTOR, INTERVAL))
DEMO = Log("Demo::LOG", "demo", ("b", BOOL), ("i", INT), ("c", COUNT), ("d", DOUBLE), ("t", TIME), ("iv", INTERVAL),
           ("s", STRING), ("raw", STRING), ("e", ENUM), ("p", PORT), ("a", ADDR), ("n4", SUBNET), ("n6", SUBNET),
           ("sa", SET, ADDR), ("vc", VECTOR, COUNT), ("empty", VECTOR, BOOL), ("holes", VECTOR, INT), ("f", FUNC),
           ("file", FILE), ("unset", STRING))

TOPIC = "zeek/logs/%s"

# What is sent, one topic and message each. The record of `dns` comes before its announcement.
MESSAGES = [
    (CONN, CONN.create()),
    (DNS, DNS.write(1700000001.5, "example.org", ["192.0.2.1", "2001:db8::1"], [300.0, 0.5])),
    (CONN, SHORT.create()),
    (CONN, batch(
        CONN.write(1700000000.123456, "CAcJw21BbVedgFnYH3", "192.0.2.7", "49152/tcp", "198.51.100.1", "443/tcp",
                   "tcp", "ssl", 1.25, 1024, True, ["Cparent"]),
        CONN.write(1700000000.5, "CFLRIC3zaTU1loLGxh", "2001:db8::7", "5353/udp", "ff02::fb", "5353/udp", "udp",
                   None, None, None, False, []),
        SHORT.write("CAcJw21BbVedgFnYH3", 1024))),
    (DNS, DNS.create()),
    (DEMO, DEMO.create()),
    (DEMO, batch(batch(DEMO.write(
        True, -5, 2**64 - 1, 1.5e-10, 0.0, -1.5, 'h\u00e9 "q" \\ \n', b"\x00\xff\x7f", "Demo::RED", "8/icmp", "::",
        "10.0.0.0/8", "2001:db8::/32", ["192.0.2.1", "::1"], [1, 2, 3], [], [1, None, -1], "f\nfunction()", "x.log",
        None)))),
]

EXPECTED = {
    "conn": [
        {"ts": 1700000000.123456, "uid": "CAcJw21BbVedgFnYH3", "id.orig_h": "192.0.2.7", "id.orig_p": 49152,
         "id.resp_h": "198.51.100.1", "id.resp_p": 443, "proto": "tcp", "service": "ssl", "duration": 1.25,
         "orig_bytes": 1024, "local_orig": True, "tunnel_parents": ["Cparent"]},
        {"ts": 1700000000.5, "uid": "CFLRIC3zaTU1loLGxh", "id.orig_h": "2001:db8::7", "id.orig_p": 5353,
         "id.resp_h": "ff02::fb", "id.resp_p": 5353, "proto": "udp", "local_orig": False, "tunnel_parents": []}],
    "conn-short": [{"uid": "CAcJw21BbVedgFnYH3", "orig_bytes": 1024}],
    "dns": [{"ts": 1700000001.5, "query": "example.org", "answers": ["192.0.2.1", "2001:db8::1"],
             "TTLs": [300.0, 0.5]}],
    "demo": [{"b": True, "i": -5, "c": 2**64 - 1, "d": 1.5e-10, "t": 0.0, "iv": -1.5, "s": 'h\u00e9 "q" \\ \n',
              "raw": "\\x00\\xff\\x7f", "e": "Demo::RED", "p": 8, "a": "::", "n4": "10.0.0.0/8",
              "n6": "2001:db8::/32", "sa": ["192.0.2.1", "::1"], "vc": [1, 2, 3], "empty": [],
              "holes": [1, None, -1], "f": "f\nfunction()", "file": "x.log"}],
}


def frames():
    """The session: who sends what, seen from the recorder. The smaller id, Zeek's, leads the handshake."""
    yield "in", probe()
    yield "out", hello(RECORDER)
    yield "in", version_select(SENDER)
    yield "in", originator_syn(["zeek/supervisor"])
    yield "out", responder_syn_ack([TOPIC % ""])
    yield "in", originator_ack()
    for log, message in MESSAGES:
        yield "in", envelope(Tag.DATA, SENDER, NOBODY, TOPIC % log.stream, encode(message), TTL)
    yield "in", envelope(Tag.PING, SENDER, RECORDER, CONTROL_TOPIC, GOODBYE, TTL)
    yield "out", envelope(Tag.PONG, RECORDER, SENDER, CONTROL_TOPIC, GOODBYE, TTL)


def recording():
    return {
        "title": "a log stream of our own making",
        "description": "Encoded by python/tests/log_stream.py, which says what is in it. frames: a session of a Zeek"
                       " process with a subscriber to zeek/logs/; expected: what its JSON logs would show, by path.",
        "frames": [{"dir": direction, "hex": frame(octets).hex()} for direction, octets in frames()],
        "expected": EXPECTED,
    }


if __name__ == "__main__":
    print(json.dumps(recording(), indent=1))
