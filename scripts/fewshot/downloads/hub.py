"""Download files of one repository on the Hugging Face Hub: pinned, through its cache, verified.

huggingface_hub downloads into its cache (HF_HUB_CACHE), which other programs share; `hf cache`
lists and frees what lies there. Before a file is used, it is compared with the checksum that the
Hub states.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import parse_ratelimit_headers

from ..errors import UserError, unknown
from ..models.files import size_of_file
from ..storage import atomic, sha256
from .disk import check_room
from .revisions import KINDS, commit_of, is_commit

LOG = logging.getLogger(__name__)

ATTEMPTS = 6
LONGEST = 300
"""Seconds that a server may ask to wait, at most: the Hub counts requests over five minutes."""
TRANSIENT = {408, 429, 500, 502, 503, 504}
T = TypeVar("T")
NETWORK_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError)
"""What the client raises. It calls itself after every break, so many exhaust Python's stack (a
RecursionError, which is a RuntimeError), and its Xet part raises RuntimeError as well."""


def retrying(action: Callable[[], T], text: str) -> T:
    """Return what `action` returns, trying again, ever later, after errors that may pass.

    A server that says when to come back is asked then. Raises UserError naming the cause.
    """
    _log_client()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except NETWORK_ERRORS as raised:
            error = _underlying(raised)
            tries = f" ({attempt} attempts)" if _transient(error) else ""
            if not _transient(error) or attempt == ATTEMPTS:
                raise UserError(f"{text}: {cause(error)}{tries}") from None
            wait = max(2 ** (attempt - 1), _asked(error))
            LOG.warning("%s: %s; next attempt in %d s", text, cause(error), wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _underlying(error: Exception) -> Exception:
    """Return what kept the client from looking a file up, which it raises as a missing file."""
    hidden = isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception)
    return error.__cause__ if hidden else error


def _transient(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return False
    # The client reports a wrong length as an OSError without a number; a full disk has one.
    short = type(error) is OSError and error.errno is None
    return short or isinstance(error, httpx2.TransportError | RuntimeError)


def _asked(error: Exception) -> int:
    """Return the seconds that a server asks to wait, by Retry-After or the Hub's rate limit."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit, after = parse_ratelimit_headers(headers), headers.get("Retry-After", "").strip()
    asked = limit.reset_in_seconds if limit and not limit.remaining else 0
    return min(max(asked, int(after) if after.isdecimal() else 0), LONGEST)


def _log_client() -> None:
    """Send what the client says to the log, without the queries of addresses, which may be signed.

    So nothing at its level DEBUG either, which users set by HF_DEBUG or HF_HUB_VERBOSITY.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    client = logging.getLogger("huggingface_hub")
    client.setLevel(max(client.level, logging.INFO))
    client.handlers.clear()
    client.propagate = True
    for module in ("file_download", "utils._http"):
        client.getChild(module).addFilter(_without_queries)


def _without_queries(record: logging.LogRecord) -> bool:
    record.msg, record.args = re.sub(r"(://[^\s?]*)\?\S*", r"\1", record.getMessage()), ()
    return True


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
        if isinstance(error, GatedRepoError):
            page = re.sub(r"/(resolve|revision)/.*", "", str(error.response.url))
            page = page.replace("/api/models/", "/").replace("/api/", "/")
            text += f"; accept its terms on {page} and set HF_TOKEN to a token of that account"
        elif status in (401, 403):
            text += "; misspelt, or set HF_TOKEN to a token that has access to it"
        return text
    if isinstance(error, json.JSONDecodeError):
        return "the answer is not the Hub's JSON: a login page of the network, or a proxy, perhaps"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def token() -> str | None:
    """Return the access token: from the environment only, so that a run can be repeated."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch("[!-~]*", value):
        raise UserError("environment: HF_TOKEN holds blanks or other characters no token has")
    return value or None


class LogProgress:
    """A stand-in for tqdm that writes a line to the log now and then."""

    def __init__(self, *, desc: str, total: int | None, initial: int = 0, **_: object) -> None:
        self.name, self.total, self.done = desc, total, initial
        self.start, self.first, self.last = time.monotonic(), initial, time.monotonic()

    def __enter__(self) -> "LogProgress":
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

    def update_transfer(self, bytes_: int) -> None:
        """Ignore the bytes on the network, which the client counts beside those of the file."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Ignore the client's own rate."""

    set_transfer_postfix_str = set_postfix_str


PATIENCE = 30.0
"""Seconds to wait for what the Hub states about a repository or a file."""
TYPES = {"models": "model", "sources": "dataset"}
"""What the Hub calls the entries of models.yaml and the sources of tasks.yaml."""


