"""Exchange typed messages with Zeek and other programs that speak its Broker protocol.

    with broker.Endpoint() as endpoint, endpoint.make_subscriber("/topic") as messages:
        endpoint.peer("127.0.0.1", 9999)
        endpoint.publish("/topic", ["ping", 1])
        topic, value = messages.get()

Values are plain Python objects where Python has a type for them; `Count`, `Port`, `Enum` and a few
others stand for the rest. Everything that works per message is native code; this file holds the
names.
"""

# Tells `broker.zeek` that its package is this one, whatever else is named `broker`.
__distribution__ = "zeek-broker"


def _recorded_files(site):
    """The files of this package below `site` as its installer recorded them; none in a source tree."""
    import os

    for name in os.listdir(site):
        if name.startswith("zeek_broker-") and name.endswith(".dist-info"):
            with open(os.path.join(site, name, "RECORD"), encoding="utf-8") as record:
                paths = [line.split(",", 1)[0].split("/") for line in record]
            return {path[1] for path in paths if len(path) == 2 and path[0] == "broker"}
    return set()


def _refuse_other_package():
    """Raises ImportError when files of another distribution named `broker` are mixed with ours."""
    import os

    for directory in __path__:
        try:
            ours = _recorded_files(os.path.dirname(directory))
            names = os.listdir(directory) if ours else ()
        except OSError:
            continue  # Not a plain directory, so no installer can have written into it.
        foreign = sorted(name for name in names
                         if name.endswith((".py", ".pyi")) and name not in ours)
        if foreign:
            raise ImportError(
                "another distribution that is imported as `broker` is installed over zeek-broker:"
                " %s has %s; uninstall one of the two (the other is most likely `broker` on PyPI),"
                " then reinstall zeek-broker" % (directory, ", ".join(foreign)))


_refuse_other_package()

try:
    from . import _broker
except ImportError as error:
    raise ImportError(
        "the native module of zeek-broker cannot be loaded from %s: %s. If another distribution"
        " named `broker` is installed as well, uninstall it and reinstall zeek-broker"
        % (", ".join(__path__), error)) from error

# Reachable as attributes since ever; `utc` is the very object that timestamps carry.
import collections
import datetime
import ipaddress
import types
from datetime import timezone

from ._broker import (
    EC,
    SC,
    Address,
    APIFlags,
    Backend,
    BrokerError,
    BrokerOptions,
    ClosedError,
    Configuration,
    ConfigurationError,
    Count,
    DurableBatch,
    DurableError,
    DurableMessage,
    DurableSubscriber,
    DurableTimeout,
    EndpointInfo,
    Enum,
    Error,
    Frontend,
    ListenError,
    MessagesLost,
    NetworkInfo,
    PeerFlags,
    PeerInfo,
    PeerStatus,
    Port,
    Set,
    Status,
    StoreError,
    StoreEvent,
    StoreEvents,
    StoreProxy,
    StoredMessage,
    StreamReader,
    StreamState,
    Subnet,
    Table,
    Timespan,
    Timestamp,
    Topic,
    Vector,
    Version,
    __version__,
    now,
)

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

utc = timezone.utc


class Data(_broker.Data):
    """One value; see the native class for its methods."""


class ImmutableData(Data):
    """A value whose `to_py` makes hashable, read-only objects of sets and tables."""

    class HashableReadOnlyDict(dict):
        """A `dict` that can be hashed, and therefore not be changed."""

        __slots__ = ()

        def __hash__(self):
            return hash(frozenset(self.items()))

        def _refuse(self, *args, **kwargs):
            raise TypeError("cannot modify this dict")

        __setitem__ = _refuse
        __delitem__ = _refuse
        __ior__ = _refuse
        clear = _refuse
        pop = _refuse
        popitem = _refuse
        setdefault = _refuse
        update = _refuse

        def __reduce__(self):
            return type(self), (dict(self),)

        def __deepcopy__(self, memo):
            import copy
            return type(self)(copy.deepcopy(dict(self), memo))

    to_py = staticmethod(_broker.immutable_to_py)


class Subscriber(_broker.Subscriber):
    """Receives messages; made by `Endpoint.make_subscriber`."""


class SafeSubscriber(Subscriber):
    """Receives messages as hashable, read-only values; made by `Endpoint.make_safe_subscriber`."""

    def __init__(self, internal_subscriber):
        super().__init__(internal_subscriber, _safe=True)


class StatusSubscriber(_broker.StatusSubscriber):
    """Receives status and error events; made by `Endpoint.make_status_subscriber`."""


class Publisher(_broker.Publisher):
    """Publishes messages under one topic; made by `Endpoint.make_publisher`."""


class Store(_broker.Store):
    """A key-value store, master or clone; made by `Endpoint.attach_master` and `attach_clone`."""


