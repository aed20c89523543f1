"""Connections: an endpoint of its own and its peerings, which come back by themselves."""

from __future__ import annotations

from types import MappingProxyType, TracebackType
from typing import (Any, Callable, Dict, Iterable, List, Literal, Mapping, NamedTuple, Optional, Tuple, Type, TypeVar,
                    Union, overload)

import broker

from .. import _broker, zeek
from .._broker import (Backend, BrokerError, ClosedError, EndpointInfo, Error, Message, PeerInfo, SC,
                       Status, StoredMessage, StoreError, StreamState)
from .._broker.zeek import LogRecord
from ..zeek.logs import logs as _logs
from .address import host_and_port, url_of
from .completions import Completions, Operation
from .deadline import Timeout, deadline_of, expired, left_until, seconds
from .durable import DurableSubscription, Place, Reading
from .events import Events, packed
from .waiter import Waiter
from .replies import Replies
from .store import Store
from .stream import Stream, pause, polled


_C = TypeVar("_C", bound="Connection")
E = TypeVar("E")

Topics = Union[str, Iterable[str]]

# How long the master of a store is looked for.
STORE_TIMEOUT_S = 10.0
# How long leaving waits for what was published.
CLOSE_TIMEOUT_S = 5.0
# How often peers are looked at that cannot confirm what they have.
LOOK_S = 0.01
# How long before the end of its time `connect` looks why a peer is missing, and the most of that time.
DIAGNOSIS_S = 2.5
DIAGNOSIS_PART = 0.5
# What is said of a peer that gave no reason.
_NOBODY = "unable to connect to remote peer"
# A shutdown says goodbye for at most 5 s; more than that would be a fault, which must not hang a program.
SHUTDOWN_S = 10.0


class Diagnosis(NamedTuple):
    """What `broker doctor` finds at an address: a code for programs, what is wrong, what that means, and
    what to try, the most promising first.
    """

    code: str
    what: str
    means: str
    remedies: List[str]


class ConnectError(BrokerError, ConnectionError, TimeoutError):
    """A peer was not reached. `reasons` has the cause for each address that is not peered, `diagnoses` what
    `broker doctor` finds at those of them where it found something in time.
    """

    def __init__(self, reasons: Mapping[str, str], diagnoses: Mapping[str, Diagnosis] = MappingProxyType({})) -> None:
        texts = []
        for url, reason in reasons.items():
            found = diagnoses.get(url)
            text = "cannot peer with %s: %s" % (url, reason)
            texts.append(text if found is None else " ".join(["%s: %s." % (text, found.what), found.means,
                                                              *("Try: %s." % it for it in found.remedies[:1])]))
        super().__init__("; ".join(texts))
        self.reasons, self.diagnoses = dict(reasons), dict(diagnoses)


