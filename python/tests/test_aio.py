"""`broker.aio` on every kind of loop: asyncio, uvloop, a loop without readers, trio."""

import ast
import asyncio
import dataclasses
import datetime
import doctest
import importlib
import inspect
import struct
import threading

import pytest

import broker
import broker.sync
import broker.testing
from broker import aio
from deadline import DEADLINE_S, wait_until
from ports import reserved_port
from scene import listen
from test_cancellation import LoopWithoutReaders

KINDS = ["asyncio", "without readers", "uvloop", "trio"]


def run(kind, main, *arguments):
    """Runs a coroutine function with a library."""
    if kind == "trio":
        return pytest.importorskip("trio").run(main, *arguments)
    if kind == "uvloop":
        loop = pytest.importorskip("uvloop").new_event_loop()
    else:
        loop = LoopWithoutReaders() if kind == "without readers" else asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(main(*arguments), DEADLINE_S))
    finally:
        loop.close()


@pytest.fixture
def fake():
    with broker.testing.FakeZeek() as fake:
        fake.on("ping", lambda event: aio.Event("pong", *event.args()))
        yield fake


@pytest.mark.parametrize("kind", KINDS)
def test_everything_works_on_every_kind_of_loop(kind, fake):
    fake.endpoint.attach_master("hosts")
    connected = []

    async def on_connect(peer):
        connected.append(peer.node_id())

    async def main():
        async with aio.connect(fake.address, subscribe=["/t"], on_connect=on_connect) as b:
            reply = await b.request("/ping", aio.Event("ping", 1), reply="pong", timeout=DEADLINE_S)
            assert reply.args() == [1]
            hosts = await b.store("hosts", timeout=DEADLINE_S)
            await hosts.put("k", 1)
            await hosts.idle(DEADLINE_S)
            assert await hosts.get("k") == 1
            for number in range(1000):
                fake.publish("/t", number)
            received = []
            async for message in b:
                received.append(message.value)
                if len(received) == 1000:
                    break
            assert received == list(range(1000))
            with pytest.raises(TimeoutError, match="nothing was received within 0.01 s"):
                await b.receive(timeout=datetime.timedelta(seconds=0.01))
            assert await b.drain(DEADLINE_S) == {}
            statuses = b.status()
        assert aio.SC.PeerRemoved in [status.code() async for status in statuses]
        with pytest.raises(aio.ClosedError):
            await b.publish("/t", 1)
        with pytest.raises(aio.ConnectError, match="nobody answers there"):
            await aio.connect("127.0.0.1:1", timeout=0.2)

    threads = threading.active_count()
    run(kind, main)
    assert connected == [fake.endpoint.node_id()]
    assert threading.active_count() == threads


def test_a_scope_of_trio_that_is_cancelled_loses_nothing(fake):
    trio = pytest.importorskip("trio")

    async def main():
        async with aio.connect(fake.address, subscribe=["/t"]) as b:
            taken = []

            async def take(scope):
                with scope:
                    async for message in b:
                        taken.append(message.value)

            for number in range(50):
                scope = trio.CancelScope()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take, scope)
                    await trio.lowlevel.checkpoint()
                    fake.publish("/t", number)
                    await trio.lowlevel.checkpoint()
                    scope.cancel()
            while len(taken) < 50:
                taken.append((await b.receive(DEADLINE_S)).value)
            assert taken == list(range(50))

    trio.run(main)


def test_a_connection_of_trio_can_be_left_while_cancelled(fake):
    trio = pytest.importorskip("trio")

    async def main():
        with trio.CancelScope() as scope:
            async with aio.connect(fake.address, subscribe=["/t"]) as b:
                scope.cancel()
                await b.receive()
        with pytest.raises(aio.ClosedError):
            b.peers()

    trio.run(main)


def test_without_a_loop_it_says_what_is_missing():
    async def main():
        await aio.connect("127.0.0.1:1")

    with pytest.raises(RuntimeError, match="broker.sync is for programs without an event loop"):
        main().send(None)


def test_typed_events_are_instances_and_the_others_are_passed_over(fake, caplog):
    @aio.event("login")
    @dataclasses.dataclass
    class Login:
        user: str
        count: aio.Count

    async def main():
        async with aio.connect(fake.address, subscribe=["/t"]) as b:
            await b.publish("/t", Login("one", aio.Count(1)))
            fake.wait_for("login")
            for value in [1, aio.Event("logout", "one"), aio.Event("login", "misfit"),
                          aio.Event("login", "two", aio.Count(2))]:
                fake.publish("/t", value)
            async for login in b.events(Login):
                return login

    login = run("asyncio", main)
    assert (type(login).__name__, login.user, login.count) == ("Login", "two", aio.Count(2))
    assert "argument" in caplog.text
    with pytest.raises(TypeError, match="broker.event"):
        broker.sync.connect(endpoint=fake.endpoint).events(int)


