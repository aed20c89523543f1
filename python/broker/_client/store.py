"""Data stores: keys and values that a master keeps and clones follow."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Dict, Optional, Set, Type, TypeVar

from .. import _broker
from .._broker import StoreEvent
from .completions import Completions
from .deadline import Timeout, expired, seconds
from .stream import Stream, polled

_S = TypeVar("_S", bound="Store")


class Store:
    """A data store, master or clone; made by `Connection.store` and `Connection.master`.

    Keys and values are whatever can be published. Requests of a clone go to the master; reads see them
    once they come back, which `idle` waits for. What the master refuses makes an Error among
    `Connection.status`. `expires_in` is in seconds or a timedelta, None: for ever.
    """

    def __init__(self, completions: Completions, store: _broker.Store) -> None:
        self._completions = completions
        self._store = store

    @property
    def name(self) -> str:
        """The name of the store.

        >>> hosts.name
        'hosts'
        """
        return self._store.name()

    async def _read(self, timeout: Timeout, *arguments: Any) -> Any:
        completions = self._completions
        return await completions.run("the store did not answer", timeout, completions.queue.read,
                                     self._store, *arguments)

    async def _change(self, timeout: Timeout, *arguments: Any) -> None:
        completions = self._completions
        await completions.run("the store had no room for the request", timeout, completions.queue.change,
                              self._store, *arguments)

    async def get(self, key: Any, default: Any = None, *, timeout: Timeout = None) -> Any:
        """The value of a key; `default` when it is absent or None. Raises StoreError when it cannot be read.

        >>> await hosts.get("printer")
        '10.0.0.1'
        >>> await hosts.get("absent", "unknown")
        'unknown'
        """
        completions = self._completions
        value = await completions.run("the store did not answer", timeout, completions.queue.get,
                                      self._store, key)
        return default if value is None else value

    async def put(self, key: Any, value: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Sets a key.

        >>> await mine.put("scanner", "10.0.0.2", expires_in=3600)
        """
        await self._change(timeout, "put", key, value, None, expires_in)

    async def put_unique(self, key: Any, value: Any, *, expires_in: Timeout = None,
                         timeout: Timeout = 10.0) -> bool:
        """Sets a key that is absent; returns whether it was.

        >>> await hosts.put_unique("printer", "10.0.0.9")
        False
        """
        completions = self._completions
        answer = await completions.run("the master did not answer", timeout, completions.queue.put_unique,
                                       self._store, key, value, expires_in)
        return bool(answer)

    async def erase(self, key: Any, *, timeout: Timeout = None) -> None:
        """Removes a key.

        >>> await mine.erase("scanner")
        """
        await self._change(timeout, "erase", key)

    async def clear(self, *, timeout: Timeout = None) -> None:
        """Removes everything.

        >>> await mine.clear()
        >>> await mine.count()
        0
        """
        await self._change(timeout, "clear", None)

    async def increment(self, key: Any, amount: Any = 1, *, expires_in: Timeout = None,
                        timeout: Timeout = None) -> None:
        """Adds to a number, or a timedelta to a time. An absent key starts from zero.

        >>> await mine.increment("seen", 2)
        >>> await mine.get("seen")
        2
        """
        await self._change(timeout, "increment", key, amount, None, expires_in)

    async def decrement(self, key: Any, amount: Any = 1, *, expires_in: Timeout = None,
                        timeout: Timeout = None) -> None:
        """Takes away from a number, or a timedelta from a time. An absent key stays absent.

        >>> await mine.put("left", 2)
        >>> await mine.decrement("left")
        >>> await mine.get("left")
        1
        """
        await self._change(timeout, "decrement", key, amount, None, expires_in)

    async def append(self, key: Any, text: Any, *, expires_in: Timeout = None,
                     timeout: Timeout = None) -> None:
        """Appends to a str. An absent key starts empty.

        >>> await mine.append("text", "ab")
        >>> await mine.append("text", "c")
        >>> await mine.get("text")
        'abc'
        """
        await self._change(timeout, "append", key, text, None, expires_in)

    async def insert_into(self, key: Any, index: Any, value: Any = None, *, expires_in: Timeout = None,
                          timeout: Timeout = None) -> None:
        """Inserts into a set, or with a value sets an index of a table. An absent key starts empty.

        >>> await mine.insert_into("set", 1)
        >>> await mine.insert_into("table", "k", "v")
        >>> await mine.get("set"), await mine.get("table")
        ({1}, {'k': 'v'})
        """
        await self._change(timeout, "insert_into", key, index, value, expires_in)

    async def remove_from(self, key: Any, index: Any, *, expires_in: Timeout = None,
                          timeout: Timeout = None) -> None:
        """Removes an element of a set or an index of a table.

        >>> await mine.put("ports", {22, 80})
        >>> await mine.remove_from("ports", 80)
        >>> await mine.get("ports")
        {22}
        """
        await self._change(timeout, "remove_from", key, index, None, expires_in)

    async def push(self, key: Any, value: Any, *, expires_in: Timeout = None,
                   timeout: Timeout = None) -> None:
        """Appends to a tuple. An absent key starts empty.

        >>> await mine.push("list", 1)
        >>> await mine.get("list")
        (1,)
        """
        await self._change(timeout, "push", key, value, None, expires_in)

    async def pop(self, key: Any, *, expires_in: Timeout = None, timeout: Timeout = None) -> None:
        """Removes the last element of a tuple.

        >>> await mine.put("stack", (1, 2))
        >>> await mine.pop("stack")
        >>> await mine.get("stack")
        (1,)
        """
        await self._change(timeout, "pop", key, None, None, expires_in)

    async def exists(self, key: Any, *, timeout: Timeout = None) -> bool:
        """Whether a key is there.

        >>> await hosts.exists("printer")
        True
        """
        return bool(await self._read(timeout, "exists", key))

    async def get_index_from_value(self, key: Any, index: Any, *, timeout: Timeout = None) -> Any:
        """What is at an index of a key's value: of a set whether it is there, of a table or tuple what is
        there. None when there is nothing.

        >>> await mine.put("names", {"a": 1})
        >>> await mine.get_index_from_value("names", "a")
        1
        """
        return await self._read(timeout, "get_index_from_value", key, index)

    async def keys(self, *, timeout: Timeout = None) -> Set[Any]:
        """All keys, a new set.

        >>> await hosts.keys()
        {'printer'}
        """
        keys: Set[Any] = await self._read(timeout, "keys")
        return keys

    async def snapshot(self, *, timeout: Timeout = None) -> Dict[Any, Any]:
        """All entries at one moment, a new dict.

        >>> await hosts.snapshot()
        {'printer': '10.0.0.1'}
        """
        entries: Dict[Any, Any] = await self._read(timeout, "snapshot")
        return entries

    async def count(self, *, timeout: Timeout = None) -> int:
        """The number of entries.

        >>> await hosts.count()
        1
        """
        return int(await self._read(timeout, "count"))

    async def idle(self, timeout: Timeout = 15.0) -> None:
        """Waits until master and clones have everything of each other. Raises TimeoutError otherwise.

        >>> await hosts.idle(timeout=60)
        """
        completions = self._completions
        limit = seconds(timeout)
        is_idle = await completions.run("", None, completions.queue.idle, self._store,
                                        float("inf") if limit is None else limit)
        if not is_idle:
            raise expired("store `%s` and its master did not reach each other" % self.name, timeout)

    def changes(self) -> Stream[StoreEvent]:
        """The changes of this store from now on: a stream of StoreEvent.

        >>> async with mine.changes() as changes:
        ...     await mine.put("new", 1)
        ...     async for change in changes:
        ...         print(change.kind, change.key, change.value)
        ...         break
        insert new 1
        """
        events = self._store.events()
        return Stream(self._completions, events, polled(events))

    def close(self) -> None:
        """Gives the handle up; the store stays as long as the connection.

        >>> handle = await b.store("hosts")
        >>> handle.close()
        """
        self._store.reset()

    async def __aenter__(self: _S) -> _S:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        self.close()
