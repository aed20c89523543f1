"""A descriptor that a loop of asyncio reads: with a reader of the loop, or with a thread where it has none."""

from __future__ import annotations

import asyncio
from typing import Callable, Optional

from .watcher import Watcher


class LoopReader:
    """Has `drain` called on the loop's thread whenever the descriptor is readable, until `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, drain: Callable[[], None]) -> None:
        self._loop, self._descriptor, self._drain = loop, descriptor, drain
        self._watcher: Optional[Watcher] = None
        try:
            loop.add_reader(descriptor, drain)
        except NotImplementedError:
            # Such as the loop of Windows' completion ports.
            self._watcher = Watcher(descriptor, lambda: loop.call_soon_threadsafe(self._told))

    def _told(self) -> None:
        # What was asked for before the end can come after it.
        if self._watcher is not None:
            self._drain()
        if self._watcher is not None:
            self._watcher.resume()

    def close(self) -> None:
        """Ends it. The descriptor can be closed when this returns."""
        if self._watcher is None:
            self._loop.remove_reader(self._descriptor)
        else:
            self._watcher.close()
            self._watcher = None
