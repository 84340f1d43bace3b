"""Headless Chromium for tests of pages, spoken to over a pipe in its own protocol: no driver, no package.

    with Browser() as browser:
        page = browser.open(path)
        page.evaluate("document.title")
        assert not page.problems

Chromium comes from the system (Debian's package `chromium`). Where there is none, `needs_browser` skips.
"""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian's package `chromium`)")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]
PATIENCE = 60.0  # seconds for one answer, on a machine that is busy with something else
KEYS = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Space": 32}


class Browser:
    """A Chromium process without a network. Use it as a context manager."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Chromium reads from descriptor 3 and writes to descriptor 4, so ours must be others.
        (theirs_in, ours_out), (ours_in, theirs_out) = _pipe(), _pipe()
        redirected = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        profile = f"--user-data-dir={self.profile.name}"
        self.process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", CHROMIUM, *FLAGS, profile, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.out, self.inward = ours_out, ours_in
        self.numbers, self.buffer, self.events = itertools.count(1), b"", []
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.out)
        os.close(self.inward)
        self.profile.cleanup()

    def open(self, path, width=1280, height=900, dark=False, fragment=""):
        """Load a file -> Page. The report and the page say with data-ready on <html> that they are drawn."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        page.call("Network.emulateNetworkConditions", offline)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        page.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.call("Page.navigate", {"url": Path(path).absolute().as_uri() + fragment})
        page.wait_for("document.documentElement?.dataset.ready === 'yes'")
        return page

    def call(self, method, params=None, session=None):
        """One command -> its result. What else the browser says meanwhile is kept in `events`."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _next(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.inward], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self.inward, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("Chromium does not answer")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)


def _pipe():
    """Both ends of a pipe, as descriptors of 10 or more."""
    low = os.pipe()
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in low]
    for descriptor in low:
        os.close(descriptor)
    return high


class Page:
    """A page that is open."""

    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target

    def call(self, method, params=None):
        """One command to this page -> its result."""
        return self.browser.call(method, params, self.session)

    def evaluate(self, script):
        """The value of a JavaScript expression, awaited if it is a promise. Raises RuntimeError."""
        options = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "thrown"))
        return answer["result"].get("value")

    def wait_for(self, script):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(script):
            if time.monotonic() > until:
                raise RuntimeError(f"never true: {script}; the page says {self.problems}")
            time.sleep(0.05)

    def press(self, *keys):
        """Press keys, one after the other: names of KEYS, or single characters."""
        for key in keys:
            about = {"key": " " if key == "Space" else key, "windowsVirtualKeyCode": KEYS.get(key, 0)}
            text = {"text": "\r"} if key == "Enter" else {} if key in KEYS else {"text": key}
            self.call("Input.dispatchKeyEvent", {"type": "keyDown"} | about | text)
            self.call("Input.dispatchKeyEvent", {"type": "keyUp"} | about)

    def type(self, text):
        """Enter a text where the focus is."""
        self.call("Input.insertText", {"text": text})

    def screenshot(self, path, whole=False):
        """Save a PNG of what is seen, or of the whole page."""
        options = {"format": "png", "captureBeyondViewport": whole}
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", options)["data"]))

    def close(self):
        """Close the page."""
        self.browser.call("Target.closeTarget", {"targetId": self.target})

    @property
    def problems(self):
        """What went wrong on this page: errors and warnings on the console, exceptions, refused requests."""
        self.evaluate("0")  # takes in what is waiting
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, about = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
                found.append(f"console: {about['args']}")
            elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        return found

    @property
    def requests(self):
        """The addresses that this page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] == "Network.requestWillBeSent"
        ]
