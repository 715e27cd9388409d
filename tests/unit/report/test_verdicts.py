"""Tables and sentences of comparisons, from frames made by hand."""

import pandas as pd
import pytest
from comparison_rows import CATALOG, evidence, row
from fewshot.analysis.evidence import Evidence
from fewshot.report.answers import answer
from fewshot.report.figures.differences import differences
from fewshot.report.tables import registry
from fewshot.report.tables.comparisons import claims, main_comparisons


def test_comparisons_are_printed_with_both_claims_and_the_verdict():
    found = row(p_crossed=0.0004, low=0.002)
    text = registry.make_table("comparison", evidence(found), CATALOG, {}).text
    assert text.iloc[0].to_dict() == {
        "section": "RTE, HANS: Fine-tuned · minimal minus In context · minimal",
        "Model": "OPT-S",
        "Points [rows like these]": "+3.0 [+0.2, +7.0]",
        "[These rows]": "[+1.0, +5.0]",
        "Verdict": "better",
        "p: different": "< 0.001",
        "p: equivalent": "0.500",
        "P(better)": "0.75",
        "Seeds": "10",
    }


def test_a_small_difference_that_is_found_is_said_to_be_within_the_margin():
    found = row(p_crossed=0.001, difference=0.01, error=0.002)
    text = registry.make_table("comparison", evidence(found), CATALOG, {}).text
    assert text["Verdict"].tolist() == ["better, within the margin"]


@pytest.mark.parametrize(("margin", "verdict"), [(3, "equivalent"), (1, "undecided")])
def test_the_margin_is_that_of_the_study(margin, verdict):
    """0.1 ± 0.8 points: below 3 by 3.6 standard errors, below 1 by 1.1."""
    catalog = CATALOG | {"main": CATALOG["main"] | {"margin": margin}}
    found = evidence(row(difference=0.001, error=0.008, p_crossed=0.9))
    table = registry.make_table("comparison", found, catalog, {})
    assert table.text["Verdict"].tolist() == [verdict]
    assert f"equivalent: within ±{margin} points" in table.note
    said = answer(found.comparisons, catalog).basis
    assert f"within ±{margin} points, the study's margin" in said


def test_a_metric_of_the_task_itself_has_sections_of_its_own():
    found = evidence(row(), row(score="mcc", p_crossed=0.01))
    table = registry.make_table("comparison", found, CATALOG, {})
    names = [name.split(": ")[0] for name in table.text["section"]]
    assert names == ["RTE, HANS", "RTE, HANS (MCC × 100)"]
    assert table.text["Verdict"].tolist() == ["undecided", "better"]


def test_what_is_corrected_together_stands_under_one_heading():
    rows = [row(model="opt-l"), row(pattern="gpt-3"), row(), row(method="van")]
    text = registry.make_table("comparison", evidence(*rows), CATALOG, {}).text
    found = [heading.split(": ")[1] for heading in text["section"]]
    assert found == [
        "Fine-tuned · minimal minus In context · minimal",
        "Fine-tuned · minimal minus In context · minimal",
        "Fine-tuned · gpt-3 minus In context · minimal",
        "Vanilla · minimal minus In context · minimal",
    ]
    assert text["Model"].tolist() == ["OPT-S", "OPT-L", "OPT-S", "OPT-S"]


def test_comparisons_without_shared_draws_have_no_paired_test():
    catalog = CATALOG | {"shared_draws": False}
    table = registry.make_table("comparison", evidence(row()), catalog, {})
    assert "not shared" in table.note
    table = registry.make_table("significance", evidence(row()), catalog, {})
    assert list(table.text)[3:-2] == ["Crossed t", "Crossed bootstrap", "Welch's t"]


def test_missing_comparisons_say_why():
    blank = {"difference": None, "status": "missing", "seeds": 0}
    single = {"seeds": 1, "status": "one seed of 10", "p_crossed": None, "error": 0.1}
    sampled = {"low": None, "high": None, "status": "sampled rows"}
    text = registry.make_table(
        "comparison",
        evidence(row(**blank), row(model="opt-l", **sampled), row(model="gpt-s", **single)),
        CATALOG,
        {},
    ).text
    differences = ["missing", "+3.0 (sampled rows)", "+3.0 [−1.0, +7.0] (rows alone)"]
    assert text["Points [rows like these]"].tolist() == differences
    assert text["Seeds"].tolist() == ["0/10", "10", "1/10"]


