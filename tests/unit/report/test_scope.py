"""Which rows a figure shows, and what is said about options that a study does not know."""

import pandas as pd
import pytest
import simulate
from fewshot.analysis import summary
from fewshot.report import select
from fewshot.report.figures import registry
from fewshot.report.select import family_titles, short_titles
from mistakes import told

CATALOG = simulate.CATALOG


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "rtee"}, "options.task: unknown task 'rtee'; did you mean 'rte'"),
        (
            {"evaluation_set": "paws"},
            "options.evaluation_set: unknown evaluation set 'paws'",
        ),
        ({"family": "llama"}, "options.family: unknown family 'llama'; valid: opt, pythia"),
        ({"selection": "lst"}, "options.selection: unknown selection 'lst'; did you mean 'last'"),
        ({"k": 3}, "options.k: no cell has 3 shots; valid: 0, 16, 32"),
        ({"arms": ["icll"]}, "options.arms: unknown method 'icll'; did you mean 'icl'"),
    ],
)
def test_what_the_study_does_not_know_is_one_line(study, options, message):
    assert told(select.select_rows, study.metrics, CATALOG, **options).startswith(
        f"figures.yaml: {message}"
    )


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            "metrics_panels",
            {"tasks": ["nli", "hans"]},
            "tasks: unknown task 'hans'; valid: nli, rte",
        ),
        ("metrics_panels", {"pattern": "minimall"}, "pattern: unknown pattern 'minimall'; did you"),
        ("cost_accuracy", {"k": 999}, "k: no cell has 999 shots; valid: 0, 16, 32"),
        ("cost_accuracy", {"pattern": "x"}, "pattern: unknown pattern 'x'; valid: minimal"),
        ("cost_accuracy", {"predictions": -5}, "predictions: must be a number above 0, not -5"),
        ("cost_accuracy", {"predictions": "many"}, "predictions: must be a number above 0, not 'm"),
        ("break_even", {"k": 999}, "k: no cell has 999 shots; valid: 0, 16, 32"),
        ("break_even", {"pattern": "x"}, "pattern: unknown pattern 'x'; valid: minimal"),
        ("accuracy_by_k", {"pattern": "x"}, "pattern: unknown pattern 'x'; valid: minimal"),
        ("learning_curves", {"k": 999}, "k: no cell has 999 shots; valid: 0, 16, 32"),
        ("learning_curves", {"pattern": "x"}, "pattern: unknown pattern 'x'; valid: minimal"),
    ],
)
def test_a_figure_refuses_what_would_leave_it_empty(study, function, options, message):
    said = told(registry.make_figure, function, study, CATALOG, options, "A title")
    assert said.startswith(f"figures.yaml: options.{message}")


def test_options_narrow_the_rows(study):
    rows = select.select_rows(
        study.metrics, CATALOG, task="r*", family="opt", k=32, selection="last",
        arms=["in-context", "lora"],
    )  # fmt: skip
    assert set(rows["task"]) == {"rte"} and set(rows["model"]) == {"opt-s", "opt-l"}
    assert set(rows["method"]) == {"icl", "lora"} and set(rows["k"]) == {32}
    assert rows["label"].isna().all() and rows["group"].isna().all()
    assert "missing" in set(rows["status"]), "what is missing stays"


def test_an_evaluation_set_keeps_the_rows_in_domain_of_its_tasks(study):
    rows = select.select_rows(
        study.metrics, CATALOG, task="rte", evaluation_set="ha*", selection="last"
    )
    assert set(rows["evaluation_set"]) == {"rte", "hans"}


def test_a_part_without_a_seed_is_not_a_mean_over_all(study):
    """Breakdowns have rows of finished seeds alone; the others' cells must still count."""
    options = {"task": "nli", "k": 32, "selection": "last", "arms": ["icl"]}
    parts = select.select_rows(study.metrics, CATALOG, level=("group", "label"), **options)
    overall = select.select_rows(study.metrics, CATALOG, **options)
    whole = summary.with_absent(parts, overall, ["group", "label"])
    means = summary.summarise(whole, ["group", "label"]).set_index(["model", "group", "label"])
    means = means.sort_index()
    partly = means.loc["pythia-l"]
    assert set(partly["status"]) == {"4/5 seeds"} and set(partly["seeds_planned"]) == {5}
    assert set(means.loc["pythia-s", "status"]) == {"does not fit"}
    assert set(means.loc["opt-l", "status"]) == {"ok"}
    assert len(partly) == 6, "three groups, two labels"
    assert set(summary.summarise(parts, ["group", "label"])["seeds_planned"]) == {5, 4}


def test_sizes_are_the_last_part_of_a_title():
    models = {
        "a": {"title": "OPT-125M", "family": "opt", "parameters": 1},
        "b": {"title": "OPT-1.3B", "family": "opt", "parameters": 2},
        "c": {"title": "Pythia-12B", "family": "pythia", "parameters": 1},
        "d": {"title": "GPT-NeoX-20B", "family": "pythia", "parameters": 2},
        "e": {"title": "Solo", "family": "solo", "parameters": 2},
        "f": {"title": "X small", "family": "twice", "parameters": 1},
        "g": {"title": "Y small", "family": "twice", "parameters": 2},
    }
    short = short_titles({"models": models})
    assert list(short.values()) == [
        *("125M", "1.3B", "12B", "GPT-NeoX-20B", "Solo", "X small", "Y small")
    ]
    assert family_titles({"models": models}) == {
        "opt": "OPT",
        "pythia": "Pythia",
        "solo": "solo",
        "twice": "twice",
    }


def test_each_task_keeps_its_own_first_pattern_where_it_has_many_arms():
    """Two tasks without a pattern in common are drawn both; few arms are left as they are."""
    rows = [
        (task, method, pattern)
        for task, patterns in (("a", ("second", "third")), ("b", ("first",)))
        for method in ("one", "two", "three")
        for pattern in patterns
    ]
    frame = pd.DataFrame(rows, columns=["task", "method", "pattern"])
    catalog = {"patterns": {"first": {}, "second": {}, "third": {}}}
    kept = select.fewer_arms(frame, catalog, None)
    assert set(zip(kept["task"], kept["pattern"], strict=True)) == {("a", "second"), ("b", "first")}
    assert set(select.fewer_arms(frame, catalog, "third")["task"]) == {"a"}
    few = frame[frame["method"] != "three"]
    assert select.fewer_arms(few, catalog, None).equals(few)
