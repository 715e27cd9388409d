"""Settings chosen from the k shots alone, beside other ways of choosing them.

Candidates are the cells that a choice lists, where it says so with the shots in every order, and,
of what is trained, the epochs of the learning curve; the last epoch of each is one after contextual
calibration too, where inputs without content were scored: not by retrieval nor in channel patterns.
An honest choice takes the one under which the held-out shots are most probable: it reads the k
labelled rows and no other, as someone with k rows would have to (Perez et al. 2021, arXiv
2105.11447).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..data.halves import BEST_EPOCH
from . import result_schemas
from .held_out import HeldOutScores, read_held_out
from .label_probabilities import label_weights, probabilities
from .run_costs import FlopsModel, held_out_costs
from .run_manifests import read_held_out_manifest
from .summary import at_level

WAYS = {
    "from-shots": "From the shots",
    "first": "First listed",
    "mean": "Mean of all",
    "best-in-domain": "Best in domain (reads labels)",
    "oracle": "Oracle",
}
"""Ways of choosing: the candidate under which the held-out shots are most probable; the first
listed cell at its last epoch; the mean over candidates, which is what one at random gives; the one
most accurate in domain, which reads the labels of evaluation rows; and the most accurate one of
each evaluation set, which no one can know. Of equals the first listed counts, a cell's last epoch
before its others."""
PARTS = ("flops", "device_seconds")
ARM = ("task", "method", "pattern", "k")
"""What names a candidate's cell, of one model."""


@dataclass(frozen=True)
class Candidate:
    """One way to set a run up: its cell's method and pattern, the order of its shots (0: as drawn),
    epoch and calibration.

    `logprob` is the mean log-probability of the held-out shots, `accuracy` gives accuracy and rows
    by evaluation set.
    """

    method: str
    pattern: str
    order: int
    epoch: int
    calibration: str
    logprob: float
    accuracy: dict[str, tuple[float, int]] = field(repr=False)

    def settings(self) -> dict:
        """Return the columns of result_schemas.CHOICES that name it."""
        named = {name: getattr(self, name) for name in ("method", "pattern", "order", "epoch")}
        return {**named, "calibration": self.calibration, "mean_logprob": self.logprob}


def choose_settings(
    cell: dict, choices: list[dict], metrics: pd.DataFrame, costs: pd.DataFrame, model: FlopsModel
) -> pd.DataFrame:
    """Return what each way of choosing gives (result_schemas.CHOICES), for each seed and set.

    `cell` names protocol, task and model; each of `choices` has `choice`, `k` and its `jobs`, in
    the order of candidates, each as `metrics.compute_metrics` takes it, with `passes`, and
    with `task` and `order` where it is another task's, which has the same shots in another order;
    `metrics` and `costs` are those of the model on all these tasks. Nothing is chosen for a seed of
    which a candidate's own run is missing: among fewer candidates it might be another one. Raises
    UserError for held-out scores that are missing.
    """
    rows, known, statuses = [], _accuracies(metrics, cell["task"]), _statuses(metrics)
    scored = (metrics["task"] == cell["task"]) & metrics["domain"].isin(["in", "out"])
    sets = metrics.loc[scored, ["evaluation_set", "domain"]]
    domains = dict(sets.drop_duplicates().itertuples(index=False, name=None))
    for choice in choices:
        stored = [_StoredJob.read(job, {**cell, "k": choice["k"]}) for job in choice["jobs"]]
        for seed in sorted({seed for job in choice["jobs"] for seed in job["seeds"]}):
            of_seed = [job for job in stored if seed in job.told["seeds"]]
            candidates = [one for job in of_seed for one in job.candidates(seed, known)]
            status = "ok" if candidates else "does not fit"
            if any(statuses.get((*job.arm, seed), "missing") == "missing" for job in of_seed):
                candidates, status = [], "missing"
            shared = {**cell, "k": choice["k"], "seed": seed, "choice": choice["choice"]}
            shared["status"] = status
            shared |= {"candidates": len(candidates), **_costs(of_seed, seed, costs, model)}
            for name, domain in domains.items():
                of_set = {**shared, "evaluation_set": name, "domain": domain}
                for way, found in _ways(candidates, name, cell["task"]):
                    rows.append({**of_set, "way": way, **found})
    return pd.DataFrame(rows, columns=result_schemas.CHOICES.names)


def _ways(candidates: Sequence[Candidate], name: str, task: str) -> Iterator[tuple[str, dict]]:
    """Yield each way of choosing with what it gives on an evaluation set."""
    if not candidates:
        yield from ((way, {"n": 0}) for way in WAYS)
        return

    def accurate(on: str) -> Candidate:
        return max(candidates, key=lambda one: one.accuracy[on][0])

    chosen = {
        "from-shots": max(candidates, key=lambda one: one.logprob),
        "first": candidates[0],
        "best-in-domain": accurate(task),
        "oracle": accurate(name),
    }
    values = [one.accuracy[name] for one in candidates]
    for way in WAYS:
        if way == "mean":
            mean = float(np.mean([share for share, _ in values]))
            yield way, {"accuracy": mean, "n": min(n for _, n in values)}
        else:
            share, n = chosen[way].accuracy[name]
            yield way, {"accuracy": share, "n": n, **chosen[way].settings()}


