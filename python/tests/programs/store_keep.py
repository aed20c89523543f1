"""Keeps a store in the file that the argument names; shows its counter at every change of a peering."""

import sys

import broker

with broker.Endpoint() as ep, ep.make_status_subscriber(True) as statuses:
    print(ep.listen("127.0.0.1", 0), flush=True)
    master = ep.attach_master("mystore", broker.Backend.SQLite, {"path": sys.argv[1]})
    while True:
        print(statuses.get().code(), master.get("foo"), flush=True)
