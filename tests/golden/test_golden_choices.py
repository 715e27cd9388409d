"""What an honest choice of settings costs in the golden study, where that is known.

Held-out shots prefer the better of three patterns for even seeds alone, and the last epoch of
fine-tuning for these, the second for odd ones.
"""

import numpy as np
import pandas as pd
import pytest
import simulate
import stored
from fewshot.analysis.choices import choose_settings
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.run_costs import flops_model
from fewshot.report.tables.choices import cost_lines
from fewshot.report.tables.registry import make_table
from fewshot.study.catalog import catalog_of

from golden import effects, study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]

K = 16
PATTERNS = ("minimal", "gpt-3", "eval-harness")
CANDIDATES = {
    "icl": [("in-context", pattern) for pattern in PATTERNS],
    "ft": [("pattern-ft", "minimal")],
}
TITLES = {"icl": {"title": "Pattern"}, "ft": {"title": "Epoch"}}


def preferred(method: str, seed: int) -> tuple[str, int]:
    """Return pattern and epoch under which a seed's held-out shots are most probable."""
    if method == "in-context":
        return ("minimal" if seed % 2 else "gpt-3"), 0
    return "minimal", 2 if seed % 2 else effects.EPOCHS


def hold_out(folder, pair: dict, job: dict) -> dict:
    """Write the held-out scores of a job's shots, two of each label; return the job."""
    cell, frames = stored.cell_of(pair, job), []
    epochs = [0] if job["method"] == "in-context" else range(1, effects.EPOCHS + 1)
    label = np.array([0, 1, 0, 1])
    for seed in job["seeds"]:
        for epoch in epochs:
            best = (job["pattern"], epoch) == preferred(job["method"], seed)
            right = np.full(4, True)
            scores = stored.answers(right, label, np.full(4, 0.9 if best else 0.6))
            scores |= stored.told(right, label, epoch, epochs[-1], epochs[0])
            frames.append(pd.DataFrame({
                "id": range(4), "label": label, "seed": seed, "epoch": epoch, **scores,
                "evaluation_set": "held out", "tokens_0": 1, "tokens_1": 1, "logsumexp": 1.0,
                "argmax_is_label": True,
            }))  # fmt: skip
    trained = job["method"] != "in-context"
    folds = [
        {**simulate.work({"held out": 2}, K // 2, trained, effects.EPOCHS), "held_out": half}
        for half in ([0, 1], [2, 3])
    ]
    entry = {"status": "ok", "seconds": {"load": 1.0, "score": 1.0}, "folds": folds}
    content = {**cell, "settings": {"head": "language-model"}, "dtype": "float32"}
    content["seeds"] = {str(seed): entry for seed in job["seeds"]}
    run = folder / job["folder"]
    stored.write_results(run, cell, [], frames, content)
    return {**job, "held_out": str(run)}


@pytest.fixture(scope="module")
def choices(golden, tmp_path_factory) -> pd.DataFrame:
    """Return what each way of choosing gives on RTE and HANS, for three sizes."""
    folder, found = tmp_path_factory.mktemp("held-out"), []
    for pair in study.pairs():
        jobs = {(job["method"], job["pattern"], job["k"]): [] for job in pair["jobs"]}
        if pair["task"] != "rte" or ("in-context", "gpt-3", K) not in jobs:
            continue
        for job in pair["jobs"]:
            jobs[job["method"], job["pattern"], job["k"]].append(job)
        told = [
            {
                "choice": name,
                "k": K,
                "jobs": [hold_out(folder, pair, job) for arm in arms for job in jobs[*arm, K]],
            }
            for name, arms in CANDIDATES.items()
        ]
        cell = {name: pair[name] for name in ("protocol", "task", "model")}
        own = [
            frame[(frame["task"] == pair["task"]) & (frame["model"] == pair["model"])]
            for frame in (golden.metrics, golden.costs)
        ]
        model = flops_model(pair["size"], pair["evaluation"])
        found.append(choose_settings(cell, told, *own, model))
    return pd.concat(found, ignore_index=True)


def test_ways_of_choosing_differ_by_what_is_known(choices):
    """In points: half of each effect of `effects` for the seeds that take it."""
    assert set(choices["status"]) == {"ok"} and choices["model"].nunique() == 3
    means = choices.groupby(["choice", "domain", "way"])["accuracy"].mean() * 100
    pattern, inside, outside = effects.PATTERNS, effects.COURSE[True], effects.COURSE[False]
    for domain in ("in", "out"):
        found = means["icl", domain]
        assert found["from-shots"] - found["first"] == pytest.approx(pattern["gpt-3"] / 4)
        for best in ("best-in-domain", "oracle"):
            assert found[best] - found["first"] == pytest.approx(pattern["gpt-3"] / 2)
        assert found["mean"] - found["first"] == pytest.approx(sum(pattern.values()) / 6)
    found = means["ft", "in"]
    assert found["from-shots"] - found["first"] == pytest.approx(inside[1] / 4)
    assert found["best-in-domain"] - found["first"] == pytest.approx(2 / 4)
    assert found["best-in-domain"] - found["from-shots"] == pytest.approx(2)
    found = means["ft", "out"]
    assert found["from-shots"] - found["first"] == pytest.approx(outside[1] / 4)
    assert found["best-in-domain"] - found["first"] == pytest.approx(outside[2] / 4)
    assert found["oracle"] - found["first"] == pytest.approx(outside[1] / 2)


def test_the_report_says_what_honest_choice_costs(choices):
    catalog = {**catalog_of(study.study()), "choices": TITLES}
    lines = cost_lines(choices, catalog)
    assert ["Pattern" in line for line in lines] == [True, False]
    assert (
        "−1.5 points from the first listed, −2.0 from the best in domain by evaluation labels"
        in lines[1]
    )
    table = make_table("honest_choice", Evidence(choices=choices), catalog, {})
    assert set(table.text["Candidates"]) == {"3", "4"} and set(table.text["Seeds"]) == {"10"}
    small = table.text[table.text["Choice"] == "Epoch"].iloc[0]["Chosen (seeds)"]
    assert "epoch 2 (5)" in small and "epoch 4 (5)" in small
