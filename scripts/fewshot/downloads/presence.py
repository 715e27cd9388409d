"""Which weights are there: the markers of downloads, kept true by the process that plans.

A marker (`results/models/{model}/weights.json`) names the files of a model's weights. Snakemake
sees the marker, never the weights: where these were freed, or removed by a file system that clears
what was not read for a while, the marker must not go on saying that they are there.

Once a run of the model is finished, a marker without files takes the place of one that is
forgotten: Snakemake would run every job that lists a missing file as soon as that file is made,
also if it is `ancient`. Who needs weights after that fetches them when it is known which jobs run
(rules/start.smk).
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..models.files import size_of_file, weight_names
from ..storage import read_json, write_json
from .store import HOME


def marker_of(model: str) -> Path:
    """Return the path of a model's marker."""
    return HOME / model / "weights.json"


def is_whole(path: str | Path, manifest: Mapping) -> bool:
    """Return whether a marker names all weights of a manifest and they are there; a stat each."""
    marker = _read(path)
    names = set(weight_names(manifest))
    known = marker.get("revision") == manifest["revision"] and set(marker["files"]) == names
    return known and not _lost(marker)


def is_there(model: str) -> bool:
    """Return whether a model's marker names files, and all of them are there; a stat each."""
    marker = _read(marker_of(model))
    return bool(marker["files"]) and not _lost(marker)


def settle(runs: Mapping[str, Iterable[str]]) -> str:
    """Make the markers of models true; for the process that plans, before it does.

    `runs` has the manifests of a study's runs, there or not, by model. Return one line on what was
    forgotten, empty if nothing was. Costs a stat for each file of weights.
    """
    lost = {}
    for model, manifests in runs.items():
        path = marker_of(model)
        marker = _read(path)
        gone = _lost(marker)
        if marker["files"] and not gone:
            continue
        if gone:
            lost[model] = gone[0]
        if not any(Path(each).is_file() for each in manifests):
            path.unlink(missing_ok=True)
        elif gone or not path.is_file():
            forget(model)
    found = ", ".join(f"{model} ({file})" for model, file in lost.items())
    line = f"weights are gone or incomplete: {found}; jobs that need them fetch them again"
    return line if lost else ""


def forget(model: str) -> None:
    """Let a model's marker say that no weights are there."""
    # Another process that does the same may have removed what this one was about to rename.
    with suppress(FileNotFoundError):
        write_json(marker_of(model), {"model": model, "files": {}})


def _read(path: str | Path) -> dict:
    """Return a marker; one without files where there is none that can be read."""
    try:
        marker = read_json(path)
    except UserError:
        return {"files": {}}
    return marker if _is_marker(marker) else {"files": {}}


def _is_marker(content: object) -> bool:
    """Return whether a file holds what a marker does; a user may have edited it."""
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        return False
    files = content["files"].values()
    named = not files or isinstance(content.get("folder"), str)
    return named and all(isinstance(each, dict) and "bytes" in each for each in files)


def _lost(marker: Mapping) -> list[str]:
    """Return the files of a marker that are gone or have another size."""
    paths = {name: Path(marker["folder"], name) for name in marker["files"]}
    return [
        str(path)
        for name, path in paths.items()
        if size_of_file(path) != marker["files"][name]["bytes"]
    ]
