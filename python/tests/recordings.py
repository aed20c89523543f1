"""Where the recorded bytes and behaviour are, and what their tagged notation means."""

import json
import pathlib
import sys

import pytest

import peer

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
VECTORS = REPOSITORY / "vectors"

sys.path.append(str(REPOSITORY / "examples"))
import outside_files  # noqa: E402


def load(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def outside(kind, name):
    """The path of a file that is not in the repository. Without it the test is skipped, or fails where checks run."""
    path = outside_files.find(kind, name)
    if path is None:
        pytest.skip(outside_files.missing(kind))
    return path


def to_value(tagged):
    """A value of the scripted peer from the tagged notation of vectors/README.md."""
    kind, data = tagged["@data-type"], tagged["data"]
    return _READERS[kind](data)


def _octets(data):
    return bytes.fromhex(data["hex"]) if isinstance(data, dict) else data.encode("utf-8", "surrogateescape")


def _subnet(data):
    text, length = data.rsplit("/", 1)
    octets = peer.address(text).body
    v4 = octets[:12] == bytes(10) + b"\xff\xff"
    return peer.Value(peer.Kind.SUBNET, (octets, int(length) + (96 if v4 else 0)))


def _port(data):
    number, protocol = data.split("/")
    return peer.port(int(number), protocol)


def _nanoseconds(data):
    assert data.endswith("ns")
    return int(data[:-2])


_READERS = {
    "none": lambda data: peer.none(),
    "boolean": peer.boolean,
    "count": peer.count,
    "integer": peer.integer,
    "real": lambda data: peer.real(float(data)),
    "string": lambda data: peer.string(_octets(data)),
    "address": peer.address,
    "subnet": _subnet,
    "port": _port,
    "timestamp": lambda data: peer.timestamp(_nanoseconds(data)),
    "timespan": lambda data: peer.timespan(_nanoseconds(data)),
    "enum-value": lambda data: peer.enum_value(_octets(data)),
    "set": lambda data: peer.set_of(*map(to_value, data)),
    "table": lambda data: peer.table_of(*((to_value(e["key"]), to_value(e["value"])) for e in data)),
    "vector": lambda data: peer.vector(*map(to_value, data)),
}
