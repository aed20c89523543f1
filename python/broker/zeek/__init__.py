"""Events and logs as Zeek exchanges them.

    endpoint.publish("/topic", broker.zeek.Event("ping", 1, broker.Count(2)))
    topic, value = messages.get()
    event = broker.zeek.Event(value)
    if event.valid():
        print(event.name(), event.args())

    for record in broker.zeek.logs(endpoint, ["conn", "dns"]):
        print(record["id.orig_h"], record.json())

`event`, `pack` and `unpack` map events to dataclasses; `App` calls a function per event.
"""

import collections.abc
import typing

import broker

if getattr(broker, "__distribution__", None) != "zeek-broker":
    raise ImportError(
        "`broker.zeek` belongs to zeek-broker, but %s is the package of another distribution that"
        " is imported as `broker` too; uninstall one of the two, then reinstall zeek-broker"
        % getattr(broker, "__file__", None))

from .. import _broker
from .logs import Logs, log_topics, logs

ClusterNode = _broker.zeek.ClusterNode
Forwarder = _broker.zeek.Forwarder
ForwarderConnection = _broker.zeek.ForwarderConnection
LogField = _broker.zeek.LogField
LogReceiver = _broker.zeek.LogReceiver
LogRecord = _broker.zeek.LogRecord
LogSchema = _broker.zeek.LogSchema
LogSender = _broker.zeek.LogSender
topics = _broker.zeek.topics
collections.abc.Mapping.register(LogRecord)


class CurveKeyPair(typing.NamedTuple):
    """A key pair of CURVE, as text of 40 characters each: `public, secret = pair`.

    What it prints and logs leave the secret out.
    """

    public: str
    secret: str

    def __repr__(self):
        return "CurveKeyPair(public=%r, secret=<hidden>)" % self.public


def generate_curve_keypair():
    """Makes a key pair for CURVE, a `CurveKeyPair`."""
    return CurveKeyPair(*_broker.zeek.generate_curve_keypair())


class MetadataType:
    """Keys of an event's metadata."""

    NetworkTimestamp = _broker.Count(1)
    UserMetadataStart = _broker.Count(200)


class Event(_broker.zeek.Event):
    """An event: a name, arguments, perhaps metadata.

    `Event(name, *args, metadata=None)` makes one; `metadata` is a mapping or an iterable of pairs,
    with `int` or `Count` keys. `Event(value)` with anything but a `str` takes a received value,
    which `valid()` then checks; the other methods raise ValueError if it is no event.
    """


class SafeEvent(Event):
    """An event whose arguments and metadata are hashable and read-only."""

    args = _broker.zeek.Event._immutable_args
    metadata = _broker.zeek.Event._immutable_metadata


# What is made of asyncio, dataclasses and inspect takes longer to load than everything else together,
# and most programs do without.
_LATER = ("App", "MismatchError", "event", "pack", "unpack")


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    from . import app, types

    globals().update({later: getattr(types if later != "App" else app, later) for later in _LATER})
    return globals()[name]


def __dir__():
    return sorted({*globals(), *_LATER})
