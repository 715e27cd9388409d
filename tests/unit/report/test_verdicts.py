"""Tables and sentences of comparisons, from frames made by hand."""

import pandas as pd
import pytest
from fewshot.analysis import result_schemas, stats
from fewshot.analysis.evidence import Evidence
from fewshot.errors import UserError
from fewshot.report.answers import answer
from fewshot.report.figures.differences import differences
from fewshot.report.tables import registry
from fewshot.report.tables.comparisons import main_comparisons

CATALOG = {
    "models": {
        name: {"title": name.upper(), "family": name[:3], "parameters": size}
        for name, size in (("opt-s", 1e8), ("opt-l", 1e9), ("gpt-s", 1e8))
    },
    "methods": {
        "icl": {
            "title": "In context",
            "family": "in_context",
            "kind": "in-context",
            "trained": False,
        },
        "ft": {"title": "Fine-tuned", "family": "full", "kind": "pattern-ft", "trained": True},
        "van": {"title": "Vanilla", "family": "full", "kind": "vanilla-ft", "trained": True},
    },
    "patterns": {"minimal": {"title": "minimal"}, "gpt-3": {"title": "gpt-3"}},
    "tasks": {
        "rte": {"title": "RTE", "labels": ["yes", "no"]},
        "hans": {"title": "HANS", "labels": ["yes", "no"]},
    },
    "main": {"k": 16, "selection": "last"},
}


def row(**given):
    """Return one comparison of ten seeds; what is not given is a plain, open case."""
    floor = stats.permutation_floor(10)
    base = {
        **{"family": "same model", "protocol": "fair", "task": "rte", "evaluation_set": "hans"},
        **{
            "domain": "out",
            "k": 16,
            "selection": "last",
            "score": "accuracy",
            "model": "opt-s",
            "method": "ft",
        },
        **{"pattern": "minimal", "reference_model": "opt-s", "reference_method": "icl"},
        **{"reference_pattern": "minimal", "seeds": 10, "seeds_planned": 10, "rows": 30_000},
        **{"clusters": 303, "difference": 0.03, "low": -0.01, "high": 0.07},
        **{"improvement": 0.75, "detectable": 0.021, "floor_permutation": floor},
        **{"family_size": 49, "status": "ok"},
    }
    p = {f"p_{name}": 0.2 for name in ("bootstrap", "paired", "permutation", "welch")}
    corrected = {f"holm_{name[2:]}": 0.6 for name in p}
    corrected |= {f"bh_{name}": 0.3 for name in ("bootstrap", "paired", "welch", "permutation")}
    return base | p | corrected | given


def evidence(*rows):
    frame = pd.DataFrame(rows).reindex(columns=result_schemas.COMPARISONS.names)
    return Evidence(comparisons=frame)


def matrix(cells):
    """Return a 2 × 2 matrix: (model, reference) → what differs from a plain case."""
    return evidence(
        *(
            row(family="matrix", model=model, reference_model=other, **given)
            for (model, other), given in cells.items()
        )
    )


MATRIX = matrix(
    {
        ("opt-s", "opt-s"): {"difference": 0.0},
        ("opt-s", "opt-l"): {"difference": -0.041, "p_welch": 0.049},
        ("opt-l", "opt-s"): {"difference": 0.05, "p_welch": 0.01, "holm_bootstrap": 0.03},
        ("opt-l", "opt-l"): {"difference": 0.012, "seeds": 9},
    }
)


def test_a_matrix_marks_the_published_test_and_ours():
    text = registry.make_table("matrix", MATRIX, CATALOG, {}).text
    assert list(text.columns) == ["section", "Fine-tuned ↓ in context →", "OPT-S", "OPT-L"]
    assert text["OPT-S"].tolist() == ["0.0", "+5.0*†"]
    assert text["OPT-L"].tolist() == ["−4.1*", "+1.2 (9/10)"]
    assert set(text["section"]) == {"RTE, HANS (30,000 rows in 303 templates, 9–10 seeds)"}


def test_the_note_of_a_matrix_computes_its_floor():
    note = registry.make_table("matrix", MATRIX, CATALOG, {}).note
    # 2 / 2^10 = 0.00195, times 49 = 0.0957.
    assert "With 10 seeds no sign-flip test falls below 0.002;" in note
    assert "Holm over 49 comparisons makes that 0.096, so that it can never be below 0.05." in note
    assert "correction over the 49 comparisons" in note
    few = evidence(row(family="matrix", family_size=4))
    assert "makes that 0.0078." in registry.make_table("matrix", few, CATALOG, {}).note


