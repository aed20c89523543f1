"""Events as Zeek exchanges them.

    endpoint.publish("/topic", broker.zeek.Event("ping", 1, broker.Count(2)))
    topic, value = messages.get()
    event = broker.zeek.Event(value)
    if event.valid():
        print(event.name(), event.args())
"""

import broker

if getattr(broker, "__distribution__", None) != "zeek-broker":
    raise ImportError(
        "`broker.zeek` belongs to zeek-broker, but %s is the package of another distribution that"
        " is imported as `broker` too; uninstall one of the two, then reinstall zeek-broker"
        % getattr(broker, "__file__", None))

from . import _broker


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
