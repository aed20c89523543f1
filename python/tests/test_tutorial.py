"""The tutorial, typed as it is written: its programs, its commands, and what both print."""

import re
import shlex
import socket
import subprocess
import sys

from deadline import DEADLINE_S, wait_until
from ports import reserved_port
from process import Program
from recordings import REPOSITORY

BLOCK = re.compile(r"(?ms)^```(\w+)\n(.*?)^```$")
# Blocks that are not executed: what they install is this package, and the last needs a Zeek.
NOT_RUN = ["python3 -m venv tutorial", "pip install pytest"]


class Typist:
    """Does in a folder what the tutorial says; its port is one that is free here."""

    def __init__(self, folder):
        self.folder = folder
        self.port = str(reserved_port())
        text = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8").replace("9999", self.port)
        self.steps = iter(BLOCK.findall(text))

    def step(self, kind):
        found, text = next(self.steps)
        assert found == kind, text
        return text

    def save(self):
        text = self.step("python")
        path = self.folder / re.match("# (.*)\n", text).group(1)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self):
        """Runs the commands of a block, one after the other; returns what the last one prints."""
        for line in self.step("sh").splitlines():
            assert line.startswith("broker ")
            output = self._command("broker", line)
        return output

    def _command(self, module, line):
        done = subprocess.run([sys.executable, "-m", module, *shlex.split(line)[1:]], cwd=self.folder, text=True,
                              capture_output=True, timeout=DEADLINE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, path):
        return Program(code="import runpy, sys; sys.path[0] = %r; runpy.run_path(%r, run_name='__main__')"
                       % (str(self.folder), str(path)), cwd=self.folder)

    def await_port(self):
        """Waits for the program to listen: a person would look at the other terminal."""
        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", int(self.port))) == 0

        wait_until(answers, "the program listens")


def test_the_tutorial(tmp_path):
    typist = Typist(tmp_path)
    assert typist.step("sh").startswith(NOT_RUN[0])

    with typist.start(typist.save()) as watching:
        typist.await_port()
        typist.run()
        watching.expect(typist.step("text").strip())
        typist.run()
        # The line of the log has a time and the logger in front of it.
        assert typist.step("text").strip() in watching.line()

    detect = typist.save()
    with typist.start(detect) as detecting:
        typist.await_port()
        answer = typist.run()
        assert answer.endswith(typist.step("text"))
        for count in (1, 2, 3):
            detecting.expect("192.0.2.66 %d" % count)

    typist.save()
    command, test = typist.step("sh").splitlines()
    assert command == NOT_RUN[1]
    assert "1 passed" in typist._command("pytest", test.replace("python -m ", ""))
    assert [kind for kind, _ in typist.steps] == ["zeek"]
