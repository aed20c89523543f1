"""What an event loop waits for behind one descriptor: `broker.aio.Completions`."""

import asyncio
import doctest
import select
import threading

import pytest

import broker
from broker import aio
from broker._broker import CompletionQueue
from broker.aio import Completions
from deadline import DEADLINE_S
from scene import connect
from test_cancellation import LoopWithoutReaders


def within(awaitable):
    return asyncio.wait_for(awaitable, DEADLINE_S)


def is_readable(queue, timeout=0):
    return bool(select.select([queue.fd()], [], [], timeout)[0])


def completed(queue):
    """Waits for completions as any event loop may that knows descriptors."""
    assert is_readable(queue, DEADLINE_S)
    return queue.drain()


def test_a_peering_completes_behind_the_descriptor(scene):
    listening, other = scene.endpoint(), scene.endpoint()
    port = listening.listen("127.0.0.1", 0)
    queue = CompletionQueue()
    number, result = queue.peer(other, "127.0.0.1", port)
    assert (result, len(queue)) == (None, 1)
    assert completed(queue) == [(number, None, None)]
    assert (len(queue), is_readable(queue)) == (0, False)
    assert [peer.status for peer in other.peers()] == [broker.PeerStatus.Peered]


def test_a_peering_that_fails_says_why(scene):
    queue, endpoint = CompletionQueue(), scene.endpoint()
    try:
        number, _ = queue.peer(endpoint, "127.0.0.1", 1, retry=0)
    except broker.BrokerError as at_once:
        error = at_once  # The attempt was over before it was looked at.
    else:
        [(told, result, error)] = completed(queue)
        assert (told, result) == (number, None)
        assert isinstance(error, broker.BrokerError)
    assert "`127.0.0.1` port 1" in str(error)


def test_a_loop_without_readers_has_a_thread_that_looks(scene):
    async def main():
        with Completions() as completions:
            listening, other = scene.endpoint(), scene.endpoint()
            await within(completions.peer(other, "127.0.0.1", listening.listen("127.0.0.1", 0)))
            store = listening.attach_master("hosts")
            await within(completions.put(store, "a", 1))
            return await within(completions.get(store, "a"))

    loop = LoopWithoutReaders()
    try:
        assert loop.run_until_complete(main()) == 1
    finally:
        loop.close()
    assert "broker-watcher" not in [thread.name for thread in threading.enumerate()]


def test_what_can_be_done_at_once_needs_no_completion(scene):
    endpoint = scene.endpoint()
    queue, store = CompletionQueue(), endpoint.attach_master("s")
    assert queue.publish(endpoint, "/t", 1) == (None, None)
    assert queue.put(store, "k", [1, {2}]) == (None, None)
    assert queue.get(store, "k") == (None, (1, {2}))
    assert queue.get(store, "absent") == (None, None)
    assert queue.put_unique(store, "k", 2) == (None, False)
    assert (len(queue), is_readable(queue), queue.drain()) == (0, False, [])


def test_values_without_a_counterpart_begin_nothing(scene):
    endpoint = scene.endpoint()
    queue, store = CompletionQueue(), endpoint.attach_master("s")
    for begin in [
        lambda: queue.publish(endpoint, "/t", object()),
        lambda: queue.put(store, object(), 1),
        lambda: queue.get(store, object()),
        lambda: queue.watch(endpoint),
    ]:
        with pytest.raises(TypeError):
            begin()
    assert len(queue) == 0


def test_a_store_in_a_file_answers_once_its_changes_are_on_disk(scene, tmp_path):
    endpoint, queue = scene.endpoint(), CompletionQueue()
    store = endpoint.attach_master(
        "s", broker.Backend.SQLite, {"path": str(tmp_path / "s.sqlite")})
    for number in range(100):
        store.put(number, number)
    wanted = {}
    for number in range(100):
        begun, value = queue.get(store, number)
        # The disk may have all of them by now; then it answers at once.
        if begun is None:
            assert value == number
        else:
            assert value is None
            wanted[begun] = number
    while wanted:
        for number, value, error in completed(queue):
            assert (wanted.pop(number), error) == (value, None)


