"""The first sentences and the table of verdicts, from comparisons made by hand."""

import pandas as pd
import pytest
from fewshot.analysis import statistics_schemas, stats
from fewshot.analysis.evidence import Evidence
from fewshot.report import findings
from fewshot.report.answers import answer
from fewshot.report.tables import registry
from test_verdicts import CATALOG, row

BETTER = {"difference": 0.06, "p_crossed": 0.0001, "low": 0.02, "high": 0.1}
WORSE = {"difference": -0.05, "p_crossed": 0.0001, "low": -0.08, "high": -0.02}
EQUAL = {"difference": 0.001, "error": 0.005, "low": -0.009, "high": 0.011, "p_crossed": 0.8}
SMALL = {"difference": 0.01, "error": 0.002, "low": 0.006, "high": 0.014, "p_crossed": 0.0001}
OPEN = {"low": -0.01, "high": 0.07}
UNTESTED = {"p_crossed": None, "p_bootstrap": None}
ONE_SEED = {**UNTESTED, "seeds": 1, "holm_crossed": None}


def answered(*given, catalog=CATALOG):
    """Return the answer to comparisons out of domain, each of a model of its own."""
    rows = [row(model=name, **each) for name, each in zip(catalog["models"], given, strict=False)]
    frame = pd.DataFrame(rows).reindex(columns=statistics_schemas.COMPARISONS.names)
    return answer(frame, catalog)


def of_sizes(*sizes):
    """Return a catalog of models with these numbers of parameters, called M1, M2 …"""
    models = {
        f"m{i}": {"title": f"M{i}", "family": "opt", "parameters": size}
        for i, size in enumerate(sizes, 1)
    }
    return CATALOG | {"models": models}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            [OPEN],
            "no difference was found in the one comparison, which is undecided (+3.0 points; 95 % "
            "interval for rows like these −1.0 to +7.0)",
        ),
        (
            [OPEN, OPEN, EQUAL],
            "no difference was found in any of 3 comparisons; 1 is equivalent within ±3 points "
            "and 2 are undecided (median +3.0 points, from +0.1 to +3.0; 95 % intervals for rows "
            "like these reach 4.0 points in the median)",
        ),
        (
            [EQUAL],
            "fine-tuning and in-context learning are equivalent within ±3 points in the one "
            "comparison (+0.1 points; 95 % interval for rows like these −0.9 to +1.1)",
        ),
        (
            [EQUAL, EQUAL],
            "fine-tuning and in-context learning are equivalent within ±3 points in both "
            "comparisons (median +0.1 points, from +0.1 to +0.1; 95 % intervals for rows like "
            "these reach 1.0 points in the median)",
        ),
        (
            [BETTER, OPEN],
            "fine-tuning is better than in-context learning in 1 of 2 comparisons; 1 is undecided "
            "(median +4.5 points, from +3.0 to +6.0; 95 % intervals for rows like these reach 4.0 "
            "points in the median)",
        ),
        (
            [WORSE, UNTESTED],
            "fine-tuning is worse than in-context learning in the one comparison; 1 could not be "
            "tested (median −1.0 points, from −5.0 to +3.0; 95 % intervals for rows like these "
            "reach 3.5 points in the median)",
        ),
        (
            [SMALL, OPEN],
            "fine-tuning is better than in-context learning in 1 of 2 comparisons, within ±3 "
            "points; 1 is undecided (median +2.0 points, from +1.0 to +3.0; 95 % intervals for "
            "rows like these reach 2.2 points in the median)",
        ),
        (
            [SMALL, BETTER, BETTER],
            "fine-tuning is better than in-context learning in all 3 comparisons, 1 of them within "
            "±3 points (median +6.0 points, from +1.0 to +6.0; 95 % intervals for rows like these "
            "reach 4.0 points in the median)",
        ),
        ([ONE_SEED], "no comparison could be tested, as each has one seed (+3.0 points)"),
        ([{**ONE_SEED, "difference": None}], "no comparison could be tested, as each has one seed"),
    ],
)
def test_a_sentence_says_what_was_found_with_its_numbers(given, sentence):
    assert answered(*given).found == [f"Out of domain, {sentence}."]


