"""Counts events and answers pings, with the async twin of this package: `broker.aio` on asyncio."""

import asyncio
import sys
import time

import broker.aio as broker


def configuration():
    options = broker.BrokerOptions()
    options.disable_ssl = True          # The others are not encrypted either.
    return broker.Configuration(options)


async def answer():
    async with broker.connect(subscribe=["/to"], configuration=configuration()) as b:
        print(b.endpoint.listen("127.0.0.1", 0), flush=True)
        seen = 0
        async for message in b:
            name, arguments = message.event.name(), message.event.args()
            if name == "tick":
                number, _ = arguments
                assert number == seen
                seen += 1
            elif name == "ping":
                await b.publish("/back", broker.Event("pong", *arguments))
            elif name == "end":
                await b.publish("/back", broker.Event("ended", seen))


async def ask(port, count, pings):
    async with broker.connect("127.0.0.1:%d" % port, subscribe=["/back"], configuration=configuration()) as b:
        start = time.perf_counter()
        for number in range(count):
            await b.publish("/to", broker.Event("tick", number, "a small event"))
        await b.publish("/to", broker.Event("end"))
        assert (await b.receive()).event.args() == [count]
        took = time.perf_counter() - start
        trips = []
        for number in range(pings):
            start = time.perf_counter()
            await b.publish("/to", broker.Event("ping", number))
            assert (await b.receive()).event.args() == [number]
            trips.append(time.perf_counter() - start)
        return count / took, trips


def serve():
    asyncio.run(answer())


def drive(port, count, pings):
    return asyncio.run(ask(port, count, pings))


if __name__ == "__main__":
    from measure import main
    main(serve, drive, sys.argv)
