"""Messages, requests, stores and logs on an event loop: asyncio, uvloop, trio, anyio.

    import broker.aio as broker

    async with broker.connect("zeek://10.0.0.5", subscribe=["/topic/test"]) as b:
        await b.publish("/topic/test", broker.Event("ping", 1))
        async for message in b:
            print(message.topic, message.event)

`broker.sync` has the same names without `async` and `await`.

No thread takes part while messages come: the loop watches one descriptor per connection, and what is
there is taken without waiting. A task that is cancelled loses nothing: a message is handed over or still
there. Every call that waits has a `timeout`, in seconds or as a timedelta, and raises TimeoutError.

Beside that, for programs that use `broker.Endpoint` on a loop: `Completions` waits for peerings, publishes
and stores behind one descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from types import TracebackType
from typing import Any, Callable, Dict, Generator, Optional, Set, Tuple, Type, Union

import broker

from ._broker import CompletionQueue, DurableSubscriber, StatusSubscriber, StoreEvents, StreamReader, Subscriber
from ._client import connection as _connection
from ._client import waiter as _waiter
from ._client.connection import Connection as Connection
from ._client.connection import Subscription as Subscription
from ._client.deadline import Timeout
from ._client.durable import DurableSubscription as DurableSubscription
from ._client.durable import Reading as Reading
from ._client.events import Events as Events
from ._client.loop_reader import LoopReader as _LoopReader
from ._client.names import *
from ._client.names import ClosedError
from ._client.store import Store as Store
from ._client.stream import Stream as Stream

__all__ = [
    "Address", "App", "BrokerError", "BrokerOptions", "ClosedError", "Completions", "Configuration",
    "ConnectError", "Connection", "Count", "Diagnosis", "DurableError", "DurableMessage", "DurableSubscription",
    "DurableTimeout", "EC", "EndpointInfo", "Enum", "Error", "Event", "Events", "LogRecord", "Message",
    "MismatchError", "PeerInfo", "Port", "Reading", "SC", "Status", "Store", "StoreError", "StoreEvent",
    "StoredMessage", "Stream", "StreamState", "Subnet", "Subscription", "Timespan", "Timestamp", "Watch",
    "connect", "event", "pack", "unpack",
]

# After so many items that were there at once other tasks of the loop get their turn.
ITEMS_IN_A_ROW_MAX = 100

_taken = itertools.count(1)


def connect(*addresses: str, subscribe: _connection.Topics = (), timeout: Timeout = 10.0, wait: bool = True,
            retry: Timeout = 1.0, on_connect: Optional[Callable[[EndpointInfo], object]] = None,
            on_disconnect: Optional[Callable[[EndpointInfo], object]] = None, close_timeout: Timeout = 5.0,
            configuration: Optional[Configuration] = None,
            endpoint: Optional[broker.Endpoint] = None) -> Connecting:
    """Connects to all addresses: `async with connect(...) as b`, or `b = await connect(...)`.

    Addresses are `zeek://host:port` or `host:port` for Broker's own protocol, `ws://` and `wss://` for
    WebSocket servers, `zmq://` for Zeek clusters that use ZeroMQ. `subscribe` has the topics whose
    messages iterating over the connection gives.

    Waits until there is a peering with each of them. Raises ConnectError, which is a TimeoutError and a
    ConnectionError, with the reasons and with what `broker doctor` finds there, when one is missing after
    `timeout`; with `wait=False` it returns at once. Peerings that are lost, or not there yet, are tried
    again every `retry` seconds on average, each time a little sooner or later, so that many programs do
    not come back at the same time.
    `on_connect` and `on_disconnect` are functions, or coroutine functions, that are called with the
    EndpointInfo of a peer. `close_timeout` is how long leaving waits for what was published.
    `configuration` has the settings for TLS; with `endpoint` an endpoint of the program is used, and
    stays when the connection is left.

    >>> async def main():
    ...     async with connect(address, subscribe=["/topic/test"]) as b:
    ...         reply = await b.request("/topic/test", Event("ping", 1), reply="pong")
    ...         return reply.args()
    >>> asyncio.run(main())
    [1]
    """
    return Connecting(lambda waiter: Connection(waiter, addresses, subscribe, retry, on_connect,
                                                 on_disconnect, close_timeout, configuration, endpoint),
                      timeout, wait)


class Connecting:
    """What `connect` returns: it is awaited, or entered with `async with`."""

    def __init__(self, make: Callable[[_waiter.Waiter], Connection], timeout: Timeout, wait: bool) -> None:
        self._make, self._timeout, self._wait = make, timeout, wait
        self._connection: Optional[Connection] = None

    async def _open(self) -> Connection:
        connection = self._make(_waiter.running())
        await connection._opened(self._timeout, self._wait)
        return connection

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._open()
        return self._connection

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        assert self._connection is not None, "entered before it is left"
        await self._connection.__aexit__(kind, error, traceback)


async def next_item(source: Any) -> Any:
    """Waits for what `source.recv` returns; ends the iteration once the source is closed."""
    if next(_taken) % ITEMS_IN_A_ROW_MAX == 0:
        await asyncio.sleep(0)
    try:
        while (item := source.recv(0)) is None:
            await _readable(source)
    except ClosedError:
        raise StopAsyncIteration from None
    return item


async def _readable(source: Any) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        # One for this wait alone: another task may wait, too, the program may watch the source's
        # own descriptor, and `reset` closes that.
        descriptor = os.dup(source.fd())
    except OSError as error:
        if error.errno == errno.EBADF:
            return  # Another thread reset the source meanwhile; the next `recv` says so.
        raise
    try:
        reader = _LoopReader(loop, descriptor, lambda: _finish(ready))
        try:
            await ready
        finally:
            reader.close()
    finally:
        os.close(descriptor)


def _finish(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Completions:
    """What one event loop waits for, behind one descriptor: answers of stores, peerings, publishes
    that wait for room, subscribers that are watched.

    Made, used and closed in the thread of the loop, which is the running one. It costs one descriptor
    and one reader of the loop, however much is waited for; results that come together wake the loop
    once. A task that is cancelled gives up its wait and leaves nothing behind; what it asked for may
    happen all the same. Closing cancels the waits that are left.

    >>> async def main():
    ...     with broker.Endpoint() as endpoint, Completions() as completions:
    ...         store = endpoint.attach_master("hosts")
    ...         await completions.put(store, "a", 1)
    ...         return await completions.get(store, "a")
    >>> asyncio.run(main())
    1
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue = CompletionQueue()
        self._waiting: Dict[int, asyncio.Future[Any]] = {}
        self._watches: Dict[int, Watch] = {}
        # The descriptor is the queue's, which lives until this is closed.
        self._descriptor: Optional[int] = self._queue.fd()
        self._reader = _LoopReader(self._loop, self._descriptor, self._drain)

    async def publish(self, endpoint: Any, topic: Any, value: Any) -> None:
        """Publishes a message, waiting while a peer that takes messages has no room for more."""
        await self._result(self._open().publish(endpoint, topic, value))

    async def peer(
        self, endpoint: Any, addr: Any, port: Any = None, retry: Any = 10.0, *, jitter: Any = False
    ) -> None:
        """Peers, with arguments as for `Endpoint.peer`. Raises BrokerError with the reason when that
        fails; with retries it waits until somebody listens. What is published from then on arrives.
        """
        await self._result(self._open().peer(endpoint, addr, port, retry, jitter=jitter))

    async def get(self, store: Any, key: Any, default: Any = None) -> Any:
        """The value of a key; `default` when it is absent, or None is stored. Sees every request that
        was made before. Raises StoreError when it cannot be read.
        """
        value = await self._result(self._open().get(store, key))
        return default if value is None else value

    async def put(self, store: Any, key: Any, value: Any, expiry: Any = None) -> None:
        """Sets a key, waiting while the store has no room for more requests. Raises StoreError when
        the request is not made.
        """
        await self._result(self._open().put(store, key, value, expiry))

    async def put_unique(self, store: Any, key: Any, value: Any, expiry: Any = None) -> bool:
        """Sets a key that is absent; returns whether it was. Raises StoreError when the store refuses.
        Without an answer it waits on: `asyncio.wait_for` limits that.
        """
        return bool(await self._result(self._open().put_unique(store, key, value, expiry)))

    def watch(self, source: Union[Subscriber, StatusSubscriber, StoreEvents, DurableSubscriber,
                                  StreamReader]) -> Watch:
        """Watches a subscriber until the Watch is closed."""
        number = self._open().watch(source)
        watch = self._watches[number] = Watch(self, number)
        return watch

    def close(self) -> None:
        """Cancels what is waited for and gives the descriptor up. May be called again."""
        if self._descriptor is None:
            return
        self._reader.close()
        self._descriptor = None
        for number in [*self._waiting, *self._watches]:
            self._queue.cancel(number)
        for future in [*self._waiting.values()]:
            future.cancel()
        for watch in [*self._watches.values()]:
            watch.close()
        self._waiting.clear()

    def __len__(self) -> int:
        """The number of waits and watches."""
        return len(self._waiting) + len(self._watches)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Completions:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _open(self) -> CompletionQueue:
        if self._descriptor is None:
            raise RuntimeError("these completions are closed: make others in the running loop")
        return self._queue

    async def _result(self, begun: Tuple[Optional[int], Any]) -> Any:
        number, result = begun
        if number is None:
            return result
        future = self._waiting[number] = self._loop.create_future()
        try:
            return await future
        finally:
            # Still there when the task was cancelled.
            if self._waiting.pop(number, None) is not None:
                self._queue.cancel(number)

    def _drain(self) -> None:
        for number, result, error in self._queue.drain():
            watch = self._watches.get(number)
            if watch is not None:
                watch._wake()
                continue
            future = self._waiting.pop(number, None)
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class Watch:
    """A subscriber that an event loop watches; made by `Completions.watch`.

    Several tasks may wait at once: all are told, and each takes what is there without waiting.
    """

    def __init__(self, completions: Completions, number: int) -> None:
        self._completions = completions
        self._number = number
        self._tasks: Set[asyncio.Future[None]] = set()
        self._is_open = True

    async def readable(self) -> None:
        """Waits until there is something to take, or nothing will come any more. Another task may be
        faster: take with a timeout of 0, and wait again when nothing is there.
        """
        if not self._is_open:
            raise RuntimeError("this watch is closed")
        completions = self._completions
        if completions._queue.resume(self._number):
            return
        future: asyncio.Future[None] = completions._loop.create_future()
        self._tasks.add(future)
        try:
            await future
        finally:
            self._tasks.discard(future)

    def close(self) -> None:
        """Ends the watch and cancels those that wait for it. May be called again."""
        if not self._is_open:
            return
        self._is_open = False
        self._completions._watches.pop(self._number, None)
        self._completions._queue.cancel(self._number)
        for future in [*self._tasks]:
            future.cancel()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _wake(self) -> None:
        for future in [*self._tasks]:
            _finish(future)
