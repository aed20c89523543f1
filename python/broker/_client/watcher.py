"""A thread that looks at a descriptor for an event loop that cannot."""

from __future__ import annotations

import os
import select
import threading
from typing import Callable


class Watcher:
    """Calls `tell` in its thread once the descriptor is readable, and again after each `resume`."""

    def __init__(self, descriptor: int, tell: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._tell = tell
        self._wake_end, self._own_end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="broker-watcher", daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """The descriptor was drained: it is to be looked at again."""
        os.write(self._own_end, b"r")

    def close(self) -> None:
        """Ends the thread. The descriptor can be closed when this returns."""
        os.write(self._own_end, b"c")
        self._thread.join()
        os.close(self._own_end)
        os.close(self._wake_end)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_end, select.POLLIN)
        poll.register(self._descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_end in ready:
                if b"c" in os.read(self._wake_end, 64):
                    return
                poll.register(self._descriptor, select.POLLIN)
            elif self._descriptor in ready:
                # Readable until it is drained, which is not this thread's to do.
                poll.unregister(self._descriptor)
                try:
                    self._tell()
                except RuntimeError:
                    return  # The loop is closed.
