"""A browser without a window, steered through the pipe of its developer tools.

Only what the tests of the live page need: pages, what they say on their console and ask for, what
their scripts evaluate to, and pictures of them.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time

from deadline import DEADLINE_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Beyond those that the browser speaks on.
FIRST_FREE_DESCRIPTOR = 10


class Browser:
    """One process with pages; a context manager."""

    def __init__(self, profile):
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, FIRST_FREE_DESCRIPTOR) for end in (to_browser, from_browser)]
        for end in (to_browser, from_browser):
            os.close(end)

        def connect():
            for end, number in zip(ends, (3, 4)):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        self._number = 0
        self._lock = threading.Condition()
        self._outcomes = {}
        self._pages = {}
        self._targets = []
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._commands)

    def _read(self):
        with open(self._answers, "rb") as answers:
            rest = b""
            while chunk := answers.read1(1 << 16):
                *messages, rest = (rest + chunk).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))
        with self._lock:
            self._is_over = True
            self._lock.notify_all()

    def _take(self, message):
        with self._lock:
            if "id" in message:
                self._outcomes[message["id"]] = message
                self._lock.notify_all()
            elif (page := self._pages.get(message.get("sessionId"))) is not None:
                page._note(message["method"], message["params"])

    def call(self, method, session=None, **params):
        """The answer to a command."""
        with self._lock:
            self._number += 1
            number = self._number
        command = {"id": number, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data):]
        with self._lock:
            answered = self._lock.wait_for(lambda: number in self._outcomes or self._is_over, 2 * DEADLINE_S)
            assert answered and number in self._outcomes, f"the browser does not answer {method}"
            outcome = self._outcomes.pop(number)
        assert "error" not in outcome, (method, outcome["error"])
        return outcome["result"]

    def page(self, width=1280, height=900, dark=False):
        """A new page of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self._targets.append(target)
        with self._lock:
            self._pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return page


    def close_pages(self):
        """Closes what was opened, so that it costs nothing any more."""
        for target in self._targets:
            self.call("Target.closeTarget", targetId=target)
        self._targets.clear()
        with self._lock:
            self._pages.clear()


class Page:
    """One page: `said` has what its console and the browser said about it, `asked` the addresses."""

    def __init__(self, browser, session):
        self._browser = browser
        self._session = session
        self.said = []
        self.asked = []

    def _note(self, method, params):
        if method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(it.get("value", it.get("description"))) for it in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif method == "Log.entryAdded":
            entry = params["entry"]
            self.said.append(f'{entry["text"]} {entry.get("url", "")}')
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def evaluate(self, script):
        """What a script evaluates to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script, what):
        """Waits until a script evaluates to something true, and returns it."""
        until = time.monotonic() + 2 * DEADLINE_S
        while True:
            if found := self.evaluate(script):
                return found
            assert time.monotonic() < until, (what, self.evaluate("document.body.innerText"), self.said)
            time.sleep(0.02)

    def click(self, text, selector="button"):
        """Clicks on the element with that text."""
        script = f"[...document.querySelectorAll({selector!r})].find((it) => it.textContent.trim() === {text!r})"
        self.wait_for(f"Boolean({script})", f"a {selector} named {text}")
        self.evaluate(f"{script}.click()")

    def type(self, selector, text):
        """Puts a text into a field, as a person does."""
        self.evaluate(f"document.querySelector({selector!r}).focus()")
        self.evaluate(f"document.querySelector({selector!r}).value = ''")
        self.call("Input.insertText", text=text)

    def text(self):
        return self.evaluate("document.body.innerText")

    def picture(self, path):
        """Keeps a picture of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))
