"""Entries that a study brings under `define`, and mistakes in them: one line, with file and key."""

import pytest
from fewshot.study.catalog import catalog_of
from fewshot.study.imports import travelling_settings
from fewshot.study.job_inputs import JobInputs
from mistakes import told
from registries import copy_registries, edit, load

MODEL = {"family": "opt", "hub": "c/d", "revision": "y", "parameters": 1, "window": 9}
TASK = {
    "source": {"local": {"train": "rows.csv", "dev": "scored.csv"}},
    "splits": {"train": "train", "validation": "dev"},
    "text": ["first", "second"],
    "label": "gold",
    "labels": {"yes": "yes", "no": "no"},
}
PATTERN = {
    "template": "{text_a} So {text_b}",
    "answer": " {label}",
    "labels": {"yes": "Yes", "no": "No"},
}
METHOD = {"base": "lora", "rank": 3}
OWN = {
    "models": {"own": MODEL},
    "tasks": {"own": TASK},
    "patterns": {"so": PATTERN},
    "methods": {"lora-3": METHOD},
}
CHANGES = {
    "models": ["own"],
    "tasks": ["own"],
    "grid": [{"methods": ["in-context", "lora-3"], "patterns": ["so"], "k": [2]}],
}
FIGURE = {"function": "accuracy_by_k", "title": "By k", "caption": "Mine.", "category": "9 Mine"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_registries(tmp_path)
    for name in ("rows.csv", "scored.csv"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_is_made_of_its_own_entries_as_of_those_of_the_registries(folder):
    own = load(folder, define=OWN, **CHANGES)
    for name, entries in OWN.items():
        edit(folder, name, lambda content, entries=entries: content.update(entries))
    same = load(folder, **CHANGES)
    assert own.cells == same.cells and own.settings == same.settings
    assert catalog_of(own) == catalog_of(same)
    for job in own.jobs:
        assert own.cell_settings(job.cell) == same.cell_settings(job.cell)
    assert own.methods["lora-3"]["rank"] == 3 and own.methods["lora-3"]["alpha"] == 16
    assert own.tasks["own"]["metric"] == "accuracy", "defaults are filled in"


def test_other_jobs_do_not_depend_on_an_own_entry(folder):
    with_own, without = load(folder, define=OWN), load(folder)
    assert with_own.settings == without.settings and catalog_of(with_own) == catalog_of(without)
    for job in without.jobs:
        cell = job.cell
        given = [JobInputs(each).method(cell.method, cell.model) for each in (with_own, without)]
        assert given[0] == given[1]
        assert with_own.bind(cell.pattern, cell.task) == without.bind(cell.pattern, cell.task)


def test_own_tasks_and_methods_may_rest_on_those_of_the_registries_and_on_each_other(folder):
    tasks = {
        "rte-half": {"base": "rte-flip25", "draw": {"imbalance": 0.5}},
        "rte-again": {"base": "rte-half", "title": "Again"},
    }
    methods = {"lora-3": METHOD, "lora-3-slow": {"base": "lora-3", "learning_rate": 0.5}}
    study = load(folder, define={"tasks": tasks, "methods": methods})
    assert study.tasks["rte-again"]["base"] == "rte" and study.tasks["rte-again"]["source"] == "rte"
    assert study.tasks["rte-again"]["draw"] == {"flip": 0.25, "imbalance": 0.5}
    assert study.tasks["rte-again"]["labels"] == study.tasks["rte"]["labels"]
    slow = study.methods["lora-3-slow"]
    assert (slow["rank"], slow["learning_rate"], slow["family"]) == (3, 0.5, "lora")
    assert "title" not in slow, "that of a base is not taken over"


def test_figures_are_added_and_those_that_are_there_changed(folder):
    entries = {
        "by-k": {**FIGURE, "options": {"pattern": "minimal"}},
        "id-ood-roc-area": {"title": "Area", "options": {"k": 2}},
    }
    study = load(folder, define={"figures": entries})
    assert study.figures["by-k"] == {**FIGURE, "needs": {}, "options": {"pattern": "minimal"}}
    area, plain = study.figures["id-ood-roc-area"], load(folder).figures["id-ood-roc-area"]
    assert area["options"] == {"metric": "roc_area", "k": 2}, "options one by one"
    assert area == {**plain, "title": "Area", "options": area["options"]}
    assert list(study.figures)[-1] == "by-k" and study.tables == load(folder).tables


def test_own_figures_travel_and_nothing_else_does(folder):
    entries = {"by-k": FIGURE, "by-nothing": {**FIGURE, "needs": {"k": [99]}}}
    study = load(folder, define={**OWN, "figures": entries, "tables": {}})
    assert travelling_settings(load(folder, define=OWN)) == study.settings
    travelling = travelling_settings(study)
    assert travelling["define"] == {"figures": {"by-k": study.figures["by-k"]}}
    again = load(folder, define=travelling["define"])
    assert again.figures == study.figures and travelling_settings(again) == travelling


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"model": {}}, "config/mine.yaml: define: unknown key 'model'; did you mean 'models'?"),
        ({"models": {"own": 3}}, "config/mine.yaml: define.models.own: 3 is not a mapping"),
        (
            {"models": {"tiny": MODEL}},
            "config/mine.yaml: define.models: 'tiny' is in config/models.yaml already, and studies",
        ),
        (
            {"models": {"own": {"hub": "c/d", "revision": "y"}}},
            "config/mine.yaml: define.models: own: 'family' is missing",
        ),
        (
            {"models": {"none": MODEL}},
            "config/mine.yaml: define.models: 'none' is reserved for baselines",
        ),
        (
            {"tasks": {"own": {**TASK, "txt": ["first"]}}},
            "config/mine.yaml: define.tasks: own: unknown key 'txt'; did you mean 'text'?",
        ),
        (
            {"tasks": {"own": {"base": "rtee"}}},
            "config/mine.yaml: define.tasks: own.base: unknown base task 'rtee'; did you mean",
        ),
        (
            {"tasks": {"own": {**TASK, "splits": {"validation": "devv"}}}},
            "config/mine.yaml: define.tasks: task 'own': splits: unknown raw split 'devv'",
        ),
        (
            {"tasks": {"train": TASK}},
            "config/mine.yaml: define.tasks: task 'train': this name is reserved",
        ),
        (
            {"methods": {"lora-3": {**METHOD, "base": "lorra"}}},
            "config/mine.yaml: define.methods: lora-3.base: unknown base method 'lorra'",
        ),
        (
            {"methods": {"lora-3": {**METHOD, "steps": 5, "epochs": 5}}},
            "config/mine.yaml: define.methods: method 'lora-3': 'epochs' and 'steps' both say",
        ),
        (
            {"methods": {"lora-3": {**METHOD, "family": "lorra"}}},
            "config/mine.yaml: define.methods: method 'lora-3': unknown family 'lorra'",
        ),
        (
            {"figures": {"by-k": {"function": "accuracy_by_k"}}},
            "config/mine.yaml: define: figures.by-k: 'title' is missing",
        ),
        (
            {"figures": {"by-k": {**FIGURE, "function": "accuracy_by_kk"}}},
            "config/mine.yaml: define.figures: 'by-k': unknown function 'accuracy_by_kk'; did you",
        ),
        (
            {"figures": {"id-ood-scatter": {"options": {"metrik": "mcc"}}}},
            "config/mine.yaml: define.figures: 'id-ood-scatter': unknown option 'metrik'; did you",
        ),
        (
            {"tables": {"headline": {"options": {"arms": ["lorra"]}}}},
            "config/mine.yaml: define.tables: 'headline'",
        ),
    ],
)
def test_mistakes_name_the_file_and_the_key_of_the_study(folder, own, message):
    assert told(load, folder, define=own).replace(f"{folder}/", "config/").startswith(message)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"tasks": {"own": {**TASK, "source": {"local": {"train": "a.csv", "dev": "b.csv"}}}}},
            "config/mine.yaml: define.tasks: task 'own': source file of 'train' not found: a.csv",
        ),
        (
            {"models": {"own": {"family": "opt", "local": "nowhere"}}},
            "config/mine.yaml: define.models: model 'own': no config.json in 'nowhere'",
        ),
        (
            {"patterns": {"so": {**PATTERN, "labels": {"yes": "Yes"}}}},
            "config/mine.yaml: define.patterns: pattern 'so': no label word for 'no' of task 'own'",
        ),
        (
            {"patterns": {"so": {**PATTERN, "verbalizer": "yes-no", "labels": None}}},
            "config/mine.yaml: define.patterns: so: give exactly one of: verbalizer; labels",
        ),
        (
            {"methods": {"lora-3": {**METHOD, "targets": {"llama": ["q_proj"]}}}},
            "config/mine.yaml: define.methods: method 'lora-3': targets: no entry for family 'opt'",
        ),
    ],
)
def test_mistakes_of_cells_name_them_too(folder, own, message):
    assert told(load, folder, define={**OWN, **own}, **CHANGES).startswith(message)


def test_a_verbalizer_that_an_own_task_lacks_is_looked_for_in_the_study(folder):
    grid = [{"methods": ["in-context"], "patterns": ["minimal"], "k": [2]}]
    assert told(load, folder, define=OWN, **{**CHANGES, "grid": grid}).startswith(
        "config/mine.yaml: define.tasks: task 'own' has no verbalizer 'yes-no', which"
    )
