"""Events among messages: by their name, or as instances of a program's classes."""

from __future__ import annotations

import logging
from typing import Any, Callable, Generic, Optional, Tuple, TypeVar, Union

from .. import zeek
from .._broker import Message
from ..zeek.types import MismatchError, event_name, pack, unpack
from .deadline import Timeout, deadline_of, expired, left_until
from .stream import Stream

E = TypeVar("E")
_A = TypeVar("_A", bound="Events[Any]")

_log = logging.getLogger("broker.zeek")

# A name, or a class made with `event`.
Kind = Union[str, type]


def packed(value: Any) -> Any:
    """What is published: an instance of a class made with `event` as the event that it stands for."""
    return value if event_name(type(value)) is None else pack(value)


def matcher(kinds: Tuple[Any, ...]) -> Callable[[Message], Any]:
    """What finds the event in a message: an Event or an instance of a class; None where it is another.

    Raises TypeError for what is neither a name nor a class made with `event`.
    """
    classes = {}
    for kind in kinds:
        name = kind if isinstance(kind, str) else event_name(kind)
        if name is None:
            raise TypeError("expected the name of an event or a class made with broker.event, found %r"
                            % (kind,))
        classes[name] = None if isinstance(kind, str) else kind

    def match(message: Message) -> Any:
        event = message.event
        if event is None or not classes:
            return event
        name = event.name()
        if name not in classes:
            return None
        cls = classes[name]
        if cls is None:
            return event
        try:
            return unpack(event, cls)
        except MismatchError as error:
            # What a peer sends must not end a loop over events.
            _log.warning("%s", error)
            return None

    return match


class Events(Generic[E]):
    """The events among the messages of a subscription; made by `events`. Other messages are passed over.

    What `b.events(Login)` gives are instances of `Login`. An event of that name that does not fit the
    class is reported to the log `broker.zeek` and passed over, too.
    """

    def __init__(self, messages: Stream[Message], kinds: Tuple[Any, ...]) -> None:
        self._messages = messages
        self._match = matcher(kinds)

    async def receive(self, timeout: Timeout = None) -> E:
        """Waits for one event. Raises TimeoutError when none comes in time, ClosedError at the end.

        >>> fake.publish("/topic/test", Event("hello", 1))
        >>> event = await b.events("hello").receive(timeout=60)
        >>> event.args()
        [1]
        """
        deadline = deadline_of(timeout)
        while True:
            left = None if deadline is None else left_until(deadline)
            try:
                event: Optional[E] = self._match(await self._messages.receive(left))
            except TimeoutError:
                raise expired("no such event was received", timeout) from None
            if event is not None:
                return event

    def __aiter__(self: _A) -> _A:
        return self

    async def __anext__(self) -> E:
        while True:
            event: Optional[E] = self._match(await self._messages.__anext__())
            if event is not None:
                return event


def described(kind: Any) -> str:
    """The name of an event, for errors."""
    return kind if isinstance(kind, str) else str(event_name(kind) or kind)


Event = zeek.Event
