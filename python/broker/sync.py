"""Messages, requests, stores and logs in programs without an event loop.

    import broker.sync as broker

    with broker.connect("zeek://10.0.0.5", subscribe=["/topic/test"]) as b:
        b.publish("/topic/test", broker.Event("ping", 1))
        for message in b:
            print(message.topic, message.event)

`broker.aio` has the same names with `async` and `await`; its docstrings are the longer ones. Several
threads may use one connection. Ctrl-C ends every wait within a tenth of a second, as KeyboardInterrupt.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, Dict, Generic, List, Literal, Optional, Set, Type, TypeVar, Union, overload

import broker

from . import zeek
from ._broker import Message as _Message
from ._client import connection as _connection
from ._client import durable as _durable
from ._client import events as _events
from ._client import store as _store
from ._client import stream as _stream
from ._client.blocking import Blocking, check_callback, run
from ._client.connection import Topics
from ._client.deadline import Timeout
from ._client.durable import Place
from ._client.names import *

__all__ = [
    "Address", "App", "BrokerError", "BrokerOptions", "ClosedError", "Configuration", "ConnectError",
    "Connection", "Count", "Diagnosis", "DurableError", "DurableMessage", "DurableSubscription",
    "DurableTimeout", "EC", "EndpointInfo", "Enum", "Error", "Event", "Events", "LogRecord",
    "Message", "MismatchError", "PeerInfo", "Port", "Reading", "SC", "Status", "Store",
    "StoreError", "StoreEvent", "StoredMessage", "Stream", "StreamState", "Subnet", "Subscription", "Timespan", "Timestamp", "connect", "event", "pack", "unpack",
]

T = TypeVar("T")
E = TypeVar("E")
_S = TypeVar("_S", bound="Stream[Any]")
_A = TypeVar("_A", bound="Events[Any]")
_C = TypeVar("_C", bound="Connection")
_B = TypeVar("_B", bound="Store")


def connect(*addresses: str, subscribe: Topics = (), timeout: Timeout = 10.0, wait: bool = True,
            retry: Timeout = 1.0, on_connect: Optional[Callable[[EndpointInfo], object]] = None,
            on_disconnect: Optional[Callable[[EndpointInfo], object]] = None, close_timeout: Timeout = 5.0,
            configuration: Optional[Configuration] = None,
            endpoint: Optional[broker.Endpoint] = None) -> Connection:
    """Connects to all addresses; see `broker.aio.connect`. The callbacks are called by a thread that waits
    for something of the connection.

    >>> with connect(address, subscribe=["/topic/test"]) as b:
    ...     reply = b.request("/topic/test", Event("ping", 1), reply="pong")
    >>> reply.args()
    [1]
    """
    check_callback(on_connect)
    check_callback(on_disconnect)
    core = _connection.Connection(Blocking(), addresses, subscribe, retry, on_connect, on_disconnect,
                                  close_timeout, configuration, endpoint)
    run(core._opened(timeout, wait))
    return Connection(core)


class Stream(Generic[T]):
    """Items in the order they came: `for item in stream`, or `stream.receive()`.

    Several threads may wait at once; each item goes to one of them. The iteration ends when the
    connection is closed, after what is there was handed over, or when the stream is closed.
    """

    def __init__(self, core: _stream.Stream[T]) -> None:
        self._core = core
        self._take = core._items.popleft

    def receive(self, timeout: Timeout = None) -> T:
        """Waits for one item. Raises TimeoutError when none comes in time, ClosedError at the end."""
        return run(self._core.receive(timeout))

    def close(self) -> None:
        """Ends the stream; what was not handed over is dropped. May be called again."""
        self._core.close()

    def __iter__(self: _S) -> _S:
        return self

    def __next__(self) -> T:
        try:
            return self._take()
        except IndexError:
            pass
        try:
            return run(self._core.receive())
        except ClosedError:
            raise StopIteration from None

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()


class Events(Generic[E]):
    """The events among the messages of a subscription; made by `events`. Other messages are passed over."""

    def __init__(self, core: _events.Events[E]) -> None:
        self._core = core

    def receive(self, timeout: Timeout = None) -> E:
        """Waits for one event. Raises TimeoutError when none comes in time, ClosedError at the end."""
        return run(self._core.receive(timeout))

    def __iter__(self: _A) -> _A:
        return self

    def __next__(self) -> E:
        try:
            return run(self._core.receive())
        except ClosedError:
            raise StopIteration from None


class Subscription(Stream[_Message]):
    """Messages under some topics: `for message in subscription`. Made by `Connection.subscribe`."""

    _core: _connection.Subscription

    def add_topic(self, topic: str) -> None:
        """Subscribes to one more topic."""
        self._core.add_topic(topic)

    def remove_topic(self, topic: str) -> None:
        """Takes a topic out of the subscription."""
        self._core.remove_topic(topic)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because they were not taken in time."""
        return self._core.dropped

    @overload
    def events(self) -> Events[zeek.Event]: ...
    @overload
    def events(self, *kinds: Type[E]) -> Events[E]: ...
    @overload
    def events(self, *kinds: str) -> Events[zeek.Event]: ...

    def events(self, *kinds: Any) -> Events[Any]:
        """The events among the messages: all, those with these names, or instances of these classes."""
        return Events(self._core.events(*kinds))


