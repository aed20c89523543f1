"""Waiting in tasks of trio, of anyio on trio, too."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any, Awaitable, Callable, Optional, Set

import trio

from . import callbacks
from .deadline import left_until


class OnTrio:
    """The running trio. Looking at the descriptor is a system task, so no nursery is asked for."""

    def __init__(self) -> None:
        self.lock: Any = nullcontext()
        # Bound: one for the descriptor, one per callback that is a coroutine and runs.
        self._scopes: Set[trio.CancelScope] = set()

    def gate(self) -> trio.Event:
        return trio.Event()

    def open(self, gate: trio.Event) -> None:
        gate.set()

    async def wait(self, gate: trio.Event, deadline: Optional[float]) -> bool:
        if deadline is None:
            await gate.wait()
            return True
        with trio.move_on_after(left_until(deadline)):
            await gate.wait()
        return gate.is_set()

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def shielded(self, closing: Awaitable[None]) -> None:
        scope = trio.CancelScope()
        scope.shield = True
        with scope:
            await closing

    def watch(self, descriptor: int, drain: Callable[[], None]) -> None:
        scope = trio.CancelScope()
        self._scopes.add(scope)
        trio.lowlevel.spawn_system_task(self._look_at, scope, descriptor, drain)

    async def _look_at(self, scope: trio.CancelScope, descriptor: int, drain: Callable[[], None]) -> None:
        with scope:
            while True:
                try:
                    await trio.lowlevel.wait_readable(descriptor)
                except trio.ClosedResourceError:
                    return
                drain()

    def unwatch(self, descriptor: int) -> None:
        for scope in [*self._scopes]:
            scope.cancel()
        trio.lowlevel.notify_closing(descriptor)

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        if inspect.iscoroutinefunction(function):
            scope = trio.CancelScope()
            self._scopes.add(scope)
            trio.lowlevel.spawn_system_task(self._call, scope, function, *arguments)
        else:
            callbacks.call(function, *arguments)

    async def _call(self, scope: trio.CancelScope, function: Callable[..., Any], *arguments: Any) -> None:
        with scope:
            await callbacks.wait_for(function, *arguments)
        self._scopes.discard(scope)
