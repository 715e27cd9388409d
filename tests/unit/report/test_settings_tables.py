"""Tables of scores, spreads and of what a study is made of, against values computed by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis import statistics_schemas
from fewshot.analysis.evidence import Evidence
from fewshot.report.tables import registry, study_contents
from fewshot.study.catalog import catalog_of
from fewshot.study.load import load_study
from fewshot.validation import read_yaml
from metric_rows import metric_rows

CATALOG = simulate.CATALOG
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def paper():
    """Return the catalog of the paper's study."""
    study = load_study(read_yaml(ROOT / "config/paper.yaml"), str(ROOT / "config"), "paper.yaml")
    return catalog_of(study)


def test_scores_tell_mean_half_interval_and_missing_seeds():
    frame = metric_rows([0.6, 0.8, None], method="icl").assign(
        mcc=[0.1, 0.3, None], brier=[0.5, None, None]
    )
    text = registry.make_table("scores", Evidence(frame), CATALOG, {}).text.iloc[0]
    # t(1, 97.5 %) = 12.7062, sd = 0.141421; half = 12.7062 · 0.1 = 1.27: cut at 0 and 1.
    assert text["Accuracy"].startswith("70.0 ±70.0 (2/3)")
    assert text["MCC"] == "0.20"  # The accuracy beside it tells the seeds.
    assert text["Brier"] == "0.50 (1/3)"
    assert text["ECE"] == "–"
    assert text["Seeds"] == "2/3"


def test_scores_of_the_simulated_study_keep_labels_apart(study):
    table = registry.make_table("scores", study, CATALOG, {})
    rows = table.numbers[(table.numbers["evaluation_set"] == "hans")]
    icl = rows[(rows["method"] == "icl") & rows["label"].notna()]
    assert icl[icl["label"] == 0]["mean"].min() > 0.7 > 0.4 > icl[icl["label"] == 1]["mean"].max()
    section = "NLI, HANS-like (labels 1: entailment, 2: non-entailment)"
    assert f"{section}: In-context learning" in set(table.text["section"])
    assert {"mcc", "f1", "macro_f1", "brier", "ece"} <= set(table.numbers["score"])


def test_calibrated_accuracies_stand_beside_those_as_scored():
    frame = metric_rows([0.6, 0.8, None], method="icl").assign(
        accuracy_batch=[0.7, 0.9, None], roc_area=[0.9, 0.9, None]
    )
    labels = [
        frame[:2].assign(label=label, accuracy=shares[0], accuracy_batch=shares[1])
        for label, shares in enumerate([(0.98, 0.75), (0.42, 0.854)])
    ]
    table = registry.make_table("calibration", Evidence(pd.concat([frame, *labels])), CATALOG, {})
    text = table.text.iloc[0]
    assert text["As scored"] == "70.0 ±70.0 (98/42)" and text["Batch"] == "80.0 ±80.0 (75/85)"
    assert text["Contextual"] == text["PMI"] == "–"
    assert text["ROC area"] == "90.0", "draws that agree have no interval"
    assert text["Seeds"] == "2/3"
    assert "(by label: " in text["section"]


def test_calibrated_differences_of_the_simulated_study_stand_side_by_side(study):
    table = registry.make_table("calibrated_comparison", study, CATALOG, {})
    plain = registry.make_table("comparison", study, CATALOG, {})
    assert len(table.text) == len(plain.text)
    assert [text.removesuffix(" *") for text in table.text["As scored"]] == list(
        plain.text["Points [rows like these]"]
    )
    assert set(table.numbers["score"]) == {"accuracy", "accuracy_batch", "roc_area"}
    assert set(table.text["Contextual"]) == {"–"}, "its inputs were not stored"
    areas = table.text["ROC area"]
    assert areas.str.contains(r"^[+−0-9.]+ \[[+−0-9.]+, [+−0-9.]+\](?: \*)?$").any()


def test_a_score_that_one_side_lacks_is_blank_not_missing(study):
    """Results made elsewhere have no inputs without content; their runs are there."""
    frame = study.comparisons
    unknown = frame["score"] == "accuracy_batch"
    frame = frame.assign(
        difference=frame["difference"].mask(unknown), low=frame["low"].mask(unknown),
        status=frame["status"].mask(unknown, "missing"),
    )  # fmt: skip
    table = registry.make_table(
        "calibrated_comparison", replace(study, comparisons=frame), CATALOG, {}
    )
    known = table.text["As scored"].str.contains(r"\[")
    assert known.any() and set(table.text.loc[known, "Batch"]) == {"–"}


def test_patterns_are_summarised_as_by_hand():
    values = {"a": [0.5, 0.6, 0.7], "b": [0.6, 0.7, 0.8], "c": [0.9, 0.5, 0.7]}
    catalog = CATALOG | {"patterns": {name: {"title": name} for name in values}}
    frame = pd.concat([metric_rows(each, pattern=name) for name, each in values.items()])
    row = registry.make_table("patterns_summary", Evidence(frame), catalog, {}).numbers.iloc[0]
    # Means over draws: 0.6, 0.7, 0.7; medians over patterns of each draw: 0.6, 0.6, 0.7.
    assert row["pattern_median"] == pytest.approx(0.7)
    assert row["pattern_low"] == pytest.approx(np.quantile([0.6, 0.7, 0.7], 0.25))
    assert row["draw_median"] == pytest.approx(0.6)
    assert row["draw_high"] == pytest.approx(0.65)
    # Nine runs: two are cut at each end.
    assert row["interquartile_mean"] == pytest.approx(np.mean([0.6, 0.6, 0.7, 0.7, 0.7]))
    assert row["spread"] == pytest.approx(np.mean([0.4, 0.2, 0.1]))
    assert (row["patterns"], row["seeds"], row["seeds_planned"], row["rows"]) == (3, 3, 3, 100)


