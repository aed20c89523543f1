"""Counts events and answers pings, with zeekpy, both sides at a WebSocket server."""

import sys
import time

import zeekpy


def client(port, topic):
    return zeekpy.Zeek("ws://127.0.0.1:%d/v1/messages/json" % port, topics=[topic])


def serve(port):
    zeek, seen = client(port, "/to"), 0

    @zeek.on("tick")
    def tick(number: int, text: str):
        nonlocal seen
        assert number == seen
        seen += 1

    @zeek.on("ping")
    def ping(number: int):
        zeek.publish("/back", "pong", [number])

    @zeek.on("end")
    def end():
        zeek.publish("/back", "ended", [seen])

    with zeek:
        print(port, flush=True)
        zeek.consume()


def drive(port, count, pings):
    zeek, trips, result = client(port, "/back"), [], []

    def send_ping():
        trips.append(time.perf_counter())
        zeek.publish("/to", "ping", [len(result)])

    @zeek.on("ended")
    def ended(seen: int):
        assert seen == count
        result.append(count / (time.perf_counter() - start))
        send_ping()

    @zeek.on("pong")
    def pong(number: int):
        assert number == len(result)
        result.append(time.perf_counter() - trips[-1])
        if len(result) > pings:
            zeek.stop()
        else:
            send_ping()

    with zeek:
        start = time.perf_counter()
        for number in range(count):
            zeek.publish("/to", "tick", [number, "a small event"])
        zeek.publish("/to", "end", [])
        zeek.consume()
    return result[0], result[1:]


if __name__ == "__main__":
    from measure import main
    main(serve, drive, sys.argv)