def test_an_app_has_handlers_of_both_kinds(fake):
    async def main():
        async with aio.connect(fake.address) as b:
            app = aio.App(b, "/t")
            handled = []

            @app.on("one")
            def one(number: int):
                handled.append(("one", number))
                return aio.Event("answer", number)

            @app.on("two")
            async def two(number: int):
                await asyncio.sleep(0)
                handled.append(("two", number))
                app.stop()

            serving = asyncio.ensure_future(app.serve())
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, fake.publish, "/t", aio.Event("one", 1))
            await loop.run_in_executor(None, fake.wait_for, "answer")
            fake.publish("/t", aio.Event("two", 2))
            await serving
            assert handled == [("one", 1), ("two", 2)]

    run("asyncio", main)


def test_very_many_subscriptions_need_no_descriptor_each(scene):
    count = 10_000
    endpoint = scene.endpoint(tls=False)
    address = "127.0.0.1:%d" % listen(endpoint)
    options = broker.BrokerOptions()
    options.disable_ssl = True

    async def main():
        async with aio.connect(address, configuration=broker.Configuration(options)) as b:
            subscriptions = [b.subscribe("/t/%d/" % number) for number in range(count)]
            waiting = [asyncio.ensure_future(one.receive(DEADLINE_S)) for one in subscriptions]
            await asyncio.sleep(0)
            assert await b.drain(DEADLINE_S) == {}
            for number in range(count):
                endpoint.publish("/t/%d/" % number, number, wait_for_subscriber=DEADLINE_S)
            messages = await asyncio.gather(*waiting)
            assert [message.value for message in messages] == list(range(count))

    asyncio.run(main())


def test_callbacks_that_fail_end_nothing(fake, caplog):
    def fail(peer):
        raise ValueError("no")

    async def main():
        async with aio.connect(fake.address, subscribe=["/t"], on_connect=fail) as b:
            fake.publish("/t", 1)
            await b.receive(DEADLINE_S)

    run("asyncio", main)
    assert "fail: ValueError: no" in caplog.text


def test_a_lost_peer_comes_back(scene):
    told = []
    first, port = scene.endpoint(), reserved_port()
    assert first.listen("127.0.0.1", port) == port

    async def main():
        async with aio.connect("127.0.0.1:%d" % port, subscribe=["/t"],
                               on_connect=lambda peer: told.append(("connect", peer.node_id())),
                               on_disconnect=lambda peer: told.append(("disconnect", peer.node_id()))) as b:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, first.shutdown)
            second = scene.endpoint()
            # The port is free again once the first has closed it.
            await loop.run_in_executor(None, wait_until, lambda: second.listen("127.0.0.1", port) == port,
                                       "it listens again")
            await loop.run_in_executor(None, second.await_peer, b.endpoint.node_id(), DEADLINE_S)
            second.publish("/t", 1, wait_for_subscriber=DEADLINE_S)
            await b.receive(DEADLINE_S)
            while len(told) < 3:
                await asyncio.sleep(0.001)
            assert told == [("connect", first.node_id()), ("disconnect", first.node_id()),
                            ("connect", second.node_id())]

    run("asyncio", main)


def test_what_a_peer_that_is_stuck_does_not_have_is_told(scene):
    silent = scene.peer("/t")
    address = "127.0.0.1:%d" % silent.listen()

    async def main():
        connecting = asyncio.ensure_future(
            aio.connect(address, timeout=DEADLINE_S, close_timeout=0.05)._open())
        await asyncio.get_running_loop().run_in_executor(None, accept, silent)
        b = await connecting
        await b.publish("/t", 1)
        late = await b.drain(0.05)
        # It is on its way, or waits here.
        assert late in ({address: 0}, {address: 1})
        await b.close()

    asyncio.run(main())


def accept(silent):
    silent.accept()
    silent.shake_hands()


@pytest.mark.parametrize("kind", KINDS)
def test_a_master_is_kept_in_a_file(kind, fake, tmp_path):
    path = str(tmp_path / "seen.sqlite")

    async def main():
        async with aio.connect(fake.address) as b:
            seen = await b.master("seen", path=path, timeout=DEADLINE_S)
            await seen.put("k", 1)
            # Another handle of the same.
            again = await b.master("seen", path=path)
            assert await again.get("k") == 1
            with pytest.raises(aio.StoreError, match="directory|database"):
                await b.master("other", path=str(tmp_path))

    run(kind, main)
    with broker.Endpoint() as endpoint:
        store = endpoint.open_master("seen", broker.Backend.SQLite, {"path": path})
        assert store.get("k") == 1


def test_a_master_can_be_opened_again_after_its_opening_was_cancelled(fake, tmp_path):
    path = str(tmp_path / "seen.sqlite")

    async def main():
        async with aio.connect(fake.address) as b:
            for turns in range(5):
                opening = asyncio.ensure_future(b.master("seen", path=path))
                for _ in range(turns):
                    await asyncio.sleep(0)
                opening.cancel()
                await asyncio.wait([opening])
            seen = await b.master("seen", path=path, timeout=DEADLINE_S)
            await seen.put("k", 1)
            assert await seen.get("k") == 1

    run("asyncio", main)