def test_tests_that_disagree_are_marked():
    same = row(model="opt-l")
    other = row(holm_welch=0.01, bh_welch=0.008)
    table = registry.make_table("significance", evidence(same, other), CATALOG, {})
    assert table.text["Agree"].tolist() == ["no", "yes"]
    assert table.text["Welch's t"].tolist() == ["0.200 (0.010; 0.008)", "0.200 (0.600; 0.300)"]
    assert table.text["Sign flips"].tolist() == ["0.200 (0.600; 0.300)"] * 2


def test_verdicts_are_corrected_over_the_study_and_baselines_apart():
    rows = [
        row(p_crossed=0.01),
        row(model="opt-l", p_crossed=0.001, difference=-0.02),
        row(model="gpt-s", p_crossed=0.04),
        row(method="van", p_crossed=None, p_bootstrap=None),
        *[row(family="baseline", method=f"b{i}", p_crossed=0.9) for i in range(20)],
    ]
    catalog = CATALOG | {"methods": CATALOG["methods"] | {
        f"b{i}": {"title": f"B{i}", "family": "majority", "kind": "majority"} for i in range(20)
    }}  # fmt: skip
    frame = main_comparisons(evidence(*rows).comparisons, catalog, ("same model", "baseline"))
    frame = frame[frame["family"] == "same model"].set_index(["model", "method"])
    assert frame["verdict"].to_dict() == {
        ("opt-s", "ft"): "better",
        ("opt-l", "ft"): "worse",
        ("gpt-s", "ft"): "better",
        ("opt-s", "van"): "not tested",
    }
    assert frame["study_difference"].max() == pytest.approx(0.04), "twenty baselines cost nothing"


@pytest.mark.parametrize(
    "other",
    [
        {"model": "opt-l", "reference_model": "opt-l"},
        {"method": "van"},
        {"pattern": "gpt-3"},
        {"domain": "in", "evaluation_set": "rte"},
        {"domain": "in", "task": "hans"},
    ],
    ids=lambda other: list(other)[-1],
)
def test_one_correction_takes_all_that_a_study_compares(other):
    """Of two comparisons that differ in anything the smaller p, 0.03, is doubled."""
    found = evidence(row(p_crossed=0.03), row(p_crossed=0.9, **other))
    frame = main_comparisons(found.comparisons, CATALOG)
    assert sorted(frame["study_difference"]) == pytest.approx([0.06, 0.9])
    assert set(frame["verdict"]) == {"undecided"}


def test_the_answer_counts_and_tells_its_limits():
    rows = [
        row(p_crossed=0.0001, difference=0.06),
        row(model="opt-l", seeds=9),
        row(model="gpt-s", difference=0.001, error=0.005, low=-0.009, high=0.011, p_crossed=0.8),
        row(domain="in", evaluation_set="rte", p_crossed=None, p_bootstrap=None, seeds=1,
            holm_crossed=None),
    ]  # fmt: skip
    found = answer(evidence(*rows).comparisons, CATALOG)
    assert [sentence.split(" (")[0] for sentence in found.found] == [
        "In domain, no comparison could be tested, as each has one seed",
        "Out of domain, fine-tuning is better than in-context learning in 1 of 3 comparisons; 1 is "
        "equivalent within ±3 points and 1 is undecided",
    ]
    assert "16 shots" in found.basis and "all 4 comparisons of the study" in found.basis
    limits = " ".join(found.limits)
    assert "0.15 of the 3 tests of a difference would fall below 0.05" in limits
    assert "Undecided does not mean equal" in limits and "snakemake power" in limits
    assert "With one seed (1 of 4 comparisons) an interval is for other rows" in limits
    assert "over 49 comparisons Holm's correction makes it 0.096, so that it can never" in limits
    assert "Where seeds are missing on one side or the other (2 of 4 comparisons)" in limits
    counts = found.methods.text.set_index("section").loc["Out of domain"]
    found = counts[["Better", "Worse", "Equivalent", "Undecided", "Not tested"]].tolist()
    assert found == ["1", "0", "1", "1", "0"]


