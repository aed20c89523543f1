"""What `App.serve` needs of the library that runs it: waiting for a descriptor, and calls that go on beside."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Awaitable, Callable

from .._client import waiter
from .._client.loop_reader import LoopReader

# How many calls of asynchronous handlers go on at the same time. While there are as many, nothing is
# taken from the subscriber, whose own limits then push back.
CONCURRENT_CALLS_MAX = 100

Handler = Callable[..., Awaitable[None]]


class OnAsyncio:
    """Tasks of asyncio. Leaving it waits for the calls, and ends them if it was cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._room = asyncio.Semaphore(CONCURRENT_CALLS_MAX)
        # Bound: CONCURRENT_CALLS_MAX.
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> OnAsyncio:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        try:
            if kind is None and self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError as cancelled:
            kind = type(cancelled)
            raise
        finally:
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                for task in self._tasks:
                    task.cancel()

    async def readable(self, descriptor: int) -> None:
        """Waits until a descriptor is readable, or until `wake`."""
        self._ready.clear()
        reader = LoopReader(self._loop, descriptor, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            reader.close()

    def wake(self) -> None:
        """Ends a wait, from any thread."""
        self._loop.call_soon_threadsafe(self._ready.set)

    async def begin(self, handler: Handler, *arguments: Any) -> None:
        """Calls a function beside, once there are fewer than the most of them."""
        await self._room.acquire()
        task = self._loop.create_task(self._call(handler, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._room.release())

    @staticmethod
    async def _call(handler: Handler, arguments: tuple[Any, ...]) -> None:
        await handler(*arguments)

    async def turn(self) -> None:
        """Lets other tasks have their turn."""
        await asyncio.sleep(0)


class OnTrio:
    """Tasks of trio, in a nursery of its own."""

    def __init__(self) -> None:
        import trio

        self._trio: Any = trio
        self._token = trio.lowlevel.current_trio_token()
        self._room = trio.Semaphore(CONCURRENT_CALLS_MAX)
        self._opened: Any = trio.open_nursery()
        self._is_awake = False
        self._wait: Any = None

    async def __aenter__(self) -> OnTrio:
        self._nursery = await self._opened.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        if kind is None or issubclass(kind, self._trio.Cancelled):
            await self._opened.__aexit__(kind, error, traceback)
            return
        # The error goes on as it is, not as one of a group.
        self._nursery.cancel_scope.cancel()
        await self._opened.__aexit__(None, None, None)

    async def readable(self, descriptor: int) -> None:
        """Waits until a descriptor is readable, or until `wake`."""
        with self._trio.CancelScope() as self._wait:
            if not self._is_awake:
                await self._trio.lowlevel.wait_readable(descriptor)
        self._wait, self._is_awake = None, False

    def wake(self) -> None:
        """Ends a wait, from any thread."""
        # Without a trio that runs there is no wait.
        with contextlib.suppress(self._trio.RunFinishedError):
            self._token.run_sync_soon(self._end_wait)

    def _end_wait(self) -> None:
        self._is_awake = True
        if self._wait is not None:
            self._wait.cancel()

    async def begin(self, handler: Handler, *arguments: Any) -> None:
        """Calls a function beside, once there are fewer than the most of them."""
        await self._room.acquire()
        self._nursery.start_soon(self._call, handler, arguments)

    async def _call(self, handler: Handler, arguments: tuple[Any, ...]) -> None:
        try:
            await handler(*arguments)
        finally:
            self._room.release()

    async def turn(self) -> None:
        """Lets other tasks have their turn."""
        await self._trio.lowlevel.checkpoint()


def running() -> OnAsyncio | OnTrio:
    """For the library that runs the current task."""
    return OnTrio() if waiter.runs_trio() else OnAsyncio()