def test_a_draw_that_one_pattern_lacks_is_left_out_and_counted():
    frame = pd.concat([metric_rows([0.5, 0.7, 0.9]), metric_rows([0.6, None, 0.8], pattern="b")])
    catalog = CATALOG | {"patterns": {"minimal": {"title": "m"}, "b": {"title": "b"}}}
    table = registry.make_table("patterns_summary", Evidence(frame), catalog, {})
    assert table.text["Seeds"].tolist() == ["2/3"]
    assert table.numbers["spread"].iloc[0] == pytest.approx(0.1)
    none = pd.concat([metric_rows([None, 0.7]), metric_rows([0.6, None], pattern="b")])
    text = registry.make_table("patterns_summary", Evidence(none), catalog, {}).text.iloc[0]
    assert (text["Median over draws [IQR]"], text["Seeds"]) == ("–", "0/2")


def test_cells_with_one_pattern_have_no_summary():
    assert registry.make_table(
        "patterns_summary", Evidence(metric_rows([0.5])), CATALOG, {}
    ).text.empty


def test_variance_is_printed_as_deviations_in_points():
    row = {"protocol": "fair", "task": "nli", "model": "opt-s", "method": "icl", "k": 16}
    row |= {"selection": "last", "evaluation_set": "nli", "domain": "in", "patterns": 2}
    row |= {"patterns_planned": 3, "seeds": 5, "seeds_planned": 5, "rows": 200, "mean": 0.7}
    row |= {"seed": 0.0004, "pattern": 0.0009, "row": 0.16, "residual": 0.04, "spread": 0.05}
    row |= {"seed_low": 0.0001, "seed_high": 0.0025, "row_low": 0.09, "row_high": 0.25}
    frame = pd.DataFrame([row]).reindex(columns=statistics_schemas.VARIANCE.names)
    text = registry.make_table("variance", Evidence(variance=frame), CATALOG, {}).text.iloc[0]
    assert (text["Draws"], text["Patterns"]) == ("2.0 [1.0, 5.0]", "3.0")
    assert (text["Rows"], text["Rest"], text["Draws × rows"]) == ("40.0 [30.0, 50.0]", "20.0", "–")
    assert text["Spread of patterns"] == "5.0"
    assert text["Patterns used"] == "2/3"


def test_data_are_counted_by_gold_label(study):
    table = registry.make_table("data", study, CATALOG, {})
    assert len(table.text) == 4
    first, second = table.text.iloc[0], table.text.iloc[1]
    assert (first["Rows"], first["Gold labels"]) == ("120", "entailment: 60; contradiction: 60")
    assert (second["Scored on"], second["Domain"], second["Rows"]) == ("HANS-like", "out", "240")
    assert first["Majority"] == "50.0"


def test_models_are_listed_with_their_source(paper):
    text = registry.make_table("models", Evidence(), paper, {}).text.set_index("Model")
    assert len(text) == 13
    assert text.loc["OPT-125M", "Source"] == "facebook/opt-125m @ 27dcfa74d334"
    assert text.loc["OPT-6.7B", "Parameters"] == "6.66 B"
    assert text.loc["OPT-125M", "Window"] == "2,048"
    assert "Licence" not in text


def test_licences_are_shown_where_the_registry_has_them(paper):
    models = paper["models"]
    stated = {**models, "opt-350m": {**models["opt-350m"], "licence": "Some terms (gated)"}}
    table = registry.make_table("models", Evidence(), {**paper, "models": stated}, {})
    text = table.text.set_index("Model")["Licence"]
    assert text["OPT-350M"] == "Some terms (gated)" and set(text) == {"–", "Some terms (gated)"}


def test_settings_are_those_of_the_registry(paper):
    methods = read_yaml(ROOT / "config/methods.yaml")
    table = registry.make_table("hyperparameters", Evidence(), paper, {})
    text = table.text.set_index("Setting")
    assert "In-context learning" not in text
    assert float(text.loc["Learning rate", "LoRA"]) == methods["lora"]["learning_rate"]
    assert float(text.loc["Epochs", "BitFit"]) == methods["pattern-ft"]["epochs"]
    assert text.loc["Targets", "LoRA"] == "opt: q_proj, v_proj; pythia: query_key_value"
    assert text.loc["Rank", "BitFit"] == "–"


def test_prompts_are_what_the_models_see(paper):
    text = registry.make_table("prompts", Evidence(), paper, {}).text
    gpt3 = text[text["Pattern"] == "GPT-3 pattern"].iloc[0]
    assert gpt3["Query"] == "{text_a} question: {text_b} Yes or No? answer:"
    assert gpt3["Demonstration"] == "{text_a} question: {text_b} Yes or No? answer: {label}↵↵"
    assert gpt3["Label words"] == "␣Yes, ␣No"


def test_blanks_and_line_breaks_can_be_seen():
    assert study_contents.visible(" a b\nc ") == "␣a b↵c␣"
    assert study_contents.visible("plain") == "plain"
    assert study_contents.visible("literal \\n") == "literal \\n"
    assert study_contents.visible("  ") == "␣␣"
