"""Which figures and tables a study can make, and the names that pick methods."""

from pathlib import Path

import own_data
import pytest
from fewshot.analysis.evidence import Evidence
from fewshot.errors import UserError
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables.registry import make_table
from fewshot.study import figure_needs
from fewshot.study.catalog import catalog_of
from fewshot.study.cells import IMPORTED
from fewshot.study.families import FAMILIES, kind_of
from fewshot.study.load import load_study
from fewshot.validation import read_yaml
from mistakes import told
from thinned import thinned

ROOT = Path(__file__).parents[3]
STUDIES = [
    path.stem for path in sorted((ROOT / "config").glob("*.yaml")) if "grid" in read_yaml(path)
]
BASELINE = {"methods": ["majority"], "patterns": ["minimal"], "k": [16]}
LM, HEAD = "language-model", "classification"
FAMILY_AND_HEAD = {
    "in-context": ("in_context", LM),
    "tiny-ft": ("full", LM),
    "tiny-vanilla": ("full", HEAD),
    "lora": ("lora", LM),
    "dora": ("lora", LM),
    "lora-head": ("lora", HEAD),
}
METHODS = {
    name: {"kind": kind_of({"family": family, "head": head})}
    for name, (family, head) in FAMILY_AND_HEAD.items()
}


def shipped(name):
    return load_study(read_yaml(ROOT / f"config/{name}.yaml"), str(ROOT / "config"))


def varied() -> dict:
    """Return the demo with another task, pattern and way to fine-tune; it names no figures."""
    config = read_yaml(ROOT / "config/config.yaml")
    del config["figures"], config["tables"]
    config["tasks"] = ["synth-mnli", "synth-rte"]
    minimal, main = {"patterns": ["minimal"], "k": [16]}, {"tasks": ["synth-mnli"]}
    config["grid"] = [
        *({**block, **main} for block in config["grid"]),
        {**minimal, "methods": ["in-context", "tiny-pattern-ft"], "tasks": ["synth-rte"]},
        {**minimal, "methods": ["tiny-vanilla-ft"], **main},
        {"methods": ["in-context"], "patterns": ["gpt-3"], "k": [16], **main},
    ]
    return config


@pytest.fixture(scope="module")
def demo():
    return load_study(varied(), str(ROOT / "config"))


@pytest.fixture(scope="module")
def paper():
    return shipped("paper")


def test_kinds_are_the_same_in_every_study():
    kinds = {name: entry["kind"] for name, entry in METHODS.items()}
    assert kinds == {
        "in-context": "in-context",
        "tiny-ft": "pattern-ft",
        "tiny-vanilla": "vanilla-ft",
        "lora": "lora",
        "dora": "lora",
        "lora-head": "lora-classification",
    }


def test_a_name_is_one_method_and_a_kind_all_of_it():
    assert figure_needs.methods_called("lora", METHODS) == ["lora"]
    assert figure_needs.methods_called("pattern-ft", METHODS) == ["tiny-ft"]
    others = {name: entry for name, entry in METHODS.items() if name != "lora"}
    others["lora-32"] = METHODS["lora"]
    assert figure_needs.methods_called("lora", others) == ["dora", "lora-32"]
    assert figure_needs.methods_called("bitfit", METHODS) == []


@pytest.mark.parametrize(
    ("arm", "method", "pattern", "picked"),
    [
        ("in-context/*gpt-3", "in-context", "llmft-gpt-3", True),
        ("in-context/*gpt-3", "in-context", "gpt-3", True),
        ("in-context/gpt-3", "in-context", "llmft-gpt-3", False),
        ("in-context/gpt-3", "tiny-ft", "gpt-3", False),
        ("pattern-ft", "tiny-ft", "minimal", True),
        ("lora/minimal", "dora", "minimal", False),
    ],
)
def test_arms_pick_methods_and_patterns(arm, method, pattern, picked):
    assert figure_needs.in_arms(["bitfit", arm], METHODS, method, pattern) is picked


def test_an_unknown_method_is_one_line_with_the_valid_ones():
    with pytest.raises(UserError, match="here: unknown method 'patern-ft'; did you mean 'pattern"):
        figure_needs.check_arms(["in-context", "patern-ft/minimal"], METHODS, "here")


