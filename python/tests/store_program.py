"""A program with a replicated store that a test tells what to do, to be killed or stopped in the middle of it.

Each line of its input is a list in JSON, the name of a method of the store and its arguments; each line of its
output says what came of it: `["done", value]` or `["failed", text]`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import deadline


class Program:
    """The program in a process of its own, as a test sees it."""

    def __init__(self, name, options, listen=0):
        # The same package that the test has, wherever it is from.
        path = os.pathsep.join(it for it in sys.path if it)
        self._process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).resolve()), json.dumps([name, options, listen])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.port, = self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        return json.loads(line)

    def tell(self, method, *arguments):
        """Has it call a method of its store, without waiting for what comes of it."""
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")

    def heard(self):
        """What came of the first call that was not heard of yet: whether it was done, and the value or the text."""
        word, value = self._answer()
        return word == "done", value

    def call(self, method, *arguments):
        self.tell(method, *arguments)
        return self.heard()

    def until_done(self, method, *arguments):
        """Calls until it is done; the value."""
        def attempt():
            return [value for is_done, value in [self.call(method, *arguments)] if is_done]
        return deadline.wait_until(attempt, "%s is done" % method)[0]

    def await_standing(self, *wanted):
        deadline.wait_until(lambda: self.call("standing")[1] in wanted, "it is %s" % " or ".join(wanted))

    def stop(self):
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(deadline.DEADLINE_S)
        self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def open_store(endpoint, name, settings):
    """Opens it, once the servers have a leader."""
    import broker

    def attempt():
        try:
            return [endpoint.open_master(name, broker.Backend.JetStream, settings)]
        except broker.StoreError as error:
            if "no answer in time" not in str(error):
                raise
            return []

    return deadline.wait_until(attempt, "the servers have a leader")[0]


def main():
    import broker

    name, settings, listen = json.loads(sys.argv[1])
    options = broker.BrokerOptions()
    options.disable_ssl = True
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        port = endpoint.listen("127.0.0.1", listen)
        store = open_store(endpoint, name, settings)
        print(json.dumps([port]), flush=True)
        for line in sys.stdin:
            method, *arguments = json.loads(line)
            try:
                answer = ["done", getattr(store, method)(*arguments)]
            except Exception as error:
                answer = ["failed", str(error)]
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
