"""Waiting on a loop of asyncio: with a reader of the loop, or with a thread where it has none."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import nullcontext
from typing import Any, Awaitable, Callable, Optional, Set

from . import callbacks
from .deadline import left_until
from .loop_reader import LoopReader

def _open(gate: Any, is_open: bool = True) -> None:
    if not gate.done():
        gate.set_result(is_open)


class OnAsyncio:
    """The running loop, whatever kind it is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lock: Any = nullcontext()
        self._loop = loop
        self._reader: Optional[LoopReader] = None
        self._tasks: Set[asyncio.Task[None]] = set()
        # A gate is a future.
        self.gate = loop.create_future
        self.open = _open

    async def wait(self, gate: Any, deadline: Optional[float]) -> bool:
        if deadline is None:
            return bool(await gate)
        timer = self._loop.call_later(left_until(deadline), _open, gate, False)
        try:
            return bool(await gate)
        finally:
            timer.cancel()

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def shielded(self, closing: Awaitable[None]) -> None:
        # A task of asyncio is told once that it is cancelled, and may wait again after that.
        await closing

    def watch(self, descriptor: int, drain: Callable[[], None]) -> None:
        self._reader = LoopReader(self._loop, descriptor, drain)

    def unwatch(self, descriptor: int) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        for task in [*self._tasks]:
            task.cancel()

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        if not inspect.iscoroutinefunction(function):
            callbacks.call(function, *arguments)
            return
        task = self._loop.create_task(callbacks.wait_for(function, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