def test_an_entry_that_the_study_lacks_is_left_out_with_a_reason(demo, paper):
    assert "rte-hans-scatter" in paper.figures and "rte-hans-scatter" not in demo.figures
    assert demo.unmet["figure"]["rte-hans-scatter"] == (
        "figure 'rte-hans-scatter' needs task 'rte', which study 'demo' does not have"
    )
    assert not set(demo.figures) & set(demo.unmet["figure"])
    assert {*demo.figures, *demo.unmet["figure"]} == {*paper.figures, *paper.unmet["figure"]}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, None),
        ({"needs": {"tasks": ["synth-mnli", "synth-rte"]}}, None),
        ({"options": {"task": "synth-*"}}, None),
        ({"options": {"task": "qqp*"}}, "task 'qqp*'"),
        ({"options": {"evaluation_set": "hans"}}, "evaluation set 'hans'"),
        ({"needs": {"evaluation_sets": ["*hans"]}}, None),
        ({"options": {"family": "llama"}}, "a model of family 'llama'"),
        ({"options": {"k": 128}}, "k = 128"),
        ({"options": {"k": 0}}, None),
        ({"options": {"selection": "best-in-domain"}}, None),
        ({"options": {"selection": "held-out"}}, "selection 'held-out' (best_epoch: held-out)"),
        # The demo has 4 shots on one task only.
        ({"options": {"k": 4}}, None),
        ({"options": {"task": "synth-rte", "k": 4}}, "k = 4"),
        ({"needs": {"methods": ["pattern-ft", "vanilla-ft"]}}, None),
        ({"needs": {"methods": ["ia3"]}}, "method 'ia3'"),
        ({"options": {"task": "synth-rte"}, "needs": {"methods": ["lora"]}}, "method 'lora'"),
        ({"needs": {"patterns": ["*gpt-3"]}}, None),
        ({"needs": {"patterns": ["llmft-*"]}}, "pattern 'llmft-*'"),
        ({"options": {"arms": ["ia3", "pattern-ft/minimal"]}}, None),
        (
            {"options": {"arms": ["ia3", "pattern-ft/llmft-*"]}},
            "one of the arms ia3, pattern-ft/llmft-*",
        ),
        ({"needs": {"at_least": {"model": 4, "method": 2}}}, None),
        ({"needs": {"at_least": {"model": 5}}}, "at least 5 models"),
        ({"options": {"family": "opt"}, "needs": {"at_least": {"model": 3}}}, "at least 3 models"),
        ({"needs": {"out_of_domain": True, "fine_tuned": True, "comparison": "any"}}, None),
        ({"needs": {"breakdown": "group"}}, None),
        # Without shots nothing is fine-tuned, and nothing compared.
        ({"options": {"k": 0}, "needs": {"fine_tuned": True}}, "a fine-tuned model with 0 shots"),
        (
            {"options": {"k": 0}, "needs": {"comparison": "fine-tuned"}},
            "a model that is fine-tuned and shown in context with 0 shots",
        ),
    ],
)
def test_needs_are_found_in_the_same_cells(demo, entry, what):
    assert figure_needs.missing(entry, demo) == what


@pytest.mark.parametrize(
    ("needs", "changes", "what"),
    [
        ({"out_of_domain": True}, {}, "an out-of-domain set"),
        ({"breakdown": "subset"}, {}, "an out-of-domain set with a subset of each row (key subs"),
        ({"fine_tuned": True}, {}, None),
        ({"fine_tuned": True}, {"grid": own_data.GRID[:1]}, "a fine-tuned model with 16 shots"),
        ({"comparison": "any"}, {}, None),
        (
            {"comparison": "fine-tuned"},
            {"grid": own_data.GRID[1:]},
            "a model that is fine-tuned and shown in context with 16 shots",
        ),
        ({"comparison": "any"}, {"grid": own_data.GRID[:1]}, "a fine-tuned model or a baseline be"),
        ({"comparison": "any"}, {"grid": [own_data.GRID[0], BASELINE]}, None),
        (
            {"comparison": "fine-tuned"},
            {"grid": [own_data.GRID[0], BASELINE]},
            "a model that is fine-tuned and shown in context with 16 shots",
        ),
    ],
)
def test_what_only_some_studies_have_is_needed_where_it_is_shown(tmp_path, needs, changes, what):
    found = figure_needs.missing({"needs": needs}, own_data.load(tmp_path, **changes))
    assert found is None if what is None else found.startswith(what)


