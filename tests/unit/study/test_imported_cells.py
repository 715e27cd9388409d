"""Cells whose results were made elsewhere, the entries a study takes along, and those it brings."""

import pytest
import yaml
from fewshot import storage
from fewshot.errors import UserError
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.study.catalog import catalog_of
from fewshot.study.imports import find_logs, folder_of, used_entries
from fewshot.study.load import load_study
from fewshot.study.study import Cell
from registries import STUDY, copy_registries, edit, load

METHOD = {"family": "imported", "head": "language-model", "prompts": "pattern"}
BLOCK = {"methods": ["harness"], "patterns": ["minimal"], "k": [5], "models": ["small"]}
CELL = Cell("fair", "rte", "small", "harness", "minimal", 5)
LOGS = "logs/**/samples_{set}_{seed}_*.jsonl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_registries(tmp_path)
    edit(tmp_path, "methods", lambda methods: methods.update(harness=METHOD))
    for name in ("rte_0_a", "rte_1_a", "hans_0_a", "hans_1_a"):
        (tmp_path / "logs/model").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"logs/model/samples_{name}.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grid(**changes) -> list[dict]:
    return [*STUDY["grid"], {**BLOCK, "seeds": "0-1", **changes}]


def test_a_method_made_elsewhere_has_cells_like_any_other(folder):
    study, plain = load(folder, grid=grid()), load(folder)
    assert study.own_cells == plain.cells and study.cells == (*plain.cells, CELL)
    assert [job.seeds for job in study.jobs if job.cell == CELL] == [(0, 1)]
    assert study.main_k == plain.main_k, "k of what was made elsewhere is no headline's"
    assert catalog_of(study)["methods"]["harness"]["family"] == "imported"


def test_seeds_of_a_block_are_the_studys_unless_it_says_others(folder):
    study = load(
        folder, grid=[*STUDY["grid"], {**BLOCK, "methods": ["pattern-ft"], "k": [4], "seeds": [7]}]
    )
    seeds = {cell: study.seeds_of(cell) for cell in study.cells}
    assert {seeds[cell] for cell in load(folder).cells} == {(0,), (0, 1, 2)}
    assert seeds[Cell("fair", "rte", "small", "pattern-ft", "minimal", 4)] == (7,)
    twice = [*STUDY["grid"], {**STUDY["grid"][0], "seeds": "0-1"}]
    with pytest.raises(UserError, match=r"two blocks give fair/rte/tiny/in-context/\S+ other seed"):
        load(folder, grid=twice)
    with pytest.raises(UserError, match="seeds: '3-2' ends before it begins"):
        load(folder, grid=grid(seeds="3-2"))


@pytest.mark.parametrize("prompts", ["stored", "pattern", "any"])
def test_only_prompts_with_the_stored_draws_have_them(folder, prompts):
    edit(folder, "methods", lambda methods: methods["harness"].update(prompts=prompts))
    methods = catalog_of(load(folder, grid=grid()))["methods"]
    assert methods["harness"]["stored_draws"] == (prompts == "stored")
    assert "stored_draws" not in methods["in-context"]


def test_nothing_that_was_made_elsewhere_is_planned_to_run(folder):
    edit(folder, "models", lambda models: models["small"].update(parameters=10**13))
    study = load(folder, models=["tiny"], grid=grid())
    assert {row["model"] for row in MemoryPlan(study).table()} == {"tiny"}


def test_what_logs_do_not_tell_cannot_be_ranked(folder):
    edit(folder, "patterns", lambda each: each["minimal"].update(rank_by="mean"))
    with pytest.raises(UserError, match="'minimal' ranks by the mean over tokens"):
        load(folder, grid=grid())


def test_no_log_tells_how_probable_texts_are(folder):
    with pytest.raises(UserError, match="'channel-minimal' scores texts behind label words"):
        load(folder, grid=grid(patterns=["channel-minimal"]))


def test_other_words_have_other_characters(folder):
    edit(
        folder, "patterns",
        lambda each: each.update(letters={**each["minimal"], "rank_by": "characters"}),
    )  # fmt: skip
    load(folder, grid=grid(patterns=["letters"]))
    edit(folder, "methods", lambda methods: methods["harness"].update(prompts="any"))
    with pytest.raises(
        UserError, match="'letters' ranks by the characters of its label words, and"
    ):
        load(folder, grid=grid(patterns=["letters"]))


def test_a_method_made_elsewhere_says_what_its_prompts_were_compared_with(folder):
    edit(folder, "methods", lambda methods: methods["harness"].pop("prompts"))
    with pytest.raises(UserError, match="method 'harness': 'prompts' is missing for family 'impor"):
        load(folder, grid=grid())


def test_a_run_whose_prompts_were_compared_otherwise_is_named(folder):
    path = f"results/runs/{CELL.folder}/seeds0-1/manifest.json"
    storage.write_json(path, {"settings": {"family": "imported", "prompts": "pattern"}})
    load(folder, grid=grid())
    storage.write_json(path, {"settings": {"family": "imported", "prompts": "any"}})
    with pytest.raises(UserError, match=f"^{path}: its prompts were compared as 'any', but .*meth"):
        load(folder, grid=grid())


