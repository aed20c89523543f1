"""Functions that are called for events."""

import asyncio
import dataclasses
import enum
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Dict, FrozenSet, List, Optional, Set, Union

import pytest

import broker
from broker import Count
from broker.zeek import App, Event, MismatchError, event, unpack
from deadline import DEADLINE_S, take, wait_until
from scene import connect

TOPIC = "/topic/test"


@event("ping")
@dataclasses.dataclass
class Ping:
    text: str
    n: Count


@event("pong")
@dataclasses.dataclass
class Pong:
    text: str
    n: Count


class Other:
    """A peer of the endpoint that an app runs on."""

    def __init__(self, scene):
        self.endpoint, self.served = scene.endpoint(), scene.endpoint()
        self.messages = scene.use(self.endpoint.make_subscriber([TOPIC, "/other"]))

    def connect(self):
        connect(self.endpoint, self.served)

    def send(self, *events):
        for one in events:
            self.endpoint.publish(TOPIC, one)

    def answers(self, count):
        return [(topic, Event(value).name(), Event(value).args())
                for topic, value in take(self.messages, count)]


@pytest.fixture
def other(scene):
    return Other(scene)


@pytest.fixture
def app(other):
    app = App(other.served, TOPIC)
    app.errors = []
    app.on_error = lambda name, error: app.errors.append((name, error))
    other.connect()
    yield app
    app.stop()


def run(scene, app):
    return scene.background(app.run)


def test_a_handler_answers(scene, other, app):
    @app.on("ping")
    def ping(text: str, n: Count):
        return Event("pong", text, n)

    running = run(scene, app)
    other.send(Event("ping", "a", Count(1)), Event("unknown"), Event("ping", "b", Count(2)))
    assert other.answers(2) == [(TOPIC, "pong", ["a", Count(1)]), (TOPIC, "pong", ["b", Count(2)])]
    other.served.shutdown()
    assert running.result(DEADLINE_S) is None
    assert app.errors == []
    assert ping("x", Count(1)).name() == "pong"


def test_classes_of_events(scene, other, app):
    @app.on(Ping)
    def ping(received: Ping):
        return [Pong(received.text, Count(received.n.value + 1)), Event("done")]

    run(scene, app)
    other.send(broker.zeek.pack(Ping("a", Count(1))))
    assert other.answers(2) == [(TOPIC, "pong", ["a", Count(2)]), (TOPIC, "done", [])]
    app.emit(TOPIC, Pong("b", Count(5)))
    app.emit("/other", Event("last"))
    assert other.answers(2) == [(TOPIC, "pong", ["b", Count(5)]), ("/other", "last", [])]


def test_parameters(scene, other, app):
    calls = []

    @app.on("a")
    def a(x, y: int = 5, *rest: str, event: Event, topic: str, other: int = 0):
        calls.append((x, y, rest, event.name(), topic, other))

    @app.on("a")
    def second(*everything):
        calls.append(everything)
        return Event("next")

    run(scene, app)
    other.send(Event("a", 1), Event("a", 1, 2, "b", "c"))
    other.answers(2)
    assert calls == [(1, 5, (), "a", TOPIC, 0), (1,), (1, 2, ("b", "c"), "a", TOPIC, 0), (1, 2, "b", "c")]


def test_topics_of_answers(scene, other):
    app = App(other.served, [TOPIC], reply_topic="/other")
    other.connect()

    @app.on("a")
    def a():
        return Event("by-app")

    @app.on("b", reply_topic=TOPIC)
    def b():
        return Event("by-handler")

    run(scene, app)
    other.send(Event("a"), Event("b"))
    assert other.answers(2) == [("/other", "by-app", []), (TOPIC, "by-handler", [])]
    app.stop()


@dataclasses.dataclass
class Chain:
    rest: "Optional[Chain]"


def test_records_that_are_deeper_than_python_can_go_are_a_mismatch(scene, other, app):
    """The sender decides how deep they are; the events after them are handled all the same."""
    @app.on("x")
    def x(rest: Optional[Chain]):
        return Event("taken", rest is not None)

    run(scene, app)
    deep = None
    for _ in range(250):
        deep = (deep,)
    other.send(Event("x", deep), Event("x", (None,)))
    assert other.answers(1) == [(TOPIC, "taken", [True])]
    [(name, error)] = app.errors
    assert name == "x" and isinstance(error, MismatchError) and "recursion limit" in str(error)


