"""What the numbers of a study rest on, as tables: models, data, environment."""

import os
from collections.abc import Iterable, Sequence

import pandas as pd

from ..analysis.titles import titles
from ..data.entries import split_parts
from ..formatting import BLANK, number_of
from .table_text import Table

PARTS = {
    "metrics": "metrics",
    "comparisons": "comparisons",
    "contrasts": "questions",
    "variance": "variance components",
    "choices": "choices of settings",
    "bias": "bias probes",
    "forgetting": "changes outside the tasks",
    "costs": "costs",
    "latency": "measured latencies",
    "windows": "contexts and windows",
    "manifests": "manifests of the runs",
    "held_out": "manifests of shots held out",
}
"""What the parts of the evidence are called."""
HOW = (("Held out", "cross_validation"),)
"""What is shown of the settings of runs that score shots."""
SHORT = 16
"""Characters of a checksum that are shown; manifests hold them whole."""


def provenance(
    models: list[dict],
    sources: list[dict],
    manifests: list[dict],
    catalog: dict,
    held_out: Sequence[dict] = (),
) -> dict[str, Table]:
    """Return title -> table, from the manifests of models, raw sources and runs, and of the runs
    that scored shots `held_out`, if there are any."""
    held = {"Shots held out": _printed(_environments(held_out, HOW))} if held_out else {}
    return {
        "Models": _printed([_model(manifest, catalog) for manifest in models]),
        "Data": _printed([row for manifest in sources for row in _source(manifest)]),
        "Runs": _printed(_environments(manifests)),
        **held,
        "Packages": _printed(_packages([*manifests, *held_out])),
    }


def origin(read: Iterable[str], files: dict[str, list[str]], code: str) -> str:
    """Return, a line for each, which files something was made from, and by which code.

    `read` names the parts of the evidence (see evidence.Watched), `files` has their paths. A part
    without files was computed on the spot from the runs, whose manifests are counted.
    """
    lines = [f"{PARTS[name]}: {_folder(files[name])}" for name in read if files.get(name)]
    computed = [PARTS[name] for name in read if name in PARTS and name not in files]
    if computed:
        runs = len(files.get("manifests", []))
        lines.append(f"{', '.join(computed)}: computed from {number_of(runs, 'run')}")
    return "\n".join([*lines, f"code: {code}"])


def _folder(paths: list[str]) -> str:
    """Return a file's path, or how many files there are in which folder."""
    if len(paths) == 1:
        return paths[0]
    return f"{len(paths)} files of {os.path.commonpath(paths)}"


def evidence_files(files: dict[str, list[str]]) -> Table:
    """Return the files that tables and figures were made from, a row for each part."""
    return _printed(
        [
            {"Part": PARTS[name], "Files": len(paths), "Where": os.path.commonpath(paths)}
            for name, paths in files.items()
            if paths
        ]
    )


def _printed(rows: list[dict]) -> Table:
    frame = pd.DataFrame(rows).drop_duplicates(ignore_index=True) if rows else pd.DataFrame()
    return Table(frame, frame.astype(str))


def _model(manifest: dict, catalog: dict) -> dict:
    weights = {
        name: file
        for name, file in sorted(manifest["files"].items())
        if name.endswith((".safetensors", ".bin"))
    }
    return {
        "Model": titles(catalog, "models").get(manifest["model"], manifest["model"]),
        "Source": manifest["kind"],
        "Revision": str(manifest.get("revision") or BLANK),
        "Weights (sha256)": _checksums(weights),
    }


def _source(manifest: dict) -> list[dict]:
    return [
        {
            "Source": manifest["source"],
            "Kind": manifest["kind"],
            "Revision": str(manifest.get("revision") or BLANK),
            "File": split if len(split_parts(entry)) == 1 else f"{split}, part {number}",
            "sha256": part["sha256"][:SHORT],
        }
        for split, entry in sorted(manifest["files"].items())
        for number, part in enumerate(split_parts(entry), 1)
    ]


def _checksums(files: dict[str, dict]) -> str:
    shown = [f"{name} {file['sha256'][:SHORT]}" for name, file in list(files.items())[:2]]
    rest = [f"and {len(files) - 2} more"] if len(files) > 2 else []
    return "; ".join([*shown, *rest]) or BLANK


def _environments(manifests: Sequence[dict], also: Sequence[tuple[str, str]] = ()) -> list[dict]:
    """Return one row per kind of environment that runs were made in, with their number, and per
    value of the settings `also`, each with its title."""
    names = {
        "Device": "device",
        "Precision": "dtype",
        "Processes": "world_size",
        "Threads": "threads",
        "Python": "python",
        "Code version": "code",
    }
    rows = pd.DataFrame(
        [
            {title: str(item["settings"].get(key)) for title, key in also}
            | {title: str(item.get(key)) for title, key in names.items()}
            for item in manifests
        ]
    )
    if rows.empty:
        return []
    counts = rows.groupby(list(rows), sort=True).size().rename("Runs").reset_index()
    return counts.to_dict("records")


def _packages(manifests: list[dict]) -> list[dict]:
    versions: dict[str, set[str]] = {}
    for manifest in manifests:
        for name, version in (manifest.get("packages") or {}).items():
            versions.setdefault(name, set()).add(str(version))
    return [
        {"Package": name, "Version": ", ".join(sorted(found))}
        for name, found in sorted(versions.items())
    ]
