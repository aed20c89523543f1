"""The connection of ZeroMQ of `broker_proto::zmtp` as a process: `crates/broker-proto/examples/zmtp_peer.rs`."""

import os
import pathlib
import queue
import shutil
import subprocess
import threading

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Seconds until something counts as not coming; a busy machine may need many.
PATIENCE = 60


def build():
    """Returns the path of the program, which the Rust tests build; builds it if they did not run."""
    named = os.environ.get("BROKER_ZMTP_PEER")
    if named:
        return named
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("*** NOT TESTED: no cargo to build examples/zmtp_peer.rs with ***")
    command = [cargo, "build", "--quiet", "--locked", "-p", "broker-proto", "--example", "zmtp_peer"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    return str(target / "debug" / "examples" / "zmtp_peer")


def encode(part):
    return part.hex() or "-"


def decode(word):
    return b"" if word == "-" else bytes.fromhex(word)


class ZmtpPeer:
    """One connection; what it says is a list of words."""

    def __init__(self, program, kind, way, address, *security):
        self.process = subprocess.Popen(
            [program, kind, way, address, *security],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.split())
        self.lines.put(["ended"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def say(self, command, *parts):
        self.process.stdin.write(" ".join([command, *map(encode, parts)]) + "\n")
        self.process.stdin.flush()

    def hear(self, expected):
        """Returns the words behind the next line, which has to begin with this one."""
        words = self.lines.get(timeout=PATIENCE)
        assert words[0] == expected, words
        return words[1:]

    def hear_parts(self, expected):
        return [decode(word) for word in self.hear(expected)]

    def hear_failure(self):
        return " ".join(self.hear("failed"))
