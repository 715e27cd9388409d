"""Methods that train and read the shots in a context: what jobs are told, planned, and refused."""

import pytest
from fewshot.methods.losses import LABEL_WORDS, VOCABULARY
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.prompts.contexts import shows_shots, trained_behind
from fewshot.study.families import CONTEXTS, DISTILLATION, DISTILLING, FAMILIES, read_settings
from fewshot.study.job_inputs import JobInputs
from registries import CONFIG, copy_registries, edit, load, message

BETWEEN = ("in-context-tuning", "in-context-tuning-zero-shot", "lora-in-context", "context-tuning")
DISTILLED = ("context-distillation", "context-distillation-vocabulary", "cartridge")
GRID = {"methods": [*BETWEEN, *DISTILLED, "lora", "in-context"], "patterns": ["minimal"], "k": [16]}
PLAN = {"models": ["opt-125m"], "tasks": ["rte"], "seeds": "0-1", "grid": [GRID]}


@pytest.fixture(scope="module")
def study():
    return load(CONFIG, **PLAN)


def cell_of(study, method):
    return next(cell for cell in study.cells if cell.method == method)


def test_entries_that_state_none_of_it_are_told_none_of_it(study):
    """No job of theirs runs again, nor their checks of windows."""
    new = {*CONTEXTS, *DISTILLATION, "token_dropout"}
    stated = {name for name, entry in study.methods.items() if new & entry.keys()}
    assert {*BETWEEN, *DISTILLED} < stated and "lora" not in stated
    for name in study.methods.keys() - stated:
        settings = read_settings(study.methods[name])
        assert not new & settings.keys()
        assert not shows_shots(settings) and not trained_behind(settings)
    assert DISTILLING == (LABEL_WORDS, VOCABULARY)
    windows = {each["method"]: each for each in JobInputs(study).cells("rte", "opt-125m")}
    assert "trained_behind" not in windows["lora"].keys() | windows["in-context"].keys()


def test_windows_are_asked_for_the_prompts_that_are_read(study):
    cells = {each["method"]: each for each in JobInputs(study).cells("rte", "opt-125m")}
    told = {
        name: (each["uses_context"], each.get("trained_behind")) for name, each in cells.items()
    }
    assert told == {
        "in-context-tuning": (True, "others"), "in-context-tuning-zero-shot": (False, "others"),
        "lora-in-context": (True, None), "context-tuning": (True, "all"),
        "context-distillation": (True, None), "context-distillation-vocabulary": (True, None),
        "cartridge": (True, None), "lora": (False, None), "in-context": (True, None),
    }  # fmt: skip


def test_training_and_scoring_behind_shots_are_planned(study):
    plan = MemoryPlan(study)
    work = {name: plan.work(cell_of(study, name), 1) for name in GRID["methods"]}
    demand = {name: plan.demand(cell_of(study, name)) for name in GRID["methods"]}
    shots = work["in-context"].context
    assert shots > 16 * 60 and demand["lora"].context == 0 == work["lora"].context
    for name in ("in-context-tuning", "lora-in-context"):
        assert work[name].context == pytest.approx(shots, rel=0.05)
        assert demand[name].context == demand["in-context"].context
    for name in ("in-context-tuning", "in-context-tuning-zero-shot"):
        assert work[name].row == pytest.approx(work["lora"].row + shots * 15 / 16, rel=0.05)
        assert demand[name].row > 3 * demand["lora"].row
    assert work["lora-in-context"].row == work["lora"].row
    tuned, shape = work["context-tuning"], plan.shape("opt-125m")
    assert tuned.learned == pytest.approx(shots, rel=0.05) and tuned.context == 0
    assert demand["context-tuning"].trainable == 2048 * 2 * shape.layers * shape.key_value
    taught = work["context-distillation"]
    assert taught.rows == 256 and taught.epochs == 4 and taught.score[-1].rows == 256
    assert demand["context-distillation"].rows == 4


