"""The log: through Python's `logging`, on the console, in a file. Spec: tools 6."""

import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

import broker
from deadline import DEADLINE_S, wait_until
from scene import listen

HEAD = "import logging, sys, broker\n"


def run(program, cwd=None, **environment):
    """Runs a program in an interpreter of its own."""
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environment, text=True,
                          capture_output=True, timeout=DEADLINE_S, check=True)


def refused_client(endpoint):
    """Has an endpoint say something: a WebSocket client that makes no sense."""
    port = endpoint.listen_ws("127.0.0.1", 0)
    with __import__("socket").create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"nonsense\r\n\r\n")
        name = "%s:%d" % client.getsockname()
        while client.recv(1024):
            pass
    return name


def test_records_reach_caplog_with_the_levels_of_logging(scene, caplog):
    import broker.logging

    caplog.set_level(logging.INFO, logger="broker.websocket")
    name = refused_client(scene.endpoint())

    def refused():
        return [record for record in caplog.records if getattr(record, "event", "") == "web-socket-refused"
                and name in record.fields["remote"]]

    wait_until(refused, "a record")
    record, = refused()
    assert record.name == "broker.websocket" and record.levelno == logging.INFO
    assert "event=\"web-socket-refused\"" in record.getMessage() and name in record.getMessage()
    assert abs(record.created - __import__("time").time()) < DEADLINE_S
    # A level that is raised counts at once.
    caplog.set_level(logging.ERROR, logger="broker.websocket")
    name = refused_client(scene.endpoint())
    assert broker.logging.flush(DEADLINE_S)
    assert not refused()
    # So does one of a logger above, and the switch for all.
    caplog.set_level(logging.NOTSET, logger="broker.websocket")
    caplog.set_level(logging.INFO, logger="broker")
    name = refused_client(scene.endpoint())
    wait_until(refused, "a record")
    logging.disable(logging.CRITICAL)
    try:
        name = refused_client(scene.endpoint())
        assert broker.logging.flush(DEADLINE_S)
        assert not refused()
    finally:
        logging.disable(logging.NOTSET)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "broker-logging"]


def test_there_is_a_thread_only_while_there_is_a_handler():
    run(HEAD + """
import threading
def threads():
    return [it for it in threading.enumerate() if it.name == "broker-logging"]
endpoint = broker.Endpoint()
assert not threads()
logging.getLogger("broker").addHandler(logging.NullHandler())
other = broker.Endpoint()
assert len(threads()) == 1
third = broker.Endpoint()
assert len(threads()) == 1
logging.getLogger("broker").handlers.clear()
thread, = threads()
thread.join(%f)
assert not thread.is_alive()
import broker.logging
broker.logging.install()
broker.logging.install()
assert len(threads()) == 1
broker.logging.uninstall()
assert not threads()
""" % DEADLINE_S)


def test_importing_the_package_does_not_import_logging_nor_start_threads():
    out = run("""
import sys, threading
before = "logging" in sys.modules
import broker
assert before or "logging" not in sys.modules
assert "broker.logging" not in sys.modules
endpoint = broker.Endpoint()
assert "broker.logging" not in sys.modules or "logging" in sys.modules
print(threading.active_count())
""").stdout
    assert out == "1\n"


def test_what_is_said_at_the_end_is_handed_over():
    err = run(HEAD + """
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
endpoint = broker.Endpoint()
endpoint.peer_nosync("127.0.0.1", 1, 0)
import time
# The exit comes at once: nothing has been handed over yet, perhaps.
assert not endpoint.peer("127.0.0.1", 1, 0)
""").stderr
    assert re.search('^broker.peer DEBUG event="dial-failed" ', err, re.M), err