def test_a_family_trains_unless_it_shows_the_shots_is_a_baseline_or_made_elsewhere():
    """By this the needs of figures tell what is fine-tuned."""
    for name, family in FAMILIES.items():
        others = family.shows_context or family.baseline or name == IMPORTED
        assert family.trains is not others, name


@pytest.mark.slow
def test_options_of_shipped_figures_name_what_some_study_has():
    """A misspelt task would leave an entry out of every study without a word."""
    unmet = [set(shipped(name).unmet["figure"]) for name in STUDIES]
    # No shipped study scores that set or a probe, or states a price.
    assert set.intersection(*unmet) == {*("mnli-mismatched-scatter", "money", "bias", "bias-lean")}


def test_each_study_of_the_paper_has_its_matrices(paper):
    config = read_yaml(ROOT / "config/paper-qqp-cola.yaml")
    other = figure_needs.makeable(load_study(config, str(ROOT / "config")))["tables"]
    assert {"welch-qqp", "welch-cola"} <= set(other)
    assert not {"welch-rte", "welch-rte-last"} & set(other)
    first = figure_needs.makeable(paper)["tables"]
    assert {"welch-rte-last", "welch-mnli-last"} <= set(first)
    assert first["welch-rte-last"]["options"]["selection"] == "last"
    assert "welch-qqp" not in first


@pytest.mark.parametrize("name", thinned(STUDIES, ["config"], STUDIES))
def test_every_entry_that_a_shipped_study_plans_passes_its_option_checks(name):
    """Options are checked before anything is drawn, so that no result is needed for it."""
    study = shipped(name)
    catalog = catalog_of(study)
    for entry in study.figures.values():
        assert make_figure(entry["function"], Evidence(), catalog, entry["options"], "A title")
    for entry in study.tables.values():
        make_table(entry["function"], Evidence(), catalog, entry["options"])


def test_arms_that_a_study_lacks_are_left_out_of_its_entry():
    arms = shipped("mosbach2023").figures["methods-compared-rte"]["options"]["arms"]
    assert arms == ["vanilla-ft", "pattern-ft"]


def test_an_arm_that_no_study_could_have_is_one_line(tmp_path):
    for path in (ROOT / "config").glob("*.yaml"):
        text = path.read_text().replace("pattern-ft, lora]", "pattern-ft, lorra]")
        (tmp_path / path.name).write_text(text)
    with pytest.raises(UserError, match=r"-rte'\.arms: unknown method 'lorra'; did you mean 'lora"):
        load_study(read_yaml(ROOT / "config/config.yaml"), str(tmp_path))


def named(**keys):
    return load_study({**varied(), **keys}, str(ROOT / "config"), "my-study.yaml")


def test_a_study_draws_the_figures_and_tables_that_it_names(demo):
    study = named(figures=["differences", "id-ood-scatter"], tables=[])
    assert list(study.figures) == ["id-ood-scatter", "differences"]  # in the order of figures.yaml
    assert study.figures["differences"] == demo.figures["differences"]
    assert not study.tables and set(study.unmet["table"]) >= set(demo.tables)
    assert study.unmet["figure"]["break-even"] == (
        "figure 'break-even' is not among the figures that my-study.yaml names under figures"
    )
    assert "needs task 'rte'" in study.unmet["figure"]["rte-hans-scatter"]
    assert set(named(figures=["variance"]).tables) == set(demo.tables)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"figures": ["diferences"]},
            "my-study.yaml: figures: unknown figure 'diferences'; did you mean 'differences'?",
        ),
        ({"tables": ["xyz"]}, "my-study.yaml: tables: unknown table 'xyz'; valid: headline, "),
        (
            {"figures": ["rte-hans-scatter"]},
            "my-study.yaml: figures: figure 'rte-hans-scatter' needs task 'rte', which study "
            "'demo' does not have",
        ),
        ({"tables": ["costs", "costs"]}, "my-study.yaml: tables: 'costs' is given twice"),
    ],
)
def test_a_name_that_a_study_cannot_draw_is_one_line(keys, message):
    assert told(named, **keys).startswith(message)
