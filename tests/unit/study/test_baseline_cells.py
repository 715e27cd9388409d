"""Cells of baselines: once where no model is read, and refused in one line where they cannot be."""

import pytest
from fewshot.analysis.titles import arm_title, has_model, is_baseline, language_models
from fewshot.study.catalog import catalog_of
from fewshot.study.families import FAMILIES, trainable
from fewshot.study.imports import used_entries
from fewshot.study.job_inputs import JobInputs
from registries import BLOCK, copy_registries, edit, load, message

HELD = {**BLOCK, "methods": ["majority", "label-prior", "tfidf", "hidden-state"]}


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def test_what_reads_no_model_has_a_cell_for_each_task_and_k(folder):
    """Whatever models and patterns its blocks name; a probe has one for each of them."""
    blocks = [
        {**HELD, "patterns": ["minimal", "gpt-3"], "k": [2]},
        {**BLOCK, "methods": ["tfidf", "in-context"], "k": [2, 4]},
        {**BLOCK, "methods": ["majority", "label-prior"], "k": [0]},
    ]
    study = load(folder, grid=blocks)
    found = [(c.method, c.model, c.pattern, c.k) for c in study.cells if c.method != "in-context"]
    probe = [("hidden-state", m, p, 2) for m in ("tiny", "small") for p in ("minimal", "gpt-3")]
    counted = [
        (method, "none", "none", k) for method in ("majority", "label-prior") for k in (0, 2)
    ]
    assert sorted(found) == sorted(
        [*probe, *counted, *(("tfidf",) + ("none",) * 2 + (k,) for k in (2, 4))]
    )
    assert study.main_k == 4, "the largest that is not a baseline's alone"
    assert study.own_models == ["tiny", "small"] and study.draw_of("tfidf") == "fair"


def test_jobs_of_no_model_ask_for_none(folder):
    study = load(folder, grid=[{**HELD, "methods": ["tfidf", "in-context"], "k": [2]}])
    inputs = JobInputs(study)
    assert ("rte", "none") in inputs.pairs
    assert inputs.model_manifest("none") == inputs.pair_model("rte", "none") == []
    assert inputs.weights("none") == inputs.cells("rte", "none") == []
    assert inputs.pair_shots("rte", "none") == {} and inputs.model_size("none")["known"]
    assert [job["method"] for job in inputs.jobs("rte", "none")] == ["tfidf"]
    assert inputs.draws() == [f"results/shots/fair/rte/k2/seed{seed}.parquet" for seed in range(3)]
    assert inputs.pattern("rte", "none", "none")["words"] == ("entailment", "not_entailment")
    assert "none" not in {*used_entries(study)["models"], *used_entries(study)["patterns"]}


def test_the_catalog_has_them_last_and_no_pattern_of_theirs(folder):
    grid = [HELD, {**BLOCK, "methods": ["in-context", "pattern-ft"]}]
    catalog = catalog_of(load(folder, grid=grid))
    assert list(catalog["methods"])[-4:] == HELD["methods"]
    assert list(catalog["patterns"]) == ["minimal"] and list(catalog["models"])[-1] == "none"
    assert language_models(catalog) == ["tiny", "small"]
    held = {name: is_baseline(catalog, name) for name in catalog["methods"]}
    assert held == dict.fromkeys(["in-context", "pattern-ft"], False) | dict.fromkeys(
        HELD["methods"], True
    )
    assert [has_model(catalog, name) for name in HELD["methods"]] == [False, False, False, True]
    catalog["patterns"]["gpt-3"] = {"title": "GPT-3"}
    assert arm_title(catalog, "tfidf", "none") == "Linear on TF-IDF"
    assert arm_title(catalog, "hidden-state", "minimal").startswith("Linear on hidden state · ")


@pytest.mark.parametrize("method", ["tfidf", "hidden-state"])
def test_a_classifier_needs_shots(folder, method):
    assert message(folder, grid=[{**BLOCK, "methods": [method], "k": [0]}]) == (
        f"config/mine.yaml: method '{method}' is fitted to the shots and needs k > 0"
    )


@pytest.mark.parametrize(("kind", "name"), [("models", "model"), ("patterns", "pattern")])
def test_none_is_no_name_for_anything_else(folder, kind, name):
    text = message(folder, grid=[{**BLOCK, kind: ["none"]}])
    assert text.startswith(f"config/mine.yaml: {kind}: unknown {name} 'none'")
    edit(folder, kind, lambda entries: entries.update(none=entries[next(iter(entries))]))
    assert message(folder) == (
        f"config/{kind}.yaml: 'none' is reserved for baselines that read no {name}; choose another "
        "name"
    )


@pytest.mark.parametrize(
    ("method", "change", "said"),
    [
        ("hidden-state", {"classifier": "dense-relu-linear"}, "classifier: 'dense-relu-linear' is"),
        ("hidden-state", {"head": "language-model"}, "needs head: classification"),
        ("tfidf", {"head": "classification"}, "family 'tfidf' needs head: none"),
        ("hidden-state", {"truncate": 9}, "truncate: baselines read every row whole; leave it out"),
        (
            "tfidf",
            {"inverse_penalty": 0},
            "inverse_penalty: 0 is too small; valid: more than 0",
        ),
        ("majority", {"answer": "best"}, "answer: unknown value 'best'"),
    ],
)
def test_wrong_settings_are_one_line(folder, method, change, said):
    edit(folder, "methods", lambda methods: methods[method].update(change))
    text = message(folder)
    assert said in text and method in text and "config/methods.yaml" in text


@pytest.mark.parametrize(("method", "key"), [("tfidf", "inverse_penalty"), ("majority", "answer")])
def test_what_a_baseline_reads_must_be_given(folder, method, key):
    edit(folder, "methods", lambda methods: methods[method].pop(key))
    family = "tfidf" if method == "tfidf" else "label_counts"
    assert f"method '{method}': '{key}' is missing for family '{family}'" in message(folder)


def test_baselines_make_no_page_possible_that_compares(folder):
    """A study of one model and pattern has no matrix of sizes, whatever it is held against."""
    grid = [{**BLOCK, "methods": ["in-context", "pattern-ft"], "models": ["tiny"]}]
    alone = load(folder, models=["tiny"], grid=grid)
    held = load(folder, models=["tiny"], grid=[*grid, {**HELD, "models": ["tiny"]}])
    assert held.tables.keys() == alone.tables.keys() and held.figures.keys() == alone.figures.keys()
    assert "matrix" not in held.tables


def test_a_family_counts_the_weights_of_logistic_regression():
    from fewshot.models.architectures import NOTHING

    family = FAMILIES["hidden_state"]
    settings = {"family": "hidden_state", "head": "classification", "classifier": "linear"}
    assert not family.trains and family.baseline and not family.without_shots
    assert [trainable(NOTHING, settings, labels) for labels in (2, 3)] == [1, 3], "biases"
