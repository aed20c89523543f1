"""Threads, signals, forks, event loops and the end of the interpreter. Spec: python-api 2."""

import asyncio
import contextlib
import os
import pathlib
import select
import socket
import sqlite3
import sys
import threading
import time
import warnings

import pytest

import broker
import peer as scripted
from deadline import DEADLINE_S, FOR_EVER_S, Stopwatch, quick, take, take_one, wait_until
from ports import reserved_port
from process import Program
from scene import connect, listen

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux about processes")

# Between Ctrl-C and KeyboardInterrupt.
INTERRUPT_S = 0.5


# --- Ctrl-C --------------------------------------------------------------------------------------


def interrupt(program):
    """Presses Ctrl-C once the program waits; returns after how many seconds it noticed."""
    program.expect("ready")
    program.wait_asleep()
    sent = program.interrupt()
    word, when = program.line().split()
    assert word == "interrupted"
    took = float(when) - sent
    print("KeyboardInterrupt after %.0f ms" % (took * 1000))
    program.expect("usable True")
    return took


@on_linux
@pytest.mark.parametrize("call", [
    "get", "get-float", "get-inf", "get-int", "get-int-float", "status", "status-int", "await-peer",
])
def test_ctrl_c_while_waiting(call):
    def press():
        with Program("block.py", call) as program:
            took = interrupt(program)
            program.finish()
        return took

    quick(INTERRUPT_S, press)


@on_linux
@pytest.mark.parametrize("call", ["get", "exists", "keys", "put-unique", "await-idle", "events", "proxy", "put"])
def test_ctrl_c_while_a_store_waits(call):
    def press():
        with Program("block.py", "store-" + call) as program:
            took = interrupt(program)
            program.finish()
        return took

    quick(INTERRUPT_S, press)


@on_linux
def test_ctrl_c_while_a_file_is_locked(tmp_path):
    path = tmp_path / "store.sqlite"

    def press():
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin exclusive")
            with Program("block.py", "store-open", 0, path) as program:
                took = interrupt(program)
                other.execute("rollback")
                program.finish()
        return took

    quick(INTERRUPT_S, press)


@on_linux
def test_ctrl_c_while_nobody_listens():
    def press():
        with Program("block.py", "peer-retry", reserved_port()) as program:
            took = interrupt(program)
            program.finish()
        return took

    quick(INTERRUPT_S, press)


@on_linux
def test_ctrl_c_while_the_other_side_says_nothing():
    def press():
        with scripted.Peer(tls=False) as peer, Program("block.py", "peer-silent", peer.listen()) as program:
            peer.accept()
            took = interrupt(program)
            program.finish()
        return took

    quick(INTERRUPT_S, press)


@on_linux
@pytest.mark.parametrize("call", ["publish", "publisher", "publish-batch"])
def test_ctrl_c_while_the_other_side_does_not_read(call):
    def press():
        with scripted.Peer(["/x"]) as peer, Program("block.py", call, peer.listen()) as program:
            peer.accept().shake_hands()
            took = interrupt(program)
            peer.hang_up()
            program.finish()
        return took

    quick(INTERRUPT_S, press)


# --- fork ----------------------------------------------------------------------------------------


def test_fork():
    with Program("fork.py") as program:
        lines = program.finish()
    refused = [line for line in lines if "refused" in line]
    assert len(refused) == 17, lines
    for line in refused:
        assert " refused: " in line and "fork" in line, line
    assert lines[17:] == [
        "values (1, Count(2))", "child ended with 7", "work done", "process ended with 0", "program ran",
        "parent got True", "peers 1 1", "idle True 1",
    ]


@on_linux
def test_a_forked_process_does_not_keep_the_port(scene):
    endpoint, port = scene.endpoint(), reserved_port()
    assert endpoint.listen("127.0.0.1", port) == port
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # Lives until the pipe is closed, with copies of all descriptors.
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        endpoint.shutdown()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5.0)
        assert scene.endpoint().listen("127.0.0.1", port) == port
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


# --- the end of the interpreter ------------------------------------------------------------------


@pytest.mark.parametrize("how, code", [("quiet", 0), ("return", 0), ("exit", 3), ("raise", 1)])
def test_the_interpreter_ends_with_everything_alive(endpoint, tmp_path, how, code):
    path = str(tmp_path / "store.sqlite")

    def leave():
        with Program("leave.py", how, path) as program:
            program.expect("leaving")
            with Stopwatch() as took:
                rest = program.finish(code=code)
            assert not [line for line in rest if "panic" in line or "Fatal" in line], rest
        return took.seconds

    quick(5.0, leave)
    # What was put before is in the file.
    store = endpoint.open_master("file", broker.Backend.SQLite, {"path": path})
    assert store.snapshot() == {number: number for number in range(1000)}


