"""Counts events and answers pings, with eclipse-zenoh, directly from one process to the other."""

import json
import queue
import sys
import threading
import time

import zenoh


def session(port, side):
    config = zenoh.Config()
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5(side + "/endpoints", json.dumps(["tcp/127.0.0.1:%d" % port]))
    return zenoh.open(config)


def publisher(opened, key):
    # By default messages are dropped when the other side is slow.
    return opened.declare_publisher(key, congestion_control=zenoh.CongestionControl.BLOCK)


def serve(port):
    opened, seen = session(port, "listen"), 0
    back = publisher(opened, "back")

    def handle(sample):
        nonlocal seen
        name, arguments = json.loads(sample.payload.to_bytes())
        if name == "tick":
            number, _ = arguments
            assert number == seen
            seen += 1
        elif name == "ping":
            back.put(json.dumps(["pong", arguments]))
        elif name == "end":
            back.put(json.dumps(["ended", [seen]]))

    opened.declare_subscriber("to", handle)
    print(port, flush=True)
    threading.Event().wait()


def drive(port, count, pings):
    opened, answers = session(port, "connect"), queue.Queue()
    opened.declare_subscriber("back", lambda sample: answers.put(json.loads(sample.payload.to_bytes())))
    to = publisher(opened, "to")
    while not to.matching_status.matching:      # Until the other side's subscription is known.
        time.sleep(0.01)
    start = time.perf_counter()
    for number in range(count):
        to.put(json.dumps(["tick", [number, "a small event"]]))
    to.put(json.dumps(["end", []]))
    assert answers.get() == ["ended", [count]]
    took = time.perf_counter() - start
    trips = []
    for number in range(pings):
        start = time.perf_counter()
        to.put(json.dumps(["ping", [number]]))
        assert answers.get() == ["pong", [number]]
        trips.append(time.perf_counter() - start)
    opened.close()
    return count / took, trips


if __name__ == "__main__":
    from measure import main
    main(serve, drive, sys.argv)