def test_what_goes_wrong_ends_nothing(scene, other, app):
    @app.on("ping")
    def ping(n: Count):
        if n == Count(0):
            raise RuntimeError("zero")
        return "no event" if n == Count(1) else Event("pong", n)

    @app.on(Pong)
    def pong(received):
        raise AssertionError("not called")

    run(scene, app)
    other.send(Event("ping", 5), Event("ping"), Event("ping", Count(0)), Event("ping", Count(1)), Event("pong", 1),
               Event("ping", Count(2)))
    other.endpoint.publish(TOPIC, 7)
    other.send(Event("ping", Count(3)))
    assert other.answers(2) == [(TOPIC, "pong", [Count(2)]), (TOPIC, "pong", [Count(3)])]
    assert [(name, type(error), str(error)) for name, error in app.errors] == [
        ("ping", MismatchError, "event `ping`: argument `n`: expected count, found int"),
        ("ping", MismatchError, "event `ping`: arguments: expected 1, found 0"),
        ("ping", RuntimeError, "zero"),
        ("ping", TypeError, "expected an event or an instance of a class made with broker.zeek.event,"
                            " found 'no event'"),
        ("pong", MismatchError, "event `pong`: arguments: expected 2, found 1"),
    ]


class Color(enum.Enum):
    RED = "Color::RED"


@dataclasses.dataclass(frozen=True)
class Tags:
    names: List[str]


@dataclasses.dataclass
class Small:
    value: int

    def __post_init__(self):
        if self.value > 5:
            raise ValueError("too large")


NOT_UTF8 = broker.Enum(b"\xff")


@pytest.mark.parametrize("annotation, argument, error", [
    (Color, NOT_UTF8, MismatchError),
    (Dict[broker.Enum, int], {NOT_UTF8: "x"}, MismatchError),
    (Set[Tags], {(("a",),)}, TypeError),
    (Set[Union[str, List[int]]], {(1,)}, TypeError),
    (Small, (9,), ValueError),
], ids=["enum", "key of a table", "frozen class with a list", "choice of a union", "constructor"])
def test_no_argument_ends_anything(scene, other, app, annotation, argument, error):
    def x(argument):
        raise AssertionError("not called")

    x.__annotations__["argument"] = annotation
    app.on("x")(x)
    app.on("end")(lambda: Event("end"))
    running = run(scene, app)
    other.send(Event("x", argument), Event("end"))
    assert other.answers(1) == [(TOPIC, "end", [])]
    assert not running.done()
    assert [(name, type(raised)) for name, raised in app.errors] == [("x", error)]


def test_a_mismatch_under_a_long_key_stays_short(scene, other, app):
    @app.on("x")
    def x(table: Dict[str, Dict[str, int]]):
        raise AssertionError("not called")

    app.on("end")(lambda: Event("end"))
    run(scene, app)
    other.send(Event("x", {"k" * 100_000: {"a": "b"}}), Event("end"))
    other.answers(1)
    [(_, error)] = app.errors
    assert str(error) == "event `x`: argument `table['%s...]['a']`: expected int, found string" % ("k" * 79)


# What is no event, or hardly one.
ODD = [
    (Count(1), Count(1), (b"\xff\xfe", (1,))), b"\xff", NOT_UTF8, None, (), (Count(1), Count(1)),
    (Count(1), Count(1), ("end", 5)), {(1, 2): {3}},
]


@pytest.mark.parametrize("how", ["run", "serve"])
def test_no_message_ends_anything(scene, other, app, how):
    seen = []
    app.on("any")(lambda *values: seen.append(values))
    app.on("end")(lambda: Event("end"))
    running = scene.background(app.run if how == "run" else lambda: asyncio.run(app.serve()))
    for value in ODD:
        other.endpoint.publish(TOPIC, value)
    ends = [make(end) for end in (-2**63, 2**63 - 1) for make in (broker.Timespan, broker.Timestamp.from_ns)]
    deep = ()
    for _ in range(250):
        deep = (deep,)
    other.send(Event("any", *ends), Event("any", deep), Event("any", NOT_UTF8), Event("end"))
    assert other.answers(1) == [(TOPIC, "end", [])]
    assert not running.done()
    assert [len(values) for values in seen] == [4, 1, 1]
    assert app.errors == []