MISTAKES = [
    (
        {"base": "lora", "unlabelled_rows": 16},
        "method 'mine': unlabelled_rows: is for context distillation; valid with loss: "
        "distil-label-words or distil-vocabulary",
    ),
    (
        {"base": "lora", "loss": "distil-vocabulary", "unlabelled_rows": 16, "rounds": 1},
        "method 'mine': 'temperature' is missing for loss: distil-vocabulary",
    ),
    (
        {"base": "context-distillation", "family": "prompt_tuning", "virtual_tokens": 3},
        "method 'mine': loss: distil-label-words needs a model that starts as the base model, its "
        "teacher, and family 'prompt_tuning' does not; valid: full, bitfit, lora, ia3, "
        "cartridge",
    ),
    (
        {"base": "context-tuning", "family": "cartridge", "virtual_tokens": 9},
        "method 'mine': loss: family 'cartridge' is trained by context distillation; valid: "
        "distil-label-words or distil-vocabulary",
    ),
    (
        {"base": "cartridge", "virtual_tokens": 1},
        "method 'mine': virtual_tokens: the first of family 'cartridge' is not trained, and there "
        "is no other; valid: 2 or more",
    ),
    (
        {"base": "cartridge", "rounds": 2},
        "method 'mine': rounds: family 'cartridge' has 1 alone",
    ),
    (
        {"base": "in-context", "score_context": "shots"},
        "method 'mine': score_context: family 'in_context' does not train; leave it out",
    ),
    (
        {"base": "context-distillation", "unlabelled_rows": 2490},
        "method 'mine': unlabelled_rows: 2490 are more than the training rows of task 'rte' that "
        "are no shots (expected in config/tasks.yaml); valid: up to 2474",
    ),
    (
        {"base": "context-distillation", "rounds": 9},
        "method 'mine': rounds: 9 cannot be cut from 4 epochs; valid: 4 at most",
    ),
    (
        {"base": "context-distillation", "rounds": 4, "steps": 70},
        "method 'mine': rounds: 4 cannot be cut from the 2 epochs of 70 steps; valid: 2 at most",
    ),
    (
        {"base": "context-distillation", "head": "classification", "classifier": "linear"},
        "method 'mine': loss: distil-label-words compares what comes next, which a new "
        "classification head does not tell; valid with head: language-model",
    ),
    (
        {"base": "cartridge", "head": "classification", "classifier": "linear"},
        "method 'mine': family 'cartridge' needs head: language-model",
    ),
    (
        {"base": "context-distillation", "score_context": "shots"},
        "method 'mine': score_context: not with 'unlabelled_rows'; leave one of them out",
    ),
    (
        {"base": "context-tuning", "train_context": "others"},
        "method 'mine': train_context: not with 'token_dropout'; leave one of them out",
    ),
    (
        {"base": "in-context-tuning", "truncate": 256},
        "method 'mine': truncate: not with 'train_context'; leave one of them out",
    ),
    (
        {"base": "lora-in-context", "train_patterns": ["gpt-3"]},
        "method 'mine': train_patterns: not with 'score_context'; leave one of them out",
    ),
]


@pytest.mark.parametrize(("settings", "line"), MISTAKES, ids=[line[15:45] for _, line in MISTAKES])
def test_mistakes_are_one_line(tmp_path, settings, line):
    folder = copy_registries(tmp_path)
    edit(folder, "methods", lambda methods: methods.update(mine=settings))
    assert line in message(folder, grid=[{**GRID, "methods": ["mine"]}])


def test_a_classification_head_inherits_and_reads_none_of_it(tmp_path):
    folder = copy_registries(tmp_path)
    probe = {"base": "in-context-tuning", "head": "classification", "classifier": "linear"}
    edit(folder, "methods", lambda methods: methods.update(mine=probe))
    study = load(folder, grid=[{**GRID, "methods": ["mine"]}])
    assert not {*CONTEXTS} & study.method_settings("mine", "tiny").keys()


def test_families_that_start_as_the_base_model_say_so():
    assert [name for name, each in FAMILIES.items() if each.starts_as_base] == [
        "full", "bitfit", "lora", "ia3", "cartridge",
    ]  # fmt: skip
