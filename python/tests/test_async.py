"""`async for` over subscribers, status subscribers and store events."""

import asyncio
import os
import threading

import pytest

import broker
from deadline import DEADLINE_S, wait_until
from scene import connect
from test_cancellation import LoopWithoutReaders


def within(awaitable):
    return asyncio.wait_for(awaitable, DEADLINE_S)


async def next_of(source):
    return await within(source.__anext__())


async def let_tasks_wait():
    """Lets the tasks that were started reach the point where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


class Source:
    """Something that can be iterated over, and what makes items appear in it."""

    def __init__(self, scene, kind):
        self.endpoint, self.other = scene.endpoint(), scene.endpoint()
        store = self.endpoint.attach_master("s")
        if kind == "subscriber":
            self.items = scene.use(self.endpoint.make_subscriber("/t"))
        elif kind == "safe":
            self.items = scene.use(self.endpoint.make_safe_subscriber("/t"))
        elif kind == "status":
            self.items = scene.use(self.endpoint.make_status_subscriber())
        else:
            self.items = scene.use(store.events())
        connect(self.other, self.endpoint)
        self.make = {
            "subscriber": lambda number: self.other.publish("/t", number),
            "safe": lambda number: self.other.publish("/t", {number}),
            "status": lambda number: self.endpoint.unpeer("127.0.0.1", number + 1),
            "events": lambda number: store.put(number, None),
        }[kind]
        self.read = {
            "subscriber": lambda item: item[1],
            "safe": lambda item: next(iter(hashed(item[1]))),
            "status": lambda item: item.context().network.get().port - 1,
            "events": lambda item: item.key,
        }[kind]

    async def numbers(self, count):
        seen = []
        async for item in self.items:
            seen.append(self.read(item))
            if len(seen) == count:
                return seen
        return seen


def hashed(value):
    hash(value)
    return value


@pytest.fixture(params=["subscriber", "safe", "status", "events"])
def source(scene, request):
    return Source(scene, request.param)


def test_items_come_in_order_and_no_thread_takes_part(source):
    async def main():
        reading = asyncio.ensure_future(source.numbers(300))
        await let_tasks_wait()
        threads = threading.active_count()
        for number in range(300):
            source.make(number)
            if number % 50 == 0:
                await asyncio.sleep(0)
        numbers = await within(reading)
        return numbers, threading.active_count() - threads

    assert asyncio.run(main()) == (list(range(300)), 0)


def test_blocking_calls_and_the_loop_take_turns(source):
    for number in range(4):
        source.make(number)
    wait_until(lambda: source.items.available() >= 4, "they are there")
    first = source.read(source.items.recv(DEADLINE_S))
    second = source.read(asyncio.run(next_of(source.items)))
    rest = [source.read(item) for item in source.items.recv_many(2, DEADLINE_S)]
    assert [first, second, *rest] == [0, 1, 2, 3]


def test_a_task_that_is_cancelled_loses_nothing(source):
    async def main():
        seen = []
        for number in range(50):
            waiting = asyncio.ensure_future(source.items.__anext__())
            await let_tasks_wait()
            source.make(number)
            if number % 2:
                # The item comes and the task ends before the loop gets its next turn.
                wait_until(source.items.available, "it is there")
            else:
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                seen.append(source.read(await waiting))
            except asyncio.CancelledError:
                pass
        return seen

    seen = asyncio.run(main())
    while len(seen) < 50:
        item = source.items.recv(DEADLINE_S)
        assert item is not None, seen
        seen.append(source.read(item))
    assert sorted(seen) == list(range(50))


def test_several_tasks_share_the_items(source):
    async def main():
        tasks = [asyncio.ensure_future(source.items.__anext__()) for _ in range(3)]
        await let_tasks_wait()
        for number in range(3):
            source.make(number)
        return sorted([source.read(await within(task)) for task in tasks])

    assert asyncio.run(main()) == [0, 1, 2]


def test_a_loop_without_readers_has_a_thread_that_looks(source):
    async def main():
        waiting = asyncio.ensure_future(next_of(source.items))
        await let_tasks_wait()
        source.make(0)
        first = source.read(await waiting)
        cancelled = asyncio.ensure_future(source.items.__anext__())
        await let_tasks_wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        source.make(1)
        return first, source.read(await next_of(source.items))

    before = set(threading.enumerate())
    loop = LoopWithoutReaders()
    try:
        assert loop.run_until_complete(main()) == (0, 1)
    finally:
        loop.close()
    assert not [it for it in threading.enumerate() if it not in before and it.name == "broker-watcher"]


def test_a_reader_of_the_program_stays(source):
    async def main():
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(source.items.fd(), seen.set)
        waiting = asyncio.ensure_future(source.items.__anext__())
        await let_tasks_wait()
        source.make(0)
        await within(waiting)
        source.make(1)
        await within(seen.wait())
        return loop.remove_reader(source.items.fd())

    assert asyncio.run(main())


@pytest.mark.parametrize("end", ["shutdown", "reset", "reset here"])
def test_the_iteration_ends(source, end):
    async def main():
        source.make(0)
        reading = asyncio.ensure_future(source.numbers(None))
        await let_tasks_wait()
        if end == "reset here":
            source.items.reset()
        else:
            ends = source.endpoint.shutdown if end == "shutdown" else source.items.reset
            await asyncio.get_running_loop().run_in_executor(None, ends)
        return await within(reading)

    # Without a deadline of its own it would wait for ever.
    assert asyncio.run(main()) in ([], [0])


def test_nothing_stays_open(source):
    async def main():
        before = set(os.listdir("/proc/self/fd"))
        for number in range(20):
            waiting = asyncio.ensure_future(source.items.__anext__())
            await let_tasks_wait()
            if number % 2:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            else:
                source.make(number)
                await within(waiting)
        return before, set(os.listdir("/proc/self/fd"))

    source.items.fd()
    before, after = asyncio.run(main())
    assert len(after) <= len(before), after - before


def test_other_tasks_get_their_turn(scene):
    source = Source(scene, "subscriber")
    for number in range(1000):
        source.make(number)
    wait_until(lambda: source.items.available() == 1000, "all are there")

    async def main():
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await within(source.numbers(1000))
        counting.cancel()
        return turns

    assert asyncio.run(main()) >= 9


def test_a_value_that_cannot_be_hashed_ends_no_loop(scene):
    source = Source(scene, "subscriber")
    source.make(({1: frozenset({frozenset()})},))
    source.make(1)

    async def main():
        return [await next_of(source.items), await next_of(source.items)]

    assert asyncio.run(main()) == [("/t", ({1: {frozenset()}},)), ("/t", 1)]