@pytest.mark.parametrize("octets", [b"/cmd.exe?\xff", b"\xed\xa0\x80"], ids=repr)
def test_bytes_that_are_not_utf_8_hide_no_event(scene, other, app, octets):
    text = octets.decode("utf-8", "surrogateescape")
    seen = []

    @app.on("request")
    def request(host: str, uri: str, *headers):
        seen.append((host, uri, headers))
        return Event("seen", uri, *headers)

    @app.on("request")
    def untyped(host, uri, header):
        seen.append(uri.endswith(".exe") or uri)

    @app.on("request")
    def raw(host: bytes, uri: bytes, header: bytes):
        seen.append((uri, header))

    run(scene, app)
    other.send(Event("request", "h.example", octets, octets))
    assert other.answers(1) == [(TOPIC, "seen", [octets, octets])]
    wait_until(lambda: len(seen) == 3, "three calls")
    assert seen == [("h.example", text, (text,)), text, (octets, octets)]
    assert app.errors == []


def test_errors_are_logged(scene, other, caplog):
    app = App(other.served, TOPIC)
    other.connect()

    @app.on("ping")
    def ping(n: Count):
        raise RuntimeError("broken") if n == Count(0) else None

    @app.on("end")
    def end():
        return Event("end")

    with caplog.at_level(logging.WARNING, "broker.zeek"):
        run(scene, app)
        other.send(Event("ping", 5), Event("ping", Count(0)), Event("end"))
        other.answers(1)
    app.stop()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "event `ping`: argument `n`: expected count, found int"),
        ("ERROR", "ping: RuntimeError: broken"),
    ]


def test_handlers_that_cannot_be(app):
    with pytest.raises(TypeError, match="name of an event or a class made with broker.zeek.event"):
        app.on(int)
    with pytest.raises(TypeError, match="keyword-only parameters can be event and topic, found `more`"):
        @app.on("x")
        def x(*, more):
            pass
    with pytest.raises(TypeError, match="no Zeek type is known"):
        @app.on("y")
        def y(z: complex):
            pass


@pytest.mark.parametrize("annotation", [
    Set[Ping], Set[List[int]], FrozenSet[Set[int]], Dict[Ping, int], Dict[Union[List[int], Dict[str, int]], int],
], ids=str)
def test_sets_of_what_cannot_be_hashed_are_refused(app, annotation):
    def x(argument):
        pass

    x.__annotations__["argument"] = annotation
    with pytest.raises(TypeError, match="can never fit: .* is not hashable; use a tuple"):
        app.on("x")(x)

    record = event("y")(dataclasses.make_dataclass("Record", [("field", annotation)]))
    with pytest.raises(TypeError, match="can never fit"):
        app.on(record)
    with pytest.raises(TypeError, match="can never fit"):
        @app.on("z")
        def z(argument: record):
            pass


def test_a_class_can_name_one_that_comes_later(app):
    @event("later")
    @dataclasses.dataclass
    class Early:
        value: "Late"  # noqa: F821

    app.on(Early)(lambda received: None)


def test_stop_ends_run(scene, app):
    running = run(scene, app)
    app.stop()
    assert running.result(DEADLINE_S) is None


# --- asyncio -------------------------------------------------------------------------------------


def test_async_handlers_run_concurrently(scene, other, app):
    gate = []

    @app.on("wait")
    async def wait(n: Count):
        waiter = asyncio.get_running_loop().create_future()
        gate.append(waiter)
        await waiter
        return Event("waited", n)

    @app.on("open")
    def open_gate():
        for waiter in gate:
            waiter.set_result(None)
        return Event("opened")

    running = run(scene, app)
    other.send(Event("wait", Count(1)), Event("wait", Count(2)), Event("open"))
    answers = sorted(((name, args) for _, name, args in other.answers(3)), key=str)
    assert answers == [("opened", []), ("waited", [Count(1)]), ("waited", [Count(2)])]
    other.served.shutdown()
    assert running.result(DEADLINE_S) is None


def test_serve_on_a_loop_of_the_program(other, app):
    @app.on("ping")
    async def ping(n: Count):
        await asyncio.sleep(0)
        if n == Count(0):
            raise RuntimeError("zero")
        return Pong("a", n)

    async def main():
        serving = asyncio.ensure_future(app.serve())
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        for n in range(300):
            other.send(Event("ping", Count(n)))
        answers = await loop.run_in_executor(None, other.answers, 299)
        assert not serving.done()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        return answers

    answers = asyncio.run(main())
    assert sorted(args[1].value for _, _, args in answers) == list(range(1, 300))
    assert [str(error) for _, error in app.errors] == ["zero"]


def test_serve_ends_with_the_endpoint(other, app):
    async def main():
        serving = asyncio.ensure_future(app.serve())
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, other.served.shutdown)
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(main())


def test_stop_ends_serve(other, app):
    async def main():
        serving = asyncio.ensure_future(app.serve())
        await asyncio.sleep(0)
        threading.Thread(target=app.stop).start()
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(main())


