"""What both twins have beside their classes: values, events and errors, under one import."""

from .. import zeek
from .._broker import (Address, BrokerError, BrokerOptions, ClosedError, Configuration, Count, DurableError,
                       DurableMessage, DurableTimeout, EC, EndpointInfo, Enum, Error, Message, PeerInfo, Port, SC,
                       Status, StoredMessage, StoreError, StoreEvent, StreamState, Subnet, Timespan, Timestamp)
from .._broker.zeek import LogRecord
from ..zeek.app import App
from ..zeek.types import MismatchError, event, pack, unpack
from .connection import ConnectError, Diagnosis

Event = zeek.Event

__all__ = ["Address", "App", "BrokerError", "BrokerOptions", "ClosedError", "Configuration", "ConnectError",
           "Count", "Diagnosis", "DurableError", "DurableMessage", "DurableTimeout", "EC", "EndpointInfo", "Enum", "Error", "Event", "LogRecord", "Message", "MismatchError",
           "PeerInfo", "Port", "SC", "Status", "StoreError", "StoreEvent", "StoredMessage", "StreamState", "Subnet",
           "Timespan", "Timestamp",
           "event", "pack", "unpack"]