def test_the_answer_says_what_could_not_be_tested():
    rows = [row(), row(method="van"), row(method="van", model="opt-l", p_crossed=None,
                                          p_bootstrap=None)]  # fmt: skip
    found = answer(evidence(*rows).comparisons, CATALOG)
    assert "2 are undecided; 1 could not be tested (" in found.found[0]
    assert found.methods.text["Not tested"].tolist() == ["0", "1"]


def test_there_is_no_answer_without_comparisons():
    assert answer(evidence().comparisons, CATALOG) is None
    assert registry.make_table("comparison", evidence(), CATALOG, {}).note == ""


def test_in_domain_the_verdict_rests_on_the_last_epoch():
    """A best epoch that the in-domain rows chose is better on them by chance alone."""
    catalog = CATALOG | {"main": {"k": 16, "selection": "best-in-domain", "margin": 3}}
    rows = [
        row(domain=domain, evaluation_set=name, selection=selection, difference=difference)
        for domain, name in (("in", "rte"), ("out", "hans"))
        for selection, difference in (("last", 0.01), ("best-in-domain", 0.05))
    ]
    found = evidence(*rows)
    frame = main_comparisons(found.comparisons, catalog).set_index("domain")
    assert frame["difference"].to_dict() == {"in": 0.01, "out": 0.05}
    warning = (
        "checkpoint of fine-tuned models: last epoch in domain, “best in domain (reads the "
        "evaluation labels)” out of domain. In domain, the best epoch was chosen by these "
        "very rows: read it as too high; the comparison uses the last epoch."
    )
    assert warning in answer(found.comparisons, catalog).basis
    for name in ("comparison", "significance"):
        assert warning in registry.make_table(name, found, catalog, {}).note


def test_a_last_epoch_needs_no_warning():
    note = registry.make_table("comparison", evidence(row(), row(domain="in")), CATALOG, {}).note
    assert note.endswith("checkpoint of fine-tuned models: last epoch.")
    assert "too high" not in note


def test_ways_to_show_the_shots_are_counted_side_by_side_and_corrected_apart():
    several = {**CATALOG["methods"]["icl"], "divided": True, "title": "Ensemble"}
    catalog = {**CATALOG, "methods": {**CATALOG["methods"], "several": several}}
    pairs = [{"model": model, "reference_model": model} for model in ("opt-s", "opt-l")]
    ways = ("icl", "several")
    frame = pd.DataFrame([row(**pair, reference_method=way) for pair in pairs for way in ways])
    found = answer(frame, catalog)
    references = list(found.methods.text["Reference"])
    assert references == ["In context · minimal", "Ensemble · minimal"]
    evidence = Evidence(comparisons=frame)
    sections = list(registry.TABLES["comparison"](evidence, catalog).text["section"])
    assert sections == sorted(sections, key=lambda text: "Ensemble" in text)
    assert len(set(sections)) == 2
    drawn = str(differences(evidence, catalog))
    assert "HANS: minus in context" in drawn and "HANS: minus ensemble" in drawn
    alone = str(differences(Evidence(comparisons=frame.iloc[::2]), catalog))
    assert ": minus" not in alone


def test_a_figure_tells_that_the_interval_of_one_seed_is_for_other_rows_alone():
    single = {"seeds": 1, "p_crossed": None, "status": "one seed of 10"}
    found = evidence(row(), row(model="opt-l", **single), row(model="gpt-s", low=None, high=None))
    assert claims(found.comparisons).tolist() == ["draws and rows", "rows", "none"]
    said = "With one seed a bar is for other rows alone."
    assert said in str(differences(found, CATALOG))
    assert said not in str(differences(evidence(row()), CATALOG))


def test_agreement_of_tests_is_told_only_where_there_are_tests():
    none = {name: None for name in row() if name.startswith(("p_", "holm_", "bh_"))}
    assert "tests disagree" in " ".join(answer(evidence(row()).comparisons, CATALOG).limits)
    alone = answer(evidence(row(seeds=1, **none)).comparisons, CATALOG)
    assert "tests disagree" not in " ".join(alone.limits)
