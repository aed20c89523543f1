"""Events as Zeek exchanges them."""

import broker as broker

from . import _broker

class MetadataType:
    NetworkTimestamp: _broker.Count
    UserMetadataStart: _broker.Count

class Event(_broker.zeek.Event): ...
class SafeEvent(Event): ...
