"""The table of questions and the sentences of a study's mean, in words."""

import re

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis import questions as asked
from fewshot.analysis import statistics_schemas
from fewshot.analysis.evidence import Evidence
from fewshot.report import table_text
from fewshot.report.tables import registry
from fewshot.report.tables.questions import study_sentences

CATALOG = simulate.CATALOG
LARGE = {
    **CATALOG,
    "models": {
        name: {"title": name.upper(), "family": name[:3], "parameters": 10**size}
        for name, size in (("opt-a", 8), ("opt-b", 9), ("opt-c", 10), ("gpt-a", 8), ("gpt-b", 9))
    },
}


def row(question, **given):
    """Return one stored contrast of five seeds; what is not given is plain."""
    base = {name: None for name in statistics_schemas.CONTRASTS.names}
    base |= {"question": question, "protocol": "fair", "task": "nli", "evaluation_set": "nli"}
    base |= {"domain": "in", "selection": "last", "model": "opt-s", "method": "ft", "k": 16}
    base |= {"pattern": "minimal", "seeds": 5, "seeds_planned": 5, "rows": 120, "clusters": 120}
    base |= {"varies": "draws and rows", "estimate": 0.021, "low": 0.004, "high": 0.038, "p": 0.02}
    base |= {"low_draws": 0.01, "high_draws": 0.03, "p_draws": 0.01, "status": "ok"}
    return base | given


def reference(**given):
    return {"reference_method": "icl", "reference_pattern": "minimal", **given}


def mean(question=asked.MEAN, varies="draws and rows", cells=(0.02,), **given):
    """Return a mean over three models; its parts are one thousandth."""
    models = ["opt-s", "opt-l", "pythia-s"]
    several = {"model": None, "pattern": None, "models": models, "patterns": ["minimal"]}
    spread = {"draw_variance": 1e-4, "draw_df": 9.0, "row_variance": 1e-4, "row_df": 99.0}
    spread |= {"joint_variance": 0.0, "cells": list(cells), "estimate": float(np.mean(cells))}
    return row(question, varies=varies, reference_method="icl", **several, **(spread | given))


def frame(*rows):
    return pd.DataFrame(rows, columns=statistics_schemas.CONTRASTS.names)


def table(*rows, catalog=CATALOG):
    return registry.make_table("questions", Evidence(contrasts=frame(*rows)), catalog, {})


@pytest.mark.parametrize(
    ("given", "where", "contrast", "models"),
    [
        (
            row(asked.GAP, evaluation_set="hans", domain="out", **reference()),
            "NLI, HANS-like minus in domain",
            "Pattern-based fine-tuning minus In-context learning",
            "OPT small",
        ),
        (
            row(asked.SIZE, model=None, models=["opt-s", "opt-l"], **reference()),
            "NLI, in domain",
            "Pattern-based fine-tuning minus In-context learning",
            "OPT large minus OPT small",
        ),
        (
            row(asked.SHOTS_OF_ARM, k=32, reference_k=16),
            "NLI, in domain",
            "Pattern-based fine-tuning",
            "OPT small, 32 minus 16 shots",
        ),
        (
            row(asked.METHODS, method="lora", **reference(reference_method="ft")),
            "NLI, in domain",
            "LoRA minus Pattern-based fine-tuning",
            "OPT small",
        ),
    ],
)
def test_a_contrast_is_told_in_words(given, where, contrast, models):
    [printed] = table(given).text.to_dict("records")
    assert printed == {
        "section": asked.TITLES[given["question"]],
        "Where": where,
        "Contrast": contrast,
        "Models": models,
        "Points [rows like these]": "+2.1 [+0.4, +3.8]",
        "[These rows]": "[+1.0, +3.0]",
        "p": "0.020",
        "Seeds": "5",
    }


def test_three_sizes_make_a_trend_per_factor_of_ten():
    given = row(asked.SIZE_OF_ARM, model=None, models=["opt-a", "opt-b", "opt-c"])
    [printed] = table(given, catalog=LARGE).text["Models"]
    assert printed == "OPT-A to OPT-C (3), per factor of ten"


def test_p_is_corrected_within_its_question():
    rows = [row(asked.METHODS, model=m, p=p, **reference()) for m, p in
            (("opt-s", 0.01), ("opt-l", 0.04))]  # fmt: skip
    text = table(*rows, row(asked.SHOTS_OF_ARM, k=32, reference_k=16, p=0.04)).text
    assert text["p"].tolist() == ["0.040", "0.020", "0.040"]
    assert text["section"].tolist()[0] == asked.TITLES[asked.SHOTS_OF_ARM]


