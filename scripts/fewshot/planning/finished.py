"""What finished jobs took beside what was predicted of them, from benchmark files and manifests.

A benchmark file has the seconds of the last attempt alone, a manifest those of all seeds whenever
they were run. So only jobs count that ran from their start to their end at once.
"""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import storage
from ..errors import UserError
from ..runtime.placement import JobPlace, Placement
from ..study.cells import PROTOCOLS, Cell
from .calibration import FILE, Calibration, Measured, held_out
from .job_time import MEASURED, PHASES

if TYPE_CHECKING:
    from ..study.study import Study
    from .memory_plan import MemoryPlan

BENCHMARKS = Path("results/benchmarks/runs")
RUNS = Path("results/runs")
NAMES = ("protocol", "task", "model", "method", "pattern", "k")
UNREADABLE = "described by the manifest of another version"
WAITED, LATE = 600.0, 20.0
"""Seconds, and times what is predicted, beyond both of which a job waited before it began: for a
GPU of its machine, or for a file system."""


class Unusable(Exception):
    """Why a finished job does not count."""


@dataclass(frozen=True)
class Run:
    """What the manifest of a finished job tells that predictions need.

    `seconds` are those of all seeds by the manifest's phases; `starts` how many of its finished
    seeds loaded the model, `sets` the evaluation sets of each. `resumed` and `short` tell whether
    one went on from a checkpoint, or ran out of memory.
    """

    cell: Cell
    settings: Mapping
    placement: Placement
    device: str
    threads: int
    processes: int
    seconds: Mapping[str, float]
    starts: int
    sets: tuple[tuple[str, ...], ...]
    resumed: bool
    short: bool


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
            found.append(measure(plan, storage.read_json(manifest), wall_seconds(path)))
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
        found = float(json.loads(path.read_text("utf-8").splitlines()[-1])["s"])
        if math.isfinite(found):
            return found
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        pass
    raise UserError(f"{path}: no benchmark file of Snakemake's; remove it, or run its job again")


def read(manifest: Mapping) -> Run:
    """Return what a manifest tells; raises Unusable for one of another shape."""
    try:
        done = [each for each in manifest["seeds"].values() if each["status"] == "ok"]
        found = Run(
            cell=Cell(*(manifest[name] for name in NAMES)),
            settings=manifest["settings"],
            placement=Placement(**manifest["placement"]),
            device=str(manifest["device"]),
            threads=int(manifest["threads"]),
            processes=int(manifest["world_size"]),
            seconds={phase: float(each) for phase, each in manifest["seconds"].items()},
            starts=sum("load" in each["seconds"] for each in done),
            sets=tuple(tuple(each["scoring"]) for each in done),
            resumed=any(each.get("resumed_after_steps") for each in done),
            short=any(each.get("shortages") for each in done),
        )
        family = found.settings["family"]
    except (KeyError, TypeError, ValueError, AttributeError, UserError):
        raise Unusable(UNREADABLE) from None
    texts = (*vars(found.cell).values(), family)
    kinds = [int if name == "k" else str for name in (*NAMES, "family")]
    told = all(isinstance(each, kind) for each, kind in zip(texts, kinds, strict=True))
    numbers = (found.threads, found.processes, *(1 + each for each in found.seconds.values()))
    if not told or not all(1 <= each < math.inf for each in numbers):
        raise Unusable(UNREADABLE)
    return found


def measure(plan: "MemoryPlan", manifest: Mapping, wall: float) -> Measured:
    """Return what a job took and what is predicted of it; raises Unusable with a reason."""
    run = read(manifest)
    _check_config(plan.study, run)
    if not run.sets:
        raise Unusable("no seed fits the window")
    _check_course(run, wall)
    place = place_of(run, plan.machine.gpus_per_node)
    predicted = plan.seconds(run.cell, len(run.sets), place)
    measured = by_phase(run.seconds, wall)
    if measured["start"] > max(WAITED, LATE * predicted["start"]):
        raise Unusable("waited for something before they began, such as a GPU")
    return Measured(
        kind=place.kind,
        device=run.device,
        parameters=plan.study.models[run.cell.model]["parameters"],
        predicted=predicted,
        measured=measured,
    )


def by_phase(seconds: Mapping[str, float], wall: float) -> dict[str, float]:
    """Return a manifest's seconds by PHASES; what has no phase there, or no name, is `start`."""
    found = dict.fromkeys(PHASES, 0.0) | {"start": wall - sum(seconds.values())}
    for phase, each in seconds.items():
        known = MEASURED.get(phase, phase)
        found[known if known in PHASES else "start"] += each
    return found


def _check_config(study: "Study", run: Run) -> None:
    """Raise Unusable for results made elsewhere, or by what is configured otherwise by now."""
    cell = run.cell
    if run.settings["family"] == "imported":
        raise Unusable("made by other software")
    known = {"protocol": PROTOCOLS, "task": study.tasks, "model": study.models,
             "method": study.methods, "pattern": study.patterns}  # fmt: skip
    if any(getattr(cell, name) not in entries for name, entries in known.items()):
        raise Unusable("of a cell that config/ no longer has")
    if study.method_settings(cell.method, cell.model) != run.settings:
        raise Unusable("made with other settings than methods.yaml now has")
    outside = (name for name, _ in study.out_of_domain(cell.task, cell.protocol))
    if run.sets and {name for each in run.sets for name in each} != {cell.task, *outside}:
        raise Unusable("scored on other sets than tasks.yaml now names")


def _check_course(run: Run, wall: float) -> None:
    """Raise Unusable for a job that was interrupted and went on, or whose memory ran out."""
    if run.starts != 1 or run.resumed or wall <= sum(run.seconds.values()):
        raise Unusable("interrupted and resumed")
    if "lost" in run.seconds or run.short:
        raise Unusable("ran out of memory on the way")


def place_of(run: Run, per_node: int) -> JobPlace:
    """Return where a job ran, whose GPUs were `per_node` on each node.

    Raises Unusable for several GPUs where that is not known (0): a manifest does not tell it.
    """
    if not run.device.startswith("cuda"):
        return JobPlace(run.placement, 0, run.processes, run.threads)
    if run.processes > 1 and not per_node:
        raise Unusable("of which it is not known how many nodes they ran on")
    there = min(run.processes, per_node or 1)
    return JobPlace(run.placement, there, -(-run.processes // there))


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
