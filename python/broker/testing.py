"""Test programs without Zeek: a pytest fixture `fake_zeek` that records what arrives and answers.

    def test_a_ping_is_answered(fake_zeek):
        fake_zeek.on("pong", lambda event: None)
        with broker.connect(fake_zeek.address, subscribe=["/topic/test"]) as b:
            fake_zeek.publish("/topic/test", broker.Event("ping", 1))
            ...
        assert fake_zeek.events("pong")[0].args() == [1]

The fixture is there as soon as the package is installed: pytest finds it by its entry point. Without
pytest, `FakeZeek()` is a context manager.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Type, Union

if TYPE_CHECKING:
    import broker as _root

    from . import sync as _sync
    from ._broker import Message
    from .zeek import Event

    _Reply = Union[None, Event, List[Event], Callable[[Event], Any]]

__all__ = ["FakeZeek", "settle"]

# How long `settle` waits; only a fault takes longer.
SETTLE_TIMEOUT_S = 30.0
# How often programs are looked for that come by WebSocket.
LOOK_S = 0.01


class FakeZeek:
    """An endpoint in Zeek's place. It listens on a free port of this machine: `address`.

    What arrives is in `received`, in order. `on` has it answer events, `play` publishes a recording or
    what a test has written down, `settle` waits until everything that is on its way has arrived.

    >>> with FakeZeek() as zeek:
    ...     zeek.on("ping", lambda event: Event("pong", *event.args()))
    ...     with connect(zeek.address) as b:
    ...         print(b.request("/topic/test", Event("ping", 1), reply="pong").args())
    ...     print([event.name() for event in zeek.events()])
    [1]
    ['ping']
    """

    def __init__(self, topics: Iterable[str] = ("",)) -> None:
        import broker

        from . import sync

        self._endpoint = broker.Endpoint()
        self._connection: _sync.Connection = sync.connect(endpoint=self._endpoint, subscribe=topics)
        port = self._endpoint.open_listener("127.0.0.1", 0)
        self._web_socket_port: Optional[int] = None
        self.address = "zeek://127.0.0.1:%d" % port
        # What arrived. Bound: what the program under test sends.
        self.received: List[Message] = []
        # What went wrong in a function given to `on`; `close` raises the first of them.
        self.errors: List[Exception] = []
        self._replies: Dict[str, _Reply] = {}
        self._handled = 0
        self._is_busy = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="fake-zeek", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> _root.Endpoint:
        """The endpoint, for stores and whatever else a test needs."""
        return self._endpoint

    @property
    def web_socket_address(self) -> str:
        """The address for programs that come by WebSocket; it begins to listen when it is asked for."""
        if self._web_socket_port is None:
            self._web_socket_port = self._endpoint.listen_ws("127.0.0.1", 0, tls=False)
        return "ws://127.0.0.1:%d" % self._web_socket_port

    def on(self, name: str, reply: _Reply) -> None:
        """Answers each event of that name under its topic: with an event, several, or what a function
        that is called with it returns.
        """
        self._replies[name] = reply

    def publish(self, topic: str, value: Any, *, timeout: float = SETTLE_TIMEOUT_S) -> None:
        """Publishes a value, an Event or an instance of a class made with `broker.zeek.event`, once a
        program subscribes to the topic. Raises TimeoutError when none does.
        """
        from ._client.events import packed

        value, deadline = packed(value), time.monotonic() + timeout
        # Programs that come by WebSocket are no peers, which is what an endpoint can wait for.
        while self._web_socket_port is not None and time.monotonic() < deadline:
            if self._is_wanted_by_client(topic):
                self._endpoint.publish(topic, value)
                return
            try:
                self._endpoint.publish(topic, value, wait_for_subscriber=LOOK_S)
                return
            except TimeoutError:
                pass
        self._endpoint.publish(topic, value, wait_for_subscriber=max(LOOK_S, deadline - time.monotonic()))

    def _is_wanted_by_client(self, topic: str) -> bool:
        consumers = self._endpoint.stats()["subscribers"]
        return any(topic.startswith(prefix) for consumer in consumers if consumer["kind"] == "client"
                   for prefix in consumer["topics"])

    def play(self, recording: Union[str, os.PathLike[str], Iterable[Tuple[str, Any]]]) -> int:
        """Publishes (topic, value) pairs, or the messages of a file that an endpoint recorded, one after
        the other, as `publish` does. Returns how many.
        """
        from ._broker import read_recording

        pairs = read_recording(recording) if isinstance(recording, (str, os.PathLike)) else recording
        count = 0
        for topic, value in pairs:
            self.publish(topic, value)
            count += 1
        return count

    def events(self, name: Optional[str] = None) -> List[Event]:
        """The events that arrived so far, all or those of a name."""
        events = (message.event for message in [*self.received])
        return [event for event in events if event is not None and name in (None, event.name())]

    def wait_for(self, name: str, count: int = 1, *, timeout: float = SETTLE_TIMEOUT_S) -> List[Event]:
        """Waits until so many events of a name have arrived, and returns them. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := self.events(name)) < count:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    if len(found := self.events(name)) >= count:
                        break
                    raise TimeoutError("%d of %d events `%s` came within %g s; what came: %r"
                                       % (len(found), count, name, timeout, self.received[-5:]))
            return found

    def settle(self, *others: Any, timeout: float = SETTLE_TIMEOUT_S) -> None:
        """Waits until everything that is on its way between this endpoint, its peers and `others` (of
        `connect`, or endpoints) has arrived and was answered. Raises TimeoutError.
        """
        settle(self, *others, timeout=timeout)

    def close(self) -> None:
        """Says goodbye to its peers. Raises what a function given to `on` raised. May be called again."""
        self._connection.close()
        self._endpoint.shutdown()
        self._thread.join()
        if self.errors:
            raise self.errors.pop(0)

    def __enter__(self) -> FakeZeek:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def _serve(self) -> None:
        from ._broker import ClosedError
        from ._client.blocking import run

        messages = self._connection._messages._core
        while True:
            try:
                run(messages._fill(None))
            except ClosedError:
                return
            while messages._items:
                with self._changed:
                    message = messages._items.popleft()
                    self._is_busy = True
                try:
                    self._answer(message)
                except Exception as error:
                    self.errors.append(error)
                with self._changed:
                    self._handled += 1
                    self._is_busy = False
                    self._changed.notify_all()

    def _answer(self, message: Message) -> None:
        if message.topic.startswith("<$>"):
            return  # What the endpoint tells itself.
        self.received.append(message)
        event = message.event
        if event is None:
            return
        reply = self._replies.get(event.name())
        if callable(reply):
            reply = reply(event)
        if reply is None:
            return
        for answer in reply if isinstance(reply, (list, tuple)) else [reply]:
            self._connection.publish(message.topic, answer)

    def _is_idle(self) -> bool:
        messages = self._connection._messages._core
        with messages._completions.waiter.lock:
            return not (self._is_busy or messages._items or messages._source.available())