class DurableSubscription(Stream[DurableMessage]):
    """Messages of a named cursor on a stream, each at least once; see `broker.aio.DurableSubscription`."""

    _core: _durable.DurableSubscription

    def ack(self, message: Optional[DurableMessage] = None) -> None:
        """Says that a message is dealt with; without one, that all that were received are."""
        self._core.ack(message)

    def retry(self, message: DurableMessage, delay: Timeout = None) -> None:
        """Has a message delivered again, after `delay`."""
        self._core.retry(message, delay)

    def keep(self, message: DurableMessage) -> None:
        """Says that a message is being worked on: the wait for its acknowledgement begins anew."""
        self._core.keep(message)

    def reject(self, message: DurableMessage, reason: str) -> None:
        """Says that a message cannot be dealt with, and why: it becomes a dead letter."""
        self._core.reject(message, reason)

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        run(self._core.__aexit__(kind, error, traceback))


class Reading(Stream[DurableMessage]):
    """Messages of a stream in order, each once: last values, or a replay; see `broker.aio.Reading`."""

    _core: _durable.Reading

    @property
    def current(self) -> bool:
        """Whether the last values that there were at the beginning were received, all of them."""
        return self._core.current

    @property
    def finished(self) -> bool:
        """Whether a replay is at its end: everything was received."""
        return self._core.finished