class Endpoint(_broker.Endpoint):
    """Sends and receives messages.

    `Endpoint()` speaks TLS without authentication; `Endpoint(config)` what the `Configuration`
    says. As a context manager it is shut down at the end. Raises ValueError when the TLS settings
    cannot be used.
    """

    def make_subscriber(self, topics, qsize=20, subscriber_class=Subscriber, *, on_loss="ignore",
                        buffer=None, overflow=None, durable=None, group=None, start=None, ack=None,
                        ack_wait=None, unacked_max=None, prefetch=None, deliveries_max=None,
                        dead_letters=None, stream=None, require_durable=False, timeout=None,
                        retained=False):
        """Makes a subscriber to topics: one (str, bytes or Topic), or an iterable of them.

        `subscriber_class` is called with the native subscriber. `qsize` has no effect. With
        `on_loss="raise"` the next call that receives raises MessagesLost when messages were dropped
        because they were not taken in time; otherwise an Error event and `dropped` tell. `overflow` is
        "drop_oldest", "drop_newest", "block" or "disconnect", what happens beyond `buffer` messages;
        see the native method.

        `durable="name"` makes a DurableSubscriber instead: a named cursor on the stream of NATS servers
        that keeps these topics. What was published while no subscriber of the name was there comes
        first. The rest is for these only. `start` says where a cursor begins that does not exist yet:
        "new" (the default), "first", a span such as "-1h" or a timedelta, a datetime or Timestamp, or
        the number of a message. `ack` is "auto" or "manual"; after `ack_wait` (30 s) a message that is
        not acknowledged is delivered again, after `deliveries_max` times it becomes a dead letter under
        `dead_letters` ("/dead-letters/" and the name). `unacked_max` (1000) may be unacknowledged,
        `prefetch` (64) are fetched ahead. `stream` names the stream where several keep the topics,
        `require_durable` refuses one with a single copy, `timeout` (30 s) is for the servers' answers.
        `group="name"` is the same for subscribers that share the work: each message goes to one of
        them. Raises DurableError when the servers refuse.

        `retained=True` makes a StreamReader of last values, `publish(..., retain=True)`: the present ones
        come first, then what becomes of them. `stream`, `prefetch` (4096), `require_durable` and `timeout`
        are for these, too.
        """
        if retained:
            given = [key for key, value in (
                ("durable", durable), ("group", group), ("start", start), ("ack", ack), ("ack_wait", ack_wait),
                ("unacked_max", unacked_max), ("deliveries_max", deliveries_max),
                ("dead_letters", dead_letters), ("buffer", buffer), ("overflow", overflow),
            ) if value is not None]
            if given or subscriber_class is not Subscriber or on_loss != "ignore":
                raise TypeError("expected `retained` without `%s`"
                                % (given + ["subscriber_class or on_loss"])[0])
            return super().make_retained_subscriber(
                topics, stream=stream, prefetch=prefetch, require_durable=bool(require_durable),
                timeout=timeout)
        name = durable if group is None else group
        options = {
            "start": start, "ack": ack, "ack_wait": ack_wait, "unacked_max": unacked_max,
            "prefetch": prefetch, "deliveries_max": deliveries_max, "dead_letters": dead_letters,
            "stream": stream, "timeout": timeout}
        if name is not None:
            if durable is not None and group is not None:
                raise TypeError("expected either `durable` or `group`: both name the cursor")
            if (subscriber_class, on_loss, buffer, overflow) != (Subscriber, "ignore", None, None):
                raise TypeError("durable subscribers lose nothing: they have no subscriber_class, "
                                "on_loss, buffer and overflow")
            options.update(ack="auto" if ack is None else ack, require_durable=bool(require_durable))
            return super().make_durable_subscriber(topics, name, options)
        given = [key for key, value in options.items() if value is not None]
        if given or require_durable:
            raise TypeError("expected `durable` or `group` beside `%s`"
                            % (given + ["require_durable"])[0])
        return subscriber_class(super().make_subscriber(
            topics, qsize, on_loss=on_loss, buffer=buffer, overflow=overflow))

    def make_safe_subscriber(self, topics, qsize=20, *, on_loss="ignore"):
        """Makes a subscriber whose values are hashable and read-only; `on_loss` as there."""
        return self.make_subscriber(topics, qsize, SafeSubscriber, on_loss=on_loss)

    def make_status_subscriber(self, receive_statuses=False, *, discovery=False):
        """Makes a subscriber to errors and, if asked for, statuses.

        With `discovery` its `get()` also delivers the EndpointDiscovered that goes before each
        PeerAdded; all its other methods always do.
        """
        return StatusSubscriber(
            super().make_status_subscriber(receive_statuses, discovery=discovery))

    def make_publisher(self, topic):
        """Makes a publisher for one topic (str, bytes or Topic)."""
        return Publisher(super().make_publisher(topic))

    def attach_master(self, name, type=None, opts={}):
        """Attaches the master of a data store; returns a Store, or None when that failed.

        `type` is a Backend, in memory by default; Backend.SQLite needs opts={"path": file}.
        """
        internal = super().attach_master(name, type, opts)
        return None if internal is None else Store(internal)

    def open_master(self, name, type=None, opts={}):
        """As `attach_master`, but raises StoreError with the reason when it fails."""
        return Store(super().open_master(name, type, opts))

    def attach_clone(self, name, *, resync_interval=None, stale_interval=None,
                     mutation_buffer_interval=None):
        """Attaches a clone of a data store; returns a Store, or None when its master is here.

        Raises StoreError when all peers are WebSocket servers, which carry no stores. Intervals are in seconds, or a timedelta or Timespan; see the native method.
        """
        internal = super().attach_clone(
            name, resync_interval=resync_interval, stale_interval=stale_interval,
            mutation_buffer_interval=mutation_buffer_interval)
        return None if internal is None else Store(internal)

    def open_clone(self, name, *, resync_interval=None, stale_interval=None,
                   mutation_buffer_interval=None):
        """As `attach_clone`, but raises StoreError with the reason when it fails."""
        return Store(super().open_clone(
            name, resync_interval=resync_interval, stale_interval=stale_interval,
            mutation_buffer_interval=mutation_buffer_interval))


class Message:
    """Left over from old releases; programs import the name."""

    def to_broker(self):
        raise AssertionError("not implemented by subclass")


from . import zeek

# `broker.bro.Event`, as public scripts still say.
from . import bro
