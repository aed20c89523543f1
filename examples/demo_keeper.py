#!/usr/bin/env python3
"""The process of demo.py that keeps a store in a file: demo_keeper.py FILE.

It prints its port as one JSON line, then what it saw, and ends when told to over the peering.
"""

import json
import sys

import broker

DEADLINE_S = 60.0


def main():
    with broker.Endpoint() as endpoint, endpoint.make_subscriber("/demo/to-keeper") as messages:
        store = endpoint.open_master("demo", broker.Backend.SQLite, {"path": sys.argv[1]})
        before = len(store)
        print(json.dumps({"port": endpoint.listen("127.0.0.1", 0)}), flush=True)
        if not messages.get(1, DEADLINE_S):
            print("nothing came for %d s" % DEADLINE_S)
            return 1
        print("the file had %d entries, now %d" % (before, len(store)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