def test_logs_are_found_by_the_names_of_what_they_are_about(folder):
    study = load(folder, grid=grid())
    [(job, logs)] = find_logs(study, LOGS).items()
    assert job.cell == CELL and logs == {
        seed: [f"logs/model/samples_{name}_{seed}_a.jsonl" for name in ("rte", "hans")]
        for seed in (0, 1)
    }
    one = {name: f"logs/{{task}}/{{model}}/{{k}}/{name}" for name in ("rte", "hans")}
    for name in one:
        (folder / "logs/rte/small/5").mkdir(parents=True, exist_ok=True)
        (folder / "logs/rte/small/5" / name).touch()
    [logs] = find_logs(study, one).values()
    assert logs[0] == logs[1] == ["logs/rte/small/5/rte", "logs/rte/small/5/hans"]


def test_cells_without_logs_are_left_out(folder):
    study = load(folder, grid=grid(models=["tiny", "small"]))
    (folder / "logs/model").rename(folder / "logs/small")
    assert [job.cell.model for job in find_logs(study, f"logs/{{model}}/{LOGS[8:]}")] == ["small"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("", "no logs named; valid: snakemake convert_lm_eval --config lm_eval=<paths>"),
        ({"rte": LOGS}, f"{CELL.folder}: no log of evaluation set 'hans'"),
        ({"rte": LOGS, "hnas": "x"}, "lm_eval: unknown evaluation set 'hnas'; did you mean 'hans'"),
        ("gone/{set}.jsonl", "lm_eval: 'gone/rte.jsonl' names 0 files"),
        ("logs/**/samples_*.jsonl", "samples_*.jsonl' names 4 files; valid: exactly one"),
        ({"rte": LOGS, "hans": "gone"}, "'gone' names 0 files; valid: exactly one"),
    ],
)
def test_a_mistake_in_what_logs_are_named_is_one_line(folder, told, message):
    study = load(folder, grid=grid())
    with pytest.raises(UserError) as error:
        find_logs(study, told)
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="has no method of family imported in its grid"):
        find_logs(load(folder), LOGS)


def test_entries_include_what_tasks_refer_to(folder):
    grid = [{**block, "k": [3]} for block in STUDY["grid"]]
    found = used_entries(load(folder, tasks=["mnli-three-way"], grid=grid))
    names = {"mnli-three-way", "mnli", "hans", "hans-lexical-overlap"}
    assert set(found["tasks"]) == names, "those of the other protocol, and the source, too"
    assert set(found["models"]) == {"tiny", "small"}
    assert set(found["methods"]) == {"in-context", "pattern-ft", "vanilla-ft"}
    assert found["methods"]["vanilla-ft"]["learning_rate"] == 1e-5, "what a base gives is there"
    assert list(found["patterns"]) == ["minimal", "gpt-3"]


def test_a_study_with_the_entries_of_an_archive_reads_the_same(folder):
    """The entries that travel are enough, and say the same; figures are the project's."""
    study = load(folder)
    brought = folder / folder_of("mine")
    brought.mkdir(parents=True)
    for name, content in used_entries(study).items():
        (brought / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "config").mkdir()
    (folder / "figures.yaml").rename(folder / "config/figures.yaml")
    settings = {**study.settings, "registries": folder_of("mine")}
    again = load_study(settings, folder / "nowhere", "study.yaml")
    assert again.cells == study.cells and again.jobs == study.jobs
    assert again.settings == study.settings and catalog_of(again) == catalog_of(study)
    assert used_entries(again) == used_entries(study)


def test_local_models_and_sources_may_be_missing_only_where_they_came_in_an_archive(folder):
    """A manifest beside entries of the user's own may be of what these named before."""

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

    def check(message, **brought):
        for path, place in copy.items():
            place.write_text(path.read_text())
        if not message:
            return load(folder, **brought)
        with pytest.raises(UserError, match=message):
            load(folder, **brought)

    check(r"no config\.json in 'nowhere/model'", registries="results/sim/imported")
    for name in ("models/tiny", "models/small", "raw/rte"):
        manifest = folder / f"results/{name}/manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
    check(r"/models\.yaml: model 'tiny': no config\.json in 'nowhere/model'")
    edit(folder, "models", lambda entries: entries["tiny"].update(local="."))
    edit(folder, "models", lambda entries: entries["small"].update(local="."))
    (folder / "config.json").write_text("{}")
    edit(folder, "tasks", tasks)
    check(r"/tasks\.yaml: task 'rte': source file of 'train' not found: gone\.tsv")
    check("", registries="results/sim/imported")
    check("", registries=str(archived))
    other = r"registries: '.*' holds no entries of an archive; valid: results/mine/imported, as"
    check(other, registries=str(folder))
