"""Peers with a port and sends ping events: the calls of the manual's first program, in its order."""

import sys

import broker

with broker.Endpoint() as ep, \
        ep.make_subscriber("/topic/test") as sub, \
        ep.make_status_subscriber(True) as ss:

    ep.peer("127.0.0.1", int(sys.argv[1]))

    st = ss.get()
    if not (type(st) == broker.Status and st.code() == broker.SC.PeerAdded):  # noqa: E721
        print("no peering: %r" % st)
        sys.exit(1)

    for n in range(5):
        ep.publish("/topic/test", broker.zeek.Event("ping", n))
        (t, d) = sub.get()
        pong = broker.zeek.Event(d)
        print("received {}{}".format(pong.name(), pong.args()))
