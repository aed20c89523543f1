"""Counts events and answers pings, with this package."""

import sys
import time

import broker
from broker.zeek import App, Event


def endpoint():
    options = broker.BrokerOptions()
    options.disable_ssl = True          # The others are not encrypted either.
    return broker.Endpoint(broker.Configuration(options))


def serve():
    with endpoint() as ep:
        app, seen = App(ep, "/to", reply_topic="/back"), 0

        @app.on("tick")
        def tick(number: int, text: str):
            nonlocal seen
            assert number == seen
            seen += 1

        @app.on("ping")
        def ping(number: int):
            return Event("pong", number)

        @app.on("end")
        def end():
            return Event("ended", seen)

        print(ep.listen("127.0.0.1", 0), flush=True)
        app.run()


def drive(port, count, pings):
    with endpoint() as ep, ep.make_subscriber("/back") as answers:
        assert ep.peer("127.0.0.1", port, 0)
        start = time.perf_counter()
        for number in range(count):
            ep.publish("/to", Event("tick", number, "a small event"))
        ep.publish("/to", Event("end"))
        assert Event(answers.get()[1]).args() == [count]
        took = time.perf_counter() - start
        trips = []
        for number in range(pings):
            start = time.perf_counter()
            ep.publish("/to", Event("ping", number))
            assert Event(answers.get()[1]).args() == [number]
            trips.append(time.perf_counter() - start)
        return count / took, trips


if __name__ == "__main__":
    from measure import main
    main(serve, drive, sys.argv)
