#!/usr/bin/env python3
"""Sends ping events to Zeek and prints the pongs.

On the Zeek side (any release from 5.0 on):

    redef exit_only_after_terminate = T;
    global pong: event(n: int);
    event ping(n: int) { Broker::publish("/topic/test", pong, n); }
    event zeek_init() { Broker::subscribe("/topic/test"); Broker::listen("127.0.0.1", 9999/tcp); }

    python3 examples/ping.py [HOST [PORT]]
"""

import sys

import broker

TIMEOUT_S = 10.0


def main() -> int:
    host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    with broker.Endpoint() as endpoint, endpoint.make_subscriber("/topic/test") as messages:
        # A retry of zero means one attempt. When peer() returns True the other side's
        # subscriptions are known, so nothing published from here on is lost.
        if not endpoint.peer(host, port, 0.0):
            print("cannot peer with %s:%d: is Zeek listening there, with TLS on?" % (host, port),
                  file=sys.stderr)
            return 1
        for n in range(5):
            endpoint.publish("/topic/test", broker.zeek.Event("ping", n))
            received = messages.get(1, TIMEOUT_S)
            if not received:
                print("no pong within %d s" % TIMEOUT_S, file=sys.stderr)
                return 1
            _, value = received[0]
            pong = broker.zeek.Event(value)
            print("received %s%s" % (pong.name(), pong.args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
