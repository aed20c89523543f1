"""The talking half of the manual's section on communication."""

import ipaddress
import sys

import broker

with broker.Endpoint() as ep:
    if not ep.peer("127.0.0.1", int(sys.argv[1]), 1.0):
        sys.exit("no peering")
    print(ep.await_peer(sys.argv[2]), flush=True)

    ep.publish("/test", ["ping"])
    ep.publish_batch(("/test/2", (1, 2, 3)),
                     ("/test/3", (42, "foo", {"a": "A", "b": ipaddress.IPv4Address("1.2.3.4")})))

    # The other side changes its topics meanwhile.
    sys.stdin.readline()
    while "/more" not in map(str, ep.peer_subscriptions()):
        pass
    ep.publish("/test", "nobody listens any more")
    ep.publish("/more", "last")
    # Leave when the other side has gone.
    with ep.make_status_subscriber(True) as ss:
        if ep.peers():
            ss.get()
