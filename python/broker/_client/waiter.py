"""What the core needs of the library that runs it: gates to wait at, and a descriptor to look at."""

from __future__ import annotations

import sys
from typing import Any, Awaitable, Callable, Optional, Protocol

# Where one task waits until another opens it; what it is depends on the library.
Gate = Any


class Waiter(Protocol):
    """One way to wait."""

    # Held while operations are begun and what is complete is looked at: threads need that, tasks of
    # one thread do not.
    lock: Any

    def gate(self) -> Gate:
        """A gate that is shut."""

    def open(self, gate: Gate) -> None:
        """Opens a gate. May be called again, and when its task is gone."""

    async def wait(self, gate: Gate, deadline: Optional[float]) -> bool:
        """Waits until a gate is open; false when the deadline came first."""
        ...

    async def turn(self) -> None:
        """Lets the other tasks have their turn."""

    async def shielded(self, closing: Awaitable[None]) -> None:
        """Runs what has to be done although the task is cancelled."""

    def watch(self, descriptor: int, drain: Callable[[], None]) -> None:
        """Has `drain` called whenever the descriptor is readable."""

    def unwatch(self, descriptor: int) -> None:
        """Ends that, before the descriptor is closed."""

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls a function of the program; if it is a coroutine function, in a task that `unwatch` ends."""


def runs_trio() -> bool:
    """Whether the current task is one of trio."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def running() -> Waiter:
    """The library that runs the current task. Raises RuntimeError when there is none."""
    if runs_trio():
        from .on_trio import OnTrio

        return OnTrio()
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "broker.aio is for tasks of asyncio or trio, and none runs here; broker.sync is for"
            " programs without an event loop") from None
    from .on_asyncio import OnAsyncio

    return OnAsyncio(loop)