def test_a_subscriber_is_told_of_once_until_it_is_resumed(scene):
    sender, receiver = scene.endpoint(), scene.endpoint()
    messages = scene.use(receiver.make_subscriber("/t"))
    connect(sender, receiver)
    queue = CompletionQueue()
    watch = queue.watch(messages)
    assert queue.drain() == []
    sender.publish("/t", 1)
    assert completed(queue) == [(watch, None, None)]
    sender.publish("/t", 2)
    assert messages.get(2) == [("/t", 1), ("/t", 2)]
    assert not is_readable(queue)
    assert queue.resume(watch) is False
    sender.publish("/t", 3)
    assert completed(queue) == [(watch, None, None)]
    assert queue.resume(watch) is True
    receiver.shutdown()
    assert messages.get() == ("/t", 3)
    assert queue.resume(watch) is True
    assert (queue.cancel(watch), queue.cancel(watch), queue.resume(watch)) == (True, False, False)


def test_a_loop_waits_for_everything_with_one_reader(scene):
    listening, other = scene.endpoint(), scene.endpoint()
    port = listening.listen("127.0.0.1", 0)
    store = listening.attach_master("s")

    async def main():
        with Completions() as completions:
            await within(completions.peer(other, "127.0.0.1", port))
            clone = other.attach_clone("s")
            await within(completions.put(clone, "k", 1))
            assert await within(completions.put_unique(clone, "k", 2)) is False
            assert await within(completions.put_unique(clone, "l", 2)) is True
            assert await within(completions.get(store, "k")) == 1
            assert await within(completions.get(store, "m", "absent")) == "absent"
            await within(completions.publish(other, "/t", 1))
            assert len(completions) == 0

    asyncio.run(main())


def test_tasks_share_a_watch_and_miss_nothing(scene):
    sender, receiver = scene.endpoint(), scene.endpoint()
    messages = scene.use(receiver.make_subscriber("/t"))
    connect(sender, receiver)
    count = 500

    async def main():
        with Completions() as completions, completions.watch(messages) as watch:
            seen = []

            async def take():
                while len(seen) < count:
                    for _, value in messages.poll():
                        seen.append(value)
                    if len(seen) < count:
                        await watch.readable()

            tasks = [asyncio.ensure_future(take()) for _ in range(3)]
            thread = threading.Thread(
                target=lambda: [sender.publish("/t", number) for number in range(count)])
            thread.start()
            await within(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            thread.join()
            watch.close()
            await within(asyncio.gather(*tasks, return_exceptions=True))
            assert seen == list(range(count))

    asyncio.run(main())


def test_a_cancelled_task_leaves_nothing_behind(scene):
    endpoint = scene.endpoint()

    async def main():
        with Completions() as completions:
            waiting = asyncio.ensure_future(completions.peer(endpoint, "127.0.0.1", 1, retry=1))
            watch = completions.watch(scene.use(endpoint.make_subscriber("/t")))
            reading = asyncio.ensure_future(watch.readable())
            await asyncio.sleep(0)
            assert len(completions) == 2
            waiting.cancel()
            reading.cancel()
            await within(asyncio.gather(waiting, reading, return_exceptions=True))
            assert (waiting.cancelled(), reading.cancelled()) == (True, True)
            watch.close()
            assert (len(completions), len(completions._queue)) == (0, 0)

    asyncio.run(main())


def test_closing_cancels_what_is_left(scene):
    endpoint = scene.endpoint()

    async def main():
        completions = Completions()
        waiting = asyncio.ensure_future(completions.peer(endpoint, "127.0.0.1", 1, retry=1))
        await asyncio.sleep(0)
        completions.close()
        completions.close()
        with pytest.raises(asyncio.CancelledError):
            await within(waiting)
        with pytest.raises(RuntimeError, match="closed"):
            await completions.publish(endpoint, "/t", 1)
        assert (len(completions), len(completions._queue)) == (0, 0)

    asyncio.run(main())


def test_a_thousand_subscribers_take_one_descriptor(scene):
    sender, receiver = scene.endpoint(), scene.endpoint()
    count = 1000
    subscribers = [scene.use(receiver.make_subscriber("/t")) for _ in range(count)]
    connect(sender, receiver)
    queue = CompletionQueue()
    watches = {queue.watch(subscriber): subscriber for subscriber in subscribers}
    sender.publish("/t", 7)
    told = set()
    while len(told) < count:
        for number, _, _ in completed(queue):
            assert number not in told
            told.add(number)
            assert watches[number].poll() == [("/t", 7)]
    assert told == set(watches)


def test_the_examples_in_the_documentation_work():
    results = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(Completions, extraglobs={**vars(aio), "broker": broker}):
        results.run(test)
    assert (results.failures, results.tries > 0) == (0, True)