class Store:
    """A data store, master or clone; see `broker.aio.Store`."""

    def __init__(self, core: _store.Store) -> None:
        self._core = core

    @property
    def name(self) -> str:
        """The name of the store."""
        return self._core.name

    def get(self, key: Any, default: Any = None, *, timeout: Timeout = None) -> Any:
        """The value of a key; `default` when it is absent or None. Raises StoreError when it cannot be read."""
        return run(self._core.get(key, default, timeout=timeout))

    def put(self, key: Any, value: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Sets a key."""
        run(self._core.put(key, value, expires_in=expires_in, timeout=timeout))

    def put_unique(self, key: Any, value: Any, *, expires_in: Timeout = None, timeout: Timeout = 10.0) -> bool:
        """Sets a key that is absent; returns whether it was."""
        return run(self._core.put_unique(key, value, expires_in=expires_in, timeout=timeout))

    def erase(self, key: Any, *, timeout: Timeout = None) -> None:
        """Removes a key."""
        run(self._core.erase(key, timeout=timeout))

    def clear(self, *, timeout: Timeout = None) -> None:
        """Removes everything."""
        run(self._core.clear(timeout=timeout))

    def increment(self, key: Any, amount: Any = 1, *, expires_in: Timeout = None,
                  timeout: Timeout = None) -> None:
        """Adds to a number, or a timedelta to a time. An absent key starts from zero."""
        run(self._core.increment(key, amount, expires_in=expires_in, timeout=timeout))

    def decrement(self, key: Any, amount: Any = 1, *, expires_in: Timeout = None,
                  timeout: Timeout = None) -> None:
        """Takes away from a number, or a timedelta from a time. An absent key stays absent."""
        run(self._core.decrement(key, amount, expires_in=expires_in, timeout=timeout))

    def append(self, key: Any, text: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Appends to a str. An absent key starts empty."""
        run(self._core.append(key, text, expires_in=expires_in, timeout=timeout))

    def insert_into(self, key: Any, index: Any, value: Any = None, *, expires_in: Timeout = None,
                    timeout: Timeout = None) -> None:
        """Inserts into a set, or with a value sets an index of a table. An absent key starts empty."""
        run(self._core.insert_into(key, index, value, expires_in=expires_in, timeout=timeout))

    def remove_from(self, key: Any, index: Any, *, expires_in: Timeout = None,
                    timeout: Timeout = None) -> None:
        """Removes an element of a set or an index of a table."""
        run(self._core.remove_from(key, index, expires_in=expires_in, timeout=timeout))

    def push(self, key: Any, value: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Appends to a tuple. An absent key starts empty."""
        run(self._core.push(key, value, expires_in=expires_in, timeout=timeout))

    def pop(self, key: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Removes the last element of a tuple."""
        run(self._core.pop(key, expires_in=expires_in, timeout=timeout))

    def exists(self, key: Any, *, timeout: Timeout = None) -> bool:
        """Whether a key is there."""
        return run(self._core.exists(key, timeout=timeout))

    def get_index_from_value(self, key: Any, index: Any, *, timeout: Timeout = None) -> Any:
        """What is at an index of a key's value; None when there is nothing."""
        return run(self._core.get_index_from_value(key, index, timeout=timeout))

    def keys(self, *, timeout: Timeout = None) -> Set[Any]:
        """All keys, a new set."""
        return run(self._core.keys(timeout=timeout))

    def snapshot(self, *, timeout: Timeout = None) -> Dict[Any, Any]:
        """All entries at one moment, a new dict."""
        return run(self._core.snapshot(timeout=timeout))

    def count(self, *, timeout: Timeout = None) -> int:
        """The number of entries."""
        return run(self._core.count(timeout=timeout))

    def idle(self, timeout: Timeout = 15.0) -> None:
        """Waits until master and clones have everything of each other. Raises TimeoutError otherwise."""
        run(self._core.idle(timeout))

    def changes(self) -> Stream[StoreEvent]:
        """The changes of this store from now on: a stream of StoreEvent."""
        return Stream(self._core.changes())

    def close(self) -> None:
        """Gives the handle up; the store stays as long as the connection."""
        self._core.close()

    def __enter__(self: _B) -> _B:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()


class Connection:
    """An endpoint and its peerings; made by `connect`. See `broker.aio.Connection`."""

    def __init__(self, core: _connection.Connection) -> None:
        self._core = core
        self._messages = Subscription(core._messages)

    def close(self, timeout: Timeout = None) -> None:
        """Waits until peers have what was published, for at most `timeout` (None: `close_timeout`), ends
        all iterations and closes the peerings. May be called again.
        """
        run(self._core.close(timeout))

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        run(self._core.__aexit__(kind, error, traceback))

    @property
    def endpoint(self) -> broker.Endpoint:
        """The endpoint, for what is not here: listening, statistics, circles of peers."""
        return self._core.endpoint

    def peers(self) -> List[PeerInfo]:
        """The peers at this moment."""
        return self._core.peers()

    def publish(self, topic: str, value: Any, *, timeout: Timeout = None) -> None:
        """Publishes a value, an Event or an instance of a class made with `event`; waits while a peer has
        no room for more.
        """
        run(self._core.publish(topic, value, timeout=timeout))

    @overload
    def request(self, topic: str, event: Any, reply: Type[E], *, timeout: Timeout = 10.0,
                reply_topic: Optional[str] = None, where: Optional[Callable[[Any], bool]] = None) -> E: ...
    @overload
    def request(self, topic: str, event: Any, reply: str, *, timeout: Timeout = 10.0,
                reply_topic: Optional[str] = None,
                where: Optional[Callable[[Any], bool]] = None) -> zeek.Event: ...

    def request(self, topic: str, event: Any, reply: Any, *, timeout: Timeout = 10.0,
                reply_topic: Optional[str] = None, where: Optional[Callable[[Any], bool]] = None) -> Any:
        """Publishes an event and waits for the one that answers it: with the name `reply`, or of that
        class; see `broker.aio.Connection.request`.
        """
        return run(self._core.request(topic, event, reply, timeout=timeout, reply_topic=reply_topic,
                                      where=where))

    def subscribe(self, *topics: str, buffer: Optional[int] = None,
                  overflow: Optional[Literal["drop_oldest", "drop_newest", "block", "disconnect"]] = None) -> Subscription:
        """Subscribes to topics by their prefixes; see `broker.aio.Connection.subscribe`."""
        return Subscription(self._core.subscribe(*topics, buffer=buffer, overflow=overflow))

    @overload
    def events(self) -> Events[zeek.Event]: ...
    @overload
    def events(self, *kinds: Type[E]) -> Events[E]: ...
    @overload
    def events(self, *kinds: str) -> Events[zeek.Event]: ...

    def events(self, *kinds: Any) -> Events[Any]:
        """The events among the messages of this connection; see `Subscription.events`."""
        return Events(self._core.events(*kinds))

    def receive(self, timeout: Timeout = None) -> _Message:
        """Waits for one message. Raises TimeoutError when none comes in time, ClosedError at the end."""
        return self._messages.receive(timeout)

    def __iter__(self) -> Subscription:
        return self._messages

    def __next__(self) -> _Message:
        return self._messages.__next__()

    # --- streams on servers of NATS -------------------------------------------------------------

    def publish_durable(self, topic: str, value: Any, *, retain: bool = False, message_id: Optional[str] = None,
                        expected_last: Optional[int] = None, timeout: Timeout = None) -> StoredMessage:
        """Publishes so that nothing is lost: returns when a stream has the message; see
        `broker.aio.Connection.publish_durable`.
        """
        return run(self._core.publish_durable(topic, value, retain=retain, message_id=message_id,
                                              expected_last=expected_last, timeout=timeout))

    def withdraw(self, topic: str, *, message_id: Optional[str] = None, expected_last: Optional[int] = None,
                 timeout: Timeout = None) -> StoredMessage:
        """Withdraws the last value of a topic: who subscribes later gets none; see
        `broker.aio.Connection.withdraw`.
        """
        return run(self._core.withdraw(topic, message_id=message_id, expected_last=expected_last, timeout=timeout))

    def make_stream(self, name: str, topics: Topics, *, replicas: int = 1, max_age: Timeout = None,
                    max_bytes: Optional[int] = None, max_messages: Optional[int] = None,
                    max_messages_per_topic: Optional[int] = None, discard: Literal["old", "new"] = "old",
                    retained: bool = False, require_durable: bool = False, timeout: Timeout = None) -> StreamState:
        """Makes a stream, unless there is one of that name and shape; see
        `broker.aio.Connection.make_stream`.
        """
        return run(self._core.make_stream(name, topics, replicas=replicas, max_age=max_age, max_bytes=max_bytes,
                                          max_messages=max_messages, max_messages_per_topic=max_messages_per_topic,
                                          discard=discard, retained=retained, require_durable=require_durable,
                                          timeout=timeout))

    def subscribe_durable(self, name: str, *topics: str, start: Place = None,
                          ack: Literal["auto", "manual"] = "auto", ack_wait: Timeout = None,
                          unacked_max: Optional[int] = None, prefetch: Optional[int] = None,
                          deliveries_max: Optional[int] = None, dead_letters: Optional[str] = None,
                          stream: Optional[str] = None, require_durable: bool = False,
                          timeout: Timeout = None) -> DurableSubscription:
        """Subscribes to topics with a cursor of that name; see
        `broker.aio.Connection.subscribe_durable`.
        """
        return DurableSubscription(run(self._core.subscribe_durable(name, *topics, start=start, ack=ack,
                                                                    ack_wait=ack_wait, unacked_max=unacked_max,
                                                                    prefetch=prefetch, deliveries_max=deliveries_max,
                                                                    dead_letters=dead_letters, stream=stream,
                                                                    require_durable=require_durable, timeout=timeout)))

    def subscribe_retained(self, *topics: str, stream: Optional[str] = None, prefetch: Optional[int] = None,
                           require_durable: bool = False, timeout: Timeout = None) -> Reading:
        """Subscribes to last values: the present ones come first, then each change; see
        `broker.aio.Connection.subscribe_retained`.
        """
        return Reading(run(self._core.subscribe_retained(*topics, stream=stream, prefetch=prefetch,
                                                         require_durable=require_durable, timeout=timeout)))

    def replay(self, *topics: str, since: Place = None, until: Place = None, speed: Optional[float] = 1.0,
               stream: Optional[str] = None, prefetch: Optional[int] = None, timeout: Timeout = None) -> Reading:
        """What a stream has of topics, from `since` to `until` or what there is now; see
        `broker.aio.Connection.replay`.
        """
        return Reading(run(self._core.replay(*topics, since=since, until=until, speed=speed, stream=stream,
                                             prefetch=prefetch, timeout=timeout)))

    def store(self, name: str, *, timeout: Timeout = 10.0) -> Store:
        """A clone of a data store, which follows its master wherever that is. Waits until it has what the
        master has. Raises TimeoutError when no master is found.
        """
        return Store(run(self._core.store(name, timeout=timeout)))

    def master(self, name: str, *, path: Optional[str] = None, timeout: Timeout = None) -> Store:
        """The master of a data store, kept here: in memory, or in the file `path`."""
        return Store(run(self._core.master(name, path=path, timeout=timeout)))

    def logs(self, *names: str) -> Stream[LogRecord]:
        """Logs of Zeek: a stream of LogRecord. Names are paths such as `conn`; without names all logs."""
        return Stream(self._core.logs(*names))

    def status(self) -> Stream[Union[Status, Error]]:
        """What happens to the peerings from now on: a stream of Status and Error."""
        return Stream(self._core.status())

    def drain(self, timeout: Timeout = 5.0) -> Dict[str, int]:
        """Waits until the peers have what was published. Returns those that do not by the end of
        `timeout`: by their address how many messages wait here, 0 where all are on their way.
        """
        return run(self._core.drain(timeout))


def _add_examples() -> None:
    """Gives each method the example of its twin, without `async` and `await`."""
    for own, other in ((Stream, _stream.Stream), (Events, _events.Events), (Store, _store.Store),
                       (Subscription, _connection.Subscription), (Connection, _connection.Connection)):
        for name, method in vars(own).items():
            text = getattr(vars(other).get(name), "__doc__", None) or ""
            _, mark, example = text.partition(">>> ")
            if mark and not name.startswith("_"):
                example = example.replace("await ", "").replace("async ", "")
                # A property's own text can be set as well.
                method.__doc__ = "%s\n\n        >>> %s" % ((method.__doc__ or "").rstrip(), example)


_add_examples()
