"""Baselines on a study's pages: rows of their own in tables, none in verdicts and figures."""

from dataclasses import replace

import pandas as pd
import pytest
import simulate
from arm_frames import arm, evaluation, together
from fewshot.analysis import stats
from fewshot.analysis.cell_costs import contests
from fewshot.analysis.comparisons import compare
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.pairs import BASELINE
from fewshot.report.answers import answer
from fewshot.report.figures.registry import CHARTS, make_figure
from fewshot.report.tables import registry
from thinned import thinned

NONE = {"title": "No model", "family": "none", "parameters": 0, "window": 0, "dtype": "float32"}
PROBE = {"title": "Linear on hidden state", "family": "hidden_state", "head": "classification"}
PROBE |= {"kind": "hidden-state", "trained": False, "baseline": "own model", "settings": {}}
WORDS = {"title": "Linear on TF-IDF", "family": "tfidf", "head": "none", "kind": "tfidf"}
WORDS |= {"trained": False, "baseline": "no model", "settings": {"inverse_penalty": 1.0}}
HELD = simulate.CATALOG | {
    "models": {**simulate.MODELS, "none": NONE},
    "methods": {**simulate.CATALOG["methods"], "probe": PROBE, "words": WORDS},
}
OWN = [arm(model, method, p) for model in ("opt-s", "opt-l", "pythia-s")
       for method, p in (("icl", 0.5), ("ft", 0.75))]  # fmt: skip
BASELINES = [
    arm("opt-s", "probe", 0.7),
    arm("opt-l", "probe", 0.5),
    arm("none", "words", 0.6, pattern="none"),
    arm("none", "words", 0.6, pattern="none", k=0, seeds=[0]),
]


def compared(*arms, catalog=HELD):
    return compare(*together(*arms), [evaluation()], catalog)


@pytest.fixture(scope="module")
def comparisons():
    return compared(*OWN, *BASELINES)


def test_verdicts_on_fine_tuning_stay_what_they_were(comparisons):
    """Neither differences nor the number of comparisons that are corrected together change."""
    without = compared(*OWN, catalog=simulate.CATALOG)
    rest = comparisons[comparisons["family"] != BASELINE].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without, check_dtype=False)
    catalog = {**HELD, "main": {"k": 16, "selection": "last", "margin": 3}}
    assert answer(comparisons, catalog).found == answer(without, simulate.CATALOG).found


def test_a_baseline_is_held_against_the_same_model_in_context_or_against_every_one(comparisons):
    held = comparisons[comparisons["family"] == BASELINE]
    found = held[["method", "model", "reference_model", "reference_method", "k"]]
    assert sorted(map(tuple, found.to_numpy())) == [
        ("probe", "opt-l", "opt-l", "icl", 16),
        ("probe", "opt-s", "opt-s", "icl", 16),
        *(("words", "none", model, "icl", 16) for model in ("opt-l", "opt-s", "pythia-s")),
    ]
    for name, size in (("probe", 2), ("words", 3)):
        part = held[held["method"] == name]
        assert part["family_size"].eq(size).all(), "each corrected apart"
        expected = stats.holm(part["p_bootstrap"].to_numpy(dtype=float))
        assert part["holm_bootstrap"].tolist() == expected.tolist()


def test_without_a_model_in_context_nothing_is_compared():
    alone = [each for each in OWN if each[0]["method"].iloc[0] == "ft"]
    assert compared(*alone, *BASELINES).empty


def test_tables_of_comparisons_name_the_model_in_context(comparisons):
    for name in ("comparison", "significance"):
        table = registry.make_table(name, Evidence(comparisons=comparisons), HELD, {})
        sections = table.text.groupby("section", sort=False)["Model"].agg(list)
        assert list(sections.index) == [
            f"NLI, in domain: {title} minus In-context learning"
            for title in ("Pattern-based fine-tuning", PROBE["title"], WORDS["title"])
        ]
        assert sections.iloc[1] == ["OPT small", "OPT large"]
        assert sections.iloc[2] == ["OPT small", "OPT large", "Pythia small"]
        assert "Baselines are corrected apart and count in no verdict" in table.note
        own = Evidence(comparisons=comparisons[comparisons["family"] != BASELINE])
        assert "Baselines" not in registry.make_table(name, own, HELD, {}).note


def held_against(study) -> Evidence:
    """Return a study with a probe of each model and words, of which all numbers are those of ft."""
    parts = {}
    for name in ("metrics", "costs", "variance"):
        frame = getattr(study, name)
        own = frame[frame["method"] == "ft"]
        one = own[own["model"] == "opt-s"]
        alone = one.assign(model="none", method="words", pattern="none")
        parts[name] = pd.concat([frame, own.assign(method="probe"), alone], ignore_index=True)
    return replace(study, **parts)


@pytest.mark.parametrize("name", ["headline", "accuracy", "costs", "cost_accuracy", "scores"])
def test_tables_have_rows_of_them(study, name):
    shown = registry.make_table(name, held_against(study), HELD, {}).text
    before = registry.make_table(name, study, simulate.CATALOG, {}).text
    place = "section" if name in ("cost_accuracy", "scores") else None
    titles = shown["Method"] if "Method" in shown else shown["section"].str.split(": ").str[-1]
    own = ~titles.isin([PROBE["title"], WORDS["title"]])
    assert own.sum() == len(before) and (~own).sum() > 2
    words = shown[titles == WORDS["title"]]
    models = words["Model"] if "Model" in words else words[place].str.split(" · ").str[-1]
    assert len(words) and set(models) == {"No model"}
    if name == "accuracy":
        assert set(shown.loc[~own, "Checkpoint"]) == {"–"}, "of one state, not of three epochs"


def test_no_baseline_is_a_rival_of_fine_tuning_in_costs(study):
    found = contests(held_against(study), HELD, 16)
    assert set(found["method"]) == {"ft", "lora"} and set(found["rival_method"]) == {"icl"}


@pytest.mark.parametrize("name", thinned(CHARTS, ["id_ood_scatter", "differences"]))
def test_figures_leave_them_out(study, name):
    held = make_figure(name, held_against(study), HELD, {}, "t")
    assert held == make_figure(name, study, simulate.CATALOG, {}, "t")


def test_the_pages_of_a_studys_setting_name_models_and_settings(study):
    models = registry.make_table("models", study, HELD, {}).text
    assert "No model" not in set(models["Model"]) and len(models) == len(simulate.MODELS)
    settings = registry.make_table("hyperparameters", study, HELD, {}).text
    assert settings.set_index("Setting").loc["Inverse penalty", WORDS["title"]] == "1"
