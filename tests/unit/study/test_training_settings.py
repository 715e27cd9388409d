"""Losses, optimisers, steps and training patterns of a method: what its jobs are told, and what is
refused at load."""

from dataclasses import replace

import pytest
from fewshot.planning import workload
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.study.families import FAMILIES, read_settings
from fewshot.study.imports import used_entries
from fewshot.study.job_inputs import JobInputs
from registries import CONFIG, copy_registries, edit, load, message

T_FEW = {"methods": ["t-few"], "patterns": ["minimal", "gpt-3"], "k": [16, 20]}
PLAN = {"models": ["opt-125m", "pythia-410m"], "tasks": ["rte"], "seeds": "0-1", "grid": [T_FEW]}
NAMES = (
    "vocabulary, label-words, unlikelihood, length-normalised, distil-label-words or "
    "distil-vocabulary"
)
NEW = ("steps", "optimizer", "scale_parameter", "schedule", "train_patterns")


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def with_method(folder, **settings):
    """Add a method "mine", a variant of an entry, and return the study's grid with it."""
    edit(folder, "methods", lambda methods: methods.update(mine=settings))
    return [{**T_FEW, "methods": ["mine"]}]


def test_the_recipe_is_the_published_one():
    settings = load(CONFIG, **PLAN).method_settings("t-few", "opt-125m")
    assert settings == {
        "family": "ia3", "head": "language-model", "end_token": True,
        "loss": ["vocabulary", "unlikelihood", "length-normalised"],
        "optimizer": "adafactor", "scale_parameter": True, "learning_rate": 3e-3,
        "schedule": "linear", "steps": 1000, "batch_size": 8, "warmup": 0.06,
        "weight_decay": 0.0, "gradient_clip": 1.0, "curve_epochs": "last", "curve_rows": 512,
        "train_patterns": ["minimal", "gpt-3", "eval-harness"],
    }  # fmt: skip


def test_entries_that_state_none_of_it_are_told_none_of_it():
    """No job of theirs runs again: what they read is what it was."""
    methods = load(CONFIG, **PLAN).methods
    recipe = {name for name, entry in methods.items() if "optimizer" in entry}
    assert sum("t-few" in name for name in recipe) == 7
    assert {name for name in recipe if "t-few" not in name} == {"qlora", "tiny-qlora"}
    for name in methods.keys() - recipe:
        assert not {*NEW} & read_settings(methods[name]).keys()
    assert not any({*NEW} & {*family.settings} for family in FAMILIES.values())
    quantised = {name for name, each in methods.items() if "quantise" in read_settings(each)}
    assert quantised == {"qlora", "tiny-qlora"}


def test_qlora_is_the_published_one():
    """Where `lora-all` differs; AdamW's betas are those of every method (0.9, 0.999)."""
    study = load(CONFIG, **{**PLAN, "grid": [{**T_FEW, "methods": ["lora-all", "qlora"]}]})
    plain, found = (study.method_settings(name, "opt-125m") for name in ("lora-all", "qlora"))
    assert {key: value for key, value in found.items() if plain.get(key) != value} == {
        "family": "qlora", "quantise": "nf4", "optimizer": "paged-adamw", "learning_rate": 2e-4,
        "alpha": 16, "dropout": 0.1, "batch_size": 16, "warmup": 0.03, "gradient_clip": 0.3,
    }  # fmt: skip
    assert found["rank"] == 64 and plain.keys() - found.keys() == {"dora"}


def test_steps_are_told_as_epochs_of_the_draw():
    """16 rows are 2 batches of 8, 20 rows are 3: 334 epochs, of which the last has one."""
    study = load(CONFIG, **PLAN)
    told = {cell.k: study.cell_settings(cell) for cell in study.cells}
    assert {k: (each["steps"], each["epochs"]) for k, each in told.items()} == {
        16: (1000, 500), 20: (1000, 334),
    }  # fmt: skip
    plan = MemoryPlan(study)
    assert {cell.k: plan.work(cell, 2).epochs for cell in study.cells} == {16: 500, 20: 334}


