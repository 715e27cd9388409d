"""Download files of one repository on the Hugging Face Hub: pinned, resumable, verified.

huggingface_hub's own `hf_hub_download` accepts a damaged file of the right length, throws a
partial file away when it gives up and does not retry a 503. This module therefore drives the
client's lower half (`repo_info` for revision and checksums, `http_get` for the bytes): partial
files are named by their content and outlive a killed job, and every file is checked against the
checksum that the Hub states. Plain HTTP also serves what is stored in Xet, whose own protocol
cannot resume a file of a killed process.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from .errors import UserError, unknown
from .network import Progress, retrying, token
from .records import sha256


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


def open_repository(
    repo_id: str, repo_type: str, revision: str, where: str, endpoint: str | None = None
) -> Repository:
    """Look a repository up; `repo_type` is dataset or model, `endpoint` defaults to HF_ENDPOINT.

    A branch or tag is resolved to its commit with a warning. Raises UserError for whatever the
    network or the Hub answers instead.
    """
    # At level INFO the HTTP client logs addresses, and those of large files carry signatures.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    text = f"{where}: {repo_type} {repo_id} at revision {revision}"
    api = HfApi(endpoint=endpoint, token=token() or False)
    pinned = re.fullmatch("[0-9a-f]{40}", revision) is not None

    def ask() -> Repository:
        info = api.repo_info(
            repo_id, repo_type=repo_type, revision=revision, files_metadata=True, timeout=30
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
    if not repository.commit or (pinned and repository.commit != revision):
        raise UserError(f"{text}: the Hub answered with commit {repository.commit}")
    if not pinned:
        logging.warning("%s is not a commit; using %s", text, repository.commit)
    return repository


def fetch_files(
    repository: Repository, names: Iterable[str], folder: str | Path
) -> dict[str, dict[str, str | int]]:
    """Download files into `folder` under their names and return {name: sha256, bytes}.

    Files already there and intact are kept. Raises UserError for a name that the repository does
    not have, too little disk space, and a download that fails or arrives damaged twice.
    """
    names, folder = list(dict.fromkeys(names)), Path(folder)
    for name in names:
        if name not in repository.files:
            raise unknown("file", name, repository.files, str(repository))
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{repository}: file '{name}' would lie outside its folder")
        remote = repository.files[name]
        if not remote.sha256 and not remote.blob_id:
            raise UserError(f"{repository}: the Hub states no checksum for '{name}'")
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(repository, names, folder)
    for name in names:
        _fetch(repository, name, folder)
    return {
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }


def _check_space(repository: Repository, names: list[str], folder: Path) -> None:
    sizes = [repository.files[name].size or 0 for name in names if not (folder / name).is_file()]
    partial = sum(path.stat().st_size for path in folder.glob(".partial/*"))
    need, free = sum(sizes) - partial, shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{repository}: needs {need / 1e9:.2f} GB in {folder}, "
            f"where {free / 1e9:.2f} GB are free"
        )


def _fetch(repository: Repository, name: str, folder: Path) -> None:
    """Bring one file to `folder`, verified; a damaged one is downloaded a second time."""
    remote, target = repository.files[name], folder / name
    if target.is_file() and _intact(target, remote):
        logging.info("%s: %s is already there", repository, name)
        return
    partial = folder / ".partial" / (remote.sha256 or remote.blob_id)
    partial.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = f"{repository}: file '{name}'"
    for _ in range(2):
        retrying(lambda: _get(repository, name, partial), text, lambda: _size(partial))
        if _intact(partial, remote):
            os.replace(partial, target)
            _remove_if_empty(partial.parent)
            logging.info("%s: %d bytes, checksum verified", text, target.stat().st_size)
            return
        logging.warning("%s: checksum is not what the Hub states; downloading again", text)
        partial.unlink()
    raise UserError(
        f"{text} arrived damaged twice: its checksum is not the one that the Hub states "
        f"({remote.sha256 or remote.blob_id})"
    )


def _get(repository: Repository, name: str, partial: Path) -> None:
    """Append what is missing to the partial file."""
    remote, done = repository.files[name], _size(partial)
    if done and (remote.size is None or done > remote.size):
        partial.unlink()
        done = 0
    url = hf_hub_url(
        repository.repo_id,
        name,
        repo_type=repository.repo_type,
        revision=repository.commit,
        endpoint=repository.endpoint,
    )
    # Compressed answers have no length and cannot be resumed.
    headers = {**build_hf_headers(token=token() or False), "Accept-Encoding": "identity"}
    with open(partial, "ab") as file:
        http_get(
            url,
            file,
            resume_size=done,
            headers=headers,
            expected_size=remote.size,
            displayed_filename=name,
            tqdm_class=Progress,
        )


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _intact(path: Path, remote: RemoteFile) -> bool:
    """Return whether a file has the size and the sha256 (or git blob id) that the Hub states."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return False
    if remote.sha256:
        return sha256(path) == remote.sha256
    return hashlib.sha1(b"blob %d\0" % size + path.read_bytes()).hexdigest() == remote.blob_id
