"""The `broker` command: `python -m broker`, and the console scripts of the package."""

import signal
import sys

from ._broker import _command


def main():
    """Runs the command with the arguments of the process and ends the process with its exit code."""
    _run("broker")


def node():
    """Runs the original's `broker-node`."""
    _run("broker-node")


def pipe():
    """Runs the original's `broker-pipe`."""
    _run("broker-pipe")


def throughput():
    """Runs the original's `broker-throughput`."""
    _run("broker-throughput")


def _run(name):
    # The native code answers Ctrl-C by itself: Python's handler would raise KeyboardInterrupt once
    # the command has said goodbye.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_command([name] + sys.argv[1:]))


if __name__ == "__main__":
    main()
