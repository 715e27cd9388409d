"""What jobs are made from and told, from wildcards alone."""

from pathlib import Path

import pytest
from fewshot.study.cells import Cell
from fewshot.study.exchange_inputs import context_cells
from fewshot.study.job_inputs import JobInputs
from registries import copy_registries, edit, load

GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 2]},
    {"methods": ["lora", "prompt-tuning"], "patterns": ["minimal"], "k": [2]},
]


def inputs_of(folder, **changes) -> JobInputs:
    wanted = {"models": ["opt-125m", "opt-micro"], "tasks": ["rte"], "grid": GRID, "seeds": "8-10"}
    return JobInputs(load(folder, **{**wanted, **changes}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copy_registries(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def inputs(folder):
    return inputs_of(folder)


def test_a_task_is_scored_on_its_own_rows_first(inputs):
    assert inputs.evaluation_sets("rte") == [
        {"set": "rte", "labels": ["entailment", "not_entailment"], "merge": [0, 1]},
        {"set": "hans", "labels": ["entailment", "non-entailment"], "merge": [0, 1]},
    ]
    assert inputs.evaluation_files("rte") == [
        f"results/data/{name}/validation.parquet" for name in ("rte", "hans")
    ]
    assert inputs.labels("mnli-three-way") == ["entailment", "neutral", "contradiction"]


def test_draws_are_named_by_the_methods_kind_and_are_none_without_shots(inputs, folder):
    fair = "results/shots/fair/rte/k2/seed{}.parquet"
    assert inputs.shots("lora", "rte", "2", [8, 9]) == [fair.format(8), fair.format(9)]
    assert inputs.shots("in-context", "rte", 0, [0]) == [] == inputs.train_file("rte", "0")
    assert inputs.train_file("rte", "2") == "results/data/rte/train.parquet"
    published = inputs_of(folder, protocol="mosbach2023")
    kinds = {name: published.shots(name, "rte", 2, [8])[0] for name in ("lora", "in-context")}
    assert "/mosbach2023-fine-tuning/" in kinds["lora"]
    assert "/mosbach2023-in-context/" in kinds["in-context"]


def test_what_changes_a_jobs_results_is_told_and_no_title(inputs):
    assert set(inputs.method("lora", "opt-125m")) >= {"family", "rank", "targets"}
    assert "title" not in inputs.method("lora", "opt-125m")
    assert set(inputs.model("opt-125m")) == {"dtype", "parameters", "window", "config"}
    assert inputs.patterns("rte", "opt-125m") == {
        "minimal": inputs.pattern("rte", "minimal", "opt-125m")
    }


def test_an_end_token_is_told_where_there_is_one(tmp_path, inputs):
    folder = copy_registries(tmp_path)
    edit(folder, "methods", lambda c: c.update(ended={"base": "lora", "end_token": True}))
    ended = inputs_of(folder, grid=[{**GRID[1], "methods": ["ended", "lora"]}], seeds=1)
    assert [cell.get("end_token") for cell in ended.cells("rte", "opt-125m")] == [True, None]
    assert all("end_token" not in cell for cell in inputs.cells("rte", "opt-125m"))


def test_a_method_that_starts_from_texts_is_told_those_of_its_cell(folder):
    names = ["prompt-tuning-labels", "prompt-tuning-pattern", "prompt-tuning"]
    inputs = inputs_of(folder, grid=[{**GRID[1], "methods": names}])
    cells = [Cell("fair", "rte", "opt-125m", name, "minimal", 2) for name in names]
    told = [inputs.settings(cell) for cell in cells]
    manifest = "results/models/opt-125m/manifest.json"
    assert told[0].pop("start") == {"texts": [" Yes", " No"], "manifest": manifest}
    assert told[1].pop("start") == {"texts": ["  ?"], "manifest": manifest}
    assert told == [inputs.method(name, "opt-125m") for name in names], "and nothing else"


def test_jobs_that_train_are_told_what_chooses_their_best_epoch(inputs, folder):
    """Their runs lie apart; no other job changes, nor do jobs of studies that do not ask for it."""
    half = inputs_of(folder, best_epoch="held-out", cross_validation=2)
    cells = [Cell("fair", "rte", "opt-125m", name, "minimal", 2) for name in ("lora", "in-context")]
    assert inputs.training_settings(cells[0]) == inputs.settings(cells[0])
    told = {**inputs.settings(cells[0]), "best_epoch": "held-out"}
    assert half.training_settings(cells[0]) == told
    # What holds shots out has no evaluation rows to halve, and is the same for both.
    assert [half.settings(cell) for cell in cells] == [inputs.settings(cell) for cell in cells]
    folders = {job["method"]: job["folder"] for job in half.jobs("rte", "opt-125m")}
    assert folders["lora"] == "results/runs-held-out/fair/rte/opt-125m/lora/minimal/k2/seeds10-10"
    usual = {job["method"]: job["folder"] for job in inputs.jobs("rte", "opt-125m")}
    assert usual["lora"] == "results/runs/fair/rte/opt-125m/lora/minimal/k2/seeds10-10"
    assert usual["in-context"] == folders["in-context"]
    assert half.manifests("rte", "opt-125m") == [
        f"{job['folder']}/manifest.json" for job in half.jobs("rte", "opt-125m")
    ]
    assert all(path.startswith("results/held-out/2/") for path in half.held_out("rte", "opt-125m"))


def test_the_files_of_a_local_model_are_those_that_are_loaded(inputs):
    """From the Hub there are none: its pinned revision names them."""
    files = inputs.model_files("opt-micro")
    assert "config/embedded/opt-micro/model.safetensors" in files and files == sorted(files)
    assert not any(path.endswith(".md") for path in files) and inputs.model_files("opt-125m") == []


def test_a_local_source_has_files_and_a_synthetic_one_a_version(inputs, folder):
    assert inputs.source_files("rte") == [] and inputs.source_code("rte") == ""
    assert len(inputs.source_code("synth-rte")) == 16
    local = inputs_of(folder)
    local.study.tasks["rte"]["source"] = {"local": {"train": "b.tsv", "dev": "a.tsv", "x": "a.tsv"}}
    assert local.source_files("rte") == ["a.tsv", "b.tsv"]


def test_a_pair_has_its_jobs_cells_and_draws(inputs):
    """Seeds 8 to 10 make two chunks; without shots there is one seed."""
    assert inputs.pairs == [("rte", "opt-125m"), ("rte", "opt-micro")]
    jobs = inputs.jobs("rte", "opt-125m")
    assert [(job["method"], job["k"], job["seeds"]) for job in jobs] == [
        ("in-context", 0, [0]),
        *((method, 2, seeds) for method in ("in-context", "lora", "prompt-tuning")
          for seeds in ([8, 9], [10])),
    ]  # fmt: skip
    assert inputs.manifests("rte", "opt-125m")[0] == (
        "results/runs/fair/rte/opt-125m/in-context/minimal/k0/seeds0-0/manifest.json"
    )
    cells = inputs.cells("rte", "opt-125m")
    assert [cell["uses_context"] for cell in cells] == [True] * 3 + [False] * 4
    assert {cell["virtual_tokens"] for cell in cells if cell["method"] != "prompt-tuning"} == {0}
    assert all(cell["virtual_tokens"] > 0 for cell in cells if cell["method"] == "prompt-tuning")
    shots = inputs.pair_shots("rte", "opt-125m")
    assert shots == {f"fair/2/{seed}": f"results/shots/fair/rte/k2/seed{seed}.parquet"
                     for seed in (8, 9, 10)}  # fmt: skip
    assert inputs.pair_train_file("rte", "opt-125m") == "results/data/rte/train.parquet"


def test_a_pair_without_shots_reads_no_training_rows(folder):
    bare = inputs_of(folder, grid=[{**GRID[0], "k": [0]}])
    assert (
        bare.pair_shots("rte", "opt-125m") == {} and bare.pair_train_file("rte", "opt-125m") == []
    )


def test_a_tasks_files_are_one_for_each_of_its_models(inputs):
    assert inputs.task_files("metrics", "rte") == [
        f"results/metrics/mine/rte/{model}.parquet" for model in ("opt-125m", "opt-micro")
    ]


def test_which_arms_are_compared_follows_from_no_title(inputs, folder):
    before = inputs.comparison_catalog()
    other = inputs_of(folder)
    other.study.methods["lora"]["title"] = "Another"
    assert other.comparison_catalog() == before
    assert (
        before["methods"]["lora"] == {"family": "lora", "trained": True}
        and before["shared_draws"] is True
    )
    assert before["main"] == {"k": inputs.catalog["main"]["k"], "selection": "last"}, "no margin"
    assert before["models"]["opt-125m"] == {"family": "opt", "parameters": 125_239_296}


def test_what_is_shown_in_context_is_listed_once_for_all_models(inputs):
    bare, two, one = context_cells(inputs)
    assert (bare["k"], bare["seeds"], bare["shots"], bare["train"]) == (0, [0], {}, "")
    assert [cell["seeds"] for cell in (two, one)] == [[8, 9], [10]]
    assert two["train"] == "results/data/rte/train.parquet" and set(two["shots"]) == {"8", "9"}
    assert [entry["path"] for entry in two["evaluation"]] == inputs.evaluation_files("rte")


def test_weights_are_needed_of_models_from_the_hub_with_unfinished_runs(
    inputs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    marker = "results/models/opt-125m/weights.json"
    assert inputs.weights("opt-125m") == marker and inputs.weights("opt-micro") == []
    assert inputs.needed_weights() == [marker]
    for manifest in map(Path, inputs.manifests("rte", "opt-125m")):
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    assert inputs.needed_weights() == []


def test_ways_to_show_the_shots_are_told_where_they_matter(folder, inputs):
    grid = [{**GRID[0], "methods": ["in-context", "ensemble-1"], "k": [2]}]
    shown = inputs_of(folder, grid=grid, seeds=1)
    cells = shown.cells("rte", "opt-125m")
    assert [cell.get("shown") for cell in cells] == [None, 1]
    assert all("shown" not in cell for cell in inputs.cells("rte", "opt-125m"))
    methods = shown.comparison_catalog()["methods"]
    assert methods["ensemble-1"]["divided"] and "divided" not in methods["in-context"]


def test_only_what_stands_in_one_context_is_exported_to_the_harness(folder):
    grid = [{**GRID[0], "methods": ["ensemble-1"], "k": [2]}]
    assert context_cells(inputs_of(folder, grid=grid)) == []
    assert len(context_cells(inputs_of(folder, seeds=1))) == 2, "k = 0 and k = 2"
