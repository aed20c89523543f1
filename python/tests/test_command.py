"""The `broker` command as the package brings it: the console script and `python -m broker`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig

import broker
import pytest

from deadline import DEADLINE_S

SCRIPT = pathlib.Path(sysconfig.get_path("scripts")) / "broker"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=DEADLINE_S, **options)


@pytest.mark.parametrize("command", [[SCRIPT], [sys.executable, "-m", "broker"]])
def test_the_command_is_installed(command):
    assert SCRIPT.exists()
    done = run(*command, "version", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["version"] == broker.__version__
    wrong = run(*command, "versoin")
    assert wrong.returncode == 2
    assert "'version'" in wrong.stderr


def test_it_talks_to_endpoints_of_python():
    options = broker.BrokerOptions()
    options.disable_ssl = True
    with broker.Endpoint(broker.Configuration(options)) as endpoint, \
            endpoint.make_subscriber("/t") as messages:
        port = endpoint.listen("127.0.0.1", 0)
        done = run(SCRIPT, "pub", "/t", "5c", "--no-tls", "-u", "127.0.0.1:%d" % port)
        assert (done.returncode, done.stderr) == (0, "")
        assert messages.get(1, DEADLINE_S) == [("/t", broker.Count(5))]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_signals_end_it_without_a_traceback(number, code):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        port = endpoint.listen("127.0.0.1", 0)
        command = [SCRIPT, "sub", "/t", "--no-tls", "-u", "127.0.0.1:%d" % port]
        with subprocess.Popen([str(word) for word in command], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                # Something came through, so the command is past its start.
                with endpoint.make_status_subscriber(True) as statuses:
                    while not endpoint.peers():
                        statuses.get(1, 0.05)
                endpoint.publish("/t", "hello")
                assert process.stdout.readline().endswith('/t "hello"\n')
                process.send_signal(number)
                out, err = process.communicate(timeout=DEADLINE_S)
            finally:
                process.kill()
        assert process.returncode == code, err
        assert "Traceback" not in err
        assert "1 messages in" in err


def test_a_closed_pipe_is_no_failure():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run([str(SCRIPT), "value", "5c"], stdout=pipe, stderr=subprocess.PIPE,
                              timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_keeps_the_entries_that_python_wrote(tmp_path):
    file = tmp_path / "hosts.sqlite"
    with broker.Endpoint() as endpoint:
        store = endpoint.attach_master("hosts", broker.Backend.SQLite, {"path": str(file)})
        store.put("a", broker.Count(5))
        assert store.get("a") == broker.Count(5)
        in_use = run(sys.executable, "-m", "broker", "store", "ls", "--file", file)
        assert in_use.returncode == 1
        assert "in use" in in_use.stderr
    done = run(sys.executable, "-m", "broker", "store", "incr", "--file", file, "a")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(sys.executable, "-m", "broker", "store", "ls", "--file", file)
    assert (done.returncode, done.stdout) == (0, '"a": 6c\n')


def test_every_command_has_a_manual_page(tmp_path):
    assert run(sys.executable, "-m", "broker", "man", tmp_path).returncode == 0
    pages = {path.name for path in tmp_path.iterdir()}
    for name in ["sub", "pub", "req", "logs", "store", "store-dump", "zeek", "zeek-id", "intel",
                 "intel-load", "record", "replay", "ping", "node"]:
        assert "broker-%s.1" % name in pages


@pytest.mark.parametrize("name", ["broker-node", "broker-pipe", "broker-throughput"])
def test_the_tools_of_the_original_are_installed(name):
    done = run(SCRIPT.with_name(name), "--help")
    assert done.returncode == 0, done
    assert done.stdout.startswith("usage: %s " % name)
    assert run(SCRIPT.with_name(name), "--no-such-option").returncode == 1


def test_a_peering_is_looked_at_by_the_doctor():
    options = broker.BrokerOptions()
    options.disable_ssl = True
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        subscriber = endpoint.make_subscriber(["zeek/x"])
        url = "127.0.0.1:%d" % endpoint.listen("127.0.0.1", 0)
        done = run(SCRIPT, "doctor", url, "--no-tls")
        assert done.returncode == 0, done
        assert done.stdout.rstrip().endswith("everything works")
        done = run(SCRIPT, "doctor", url, "--no-tls", "--topic", "/zeek/x", "--wait", "100ms")
        assert done.returncode == 1, done
        assert "nearly: `zeek/x` (differs in the slash in front)" in done.stdout
        del subscriber
