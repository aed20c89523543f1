#!/usr/bin/env python3
"""Listens on a port and prints every message whose topic starts with one of the given prefixes.

    python3 examples/subscribe.py PORT [PREFIX...]

Without a prefix everything that peers send is printed. Ctrl-C ends the program.
"""

import sys

import broker


def main() -> int:
    port = int(sys.argv[1])
    prefixes = sys.argv[2:] or [""]
    with broker.Endpoint() as endpoint, endpoint.make_subscriber(prefixes) as messages:
        bound = endpoint.listen("", port)
        if bound == 0:
            print("cannot listen on port %d" % port, file=sys.stderr)
            return 1
        print("listening on port %d as %s" % (bound, endpoint.node_id()), file=sys.stderr)
        try:
            while True:
                topic, value = messages.get()
                event = broker.zeek.Event(value)
                if event.valid():
                    print("%s: event %s%s" % (topic, event.name(), tuple(event.args())), flush=True)
                else:
                    print("%s: %r" % (topic, value), flush=True)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
