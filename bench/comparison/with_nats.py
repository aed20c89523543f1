"""Counts events and answers pings, with nats-py and a NATS server."""

import asyncio
import json
import sys
import time

import nats

PENDING = {"pending_msgs_limit": -1, "pending_bytes_limit": -1}   # By default messages beyond 128 MiB are dropped.


def serve(port):
    async def run():
        client, seen = await nats.connect("nats://127.0.0.1:%d" % port), 0

        async def handle(message):
            nonlocal seen
            name, arguments = json.loads(message.data)
            if name == "tick":
                number, _ = arguments
                assert number == seen
                seen += 1
            elif name == "ping":
                await client.publish("back", json.dumps(["pong", arguments]).encode())
            elif name == "end":
                await client.publish("back", json.dumps(["ended", [seen]]).encode())

        await client.subscribe("to", cb=handle, **PENDING)
        await client.flush()
        print(port, flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def drive(port, count, pings):
    async def run():
        client = await nats.connect("nats://127.0.0.1:%d" % port)
        answers = await client.subscribe("back")
        await client.flush()

        async def answer():
            return json.loads((await answers.next_msg(timeout=600)).data)

        start = time.perf_counter()
        for number in range(count):
            await client.publish("to", json.dumps(["tick", [number, "a small event"]]).encode())
        await client.publish("to", json.dumps(["end", []]).encode())
        assert await answer() == ["ended", [count]]
        took = time.perf_counter() - start
        trips = []
        for number in range(pings):
            start = time.perf_counter()
            await client.publish("to", json.dumps(["ping", [number]]).encode())
            assert await answer() == ["pong", [number]]
            trips.append(time.perf_counter() - start)
        await client.close()
        return count / took, trips

    return asyncio.run(run())


if __name__ == "__main__":
    from measure import main
    main(serve, drive, sys.argv)
