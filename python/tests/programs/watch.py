"""One side of the manual's section on status messages: peers or is peered with, and prints the events."""

import sys

import broker

with broker.Endpoint() as ep, ep.make_status_subscriber(True) as es:
    if len(sys.argv) > 1:
        print(ep.peer("127.0.0.1", int(sys.argv[1]), 1.0), flush=True)
    else:
        print(ep.listen("127.0.0.1", 0), flush=True)
    st = es.get(2)
    print([s.code() for s in st] == [broker.SC.EndpointDiscovered, broker.SC.PeerAdded], flush=True)
    sys.stdin.readline()
    ep.shutdown()
    print([s.code() for s in es.poll()], flush=True)
