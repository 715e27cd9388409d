"""Manifests of runs, checked: complete, of the cell that is meant, and with unchanged files."""

from pathlib import Path

from .. import storage
from ..errors import UserError

CELL = ["protocol", "task", "model", "method", "pattern", "k"]


def read_run_manifest(folder: str | Path, cell: dict) -> dict:
    """Return a run's manifest, once run and files are what they should be.

    Raises UserError where there is none, where it is that of another cell (a folder that was
    copied to the wrong place), and where a file beside it has changed since it was written.
    """
    path = Path(folder, "manifest.json")
    if not path.exists():
        raise UserError(f"{path}: file not found; the run is incomplete")
    manifest = storage.read_json(path)
    for name in CELL:
        if manifest.get(name) != cell[name]:
            raise UserError(
                f"{path}: {name} is {manifest.get(name)}, not {cell[name]}: the run of another "
                "cell lies there; remove the folder"
            )
    if "files" not in manifest:
        raise UserError(f"{path}: no checksums: another version wrote it; remove the folder")
    for name, digest in manifest["files"].items():
        file = Path(folder, name)
        if not file.exists():
            raise UserError(f"{file}: file not found; incomplete run")
        if storage.sha256(file) != digest:
            raise UserError(f"{file}: it has changed since it was written; remove the folder")
    return manifest


def read_held_out_manifest(job: dict, cell: dict) -> dict:
    """Return the manifest of a job's scores of held-out shots; raises UserError as
    `read_run_manifest` does, and where they were held out in another way."""
    manifest = read_run_manifest(job["held_out"], cell)
    found = manifest.get("settings", {}).get("cross_validation")
    if found != job.get("cross_validation"):
        raise UserError(
            f"{Path(job['held_out'], 'manifest.json')}: cross_validation is {found}, not "
            f"{job['cross_validation']}: its shots were held out otherwise; remove the folder"
        )
    return manifest
