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

import broker

if getattr(broker, "__distribution__", None) != "zeek-broker":
    raise ImportError(
        "`broker.zeek` belongs to zeek-broker, but %s is the package of another distribution that"
        " is imported as `broker` too; uninstall one of the two, then reinstall zeek-broker"
        % getattr(broker, "__file__", None))

from . import _broker

LogField = _broker.zeek.LogField
LogRecord = _broker.zeek.LogRecord
LogSchema = _broker.zeek.LogSchema
collections.abc.Mapping.register(LogRecord)


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


class Logs(_broker.zeek.Logs):
    """Records of logs; made by `logs`.

    `for` waits in its thread, `async for` on the running event loop; both end when the endpoint is
    shut down or the stream is reset. What one of them has not taken the other can.
    """

    def __aiter__(self):
        return self

    def __anext__(self):
        from . import aio

        return aio.next_item(self)


def log_topics(streams=(), *, loggers=()):
    """The topics to subscribe to for logs: those of some streams such as `Conn::LOG`, or of all.

    In a cluster that has loggers, `zeek/logs/` carries only the announcements of logs and each
    logger's own topic the records: name the loggers.
    """
    topics = ["zeek/logs/" + stream for stream in streams] or ["zeek/logs/"]
    return topics + ["zeek/cluster/node/%s/" % logger for logger in loggers]


def logs(endpoint, names=None, *, loggers=(), topics=None):
    """Subscribes to logs; iterating over the result, with `for` or `async for`, gives one
    `LogRecord` after the other.

    `names` are paths such as `conn` or streams such as `Conn::LOG`; None is all logs. `loggers`
    are the names of a cluster's loggers; see `log_topics`. `topics` replaces all topics that are
    subscribed to otherwise.

    Call it before `endpoint.peer()`: Zeek announces its logs when a peer appears.
    """
    names = [names] if isinstance(names, str) else None if names is None else list(names)
    if topics is None:
        # Paths do not tell what their stream is called, so one of them needs the topics of all.
        streams = names if names and all("::" in name for name in names) else ()
        topics = log_topics(streams, loggers=loggers)
    return Logs(endpoint.make_subscriber(topics), names)


# What is made of asyncio, dataclasses and inspect takes longer to load than everything else together,
# and most programs do without.
_LATER = ("App", "MismatchError", "event", "pack", "unpack")


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    from . import zeek_app, zeek_types

    globals().update({later: getattr(zeek_types if later != "App" else zeek_app, later) for later in _LATER})
    return globals()[name]


def __dir__():
    return sorted({*globals(), *_LATER})