def test_a_handler_that_fails_or_hangs_holds_up_no_endpoint():
    run(HEAD + """
import threading, broker.logging
class Odd(logging.Handler):
    entered = threading.Event()
    leave = threading.Event()
    def filter(self, record):
        self.entered.set()
        self.leave.wait()
        raise ValueError("no")
logging.getLogger("broker").addHandler(Odd())
logging.getLogger("broker").setLevel(logging.DEBUG)
a, b = broker.Endpoint(), broker.Endpoint()
assert not a.peer("127.0.0.1", 1, 0)
assert Odd.entered.wait(60)
subscriber = b.make_subscriber("/t")
assert a.peer("127.0.0.1", b.listen("127.0.0.1", 0))
a.publish("/t", 1)
assert subscriber.get() == ("/t", 1)
assert not broker.logging.flush(0.01)
Odd.leave.set()
assert broker.logging.flush(60)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_a_log_of_its_own(tmp_path):
    run(HEAD + """
import os, threading, warnings, broker.logging
warnings.simplefilter("ignore")
logging.basicConfig(level=logging.DEBUG, filename="log", format="%(process)d %(message)s")
endpoint = broker.Endpoint()
stop = threading.Event()
def chatter():
    while not stop.is_set():
        endpoint.peer("127.0.0.1", 1, 0)
thread = threading.Thread(target=chatter, daemon=True)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        own = broker.Endpoint()
        assert not own.peer("127.0.0.1", 1, 0)
        assert broker.logging.flush(60)
        # The child may be the first that has something to say.
        text = "\\n" + open("log").read()
        os._exit(0 if "\\n%d event" % os.getpid() in text else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
""", cwd=tmp_path)


@pytest.mark.parametrize("pause, is_free", [(0.2, True), (3, False)], ids=["short", "long"])
def test_a_fork_lets_the_handler_that_runs_come_to_its_end(pause, is_free, tmp_path):
    """Locks of its stream would be locked in the child for ever; a handler that never ends stops no fork."""
    run(HEAD + """
import os, threading, warnings, broker.logging
warnings.simplefilter("ignore")
lock, begun = threading.Lock(), threading.Event()
class Busy(logging.Handler):
    def emit(self, record):
        with lock:
            begun.set()
            threading.Event().wait(%r)
logging.getLogger("broker").addHandler(Busy())
logging.getLogger("broker").setLevel(logging.DEBUG)
endpoint = broker.Endpoint()
assert not endpoint.peer("127.0.0.1", 1, 0)
assert begun.wait(60)
child = os.fork()
if child == 0:
    os._exit(0 if lock.acquire(blocking=False) == %r else 1)
assert os.waitpid(child, 0)[1] == 0
assert broker.logging.flush(60)
""" % (pause, is_free), cwd=tmp_path)


@pytest.mark.parametrize("variable", ["BROKER_CONSOLE_VERBOSITY", "BROKER_FILE_VERBOSITY"])
def test_an_illegal_verbosity_is_refused(variable, monkeypatch):
    monkeypatch.setenv(variable, "loud")
    with pytest.raises(ValueError) as failure:
        broker.Endpoint()
    assert ("illegal value for environment variable %s: 'loud' (legal values: 'trace', 'debug', 'info', "
            "'warning', 'error', 'quiet')" % variable) in str(failure.value)


PEER = HEAD + """
endpoint = broker.Endpoint()
assert not endpoint.peer("127.0.0.1", 1, 0)
"""


def test_the_console_has_what_its_verbosity_asks_for(tmp_path):
    assert run(PEER, tmp_path).stderr == ""
    err = run(PEER, tmp_path, BROKER_CONSOLE_VERBOSITY="debug").stderr
    line, *_ = [line for line in err.splitlines() if "dial-failed" in line]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z debug   peer event=\"dial-failed\" ", line), line
    assert "dial-failed" not in run(PEER, tmp_path, BROKER_CONSOLE_VERBOSITY="info").stderr
    assert run(PEER, tmp_path, BROKER_CONSOLE_VERBOSITY="quiet").stderr == ""
    assert not list(tmp_path.iterdir())


def test_the_file_has_the_process_and_the_time_in_its_name(tmp_path):
    err = run(PEER, tmp_path, BROKER_FILE_VERBOSITY="debug").stderr
    assert err == ""
    path, = tmp_path.iterdir()
    assert re.fullmatch(r"broker_\d+_\d+\.log", path.name)
    assert "dial-failed" in path.read_text()
