"""What a task of `broker.aio` leaves behind when it is cancelled wherever it can be: nothing, and no message.

Every scenario is run again and again, cancelled where it waits for the first time, for the second, and so
on, until a run gets through. Each place twice: at once, and at the moment when what it waits for is there.
"""

import asyncio
import gc
import os
import threading

import pytest

import broker
from broker import aio
from deadline import DEADLINE_S, wait_until
from scene import listen

MESSAGES = 300


class Interrupted:
    """Awaits a coroutine, and cancels the task around it where it waits for the `place`th time."""

    def __init__(self, coroutine, place, at_the_end):
        self._coroutine, self._place, self._at_the_end = coroutine, place, at_the_end
        self.was_cancelled = False

    def __await__(self):
        task = asyncio.current_task()
        steps = self._coroutine.__await__()
        step, argument, place = steps.send, None, 0
        while True:
            try:
                future = step(argument)
            except StopIteration as done:
                return done.value
            if place == self._place:
                self.was_cancelled = True
                if self._at_the_end and future is not None:
                    # The future wakes the task first: it is cancelled although it has got what it waited for.
                    future.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            place += 1
            try:
                yield future
            except BaseException as error:
                step, argument = steps.throw, error
            else:
                step, argument = steps.send, None


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def thread_count():
    """Threads but for those of the loop's executor, which the tests use themselves and which may grow."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def interrupted_everywhere(scenario, check, limit=400):
    """Runs a scenario cancelled at each place where it waits; `check` is awaited after each run.

    How many places there are depends on how soon answers come. All scenarios wait for a network, so there
    is one at least.
    """
    for at_the_end in (False, True):
        for place in range(limit):
            run = Interrupted(scenario(), place, at_the_end)

            async def body():
                return await run

            task = asyncio.ensure_future(body())
            # What it waits for may never come once it is told to wait for that; then it is cancelled here.
            await asyncio.wait([task], timeout=DEADLINE_S)
            assert task.done(), (place, at_the_end)
            if not task.cancelled():
                task.result()
            was_cancelled = run.was_cancelled
            # An exception keeps what was on its way.
            del task, run, body
            await check()
            if not was_cancelled:
                assert place > 0, "it never waits"
                break
        else:
            raise AssertionError("more than %d places" % limit)


def assert_nothing_waits(connection):
    """No operation and no gate is left; of tasks that are gone nothing may be."""
    completions = connection._completions
    assert completions._operations == {}
    assert [watch.gates for watch in completions._watches.values() if watch.gates] == []


class Sender:
    """An endpoint that publishes numbers as they are asked for."""

    def __init__(self, scene):
        self.endpoint = scene.endpoint()
        self.address = "127.0.0.1:%d" % listen(self.endpoint)
        self.sent = 0

    def send(self, count):
        for _ in range(count):
            self.endpoint.publish("/t", aio.Event("number", self.sent), wait_for_subscriber=DEADLINE_S)
            self.sent += 1


@pytest.fixture
def sender(scene):
    return Sender(scene)


def number_of(event):
    return event.args()[0]


async def take_with(kind, b, subscription, count, into):
    """Takes so many messages in one of the ways there are."""
    if kind == "iteration":
        async for message in b:
            into.append(number_of(message.event))
            if len(into) >= count:
                return
    elif kind == "receive":
        while len(into) < count:
            message = await b.receive(DEADLINE_S)
            into.append(number_of(message.event))
    elif kind == "subscription":
        async for message in subscription:
            into.append(number_of(message.event))
            if len(into) >= count:
                return
    else:
        async for event in b.events("number"):
            into.append(number_of(event))
            if len(into) >= count:
                return


@pytest.mark.parametrize("kind", ["iteration", "receive", "subscription", "events"])
def test_no_message_is_lost_or_doubled(sender, kind):
    async def main():
        async with aio.connect(sender.address, subscribe=["/t"]) as b:
            subscription = b.subscribe("/t")
            taken = []

            async def scenario():
                # Several waits per run, and batches between them.
                for size in (1, 1, 20, 1, 300):
                    sending = asyncio.get_running_loop().call_soon(sender.send, size)
                    try:
                        await take_with(kind, b, subscription, len(taken) + size, taken)
                    finally:
                        sending.cancel()

            async def check():
                assert_nothing_waits(b)
                # What was sent and not taken is still there, for another task.
                if len(taken) < sender.sent:
                    await asyncio.wait_for(take_with(kind, b, subscription, sender.sent, taken), DEADLINE_S)
                assert taken == list(range(sender.sent))

            await interrupted_everywhere(scenario, check)

    asyncio.run(main())


def test_several_tasks_lose_nothing_when_one_is_cancelled(sender):
    async def main():
        async with aio.connect(sender.address, subscribe=["/t"]) as b:
            taken = []

            async def take():
                async for message in b:
                    taken.append(number_of(message.event))

            tasks = [asyncio.ensure_future(take()) for _ in range(4)]
            await asyncio.sleep(0)
            for _ in range(100):
                sender.send(3)
                await asyncio.sleep(0)
                tasks.pop(0).cancel()
                tasks.append(asyncio.ensure_future(take()))
                await asyncio.sleep(0)
            while len(taken) < sender.sent:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert_nothing_waits(b)
            assert sorted(taken) == list(range(300))

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_requests_that_are_cancelled_leave_nothing(scene):
    answering = scene.endpoint()
    messages = scene.use(answering.make_safe_subscriber("/"))
    address = "127.0.0.1:%d" % listen(answering)

    def answer():
        for topic, value in messages:
            answering.publish(topic, aio.Event("pong", *broker.zeek.Event(value).args()))

    scene.background(answer)

    async def main():
        async with aio.connect(address) as b:
            asked = 0

            async def scenario():
                nonlocal asked
                for _ in range(2):
                    asked += 1
                    expected = asked
                    reply = await b.request("/t", aio.Event("ping", expected), reply="pong",
                                            timeout=DEADLINE_S,
                                            where=lambda pong: number_of(pong) == expected)
                    assert number_of(reply) == expected

            async def check():
                assert_nothing_waits(b)
                assert b._replies._lines == {}

            await interrupted_everywhere(scenario, check)

    asyncio.run(main())


def test_stores_forget_what_is_cancelled(scene):
    keeping = scene.endpoint()
    keeping.attach_master("hosts")
    address = "127.0.0.1:%d" % listen(keeping)

    async def main():
        async with aio.connect(address) as b:
            async def scenario():
                async with await b.store("hosts", timeout=DEADLINE_S) as hosts:
                    async with hosts.changes() as changes:
                        await hosts.put("k", 1)
                        await hosts.increment("k")
                        await hosts.idle(DEADLINE_S)
                        assert await hosts.put_unique("k", 2) is False
                        assert await hosts.get("k") == 2
                        await changes.receive(DEADLINE_S)

            async def check():
                assert_nothing_waits(b)

            await interrupted_everywhere(scenario, check)

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["selector", "without readers"])
def test_a_connection_that_is_cancelled_leaves_nothing(sender, loop):
    async def scenario():
        async with aio.connect(sender.address, subscribe=["/t"], on_connect=lambda peer: None) as b:
            sender.send(2)
            await b.receive(DEADLINE_S)
            async with b.subscribe("/u"):
                await b.publish("/t", 1)
            await b.receive(DEADLINE_S)

    async def main():
        await scenario()  # What is made once and stays.
        count = None
        loop = asyncio.get_running_loop()

        def nothing_is_left():
            # The other end of a connection closes its descriptor once it has noticed the end.
            gc.collect()
            return not sender.endpoint.peers() and (count is None or len(descriptors()) <= count)

        async def check():
            assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
            assert thread_count() == threads
            await loop.run_in_executor(None, wait_until, nothing_is_left, "descriptors are closed")

        await loop.run_in_executor(None, len, ())
        threads = thread_count()
        await check()
        count = len(descriptors())
        await interrupted_everywhere(scenario, check)

    run_on(loop, main())


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """As the loop of Windows' completion ports: no readers."""

    def add_reader(self, descriptor, callback, *arguments):
        raise NotImplementedError

    def remove_reader(self, descriptor):
        raise NotImplementedError


def run_on(kind, main):
    """Runs a coroutine on a loop of a kind."""
    loop = LoopWithoutReaders() if kind == "without readers" else asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