class TestServeOnTrio:
    @pytest.fixture
    def trio(self):
        return pytest.importorskip("trio")

    def test_handlers_run_concurrently_and_answer(self, other, app, trio):
        gate = trio.Event()

        @app.on("wait")
        async def wait(n: Count):
            await gate.wait()
            return Event("waited", n)

        @app.on("fail")
        async def fail():
            raise RuntimeError("of a handler")

        @app.on("open")
        def open_gate():
            gate.set()
            return Event("opened")

        async def main():
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(app.serve)
                    other.send(Event("wait", Count(1)), Event("fail"), Event("wait", Count(2)), Event("open"))
                    answers = await trio.to_thread.run_sync(other.answers, 3)
                    app.stop()
                    return answers

        answers = trio.run(main)
        assert sorted(((name, args) for _, name, args in answers), key=str) == [
            ("opened", []), ("waited", [Count(1)]), ("waited", [Count(2)])]
        assert [str(error) for _, error in app.errors] == ["of a handler"]

    def test_a_scope_that_is_cancelled_ends_it_and_its_handlers(self, other, app, trio):
        began, ended = [], []

        @app.on("wait")
        async def wait():
            began.append(1)
            other.endpoint.publish("/other", Event("began"))
            try:
                await trio.sleep_forever()
            finally:
                ended.append(1)

        async def main():
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(app.serve)
                    other.send(Event("wait"))
                    while not began:
                        await trio.sleep(0.001)
                    nursery.cancel_scope.cancel()
            # What comes later is for the next who serves.
            other.send(Event("late"))

        trio.run(main)
        assert (began, ended, app.errors) == ([1], [1], [])
        wait_until(lambda: app._subscriber.available() == 1, "the late event is there")

    @pytest.mark.parametrize("how", ["stop", "shutdown", "stop before"])
    def test_it_ends_with_the_endpoint_and_by_stop(self, other, app, trio, how):
        async def main():
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    if how == "stop before":
                        app.stop()
                    nursery.start_soon(app.serve)
                    await trio.lowlevel.checkpoint()
                    if how != "stop before":
                        end = app.stop if how == "stop" else other.served.shutdown
                        await trio.to_thread.run_sync(end)

        trio.run(main)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_interrupts_of_handlers_pass_through_as_they_are(self, other, app, trio, error):
        @app.on("end")
        def end():
            raise error

        async def main():
            with trio.fail_after(DEADLINE_S):
                other.send(Event("end"))
                await app.serve()

        with pytest.raises(error):
            trio.run(main)


def test_serve_that_is_cancelled_at_its_end_ends_its_handlers(scene, other, app):
    ended = []

    @app.on("wait")
    async def wait():
        app.stop()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    async def main():
        serving = asyncio.ensure_future(app.serve())
        other.send(Event("wait"))
        while not app._stopped:
            await asyncio.sleep(0.001)
        # It waits for its handler by now, or is about to.
        for _ in range(10):
            await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        while not ended:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


@pytest.mark.parametrize("definition", ["def", "async def"])
@pytest.mark.parametrize("how", ["run", "serve"])
def test_nothing_is_handled_after_stop(scene, other, app, definition, how):
    seen = []

    def handle(n):
        seen.append(n)
        if n == 3:
            app.stop()

    async def handle_later(n):
        handle(n)

    app.on("e")(handle if definition == "def" else handle_later)
    other.send(*(Event("e", n) for n in range(500)))
    wait_until(lambda: app._subscriber.available() == 500, "all events are there")
    running = scene.background(app.run if how == "run" else lambda: asyncio.run(app.serve()))
    assert running.result(DEADLINE_S) is None
    assert seen == [0, 1, 2, 3]


# --- Ctrl-C --------------------------------------------------------------------------------------

PROGRAM = """
import signal, broker
# A shell that starts programs in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
endpoint = broker.Endpoint()
app = broker.zeek.App(endpoint, "/topic")

@app.on("x")
%s handle():
    pass

try:
    print("ready", flush=True)
    app.run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("definition", ["def", "async def"])
def test_ctrl_c_ends_run(definition):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM % definition], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == "ready\n"
        os.kill(program.pid, signal.SIGINT)
        output, _ = program.communicate(timeout=DEADLINE_S)
        assert (output, program.returncode) == ("interrupted\n", 0)
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_unpack_and_handlers_agree(app):
    assert unpack(Event("ping", "a", Count(1)), Ping) == Ping("a", Count(1))
