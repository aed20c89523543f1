"""What one connection waits for, behind one descriptor: operations that end, sources that are watched."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Set, Tuple

from .._broker import ClosedError, CompletionQueue
from .deadline import Timeout, deadline_of, expired
from .waiter import Gate, Waiter

# What the methods of a CompletionQueue return: the number of an operation, or its result.
Begun = Tuple[Optional[int], Any]


class Operation:
    """Something that was begun; `Completions.finish` waits for it."""

    __slots__ = ("number", "gate", "result", "error")

    def __init__(self, number: Optional[int], gate: Gate, result: Any) -> None:
        self.number, self.gate, self.result = number, gate, result
        self.error: Optional[BaseException] = None


class Watch:
    """A source of items whose number the queue tells once there is something to take."""

    __slots__ = ("number", "gates", "callback")

    def __init__(self, number: int, callback: Optional[Callable[[], None]]) -> None:
        self.number, self.callback = number, callback
        self.gates: Set[Gate] = set()


class Completions:
    """Begins operations and waits for them. Everything a connection waits for goes through here."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        # Nothing once this is closed: then the descriptor is gone, whoever keeps this object.
        self._queue: Optional[CompletionQueue] = CompletionQueue()
        self._operations: Dict[int, Operation] = {}
        self._watches: Dict[int, Watch] = {}
        self._descriptor = self._queue.fd()
        waiter.watch(self._descriptor, self._drain)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._queue is None

    @property
    def queue(self) -> CompletionQueue:
        """The queue. Raises ClosedError once this is closed."""
        if self._queue is None:
            raise ClosedError("the connection is closed")
        return self._queue

    def begin(self, method: Callable[..., Begun], *arguments: Any, **keywords: Any) -> Operation:
        """Begins what a method of the queue begins."""
        with self.waiter.lock:
            number, result = method(*arguments, **keywords)
            if number is None:
                return Operation(None, None, result)
            operation = self._operations[number] = Operation(number, self.waiter.gate(), None)
            return operation

    async def finish(self, operation: Operation, deadline: Optional[float] = None) -> bool:
        """Waits for an operation; false when the deadline came first. It is given up then, and when the
        task is cancelled; what was asked for may happen all the same. Raises what it ended with.
        """
        number = operation.number
        if number is not None:
            try:
                await self.waiter.wait(operation.gate, deadline)
            finally:
                is_over = self._forget(number)
            if not is_over:
                return False
        if operation.error is not None:
            raise operation.error
        return True

    async def over_by(self, operation: Operation, deadline: float) -> bool:
        """Waits for an operation without giving it up; false when the deadline came first."""
        if operation.number is None:
            return True
        await self.waiter.wait(operation.gate, deadline)
        with self.waiter.lock:
            if operation.number not in self._operations:
                return True
            # A gate is waited at once.
            operation.gate = self.waiter.gate()
            return False

    def _forget(self, number: int) -> bool:
        with self.waiter.lock:
            if self._operations.pop(number, None) is None:
                return True
            if self._queue is not None:
                self._queue.cancel(number)
            return False

    async def run(self, what: str, timeout: Timeout, method: Callable[..., Begun], *arguments: Any) -> Any:
        """The result of an operation. Raises TimeoutError, which begins with `what`."""
        operation = self.begin(method, *arguments)
        if operation.number is not None and not await self.finish(operation, deadline_of(timeout)):
            raise expired(what, timeout)
        return operation.result

    def watch(self, source: Any, callback: Optional[Callable[[], None]] = None) -> Watch:
        """Watches a source. The callback is called each time it is told of, and resumes the watch."""
        with self.waiter.lock:
            number = self.queue.watch(source)
            watch = self._watches[number] = Watch(number, callback)
            return watch

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch, and the waits for it."""
        with self.waiter.lock:
            if self._watches.pop(watch.number, None) is not None and self._queue is not None:
                self._queue.cancel(watch.number)
            self.wake(watch)

    def wake(self, watch: Watch) -> None:
        """Has all who wait for a source look again."""
        for gate in [*watch.gates]:
            self.waiter.open(gate)

    def _drain(self) -> None:
        with self.waiter.lock:
            if self._queue is None:
                return
            for number, result, error in self._queue.drain():
                operation = self._operations.pop(number, None)
                if operation is not None:
                    operation.result, operation.error = result, error
                    self.waiter.open(operation.gate)
                    continue
                watch = self._watches.get(number)
                if watch is not None:
                    self.wake(watch)
                    if watch.callback is not None:
                        watch.callback()

    def close(self) -> None:
        """Ends all waits and gives the descriptor up. May be called again."""
        with self.waiter.lock:
            if self._queue is None:
                return
            self._queue = None
            self.waiter.unwatch(self._descriptor)
            for operation in [*self._operations.values()]:
                operation.error = ClosedError("the connection was closed")
                self.waiter.open(operation.gate)
            for watch in [*self._watches.values()]:
                self.wake(watch)
            self._operations.clear()
            self._watches.clear()
