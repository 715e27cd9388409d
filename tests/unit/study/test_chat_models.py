"""How a study tells its jobs that a model is prompted by its chat template."""

import pytest
from fewshot.analysis.evidence import Evidence
from fewshot.planning.workload import TURNS, template_tokens
from fewshot.report.tables import registry
from fewshot.study.catalog import catalog_of
from fewshot.study.exchange_inputs import context_cells
from fewshot.study.job_inputs import JobInputs
from fewshot.study.study import Cell
from metric_rows import metric_rows
from registries import BLOCK, copy_registries, edit, load, message

MANIFEST = "results/models/tiny/manifest.json"


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def chat(folder, told):
    """Return the inputs of the study's jobs when model `tiny` has `chat: told`."""
    edit(folder, "models", lambda models: models["tiny"].update(chat=told))
    return JobInputs(load(folder))


def test_params_have_chat_only_where_a_model_has_it(folder):
    before = JobInputs(load(folder))
    inputs = chat(folder, "turns")
    plain = before.pattern("rte", "minimal", "tiny")
    assert "chat" not in plain
    assert inputs.pattern("rte", "minimal", "small") == plain
    assert inputs.pattern("rte", "minimal", "tiny") == {
        **plain,
        "chat": {"demonstrations": "turns"},
    }
    assert inputs.patterns("rte", "tiny")["minimal"]["chat"] == {"demonstrations": "turns"}
    assert inputs.model("tiny") == before.model("tiny")
    assert inputs.study.model_source("small") == {"hub": "a/b", "revision": "x"}
    assert inputs.study.model_source("tiny")["chat"] == {"demonstrations": "turns"}


def test_the_short_form_is_the_long_one(folder):
    short = chat(folder, "one-turn").pattern("rte", "minimal", "tiny")
    long = chat(folder, {"demonstrations": "one-turn"}).pattern("rte", "minimal", "tiny")
    assert short == long
    told = {"demonstrations": "one-turn", "system": ""}
    assert chat(folder, told).pattern("rte", "minimal", "tiny")["chat"] == told


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("turn", "models.yaml: tiny.chat: unknown value 'turn'; did you mean 'turns'?"),
        ("no", "models.yaml: tiny.chat: give exactly one of: turns or one-turn; demonstrations"),
        ({"system": "x"}, "models.yaml: tiny.chat: 'demonstrations' is missing"),
        (
            {"demonstrations": "turns", "sistem": "x"},
            "models.yaml: tiny.chat: unknown key 'sistem'; did you mean 'system'?",
        ),
    ],
)
def test_a_mistaken_chat_is_one_line(folder, told, expected):
    edit(folder, "models", lambda models: models["tiny"].update(chat=told))
    assert expected in message(folder)


def test_a_method_that_cuts_prompts_is_refused(folder):
    chat(folder, "turns")
    block = {"methods": ["mosbach-pattern-ft"], "patterns": ["minimal"], "k": [2]}
    said = message(folder, grid=[block])
    assert "method 'mosbach-pattern-ft': truncate: it would cut off the turn in which" in said
    load(folder, grid=[block], models=["small"])


def test_label_words_to_start_from_are_known_without_a_chat_alone(folder):
    chat(folder, "turns")
    block = {**BLOCK, "methods": ["prompt-tuning-labels"]}
    assert message(folder, models=["tiny"], grid=[block]) == (
        "config/methods.yaml: method 'prompt-tuning-labels': initial_text: model 'tiny' is "
        "prompted by its chat template, which decides how label words begin; valid: pattern"
    )


def test_exported_tasks_are_one_for_each_chat_model_and_one_for_the_others(folder):
    edit(folder, "models", lambda models: models.update(base={**models["small"]}))
    edit(folder, "models", lambda models: models["tiny"].update(chat="turns"))
    cells = context_cells(JobInputs(load(folder, models=["tiny", "small", "base"])))
    assert len(cells) == 2 * 2 * 2, "2 patterns, 2 ks, with chat and without"
    assert [cell.get("manifest") for cell in cells] == [MANIFEST] * 4 + [None] * 4
    assert {cell.get("model") for cell in cells} == {"tiny", None}


def test_longer_rows_are_planned_for(folder):
    study = chat(folder, "turns").study
    plain, within = (
        template_tokens(study, Cell("fair", "rte", model, "in-context", "minimal", 2))
        for model in ("small", "tiny")
    )
    assert within == plain + TURNS


def test_the_report_says_which_models_are_prompted_by_chat(folder):
    evidence = Evidence(metric_rows([0.5]))
    plain = catalog_of(load(folder))
    assert "Prompts" not in registry.make_table("models", evidence, plain, {}).text
    told = {"demonstrations": "turns", "system": "Judge.\n"}
    catalog = catalog_of(chat(folder, told).study)
    table = registry.make_table("models", evidence, catalog, {})
    prompts = dict(zip(table.text["Model"], table.text["Prompts"], strict=True))
    assert prompts == {"tiny": "chat, a turn each; system: Judge.↵", "small": "plain text"}
    assert table.numbers["prompts"].tolist() == table.text["Prompts"].tolist()
    note = registry.make_table("prompts", evidence, catalog, {}).note
    assert "own chat template" in note
    assert "chat" not in registry.make_table("prompts", evidence, plain, {}).note
