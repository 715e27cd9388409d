"""Cells that start from adapters of other tasks: of which, by which runs, and what is refused."""

import pytest
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.study.cells import Cell
from fewshot.study.job_inputs import JobInputs
from fewshot.study.starting_points import source_cells, source_tasks
from registries import copy_registries, edit, load, message

TASKS = ["rte", "qqp", "rte-order1", "cola"]
START = {"method": "lora", "tasks": "others", "k": 4}
STARTED = {"base": "lora", "start_from": START}


def block(*methods, k=(4,), **rest) -> dict:
    return {"methods": [*methods], "patterns": ["minimal"], "k": [*k], **rest}


def study_of(folder, started=None, tasks=TASKS, grid=None, **changes):
    """Return a study with a method that starts from LoRA's adapters of other tasks."""
    registries = copy_registries(folder)
    edit(registries, "methods", lambda c: c.update(started={**STARTED, **(started or {})}))
    wanted = {"models": ["opt-125m"], "tasks": tasks, "grid": grid or [block("lora", "started")]}
    return load(registries, seeds="8-10", **{**wanted, **changes})


def cell_of(task, method="started", k=4, model="opt-125m") -> Cell:
    return Cell("fair", task, model, method, "minimal", k)


def test_no_task_counts_whose_rows_a_cell_is_tested_on(tmp_path):
    """RTE in another order has RTE's rows, and no task's shots are another's in another order."""
    study = study_of(tmp_path)
    sources = {task: source_tasks(study, cell_of(task)) for task in TASKS}
    assert sources == {
        "rte": ["qqp", "cola"],
        "rte-order1": ["qqp", "cola"],
        "qqp": ["rte", "cola"],
        "cola": ["rte", "qqp"],
    }


def test_out_of_domain_sets_and_their_sources_are_left_out(tmp_path):
    """SST-2 is tested on IMDb and Yelp, and these on each other."""
    named = {"start_from": {**START, "tasks": ["imdb", "yelp", "sst2"]}}
    grid = [block("lora"), block("started", tasks=["imdb"])]
    grid = [{**each, "patterns": ["sentiment"]} for each in grid]
    study = study_of(tmp_path, named, grid=grid, tasks=["sst2", "imdb", "yelp"])
    assert source_tasks(study, cell_of("imdb")) == ["sst2"]
    assert source_tasks(study, cell_of("sst2")) == []
    study.tasks["sst2"]["out_of_domain"] = ["customer-reviews"]
    assert source_tasks(study, cell_of("sst2")) == ["imdb", "yelp"]
    study.tasks["yelp"]["source"] = study.tasks["customer-reviews"]["source"]
    assert source_tasks(study, cell_of("sst2")) == ["imdb"], "one source under two names"


def test_what_a_source_started_from_counts_too(tmp_path):
    """The second start would bring RTE's own adapters back to it by way of QQP's."""
    registries = copy_registries(tmp_path)
    again = {"base": "lora", "start_from": {**START, "method": "started"}}
    edit(registries, "methods", lambda c: c.update(started=STARTED, again=again))
    wanted = {"models": ["opt-125m"], "seeds": "8-10", "tasks": ["rte", "qqp"]}
    told = message(registries, **wanted, grid=[block("lora", "started", "again")])
    assert "'again' on task 'rte' has no task to start from (start_from.tasks: others)" in told
    first = {**START, "tasks": ["cola"]}
    edit(registries, "methods", lambda c: c["started"].update(start_from=first))
    edit(registries, "methods", lambda c: c["again"]["start_from"].update(tasks=["rte", "qqp"]))
    grid = [block("lora", tasks=["cola"]), block("started", "again", tasks=["rte", "qqp"])]
    study = load(registries, **{**wanted, "tasks": [*wanted["tasks"], "cola"]}, grid=grid)
    cell = cell_of("rte", "again")
    assert source_cells(study, cell) == [cell_of("qqp", "started")]
    assert source_cells(study, cell_of("qqp", "started")) == [cell_of("cola", "lora")]


def test_a_job_waits_for_the_runs_that_it_starts_from(tmp_path):
    study = study_of(tmp_path)
    inputs, cell = JobInputs(study), cell_of("rte")
    runs = "results/runs/fair/{}/opt-125m/lora/minimal/k4/{}/manifest.json"
    assert inputs.start(cell, [8, 9]) == [runs.format(task, "seeds8-9") for task in ("qqp", "cola")]
    assert inputs.start(cell, [10]) == [runs.format(task, "seeds10-10") for task in ("qqp", "cola")]
    told = inputs.settings(cell)
    assert told["start_from"] == {**START, "tasks": ["qqp", "cola"]}
    plain = cell_of("rte", "lora")
    assert inputs.start(plain, [8, 9]) == [] and "start_from" not in inputs.settings(plain)
    assert {key: told[key] for key in told if key != "start_from"} == inputs.settings(plain)


def test_other_methods_are_told_what_they_were_told_before(tmp_path):
    (tmp_path / "with").mkdir(), (tmp_path / "without").mkdir()
    study = study_of(tmp_path / "with")
    before = load(
        copy_registries(tmp_path / "without"),
        **{"models": ["opt-125m"], "tasks": TASKS, "grid": [block("lora")], "seeds": "8-10"},
    )
    one, other = JobInputs(study), JobInputs(before)
    for cell in before.cells:
        assert one.settings(cell) == other.settings(cell)
        assert one.start(cell, [8]) == other.start(cell, [8]) == []


