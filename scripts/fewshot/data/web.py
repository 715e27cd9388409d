"""Download plain files by their address: retried, whole or not at all, verified where stated."""

import logging
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from huggingface_hub.file_download import http_get

from ..downloads.disk import check_room
from ..downloads.network import Progress, retrying
from ..errors import UserError
from ..records import atomic, sha256

LOG = logging.getLogger(__name__)


def fetch_file(address: str, folder: str | Path, name: str, digest: str | None, where: str) -> Path:
    """Download `address` to `folder` under `name` with the address's extension; return its path.

    `digest` is the file's sha256, if it is known: a file that has it already is kept, and one that
    arrives without it is refused. `where` names the file's user in messages. Raises UserError for
    whatever the network or the server answers instead, and for too little disk space.
    """
    path = Path(folder, name + PurePosixPath(urlsplit(address).path).suffix)
    text = f"{where}: {address}"
    if digest and path.is_file() and sha256(path) == digest:
        LOG.info("%s is already there", text)
        return path
    with atomic(path) as partial:
        for _ in range(2):
            retrying(lambda: _get(address, partial, text), text)
            found = sha256(partial)
            if digest in (None, found):
                LOG.info("%s: %d bytes, sha256 %s", text, partial.stat().st_size, found)
                return path
            LOG.warning("%s: sha256 is %s, not the one stated; downloading again", text, found)
        raise UserError(f"{text} arrived twice with sha256 {found}, where {digest} is stated")


def _get(address: str, path: Path, text: str) -> None:
    """Download to `path`, from the start."""
    # Compressed answers have no length, so that one that was cut could not be told.
    headers = {"Accept-Encoding": "identity"}
    with open(path, "wb") as file:
        progress = _progress_if_room(path.parent, text)
        http_get(address, file, headers=headers, displayed_filename=address, tqdm_class=progress)


def _progress_if_room(folder: Path, text: str) -> Callable[..., Progress]:
    """Return what makes the client's progress, and looks first whether the disk has room.

    How long a file is, is known from the answer alone: the client tells it before the first byte.
    """

    def progress(*, total: int | None, **options: object) -> Progress:
        check_room(total or 0, folder, text)
        return Progress(total=total, **options)

    return progress
