"""Python programs run as processes of their own, and what the system knows about processes."""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

from deadline import DEADLINE_S, wait_until

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"


class Program:
    """A Python program with its output line by line; killed at the end if it still runs."""

    def __init__(self, *arguments, code=None, cwd=None):
        # Unbuffered: programs that never end are read as they go.
        command = [sys.executable, "-u"]
        # Warnings about forking with threads are not what these programs are about.
        command += ["-W", "ignore::DeprecationWarning"]
        command += ["-c", code] if code is not None else [str(PROGRAMS / arguments[0])]
        command += map(str, arguments[code is None:])
        self.process = subprocess.Popen(command, text=True, cwd=cwd, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        self.output = []
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout=DEADLINE_S):
        """The next line of the output."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("no output within %g s after %r" % (timeout, self.output)) from None
        assert line is not None, "the program ended after %r" % self.output
        self.output.append(line)
        return line

    def expect(self, text, timeout=DEADLINE_S):
        line = self.line(timeout)
        assert line == text, "\n".join(self.output)

    def tell(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def interrupt(self):
        """Sends what Ctrl-C sends; returns when it was sent."""
        sent = time.monotonic()
        os.kill(self.pid, signal.SIGINT)
        return sent

    def wait_asleep(self):
        """The main thread waits for something."""
        wait_until(lambda: thread_state(self.pid) == "S", "the program waits")

    def finish(self, timeout=DEADLINE_S, code=0):
        """Waits for the end; returns the remaining lines."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError("still running after %g s: %r" % (timeout, self.output)) from None
        self._reader.join()
        rest = [line for line in iter(self._lines.get, None)]
        self.output += rest
        assert self.process.returncode == code, "exit code %d\n%s" % (
            self.process.returncode, "\n".join(self.output))
        return rest


def thread_state(pid):
    """State of the main thread, a letter as `ps` shows it."""
    text = pathlib.Path("/proc/%d/task/%d/stat" % (pid, pid)).read_text()
    return text.rpartition(")")[2].split()[0]


def resident_kib(pid="self"):
    """Memory of a process that is in use."""
    for line in pathlib.Path("/proc/%s/status" % pid).read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS of %s" % pid)


def unread_octets(port):
    """What lies in the system's buffers of connections that this port accepted, not yet read."""
    total = 0
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01":
            total += int(fields[4].rpartition(":")[2], 16)
    return total


def cpu_seconds(pid):
    """Processor time a process has used so far."""
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptor_count(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
