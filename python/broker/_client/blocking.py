"""Waiting in a thread: the coroutines of the core run from beginning to end in one call."""

from __future__ import annotations

import inspect
import select
import threading
from typing import Any, Awaitable, Callable, Coroutine, Optional, TypeVar

from . import callbacks
from .deadline import left_until

_T = TypeVar("_T")

# How long a thread looks at the descriptor before it looks at its gate again, which another thread may
# have opened: short for a person, long for a processor.
SLICE_S = 0.1


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that waits only through a `Blocking`."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the core waited for something else than its waiter")


def check_callback(function: Optional[Callable[..., Any]]) -> None:
    """Raises TypeError for a coroutine function: nothing would run it."""
    if inspect.iscoroutinefunction(function):
        raise TypeError("expected a function, found the coroutine function %r" % (function,))


class _Gate:
    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = False


class Blocking:
    """Threads that wait for the same connection: one of them looks at its descriptor for all."""

    def __init__(self) -> None:
        # A callback of the program, called with it held, may use the connection.
        self.lock: Any = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._is_looked_at = False
        self._descriptor = -1
        self._drain: Callable[[], None] = lambda: None
        self.gate = _Gate

    def open(self, gate: _Gate) -> None:
        with self._changed:
            gate.is_open = True
            self._changed.notify_all()

    async def wait(self, gate: _Gate, deadline: Optional[float]) -> bool:
        with self._changed:
            while not gate.is_open:
                left = SLICE_S if deadline is None else min(SLICE_S, left_until(deadline))
                if left <= 0.0:
                    return False
                if self._is_looked_at or self._descriptor < 0:
                    self._changed.wait(left)
                else:
                    self._look(left)
            return True

    def _look(self, left: float) -> None:
        """Waits for the descriptor without the lock."""
        self._is_looked_at = True
        try:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            self._changed.release()
            try:
                ready = poll.poll(max(1, int(left * 1000)))
            finally:
                self._changed.acquire()
        finally:
            self._is_looked_at = False
            self._changed.notify_all()
        if ready and self._descriptor >= 0:
            self._drain()

    async def turn(self) -> None:
        pass

    async def shielded(self, closing: Awaitable[None]) -> None:
        await closing

    def watch(self, descriptor: int, drain: Callable[[], None]) -> None:
        self._descriptor, self._drain = descriptor, drain

    def unwatch(self, descriptor: int) -> None:
        with self._changed:
            self._descriptor = -1
            self._changed.notify_all()

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        callbacks.call(function, *arguments)


