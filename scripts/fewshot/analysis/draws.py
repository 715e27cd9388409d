"""Runs that are compared must have been shown, or trained on, the same shots."""

from collections.abc import Iterable
from pathlib import Path

from .. import storage
from ..errors import UserError


class Draws:
    """The draws of the runs of a task: those of equal k, seed and kind must be the same rows."""

    def __init__(self):
        self._first: dict[tuple, tuple[str, str]] = {}

    def add(self, folder: str, k: int, manifest: dict) -> None:
        """Compare a run's draws with those before; raises UserError where they differ."""
        checksums = manifest.get("checksums") or {}
        for seed, digest in (checksums.get("shots") or {}).items():
            key = (checksums.get("draw"), k, seed)
            other, first = self._first.setdefault(key, (folder, digest))
            if first != digest:
                raise UserError(
                    f"{folder}: its shots of seed {seed} are not those of {other}: methods are "
                    "compared on the same rows only; remove the folder of the older run"
                )


def check_draws(manifests: Iterable[str | Path]) -> None:
    """Compare the draws of a task's runs; raises UserError for one that had other shots."""
    draws = Draws()
    for path in manifests:
        manifest = storage.read_json(path)
        draws.add(str(Path(path).parent), manifest["k"], manifest)
