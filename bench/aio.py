"""What waiting on an event loop costs beside blocking: receive rates and round trips, all in one run.

`make bench-aio`. Sender and receiver are two processes; figures are medians of alternating rounds, so that
a machine that is busy for a while is busy for all of them. See README.md.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time

import broker
from broker import aio, sync

MESSAGES = 200_000
ROUND_TRIPS = 5_000
ROUNDS = 7
VALUE = ("ping", "a short string", 2.5)
SUBSCRIBERS = 10_000


def configuration():
    options = broker.BrokerOptions()
    options.disable_ssl = True
    return broker.Configuration(options)


def send(ports, orders):
    """The other process: sends as many messages as it is told, and sends pings back."""
    with broker.Endpoint(configuration()) as endpoint, endpoint.make_safe_subscriber("/ping") as pings:
        ports.put(endpoint.listen("127.0.0.1", 0))
        while True:
            order, count = orders.get()
            if order == "end":
                return
            if order == "send":
                # The receiver knows of the peering before this end does.
                endpoint.publish("/t", (0, *VALUE), wait_for_subscriber=60.0)
                for number in range(1, count):
                    endpoint.publish("/t", (number, *VALUE))
            for _ in range(count if order == "echo" else 0):
                topic, value = pings.get()
                endpoint.publish("/pong", value)


def echo(ports):
    """Plain asyncio streams: sends each line back."""
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class Received:
    """Counts messages, checks that none is missing or doubled, and says how many came per second."""

    def __init__(self):
        self.began, self.expected = None, 0

    def add(self, value):
        """Whether it was the last one."""
        if self.began is None:
            self.began = time.perf_counter()
        if value[0] != self.expected:
            raise AssertionError("expected message %d, found %d" % (self.expected, value[0]))
        self.expected += 1
        return self.expected == MESSAGES

    def rate(self):
        return (MESSAGES - 1) / (time.perf_counter() - self.began)


def blocking_receive(port, orders):
    """The drop-in interface: `for topic, value in subscriber`."""
    with broker.Endpoint(configuration()) as endpoint, endpoint.make_subscriber("/t") as messages:
        endpoint.peer("127.0.0.1", port)
        orders.put(("send", MESSAGES))
        received = Received()
        for _topic, value in messages:
            if received.add(value):
                return received.rate()


def sync_receive(port, orders):
    with sync.connect("127.0.0.1:%d" % port, subscribe=["/t"], configuration=configuration()) as b:
        orders.put(("send", MESSAGES))
        received = Received()
        for message in b:
            if received.add(message.value):
                return received.rate()


async def aio_receive(port, orders):
    async with aio.connect("127.0.0.1:%d" % port, subscribe=["/t"], configuration=configuration()) as b:
        orders.put(("send", MESSAGES))
        received = Received()
        async for message in b:
            if received.add(message.value):
                return received.rate()


async def streams_round_trip(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        writer.write(b"a line about as long as the message of a ping is on the wire, which is 80 bytes\n")
        await writer.drain()
        await reader.readline()
        took.append(time.perf_counter() - began)
    writer.close()
    return statistics.median(took)


async def aio_round_trip(port, orders):
    async with aio.connect("127.0.0.1:%d" % port, subscribe=["/pong"], configuration=configuration()) as b:
        orders.put(("echo", ROUND_TRIPS))
        await b.drain()
        took = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            await b.publish("/ping", VALUE)
            await b.receive()
            took.append(time.perf_counter() - began)
        return statistics.median(took)


async def many_subscribers():
    """Seconds until each of very many subscriptions has its message, and bytes they cost."""
    with broker.Endpoint(configuration()) as endpoint:
        port = endpoint.listen("127.0.0.1", 0)
        async with aio.connect("127.0.0.1:%d" % port, configuration=configuration()) as b:
            began = time.perf_counter()
            subscriptions = [b.subscribe("/t/%d/" % number) for number in range(SUBSCRIBERS)]
            waiting = [asyncio.ensure_future(one.receive()) for one in subscriptions]
            await asyncio.sleep(0)
            await b.drain()
            for number in range(SUBSCRIBERS):
                endpoint.publish("/t/%d/" % number, number)
            await asyncio.gather(*waiting)
            return time.perf_counter() - began


def on_uvloop(coroutine):
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures there")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ports, orders, echo_ports = context.Queue(), context.Queue(), context.Queue()
    sender = context.Process(target=send, args=(ports, orders), daemon=True)
    echoer = context.Process(target=echo, args=(echo_ports,), daemon=True)
    sender.start()
    echoer.start()
    port, echo_port = ports.get(), echo_ports.get()
    ways = {
        "receive, blocking, for over a subscriber (messages/s)": lambda: blocking_receive(port, orders),
        "receive, broker.sync (messages/s)": lambda: sync_receive(port, orders),
        "receive, broker.aio (messages/s)": lambda: asyncio.run(aio_receive(port, orders)),
        "round trip, asyncio streams (µs)": lambda: 1e6 * asyncio.run(streams_round_trip(echo_port)),
        "round trip, broker.aio (µs)": lambda: 1e6 * asyncio.run(aio_round_trip(port, orders)),
    }
    try:
        import uvloop  # noqa: F401
    except ImportError:
        pass
    else:
        ways["receive, broker.aio, uvloop (messages/s)"] = lambda: on_uvloop(aio_receive(port, orders))
    figures = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, measure in ways.items():
            figures[name].append(measure())
    orders.put(("end", 0))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    blocking, _, receive, streams, round_trip = list(medians.values())[:5]
    medians["receive, broker.aio beside blocking (at least 0.8)"] = receive / blocking
    medians["round trip, broker.aio beside streams (at most 1.5)"] = round_trip / streams
    medians["%d subscribers, one message each (s)" % SUBSCRIBERS] = asyncio.run(many_subscribers())
    for name, value in medians.items():
        spread = " (%.4g to %.4g)" % (min(figures[name]), max(figures[name])) if name in figures else ""
        print("%-55s %.4g%s" % (name, value, spread))
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(medians, out, indent=1)


if __name__ == "__main__":
    main()
