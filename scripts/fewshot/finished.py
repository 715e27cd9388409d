"""What finished jobs took beside what was predicted of them, from benchmark files and manifests.

A benchmark file has the seconds of the last attempt alone, a manifest those of all seeds whenever
they were run. So only jobs count that ran from their start to their end at once.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import records
from .calibration import FILE, Calibration, Measured, held_out
from .cells import Cell
from .errors import UserError
from .placement import Placement
from .timing import MEASURED, PHASES, Place

if TYPE_CHECKING:
    from .memoryplan import MemoryPlan

BENCHMARKS = Path("results/benchmarks/runs")
RUNS = Path("results/runs")
NAMES = ("protocol", "task", "model", "method", "pattern", "k")
NEEDED = {*NAMES, *("seeds", "settings", "placement", "device", "threads", "world_size", "seconds")}
SEED = {"seconds", "scoring"}
"""What a manifest must tell, and what of each finished seed."""


class Unusable(Exception):
    """Why a finished job does not count."""


def gather(
    plan: "MemoryPlan", benchmarks: Path = BENCHMARKS, runs: Path = RUNS
) -> tuple[list[Measured], Counter]:
    """Return what can be told of jobs with a benchmark file, and how many cannot be used, by why.

    Predictions are made anew, for the place where each job ran. Raises UserError for a file that
    cannot be read, and where no job can be used.
    """
    found, left = [], Counter()
    for path in sorted(benchmarks.rglob("*.jsonl")):
        manifest = runs / path.relative_to(benchmarks).with_suffix("") / "manifest.json"
        try:
            if not manifest.exists():
                raise Unusable("not finished")
            found.append(measure(plan, records.read_json(manifest), wall_seconds(path)))
        except Unusable as reason:
            left[str(reason)] += 1
    if not found:
        why = "; ".join(f"{count:,} {reason}" for reason, count in sorted(left.items()))
        raise UserError(
            f"{benchmarks}: no finished job to learn from ({why or 'there is no file'})"
        )
    return found, left


def wall_seconds(path: Path) -> float:
    """Return the seconds in a benchmark file of Snakemake's; raises UserError where there are none.

    Only the last line counts, should it have several.
    """
    try:
        return float(json.loads(path.read_text().splitlines()[-1])["s"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise UserError(
            f"{path}: no benchmark file of Snakemake's; remove it, or run its job again"
        ) from None


def measure(plan: "MemoryPlan", manifest: Mapping, wall: float) -> Measured:
    """Return what a job took and what is predicted of it; raises Unusable with a reason."""
    done = [each for each in manifest.get("seeds", {}).values() if each["status"] == "ok"]
    if not manifest.keys() >= NEEDED or not all(each.keys() >= SEED for each in done):
        raise Unusable("described by the manifest of another version")
    study, cell = plan.study, Cell(*(manifest[name] for name in NAMES))
    _check_config(study, cell, manifest)
    if not done:
        raise Unusable("no seed fits the window")
    _check_course(done, manifest["seconds"], wall)
    sets = {name for each in done for name in each["scoring"]}
    if sets != {cell.task, *(name for name, _ in study.out_of_domain(cell.task, cell.protocol))}:
        raise Unusable("scored on other sets than config/tasks.yaml now names")
    measured = dict.fromkeys(PHASES, 0.0) | {"start": wall - sum(manifest["seconds"].values())}
    for phase, seconds in manifest["seconds"].items():
        known = MEASURED.get(phase, phase)
        measured[known if known in PHASES else "start"] += seconds
    site = site_of(manifest, plan.machine.gpus_per_node)
    return Measured(
        kind=site.kind,
        device=manifest["device"],
        parameters=study.models[cell.model]["parameters"],
        predicted=plan.seconds(cell, len(done), site),
        measured=measured,
    )


def _check_config(study, cell: Cell, manifest: Mapping) -> None:
    """Raise Unusable for results made elsewhere, or by settings that are no longer configured."""
    if manifest["settings"].get("family") == "imported":
        raise Unusable("made by other software")
    known = {"task": study.tasks, "model": study.models, "method": study.methods,
             "pattern": study.patterns}  # fmt: skip
    if any(getattr(cell, name) not in entries for name, entries in known.items()):
        raise Unusable("of a cell that config/ no longer has")
    if study.method_settings(cell.method, cell.model) != manifest["settings"]:
        raise Unusable("made with other settings than config/methods.yaml now has")


def _check_course(done: list[Mapping], seconds: Mapping[str, float], wall: float) -> None:
    """Raise Unusable for a job that was interrupted and went on, or whose memory ran out."""
    starts = sum("load" in each["seconds"] for each in done)
    resumed = any(each.get("resumed_after_steps") for each in done)
    if starts != 1 or resumed or wall <= sum(seconds.values()):
        raise Unusable("interrupted and resumed")
    if "lost" in seconds or any(each.get("shortages") for each in done):
        raise Unusable("ran out of memory on the way")


def site_of(manifest: Mapping, per_node: int) -> Place:
    """Return where a run's job ran; of several GPUs a node has `per_node`, or all if that is 0."""
    placement = Placement(**manifest["placement"])
    size = manifest["world_size"]
    if not str(manifest["device"]).startswith("cuda"):
        return Place(placement, 0, size, manifest["threads"])
    there = min(size, per_node or size)
    return Place(placement, there, -(-size // there))


def report(found: Calibration, jobs: Sequence[Measured], left_out: Mapping[str, int]) -> str:
    """Return in words what was learnt, how far predictions were off before, and are now."""
    lines = []
    for kind, known in found.kinds.items():
        own = [job for job in jobs if job.kind == kind]
        devices = ", ".join(f"{count:,} on {name}" for name, count in known.devices.items())
        lines.append(f"{kind.upper()}: {len(own):,} jobs ({devices}).")
        phases = ", ".join(f"{phase} {factor:.2f}" for phase, factor in known.factors.items())
        lines.append(f"Factors on predicted seconds: {phases}.")
        taken = np.array([job.seconds for job in own])
        before = np.array([sum(job.predicted.values()) for job in own])
        lines.append(f"Before: {_errors(before, taken)}.")
        lines.append(f"After: {_errors(np.array(held_out(own)), taken)}; {_SHARED[len(own) > 1]}.")
    for reason, count in sorted(left_out.items()):
        lines.append(f"Left out: {count:,} jobs, {reason}.")
    lines.append(f"Written: {FILE}; plan and time limits rest on it from now on.")
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)


_SHARED = {
    True: "each half of the jobs is predicted with factors of the other half",
    False: "of the job that the factors are from",
}


def _errors(predicted: np.ndarray, taken: np.ndarray) -> str:
    """Return how far predicted seconds are from those that jobs took."""
    off = np.abs(predicted / taken - 1)
    total, tenth = predicted.sum() / taken.sum() - 1, np.quantile(off, 0.9)
    return (
        f"predictions are off by {np.median(off):.0%} for the median job, by {tenth:.0%} or more "
        f"for one in ten; by {total:+.0%} in all"
    )
