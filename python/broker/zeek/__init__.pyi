"""Events and logs as Zeek exchanges them."""

import collections.abc as collections
from typing import NamedTuple


import broker as broker

from .. import _broker
from .._broker.zeek import ClusterNode as ClusterNode
from .._broker.zeek import Forwarder as Forwarder
from .._broker.zeek import ForwarderConnection as ForwarderConnection
from .._broker.zeek import LogField as LogField
from .._broker.zeek import LogReceiver as LogReceiver
from .._broker.zeek import LogRecord as LogRecord
from .._broker.zeek import LogSchema as LogSchema
from .._broker.zeek import LogSender as LogSender
from .._broker.zeek import topics as topics
from .app import App as App
from .logs import Logs as Logs
from .logs import log_topics as log_topics
from .logs import logs as logs
from .types import MismatchError as MismatchError
from .types import event as event
from .types import pack as pack
from .types import unpack as unpack

class CurveKeyPair(NamedTuple):
    public: str
    secret: str

def generate_curve_keypair() -> CurveKeyPair: ...

class MetadataType:
    NetworkTimestamp: _broker.Count
    UserMetadataStart: _broker.Count

class Event(_broker.zeek.Event): ...
class SafeEvent(Event): ...

def __dir__() -> list[str]: ...
