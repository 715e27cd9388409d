"""Factors that make the seconds of `job_time.py` those of the machines that jobs ran on.

One factor for each kind of device and phase. `snakemake calibrate` fits them to finished jobs and
writes them to FILE, from where plan and time limits read them, in this clone or another one.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..codeversion import code_version
from ..errors import UserError
from .job_time import PHASES

FILE = Path("results/calibration.json")
"""Relative to the project's folder."""
PREDICTING = ("planning.job_time", "planning.job_time", "models.architectures")
"""The modules that predictions come from, with their imports."""
LEAST_SECONDS = 0.1
"""Mean seconds of a phase, predicted and measured, below which its factor stays 1: a clock's noise
would be one."""
HEAVIEST = 3.0
"""Median jobs that one job weighs at most: where a single large one decides, it may be the one that
was disturbed."""
LEAST_JOBS = 8
"""Jobs from which on the spread of what they took, over what was predicted, counts."""
UNKNOWN = 3.0
"""Factor, up and down, within which a prediction for machines that no job ran on is taken to lie;
time limits are that much longer. Guessed: no job was measured on a GPU."""
COVERED = 0.8
"""Part of a job's predicted seconds that measured phases must make up for its limit to rest on
them: were the rest longer by UNKNOWN, the job would take 1.4 times as long."""
CALIBRATED = 1.5
"""What time limits have at least for what the next job does that the finished ones did not."""
SPARE = 1.25
"""What they have beyond nine tenths of the finished jobs."""


@dataclass(frozen=True)
class Measured:
    """What a finished job took, and what was predicted of it, in seconds by phase.

    `kind` is "cpu" or "gpu", `device` its name, `parameters` those of the model.
    """

    kind: str
    device: str
    parameters: int
    predicted: Mapping[str, float]
    measured: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Return the seconds that the whole job took."""
        return sum(self.measured.values())


@dataclass(frozen=True)
class Factors:
    """What the jobs on one kind of device tell.

    `factors` has what a phase took over what was predicted, `seen` the jobs that tell; `low` and
    `high` are the tenth and ninetieth percentile over jobs of the same for whole jobs, after
    calibration. `devices` counts jobs by name, `parameters` are those of the largest model.
    """

    factors: Mapping[str, float]
    seen: Mapping[str, int]
    low: float
    high: float
    devices: Mapping[str, int]
    parameters: int

    @property
    def jobs(self) -> int:
        """Return the number of jobs."""
        return sum(self.devices.values())

    def unseen(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Return those of a prediction's seconds whose phases too few jobs tell anything of."""
        return {phase: n for phase, n in seconds.items() if self.seen[phase] < LEAST_JOBS}


@dataclass(frozen=True)
class Calibration:
    """Factors by kind of device; a kind without any is not calibrated. `problem` tells why a file
    that is there is not used."""

    kinds: Mapping[str, Factors] = field(default_factory=dict)
    problem: str = ""

    def applied(self, kind: str, seconds: Mapping[str, float]) -> dict[str, float]:
        """Return predicted seconds by phase as they are expected on this kind of device."""
        known = self.kinds.get(kind)
        if known is None:
            return dict(seconds)
        return {phase: known.factors[phase] * each for phase, each in seconds.items()}

    def bounds(self, kind: str) -> tuple[float, float]:
        """Return the factors that what a job takes is expected to lie between, of what is said."""
        known = self.kinds.get(kind)
        if known is None or known.jobs < LEAST_JOBS:
            return 1 / UNKNOWN, UNKNOWN
        return known.low, known.high

    def margin(self, kind: str, seconds: Mapping[str, float]) -> float:
        """Return how much longer than predicted, which is so many `seconds` by phase, a job's time
        limit is: UNKNOWN where it consists of what no finished job did, such as training."""
        known, whole = self.kinds.get(kind), sum(seconds.values())
        if known is None or sum(known.unseen(seconds).values()) > (1 - COVERED) * whole:
            return UNKNOWN
        return min(UNKNOWN, max(CALIBRATED, SPARE * self.bounds(kind)[1]))