def test_a_matrix_shows_why_a_cell_is_empty():
    blank = {"difference": None, "low": None, "high": None, "status": "does not fit", "seeds": 0}
    found = matrix({("opt-s", "opt-s"): blank, ("opt-l", "opt-s"): {}})
    text = registry.make_table("matrix", found, CATALOG, {}).text
    assert text["OPT-S"].tolist() == ["does not fit", "+3.0"]


def test_options_choose_the_matrix():
    other = row(family="matrix across patterns", reference_pattern="gpt-3", difference=0.2)
    vanilla = row(family="matrix", method="van", difference=0.1)
    kin = row(family="matrix", model="gpt-s", reference_model="gpt-s", difference=0.3)
    found = evidence(row(family="matrix"), other, vanilla, kin)

    def cells(**options):
        return registry.make_table("matrix", found, CATALOG, options).numbers["difference"].tolist()

    assert cells() == [0.03]
    assert cells(arms=["pattern-ft/minimal", "in-context/*gpt-3"]) == [0.2]
    assert cells(arms=["vanilla-ft", "in-context"]) == [0.1]
    assert cells(family="gpt") == [0.3]
    assert cells(domain="in") == []
    assert cells(arms=["pattern-ft/gpt-3", "in-context"]) == [], (
        "no results of a pattern that the study has are no mistake"
    )


def test_a_matrix_has_options_for_shots_and_checkpoint():
    best, more = {"selection": "best-in-domain"}, {"k": 32}
    rows = [row(), row(**best, difference=0.1), row(**more, difference=0.2)]
    found = evidence(*(each | {"family": "matrix", "domain": "in"} for each in rows))
    table = registry.make_table("matrix", found, CATALOG, best)
    assert table.numbers["difference"].tolist() == [0.1]
    assert "best in domain. In domain, the best epoch was chosen by these very rows" in table.note
    table = registry.make_table("matrix", found, CATALOG, more)
    assert table.numbers["difference"].tolist() == [0.2]
    assert "32 shots; checkpoint of fine-tuned models: last epoch." in table.note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "mnli"}, "unknown task 'mnli'"),
        ({"family": "bert"}, "unknown family 'bert'"),
        ({"arms": ["lora"]}, "unknown method 'lora'"),
        ({"domain": "inside"}, "unknown domain 'inside'"),
        ({"selection": "each"}, "unknown selection 'each'; valid: last, best-in-domain"),
        ({"k": 17}, "options.k: no cell has 17 shots; valid: 16$"),
    ],
)
def test_options_that_the_study_lacks_are_named(options, message):
    with pytest.raises(UserError, match=message):
        registry.make_table("matrix", MATRIX, CATALOG, options)


def test_comparisons_are_printed_with_their_tests():
    found = row(holm_bootstrap=0.04, holm_paired=0.0004, low=0.002)
    text = registry.make_table("comparison", evidence(found), CATALOG, {}).text
    assert text.iloc[0].to_dict() == {
        "section": "RTE, HANS: Fine-tuned · minimal minus In context · minimal",
        "Model": "OPT-S",
        "Difference": "+3.0 [+0.2, +7.0]",
        "p: Crossed bootstrap": "0.040",
        "p: Paired t": "< 0.001",
        "p: Sign flips": "0.600",
        "P(better)": "0.75",
        "Detectable": "2.1",
        "Seeds": "10",
    }


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
    assert [name for name in table.text if name.startswith("p: ")] == [
        "p: Crossed bootstrap",
        "p: Welch's t",
    ]
    assert "resampled apart" in table.note


def test_missing_comparisons_say_why():
    blank = {"difference": None, "status": "too few seeds: 1/10", "seeds": 1}
    sampled = {"low": None, "high": None, "status": "sampled rows"}
    text = registry.make_table(
        "comparison", evidence(row(**blank), row(model="opt-l", **sampled)), CATALOG, {}
    ).text
    assert text["Difference"].tolist() == ["too few seeds: 1/10", "+3.0 (sampled rows)"]
    assert text["Seeds"].tolist() == ["1/10", "10"]


def test_tests_that_disagree_are_marked():
    same = row(model="opt-l")
    other = row(holm_welch=0.01, bh_welch=0.008)
    table = registry.make_table("significance", evidence(same, other), CATALOG, {})
    assert table.text["Agree"].tolist() == ["no", "yes"]
    assert table.text["Welch's t"].tolist() == ["0.200 (0.010; 0.008)", "0.200 (0.600; 0.300)"]
    assert table.text["Sign flips"].tolist() == ["0.200 (0.600; 0.300)"] * 2


