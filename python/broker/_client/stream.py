"""Streams: what is received, taken in batches when the descriptor is readable, handed out one by one."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Any, Callable, Deque, Generic, List, Optional, Type, TypeVar

from .._broker import ClosedError
from .completions import Completions, Watch
from .deadline import Timeout, deadline_of, expired

T = TypeVar("T")
_S = TypeVar("_S", bound="Stream[Any]")


def polled(source: Any) -> Callable[[], List[Any]]:
    """How items are taken of a source that has `poll` and `recv`. Raises ClosedError at its end."""

    def take() -> List[Any]:
        items: List[Any] = source.poll()
        if not items:
            item = source.recv(0)
            if item is not None:
                items.append(item)
        return items

    return take


class Stream(Generic[T]):
    """Items in the order they came: `async for item in stream`, or `await stream.receive()`.

    Several tasks may wait at once; each item goes to one of them. A task that is cancelled loses none:
    an item is handed over or still here. The iteration ends when the connection is closed, after what
    is there was handed over, or when the stream is closed. It is also a context manager.
    """

    def __init__(self, completions: Completions, source: Any, take: Callable[[], List[T]],
                 on_close: Optional[Callable[[], object]] = None) -> None:
        self._completions = completions
        self._source = source
        self._take = take
        self._on_close = on_close
        self._watch: Optional[Watch] = None
        self._is_closed = False
        # Bound: one batch, which is taken when the batch before was handed out.
        self._items: Deque[T] = deque()
        # Whether the last batch was there at once: then others get their turn before the next.
        self._is_busy = False

    async def receive(self, timeout: Timeout = None) -> T:
        """Waits for one item. Raises TimeoutError when none comes in time, ClosedError at the end.

        >>> fake.publish("/topic/test", 1)
        >>> message = await b.receive(timeout=60)
        >>> message.value
        1
        >>> await b.receive(timeout=0.01)
        Traceback (most recent call last):
            ...
        TimeoutError: nothing was received within 0.01 s
        """
        deadline = deadline_of(timeout)
        items = self._items
        while True:
            try:
                return items.popleft()
            except IndexError:
                pass
            if not await self._fill(deadline):
                raise expired("nothing was received", timeout)

    def close(self) -> None:
        """Ends the stream; what was not handed over is dropped. May be called again.

        >>> messages = b.subscribe("/a")
        >>> messages.close()
        """
        with self._completions.waiter.lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._items.clear()
            if self._watch is not None:
                self._completions.unwatch(self._watch)
                self._watch = None
        self._source.reset()
        if self._on_close is not None:
            self._on_close()

    def _wake(self) -> None:
        """Has all who wait look again."""
        with self._completions.waiter.lock:
            if self._watch is not None:
                self._completions.wake(self._watch)

    async def _fill(self, deadline: Optional[float], is_done: Optional[Callable[[], bool]] = None) -> bool:
        """Waits until there are items, or something else is done; false when the deadline came first.
        Raises ClosedError at the end.
        """
        completions = self._completions
        waiter = completions.waiter
        if self._is_busy:
            self._is_busy = False
            await waiter.turn()
        waited = False
        while True:
            with waiter.lock:
                if self._is_closed:
                    raise ClosedError("the stream is closed")
                if self._items or is_done is not None and is_done():
                    return True
                batch = self._take()
                if batch:
                    self._is_busy = not waited
                    self._items.extend(batch)
                    return True
                if self._watch is None:
                    self._watch = completions.watch(self._source)
                watch = self._watch
                if completions.is_closed:
                    raise ClosedError("the connection is closed")
                if completions.queue.resume(watch.number):
                    continue
                gate = waiter.gate()
                watch.gates.add(gate)
            try:
                waited = True
                if not await waiter.wait(gate, deadline):
                    return False
            finally:
                watch.gates.discard(gate)

    def __aiter__(self: _S) -> _S:
        return self

    async def __anext__(self) -> T:
        items = self._items
        while not items:
            try:
                await self._fill(None)
            except ClosedError:
                raise StopAsyncIteration from None
        return items.popleft()

    async def __aenter__(self: _S) -> _S:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        self.close()


async def pause(completions: Completions, seconds: float) -> None:
    """Lets some time pass."""
    await completions.waiter.wait(completions.waiter.gate(), time.monotonic() + seconds)
