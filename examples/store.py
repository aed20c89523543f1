#!/usr/bin/env python3
"""A store of host names that processes share and that outlives them.

    python3 examples/store.py keep FILE PORT            # the master: keeps the entries in a SQLite file
    python3 examples/store.py set HOST PORT KEY VALUE   # a clone: changes one
    python3 examples/store.py show HOST PORT            # a clone: shows all
    python3 examples/store.py watch HOST PORT           # a clone: shows changes as they come

Ctrl-C ends `keep` and `watch`.
"""

import sys

import broker


def keep(endpoint: broker.Endpoint, path: str, port: str) -> None:
    bound = endpoint.listen("", int(port))
    if bound == 0:
        raise SystemExit("cannot listen on port %s" % port)
    # Raises with the reason when the file cannot be used; attach_master would return None.
    store = endpoint.open_master("hosts", broker.Backend.SQLite, {"path": path})
    print("%d entries in %s, listening on port %d" % (len(store), path, bound), file=sys.stderr)
    show_changes(store)


def show_changes(store: broker.Store) -> None:
    for event in store.events():
        if event.kind in ("insert", "update"):
            print("%s = %r" % (event.key, event.value), flush=True)
        else:
            print("%s is gone (%s)" % (event.key, event.kind), flush=True)


def main() -> int:
    command, *arguments = sys.argv[1:] or ["help"]
    if command not in ("keep", "set", "show", "watch"):
        print(__doc__, file=sys.stderr)
        return 2
    with broker.Endpoint() as endpoint:
        try:
            if command == "keep":
                keep(endpoint, *arguments)
                return 0
            host, port, *arguments = arguments
            if not endpoint.peer(host, int(port), 0.0):
                print("nobody listens at %s:%s" % (host, port), file=sys.stderr)
                return 1
            store = endpoint.open_clone("hosts")
            if command == "set":
                store.put(*arguments)
                # The change is in the master's file when this returns True.
                return 0 if store.await_idle() else 1
            if command == "show":
                for key, value in store.items():
                    print("%s = %r" % (key, value))
                return 0
            show_changes(store)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
