"""A setting that changes nothing is refused where it is stated, not where it is inherited."""

import pytest
from fewshot.study.own_settings import check_own_settings
from mistakes import told
from registries import BLOCK, STUDY, copy_registries, edit, load, message

LORA = {"methods": ["mine"], "patterns": ["minimal"], "k": [2]}


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def with_methods(folder, **entries):
    edit(folder, "methods", lambda methods: methods.update(entries))
    return {"grid": [*STUDY["grid"], LORA]}


def test_what_is_valid_is_told(folder):
    grid = with_methods(folder, mine={"base": "lora", "virtual_tokens": 20})
    assert message(folder, **grid) == (
        "config/methods.yaml: method 'mine': virtual_tokens: family 'lora' with head "
        "'language-model' has no such setting; valid: alpha, answer_loss, batch_size, "
        "curve_epochs, curve_rows, dora, dropout, end_token, epochs, gradient_clip, "
        "learning_rate, loss, optimizer, rank, rounds, scale_parameter, schedule, score_context, "
        "start_from, steps, targets, temperature, train_context, train_patterns, truncate, "
        "unlabelled_rows, warmup, weight_decay"
    )


@pytest.mark.parametrize(
    ("base", "key", "value", "why"),
    [
        ("lora", "classifier", "linear", "family 'lora' with head 'language-model'"),
        ("vanilla-ft", "answer_loss", "sum", "family 'full' with head 'classification'"),
        ("prefix-tuning", "rank", 8, "family 'prefix_tuning' with head 'language-model'"),
        ("in-context", "learning_rate", 0.1, "family 'in_context' with head 'language-model'"),
        ("majority", "inverse_penalty", 1, "family 'label_counts' with head 'none'"),
    ],
)
def test_settings_of_other_families_and_heads_are_refused(folder, base, key, value, why):
    with_methods(folder, mine={"base": base, key: value})
    line = message(folder, grid=[BLOCK])
    assert line.startswith(f"config/methods.yaml: method 'mine': {key}: {why} has no such setting;")


def test_what_a_method_inherits_is_its_bases(folder):
    grid = with_methods(folder, mine={"base": "prefix-tuning", "family": "bitfit"})
    assert "virtual_tokens" in load(folder, **grid).methods["mine"]


def test_an_entry_may_state_what_those_based_on_it_read(folder):
    family = {"base": "child", "family": "prompt_tuning"}
    entries = {"mine": {"base": "lora", "virtual_tokens": 20}, "child": {"base": "mine"}}
    with_methods(folder, **entries, grandchild=family)
    assert load(folder, grid=[LORA]).methods["grandchild"]["virtual_tokens"] == 20


def test_a_setting_with_one_value_alone_may_be_stated(folder):
    with_methods(folder, mine={"base": "qlora", "dora": False})
    assert load(folder, grid=[BLOCK]).methods["mine"]["dora"] is False


def test_the_first_entry_that_states_too_much_is_named():
    stated = {"a": {"family": "lora", "head": "language-model"}, "b": {"base": "a", "cached": 1}}
    resolved = {"a": stated["a"], "b": {**stated["a"], "cached": 1}}
    assert told(check_own_settings, stated, resolved, "m.yaml").startswith(
        "m.yaml: method 'b': cached: "
    )
