"""Events and logs as Zeek exchanges them."""

import collections.abc as collections
from collections.abc import Coroutine, Iterable

from typing import Any

import broker as broker
from typing_extensions import Self

from . import _broker
from ._broker.zeek import LogField as LogField
from ._broker.zeek import LogRecord as LogRecord
from ._broker.zeek import LogSchema as LogSchema
from .zeek_app import App as App
from .zeek_types import MismatchError as MismatchError
from .zeek_types import event as event
from .zeek_types import pack as pack
from .zeek_types import unpack as unpack

class Logs(_broker.zeek.Logs):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, LogRecord]: ...

class MetadataType:
    NetworkTimestamp: _broker.Count
    UserMetadataStart: _broker.Count

class Event(_broker.zeek.Event): ...
class SafeEvent(Event): ...

def log_topics(streams: Iterable[str] = (), *, loggers: Iterable[str] = ()) -> list[str]: ...
def logs(
    endpoint: broker.Endpoint,
    names: str | Iterable[str] | None = None,
    *,
    loggers: Iterable[str] = (),
    topics: Iterable[str | bytes | broker.Topic] | None = None,
) -> Logs: ...
def __dir__() -> list[str]: ...
