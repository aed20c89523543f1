"""Counts in a store of another process: `store_count.py PORT TIMES`."""

import sys

import broker

with broker.Endpoint() as ep, ep.make_status_subscriber(True) as statuses:
    assert ep.peer("127.0.0.1", int(sys.argv[1]), 1.0)
    status = statuses.get()
    assert type(status) is broker.Status and status.code() == broker.SC.PeerAdded
    clone = ep.attach_clone("mystore")
    for _ in range(int(sys.argv[2])):
        clone.increment("foo", 1)
        assert clone.await_idle()
        print(clone.get("foo"), flush=True)
