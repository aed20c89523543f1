"""Logs of Zeek as a stream of records."""

from collections.abc import Coroutine, Iterable
from typing import Any

import broker as broker
from typing_extensions import Self

from .. import _broker

class Logs(_broker.zeek.Logs):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _broker.zeek.LogRecord]: ...

def log_topics(streams: Iterable[str] = (), *, loggers: Iterable[str] = ()) -> list[str]: ...
def logs(
    endpoint: broker.Endpoint,
    names: str | Iterable[str] | None = None,
    *,
    loggers: Iterable[str] = (),
    topics: Iterable[str | bytes | broker.Topic] | None = None,
) -> Logs: ...