def test_what_has_no_estimate_says_why():
    blank = dict.fromkeys(["estimate", "low", "high", "p", "low_draws", "high_draws", "p_draws"])
    [printed] = table(
        row(asked.SHOTS_OF_ARM, k=32, reference_k=16, seeds=0, status="missing", **blank)
    ).text.to_dict("records")
    assert printed["Points [rows like these]"] == "missing"
    assert (printed["[These rows]"], printed["p"], printed["Seeds"]) == ("–", "–", "0/5")


def test_what_does_not_vary_has_no_interval():
    blank = dict.fromkeys(["low", "high", "p", "low_draws", "high_draws", "p_draws"])
    [printed] = table(row(asked.GAP, **reference(), **blank)).text.to_dict("records")
    assert printed["Points [rows like these]"] == "+2.1"


def test_of_many_shots_models_and_methods_a_part_is_printed_and_all_stored():
    shots = [row(asked.SHOTS_OF_ARM, k=64, reference_k=k, model="opt-c") for k in (2, 16, 32)]
    models = [row(asked.GAP, model=name, **reference()) for name in LARGE["models"]]
    made = table(*shots, *models, catalog=LARGE)
    assert len(made.numbers) == len(shots) + len(models)
    assert sorted(made.text["Models"]) == ["GPT-B", "OPT-C", "OPT-C, 64 minus 2 shots"]
    names = ["icl", "ft", "lora", "a", "b", "c"]
    entry = CATALOG["methods"]["lora"]
    methods = CATALOG["methods"] | {name: {**entry, "title": name} for name in names[3:]}
    pairs = [
        row(asked.METHODS, method=b, **reference(reference_method=a))
        for i, a in enumerate(names[1:])
        for b in names[i + 2 :]
    ]
    made = table(*pairs, catalog=CATALOG | {"methods": methods})
    assert len(made.numbers) == 10 and len(made.text) == 4
    assert made.text["Contrast"].str.endswith("minus Pattern-based fine-tuning").all()


def test_the_mean_over_tasks_stands_beside_those_of_the_tasks():
    made = table(mean(), mean(task="rte", evaluation_set="rte", cells=(0.04,)))
    assert made.text["Where"].tolist() == [
        "NLI, RTE, in domain",
        "NLI, in domain",
        "RTE, in domain",
    ]
    first = made.text.iloc[0]
    assert first["Contrast"] == "Pattern-based fine-tuning minus In-context learning"
    assert first["Models"] == "mean over 3 models"
    # Its variance is 2 × (1e-4 + 1e-4) / 4 of 9 and of 99 degrees of freedom.
    assert first["Points [rows like these]"].startswith("+3.0 [+")
    assert made.numbers["error"].iloc[0] == pytest.approx(0.01)
    assert len(table(mean()).text) == 1, "one task is its own mean"


def test_sentences_give_the_estimate_and_what_each_interval_allows_for():
    kind = mean(asked.MEAN_OF_KIND, "draws, rows and models", (0.01, 0.02, 0.03))
    [sentence] = study_sentences(frame(mean(), kind), CATALOG)
    pattern = (
        r"In domain, on average over 3 models and 1 task \(NLI\): Pattern-based fine-tuning minus "
        r"In-context learning is \+2\.0 points; 95 % interval \[(\S+), (\S+)\] for other draws and "
        r"rows like these, \[(\S+), (\S+)\] for other draws, rows and models like these\."
    )
    found = re.fullmatch(pattern, sentence)
    low, high, _, _ = (float(text.replace("−", "-")) for text in found.groups())
    # 2 points ± 2.0 × 1.41, where t has more than 9 degrees of freedom.
    assert (low, high) == pytest.approx((-0.9, 4.9), abs=0.2)


def test_sentences_say_what_is_missing():
    blank = {"estimate": None, "seeds": 0, "status": "does not fit"}
    [sentence] = study_sentences(frame(mean(**blank)), CATALOG)
    assert sentence == (
        "In domain, on average over 3 models and no task: Pattern-based fine-tuning minus "
        "In-context learning has no estimate (does not fit)."
    )
    [some] = study_sentences(frame(mean(), mean(task="rte", **blank)), CATALOG)
    assert some.endswith("(1/2 tasks).")
    assert study_sentences(frame(row(asked.GAP, **reference())), CATALOG) == []


def test_a_note_says_what_is_claimed_and_corrected():
    note = table(row(asked.GAP, **reference())).note
    for words in ("Rows like these", "these rows: for other draws alone", "Benjamini"):
        assert words in note
    assert "not shared" not in note
    apart = table(row(asked.GAP, **reference()), catalog=CATALOG | {"shared_draws": False}).note
    assert "Draws are not shared" in apart
    assert table_text.to_text(table()) == table_text.NOTHING
