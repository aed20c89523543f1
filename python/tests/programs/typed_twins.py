"""A program that type checkers look at: what `broker.aio` and `broker.sync` give has the right types."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, Dict, List, Optional

from typing_extensions import assert_type

import broker.sync
import broker.testing
from broker import aio, zeek


@aio.event("login")
@dataclasses.dataclass
class Login:
    user: str


async def asynchronous() -> None:
    async with aio.connect("localhost:9999", subscribe=["/t"], timeout=datetime.timedelta(seconds=1)) as b:
        assert_type(b, aio.Connection)
        async for message in b:
            assert_type(message, aio.Message)
            assert_type(message.topic, str)
            assert_type(message.time, Optional[datetime.datetime])
            assert_type(message.peer, Optional[str])
        async for login in b.events(Login):
            assert_type(login, Login)
        async for event in b.events("login", "logout"):
            assert_type(event, zeek.Event)
        assert_type(await b.request("/t", Login("one"), reply=Login), Login)
        assert_type(await b.request("/t", Login("one"), reply="pong"), zeek.Event)
        async with b.subscribe("/t", buffer=10, overflow="drop_oldest") as messages:
            assert_type(await messages.receive(timeout=1), aio.Message)
        hosts = await b.store("hosts")
        assert_type(await hosts.get("k"), Any)
        async for change in hosts.changes():
            assert_type(change, aio.StoreEvent)
        async for record in b.logs("conn"):
            assert_type(record, aio.LogRecord)
        assert_type(await b.drain(timeout=5), Dict[str, int])
    assert_type(await aio.connect("localhost:9999"), aio.Connection)


def blocking() -> None:
    with broker.sync.connect("localhost:9999", subscribe=["/t"]) as b:
        assert_type(b, broker.sync.Connection)
        for message in b:
            assert_type(message, aio.Message)
        for login in b.events(Login):
            assert_type(login, Login)
        assert_type(b.request("/t", Login("one"), reply=Login), Login)
        assert_type(b.request("/t", Login("one"), reply="pong"), zeek.Event)
        with b.subscribe("/t") as messages:
            assert_type(messages.receive(timeout=1), aio.Message)
        assert_type(b.store("hosts").count(), int)
        for record in b.logs("conn"):
            assert_type(record, aio.LogRecord)
        assert_type(b.peers(), List[aio.PeerInfo])


def test_a_program(fake_zeek: broker.testing.FakeZeek) -> None:
    fake_zeek.on("ping", lambda event: aio.Event("pong", *event.args()))
    assert_type(fake_zeek.wait_for("ping"), List[zeek.Event])
