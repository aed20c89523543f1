"""Waiting on an event loop of asyncio: what `async for` over subscribers, events and logs does.

    async for topic, value in subscriber:
        ...

No thread takes part. The loop watches a descriptor while nothing is there, and what is there is
taken without waiting, in the step that hands it over: a task that is cancelled loses nothing, and
what it has not taken another task, or a blocking call, can take.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from typing import Any

from ._broker import ClosedError

# After so many items that were there at once other tasks of the loop get their turn.
ITEMS_IN_A_ROW_MAX = 100

_taken = itertools.count(1)


async def next_item(source: Any) -> Any:
    """Waits for what `source.recv` returns; ends the iteration once the source is closed."""
    if next(_taken) % ITEMS_IN_A_ROW_MAX == 0:
        await asyncio.sleep(0)
    try:
        while (item := source.recv(0)) is None:
            await _readable(source)
    except ClosedError:
        raise StopAsyncIteration from None
    return item


async def _readable(source: Any) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        # One for this wait alone: another task may wait, too, the program may watch the source's
        # own descriptor, and `reset` closes that.
        descriptor = os.dup(source.fd())
    except OSError as error:
        if error.errno == errno.EBADF:
            return  # Another thread reset the source meanwhile; the next `recv` says so.
        raise
    try:
        loop.add_reader(descriptor, _finish, ready)
        await ready
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _finish(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
