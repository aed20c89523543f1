"""Logs of Zeek as a stream of records."""

import os

from .. import _broker


class Logs(_broker.zeek.Logs):
    """Records of logs; made by `logs`.

    `for` waits in its thread, `async for` on the running event loop; both end when the endpoint is
    shut down or the stream is reset. What one of them has not taken the other can.
    """

    def __aiter__(self):
        return self

    def __anext__(self):
        from .. import aio

        return aio.next_item(self)


def log_topics(streams=(), *, loggers=()):
    """The topics to subscribe to for logs: those of some streams such as `Conn::LOG`, or of all.

    In a cluster that has loggers, `zeek/logs/` carries only the announcements of logs and each
    logger's own topic the records: name the loggers.
    """
    topics = ["zeek/logs/" + stream for stream in streams] or ["zeek/logs/"]
    return topics + ["zeek/cluster/node/%s/" % logger for logger in loggers]


def logs(endpoint, names=None, *, loggers=(), topics=None, curve=None, forward_to=None):
    """Subscribes to logs; iterating over the result, with `for` or `async for`, gives one
    `LogRecord` after the other.

    `names` are paths such as `conn` or streams such as `Conn::LOG`; None is all logs. `loggers`
    are the names of a cluster's loggers; see `log_topics`. `topics` replaces all topics that are
    subscribed to otherwise.

    Call it before `endpoint.peer()`: Zeek announces its logs when a peer appears.

    Instead of an endpoint it takes a `LogReceiver`, or the address of one to be made, such as
    `zmq-pull://0.0.0.0:27764`: nodes of a cluster on ZeroMQ push their logs there. `curve` and
    `forward_to` are those of `LogReceiver`. A path, such as a `pathlib.Path`, is that of a file of
    `broker record`, and iterating ends with it.
    """
    names = [names] if isinstance(names, str) else None if names is None else list(names)
    if isinstance(endpoint, str):
        endpoint = _broker.zeek.LogReceiver(endpoint, curve=curve, forward_to=forward_to)
    elif curve is not None or forward_to is not None:
        raise TypeError("curve and forward_to are for logs from an address")
    if isinstance(endpoint, (_broker.zeek.LogReceiver, os.PathLike)):
        if loggers or topics is not None:
            raise TypeError("loggers and topics are for logs of an endpoint")
        return Logs(endpoint, names)
    if topics is None:
        # Paths do not tell what their stream is called, so one of them needs the topics of all.
        streams = names if names and all("::" in name for name in names) else ()
        topics = log_topics(streams, loggers=loggers)
    return Logs(endpoint.make_subscriber(topics), names)
