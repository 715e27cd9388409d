"""Tasks with a base: its rows, its keys, and factors of the data of their own."""

from pathlib import Path

import pytest
from fewshot.errors import UserError
from fewshot.study.catalog import catalog_of
from fewshot.study.imports import used_entries
from fewshot.study.job_inputs import JobInputs
from fewshot.study.registries import derived_tasks
from fewshot.study.sources import hub_sources
from fewshot.validation import read_yaml, validate
from registries import BLOCK, copy_registries, edit, load, message

CONFIG = Path(__file__).parents[3] / "config"
TASKS = {
    "mine": {"base": "rte-100", "draw": {"flip": 0.5}, "title": "Half of RTE's labels wrong"},
    "words": {"base": "mine", "verbalizers": {"yes-no": ["Foo", "Bar"]}},
    "second": {"base": "rte-100", "draw": {"order": 1}},
    "third": {"base": "rte-100", "draw": {"order": 2}},
    "mixed": {"base": "rte-100", "draw": {"flip": 0.5, "order": 1}},
    "chained": {"base": "mine", "draw": {"order": 3}},
}


@pytest.fixture
def folder(tmp_path):
    folder = copy_registries(tmp_path)
    edit(folder, "tasks", lambda tasks: tasks.update(TASKS))
    return folder


def told(folder, draw, **changes):
    """Return the line with which a study of a task with these factors is refused."""
    edit(folder, "tasks", lambda tasks: tasks.update(x={"base": "rte", "draw": draw}))
    return message(folder, **{"tasks": ["x"], "grid": [{**BLOCK, "k": [16]}], **changes})


def test_a_task_has_all_keys_of_its_base_and_the_first_ones_rows(folder):
    tasks = load(folder).tasks
    own = ("title", "draw", "verbalizers", "base", "source")
    for name in TASKS:
        rest = [{k: v for k, v in tasks[n].items() if k not in own} for n in (name, "rte-100")]
        assert rest[0] == rest[1]
    assert (tasks["words"]["base"], tasks["words"]["source"]) == ("rte-100", "rte")
    assert tasks["words"]["draw"] == {"flip": 0.5} and "title" not in tasks["words"]
    assert tasks["words"]["verbalizers"] == {"yes-no": ["Foo", "Bar"]}
    assert tasks["mine"]["verbalizers"] == tasks["rte"]["verbalizers"]
    assert tasks["chained"]["draw"] == {"flip": 0.5, "order": 3}, "factors of a base count too"
    assert tasks["mine"]["draw"] == {"flip": 0.5}


def test_nothing_is_downloaded_prepared_or_scored_from_rows_of_its_own(folder):
    inputs = JobInputs(load(folder, tasks=["mine", "words", "rte-100"], grid=[BLOCK]))
    rows = [f"results/data/{name}/validation.parquet" for name in ("rte-100", "hans-150")]
    for task in ("mine", "words", "rte-100"):
        assert inputs.evaluation_files(task) == rows
        assert [each["set"] for each in inputs.evaluation_sets(task)] == [task, "hans-150"]
        own, other = inputs.evaluation_sets(task)
        assert own.get("base", task) == "rte-100" and "base" not in other
        assert inputs.train_file(task, 2) == "results/data/rte-100/train.parquet"
        assert inputs.study.source_of(task) == "rte"
    shots = "results/shots/fair/mine/k2/seed0.parquet"
    assert inputs.shots("in-context", "mine", 2, [0]) == [shots]
    assert inputs.shots("pattern-ft", "mine", 2, [0]) == [shots]  # the same for both sides
    assert set(hub_sources(inputs.study)) == {"rte", "hans"}


def test_label_words_of_a_task_are_shown_by_its_patterns(folder):
    study = load(folder, tasks=["mine", "words"], grid=[BLOCK])
    words = {task: study.bind("minimal", task).words for task in ("mine", "words")}
    assert words == {"mine": (" Yes", " No"), "words": (" Foo", " Bar")}
    prompts = catalog_of(study)["patterns"]["minimal"]["prompts"]
    assert prompts["words"]["words"] == [" Foo", " Bar"]


def test_tasks_that_differ_in_one_factor_are_known_as_variants(folder):
    grid = [{**BLOCK, "k": [16]}]
    study = load(folder, tasks=["rte-100", *TASKS], grid=grid)
    assert study.variants == {
        "flip": {"rte-100": {"rte-100": 0, "mine": 0.5}, "second": {"second": 0, "mixed": 0.5}},
        "order": {
            "rte-100": {"rte-100": 0, "second": 1, "third": 2},
            "mine": {"mine": 0, "mixed": 1, "chained": 3},
        },
    }
    assert catalog_of(study)["variants"] == study.variants
    assert study.orders_of("rte-100") == ["rte-100", "second", "third"]
    assert study.orders_of("words") == ["words"] and study.orders_of("second") == ["second"]
    files = JobInputs(study).orders_files("metrics", "mine")
    orders, models = ("mine", "mixed", "chained"), ("small", "tiny")
    assert files == [f"results/metrics/mine/{o}/{m}.parquet" for o in orders for m in models]
    assert "variants" not in catalog_of(load(folder, tasks=["rte-100"], grid=grid))