FUSION = {
    "base": "pfeiffer", "family": "adapter_fusion", "start_from": {**START, "method": "pfeiffer"},
}  # fmt: skip


def test_a_plan_counts_the_adapters_that_are_fused(tmp_path):
    grid = [block("pfeiffer", tasks=["rte", "cola", "qqp"]), block("started")]
    grid = [grid[0], {**grid[1], "tasks": ["rte", "rte-order1"]}, block("started", tasks=["cola"])]
    study = study_of(tmp_path, FUSION, grid=grid)
    study.tasks["cola"]["out_of_domain"] = ["rte"]
    study.__dict__.pop("cells", None)
    plan = MemoryPlan(study)
    width, layers = 768, 12
    trained = layers * (3 * width**2 + width)
    one = layers * ((width + 1) * (width // 16) + (width // 16 + 1) * width)
    two, single = plan.demand(cell_of("rte")), plan.demand(cell_of("cola"))
    assert two.trainable == single.trainable == trained
    assert (two.added, single.added) == (trained + 2 * one, trained + one)
    assert plan.choice(cell_of("rte")).expected != plan.choice(cell_of("cola")).expected


WRONG = {
    "unknown method": ({"start_from": {**START, "method": "lorra"}}, "unknown method 'lorra'"),
    "unknown task": ({"start_from": {**START, "tasks": ["rta"]}}, "start_from.tasks: unknown task"),
    "family": (
        {"start_from": {**START, "method": "ia3"}},
        "start_from: method 'ia3' is of family 'ia3'; valid here: lora",
    ),
    "tensors": ({"rank": 4}, "start_from: method 'lora' has rank: 8, this one 4; valid: the same"),
    "scale": ({"alpha": 32}, "start_from: method 'lora' has alpha: 16, this one 32"),
    "no weights": (
        {"base": "pattern-ft", "start_from": {**START, "method": "pattern-ft"}},
        "start_from: method 'pattern-ft' keeps no weights; valid: a method with keep_weights: true",
    ),
    "head": (
        {"head": "classification", "classifier": "linear"},
        "start_from: head: classification is trained for the labels of one task; valid: language-m",
    ),
    "does not train": (
        {"base": "in-context", "start_from": {**START, "method": "in-context"}},
        "start_from: family 'in_context' does not train; leave it out",
    ),
    "from the shots": (
        {"base": "context-tuning", "start_from": {**START, "method": "context-tuning"}},
        "start_from: what family 'context_tuning' trains here begins as the shots",
    ),
    "density": (
        {"start_from": {**START, "density": 0.2}},
        "start_from: density: combine is mean, which has none; valid with combine: ties or dare-li",
    ),
    "weight": (
        {"start_from": {**START, "weight": 0.2}},
        "start_from: weight: combine is mean, which has none; valid with combine: linear or ties",
    ),
    "no density": (
        {"start_from": {**START, "combine": "ties"}},
        "start_from: 'density' is missing for combine: ties",
    ),
    "cycle": (
        {"start_from": {**START, "method": "started"}},
        "methods start from each other in a cycle: started → started",
    ),
    "fused": (
        {**FUSION, "start_from": {**FUSION["start_from"], "combine": "linear"}},
        "start_from: combine: this family keeps the adapters of several tasks apart; leave it out",
    ),
    "fused others": (
        {**FUSION, "bottleneck": "1/8"},
        "start_from: method 'pfeiffer' has bottleneck: 1/16, this one 1/8; valid: the same",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_method_that_cannot_start_so_is_refused(tmp_path, name):
    changes, expected = WRONG[name]
    registries = copy_registries(tmp_path)
    edit(registries, "methods", lambda c: c.update(started={**STARTED, **changes}))
    told = message(registries)
    assert told.startswith("config/methods.yaml: method 'started': ") and expected in told


def test_nothing_is_trained_only_from_a_start(tmp_path):
    registries = copy_registries(tmp_path)
    edit(registries, "methods", lambda c: c.update(none={"base": "lora", "epochs": 0}))
    assert "'none': epochs: 0 scores what a method starts from" in message(registries)
    edit(
        registries,
        "methods",
        lambda c: c.update(none={"base": "pfeiffer", "family": "adapter_fusion"}),
    )
    assert "'none': 'start_from' is missing for family 'adapter_fusion'" in message(registries)


def grid_message(folder, grid, **changes) -> str:
    registries = copy_registries(folder)
    edit(registries, "methods", lambda c: c.update(started=STARTED))
    wanted = {"models": ["opt-125m"], "tasks": ["rte", "qqp"], "seeds": "0-2", "grid": grid}
    told = message(registries, **{**wanted, **changes})
    assert told.startswith("config/mine.yaml: grid: method 'started' on task 'rte' ")
    return told


def test_cells_that_a_start_needs_must_be_in_the_grid(tmp_path):
    told = grid_message(tmp_path, [block("started")])
    assert "starts from the cell fair/qqp/opt-125m/lora/minimal/k4, which no block has; add" in told
    assert "method 'lora' with task 'qqp', model 'opt-125m', pattern 'minimal' and k: 4" in told
    told = grid_message(tmp_path, [block("lora", k=[8]), block("started")])
    assert "no block has" in told
    told = grid_message(tmp_path, [block("lora", seeds="0-1"), block("started")])
    assert "lora/minimal/k4, which has no seed 2; valid: blocks with the same seeds" in told
    told = grid_message(tmp_path, [block("lora", "started")], tasks=["rte"])
    assert "has no task to start from (start_from.tasks: others): none may have rows" in told
    assert told.endswith("valid: tasks apart from rte, hans")
