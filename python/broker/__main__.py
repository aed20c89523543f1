"""The `broker` command: `python -m broker`, and the console script of the same name."""

import signal
import sys

from ._broker import _command


def main():
    """Runs the command with the arguments of the process and ends the process with its exit code."""
    # The native code answers Ctrl-C by itself: Python's handler would raise KeyboardInterrupt once
    # the command has said goodbye.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_command(["broker"] + sys.argv[1:]))


if __name__ == "__main__":
    main()
