"""Retries, one-line causes and progress of downloads, from the Hugging Face Hub or elsewhere."""

import logging
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers

from ..errors import UserError

LOG = logging.getLogger(__name__)

ATTEMPTS = 6
LONGEST = 300
"""Seconds that a server may ask to wait, at most: the Hub counts requests over five minutes."""
TRANSIENT = {408, 429, 500, 502, 503, 504}
T = TypeVar("T")
NETWORK_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RecursionError)
"""What the client raises; it calls itself after every break, so many exhaust Python's stack."""


def retrying(action: Callable[[], T], text: str, done: Callable[[], int] = lambda: 0) -> T:
    """Return what `action` returns, trying again, ever later, after errors that may pass.

    A server that says when to come back is asked then. The count starts anew whenever `done()`
    (bytes) has grown beyond what it ever was. Raises UserError naming the cause.
    """
    _log_client()
    failures, most = 0, done()
    while True:
        try:
            return action()
        except NETWORK_ERRORS as error:
            now = done()
            failures = 1 if now > most else failures + 1
            most = max(most, now)
            tries = f" ({failures} attempts)" if _transient(error) else ""
            if not _transient(error) or failures >= ATTEMPTS:
                raise UserError(f"{text}: {cause(error)}{tries}") from None
            wait = max(2 ** (failures - 1), _asked(error))
            LOG.warning("%s: %s; next attempt in %d s", text, cause(error), wait)
            time.sleep(wait)


def _transient(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return False
    # The client reports a wrong length as an OSError without a number; a full disk has one.
    short = type(error) is OSError and error.errno is None
    return short or isinstance(error, httpx2.TransportError | RecursionError)


def _asked(error: Exception) -> int:
    """Return the seconds that a server asks to wait, by Retry-After or the Hub's rate limit."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit, after = parse_ratelimit_headers(headers), headers.get("Retry-After", "").strip()
    asked = limit.reset_in_seconds if limit and not limit.remaining else 0
    return min(max(asked, int(after) if after.isdecimal() else 0), LONGEST)


def _log_client() -> None:
    """Send what the client says to the log, but no addresses: those of large files are signed.

    So nothing at its level DEBUG either, which users set by HF_DEBUG or HF_HUB_VERBOSITY.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    client = logging.getLogger("huggingface_hub")
    client.setLevel(max(client.level, logging.INFO))
    client.handlers.clear()
    client.propagate = True


def cause(error: Exception) -> str:
    """Return the reason in one line, and what to do where that is known."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids downloads"
    if isinstance(error, RecursionError):
        return "the connection broke too often"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        name = type(error).__name__.removesuffix("Error")
        text = f"HTTP {status}" + ("" if name == "HfHubHTTP" else f", {name}")
        if status in (401, 403):
            text += "; misspelt, or set HF_TOKEN to a token that may read it"
        return text
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def token() -> str | None:
    """Return the access token: from the environment only, so that a run can be repeated."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch("[!-~]*", value):
        raise UserError("environment: HF_TOKEN holds blanks or other characters no token has")
    return value or None


class Progress:
    """A stand-in for tqdm that writes a line to the log now and then."""

    def __init__(self, *, desc: str, total: int | None, initial: int, **_: object) -> None:
        self.name, self.total, self.done = desc, total, initial
        self.start, self.first, self.last = time.monotonic(), initial, time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, bytes_: int) -> None:
        self.done += bytes_
        now = time.monotonic()
        if now - self.last > 20:
            self.last = now
            rate = (self.done - self.first) / (now - self.start) / 1e6
            of = f" of {self.total / 1e6:.0f}" if self.total else ""
            LOG.info("%s: %.0f%s MB, %.1f MB/s", self.name, self.done / 1e6, of, rate)
