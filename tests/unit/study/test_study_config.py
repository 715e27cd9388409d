"""From configuration to cells and jobs, and the mistakes that only the whole study shows."""

from pathlib import Path

import pytest
from fewshot.errors import UserError
from fewshot.study import study as study_module
from fewshot.study.catalog import catalog_of
from fewshot.study.cells import seed_ranges
from fewshot.study.study import Cell, Job, Study, chunks
from mistakes import told
from registries import BLOCK, STUDY, copy_registries, edit, load


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def test_cells_are_the_union_of_the_blocks(folder):
    study = load(folder)
    # 2 models x (2 patterns x 2 ks in context + 2 methods x 1 pattern x 1 k)
    assert len(study.cells) == 2 * (2 * 2 + 2)
    assert study.cells[0] == Cell("fair", "rte", "tiny", "in-context", "minimal", 0)
    twice = load(folder, grid=STUDY["grid"] * 2)
    assert twice.cells == study.cells, "what two blocks name is run once"


def test_a_block_may_narrow_models_and_tasks(folder):
    grid = [{**BLOCK, "models": ["small"], "tasks": ["mnli"]}, BLOCK]
    cells = load(folder, grid=grid, tasks=["rte"]).cells
    assert [(cell.task, cell.model) for cell in cells] == [
        ("mnli", "small"),
        ("rte", "tiny"),
        ("rte", "small"),
    ]


def test_zero_shot_runs_once_and_not_per_seed(folder):
    study = load(folder, seeds="0-14")
    by_k = {job.cell.k: [] for job in study.jobs}
    for job in study.jobs_of("rte", "tiny"):
        by_k[job.cell.k].append(job.seeds)
    assert by_k[0] == [(0,), (0,)], "one job for each of the two patterns"
    assert sorted(by_k[2]) == sorted([tuple(range(10)), tuple(range(10, 15))] * 4)


def test_more_seeds_add_jobs_and_rename_none(folder):
    first, more = load(folder, seeds="0-9"), load(folder, seeds="0-29")
    assert set(first.jobs) < set(more.jobs)
    assert len(more.jobs) - len(first.jobs) == 2 * 8, "two chunks more of the 8 cells with shots"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (range(0, 10), [tuple(range(10))]),
        (range(0, 3), [(0, 1, 2)]),
        ((0, 1, 5, 9, 10, 20), [(0, 1), (5,), (9,), (10,), (20,)]),
        (range(8, 21), [(8, 9), tuple(range(10, 20)), (20,)]),
        (range(0), []),
    ],
)
def test_chunks_follow_a_fixed_grid(seeds, expected):
    assert chunks(tuple(seeds)) == expected


def test_paths_spell_out_the_cell():
    job = Job(Cell("fair", "rte", "opt-125m", "lora", "minimal", 16), (10, 11, 12))
    assert job.folder == "fair/rte/opt-125m/lora/minimal/k16/seeds10-12"


def test_evaluation_sets_and_merges(folder):
    study = load(folder)
    assert study.evaluation_sets("mnli-three-way") == ["mnli-three-way", "hans"]
    assert study.out_of_domain("mnli-three-way") == [("hans", [0, 1, 1])]
    assert study.out_of_domain("rte") == [("hans", [0, 1])]
    assert study.source_of("mnli-three-way") == "mnli" and study.source_of("rte") == "rte"


def test_a_protocol_has_its_own_draws_and_evaluation_sets(folder):
    fair, published = load(folder), load(folder, protocol="mosbach2023")
    for method in ("in-context", "lora"):
        assert fair.draw_of(method) == "fair"
    assert published.draw_of("in-context") == "mosbach2023-in-context"
    assert published.draw_of("pattern-ft") == "mosbach2023-fine-tuning"
    assert fair.evaluation_sets("mnli") == ["mnli", "hans"]
    assert published.evaluation_sets("mnli") == ["mnli", "hans-lexical-overlap"]
    assert published.out_of_domain("mnli", "fair") == [("hans", [0, 1])]
    assert published.evaluation_sets("cola") == fair.evaluation_sets("cola") == ["cola", "cola-ood"]
    assert {cell.protocol for cell in published.cells} == {"mosbach2023"}
    assert catalog_of(fair)["shared_draws"] and not catalog_of(published)["shared_draws"]


def test_the_catalog_has_what_the_study_uses_and_each_tasks_metric(folder):
    study = load(folder, tasks=["rte", "cola", "qqp"])
    catalog = catalog_of(study)
    metrics = {name: entry["metric"] for name, entry in catalog["tasks"].items()}
    assert list(catalog["models"]) == ["tiny", "small"], "those of the study"
    assert metrics == {
        **{"rte": "accuracy", "hans": "accuracy", "cola": "matthews", "cola-ood": "matthews"},
        **{"qqp": "f1", "paws-qqp": "f1"},
    }