@dataclass(frozen=True)
class _StoredJob:
    """A candidate cell's job: what the study tells of it, its held-out manifest and scores."""

    told: dict
    manifest: dict
    scores: dict[int, dict[int, HeldOutScores]]

    @classmethod
    def read(cls, job: dict, cell: dict) -> "_StoredJob":
        told = {"task": cell["task"], "order": 0, **job}
        key = {**cell, **{name: told[name] for name in ("task", "method", "pattern")}}
        manifest = read_held_out_manifest(job, key)
        return cls(told, manifest, read_held_out(job["held_out"]))

    @property
    def arm(self) -> tuple:
        """Return the cell's task, method, pattern and k."""
        return tuple(self.told[name] for name in ARM)

    def candidates(self, seed: int, known: Mapping) -> Iterator[Candidate]:
        """Yield the candidates of a seed, the last epoch first; none where it does not fit."""
        epochs = self.scores.get(seed, {})
        for epoch in sorted(epochs, key=lambda each: (each != max(epochs), each)):
            variants = {"none": epochs[epoch].ranks}
            if epoch == max(epochs) and (calibrated := self._calibrated(seed, epoch)) is not None:
                variants["contextual"] = calibrated
            for calibration, ranks in variants.items():
                found = known.get((*self.arm, seed, epoch, calibration))
                if found:
                    logprob = mean_logprob(ranks, epochs[epoch].labels)
                    named = [self.told[name] for name in ("method", "pattern", "order")]
                    yield Candidate(*named, epoch, calibration, logprob, found)

    def _calibrated(self, seed: int, epoch: int) -> np.ndarray | None:
        """Return the ranks [rows, words] divided by what inputs without content get in the row's
        fold; None where that is not known."""
        ranks, folds = self.scores[seed][epoch].ranks, self.manifest["seeds"][str(seed)]["folds"]
        places = sorted(place for fold in folds for place in fold["held_out"])
        divided = ranks.copy()
        for fold in folds:
            inputs = list(fold.get("content_free", {}).get(str(epoch), {}).values())
            if not inputs:
                return None
            words = list(np.transpose(inputs))
            expected = probabilities(label_weights(words, range(len(words)), len(words)))
            rows = np.searchsorted(places, fold["held_out"])
            divided[rows] -= np.log(expected.mean(axis=0))
        return divided


def mean_logprob(ranks: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log-probability of the right words [rows] among all label words, by what
    these are ranked by [rows, words]."""
    right = ranks[np.arange(len(labels)), labels]
    return float((right - np.logaddexp.reduce(ranks, axis=1)).mean())


def _accuracies(metrics: pd.DataFrame, task: str) -> dict[tuple, dict[str, tuple[float, int]]]:
    """Return (*ARM, seed, epoch, calibration) → set → accuracy and rows: of all rows where an epoch
    was kept (in domain of the test half alone, if the others chose it), else of those on the
    learning curve.

    Rows in domain are called those of `task`, whatever the task with its shots in another order is.
    """
    rows = at_level(metrics)
    rows = rows[(rows["status"] == "ok") & rows["domain"].isin(["in", "out"])]
    found: dict[tuple, dict[str, tuple[float, int]]] = {}
    for selection in ("each", *BEST_EPOCH, "last"):  # The last to say counts.
        for row in rows[rows["selection"] == selection].itertuples():
            key = (*(getattr(row, name) for name in ARM), row.seed, row.epoch)
            name = task if row.domain == "in" else row.evaluation_set
            found.setdefault((*key, "none"), {})[name] = (row.accuracy, row.n)
            if selection == "last" and pd.notna(row.accuracy_contextual):
                calibrated = found.setdefault((*key, "contextual"), {})
                calibrated[name] = (row.accuracy_contextual, row.n)
    return found


def _statuses(metrics: pd.DataFrame) -> dict[tuple, str]:
    """Return (*ARM, seed) → whether its own run is done, missing or does not fit."""
    rows = metrics[[*ARM, "seed", "status"]].drop_duplicates().itertuples(index=False, name=None)
    return {tuple(key): status for *key, status in rows}


def _costs(
    jobs: Sequence[_StoredJob], seed: int, costs: pd.DataFrame, model: FlopsModel
) -> dict[str, float]:
    """Return what holding out took over all candidate cells, and what their own runs took.

    Of these the operations are those of training and of encoding the context: who chooses has no
    evaluation rows to score, and their number would decide the comparison.
    """
    held = [held_out_costs(job.manifest, job.told["passes"], model).get(seed) for job in jobs]
    arms = {(*job.arm, seed) for job in jobs}
    keys = zip(*(costs[name] for name in (*ARM, "seed")), strict=True)
    own = costs[[key in arms for key in keys]].to_dict("records")
    runs = [{"flops": row["flops_train"] + row["flops_context"], **row} for row in own]
    return {
        f"{part}_{name}": sum(each[part] for each in entries)
        for name, entries in (("held_out", [each for each in held if each]), ("runs", runs))
        for part in PARTS
    }
