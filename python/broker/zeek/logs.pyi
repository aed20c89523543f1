"""Logs of Zeek as a stream of records."""

from collections.abc import Coroutine, Iterable, Mapping
from os import PathLike
from typing import Any

import broker as broker
from typing_extensions import Self

from .. import _broker

class Logs(_broker.zeek.Logs):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _broker.zeek.LogRecord]: ...

def log_topics(streams: Iterable[str] = (), *, loggers: Iterable[str] = ()) -> list[str]: ...
def logs(
    endpoint: broker.Endpoint | _broker.zeek.LogReceiver | str | PathLike[str],
    names: str | Iterable[str] | None = None,
    *,
    loggers: Iterable[str] = (),
    topics: Iterable[str | bytes | broker.Topic] | None = None,
    curve: bool | str | PathLike[str] | Mapping[str, str] | None = None,
    forward_to: str | None = None,
) -> Logs: ...