def test_only_balanced_draws_need_a_balanced_k(folder):
    block = {**BLOCK, "k": [3], "methods": ["pattern-ft"]}
    assert load(folder, protocol="mosbach2023", grid=[block]).cells[0].k == 3
    for changes in ({"methods": ["in-context"], "protocol": "mosbach2023"}, {"protocol": "fair"}):
        methods = changes.get("methods", block["methods"])
        with pytest.raises(UserError, match="k = 3 cannot be balanced"):
            load(folder, protocol=changes["protocol"], grid=[{**block, "methods": methods}])


@pytest.mark.parametrize(
    ("given", "seeds", "jobs", "words"),
    [
        (3, (0, 1, 2), ["seeds0-2"], "0-2"),
        ("0-2", (0, 1, 2), ["seeds0-2"], "0-2"),
        ([2, 0, 1], (0, 1, 2), ["seeds0-2"], "0-2"),
        ([7], (7,), ["seeds7-7"], "7"),
        ([0, 1, 5], (0, 1, 5), ["seeds0-1", "seeds5-5"], "0-1, 5"),
        ("8-11", (8, 9, 10, 11), ["seeds8-9", "seeds10-11"], "8-11"),
    ],
)
def test_seeds_are_a_number_a_range_or_a_list(folder, given, seeds, jobs, words):
    study = load(folder, seeds=given, models=["tiny"], tasks=["rte"], grid=[BLOCK])
    assert study.seeds == seeds
    assert [Path(job.folder).name for job in study.jobs] == jobs
    assert seed_ranges(seeds) == words


def test_two_ways_to_write_the_same_seeds_make_the_same_jobs(folder):
    blocks = [{**BLOCK, "seeds": 3}, {**BLOCK, "seeds": [0, 1, 2]}]
    assert load(folder, grid=blocks).jobs == load(folder, grid=[BLOCK], seeds="0-2").jobs


def test_the_headline_is_the_largest_k_that_all_methods_share(folder):
    grid = [{**BLOCK, "k": [0, 2, 4, 8]}, {**BLOCK, "methods": ["pattern-ft"], "k": [2, 4, 16]}]
    assert load(folder, grid=grid).main_k == 4
    assert load(folder, grid=grid, main={"k": 2}).main_k == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["tinny"]}, "models: unknown model 'tinny'; did you mean 'tiny'?"),
        ({"tasks": ["rt"]}, "tasks: unknown task 'rt'; did you mean 'rte'?"),
        (
            {"grid": [{**BLOCK, "methods": ["in-contxt"]}]},
            "methods: unknown method 'in-contxt'; did you mean 'in-context'?",
        ),
        (
            {"grid": [{**BLOCK, "patterns": ["minimum"]}]},
            "patterns: unknown pattern 'minimum'; did you mean 'minimal'?",
        ),
        ({"grid": [{**BLOCK, "models": ["tinny"]}]}, "models: unknown model 'tinny'"),
        ({"grid": [{**BLOCK, "tasks": ["hanss"]}]}, "tasks: unknown task 'hanss'; did you mean"),
        ({"seeds": "3-1"}, "seeds: '3-1' ends before it begins; valid: first-last, such as 0-4"),
        ({"seeds": "3-"}, "seeds: '3-' does not fit; valid: how many (5: seeds 0 to 4)"),
        ({"grid": [{**BLOCK, "k": [3]}]}, "k = 3 cannot be balanced over the 2 labels of task 'r"),
        (
            {"grid": [{**BLOCK, "k": [2], "tasks": ["mnli-three-way"]}]},
            "k = 2 cannot be balanced over the 3 labels of task 'mnli-three-way'; valid: multiples",
        ),
        (
            {"grid": [{**BLOCK, "methods": ["lora"], "k": [0]}]},
            "method 'lora' trains on the shots and needs k > 0",
        ),
        ({"grid": [{**BLOCK, "tasks": ["hans"]}]}, "task 'hans' has no train split to draw shots"),
        ({"batch_tokens": 4096}, "batch_tokens: 4096 is not a mapping; valid keys: cpu, gpu"),
        ({"batch_tokns": {}}, "top level: unknown key 'batch_tokns'; did you mean 'batch_tokens'?"),
        ({"protocol": "fare"}, "protocol: unknown value 'fare'; did you mean 'fair'?"),
    ],
)
def test_a_mistake_in_the_study_is_one_line(folder, changes, message):
    text = told(load, folder, **changes)
    assert text.startswith("config/mine.yaml: ") and message in text


def changed(entry: dict, changes: dict) -> None:
    """Change keys of an entry, those of mappings in it one by one; None removes a key."""
    for key, value in changes.items():
        if value is None:
            del entry[key]
        elif isinstance(value, dict) and isinstance(entry.get(key), dict):
            changed(entry[key], value)
        else:
            entry[key] = value


