"""A headless Chromium or Chrome that tests drive, with nothing but the standard library.

The browser is told what to do by the DevTools protocol: JSON messages that end in a zero byte, over
two pipes, which it opens as its files 3 and 4 (https://chromedevtools.github.io/devtools-protocol).
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""What the browser may be called on PATH."""
VARIABLE = "FAIRSHOT_BROWSER"
"""The environment variable that names the browser where it is not on PATH."""
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""No sandbox: in a container there are often no rights for one, and the pages are our own."""
START = (
    "import os, sys; read, write, *command = sys.argv[1:];"
    "os.dup2(int(read), 3); os.dup2(int(write), 4); os.execv(command[0], command)"
)
"""A program that puts two pipes where the browser looks for them, and becomes the browser."""
PATIENCE = 120
"""Seconds to wait for an answer before the browser counts as stuck."""


def find_browser() -> str:
    """Return the path of the browser; skip the test where there is none."""
    named = os.environ.get(VARIABLE)
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if named and not found:
        pytest.fail(f"{VARIABLE}: {named} is no program")
    if not found:
        pytest.skip(f"no Chromium or Chrome on PATH; set {VARIABLE} to its path")
    return found


def _moved(file: int) -> int:
    """Return an open file under a number beyond those that START takes."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(file)
    return moved


class Browser:
    """One page in a headless browser; use it as a context."""

    def __enter__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, self._to = map(_moved, os.pipe())
        self._from, write = map(_moved, os.pipe())
        command = [find_browser(), *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(read), str(write), *command],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._profile.name},
        )
        os.close(read)
        os.close(write)
        self._buffer, self._count, self._session = b"", 0, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        found = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        self._call("Page.enable")
        return self

    def __exit__(self, *_):
        os.close(self._to)  # The browser ends when nobody can tell it anything any more.
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._profile.cleanup()

    def _receive(self) -> dict:
        """Return the next message of the browser."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self._from, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError("the browser " + ("has ended" if ready else "does not answer"))
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _call(self, method: str, **params: object) -> dict:
        """Return what the browser answers to a command of the protocol."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path: Path, width: int, height: int = 900, script: bool = True) -> None:
        """Open a file in a window of `width` by `height` CSS pixels; without `script`, JavaScript
        of the page is off (that of `evaluate` is not)."""
        mobile = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Emulation.setScriptExecutionDisabled", value=not script)
        self._call("Page.navigate", url=path.resolve().as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def print_style(self, on: bool) -> None:
        """Show the page as it is printed, or as it is on a screen again."""
        self._call("Emulation.setEmulatedMedia", media="print" if on else "")

    def evaluate(self, expression: str) -> object:
        """Return the value of a JavaScript expression in the page, waiting for a promise."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")
