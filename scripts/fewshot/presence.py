"""Which weights are there: the markers of downloads, kept true by the process that plans.

A marker (`results/models/{model}/weights.json`) names the files of a model's weights. Snakemake
sees the marker, never the weights: where these were freed, or removed by a file system that clears
what was not read for a while, the marker must not go on saying that they are there.

Once a run of the model is finished, a marker without files takes the place of one that is
forgotten. Snakemake runs every job that lists a missing file as soon as that file is made, also if
it is `ancient`: without it, one more cell of a model whose weights were freed would repeat all its
finished runs.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import UserError
from .folders import size_of_file
from .modelfiles import weight_names
from .records import read_json, write_json
from .store import HOME

CLAIMS = "claims"
"""The folder, beside a marker, of what says that a job found its model's weights."""


def marker_of(model: str) -> Path:
    """Return the path of a model's marker."""
    return HOME / model / "weights.json"


def is_whole(path: str | Path, manifest: Mapping) -> bool:
    """Return whether a marker names all weights of a manifest and they are there; a stat each."""
    marker = _read(path)
    names = set(weight_names(manifest))
    known = marker.get("revision") == manifest["revision"] and set(marker["files"]) == names
    return known and not _lost(marker)


def settle(runs: Mapping[str, Iterable[str]]) -> tuple[tuple[str, ...], str]:
    """Make the markers of models true; for the process that plans, before it does.

    `runs` has the manifests of a study's runs, there or not, by model. Return the models whose
    weights are not there and that have finished runs, and one line on what was forgotten, if
    anything was. The claims of jobs go with a marker. Costs a stat for each file of weights.
    """
    freed, lost = [], {}
    for model, manifests in runs.items():
        path = marker_of(model)
        marker = _read(path)
        gone = _lost(marker)
        if marker["files"] and not gone:
            continue
        if gone:
            lost[model] = gone[0]
        for claim in path.parent.glob(f"{CLAIMS}/*"):
            claim.unlink(missing_ok=True)
        if not any(Path(each).is_file() for each in manifests):
            path.unlink(missing_ok=True)
            continue
        freed.append(model)
        if gone or not path.is_file():
            write_json(path, {"model": model, "files": {}})
    found = ", ".join(f"{model} ({file})" for model, file in lost.items())
    line = f"weights are gone or incomplete: {found}; jobs that need them fetch them again"
    return tuple(freed), line if lost else ""


def freed_models(models: Iterable[str]) -> tuple[str, ...]:
    """Return what `settle` found: the models whose marker names no files."""
    paths = {model: marker_of(model) for model in models}
    return tuple(
        model for model, path in paths.items() if path.is_file() and not _read(path)["files"]
    )


def _read(path: str | Path) -> dict:
    """Return a marker; one without files where there is none that can be read."""
    try:
        marker = read_json(path)
    except UserError:
        return {"files": {}}
    whole = isinstance(marker, dict) and isinstance(marker.get("files"), dict)
    return marker if whole else {"files": {}}


def _lost(marker: Mapping) -> list[str]:
    """Return the files of a marker that are gone or have another size."""
    paths = {name: Path(marker["folder"], name) for name in marker["files"]}
    return [
        str(path)
        for name, path in paths.items()
        if size_of_file(path) != marker["files"][name]["bytes"]
    ]
