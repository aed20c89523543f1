"""Functions of the program that are told of something; what they raise must not end who tells them."""

from __future__ import annotations

import logging
from typing import Any, Callable

_log = logging.getLogger("broker")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; None, and a record in the log, when it fails."""
    try:
        return function(*arguments)
    except Exception as error:
        report(function, error)
        return None


async def wait_for(function: Callable[..., Any], *arguments: Any) -> None:
    """As `call`, for a coroutine function."""
    try:
        await function(*arguments)
    except Exception as error:
        report(function, error)


def report(function: Callable[..., Any], error: Exception) -> None:
    _log.error("%s: %s: %s", getattr(function, "__name__", "callback"), type(error).__name__, error,
               exc_info=error)
