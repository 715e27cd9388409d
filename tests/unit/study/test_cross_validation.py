"""The study's key `cross_validation`: which jobs it adds, and what is refused at load."""

from functools import cache

import pytest
from fewshot.planning.estimate import job_rows
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.requests import Requests
from fewshot.planning.workload import held_out
from fewshot.study.figure_needs import missing
from fewshot.study.job_inputs import JobInputs
from fewshot.study.load import load_study
from registries import CONFIG, copy_registries, edit, load, message

GRID = [
    {"methods": ["in-context", "majority"], "patterns": ["minimal"], "k": [0, 8]},
    {"methods": ["pattern-ft", "tfidf", "hidden-state"], "patterns": ["minimal"], "k": [8]},
]
STUDY = {
    "study": "mine", "models": ["opt-125m"], "tasks": ["rte"], "seeds": "0-11", "grid": GRID,
    "figures": [], "tables": [],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


@cache
def study(**more):
    return load_study({**STUDY, **more}, CONFIG)


def test_shots_are_held_out_for_what_shows_them_or_trains_on_them():
    jobs = study(cross_validation=4).held_out_jobs
    assert [(job.cell.method, job.cell.k, len(job.seeds)) for job in jobs] == [
        ("in-context", 8, 10), ("in-context", 8, 2), ("pattern-ft", 8, 10), ("pattern-ft", 8, 2),
    ]  # fmt: skip
    assert study().held_out_jobs == ()


def test_metrics_are_told_where_held_out_scores_are_and_jobs_are_told_nothing():
    plain, with_key = JobInputs(study()), JobInputs(study(cross_validation=4))
    pair = ("rte", "opt-125m")
    assert plain.held_out(*pair) == []
    paths = with_key.held_out(*pair)
    assert len(paths) == 4
    assert (
        paths[0]
        == "results/held-out/4/fair/rte/opt-125m/in-context/minimal/k8/seeds0-9/manifest.json"
    )
    unset = {"held_out": None, "cross_validation": None}
    assert [job | unset for job in with_key.jobs(*pair)] == [
        job | unset for job in plain.jobs(*pair)
    ]
    assert not any("held_out" in job for job in plain.jobs(*pair))
    assert with_key.method("pattern-ft", "opt-125m") == plain.method("pattern-ft", "opt-125m")


def test_ways_to_hold_out_lie_apart():
    pair = ("rte", "opt-125m")
    some, others = (JobInputs(study(cross_validation=how)) for how in (4, "prequential"))
    assert not {*some.held_out(*pair)} & {*others.held_out(*pair)}
    told = [job["cross_validation"] for job in others.jobs(*pair) if "held_out" in job]
    assert told == ["prequential"] * 4


def test_a_plan_counts_each_fold_and_the_shots_that_it_scores():
    plan = MemoryPlan(study(cross_validation=4))
    in_context, _, trained, _ = (job.cell for job in plan.study.held_out_jobs)
    work, held = plan.work(trained, 10), plan.work(trained, 10, True)
    assert held == held_out(work, 8, 4)
    assert (held.seeds, held.epochs, held.rows) == (40, work.epochs, work.rows)
    assert [each.rows for each in held.curve] == [2], "two shots in each fold"
    assert held.predictions == 2 * work.curve[0].times, "of every epoch of the curve"
    assert plan.work(in_context, 10, True).predictions == 2
    seconds, more = (plan.seconds(trained, 10, held) for held in (False, True))
    assert more["train"] == pytest.approx(4 * seconds["train"])
    requests = Requests(plan)
    alone, folds = (requests.adaptation(trained, 10, held_out=held) for held in (False, True))
    assert {**alone, "runtime": 0} == {**folds, "runtime": 0}, "in the same place"
    rows = job_rows(plan)
    assert [row["method"] for row in rows if row["held_out"]] == ["in-context"] * 2 + [
        "pattern-ft"
    ] * 2
    assert requests.longest() == max(row["seconds"] for row in rows)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "config/mine.yaml: cross_validation: 1 is too small; valid: 2 or more"),
        ("loo", "give exactly one of: leave-one-out or prequential; a number of folds"),
        (2.5, "give exactly one of: leave-one-out or prequential; a number of folds"),
    ],
)
def test_other_values_are_refused(folder, value, expected):
    assert expected in message(folder, cross_validation=value)


