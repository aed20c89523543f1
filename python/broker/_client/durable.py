"""Streams on servers of NATS: durable subscriptions, last values and replays."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import TracebackType
from typing import Optional, Type, Union

from .._broker import ClosedError, DurableMessage, DurableSubscriber, StreamReader, Timespan, Timestamp
from .completions import Completions
from .deadline import Timeout
from .stream import Stream

# A place in a stream: "first", "new", a span such as "-1h", a time, or the number of a message.
Place = Union[str, int, timedelta, Timespan, datetime, Timestamp, None]

# Messages of a reader in order that are taken at once.
BATCH = 256


class DurableSubscription(Stream[DurableMessage]):
    """Messages of a named cursor on a stream, each at least once: `async for message in subscription`. Made
    by `Connection.subscribe_durable`.

    With `ack="auto"` a message is acknowledged when the next one is asked for, or this is closed; with
    "manual" when `ack` is called. What is not acknowledged in time, or when an exception leaves the block,
    is delivered again.
    """

    _source: DurableSubscriber

    def __init__(self, completions: Completions, source: DurableSubscriber) -> None:
        # One by one: what is taken counts as handed out, and is acknowledged with the next one.
        super().__init__(completions, source, lambda: source.recv_many(1, 0))

    def ack(self, message: Optional[DurableMessage] = None) -> None:
        """Says that a message is dealt with; without one, that all that were received are."""
        self._source.ack(message)

    def retry(self, message: DurableMessage, delay: Timeout = None) -> None:
        """Has a message delivered again, after `delay`."""
        self._source.retry(message, delay)

    def keep(self, message: DurableMessage) -> None:
        """Says that a message is being worked on: the wait for its acknowledgement begins anew."""
        self._source.keep(message)

    def reject(self, message: DurableMessage, reason: str) -> None:
        """Says that a message cannot be dealt with, and why: it becomes a dead letter."""
        self._source.reject(message, reason)

    def close(self) -> None:
        """Ends the subscription; its cursor stays. May be called again."""
        self._give_back()
        super().close()

    def _give_back(self) -> None:
        """What was taken and not handed over is not to be acknowledged."""
        with self._completions.waiter.lock:
            has_some = bool(self._items) and not self._is_closed
            self._items.clear()
        if has_some:
            # Everything before it was acknowledged when it was taken, or is to come again. Given back by
            # itself, it could be delivered to this reader once more, which is about to end.
            self._source.__exit__(ClosedError, None, None)

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        if kind is not None:
            self._give_back()
            # Nothing that was handed over is acknowledged.
            self._source.__exit__(kind, error, traceback)
        self.close()


class Reading(Stream[DurableMessage]):
    """Messages of a stream in order, each once and without acknowledgements: last values, or a replay, whose
    iteration ends with it. Made by `Connection.subscribe_retained` and `Connection.replay`.
    """

    _source: StreamReader

    def __init__(self, completions: Completions, source: StreamReader) -> None:
        super().__init__(completions, source, lambda: source.recv_many(BATCH, 0))

    @property
    def current(self) -> bool:
        """Whether the last values that there were at the beginning were received, all of them."""
        return self._source.current and not self._items

    @property
    def finished(self) -> bool:
        """Whether a replay is at its end: everything was received."""
        return self._source.finished and not self._items