def test_websocket_servers_are_peers_as_well(fake):
    async def main():
        async with aio.connect(fake.web_socket_address, subscribe=["/t"]) as b:
            reply = await b.request("/t", aio.Event("ping", 1), reply="pong", timeout=DEADLINE_S)
            assert reply.args() == [1]
            assert await b.drain(DEADLINE_S) == {}

    run("asyncio", main)


def test_logs_come_although_they_are_asked_for_late(scene):
    endpoint = scene.endpoint()
    address = "127.0.0.1:%d" % listen(endpoint)
    statuses = scene.use(endpoint.make_status_subscriber(True))
    stream, writer = broker.Enum("Tiny::LOG"), broker.Enum("Log::WRITER_ASCII")
    # One field: its type, an integer, that of its elements, whether it is there, its eight bytes.
    blob = struct.pack(">iii?q", 1, 2, 0, True, 7)

    def message(kind, *content):
        return (broker.Count(1), broker.Count(kind), (stream, writer, *content))

    def announce():
        """As a Zeek does: to each peer, when it appears."""
        for status in statuses:
            if status.code() == aio.SC.PeerAdded:
                peer = status.context()
                fields = (("n", None, broker.Count(2), broker.Count(0), True),)
                info = ("tiny", 0.0, 0.0, 0.0, {}, "")
                endpoint.publish("zeek/logs/Tiny::LOG", message(2, info, fields), to=peer)
                endpoint.publish("zeek/logs/Tiny::LOG", message(3, "tiny", blob), to=peer)

    scene.background(announce)

    async def main():
        async with aio.connect(address) as b:
            async with b.logs("tiny") as records:
                async for record in records:
                    assert (record.path, record["n"]) == ("tiny", 7)
                    break

    run("asyncio", main)


@pytest.mark.parametrize("module", ["testing", "_client.address"])
def test_the_examples_of_docstrings(module, fake):
    module = importlib.import_module("broker." + module)
    names = {"connect": broker.sync.connect, "Event": aio.Event}
    results = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names):
        results.run(test)
    assert results.failures == 0 and results.tries > 0


@aio.event("login")
@dataclasses.dataclass
class Login:
    user: str


# Those about streams are at work in test_stream_readers.py, which has a server for them.
WITHOUT_EXAMPLE = ["Connection.%s" % name for name in (
    "endpoint", "make_stream", "publish_durable", "replay", "subscribe_durable", "subscribe_retained", "withdraw")]


def examples_of(module):
    """The examples of the functions and classes that programs use, those of a method by themselves."""
    found = []
    for name in ["connect", "Connection", "Subscription", "Stream", "Events", "Store"]:
        tests = doctest.DocTestFinder().find(getattr(module, name), name, module=False)
        found += [test for test in tests if test.examples]
    return found


class Examples:
    """Runs examples as the prompt of `python -m asyncio` does, where `await` can stand alone."""

    def __init__(self, loop, names):
        self._loop, self._names = loop, names

    def run(self, test, capsys):
        for example in test.examples:
            expected, got = example.want, self._run(example.source, capsys)
            if example.exc_msg is not None:
                expected = example.exc_msg
            assert got == expected, (test.name, example.source)

    def _run(self, source, capsys):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, "example", "single", flags)
        try:
            result = eval(code, self._names)
            if inspect.iscoroutine(result):
                self._loop.run_until_complete(asyncio.wait_for(result, DEADLINE_S))
        except Exception as error:
            return "%s: %s\n" % (type(error).__name__, error)
        return capsys.readouterr().out


@pytest.mark.parametrize("module", [aio, broker.sync], ids=["aio", "sync"])
def test_every_method_has_an_example_that_works(module, fake, capsys):
    tests = examples_of(module)
    methods = {test.name for test in tests}
    for name in ["Connection", "Store"]:
        cls = getattr(module, name)
        assert {"%s.%s" % (name, method) for method in vars(cls) if not method.startswith("_")} - methods == {
            *(WITHOUT_EXAMPLE if name == "Connection" else [])}
    fake.endpoint.attach_master("hosts").put("printer", "10.0.0.1")
    loop = asyncio.new_event_loop()
    for test in tests:
        capsys.readouterr()
        names = {"connect": module.connect, "address": fake.address, "fake": fake, "Event": aio.Event,
                 "Login": Login, "asyncio": asyncio}
        if test.name == "connect":
            # It runs a loop of its own.
            doctest.DocTestRunner().run(doctest.DocTest(test.examples, names, "connect", None, 0, ""))
            assert "Failed" not in capsys.readouterr().out
            continue
        examples = Examples(loop, names)
        wait = "await " if module is aio else ""
        for line in ['b = %sconnect(address, subscribe=["/topic/test"])', 'hosts = %sb.store("hosts", timeout=60)',
                     'mine = %sb.master("mine")']:
            assert examples._run(line % wait, capsys) == ""
        examples.run(test, capsys)
        examples._run(wait + "b.close()", capsys)
    loop.close()
