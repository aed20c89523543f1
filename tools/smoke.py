"""Proves that an installed wheel works by itself: imports it and lets two endpoints exchange a message."""

import pathlib
import sys

import broker

DEADLINE_S = 20.0

assert pathlib.Path(broker.__file__).is_relative_to(sys.prefix), \
    "imported %s instead of the installed wheel" % broker.__file__

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