def test_draws_too_small_for_folds_are_refused(folder):
    assert message(folder, cross_validation="prequential") == (
        "config/mine.yaml: grid: k = 2 of task 'rte': cross_validation: prequential needs more "
        "than 2 different shots, to learn from some and hold others out; here: 2"
    )
    copies = {"base": "rte", "draw": {"duplicate": 4}}
    edit(folder, "tasks", lambda tasks: tasks.update({"rte-copies": copies}))
    given = {"tasks": ["rte-copies"], "cross_validation": "prequential"}
    grid = [{"methods": ["in-context"], "patterns": ["minimal"], "k": [16]}]
    assert message(folder, grid=grid, **given) == (
        "config/mine.yaml: cross_validation: prequential scores rows in the order of the draw, and "
        "task 'rte-copies' has copies of them (duplicate), of which one would tell of the other; "
        "valid: a number of folds, leave-one-out"
    )
    found = load(folder, grid=grid, tasks=["rte-copies"], cross_validation=8)
    assert found.folds_of(found.cells[0]) == 4, "no more folds than different rows"


CHOICES = {
    "pattern": {"methods": ["in-context"], "title": "The pattern"},
    "all": {"methods": ["pattern-ft", "in-context"], "patterns": ["gpt-3", "minimal"]},
}
TWO = [{"methods": ["in-context", "pattern-ft"], "patterns": ["minimal", "gpt-3"], "k": [0, 8]}]
TWO = [{**TWO[0], "methods": ["in-context"]}, {**TWO[0], "methods": ["pattern-ft"], "k": [8]}]


def test_candidates_are_cells_in_the_order_in_which_they_are_listed():
    given = {"grid": TWO, "cross_validation": 4, "choices": CHOICES}
    inputs = JobInputs(load_study({**STUDY, **given}, CONFIG))
    found = inputs.choices("rte", "opt-125m")
    assert [(each["choice"], each["k"]) for each in found] == [("pattern", 8), ("all", 8)]
    arms = [(job["method"], job["pattern"], job["seeds"][0]) for job in found[1]["jobs"]]
    assert arms == [
        ("pattern-ft", "gpt-3", 0), ("pattern-ft", "gpt-3", 10),
        ("pattern-ft", "minimal", 0), ("pattern-ft", "minimal", 10),
        ("in-context", "gpt-3", 0), ("in-context", "gpt-3", 10),
        ("in-context", "minimal", 0), ("in-context", "minimal", 10),
    ]  # fmt: skip
    assert all(job["held_out"].startswith("results/held-out/") for job in found[1]["jobs"])
    assert inputs.choice_files() == ["results/choices/mine/rte/opt-125m.parquet"]
    assert inputs.catalog["choices"] == {
        "pattern": {"title": "The pattern"},
        "all": {"title": "all"},
    }
    assert "choices" not in JobInputs(study()).catalog and not JobInputs(study()).choice_files()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            {"methods": ["in-contxt"]},
            "choices.one.methods: unknown method 'in-contxt'; did you mean 'in-context'?",
        ),
        (
            {"methods": ["in-context"], "patterns": ["gpt-4"]},
            "choices.one.patterns: unknown pattern 'gpt-4'; did you mean 'gpt-3'?",
        ),
        (
            {"methods": ["in-context"], "patterns": ["gpt-3"]},
            "choices.one: fewer than two candidates at every task, model and number of shots, "
            "contextual calibration apart; add methods, patterns or epochs of a learning curve",
        ),
        (
            {"methods": ["in-context", "lora"], "patterns": ["minimal", "gpt-3"]},
            "choices.one: no cell of the grid has method 'lora' with pattern 'gpt-3'; leave "
            "patterns out to take all that there are",
        ),
        (
            {"methods": ["in-context", "lora"]},
            "choices.one: task 'rte', model 'tiny', k = 8: lora/minimal has other seeds than "
            "in-context/minimal; candidates need the same",
        ),
        (
            {"methods": ["in-context"], "patterns": ["minimal", "other"]},
            "choices.one: task 'rte', model 'tiny', k = 8: rank_by: sum of in-context/minimal and "
            "mean of in-context/other put probabilities on unlike scales; list patterns of one "
            "rank_by",
        ),
    ],
)
def test_choices_without_a_choice_are_refused(folder, choice, expected):
    other = {"rank_by": "mean"}
    edit(folder, "patterns", lambda each: each.update(other={**each["minimal"], **other}))
    lora = {"methods": ["lora"], "patterns": ["minimal"], "k": [8], "seeds": "0-1"}
    shown = {"methods": ["in-context"], "patterns": ["other"], "k": [8]}
    given = {"grid": [*TWO, lora, shown], "cross_validation": 4, "tasks": ["rte"]}
    found = message(folder, **given, choices={"one": choice})
    assert found == f"config/mine.yaml: {expected}"


