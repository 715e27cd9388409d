"""Imports of a study, the entries it takes along, and the registries it brings."""

import pytest
import yaml
from fewshot.errors import UserError
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.study.imports import used_entries
from fewshot.study.load import load_study
from fewshot.study.study import Cell
from registries import STUDY, copy_registries, edit, load

METHOD = {"family": "imported", "head": "language-model", "title": "Harness"}
ENTRY = {"method": "harness", "model": "small", "task": "rte", "pattern": "minimal", "k": 5}
FILES = {"rte": "logs/**/samples_rte_{seed}_*.jsonl", "hans": "logs/**/samples_hans_{seed}_*.jsonl"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_registries(tmp_path)
    edit(tmp_path, "methods", lambda methods: methods.update(harness=METHOD))
    for name in ("rte_0_a", "rte_1_a", "hans_0_a", "hans_1_a"):
        (tmp_path / "logs/model").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"logs/model/samples_{name}.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entry(**changes) -> dict:
    return {**ENTRY, "seeds": "0-1", "samples": dict(FILES), **changes}


def test_imported_cells_join_those_of_the_grid(folder):
    study, plain = load(folder, imports=[entry()]), load(folder)
    cell = Cell("fair", "rte", "small", "harness", "minimal", 5)
    assert study.own_cells == plain.cells and study.cells == (*plain.cells, cell)
    assert [job.seeds for job in study.jobs if job.cell == cell] == [(0, 1)]
    assert study.main_k == plain.main_k, "k of what was made elsewhere is no headline's"
    assert study.catalog()["methods"]["harness"]["family"] == "imported"
    assert not study.catalog()["methods"]["harness"]["stored_draws"]
    [each] = study.imports
    assert each.prompts == "pattern"
    assert each.file("hans", 1) == "logs/model/samples_hans_1_a.jsonl"


def test_only_imports_that_are_all_compared_with_the_draws_have_them(folder):
    stored = entry(prompts="stored")
    mixed = load(folder, imports=[stored, entry(model="tiny")]).catalog()
    assert not mixed["methods"]["harness"]["stored_draws"]
    catalog = load(folder, imports=[stored]).catalog()
    assert catalog["methods"]["harness"]["stored_draws"]
    assert "stored_draws" not in catalog["methods"]["in-context"]


def test_nothing_of_an_import_is_planned_to_run(folder):
    edit(folder, "models", lambda models: models["small"].update(parameters=10**13))
    study = load(folder, models=["tiny"], imports=[entry()])
    assert {row["model"] for row in MemoryPlan(study).table()} == {"tiny"}


def drop(name):
    return {key: value for key, value in FILES.items() if key != name}


@pytest.mark.parametrize(
    ("imports", "message"),
    [
        ([entry(method="in-context")], "method 'in-context' is of family in_context; give"),
        ([entry(method="harnes")], "unknown method 'harnes'; did you mean 'harness'?"),
        ([entry(task="rt")], "imports: unknown task 'rt'; did you mean 'rte'?"),
        ([entry(), entry(k=5)], "fair/rte/small/harness/minimal/k5 is given twice"),
        ([entry(samples=drop("hans"))], "samples: no log of evaluation set 'hans'"),
        ([entry(samples={**FILES, "hnas": "x"})], "unknown evaluation set 'hnas'; did you mean"),
        ([entry(seeds="0-2")], "samples_rte_2_*.jsonl' names 0 files; valid: exactly one"),
        ([entry(samples={**FILES, "rte": "logs/**/*.jsonl"})], "needs {seed} for several seeds"),
        (
            [entry(seeds="0", samples={**FILES, "rte": "logs/**/*.jsonl"})],
            "'logs/**/*.jsonl' names 4 files; valid: exactly one",
        ),
        ([entry(k=0)], "seeds: valid: first-last, and 0 alone where k = 0"),
        ([entry(prompts="mine")], "imports.0.prompts: unknown value 'mine'"),
    ],
)
def test_a_mistake_in_imports_is_one_line(folder, imports, message):
    with pytest.raises(UserError) as error:
        load(folder, imports=imports)
    text = str(error.value)
    assert message in text and text.startswith("config/mine.yaml: ") and "\n" not in text


def test_what_cannot_be_ranked_is_refused(folder):
    edit(folder, "patterns", lambda each: each["minimal"].update(rank_by="mean"))
    with pytest.raises(UserError, match="ranks by the mean over tokens"):
        load(folder, imports=[entry()])


def test_the_grid_cannot_run_what_was_made_elsewhere(folder):
    grid = [*STUDY["grid"], {"methods": ["harness"], "patterns": ["minimal"], "k": [2]}]
    with pytest.raises(UserError, match="'harness' is of family imported, which nothing here runs"):
        load(folder, grid=grid)


def test_logs_may_be_gone_once_they_are_read(folder):
    run = folder / "results/runs/fair/rte/small/harness/minimal/k5/seeds0-1/manifest.json"
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    study = load(folder, imports=[entry(samples={"rte": "gone", "hans": "gone"}, seeds="0")])
    assert study.imports[0].file("rte", 0) == "gone"


def test_entries_include_what_tasks_refer_to(folder):
    grid = [{**block, "k": [3]} for block in STUDY["grid"]]
    found = used_entries(load(folder, tasks=["mnli-three-way"], grid=grid))
    names = {"mnli-three-way", "mnli", "hans", "hans-lexical-overlap"}
    assert set(found["tasks"]) == names, "those of the other protocol, and the source, too"
    assert set(found["models"]) == {"tiny", "small"}
    assert set(found["methods"]) == {"in-context", "pattern-ft", "vanilla-ft"}
    assert found["methods"]["vanilla-ft"]["learning_rate"] == 1e-5, "what a base gives is there"
    assert list(found["patterns"]) == ["minimal", "gpt-3"]


def test_a_study_with_its_own_registries_reads_the_same(folder):
    """The entries that travel are enough, and say the same; figures are the project's."""
    study = load(folder)
    brought = folder / "brought"
    brought.mkdir()
    for name, content in used_entries(study).items():
        (brought / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "config").mkdir()
    (folder / "figures.yaml").rename(folder / "config/figures.yaml")
    settings = {**study.settings, "registries": "brought"}
    again = load_study(settings, folder / "nowhere", "study.yaml")
    assert again.cells == study.cells and again.jobs == study.jobs
    assert again.settings == study.settings and again.catalog() == study.catalog()
    assert used_entries(again) == used_entries(study)


def test_local_models_and_sources_may_be_missing_only_where_they_came_in_an_archive(folder):
    """A manifest beside registries of the user's own may be of what these named before."""

    def models(entries):
        for name in ("tiny", "small"):
            entries[name] = {**entries[name], "local": "nowhere/model"}
            del entries[name]["hub"], entries[name]["revision"]

    def tasks(entries):
        entries["rte"]["source"] = {"local": {"train": "gone.tsv", "validation": "lost.tsv"}}

    edit(folder, "models", models)
    archived = folder / "results/sim/imported"
    archived.mkdir(parents=True)
    copy = {path: (archived / path.name) for path in folder.glob("*.yaml")}

    def check(message, registries):
        for path, place in copy.items():
            place.write_text(path.read_text())
        if not message:
            return load(folder, registries=registries)
        with pytest.raises(UserError, match=message):
            load(folder, registries=registries)

    check(r"no config\.json in 'nowhere/model'", "results/sim/imported")
    for name in ("models/tiny", "models/small", "raw/rte"):
        manifest = folder / f"results/{name}/manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
    check(r"/models\.yaml: model 'tiny': no config\.json in 'nowhere/model'", str(folder))
    edit(folder, "models", lambda entries: entries["tiny"].update(local="."))
    edit(folder, "models", lambda entries: entries["small"].update(local="."))
    (folder / "config.json").write_text("{}")
    edit(folder, "tasks", tasks)
    check(r"/tasks\.yaml: task 'rte': source file of 'train' not found: gone\.tsv", str(folder))
    check("", "results/sim/imported")
    check("", str(archived))
