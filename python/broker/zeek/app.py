"""Programs that answer events: a function per event, called with typed arguments."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any, Callable, Iterable, NamedTuple, TypeVar

from .. import _broker
from . import calls
from .types import (MismatchError, Parameters, event_name, pack, prepare, printable, unpack)

_F = TypeVar("_F", bound=Callable[..., Any])

_log = logging.getLogger("broker.zeek")


class _Handler(NamedTuple):
    call: Callable[..., Any]
    is_async: bool
    reply_topic: Any
    # One of the two: a class for the whole event, or the parameters of the function.
    cls: Any
    parameters: Parameters | None


class App:
    """Calls functions for received events and publishes what they return. Made of an endpoint, or of a
    connection of `broker.aio` or `broker.sync`.

        app = broker.zeek.App(endpoint, "/topic/test")

        @app.on("ping")
        def ping(text: str, n: broker.Count):
            return broker.zeek.Event("pong", text, n)

        app.run()

    A handler's annotations say which types its arguments must have; what does not fit is reported
    and not called. Parameters without annotation take anything. Keyword-only parameters named
    `event` and `topic` get the event itself and the topic it came with. Handlers may be `async`.

    What a handler returns is published: an event, an instance of a class made with
    `broker.zeek.event`, or a list of them. It goes to `reply_topic`, or else to the topic that the
    event came with.

    A handler that raises, and an event that does not fit, end nothing, and neither does anything
    else that a peer can send: `on_error` is called with the name of the event or handler and the
    exception. It logs to `broker.zeek` unless it is replaced.
    """

    def __init__(self, endpoint: Any, topics: Any, *, reply_topic: Any = None) -> None:
        # A connection of `broker.aio` or `broker.sync` has one.
        endpoint = getattr(endpoint, "endpoint", endpoint)
        self._endpoint = endpoint
        self._subscriber = endpoint.make_safe_subscriber(topics)
        self._reply_topic = reply_topic
        self._handlers: dict[str, list[_Handler]] = {}
        self._stopped = False
        # Ends the wait of `serve`, while it runs.
        self._wake: Callable[[], None] | None = None
        self.on_error: Callable[[str, Exception], object] = self._report

    def on(self, event: Any, *, reply_topic: Any = None) -> Callable[[_F], _F]:
        """Registers a handler for an event: a name, or a class made with `broker.zeek.event`.

        With a class the handler gets one argument, an instance. Several handlers of one event are
        called in the order of their registration. Raises TypeError for annotations that nothing
        could ever fit.
        """
        cls = None if isinstance(event, str) else event
        name = event if cls is None else event_name(cls)
        if name is None:
            raise TypeError("expected the name of an event or a class made with broker.zeek.event,"
                            " found %r" % (event,))
        if cls is not None:
            prepare(cls)

        def register(function: _F) -> _F:
            parameters = Parameters(function) if cls is None else None
            handler = _Handler(function, inspect.iscoroutinefunction(function), reply_topic, cls,
                               parameters)
            self._handlers.setdefault(name, []).append(handler)
            return function

        return register

    def run(self) -> None:
        """Handles events until the endpoint is shut down or `stop` is called.

        Ctrl-C raises KeyboardInterrupt as usual.
        """
        if any(handler.is_async for handlers in self._handlers.values() for handler in handlers):
            asyncio.run(self.serve())
            return
        try:
            for topic, value in self._subscriber:
                for handler, arguments, extras in self._calls(topic, value):
                    self._call(topic, handler, arguments, extras)
        except _broker.ClosedError:
            if not self._stopped:
                raise

    async def serve(self) -> None:
        """Handles events in the running task of asyncio or trio, until the endpoint is shut down, `stop`
        is called or the task is cancelled.

        Events are taken in their order; asynchronous handlers run concurrently.
        """
        try:
            async with calls.running() as beside:
                try:
                    await self._serve(beside)
                except _broker.ClosedError:
                    pass
        finally:
            self._wake = None
            if self._stopped:
                self._subscriber.reset()

    async def _serve(self, beside: calls.OnAsyncio | calls.OnTrio) -> None:
        descriptor = self._subscriber.fd()
        self._wake = beside.wake
        while not self._stopped:
            # Looked at only while waiting: the descriptor stays readable until all is taken.
            await beside.readable(descriptor)
            if self._stopped:
                break
            messages = self._subscriber.poll() or [self._subscriber.recv(0)]
            for topic, value in filter(None, messages):
                if self._stopped:
                    break
                for handler, arguments, extras in self._calls(topic, value):
                    if not handler.is_async:
                        self._call(topic, handler, arguments, extras)
                        continue
                    await beside.begin(self._await, topic, handler, arguments, extras)
                    if self._stopped:
                        break
                # Others on the loop get their turn in a long run of messages.
                await beside.turn()

    def stop(self) -> None:
        """Ends `run` or `serve`, from any thread. Events that were not handled yet are dropped."""
        self._stopped = True
        wake = self._wake
        if wake is None:
            self._subscriber.reset()
        else:
            # The loop watches the subscriber's descriptor, which must not go away under it.
            wake()

    def emit(self, topic: Any, event: Any) -> None:
        """Publishes an event, or an instance of a class made with `broker.zeek.event`."""
        self._publish(topic, event)

    def _calls(self, topic: str, value: Any) -> Iterable[tuple[_Handler, list[Any], dict[str, Any]]]:
        """The handlers of a message with the arguments to call them with."""
        from . import SafeEvent

        # What a peer sent can fail wherever it is looked at, and must not end the program.
        name = "event"
        try:
            event = SafeEvent(value)
            if not event.valid():
                return
            name = event.name()
        except Exception as error:
            self.on_error(name, error)
            return
        for handler in self._handlers.get(name, ()):
            try:
                if handler.parameters is None:
                    arguments, extras = [unpack(event, handler.cls)], {}
                else:
                    arguments = handler.parameters.read(name, event._typed_args())
                    known = {"event": event, "topic": topic}
                    extras = {extra: known[extra] for extra in handler.parameters.extras}
            except Exception as error:
                self.on_error(name, error)
            else:
                yield handler, arguments, extras

    def _call(self, topic: str, handler: _Handler, arguments: list[Any], extras: dict[str, Any]) -> None:
        try:
            self._reply(topic, handler, handler.call(*arguments, **extras))
        except Exception as error:
            self.on_error(getattr(handler.call, "__name__", "handler"), error)

    async def _await(self, topic: str, handler: _Handler, arguments: list[Any],
                     extras: dict[str, Any]) -> None:
        try:
            self._reply(topic, handler, await handler.call(*arguments, **extras))
        except Exception as error:
            self.on_error(getattr(handler.call, "__name__", "handler"), error)

    def _reply(self, topic: str, handler: _Handler, result: Any) -> None:
        if result is None:
            return
        target = next((choice for choice in (handler.reply_topic, self._reply_topic)
                       if choice is not None), topic)
        several = isinstance(result, (list, tuple)) and event_name(type(result)) is None
        for event in result if several else (result,):
            self._publish(target, event)

    def _publish(self, topic: Any, event: Any) -> None:
        if event_name(type(event)) is not None:
            event = pack(event)
        elif not isinstance(event, _broker.zeek.Event):
            raise TypeError("expected an event or an instance of a class made with"
                            " broker.zeek.event, found %r" % (event,))
        self._endpoint.publish(topic, event)

    def _report(self, name: str, error: Exception) -> None:
        if isinstance(error, MismatchError):
            _log.warning("%s", error)
        else:
            _log.error("%s: %s: %s", printable(name), type(error).__name__, printable(str(error)),
                       exc_info=error)
