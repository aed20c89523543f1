"""Deadlines: how long something may take, as a moment of the monotonic clock."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Optional, Union

from .._broker import Timespan

# Seconds, or a time span; None is no limit.
Timeout = Union[float, timedelta, Timespan, None]


def seconds(timeout: Timeout) -> Optional[float]:
    """The number of seconds that a timeout means. Raises ValueError for nan."""
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, Timespan):
        return timeout.count() / 1e9
    number = float(timeout)
    if number != number:
        raise ValueError("expected seconds, found nan")
    return number


def deadline_of(timeout: Timeout) -> Optional[float]:
    """The moment at which a timeout that begins now is over."""
    span = seconds(timeout)
    return None if span is None else time.monotonic() + span


def left_until(deadline: float) -> float:
    """Seconds until then; none of them negative."""
    return max(0.0, deadline - time.monotonic())


def expired(what: str, timeout: Timeout) -> TimeoutError:
    """The exception of a wait that took too long."""
    span = seconds(timeout)
    return TimeoutError(what if span is None else "%s within %g s" % (what, span))
