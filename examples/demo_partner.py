#!/usr/bin/env python3
"""The second process of demo.py: listens, echoes every value and answers ping events.

    demo_partner.py zeek|ws

listens for native peers or for WebSocket clients. It prints its port as one JSON line, then what it saw,
and ends when told to over the peering.
"""

import json
import sys

import broker

DEADLINE_S = 60.0


def main():
    with broker.Endpoint() as endpoint, \
            endpoint.make_subscriber("/demo/to-partner") as messages, \
            endpoint.make_status_subscriber(True) as statuses:
        if sys.argv[1] == "ws":
            port = endpoint.listen_ws("127.0.0.1", 0, tls=False)
        else:
            port = endpoint.listen("127.0.0.1", 0)
        print(json.dumps({"port": port}), flush=True)

        echoed = answered = 0
        while True:
            received = messages.get(1, DEADLINE_S)
            if not received:
                print("nothing came for %d s" % DEADLINE_S)
                return 1
            topic, value = received[0]
            if topic == "/demo/to-partner/value":
                endpoint.publish("/demo/to-main/value", value)
                echoed += 1
            elif topic == "/demo/to-partner/event":
                event = broker.zeek.Event(value)
                if not event.valid() or event.name() != "ping":
                    print("not a ping: %r" % (value,))
                    return 1
                endpoint.publish("/demo/to-main/event", broker.zeek.Event("pong", *event.args()))
                answered += 1
            else:
                break

        for status in statuses.get(2, DEADLINE_S):
            print("status %s" % status)
        print("%d values echoed, %d pings answered" % (echoed, answered), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
