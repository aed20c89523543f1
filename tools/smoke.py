"""Proves that an installed wheel works by itself: imports it and lets two endpoints exchange a message.

With the file of the wheel as its argument it also looks at what the package costs those who install and
import it. Limits that a change meets are to be raised only with a reason in CHANGELOG.md.
"""

# Besides what is used here, modules that most programs have loaded anyway, so that an import of the
# package is not measured with them; `make bench` compares in the same way.
import argparse  # noqa: F401
import ipaddress  # noqa: F401
import json  # noqa: F401
import pathlib
import socket  # noqa: F401
import sys

DEADLINE_S = 60.0

# What is downloaded, with the command in it.
WHEEL_BYTES_MAX = 9 << 20

# What is mapped by all who import the package: docs/adr/0310-openssl-without-what-is-never-called.md.
MODULE_BYTES_MAX = 18_000_000

# What an import adds to the memory of a process that is its own: half of it is relocations of the module.
# How much of the file is resident beside it is up to the system's cache, between 3 and 5 MiB.
IMPORT_BYTES_MAX = 2 << 20


def own_bytes():
    """Memory of this process that is shared with no other, where the system tells it."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), None)


before = own_bytes()
import broker  # noqa: E402 (what is measured)

grown = None if before is None else own_bytes() - before

assert pathlib.Path(broker.__file__).is_relative_to(sys.prefix), \
    "imported %s instead of the installed wheel" % broker.__file__

for wheel in map(pathlib.Path, sys.argv[1:]):
    module = pathlib.Path(broker._broker.__file__)
    for what, size, limit in (
        (wheel.name, wheel.stat().st_size, WHEEL_BYTES_MAX),
        (module.name, module.stat().st_size, MODULE_BYTES_MAX),
        ("import broker", grown, IMPORT_BYTES_MAX),
    ):
        if size is None:
            print("SKIPPED: this system does not tell the memory of a process")
            continue
        print("%s: %d bytes of %d" % (what, size, limit))
        assert size <= limit, "%s: %d bytes, %d are allowed" % (what, size, limit)

with broker.Endpoint() as left, broker.Endpoint() as right, \
        right.make_subscriber("/smoke") as messages:
    port = left.listen("127.0.0.1", 0)
    assert port != 0, "cannot listen"
    assert right.peer("127.0.0.1", port, 0.0), "cannot peer"
    assert left.await_peer(right.node_id(), DEADLINE_S), "the listening side has no peer"
    sent = (1, "two", broker.Count(3))
    left.publish("/smoke/test", sent)
    assert messages.get(1, DEADLINE_S) == [("/smoke/test", sent)], "the message did not arrive"

print("the wheel works: %s" % broker.__file__)