def fit(jobs: Sequence[Measured]) -> Calibration:
    """Return the calibration by finished jobs.

    A phase's factor makes the weighted sum of |measured / predicted - factor| over jobs least: it
    is their weighted median. Jobs weigh what is predicted of them, as if whole seconds counted, but
    none more than HEAVIEST median ones: a few that were disturbed do not move it, large or small.
    """
    kinds = {}
    for kind in sorted({job.kind for job in jobs}):
        own = [job for job in jobs if job.kind == kind]
        ratios = [job.seconds / seconds for job, seconds in zip(own, held_out(own), strict=True)]
        low, high = np.quantile(ratios, [0.1, 0.9]).tolist()
        devices = dict(sorted(Counter(job.device for job in own).items()))
        seen = {phase: len(_ratios(own, phase)[0]) for phase in PHASES}
        largest = max(job.parameters for job in own)
        kinds[kind] = Factors(factors(own), seen, low, high, devices, largest)
    return Calibration(kinds)


def factors(jobs: Sequence[Measured]) -> dict[str, float]:
    """Return the factor of each phase over jobs on one kind of device; 1 where none tells it."""
    found = dict.fromkeys(PHASES, 1.0)
    for phase in PHASES:
        ratio, predicted = _ratios(jobs, phase)
        if len(ratio):
            weights = np.minimum(predicted, HEAVIEST * np.median(predicted))
            found[phase] = weighted_median(ratio, weights)
    return found


def _ratios(jobs: Sequence[Measured], phase: str) -> tuple[np.ndarray, np.ndarray]:
    """Return measured / predicted and predicted seconds of a phase, of jobs that tell something."""
    predicted, measured = (
        np.array([getattr(job, name).get(phase, 0.0) for job in jobs])
        for name in ("predicted", "measured")
    )
    # What took no time at all says nothing of how long it takes.
    there = (predicted > 0) & (measured > 0)
    predicted, measured = predicted[there], measured[there]
    enough = there.any() and max(predicted.mean(), measured.mean()) >= LEAST_SECONDS
    return (measured / predicted, predicted) if enough else (np.array([]), np.array([]))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the value below and above which there is half of the weight; the lower of two."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def held_out(jobs: Sequence[Measured]) -> list[float]:
    """Return each job's predicted seconds after calibration by other jobs: every second one.

    A single job has no other; it is predicted by itself.
    """
    halves = [jobs[0::2], jobs[1::2] or jobs]
    known = [factors(half) for half in halves]
    return [
        sum(known[1 - i % 2][phase] * each for phase, each in job.predicted.items())
        for i, job in enumerate(jobs)
    ]


def version() -> str:
    """Return a hash of the code whose predictions the factors multiply."""
    return code_version(*PREDICTING)


def write(calibration: Calibration, path: Path = FILE) -> None:
    """Write the file, whole or not at all."""
    # Imported here: Snakemake reads this module whenever it starts.
    from .. import storage

    kinds = {kind: {**vars(known), "jobs": known.jobs} for kind, known in calibration.kinds.items()}
    storage.write_json(path, {"version": version(), "kinds": kinds})


def read(path: Path = FILE) -> Calibration:
    """Return the calibration in a file; none where there is no file.

    Raises UserError for a file that is broken, or whose factors belong to other seconds than those
    that this version predicts.
    """
    if not path.exists():
        return Calibration()
    remedy = "write it anew (snakemake calibrate) or remove it"
    try:
        content = json.loads(path.read_text("utf-8"))
        found, kinds = content["version"], content["kinds"]
        known = {kind: _factors(entry) for kind, entry in kinds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: no calibration that can be read ({cause}); {remedy}") from None
    if found != version():
        raise UserError(f"{path}: made by another version of the cost model; {remedy}")
    return Calibration(known)


def read_if_valid(path: Path = FILE) -> Calibration:
    """Return the calibration in a file, or none with the `problem` that it has.

    Times change no result: a file that cannot be used stops no study, but is told of.
    """
    try:
        return read(path)
    except UserError as error:
        return Calibration(problem=str(error))


def _factors(entry: Mapping) -> Factors:
    """Return what a file tells of one kind; raises ValueError for what is no positive number."""
    numbers = {phase: float(entry["factors"][phase]) for phase in PHASES}
    seen = {phase: int(entry["seen"][phase]) for phase in PHASES}
    low, high = float(entry["low"]), float(entry["high"])
    devices = {str(name): int(count) for name, count in entry["devices"].items()}
    for name, value in {**numbers, "low": low, "high": high, "jobs": sum(devices.values())}.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, not a positive number")
    return Factors(numbers, seen, low, high, devices, int(entry["parameters"]))