def test_a_choice_may_take_the_shots_in_another_order(folder):
    """Candidates of the task that has its shots as they were drawn; without the key, of their own
    tasks, which offer no choice."""
    block = {"methods": ["in-context"], "patterns": ["minimal"], "k": [4]}
    more = {"tasks": ["third", "rte-100", "second"], "cross_validation": 2}
    choice = {"methods": ["in-context"], "orders": True}
    study = load(folder, grid=[block], choices={"order": choice}, **more)
    places = study.candidate_cells("order")
    assert {place[0] for place in places} == {"rte-100"}
    assert [cell.task for cell in places["rte-100", "tiny", 4]] == ["third", "rte-100", "second"]
    inputs, pair = JobInputs(study), ("rte-100", "tiny")
    [chosen] = inputs.choices(*pair)
    orders = [(job.get("task"), job.get("order")) for job in chosen["jobs"]]
    assert orders == [("third", 2), (None, None), ("second", 1)]
    assert inputs.candidate_files("metrics", *pair) == [
        f"results/metrics/mine/{task}/tiny.parquet" for task in ("rte-100", "third", "second")
    ]
    runs = inputs.candidate_manifests(*pair)
    assert [path.split("/")[4] for path in runs] == ["third", "rte-100", "second"]
    assert inputs.choice_files() == [
        f"results/choices/mine/rte-100/{model}.parquet" for model in ("small", "tiny")
    ]
    with pytest.raises(UserError, match="fewer than two candidates"):
        load(folder, grid=[block], choices={"order": {**choice, "orders": False}}, **more)
    with pytest.raises(UserError, match="orders: cross_validation: prequential holds other rows"):
        prequential = {**more, "cross_validation": "prequential"}
        load(folder, grid=[block], choices={"order": choice}, **prequential)
    with pytest.raises(UserError, match="orders: no task of the grid has its shots in several"):
        load(folder, grid=[block], choices={"order": choice}, **{**more, "tasks": ["rte-100"]})


def test_an_archive_has_the_base_and_can_be_read_again(folder):
    study = load(folder, tasks=["words"], grid=[BLOCK])
    tasks = used_entries(study)["tasks"]
    assert set(tasks) == {"words", "rte-100", "rte", "hans", "hans-150", "hans-lexical-overlap"}
    again = validate(derived_tasks(tasks, "x.yaml"), "tasks", "x.yaml")
    assert again["words"] == study.tasks["words"]


@pytest.mark.parametrize(
    ("draw", "line"),
    [
        ({"flip": 0.3}, "task 'x': draw: flip: 0.3 of 16 rows is no whole number; valid: mul"),
        (
            {"flip": 1.5},
            "config/tasks.yaml: x.draw.flip: 1.5 is too large; valid: more than 0 and at most 1",
        ),
        ({"flip": 0}, "x.draw.flip: 0 is too small; valid: more than 0"),
        ({"flip": True}, "x.draw.flip: true is not a number"),
        ({"flips": 0.5}, "x.draw: unknown key 'flips'; did you mean 'flip'?"),
        ({"labels": "gold"}, "x.draw.labels: unknown value 'gold'; valid: random"),
        ({"flip": 0.5, "labels": "random"}, "task 'x': draw: 'flip' and 'labels' both give labels"),
        ({"imbalance": 0.7}, "task 'x': draw: imbalance: 0.7 of 16 rows is no whole number"),
        ({"duplicate": 3}, "task 'x': draw: duplicate: k = 16 is no multiple of 3"),
        ({"duplicate": 1}, "x.draw.duplicate: 1 is too small; valid: 2 or more"),
        ({"augment": {"swap": 0.1}}, "x.draw: 'duplicate' is missing, which 'augment' needs"),
        ({"augment": {}, "duplicate": 2}, "x.draw.augment:"),
        ({"order": 0}, "x.draw.order: 0 is too small; valid: 1 or more"),
        ({}, "x.draw:"),
    ],
)
def test_bad_factors_are_one_line(folder, draw, line):
    assert line in told(folder, draw)


def test_too_few_rows_of_a_label_are_told_at_load(folder):
    grid = [{**BLOCK, "k": [2048]}]
    line = told(folder, {"imbalance": 0.75}, grid=grid)
    assert "k = 2048 needs 1536 training rows of label 'entailment' of task 'x', which has" in line
    load(folder, tasks=["x"], grid=[{**BLOCK, "k": [1024]}])


def test_factors_are_for_the_fair_protocol(folder):
    line = told(folder, {"flip": 0.5}, protocol="mosbach2023")
    assert line == (
        "config/mine.yaml: protocol: 'mosbach2023' draws as the published code does, which has no "
        "factors, and task 'x' has 'draw'; valid: fair"
    )
    load(folder, tasks=["rte-swapped"], grid=[BLOCK], protocol="mosbach2023")


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"base": "rtee"}, "config/tasks.yaml: x.base: unknown base task 'rtee'; did you mean 'rt"),
        ({"base": "x"}, "config/tasks.yaml: tasks inherit in a cycle: x → x"),
        ({"base": "rte", "text": ["a"]}, "task 'x': 'text' is that of its base 'rte', whose rows"),
        ({"base": "words", "source": "hans"}, "task 'x': 'source' is that of its base 'rte-100'"),
        ({"base": 5}, "x.base: 5 is not text"),
        ({"title": "No base"}, "x: 'source' is missing"),
    ],
)
def test_bad_bases_are_one_line(folder, entry, line):
    edit(folder, "tasks", lambda tasks: tasks.update(x=entry))
    assert line in message(folder)


def test_the_shipped_factors_are_those_of_both_tasks():
    tasks = read_yaml(CONFIG / "tasks.yaml")
    for base in ("synth-mnli", "rte"):
        ours = {name: entry for name, entry in tasks.items() if entry.get("base") == base}
        assert len(ours) >= 12
        swapped = ours[f"{base}-swapped"]["verbalizers"]
        assert swapped == {k: words[::-1] for k, words in tasks[base]["verbalizers"].items()}