def test_two_choices_of_one_title_are_refused(folder):
    one, other = ({"methods": [name], "title": "Same"} for name in ("in-context", "pattern-ft"))
    given = {"grid": TWO, "cross_validation": 4}
    assert message(folder, **given, choices={"one": one, "other": other}) == (
        "config/mine.yaml: choices.other: title: choice 'one' is called 'Same' too"
    )


def test_shots_that_nothing_holds_out_are_refused(folder):
    grid = [{"methods": ["in-context", "majority"], "patterns": ["minimal"], "k": [0]}]
    assert message(folder, grid=grid, cross_validation=4) == (
        "config/mine.yaml: cross_validation: no cell of the grid shows shots or trains on them, so "
        "that none are held out; leave it out"
    )


def test_choices_need_shots_that_are_held_out(folder):
    found = message(folder, choices={"one": {"methods": ["in-context"]}})
    assert found == (
        "config/mine.yaml: choices: candidates are judged by shots that are held out in turn; add "
        "cross_validation"
    )
    named = {"figures": ["honest-choice"]}
    assert message(folder, **named) == (
        "config/mine.yaml: figures: figure 'honest-choice' needs a choice of settings from the "
        "shots (key choices), which study 'mine' does not have"
    )


def test_the_figure_of_choices_needs_one_at_its_number_of_shots(folder):
    """The table shows all numbers of shots, the figure one: the main one, or its option k."""
    grid = [*TWO, {"methods": ["in-context"], "patterns": ["minimal"], "k": [16]}]
    given = {"grid": grid, "cross_validation": 4, "choices": {"one": {"methods": ["in-context"]}}}
    found = load(folder, **given, main={"k": 8})
    assert "honest-choice" in found.figures and "honest-choice" in found.tables
    found = load(folder, **given, main={"k": 16})
    assert "honest-choice" in found.tables
    assert found.unmet["figure"]["honest-choice"] == (
        "figure 'honest-choice' needs a choice of settings from 16 shots (key choices), which "
        "study 'mine' does not have"
    )
    entry = {**found.tables["honest-choice"], "options": {"k": 8}}
    assert missing(entry, found, "figure") is None


def test_one_trained_cell_has_a_candidate_for_each_epoch_of_its_curve(folder):
    given = {"grid": TWO[1:], "cross_validation": 4, "main": {"k": 8}}
    one = {"one": {"methods": ["pattern-ft"], "patterns": ["minimal"]}}
    assert load(folder, **given, choices=one).candidate_cells("one")
    edit(folder, "methods", lambda methods: methods["pattern-ft"].update(curve_epochs="last"))
    assert "fewer than two candidates" in message(folder, **given, choices=one)
