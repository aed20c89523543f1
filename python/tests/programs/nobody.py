"""The manual's section on error messages: a port where nobody listens."""

import sys

import broker

with broker.Endpoint() as ep, ep.make_status_subscriber() as es:
    r = ep.peer("127.0.0.1", int(sys.argv[1]), 0.0)
    print(r, flush=True)
    s = es.get()
    print(type(s) == broker.Error, s.code() == broker.EC.PeerUnavailable, flush=True)  # noqa: E721
