"""Exchange typed messages with Zeek and other programs that speak its Broker protocol."""

import collections as collections
import datetime as datetime
import ipaddress as ipaddress
import types as types
from collections.abc import Callable, Iterable, Mapping
from datetime import timezone as timezone
from typing import Any, Literal, NoReturn, SupportsFloat, SupportsIndex, overload

from typing_extensions import TypeAlias, TypeVar

from . import _broker
from . import bro as bro
from . import zeek as zeek
from ._broker import EC as EC
from ._broker import SC as SC
from ._broker import Address as Address
from ._broker import APIFlags as APIFlags
from ._broker import Backend as Backend
from ._broker import BrokerError as BrokerError
from ._broker import BrokerOptions as BrokerOptions
from ._broker import ClosedError as ClosedError
from ._broker import Configuration as Configuration
from ._broker import ConfigurationError as ConfigurationError
from ._broker import Count as Count
from ._broker import DurableBatch as DurableBatch
from ._broker import DurableError as DurableError
from ._broker import DurableMessage as DurableMessage
from ._broker import DurableSubscriber as DurableSubscriber
from ._broker import DurableTimeout as DurableTimeout
from ._broker import EndpointInfo as EndpointInfo
from ._broker import Enum as Enum
from ._broker import Error as Error
from ._broker import Frontend as Frontend
from ._broker import ListenError as ListenError
from ._broker import MessagesLost as MessagesLost
from ._broker import NetworkInfo as NetworkInfo
from ._broker import PeerFlags as PeerFlags
from ._broker import PeerInfo as PeerInfo
from ._broker import PeerStatus as PeerStatus
from ._broker import Port as Port
from ._broker import Set as Set
from ._broker import Status as Status
from ._broker import StoreError as StoreError
from ._broker import StoreEvent as StoreEvent
from ._broker import StoreEvents as StoreEvents
from ._broker import StoredMessage as StoredMessage
from ._broker import StoreProxy as StoreProxy
from ._broker import StreamReader as StreamReader
from ._broker import StreamState as StreamState
from ._broker import Subnet as Subnet
from ._broker import Table as Table
from ._broker import Timespan as Timespan
from ._broker import Timestamp as Timestamp
from ._broker import Topic as Topic
from ._broker import Vector as Vector
from ._broker import Version as Version
from ._broker import now as now

__all__ = [
    "APIFlags",
    "Address",
    "Backend",
    "BrokerOptions",
    "Configuration",
    "Count",
    "Data",
    "EC",
    "Endpoint",
    "EndpointInfo",
    "Enum",
    "Error",
    "Frontend",
    "ImmutableData",
    "Message",
    "NetworkInfo",
    "PeerFlags",
    "PeerInfo",
    "PeerStatus",
    "Port",
    "Publisher",
    "SC",
    "SafeSubscriber",
    "Set",
    "Status",
    "StatusSubscriber",
    "Store",
    "Subnet",
    "Subscriber",
    "Table",
    "Timespan",
    "Timestamp",
    "Topic",
    "Vector",
    "Version",
    "now",
    "utc",
    "zeek",
]

__version__: str
__distribution__: str

utc: timezone

_T = TypeVar("_T", default=Subscriber)
_OneTopic: TypeAlias = str | bytes | Topic
_Topics: TypeAlias = _OneTopic | Iterable[_OneTopic]
_Span: TypeAlias = str | SupportsFloat | SupportsIndex | datetime.timedelta | Timespan | None
# A span of time: seconds, or an exact one.
_Wait: TypeAlias = SupportsFloat | SupportsIndex | datetime.timedelta | Timespan | None
# "new", "first", "-1h", a span, a time, or the number of a message.
_Start: TypeAlias = str | int | datetime.timedelta | Timespan | datetime.datetime | Timestamp | None

class Data(_broker.Data): ...