@dataclass(frozen=True)
class RemoteFile:
    """What the Hub states about a file: bytes, and its sha256 or (small files) git blob id."""

    size: int | None
    sha256: str | None
    blob_id: str | None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit; `where` names its user (a source, a model) in messages."""

    repo_id: str
    repo_type: str
    commit: str
    files: dict[str, RemoteFile]
    endpoint: str | None
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.repo_type} {self.repo_id} at revision {self.commit}"


def open_locked(kind: str, name: str, entry: Mapping, endpoint: str | None = None) -> Repository:
    """Look up the repository of an entry with hub and revision, at the commit that is locked.

    `kind` is models or sources. The first download of a branch or tag locks its commit (see
    `revisions`). Raises UserError as `open_repository` and `revisions.commit_of` do.
    """
    where = f"{KINDS[kind]} '{name}'"

    def opened(revision: str) -> Repository:
        return open_repository(entry["hub"], TYPES[kind], revision, where, endpoint)

    commit = commit_of(kind, name, entry, lambda: opened(entry["revision"]).commit)
    return opened(commit)


def open_repository(
    repo_id: str, repo_type: str, revision: str, where: str, endpoint: str | None = None
) -> Repository:
    """Look a repository up; `repo_type` is dataset or model, `endpoint` defaults to HF_ENDPOINT.

    A branch or tag is resolved to its commit with a warning. Raises UserError for whatever the
    network or the Hub answers instead.
    """
    text = f"{where}: {repo_type} {repo_id} at revision {revision}"
    api = HfApi(endpoint=endpoint, token=token() or False)

    def ask() -> Repository:
        info = api.repo_info(
            repo_id, repo_type=repo_type, revision=revision, files_metadata=True, timeout=PATIENCE
        )
        files = {
            file.rfilename: RemoteFile(file.size, file.lfs and file.lfs.sha256, file.blob_id)
            for file in info.siblings or []
        }
        return Repository(repo_id, repo_type, info.sha, files, endpoint, where)

    try:
        repository = retrying(ask, text)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{text}: the answer is not the Hub's ({error!r})") from None
    if not repository.commit or (is_commit(revision) and repository.commit != revision):
        raise UserError(f"{text}: the Hub answered with commit {repository.commit}")
    if not is_commit(revision):
        LOG.warning("%s is not a commit; using %s", text, repository.commit)
    return repository


def fetch_files(
    repository: Repository, names: Iterable[str], folder: str | Path, link: bool = False
) -> dict[str, dict[str, str | int]]:
    """Bring files to `folder` under their names and return {name: sha256, bytes}.

    They are downloaded into the cache of huggingface_hub unless they lie there, and copied from it,
    or with `link` only linked. Files already in the folder and intact are kept, also where a later
    one fails. Raises UserError for a name that the repository does not have, before the first byte
    for too little disk space, and for a download that fails or arrives damaged twice.
    """
    names, folder = list(dict.fromkeys(names)), Path(folder)
    for name in names:
        _check_name(repository, name)
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    check_room(sum(_lacking(repository, name, folder) for name in names), cache, str(repository))
    return {name: _fetch(repository, name, folder, link) for name in names}


def _check_name(repository: Repository, name: str) -> None:
    if name not in repository.files:
        raise unknown("file", name, repository.files, str(repository))
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{repository}: file '{name}' would lie outside its folder")
    remote = repository.files[name]
    if not remote.sha256 and not remote.blob_id:
        raise UserError(f"{repository}: the Hub states no checksum for '{name}'")


def _lacking(repository: Repository, name: str, folder: Path) -> int:
    """Return the bytes that are still to come of a file (0 where the Hub does not say)."""
    size = repository.files[name].size or 0
    cached = try_to_load_from_cache(
        repository.repo_id, name, revision=repository.commit, repo_type=repository.repo_type
    )
    return 0 if isinstance(cached, str) or size_of_file(folder / name) == size else size


def _fetch(repository: Repository, name: str, folder: Path, link: bool) -> dict[str, str | int]:
    """Bring one file to `folder`, verified; a damaged one is downloaded a second time."""
    remote, target = repository.files[name], folder / name
    text = f"{repository}: file '{name}'"
    if intact(target, remote):
        LOG.info("%s is already there", text)
        return _described(target, remote)
    for _ in range(2):
        cached = Path(retrying(lambda: _download(repository, name), text)).absolute()
        if intact(cached, remote):
            _place(cached, target, link)
            LOG.info("%s: %d bytes, checksum verified", text, target.stat().st_size)
            return _described(target, remote)
        LOG.warning("%s: checksum is not what the Hub states; downloading again", text)
        for path in (cached.resolve(), cached):
            path.unlink(missing_ok=True)
    raise UserError(
        f"{text} arrived damaged twice: its checksum is not the one that the Hub states "
        f"({remote.sha256 or remote.blob_id})"
    )


def _download(repository: Repository, name: str) -> str:
    """Return the path of a file in the cache, downloaded if it is not there."""
    return hf_hub_download(
        repository.repo_id,
        name,
        repo_type=repository.repo_type,
        revision=repository.commit,
        endpoint=repository.endpoint,
        token=token() or False,
        etag_timeout=PATIENCE,
        tqdm_class=LogProgress,
    )


def _place(cached: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as partial:
        if link:
            partial.symlink_to(cached)
        else:
            shutil.copyfile(cached, partial)


def _described(path: Path, remote: RemoteFile) -> dict[str, str | int]:
    return {"sha256": remote.sha256 or sha256(path), "bytes": path.stat().st_size}


def intact(path: Path, remote: RemoteFile) -> bool:
    """Return whether a file is there with the size and sha256 (or git blob id) that are stated."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return False
    if remote.sha256:
        return sha256(path) == remote.sha256
    return hashlib.sha1(b"blob %d\0" % size + path.read_bytes()).hexdigest() == remote.blob_id
