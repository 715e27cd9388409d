"""What baselines take: a processor alone without a model, else a frozen model and its states."""

import pytest
from estimates import CLUSTER, jobs_of, plan_of
from fewshot.planning.job_time import ANSWER, FIT, IMPORTS
from fewshot.planning.memory import LIBRARIES
from fewshot.planning.requests import Requests
from fewshot.study.cells import Cell

GRID = [
    {"methods": ["in-context", "hidden-state", "tfidf"], "patterns": ["minimal"], "k": [16]},
    {"methods": ["majority"], "patterns": ["minimal"], "k": [0, 16]},
]
ROWS = 277 + 30_000
"""Evaluation rows of RTE and HANS."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("config"), grid=GRID)


def cell(method, model="none", k=16):
    return Cell("fair", "rte", model, method, "none" if model == "none" else "minimal", k)


def test_what_reads_no_model_asks_for_no_gpu(plan):
    for each in (cell("tfidf"), cell("majority"), cell("majority", k=0)):
        choice, asked = plan.choice(each), Requests(plan).adaptation(each, 10)
        assert choice.gpus == asked["gpu"] == asked["predicted_gpu_mb"] == 0
        assert choice.expected.host == LIBRARIES["cpu"] and asked["nodes"] == 1
        seconds = plan.seconds(each, 10)
        assert seconds["start"] > IMPORTS["cpu"] and 10 * ANSWER * ROWS < seconds["score"] < 60


def test_a_probe_is_planned_as_a_frozen_model_with_its_states(plan):
    probe, shown = cell("hidden-state", "opt-13b"), cell("in-context", "opt-13b")
    demand = plan.demand(probe)
    assert demand.rows == demand.context == 0 and not demand.backward
    assert demand.trainable == demand.added == 5120 + 1, "two labels, a weight for one of them"
    assert demand.states == 2 * ROWS * 5120 and plan.demand(shown).states == 0
    assert plan.choice(probe).gpus == plan.choice(shown).gpus == 1
    host = plan.choice(probe).expected.host - plan.choice(shown).expected.host
    assert host > 4 * demand.states, "in float32, in host memory"


def test_evaluation_rows_are_encoded_once_for_all_seeds(plan):
    """A context has to be read with every draw."""
    probe, shown = cell("hidden-state", "opt-13b"), cell("in-context", "opt-13b")
    one, ten = plan.seconds(probe, 1), plan.seconds(probe, 10)
    assert ten["train"] == 10 * FIT and plan.work(probe, 10).evaluated == ROWS
    assert ten["score"] < 2 * one["score"] + 10 * ANSWER * ROWS
    assert plan.seconds(shown, 10)["score"] == 10 * plan.seconds(shown, 1)["score"]


def test_pages_of_the_plan(plan, tmp_path):
    assert {row["method"] for row in plan.table()} == {"in-context", "hidden-state"}
    jobs = jobs_of(plan, tmp_path)
    counts = jobs.groupby(["model", "method"]).size().to_dict()
    assert counts["none", "majority"] == 1 + 2 and counts["none", "tfidf"] == 2, "seeds 0-9, 10-11"
    alone = jobs[jobs["model"] == "none"]
    assert (alone["gpus"] == 0).all() and (alone["device_hours"] == 0).all()
    assert (alone["result_bytes"] > 0).all() and CLUSTER["gpus_per_node"] == 4