def test_verdicts_rest_on_the_corrected_bootstrap():
    rows = [
        row(holm_bootstrap=0.01),
        row(model="opt-l", holm_bootstrap=0.01, difference=-0.02),
        row(model="gpt-s", holm_bootstrap=0.05, p_bootstrap=0.001),
        row(method="van", holm_bootstrap=None),
    ]
    frame = main_comparisons(evidence(*rows).comparisons, CATALOG)
    found = dict(zip(zip(frame["model"], frame["method"], strict=True), frame["verdict"],
                     strict=True))  # fmt: skip
    assert found == {
        ("opt-s", "ft"): "higher",
        ("opt-l", "ft"): "lower",
        ("gpt-s", "ft"): "open",
        ("opt-s", "van"): "none",
    }


def test_the_answer_counts_and_tells_its_limits():
    rows = [
        row(holm_bootstrap=0.01, difference=0.06),
        row(model="opt-l", seeds=9),
        row(domain="in", evaluation_set="rte", difference=None, holm_bootstrap=None, seeds=1,
            detectable=None, low=None, high=None),
    ]  # fmt: skip
    found = answer(evidence(*rows).comparisons, CATALOG)
    assert found.short == [
        "In domain: no comparison could be tested.",
        "Out of domain: fine-tuning was better in 1 of 2 comparisons, worse in 0, and in 1 the "
        "difference is not significant. Differences are +4.5 points in the median, from +3.0 to "
        "+6.0.",
    ]
    assert "16 shots" in found.basis and "3 comparisons" in found.basis
    limits = " ".join(found.limits)
    assert "a difference of 2.1 points" in limits
    assert "reach 4.0 points to either side" in limits
    assert "over 49 comparisons Holm's correction makes it 0.096, so that it can never" in limits
    assert "2 of 3 comparisons lack seeds" in limits
    assert "In 1 of 3 comparisons the tests disagree" in limits
    counts = found.methods.text.set_index("section").loc["Out of domain"]
    assert (counts["Better"], counts["Worse"], counts["Not significant"]) == ("1", "0", "1")


def test_the_answer_says_what_was_corrected_apart_and_what_not_tested():
    rows = [row(), row(method="van"), row(method="van", model="opt-l", holm_bootstrap=None)]
    found = answer(evidence(*rows).comparisons, CATALOG)
    assert found.short[0].startswith(
        "Out of domain: fine-tuning was better in 0 of 2 comparisons, worse in 0, and in 2 the "
        "difference is not significant; 1 could not be tested (each method, pattern and"
    )
    assert found.methods.text["Not tested"].tolist() == ["0", "1"]


def test_there_is_no_answer_without_comparisons():
    assert answer(evidence().comparisons, CATALOG) is None
    assert registry.make_table("comparison", evidence(), CATALOG, {}).note == ""


def test_in_domain_the_verdict_rests_on_the_last_epoch():
    """A best epoch that the in-domain rows chose is better on them by chance alone."""
    catalog = CATALOG | {"main": {"k": 16, "selection": "best-in-domain"}}
    rows = [
        row(domain=domain, evaluation_set=name, selection=selection, difference=difference)
        for domain, name in (("in", "rte"), ("out", "hans"))
        for selection, difference in (("last", 0.01), ("best-in-domain", 0.05))
    ]
    found = evidence(*rows)
    frame = main_comparisons(found.comparisons, catalog).set_index("domain")
    assert frame["difference"].to_dict() == {"in": 0.01, "out": 0.05}
    warning = (
        "checkpoint of fine-tuned models: last epoch in domain, “best in domain” out of domain. "
        "In domain, the best epoch was chosen by these very rows: read it as too high; "
        "the comparison uses the last epoch."
    )
    assert warning in answer(found.comparisons, catalog).basis
    for name in ("comparison", "significance"):
        assert warning in registry.make_table(name, found, catalog, {}).note


def test_a_last_epoch_needs_no_warning():
    note = registry.make_table("comparison", evidence(row(), row(domain="in")), CATALOG, {}).note
    assert "checkpoint of fine-tuned models: last epoch. With" in note
    assert "too high" not in note


def test_ways_to_show_the_shots_are_counted_side_by_side_and_corrected_apart():
    several = {**CATALOG["methods"]["icl"], "divided": True, "title": "Ensemble"}
    catalog = {**CATALOG, "methods": {**CATALOG["methods"], "several": several}}
    pairs = [{"model": model, "reference_model": model} for model in ("opt-s", "opt-l")]
    ways = ("icl", "several")
    frame = pd.DataFrame([row(**pair, reference_method=way) for pair in pairs for way in ways])
    found = answer(frame, catalog)
    assert "among the models of one method, pattern, reference and evaluation set" in found.basis
    assert "(each method, pattern, reference and evaluation set corrected apart)" in found.short[0]
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
