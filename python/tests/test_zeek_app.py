"""Functions that are called for events."""

import asyncio
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

import broker
from broker import Count
from broker.zeek import App, Event, MismatchError, event, unpack
from deadline import DEADLINE_S, take
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