class ImmutableData(Data):
    class HashableReadOnlyDict(dict[Any, Any]):
        def __hash__(self) -> int: ...  # type: ignore[override]
        def __setitem__(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def __delitem__(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def __ior__(self, *args: Any, **kwargs: Any) -> NoReturn: ...  # type: ignore[misc]
        def clear(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def pop(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def popitem(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def setdefault(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def update(self, *args: Any, **kwargs: Any) -> NoReturn: ...
        def __deepcopy__(self, memo: dict[int, Any]) -> ImmutableData.HashableReadOnlyDict: ...

    @staticmethod
    def to_py(d: _broker.Data) -> Any: ...

class Subscriber(_broker.Subscriber): ...

class SafeSubscriber(Subscriber):
    def __init__(self, internal_subscriber: _broker.Subscriber) -> None: ...

class StatusSubscriber(_broker.StatusSubscriber): ...
class Publisher(_broker.Publisher): ...

class Store(_broker.Store): ...

class Endpoint(_broker.Endpoint):
    @overload
    def make_subscriber(
        self,
        topics: _Topics,
        qsize: SupportsIndex = 20,
        subscriber_class: Callable[[_broker.Subscriber], _T] = ...,
        *,
        on_loss: Literal["ignore", "raise"] = "ignore",
        buffer: SupportsIndex | None = None,
        overflow: Literal["drop_oldest", "drop_newest", "block", "disconnect"] | None = None,
        durable: None = None,
        group: None = None,
        retained: Literal[False] = False,
    ) -> _T: ...
    @overload
    def make_subscriber(
        self,
        topics: _Topics,
        *,
        durable: str,
        start: _Start = None,
        ack: Literal["auto", "manual"] | None = None,
        ack_wait: _Wait = None,
        unacked_max: int | None = None,
        prefetch: int | None = None,
        deliveries_max: int | None = None,
        dead_letters: _OneTopic | None = None,
        stream: str | None = None,
        require_durable: bool = False,
        timeout: _Wait = None,
    ) -> DurableSubscriber: ...
    @overload
    def make_subscriber(
        self,
        topics: _Topics,
        *,
        retained: Literal[True],
        prefetch: int | None = None,
        stream: str | None = None,
        require_durable: bool = False,
        timeout: _Wait = None,
    ) -> StreamReader: ...
    @overload
    def make_subscriber(
        self,
        topics: _Topics,
        *,
        group: str,
        start: _Start = None,
        ack: Literal["auto", "manual"] | None = None,
        ack_wait: _Wait = None,
        unacked_max: int | None = None,
        prefetch: int | None = None,
        deliveries_max: int | None = None,
        dead_letters: _OneTopic | None = None,
        stream: str | None = None,
        require_durable: bool = False,
        timeout: _Wait = None,
    ) -> DurableSubscriber: ...
    def make_safe_subscriber(
        self, topics: _Topics, qsize: SupportsIndex = 20, *, on_loss: Literal["ignore", "raise"] = "ignore"
    ) -> SafeSubscriber: ...
    def make_status_subscriber(
        self, receive_statuses: object = False, *, discovery: object = False
    ) -> StatusSubscriber: ...
    def make_publisher(self, topic: _OneTopic) -> Publisher: ...
    def attach_master(
        self, name: str | bytes, type: Backend | None = None, opts: Mapping[str, Any] | None = {}
    ) -> Store | None: ...
    def open_master(
        self, name: str | bytes, type: Backend | None = None, opts: Mapping[str, Any] | None = {}
    ) -> Store: ...
    def attach_clone(
        self,
        name: str | bytes,
        *,
        resync_interval: _Span = None,
        stale_interval: _Span = None,
        mutation_buffer_interval: _Span = None,
    ) -> Store | None: ...
    def open_clone(
        self,
        name: str | bytes,
        *,
        resync_interval: _Span = None,
        stale_interval: _Span = None,
        mutation_buffer_interval: _Span = None,
    ) -> Store: ...

class Message:
    def to_broker(self) -> NoReturn: ...