@pytest.mark.parametrize(
    ("sizes", "given", "sentence"),
    [
        (
            (1, 2, 3),
            [WORSE, BETTER, BETTER],
            "better with the larger models (M2, M3) and worse with the smaller model (M1) than "
            "in-context learning, in 2 and 1 of 3 comparisons (median",
        ),
        (
            (1, 2, 3),
            [BETTER, OPEN, WORSE],
            "better with the smaller model (M1) and worse with the larger model (M3) than "
            "in-context learning, in 1 and 1 of 3 comparisons; 1 is undecided (median",
        ),
        # Of five models the first and the last are named.
        (
            (1, 2, 3, 4, 5, 6),
            [WORSE, *[BETTER] * 5],
            "better with the larger models (M2 to M6) and worse with the smaller model (M1) than",
        ),
        # Sizes do not tell these apart.
        (
            (1, 2, 3),
            [WORSE, BETTER, WORSE],
            "better than in-context learning in 1 and worse in 2 of 3 comparisons (median",
        ),
        (
            (2, 2),
            [WORSE, BETTER],
            "better than in-context learning in 1 and worse in 1 of 2 comparisons (median",
        ),
        # Of one size, models keep their order.
        (
            (1, 2, 2, 2),
            [WORSE, BETTER, BETTER, BETTER],
            "better with the larger models (M2, M3, M4) and worse with the smaller model (M1) than",
        ),
    ],
)
def test_results_that_go_different_ways_by_size_are_told_as_such(sizes, given, sentence):
    (found,) = answered(*given, catalog=of_sizes(*sizes)).found
    assert found.startswith(f"Out of domain, fine-tuning is {sentence}")


def test_each_domain_has_its_sentence_in_domain_first():
    rows = [row(**BETTER), row(domain="in", evaluation_set="rte", **WORSE)]
    frame = pd.DataFrame(rows).reindex(columns=statistics_schemas.COMPARISONS.names)
    inside, outside = answer(frame, CATALOG).found
    assert inside.startswith("In domain, fine-tuning is worse")
    assert outside.startswith("Out of domain, fine-tuning is better")


def test_one_comparison_is_told_in_the_singular():
    found = answered(OPEN)
    assert "There is 1 comparison in the study, which needs no correction." in found.basis
    limits = " ".join(found.limits)
    assert "the one test of a difference would fall below 0.05 in 5 % of such studies" in limits
    assert "In 0 of 1 comparison the tests disagree" in limits
    assert "1 comparisons" not in " ".join([*found.found, found.basis, limits])
    assert "over 1 comparison Holm's correction" in stats.floor_note(5, 1, 999)
    floors = registry.make_table(
        "significance",
        Evidence(comparisons=pd.DataFrame([row(family_size=1)]).reindex(
            columns=statistics_schemas.COMPARISONS.names
        )),
        CATALOG,
        {},
    ).note  # fmt: skip
    assert "Holm over 1 comparison makes that" in floors


def test_verdicts_stand_by_model_and_set():
    rows = [
        row(**BETTER),
        row(model="opt-l", difference=None, low=None, high=None, p_crossed=None, status="missing"),
        row(domain="in", evaluation_set="rte", **EQUAL),
        row(method="van", **WORSE),
    ]
    frame = pd.DataFrame(rows).reindex(columns=statistics_schemas.COMPARISONS.names)
    text = answer(frame, CATALOG).verdicts.text
    assert text.to_dict("records") == [
        {
            "section": "Fine-tuned · minimal minus In context · minimal",
            "Model": "OPT-S",
            "RTE, in domain": "equivalent +0.1 [−0.9, +1.1]",
            "RTE, HANS": "better +6.0 [+2.0, +10.0]",
        },
        {
            "section": "Fine-tuned · minimal minus In context · minimal",
            "Model": "OPT-L",
            "RTE, in domain": "–",
            "RTE, HANS": "missing",
        },
        {
            "section": "Vanilla · minimal minus In context · minimal",
            "Model": "OPT-S",
            "RTE, in domain": "–",
            "RTE, HANS": "worse −5.0 [−8.0, −2.0]",
        },
    ]


def test_of_many_rows_the_verdicts_show_the_first_way_of_fine_tuning():
    catalog = of_sizes(*range(1, findings.MOST_ROWS))
    rows = [row(model=name, method="ft", **OPEN) for name in catalog["models"]]
    alone = pd.DataFrame(rows).reindex(columns=statistics_schemas.COMPARISONS.names)
    assert len(answer(alone, catalog).verdicts.text) == len(rows)
    assert "first of" not in answer(alone, catalog).verdicts.note
    more = [*rows, *(each | {"method": "van"} for each in rows)]
    frame = pd.DataFrame(more).reindex(columns=statistics_schemas.COMPARISONS.names)
    table = answer(frame, catalog).verdicts
    assert set(table.text["section"]) == {"Fine-tuned · minimal minus In context · minimal"}
    assert table.note.endswith("This is the first of 2 ways of fine-tuning; all are counted below.")
