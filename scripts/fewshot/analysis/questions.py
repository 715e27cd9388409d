"""Which questions a task's arms answer, each as a weighted sum of their accuracies: no numbers yet.

An arm is here (evaluation set, model, method, pattern, k, selection), see arms.ARM. All questions
are asked at the main number of shots, but for the effect of that number itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ..data import halves
from .arms import ARM
from .pairs import SAME_MODEL, pairs_of
from .titles import has_our_draws, is_baseline, is_trained, names, ordered

GAP = "gap"
SIZE = "size"
SIZE_OF_ARM = "size of one arm"
SHOTS = "shots"
SHOTS_OF_ARM = "shots of one arm"
METHODS = "methods"
WAYS = "ways in context"
PATTERNS = "patterns"
MEAN = "mean"
MEAN_OF_KIND = "mean of others like these"
TITLES = {
    MEAN: "Is fine-tuning better than in-context learning on average over these models?",
    MEAN_OF_KIND: "Is it on average over other models, or patterns, like these?",
    GAP: "Does fine-tuning lose more from in domain to out of domain than in-context learning?",
    SIZE: "Does the difference between fine-tuning and in-context learning change with size?",
    SIZE_OF_ARM: "How does accuracy change with size?",
    SHOTS: "Does fine-tuning gain more from more shots than in-context learning?",
    SHOTS_OF_ARM: "What do more shots give?",
    METHODS: "Do methods of fine-tuning differ?",
    WAYS: "Do ways to use the shots in context differ?",
    PATTERNS: "Do patterns differ?",
}
"""The questions in words, in the order of tables."""
NAMES = ["model_family", "model", "method", "pattern", "k"]
REFERENCE = ["reference_method", "reference_pattern", "reference_k"]
Arm = tuple[str, str, str, str, int, str]


@dataclass(frozen=True)
class Contrast:
    """One question to some arms: Σ weight · accuracy. `names` tells arms, reference and setting."""

    question: str
    names: Mapping[str, object]
    weights: Mapping[Arm, float]


@dataclass(frozen=True)
class MeanOfCells:
    """The mean difference over `models` and `patterns`: (arm, reference) by model and pattern."""

    names: Mapping[str, object]
    models: Sequence[str]
    patterns: Sequence[str]
    pairs: Mapping[tuple[str, str], tuple[Arm, Arm]]


def main_selection(domain: str, catalog: dict) -> str:
    """Return the checkpoint at which a domain is judged: in domain the last epoch, since a best
    epoch that in-domain rows choose is better on these rows by chance alone, unless other rows did
    (`halves`)."""
    chosen = catalog["main"]["selection"]
    return "last" if domain == "in" and chosen != halves.SELECTION else chosen


def contrasts_of(keys: Mapping[str, pd.DataFrame], task: str, catalog: dict) -> list[Contrast]:
    """Return all contrasts of a task, in a fixed order.

    `keys` has for each evaluation set its arms: ARM, and `unfit` where no seed's context fits the
    window. Arms without shots, baselines, and results that were made elsewhere with other draws are
    in none. A gap is that of one model: it has the checkpoint in domain on both sides, since each
    of the others is chosen by the rows of one side.
    """
    found: list[Contrast] = []
    for name, frame in keys.items():
        asked = _Asked(task, name, frame, catalog)
        found += asked.sizes()
        found += asked.shots()
        found += asked.alternatives()
        found += asked.gaps() if asked.domain == "out" else []
    return sorted(found, key=lambda contrast: list(TITLES).index(contrast.question))


def means_of(keys: Mapping[str, pd.DataFrame], task: str, catalog: dict) -> list[MeanOfCells]:
    """Return the means over models and patterns of a task, by method, reference and set.

    `keys` are as in `contrasts_of`. The patterns are those that every model has with a method.
    """
    return [
        mean for name, frame in keys.items() for mean in _Asked(task, name, frame, catalog).means()
    ]


def trend_weights(parameters: Sequence[float]) -> np.ndarray:
    """Return the weights [M] of M models whose weighted sum is the trend over their size.

    The slope of least squares over the decimal logarithm of the number of `parameters`: the change
    per factor of ten. With two sizes it is the larger minus the smaller. Zeros for one size.
    """
    size = np.log10(np.asarray(parameters, dtype=float))
    apart, sizes = size - size.mean(), np.unique(size)
    if len(sizes) < 2:
        return np.zeros(len(size))
    slope = apart / (apart**2).sum()
    return slope * (sizes[1] - sizes[0]) if len(sizes) == 2 else slope


class _Asked:
    """What one evaluation set is asked: its arms and pairs at the checkpoint that judges it."""

    def __init__(self, task: str, name: str, frame: pd.DataFrame, catalog: dict) -> None:
        self.task, self.name, self.catalog = task, name, catalog
        self.domain = "in" if name == task else "out"
        self.selection = main_selection(self.domain, catalog)
        self.k = catalog["main"]["k"]
        compared = [
            k > 0 and has_our_draws(catalog, method) and not is_baseline(catalog, method)
            for k, method in zip(frame["k"], frame["method"], strict=True)
        ]
        every = frame[np.array(compared, dtype=bool)].reset_index(drop=True)
        every = ordered(every, catalog, ["model", "method", "pattern"]).assign(
            trained=lambda arms: [is_trained(catalog, method) for method in arms["method"]],
            kin=lambda arms: [catalog["models"][model]["family"] for model in arms["model"]],
        )
        self.every_pair = _pairs(every, catalog)
        self.arms = every[every["selection"] == self.selection]
        self.pairs = self.every_pair[self.every_pair["selection"] == self.selection]

    def arm(self, row: Mapping, side: str = "", **other: object) -> Arm:
        """Return the arm of a row of arms or pairs; `side` begins the names of its columns."""
        own = {"model": row["model"], "k": row["k"], "selection": row["selection"]}
        own |= {name: row[f"{side}{name}"] for name in ("method", "pattern")}
        return (self.name, *((own | other)[name] for name in ARM))

    def contrast(
        self, question: str, row: Mapping, weights: Mapping[Arm, float], **other: object
    ) -> Contrast:
        """Return a contrast named after a row of arms or pairs, but for `other` names."""
        named = {name: row.get(name) for name in [*NAMES, *REFERENCE]} | other
        setting = {"evaluation_set": self.name, "domain": self.domain}
        return Contrast(question, setting | {"selection": row["selection"]} | named, weights)

    def difference(self, row: Mapping, weight: float = 1.0, **other: object) -> dict[Arm, float]:
        """Return the weights of a pair's difference."""
        return {
            self.arm(row, **other): weight,
            self.arm(row, "reference_", **other): -weight,
        }

    def gaps(self) -> Iterator[Contrast]:
        """Yield the gaps of fine-tuned arms less those of their references."""
        chosen = self.every_pair
        selection = main_selection("in", self.catalog)
        chosen = chosen[(chosen["k"] == self.k) & (chosen["selection"] == selection)]
        for row in chosen.to_dict("records"):
            out = self.difference(row)
            inside = {(self.task, *arm[1:]): -weight for arm, weight in out.items()}
            yield self.contrast(GAP, row, out | inside)

    def sizes(self) -> Iterator[Contrast]:
        """Yield the trends of differences and of arms over the sizes of a family; of what fits."""
        sides = ["method", "pattern"]
        pairs, arms = (
            each[(each["k"] == self.k) & ~each["unfit"]] for each in (self.pairs, self.arms)
        )
        for _, part in pairs.groupby(["kin", *sides, *REFERENCE[:2]], sort=False):
            yield from self._trend(SIZE, part, self.difference)
        for _, part in arms.groupby(["kin", *sides], sort=False):
            yield from self._trend(SIZE_OF_ARM, part, lambda row, weight: {self.arm(row): weight})

    def _trend(self, question: str, part: pd.DataFrame, weights_of: Callable) -> Iterator[Contrast]:
        models = list(part["model"])
        trend = trend_weights([self.catalog["models"][name]["parameters"] for name in models])
        if not trend.any():
            return
        rows = part.to_dict("records")
        weights: dict[Arm, float] = {}
        for row, weight in zip(rows, trend, strict=True):
            weights |= weights_of(row, weight)
        several = {"model": None, "model_family": rows[0]["kin"], "models": models}
        yield self.contrast(question, rows[0], weights, **several)

    def shots(self) -> Iterator[Contrast]:
        """Yield what the most shots that fit give beyond each smaller number, by arm and pair."""
        sides = ["model", "method", "pattern"]
        for question, frame, by, weights_of in (
            (SHOTS, self.pairs, [*sides, *REFERENCE[:2]], self.difference),
            (SHOTS_OF_ARM, self.arms, sides, lambda row, weight: {self.arm(row): weight}),
        ):
            fitting = frame[~frame["unfit"]].sort_values("k", kind="stable")
            for _, part in fitting.groupby(by, sort=False):
                *fewer, most = part.to_dict("records")
                for row in fewer:
                    weights = weights_of(most, 1.0) | weights_of(row, -1.0)
                    yield self.contrast(question, most, weights, reference_k=row["k"])

    def alternatives(self) -> Iterator[Contrast]:
        """Yield methods against each other, and patterns: the later listed less the earlier."""
        arms = self.arms[self.arms["k"] == self.k]
        for (_, trained, pattern), part in arms.groupby(
            ["model", "trained", "pattern"], sort=False
        ):
            for first, second in combinations(part.to_dict("records"), 2):
                reference = {"reference_method": first["method"], "reference_pattern": pattern}
                weights = {self.arm(second): 1.0, self.arm(first): -1.0}
                yield self.contrast(METHODS if trained else WAYS, second, weights, **reference)
        for (_, method), part in arms.groupby(["model", "method"], sort=False):
            for first, second in combinations(part.to_dict("records"), 2):
                reference = {"reference_method": method, "reference_pattern": first["pattern"]}
                weights = {self.arm(second): 1.0, self.arm(first): -1.0}
                yield self.contrast(PATTERNS, second, weights, **reference)

    def means(self) -> Iterator[MeanOfCells]:
        """Yield the mean differences over the models and patterns that fit the window."""
        chosen = self.pairs[self.pairs["k"] == self.k]
        for (method, reference), every in chosen.groupby(
            ["method", "reference_method"], sort=False
        ):
            part = every if every["unfit"].all() else every[~every["unfit"]]
            pairs = {
                (row["model"], row["pattern"]): (self.arm(row), self.arm(row, "reference_"))
                for row in part.to_dict("records")
            }
            models = list(dict.fromkeys(part["model"]))
            shared = [
                pattern
                for pattern in names(self.catalog, "pattern")
                if all((model, pattern) in pairs for model in models)
            ]
            kept = {key: pair for key, pair in pairs.items() if key[1] in shared}
            named = {name: None for name in [*NAMES, *REFERENCE]}
            named |= {"method": method, "reference_method": reference, "k": self.k}
            named |= {"evaluation_set": self.name, "domain": self.domain}
            yield MeanOfCells(named | {"selection": self.selection}, models, shared, kept)


def _pairs(arms: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return fine-tuned arms with the same model in context: names of both, and if one is unfit."""
    pairs = pairs_of(arms[ARM], catalog)
    pairs = pairs[pairs["family"] == SAME_MODEL]
    ours = arms.iloc[pairs["arm"].astype(int)].reset_index(drop=True)
    other = arms.iloc[pairs["reference"].astype(int)].reset_index(drop=True)
    sides = other[["method", "pattern"]].add_prefix("reference_")
    return pd.concat([ours, sides], axis=1).assign(unfit=ours["unfit"] | other["unfit"])