def settle(*parties: Any, timeout: float = SETTLE_TIMEOUT_S) -> None:
    """Waits until nothing is on its way between endpoints: `FakeZeek`, what `connect` returned, endpoints.

    What was published before has arrived then, a `FakeZeek` has answered it, and the answers have arrived.
    What the program under test does with them on an event loop is another matter: there, call it in a
    thread (`await asyncio.to_thread(settle, b)`). Raises TimeoutError.

    >>> with FakeZeek() as zeek, connect(zeek.address) as b:
    ...     b.publish("/topic/test", Event("ping", 1))
    ...     settle(b, zeek)
    ...     print(len(zeek.received))
    1
    """
    from . import sync

    deadline = time.monotonic() + timeout
    fakes = [party for party in parties if isinstance(party, FakeZeek)]
    connections = [sync.connect(endpoint=getattr(party, "endpoint", party)) for party in parties]
    try:
        while True:
            handled = [fake._handled for fake in fakes]
            for connection in connections:
                late = connection.drain(max(0.0, deadline - time.monotonic()))
                if late:
                    raise TimeoutError("not delivered within %g s: %r" % (timeout, late))
            for fake in fakes:
                with fake._changed:
                    while not fake._is_idle():
                        if time.monotonic() > deadline:
                            raise TimeoutError("a function given to `on` takes longer than %g s" % timeout)
                        fake._changed.wait(0.01)
            # Answers may have been answered: only a round in which nothing came is the last.
            if handled == [fake._handled for fake in fakes]:
                return
    finally:
        for connection in connections:
            connection.close()


try:
    import pytest
except ImportError:
    pass
else:
    @pytest.fixture
    def fake_zeek() -> Iterator[FakeZeek]:
        """An endpoint in Zeek's place; see `broker.testing.FakeZeek`."""
        with FakeZeek() as fake:
            yield fake
