"""Replies: events that answer requests, each for the request that has waited longest."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from .._broker import Message
from .deadline import Timeout, deadline_of, expired
from .events import described, matcher
from .stream import Stream


class _Request:
    __slots__ = ("match", "reply", "error")

    def __init__(self, match: Callable[[Message], Any]) -> None:
        self.match = match
        self.reply: Any = None
        # What the program's own function raised; it is not for the task that hands out.
        self.error: Optional[Exception] = None

    @property
    def is_over(self) -> bool:
        return self.reply is not None or self.error is not None


class _Line:
    """The requests whose replies come under one topic, and what receives them."""

    def __init__(self, messages: Stream[Message]) -> None:
        self.messages = messages
        # Bound: one per task or thread that waits.
        self.requests: List[_Request] = []

    def hand_out(self) -> None:
        """Gives each message that is there to the first request that it answers."""
        messages = self.messages
        with messages._completions.waiter.lock:
            items = messages._items
            while items:
                self._hand_over(items.popleft())
            # Whichever request comes first hands out for all.
            messages._wake()

    def _hand_over(self, message: Message) -> None:
        for request in self.requests:
            if request.is_over:
                continue
            try:
                request.reply = request.match(message)
            except Exception as error:
                request.error = error
            if request.reply is not None:
                return


class Replies:
    """The requests of one connection. While none waits nothing is subscribed to."""

    def __init__(self, subscribe: Callable[[str], Stream[Message]]) -> None:
        self._subscribe = subscribe
        # Bound: one per request that waits.
        self._lines: Dict[str, _Line] = {}

    async def ask(self, topic: str, reply: Any, publish: Callable[[], Any], timeout: Timeout,
                  where: Optional[Callable[[Any], bool]]) -> Any:
        """Publishes, and waits for the reply under a topic. Raises TimeoutError when none comes."""
        deadline = deadline_of(timeout)
        find = matcher((reply,))

        def match(message: Message) -> Any:
            found = find(message)
            return found if found is None or where is None or where(found) else None

        line = self._lines.get(topic)
        if line is None:
            # Subscribed before it is asked: what is published then reaches peers behind the filter.
            line = self._lines[topic] = _Line(self._subscribe(topic))
        request = _Request(match)
        line.requests.append(request)
        try:
            await publish()
            while True:
                line.hand_out()
                if request.error is not None:
                    raise request.error
                if request.reply is not None:
                    return request.reply
                if not await line.messages._fill(deadline, lambda: request.is_over):
                    raise expired("no `%s` came as a reply on %s" % (described(reply), topic), timeout)
        finally:
            line.requests.remove(request)
            if not line.requests and self._lines.get(topic) is line:
                del self._lines[topic]
                line.messages.close()