class Subscription(Stream[Message]):
    """Messages under some topics: `async for message in subscription`. Made by `Connection.subscribe`."""

    def add_topic(self, topic: str) -> None:
        """Subscribes to one more topic.

        >>> async with b.subscribe("/a") as messages:
        ...     messages.add_topic("/b")
        ...     fake.publish("/b", 1)
        ...     print((await messages.receive(60)).topic)
        /b
        """
        self._source.add_topic(topic)

    def remove_topic(self, topic: str) -> None:
        """Takes a topic out of the subscription.

        >>> async with b.subscribe("/a", "/b") as messages:
        ...     messages.remove_topic("/b")
        """
        self._source.remove_topic(topic)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because they were not taken in time.

        >>> async with b.subscribe("/a") as messages:
        ...     print(messages.dropped)
        0
        """
        dropped: int = self._source.dropped
        return dropped

    @overload
    def events(self) -> Events[zeek.Event]: ...
    @overload
    def events(self, *kinds: Type[E]) -> Events[E]: ...
    @overload
    def events(self, *kinds: str) -> Events[zeek.Event]: ...

    def events(self, *kinds: Any) -> Events[Any]:
        """The events among the messages: all of them, those with these names, or instances of classes
        made with `event`. Each message goes to one iteration; the others do not see it.
        """
        return Events(self, kinds)


class Connection:
    """An endpoint and its peerings; made by `connect`, which is where the example is.

    Iterating over it gives the messages of the topics that `connect` subscribed to. Leaving it publishes
    what is left, ends all iterations and closes the peerings.
    """

    def __init__(self, waiter: Waiter, addresses: Tuple[str, ...], subscribe: Topics, retry: Timeout,
                 on_connect: Optional[Callable[[EndpointInfo], object]],
                 on_disconnect: Optional[Callable[[EndpointInfo], object]], close_timeout: Timeout,
                 configuration: Optional[_broker.Configuration],
                 endpoint: Optional[broker.Endpoint]) -> None:
        self._close_timeout = close_timeout
        self._urls = [url_of(address) for address in addresses]
        self._retry = seconds(retry) or 0.0
        self._configuration = configuration
        self._owns_endpoint = endpoint is None
        self._is_closed = False
        self._callbacks = {SC.PeerAdded: on_connect, SC.PeerLost: on_disconnect,
                           SC.PeerRemoved: on_disconnect}
        # Why peers were not reached, by their address.
        self._failures: Dict[str, str] = {}
        self._endpoint = self._new_endpoint() if endpoint is None else endpoint
        self._completions = Completions(waiter)
        try:
            self._statuses = self._endpoint.make_status_subscriber(True)
            self._status_watch = self._completions.watch(self._statuses, self._on_status)
            self._messages = self._subscription(subscribe)
        except BaseException:
            self._abandon()
            raise
        self._replies = Replies(self._subscription)
        # Streams whose endpoint is their own.
        self._others: List[broker.Endpoint] = []

    # --- coming and going -----------------------------------------------------------------------

    def _new_endpoint(self) -> broker.Endpoint:
        if self._configuration is None:
            return broker.Endpoint()
        return broker.Endpoint(self._configuration)

    async def _opened(self, timeout: Timeout, wait: bool) -> None:
        try:
            await self._open(timeout, wait)
        except BaseException:
            self._is_closed = True
            await self._completions.waiter.shielded(self._shut_down())
            raise

    async def _open(self, timeout: Timeout, wait: bool) -> None:
        """Peers with all addresses; without `wait` they are looked for in the background."""
        if not wait:
            for url in self._urls:
                self._endpoint.peer_nosync(url, None, self._retry, jitter=True)
            return
        deadline = deadline_of(timeout)
        completions = self._completions
        pending: List[Tuple[str, Operation]] = []
        missing: Dict[str, str] = {}
        for url in self._urls:
            try:
                operation = completions.begin(completions.queue.peer, self._endpoint, url, None, self._retry,
                                              jitter=True)
            except ClosedError:
                raise
            except BrokerError as error:
                missing[url] = str(error)
            else:
                pending.append((url, operation))
        looks = await self._begin_to_look(pending, deadline, seconds(timeout))
        for url, operation in pending:
            try:
                if await completions.finish(operation, deadline):
                    continue
            except ClosedError:
                raise
            except BrokerError as error:
                missing[url] = str(error)
            else:
                self._look_at_statuses()
                reason = self._failures.get(host_and_port(url), _NOBODY)
                # The texts of the original have no cause where simply nobody is there.
                reason += ": nobody answers there" if reason == _NOBODY else ""
                missing[url] = str(expired(reason + ",", timeout))
        diagnoses = {}
        for url, look in looks.items():
            # Of those that came after all nobody wants to know any more.
            is_over = await completions.finish(look, deadline if url in missing else 0.0)
            if is_over and look.result is not None and url in missing:
                diagnoses[url] = Diagnosis(*look.result)
        if missing:
            raise ConnectError(missing, diagnoses)

    async def _begin_to_look(self, pending: List[Tuple[str, Operation]], deadline: Optional[float],
                             timeout: Optional[float]) -> Dict[str, Operation]:
        """Waits until most of the time is over, and begins to look at what is not there until then."""
        looks: Dict[str, Operation] = {}
        if deadline is None or timeout is None or self._retry < 1.0:
            return looks
        completions = self._completions
        limit = min(DIAGNOSIS_S, DIAGNOSIS_PART * timeout)
        for url, operation in pending:
            if not await completions.over_by(operation, deadline - limit):
                self._look_at_statuses()
                text = self._failures.get(host_and_port(url), _NOBODY)
                looks[url] = completions.begin(completions.queue.diagnose, self._endpoint, url, text, limit)
        return looks

    def _on_status(self) -> None:
        # Looked at again until nothing is there, which is what has the queue tell of the next.
        self._look_at_statuses()
        while self._completions.queue.resume(self._status_watch.number):
            if not self._look_at_statuses():
                return

    def _look_at_statuses(self) -> bool:
        """Keeps why peers are not reached, and calls the callbacks of the program."""
        try:
            events = self._statuses.poll()
        except ClosedError:
            return False
        for event in events:
            context = event.context()
            if isinstance(event, Error):
                network = context.network.get() if context is not None and context.network else None
                if network is not None:
                    where = network.address.partition("://")[2] or network.address
                    self._failures["%s:%d" % (where, network.port)] = event.message()
                    self._failures[where.rstrip("/")] = event.message()
                continue
            callback = self._callbacks.get(event.code())
            if callback is not None and context is not None:
                self._completions.waiter.start(callback, context)
        return bool(events)

    async def close(self, timeout: Timeout = None) -> None:
        """Waits until peers have what was published, for at most `timeout` (None: `close_timeout`), ends
        all iterations and closes the peerings. May be called again.

        >>> other = await connect(address)
        >>> await other.close()
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self.drain(self._close_timeout if timeout is None else timeout)
        except ClosedError:
            pass  # The endpoint was shut down before.
        finally:
            await self._completions.waiter.shielded(self._shut_down())

    async def _shut_down(self) -> None:
        completions = self._completions
        endpoints = [*self._others, self._endpoint] if self._owns_endpoint else [*self._others]
        try:
            ends = [completions.begin(completions.queue.shutdown, endpoint) for endpoint in endpoints]
            for end in ends:
                await completions.finish(end, deadline_of(SHUTDOWN_S))
        except ClosedError:
            pass
        finally:
            self._abandon()

    def _abandon(self) -> None:
        self._is_closed = True
        self._completions.close()

    async def __aenter__(self: _C) -> _C:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        if kind is None or issubclass(kind, Exception):
            await self.close()
        else:
            # Cancelled or interrupted: nothing is waited for but the goodbye.
            self._is_closed = True
            await self._completions.waiter.shielded(self._shut_down())

    @property
    def endpoint(self) -> broker.Endpoint:
        """The endpoint, for what is not here: listening, statistics, circles of peers."""
        return self._endpoint

    def peers(self) -> List[PeerInfo]:
        """The peers at this moment.

        >>> len(b.peers())
        1
        """
        return self._endpoint.peers()

    # --- messages -------------------------------------------------------------------------------

    async def publish(self, topic: str, value: Any, *, timeout: Timeout = None) -> None:
        """Publishes a value, an Event or an instance of a class made with `event`; waits while a peer has
        no room for more. What it does not have by the end of `timeout` it gets later or never.

        >>> await b.publish("/topic/test", Event("hello", 1))
        """
        completions = self._completions
        await completions.run("a peer has no room for the message", timeout, completions.queue.publish,
                              self._endpoint, topic, packed(value))

    @overload
    async def request(self, topic: str, event: Any, reply: Type[E], *, timeout: Timeout = 10.0,
                      reply_topic: Optional[str] = None,
                      where: Optional[Callable[[Any], bool]] = None) -> E: ...
    @overload
    async def request(self, topic: str, event: Any, reply: str, *, timeout: Timeout = 10.0,
                      reply_topic: Optional[str] = None,
                      where: Optional[Callable[[Any], bool]] = None) -> zeek.Event: ...

    async def request(self, topic: str, event: Any, reply: Any, *, timeout: Timeout = 10.0,
                      reply_topic: Optional[str] = None,
                      where: Optional[Callable[[Any], bool]] = None) -> Any:
        """Publishes an event and waits for the one that answers it: with the name `reply`, or of that class.

        It is expected under `reply_topic`, by default the topic itself. Events carry nothing that tells
        which request they answer: of several requests the one that has waited longest gets the reply.
        `where` tells them apart: a function that is called with a reply and says whether it is the one.

        >>> reply = await b.request("/topic/test", Event("ping", 1), reply="pong", timeout=60)
        >>> reply.name(), reply.args()
        ('pong', [1])
        """
        return await self._replies.ask(topic if reply_topic is None else reply_topic, reply,
                                       lambda: self.publish(topic, event, timeout=timeout), timeout, where)

    def subscribe(self, *topics: str, buffer: Optional[int] = None,
                  overflow: Optional[Literal["drop_oldest", "drop_newest", "block", "disconnect"]] = None) -> Subscription:
        """Subscribes to topics by their prefixes. What is published from now on is received.

        `overflow` says what happens beyond `buffer` messages: "drop_oldest", "drop_newest", "block"
        (publishers wait), "disconnect" (the subscription ends).

        >>> async with b.subscribe("/a", buffer=1000, overflow="drop_oldest") as messages:
        ...     fake.publish("/a/b", 1)
        ...     async for message in messages:
        ...         print(message.topic, message.value)
        ...         break
        /a/b 1
        """
        return self._subscription(topics, buffer, overflow)

    def _subscription(self, topics: Topics, buffer: Optional[int] = None,
                      overflow: Optional[Literal["drop_oldest", "drop_newest", "block", "disconnect"]] = None) -> Subscription:
        source = self._endpoint.make_subscriber(topics, buffer=buffer, overflow=overflow)
        return Subscription(self._completions, source, source.take)

    @overload
    def events(self) -> Events[zeek.Event]: ...
    @overload
    def events(self, *kinds: Type[E]) -> Events[E]: ...
    @overload
    def events(self, *kinds: str) -> Events[zeek.Event]: ...

    def events(self, *kinds: Any) -> Events[Any]:
        """The events among the messages of this connection; see `Subscription.events`.

        >>> fake.publish("/topic/test", Login("root"))
        >>> async for login in b.events(Login):
        ...     print(login.user)
        ...     break
        root
        """
        return Events(self._messages, kinds)

    async def receive(self, timeout: Timeout = None) -> Message:
        """Waits for one message. Raises TimeoutError when none comes in time, ClosedError at the end.

        >>> fake.publish("/topic/test", "a message")
        >>> message = await b.receive(timeout=60)
        >>> message.topic, message.value, message.event
        ('/topic/test', 'a message', None)
        """
        return await self._messages.receive(timeout)

    def __aiter__(self) -> Subscription:
        return self._messages

    async def __anext__(self) -> Message:
        return await self._messages.__anext__()

    # --- streams on servers of NATS -------------------------------------------------------------

    async def publish_durable(self, topic: str, value: Any, *, retain: bool = False,
                              message_id: Optional[str] = None, expected_last: Optional[int] = None,
                              timeout: Timeout = None) -> StoredMessage:
        """Publishes so that nothing is lost: returns when a stream has the message, for at most `timeout`
        (30 s). With `retain` it is the last value of its topic, which `subscribe_retained` gives to those
        who come later. Again with the same `message_id` it is stored once; with `expected_last` only if the
        last message of its topic has that number. Raises DurableError, and DurableTimeout when the outcome
        is open.
        """
        completions = self._completions
        stored: StoredMessage = await completions.run(
            "no answer of the servers", None, completions.queue.publish_durable, self._endpoint, topic,
            packed(value), retain, message_id, expected_last, timeout)
        return stored

    async def withdraw(self, topic: str, *, message_id: Optional[str] = None,
                       expected_last: Optional[int] = None, timeout: Timeout = None) -> StoredMessage:
        """Withdraws the last value of a topic: who subscribes later gets none. Subscribers to last values get
        a message that is `withdrawn`.
        """
        completions = self._completions
        stored: StoredMessage = await completions.run(
            "no answer of the servers", None, completions.queue.withdraw, self._endpoint, topic, message_id,
            expected_last, timeout)
        return stored

    async def make_stream(self, name: str, topics: Topics, *, replicas: int = 1, max_age: Timeout = None,
                          max_bytes: Optional[int] = None, max_messages: Optional[int] = None,
                          max_messages_per_topic: Optional[int] = None,
                          discard: Literal["old", "new"] = "old", retained: bool = False,
                          require_durable: bool = False, timeout: Timeout = None) -> StreamState:
        """Makes a stream, unless there is one of that name and shape; see `broker.Endpoint.make_stream`."""
        completions = self._completions
        state: StreamState = await completions.run(
            "no answer of the servers", None, completions.queue.make_stream, self._endpoint, name, topics,
            replicas, max_age, max_bytes, max_messages, max_messages_per_topic, discard, retained,
            require_durable, timeout)
        return state

    async def subscribe_durable(self, name: str, *topics: str, start: Place = None,
                                ack: Literal["auto", "manual"] = "auto", ack_wait: Timeout = None,
                                unacked_max: Optional[int] = None, prefetch: Optional[int] = None,
                                deliveries_max: Optional[int] = None, dead_letters: Optional[str] = None,
                                stream: Optional[str] = None, require_durable: bool = False,
                                timeout: Timeout = None) -> DurableSubscription:
        """Subscribes to topics with a cursor of that name: what was published since it was there the last
        time comes first. Subscribers of one name share its messages. The keywords are those of
        `broker.Endpoint.make_subscriber`.
        """
        options = {"start": start, "ack": ack, "ack_wait": ack_wait, "unacked_max": unacked_max,
                   "prefetch": prefetch, "deliveries_max": deliveries_max, "dead_letters": dead_letters,
                   "stream": stream, "require_durable": require_durable, "timeout": timeout}
        completions = self._completions
        source = await completions.run("no answer of the servers", None, completions.queue.durable_subscriber,
                                       self._endpoint, topics, name, options)
        return DurableSubscription(completions, source)

    async def subscribe_retained(self, *topics: str, stream: Optional[str] = None,
                                 prefetch: Optional[int] = None, require_durable: bool = False,
                                 timeout: Timeout = None) -> Reading:
        """Subscribes to last values: the present ones come first, then each change, without a gap and
        without doubles.
        """
        completions = self._completions
        source = await completions.run("no answer of the servers", None, completions.queue.retained_subscriber,
                                       self._endpoint, topics, stream, prefetch, require_durable, timeout)
        return Reading(completions, source)

    async def replay(self, *topics: str, since: Place = None, until: Place = None,
                     speed: Optional[float] = 1.0, stream: Optional[str] = None,
                     prefetch: Optional[int] = None, timeout: Timeout = None) -> Reading:
        """What a stream has of topics, from `since` to `until` or what there is now, as far apart as it was
        stored, divided by `speed`; None: as fast as it is taken. See `broker.Endpoint.replay`.
        """
        completions = self._completions
        source = await completions.run("no answer of the servers", None, completions.queue.replay,
                                       self._endpoint, topics, since, until, speed, stream, prefetch, timeout)
        return Reading(completions, source)

    # --- everything else ------------------------------------------------------------------------

    async def store(self, name: str, *, timeout: Timeout = STORE_TIMEOUT_S) -> Store:
        """A clone of a data store, which follows its master wherever that is. Waits until it has what the
        master has. Raises TimeoutError when no master is found.

        >>> hosts = await b.store("hosts")
        >>> await hosts.get("printer")
        '10.0.0.1'
        """
        store = Store(self._completions, self._endpoint.open_clone(name))
        try:
            await store.idle(timeout)
        except BaseException as error:
            store.close()
            if isinstance(error, TimeoutError):
                raise expired("no master of store `%s` answered" % name, timeout) from None
            raise
        return store

    async def master(self, name: str, *, path: Optional[str] = None, timeout: Timeout = None) -> Store:
        """The master of a data store, kept here: in memory, or in the file `path`. Raises StoreError when
        a peer has it or the file cannot be used, TimeoutError when it is not open in time.

        >>> seen = await b.master("seen")
        >>> await seen.increment("10.0.0.1")
        >>> await seen.snapshot()
        {'10.0.0.1': 1}
        """
        completions = self._completions
        kept = () if path is None else (Backend.SQLite, {"path": str(path)})
        # A file may take long to open, and a lock before it: another thread waits for that.
        opened = await completions.run("the store was not open", timeout, completions.queue.open_master,
                                       self._endpoint, name, *kept)
        return Store(completions, opened)

    def logs(self, *names: str) -> Stream[LogRecord]:
        """Logs of Zeek: a stream of LogRecord. Names are paths such as `conn`; without names all logs.

        Zeek announces its logs when a peer appears, so they come over peerings of their own.

        >>> async with b.logs("conn", "dns") as records:
        ...     print(type(records).__name__)
        Stream
        """
        endpoint, on_close = self._endpoint, None
        if self._urls:
            endpoint = self._new_endpoint()
            self._others.append(endpoint)
            on_close = lambda: self._close_other(endpoint)
        logs = _logs(endpoint, names or None)
        if self._urls:
            for url in self._urls:
                endpoint.peer_nosync(url, None, self._retry, jitter=True)
        return Stream(self._completions, logs, polled(logs), on_close)

    def _close_other(self, endpoint: broker.Endpoint) -> None:
        if endpoint in self._others:
            self._others.remove(endpoint)
            try:
                self._completions.begin(self._completions.queue.shutdown, endpoint)
            except ClosedError:
                pass

    def status(self) -> Stream[Union[Status, Error]]:
        """What happens to the peerings from now on: a stream of Status and Error.

        >>> async with b.status() as statuses:
        ...     other = await connect(address, wait=False, endpoint=b.endpoint)
        ...     await other.close()
        """
        statuses = self._endpoint.make_status_subscriber(True)
        return Stream(self._completions, statuses, polled(statuses))

    async def drain(self, timeout: Timeout = CLOSE_TIMEOUT_S) -> Dict[str, int]:
        """Waits until the peers have what was published. Returns those that do not by the end of
        `timeout`: by their address how many messages wait here, 0 where all are on their way.

        Native peers confirm it; of WebSocket servers and ZeroMQ it is known what was sent.

        >>> await b.publish("/topic/test", 1)
        >>> await b.drain(timeout=60)
        {}
        """
        completions = self._completions
        deadline = deadline_of(timeout)
        pending = [(where, id, completions.begin(completions.queue.ping, self._endpoint, id))
                   for id, where, _ in self._endpoint.waiting()]
        late: Dict[str, int] = {}
        for where, id, operation in pending:
            if not await completions.finish(operation, deadline):
                late[id] = 0
            elif operation.result is None:
                while self._waiting().get(id, 0) > 0:
                    if deadline is not None and left_until(deadline) == 0.0:
                        late[id] = 0
                        break
                    await pause(completions, LOOK_S)
        waiting = self._waiting()
        return {where: waiting.get(id, 0) for where, id, _ in pending if id in late}

    def _waiting(self) -> Dict[str, int]:
        return {id: count for id, _, count in self._endpoint.waiting()}
