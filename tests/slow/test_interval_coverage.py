"""Intervals of accuracies cover the true one in 95 of 100 studies, whatever varies.

Answers are drawn by a simulator that shares no code with the statistics: a normal effect of each
draw, of each cluster of rows, of each row and of each draw on each cluster, and a threshold. Its
true accuracy is that of all draws and rows.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis import result_schemas, stats
from fewshot.analysis.predictions import CORRECT, pack
from fewshot.analysis.row_errors import add_errors
from fewshot.analysis.summary import summarise
from fewshot.data.evaluation_sets import EvaluationSet
from scipy.stats import norm
from thinned import thinned

pytestmark = pytest.mark.slow

STUDIES = 2000
"""Simulated studies of a regime: a coverage of 95 % has a standard error of 0.5 points."""


@dataclass(frozen=True)
class Regime:
    """Studies of `seeds` draws (0: none) and rows in clusters of these `sizes`.

    `draw`, `cluster`, `row` and `both` are the standard deviations of effects, beside one of 1 of
    each answer; `true` is the accuracy.
    """

    seeds: int
    sizes: tuple[int, ...]
    true: float
    draw: float = 0.0
    cluster: float = 0.0
    row: float = 0.5
    both: float = 0.0

    def answers(self, rng: np.random.Generator) -> np.ndarray:
        """Return whether each row is right for each seed of a study, bool [S, R]."""
        seeds, count = max(self.seeds, 1), len(self.sizes)
        of = np.repeat(np.arange(count), self.sizes)
        clusters = rng.normal(0, self.cluster, count) + rng.normal(0, self.both, (seeds, count))
        effects = rng.normal(0, self.draw, (seeds, 1)) + rng.normal(0, self.row, len(of))
        parts = self.draw**2 + self.cluster**2 + self.row**2 + self.both**2
        edge = norm.ppf(self.true) * np.sqrt(1 + parts)
        return effects + clusters[:, of] + rng.normal(size=(seeds, len(of))) < edge


TEMPLATES = tuple(np.repeat([20, 40, 60], 12).tolist())
REGIMES = {
    "no shots, 277 rows": Regime(0, (1,) * 277, 0.6),
    "no shots, 36 templates": Regime(0, TEMPLATES, 0.6, cluster=1.0),
    "no shots, 12 templates of 100": Regime(0, (100,) * 12, 0.7, cluster=1.0),
    "no shots, premises of three": Regime(0, (3,) * 100, 0.7, cluster=1.0),
    "no shots, 100 rows nearly all right": Regime(0, (1,) * 100, 0.97),
    "5 draws, 277 rows": Regime(5, (1,) * 277, 0.6, draw=0.2),
    "10 draws, 277 rows": Regime(10, (1,) * 277, 0.6, draw=0.2),
    "10 draws, 277 rows, hardly a draw": Regime(10, (1,) * 277, 0.6, draw=0.02, row=1.0),
    "3 draws that differ much": Regime(3, (1,) * 277, 0.6, draw=0.5),
    "5 draws, 36 templates": Regime(5, TEMPLATES, 0.6, draw=0.2, cluster=0.7, both=0.3),
    "10 draws, 36 templates": Regime(10, TEMPLATES, 0.6, draw=0.2, cluster=0.7, both=0.3),
    "10 draws, 12 templates": Regime(10, (50,) * 12, 0.6, draw=0.2, cluster=0.7, both=0.3),
    "10 draws, nearly all right": Regime(10, (1,) * 200, 0.97, draw=0.2),
}


def studies(regime: Regime, rng: np.random.Generator) -> pd.DataFrame:
    """Return the metrics of all studies, each a cell of its own."""
    rows = int(sum(regime.sizes))
    content = {"id": np.arange(rows), "label": 0, "group": None, "subset": None}
    cluster = np.repeat(np.arange(len(regime.sizes)), regime.sizes)
    item = EvaluationSet("set", (0, 1), pd.DataFrame(content).assign(cluster=cluster))
    made = [
        {"job": job, "seed": seed, "n": rows, "accuracy": right.mean(), "correct": pack(right)}
        for job in range(STUDIES)
        for seed, right in enumerate(regime.answers(rng))
    ]
    frame = pd.DataFrame(made).assign(epoch=1, evaluation_set="set")
    scored = frame.assign(**dict.fromkeys(CORRECT[1:]))
    parts = {"group": None, "subset": None, "label": pd.array([pd.NA] * len(frame), "Int16")}
    counted = frame.drop(columns="correct").assign(selection="last", **parts)
    found = add_errors(counted, scored, [item], range(STUDIES))
    named = dict.fromkeys(["protocol", "task", "model", "pattern"], "x")
    found = found.assign(**named, method=found["job"], k=int(regime.seeds > 0), domain="in")
    return found.assign(status="ok").reindex(columns=result_schemas.METRICS.names)


def covered(low, high, true: float) -> float:
    """Return the share of intervals that hold the true accuracy, in percent."""
    return 100 * float(((low <= true) & (true <= high)).mean())


@pytest.mark.parametrize(
    "name",
    thinned(
        REGIMES,
        slow=["no shots, 36 templates", "5 draws, 277 rows", "10 draws, 36 templates"],
    ),
)
def test_intervals_for_rows_like_these_cover_the_true_accuracy(name):
    regime = REGIMES[name]
    found = studies(regime, np.random.default_rng(list(name.encode())))
    means = summarise(found)
    assert set(means["interval"]) == {"draws and rows" if regime.seeds else "rows"}
    share = covered(means["low"], means["high"], regime.true)
    width = 100 * (means["high"] - means["low"]).mean()
    print(f"{name}: covers {share:.1f} %, {width:.1f} points wide")
    assert 93 <= share <= 97.5


def test_intervals_over_independent_rows_or_over_draws_alone_do_not():
    """What was shown before: Wilson's over rows of templates, and Student's t over seeds."""
    regime = REGIMES["no shots, 36 templates"]
    found = studies(regime, np.random.default_rng(1))
    low, high = stats.wilson_interval(found["accuracy"] * found["n"], found["n"])
    assert covered(low, high, regime.true) < 60
    regime = REGIMES["10 draws, 36 templates"]
    found = studies(regime, np.random.default_rng(2))
    means = summarise(found.assign(clusters=np.nan))
    assert set(means["interval"]) == {"draws"}
    assert covered(means["low"], means["high"], regime.true) < 75