@on_linux
def test_the_import_alone_starts_nothing():
    script = ("import broker, os, threading; broker.Data([1]); "
              "print(len(os.listdir('/proc/self/task')), threading.active_count())")
    with Program(code=script) as program:
        program.expect("1 1")
        program.finish()


def test_the_import_loads_what_every_program_needs_only():
    # Before any of the names that need them, and with them.
    script = ("import broker, sys; slow = {'asyncio', 'dataclasses', 'inspect', 'logging'}; "
              "print(sorted(slow & set(sys.modules))); "
              "print(broker.zeek.App.__name__, *sorted(slow & set(sys.modules)))")
    with Program(code=script) as program:
        program.expect("[]")
        program.expect("App asyncio dataclasses inspect logging")
        program.finish()


@pytest.mark.parametrize("name", ["App", "MismatchError", "event", "pack", "unpack"])
def test_what_is_loaded_later_is_there_all_the_same(name):
    assert name in dir(broker.zeek)
    assert getattr(broker.zeek, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'packed'"):
        broker.zeek.packed


# --- threads -------------------------------------------------------------------------------------


def test_shutdown_from_another_thread(scene, pair):
    for endpoint in pair:
        with Stopwatch() as took:
            scene.background(endpoint.shutdown).result(DEADLINE_S)
        assert took.seconds < DEADLINE_S


def test_many_threads_shut_one_endpoint_down(scene, pair):
    calls = [scene.background(endpoint.shutdown) for endpoint in pair * 10]
    for call in calls:
        assert call.result(DEADLINE_S) is None


def test_endpoints_made_in_other_threads(scene):
    endpoints = [call.result(DEADLINE_S) for call in [scene.background(scene.endpoint) for _ in range(8)]]
    port = listen(endpoints[0])
    for call in [scene.background(endpoint.peer, "127.0.0.1", port, 0.0) for endpoint in endpoints[1:]]:
        assert call.result(DEADLINE_S) is True
    wait_until(lambda: len(endpoints[0].peers()) == 7, "seven peers")


def test_many_threads_publish_and_one_receives(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/x"))
    connect(one, two)

    def publish(thread):
        for number in range(2000):
            one.publish("/x", (thread, number))

    calls = [scene.background(publish, thread) for thread in range(8)]
    received = [data for _, data in take(messages, 16000)]
    for call in calls:
        call.result(DEADLINE_S)
    for thread in range(8):
        assert [number for sender, number in received if sender == thread] == list(range(2000))


def test_many_threads_share_a_subscriber(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/x"))
    connect(one, two)

    def receive(form):
        received = []
        while True:
            try:
                got = messages.get(*form)
            except RuntimeError:
                return received
            if got is None:
                continue
            for _, number in got if isinstance(got, list) else [got]:
                received.append(number)

    calls = [scene.background(receive, form) for form in ((), (0.05,), (3, 0.05), (1,), (7, 0.05), ())]
    for number in range(5000):
        one.publish("/x", number)
    wait_until(lambda: messages.available() == 0, "everything is taken")
    two.shutdown()
    received = [call.result(DEADLINE_S) for call in calls]
    assert sorted(number for part in received for number in part) == list(range(5000))
    for part in received:
        assert part == sorted(part)


@pytest.mark.parametrize("kind", ["make_subscriber", "make_status_subscriber", "make_publisher"])
def test_many_threads_meet_the_end_of_an_object(scene, endpoint, kind):
    arguments = () if kind == "make_status_subscriber" else ("/x",)

    def use(target):
        call = (lambda: target.publish(1)) if kind == "make_publisher" else target.get
        try:
            while True:
                call()
        except RuntimeError as error:
            return str(error)

    for _ in range(100):
        target = getattr(endpoint, kind)(*arguments)
        calls = [scene.background(use, target) for _ in range(4)]
        target.reset()
        assert all(call.result(DEADLINE_S) for call in calls)


class Ticker:
    """Counts milliseconds in a thread of its own, which needs the interpreter for each."""

    def __enter__(self):
        self.ticks = 0
        self.running = True
        self.thread = threading.Thread(target=self._tick)
        self.thread.start()
        return self

    def _tick(self):
        while self.running:
            time.sleep(0.001)
            self.ticks += 1

    def __exit__(self, *exception):
        self.running = False
        self.thread.join()


STRANGER = scripted.id_text(scripted.new_id())
WAITS = {
    "get": lambda endpoint, messages, statuses: messages.get(FOR_EVER_S),
    "get-int": lambda endpoint, messages, statuses: messages.get(2, FOR_EVER_S),
    "status": lambda endpoint, messages, statuses: statuses.get(1, FOR_EVER_S),
    "await-peer": lambda endpoint, messages, statuses: endpoint.await_peer(STRANGER, FOR_EVER_S),
    "await-idle": lambda endpoint, messages, statuses: endpoint.attach_clone("nowhere").await_idle(FOR_EVER_S),
}


@pytest.mark.parametrize("name", WAITS)
def test_other_threads_run_while_one_waits(scene, endpoint, name):
    messages = scene.use(endpoint.make_subscriber("/x"))
    statuses = scene.use(endpoint.make_status_subscriber())
    begun = threading.Event()

    def wait():
        begun.set()
        with contextlib.suppress(RuntimeError):
            WAITS[name](endpoint, messages, statuses)

    waiting = scene.background(wait)
    begun.wait()
    # If it kept the interpreter to itself, this thread would not come so far.
    with Ticker() as ticker:
        wait_until(lambda: ticker.ticks > 20, "ticks while one waits")
    assert not waiting.done()
    endpoint.shutdown()
    waiting.result(DEADLINE_S)


def test_other_threads_run_while_one_peers_and_one_shuts_down(scene):
    endpoint = scene.endpoint(tls=False)
    silent = scene.peer(tls=False)
    peering = scene.background(endpoint.peer, "127.0.0.1", silent.listen(), 0.0)
    silent.accept()
    with Ticker() as ticker:
        wait_until(lambda: ticker.ticks > 20, "ticks while peer() waits")
    assert not peering.done()
    silent.shake_hands()
    silent.answers_pings = False
    with Ticker() as ticker:
        endpoint.shutdown()
    # The goodbye that is not answered takes three seconds.
    assert ticker.ticks > 20


# --- descriptors in event loops ------------------------------------------------------------------


@pytest.fixture
def stream(scene):
    one, two = scene.endpoint(), scene.endpoint()
    messages = scene.use(two.make_subscriber("/x"))
    connect(one, two)
    return one, messages


def test_select(stream):
    endpoint, messages = stream
    for number in range(100):
        endpoint.publish("/x", number)
        assert select.select([messages.fd()], [], [], DEADLINE_S)[0]
        assert messages.get() == ("/x", number)
    assert not select.select([messages.fd()], [], [], 0.01)[0]


@on_linux
def test_poll_and_epoll(stream):
    endpoint, messages = stream
    poller = select.poll()
    poller.register(messages.fd(), select.POLLIN)
    with select.epoll() as epoll:
        epoll.register(messages.fd(), select.EPOLLIN)
        for number in range(100):
            endpoint.publish("/x", number)
            assert poller.poll(1000 * DEADLINE_S) == [(messages.fd(), select.POLLIN)]
            assert epoll.poll(DEADLINE_S) == [(messages.fd(), select.EPOLLIN)]
            assert messages.poll() == [("/x", number)]
        assert poller.poll(0) == []
        assert epoll.poll(0) == []


def test_asyncio(stream):
    endpoint, messages = stream

    async def collect(number):
        loop = asyncio.get_running_loop()
        done, received = loop.create_future(), []

        def drain():
            received.extend(messages.poll())
            if len(received) >= number and not done.done():
                done.set_result(received)

        loop.add_reader(messages.fd(), drain)
        try:
            for value in range(number):
                endpoint.publish("/x", value)
                if value % 100 == 0:
                    await asyncio.sleep(0)
            return await asyncio.wait_for(done, DEADLINE_S)
        finally:
            loop.remove_reader(messages.fd())

    assert [data for _, data in asyncio.run(collect(5000))] == list(range(5000))


def test_messages_that_come_while_one_is_taken_are_not_overlooked(scene, stream):
    """The descriptor may not lose a wake-up between reading and sleeping."""
    endpoint, messages = stream
    total = 20000

    def publish():
        for number in range(total):
            endpoint.publish("/x", number)

    publishing = scene.background(publish)
    received = []
    while len(received) < total:
        assert select.select([messages.fd()], [], [], DEADLINE_S)[0], "asleep after %d" % len(received)
        received += messages.get(3, 0)
    publishing.result(DEADLINE_S)
    assert [data for _, data in received] == list(range(total))


# --- use after the end ---------------------------------------------------------------------------


def test_nothing_crashes_after_the_end(scene, pair):
    """Every method of every closed object returns or raises an ordinary exception."""
    one, two = pair
    objects = [one.make_subscriber("/x"), one.make_safe_subscriber("/x"), one.make_status_subscriber(True),
               one.make_publisher("/x"), one.attach_master("s"), one.attach_master("s").events(), one]
    closers = ["reset", "reset", "reset", "reset", "reset", "reset", "shutdown"]
    arguments = {
        "get": (1, 0.01), "publish": ("/x", 1), "listen": ("127.0.0.1", 0), "peer": ("127.0.0.1", 9, 0.0),
        "peer_nosync": ("127.0.0.1", 9, 0.0), "unpeer": ("127.0.0.1", 9), "unpeer_nosync": ("127.0.0.1", 9),
        "await_peer": (two.node_id(), 0.01), "forward": ("/x",), "make_subscriber": ("/x",),
        "make_safe_subscriber": ("/x",), "make_publisher": ("/x",), "add_topic": ("/x",),
        "remove_topic": ("/x",), "attach_master": ("x", broker.Backend.Memory), "attach_clone": ("x",),
        "open_master": ("x",), "open_clone": ("x",), "put": (1, 1), "put_unique": (1, 1), "erase": (1,),
        "increment": (1, 1), "decrement": (1, 1), "append": (1, ""), "insert_into": (1, 1), "remove_from": (1, 1),
        "push": (1, 1), "pop": (1,), "lookup": (1,), "exists": (1,), "get_index_from_value": (1, 1),
    }
    calls = 0
    for target, closer in zip(objects, closers):
        getattr(target, closer)()
        for name in dir(target):
            if name.startswith("_") or not callable(getattr(target, name)):
                continue
            given = arguments.get(name, ())
            if name == "publish" and target is not one:
                given = (1,)
            calls += 1
            try:
                getattr(target, name)(*given)
            except (RuntimeError, AttributeError, TypeError, ValueError, NotImplementedError):
                pass
        repr(target)
    assert calls >= 80, calls


# --- other things called broker ------------------------------------------------------------------


def test_a_directory_of_the_same_name_does_not_matter(tmp_path):
    (tmp_path / "broker").mkdir()
    with Program(code="import broker; print(broker.Count(1))", cwd=tmp_path) as program:
        program.expect("1")
        program.finish()


@pytest.mark.parametrize("name", ["_broker", "zeek", "status", "aio"])
def test_modules_of_similar_names_do_not_matter(tmp_path, name):
    (tmp_path / (name + ".py")).write_text("raise ImportError('the wrong module')\n")
    script = "import broker, broker.zeek; print(broker.zeek.Event('x').name())"
    with Program(code=script, cwd=tmp_path) as program:
        program.expect("x")
        program.finish()


def test_another_package_of_the_name_can_be_told_apart(tmp_path):
    """A foreign `broker` that comes first wins, as Python has it; ours says who it is."""
    (tmp_path / "broker.py").write_text("name = 'foreign'\n")
    with Program(code="import broker; print(broker.name)", cwd=tmp_path) as program:
        program.expect("foreign")
        program.finish()
    assert broker.Version.string() == "2.8.0"
    assert broker._broker.__name__ == "broker._broker"


def install(directory, *names):
    """Puts our package, or parts of it, under a directory, as an installer would."""
    target = directory / "broker"
    target.mkdir()
    for path in pathlib.Path(broker.__file__).parent.iterdir():
        if path.name in names if names else path.is_file() or path.name == "zeek":
            (target / path.name).symlink_to(path)
    record = directory / "zeek_broker-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    files = sorted(path.name for path in target.iterdir() if path.is_file())
    record.write_text("".join(f"broker/{name},sha256=x,1\n" for name in files))
    return target


IMPORT = """
try:
    import %s
    print("imported")
except ImportError as error:
    print(error)
"""


def test_another_package_installed_over_ours_is_named(tmp_path):
    (install(tmp_path) / "connection.py").write_text("")
    with Program(code=IMPORT % "broker", cwd=tmp_path) as program:
        text = program.line()
        program.finish()
    assert "connection.py" in text and "uninstall" in text and str(tmp_path) in text


def test_our_own_files_are_no_other_package(tmp_path):
    install(tmp_path)
    with Program(code=IMPORT % "broker", cwd=tmp_path) as program:
        program.expect("imported")
        program.finish()


def test_a_package_without_record_is_a_source_tree(tmp_path):
    target = install(tmp_path)
    (target / "new.py").write_text("")
    (tmp_path / "zeek_broker-1.0.dist-info" / "RECORD").unlink()
    with Program(code=IMPORT % "broker", cwd=tmp_path) as program:
        program.expect("imported")
        program.finish()


def test_another_package_that_replaced_ours_is_named(tmp_path):
    (install(tmp_path, "zeek") / "__init__.py").write_text("name = 'foreign'\n")
    with Program(code=IMPORT % "broker.zeek", cwd=tmp_path) as program:
        text = program.line()
        program.finish()
    assert "another distribution" in text and "uninstall" in text


def test_a_message_taken_in_one_thread_can_be_used_in_another(scene, stream):
    endpoint, messages = stream
    endpoint.publish("/x", {"a": [broker.Count(1)]})
    _, data = scene.background(take_one, messages).result(DEADLINE_S)
    assert data == {"a": (broker.Count(1),)}