@pytest.mark.parametrize(
    ("registry", "name", "changes", "message"),
    [
        ("tasks", "mnli-three-way", {"source": "mnil"}, "task 'mnli-three-way': unknown source "
         "task 'mnil'; did you mean 'mnli'?"),
        ("tasks", "rte", {"source": "mnli-three-way"}, "task 'rte': source 'mnli-three-way' itself "
         "shares another task's source"),
        ("tasks", "rte", {"splits": {"validation": "validatoin"}}, "task 'rte': splits: unknown "
         "raw split 'validatoin'; did you mean 'validation'?"),
        ("tasks", "rte", {"out_of_domain": ["hanss"]}, "task 'rte': out_of_domain: unknown task "
         "'hanss'; did you mean"),
        ("tasks", "mnli-three-way", {"out_of_domain": ["hans"]}, "task 'mnli-three-way': "
         "out_of_domain: 'hans' has 2 labels and the task 3; say with 'merge'"),
        ("tasks", "rte", {"out_of_domain": [{"set": "hans", "merge": [0, 2]}]}, "task 'rte': "
         "out_of_domain: 'hans' has 2 labels and the task 2; say with 'merge'"),
        ("tasks", "mnli", {"out_of_domain": {"mosbach2023": ["hans-lexical"]}}, "task 'mnli': "
         "out_of_domain: unknown task 'hans-lexical'; did you mean 'hans-lexical-o"),
        ("tasks", "rte", {"expected": {"train": {"neutral": 4}}}, "task 'rte': expected: train: "
         "labels entailment, not_entailment, neutral; valid: all labels in their order, enta"),
        ("tasks", "hans", {"expected": {"train": 3}}, "task 'hans': expected: unknown split "
         "'train'; valid: validation"),
        ("tasks", "hans", {"subsample": {"rows": 3, "splits": ["train"]}}, "task 'hans': "
         "subsample: unknown split 'train'; valid: validation"),
        ("tasks", "mnli-three-way", {"metric": "matthews"}, "task 'mnli-three-way': metric: "
         "'matthews' is for two labels and there are 3; valid: a"),
        ("tasks", "cola-ood", {"splits": {"validation": "test"}}, "task 'cola-ood': splits: "
         "unknown raw split 'test'; valid: dev"),
        ("methods", "in-context", {"end_token": True}, "method 'in-context': end_token: answers in "
         "context end in the pattern's separator"),
        ("methods", "lora", {"loss": "label-words", "answer_loss": "sum"}, "method 'lora': "
         "answer_loss: sum is for loss: vocabulary"),
        ("methods", "in-context", {"truncate": 256}, "method 'in-context': truncate: prompts of "
         "in-context learning are never cut; those th"),
        ("methods", "in-context", {"head": "classification"}, "method 'in-context': family "
         "'in_context' needs head: language-model"),
        ("tasks", "paws-qqp", {"source": {"url": {"dev_and_test": {"address": "x"}}}},
         "paws-qqp.source.url.dev_and_test.address: 'x' does not fit; valid: where the file is"),
        ("tasks", "cola-ood", {"source": {"ulr": {}}}, "cola-ood.source: unknown key 'ulr'; did "
         "you mean 'url'?"),
        ("tasks", "mnli", {"out_of_domain": {"mosbach2023": None}}, "mnli.out_of_domain: "
         "'mosbach2023' is missing"),
        ("tasks", "mnli", {"out_of_domain": {"fair": None, "mosbach2023": None, "fare": []}},
         "mnli.out_of_domain: give exactly one of: a list; fair with mosbach2023"),
        ("tasks", "rte", {"metric": "mcc"}, "rte.metric: unknown value 'mcc'; valid"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_registry_is_one_line(folder, registry, name, changes, message):
    edit(folder, registry, lambda entries: changed(entries[name], changes))
    assert f"{folder}/{registry}.yaml: {message}" in told(load, folder)


def test_what_cells_share_is_read_once_and_not_per_cell(folder, monkeypatch):
    """A study may have a hundred thousand cells, but few patterns with few tasks."""
    bound, asked = [], []
    bind, baseline = study_module.bind_pattern, Study.is_baseline
    monkeypatch.setattr(study_module, "bind_pattern", lambda *of: bound.append(of) or bind(*of))
    monkeypatch.setattr(Study, "is_baseline", lambda *of: asked.append(of) or baseline(*of))
    study = load(folder, grid=[{**BLOCK, "k": list(range(2, 42, 2))}])
    pairs = {(cell.pattern, cell.task) for cell in study.cells}
    assert len(study.cells) > 10 * len(pairs) and len(bound) == len(pairs)
    # Figures and tables are many: they share what is compared, and the study's main k.
    assert len(study.figures) + len(study.tables) > 10 and len(asked) < 3 * len(study.cells)