def test_a_job_is_told_bound_patterns_and_its_window_their_names():
    study = load(CONFIG, **PLAN)
    inputs, cell = JobInputs(study), study.cells[0]
    told = inputs.settings(cell)["train_patterns"]
    names = ["minimal", "gpt-3", "eval-harness"]
    assert told == [inputs.pattern("rte", name, cell.model) for name in names]
    assert told[2]["words"] == (" True", " False")
    assert study.cell_settings(cell)["train_patterns"] == names, "the registry's is not changed"
    asked = inputs.cells("rte", "opt-125m")
    assert all(each["train_patterns"] == names and each["end_token"] for each in asked)
    assert set(inputs.patterns("rte", "opt-125m")) == set(names)
    assert set(used_entries(study)["patterns"]) == set(names), "an archive takes them along"


def test_training_reads_all_answers_of_the_mean_pattern():
    """Both words, each with an end token, in as many tokens as the three templates have."""
    study = load(CONFIG, **PLAN)
    plan = MemoryPlan(study)
    cell = next(each for each in study.cells if each.k == 16)
    demand, work = plan.demand(cell), plan.work(cell, 1)
    assert (demand.answers, demand.readings, demand.rows) == (2, 2, 8 * 2)
    names = ("minimal", "gpt-3", "eval-harness")
    around = [workload.template_tokens(study, replace(cell, pattern=name)) for name in names]
    texts = plan.splits.of("rte", "train").tokens
    assert work.rows == 32 and work.row == pytest.approx(texts + sum(around) / 3 + 1)


def test_what_an_entry_says_of_its_length_replaces_its_bases(folder):
    edit(folder, "methods", lambda methods: methods.update(
        short={"base": "t-few", "epochs": 3}, again={"base": "short", "steps": 7},
        longer={"base": "pattern-ft", "steps": 50},
    ))  # fmt: skip
    methods = load(folder).methods
    kept = {name: {*methods[name]} & {"epochs", "steps"} for name in ("short", "again", "longer")}
    assert kept == {"short": {"epochs"}, "again": {"steps"}, "longer": {"steps"}}
    assert methods["again"]["steps"] == 7 and methods["t-few-40-epochs"]["epochs"] == 40


MISTAKES = [
    (
        {"base": "t-few", "epochs": 3, "steps": 9},
        "method 'mine': 'epochs' and 'steps' both say how long training is; valid: one of them",
    ),
    (
        {"base": "pattern-ft", "scale_parameter": False},
        "method 'mine': scale_parameter: only Adafactor scales its rate by a tensor's size; valid "
        "with optimizer: adafactor; leave it out",
    ),
    (
        {"base": "t-few", "loss": ["unlikelihood", "length-normalised"], "answer_loss": "sum"},
        "method 'mine': answer_loss: sum is for loss: vocabulary, and loss is unlikelihood, "
        "length-normalised; valid: mean",
    ),
    (
        {"base": "in-context", "schedule": "linear"},
        "method 'mine': schedule: family 'in_context' does not train; leave it out",
    ),
    (
        {"base": "mix-and-match", "sublayers": ["attention"]},
        "method 'mine': sublayers: family 'mix_and_match' has feed-forward alone",
    ),
    (
        {"base": "qlora", "dora": True},
        "method 'mine': dora: family 'qlora' has false alone",
    ),
    (
        {"base": "qlora", "family": "full"},
        "method 'mine': quantise: family 'full' has the model's weights as they are; valid for "
        "family: qlora",
    ),
    (
        {"base": "ia3", "quantise": "nf4"},
        "method 'mine': quantise: family 'ia3' has the model's weights as they are; valid for "
        "family: qlora",
    ),
    (
        {"base": "lora", "family": "qlora"},
        "method 'mine': 'quantise' is missing for family 'qlora'",
    ),
    (
        {"base": "lora", "optimizer": "paged-adamw"},
        "method 'mine': optimizer: paged-adamw is for weights in 4 bits (quantise), beside which "
        "nothing is shared by ZeRO stages; valid: adamw, adafactor",
    ),
    (
        {"base": "t-few", "curve_epochs": [1, 400]},
        "method 'mine', with k = 20: curve_epochs: 400 is none of the epochs; valid: 1 to 334",
    ),
    (
        {"base": "t-few", "train_patterns": ["gpt3"]},
        "method 'mine': train_patterns: unknown pattern 'gpt3'; did you mean 'gpt-3'?",
    ),
    (
        {"base": "t-few", "train_patterns": ["minimal", "sentiment"]},
        "method 'mine': train_patterns: config/patterns.yaml: pattern 'sentiment' has no "
        "'template', which task 'rte' needs (2 text field)",
    ),
    (
        {"base": "t-few", "train_patterns": ["channel-minimal"]},
        "method 'mine': train_patterns: a loss over words of several patterns cannot rank by "
        "characters or channel (rank_by of 'channel-minimal' or 'minimal'); valid: sum, mean",
    ),
]


