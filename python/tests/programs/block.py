"""Blocks in one call until Ctrl-C, and says when that came through.

Lines: `ready`, then `interrupted <time>`; the clock is the monotonic one, which processes share.
"""

import math
import signal
import sys
import threading
import time

import broker

# A test run in the background has Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
NODE = "00112233-4455-5677-8899-aabbccddeeff"


def publish_until_full(ep, publish):
    """Publishes to a peer that does not read; says `ready` once a call does not return."""
    assert ep is None or ep.peer("127.0.0.1", PORT, 0.0)
    data = "x" * (1 << 20)
    calls = 0

    def watch():
        seen = -1
        while seen != calls:
            seen = calls
            time.sleep(0.2)
        print("ready", flush=True)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        publish(data)
        calls += 1


def put_until_full(store):
    """A clone that has no master keeps so much for it and no more."""
    publish_until_full(None, lambda data: store.put(1, data))


def clone():
    return ep.attach_clone("nowhere", resync_interval=60)


with broker.Endpoint() as ep, ep.make_subscriber("/x") as sub, ep.make_status_subscriber(True) as ss, \
        ep.make_publisher("/x") as pub:
    calls = {
        "get": lambda: sub.get(),
        "get-float": lambda: sub.get(60.0),
        "get-inf": lambda: sub.get(math.inf),
        "get-int": lambda: sub.get(3),
        "get-int-float": lambda: sub.get(3, 60.0),
        "status": lambda: ss.get(),
        "status-int": lambda: ss.get(2),
        "await-peer": lambda: ep.await_peer(NODE, 60),
        "peer-retry": lambda: ep.peer("127.0.0.1", PORT, 30.0),
        "peer-silent": lambda: ep.peer("127.0.0.1", PORT, 0.0),
        "publish": lambda: publish_until_full(ep, lambda data: ep.publish("/x", data)),
        "publisher": lambda: publish_until_full(ep, pub.publish),
        "publish-batch": lambda: publish_until_full(ep, lambda data: ep.publish_batch(("/x", data))),
        "store-get": lambda: clone().get(1),
        "store-exists": lambda: clone().exists(1),
        "store-keys": lambda: clone().keys(),
        "store-put-unique": lambda: clone().put_unique(1, 1),
        "store-await-idle": lambda: clone().await_idle(60),
        "store-events": lambda: next(clone().events()),
        "store-proxy": lambda: clone().proxy().recv(),
        "store-put": lambda: put_until_full(clone()),
        "store-open": lambda: ep.attach_master("s", broker.Backend.SQLite, {"path": sys.argv[3]}),
    }
    try:
        if not sys.argv[1].startswith(("publish", "store-put")) or sys.argv[1] == "store-put-unique":
            print("ready", flush=True)
        calls[sys.argv[1]]()
        print("returned", flush=True)
    except KeyboardInterrupt:
        print("interrupted", time.monotonic(), flush=True)
    # The endpoint is as good as before.
    assert sub.poll() == []
    print("usable", ep.node_id() is not None, flush=True)
