"""Answers ping(n) with pong(n), as the Zeek script of the manual does."""

import broker

with broker.Endpoint() as ep, ep.make_subscriber("/topic/test") as sub:
    print(ep.listen("127.0.0.1", 0), flush=True)
    for _ in range(5):
        (t, d) = sub.get()
        ping = broker.zeek.Event(d)
        if ping.valid() and ping.name() == "ping":
            ep.publish(t, broker.zeek.Event("pong", *ping.args()))
    # The pinger has its last pong before it leaves.
    with ep.make_status_subscriber(True) as ss:
        if ep.peers():
            ss.get()