def test_another_optimizer_replaces_what_only_adafactor_has(folder):
    """Without the setting that the base gives Adafactor."""
    grid = with_method(folder, base="t-few", optimizer="adamw")
    study = load(folder, models=["opt-125m"], grid=grid)
    found = study.method_settings("mine", "opt-125m")
    assert found["optimizer"] == "adamw" and "scale_parameter" not in found
    assert study.method_settings("t-few", "opt-125m")["scale_parameter"] is True


@pytest.mark.parametrize(("settings", "said"), MISTAKES)
def test_a_mistake_is_one_line(folder, settings, said):
    grid = with_method(folder, **settings)
    wanted = {"models": ["opt-125m"], "grid": grid}
    assert message(folder, **wanted).replace("config/methods.yaml: ", "", 1) == said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optimizer", "adam", "unknown value 'adam'; did you mean 'adamw'?"),
        ("quantise", "nf8", "unknown value 'nf8'; did you mean 'nf4'?"),
        ("schedule", "linar", "unknown value 'linar'; did you mean 'linear'?"),
        ("steps", 0, "0 is too small; valid: 1 or more"),
        ("loss", "unlikelyhood", "unknown value 'unlikelyhood'; did you mean 'unlikelihood'?"),
        ("loss", ["vocabulary"], "1 entry; valid: 2 or more"),
        ("loss", "t-few", f"give exactly one of: {NAMES}; a list of several of them"),
        ("train_patterns", [], "0 entries; valid: 1 or more"),
    ],
)
def test_what_a_setting_may_be_is_said(folder, key, value, said):
    edit(folder, "methods", lambda methods: methods["t-few"].update({key: value}))
    assert message(folder).endswith(f"t-few.{key}: {said}")


def test_adafactor_scales_no_gradients_of_float16(folder):
    edit(folder, "models", lambda models: models["opt-125m"].update(dtype="float16"))
    assert message(folder, models=["opt-125m"], grid=[T_FEW]) == (
        "config/methods.yaml: method 't-few': optimizer: adafactor does not scale gradients, as "
        "model 'opt-125m' in float16 needs it; valid: dtype float32 or bfloat16, or optimizer: "
        "adamw"
    )


def test_neither_does_qlora(folder):
    edit(folder, "models", lambda models: models["opt-125m"].update(dtype="float16"))
    assert message(folder, models=["opt-125m"], grid=[{**T_FEW, "methods": ["qlora"]}]) == (
        "config/methods.yaml: method 'qlora': quantise: nf4 does not scale gradients, as model "
        "'opt-125m' in float16 needs it; valid: dtype float32 or bfloat16"
    )


def test_folds_have_as_many_epochs_as_all_shots(folder):
    """Of 16 shots folds of four leave 12: two batches of 8 again; of 8 shots they leave one."""
    wanted = {"models": ["opt-125m"], "cross_validation": 4, "seeds": "0-1"}
    fitting = [{**T_FEW, "k": [16]}]
    study = load(folder, grid=fitting, **wanted)
    assert len(study.held_out_jobs) == 2
    assert message(folder, grid=[{**T_FEW, "k": [18]}], **wanted) == (
        "config/mine.yaml: cross_validation: method 't-few' trains for a number of steps (steps), "
        "which with k = 18 is another number of epochs for the 13 shots of a fold; valid: a "
        "method with epochs"
    )
    wanted["cross_validation"] = "prequential"
    assert "for the 2 shots of a fold" in message(folder, grid=fitting, **wanted)
