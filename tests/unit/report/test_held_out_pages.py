"""Tables and figures of a study where a half of the in-domain rows chooses the best epoch."""

import pytest
from fewshot.analysis.summary import at_level
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables import registry
from fewshot.report.tables.comparisons import main_comparisons
from simulate import CATALOG

pytestmark = pytest.mark.slow

HELD_OUT = "held out (best on the choice half)"
TESTED = (
    " Where the choice half of the in-domain rows chose the epoch, every method is judged in "
    "domain by the test half alone: NLI 60 of 120 rows."
)


def test_the_table_of_checkpoints_shows_the_choice_and_what_judges_it(half_study):
    table = registry.make_table("model_selection", half_study, CATALOG, {})
    assert table.text["Checkpoint"].tolist()[:3] == [
        "last epoch", HELD_OUT, "best out of domain (oracle)",
    ]  # fmt: skip
    assert TESTED in table.note
    numbers = table.numbers[table.numbers["method"] == "ft"].set_index(["selection", "domain"])
    rows = numbers.groupby(level=[0, 1])["rows_fewest"].first()
    assert rows["held-out", "in"] == 60 and rows["held-out", "out"] == 240
    assert rows["last", "in"] == 120
    # Elsewhere nothing is said of halves.
    assert "half" not in registry.make_table("headline", half_study, CATALOG, {}).note


def test_every_method_is_listed_on_the_test_half_too(half_study):
    table = registry.make_table("accuracy", half_study, CATALOG, {})
    shown = table.text[table.text["Method"] == "In-context learning"]
    of_model = shown[(shown["Model"] == "OPT small") & (shown["Shots"] == "16")]
    assert of_model["Checkpoint"].tolist() == ["–", "test half"]
    mine = half_study.metrics.query(
        "model == 'opt-s' and method == 'icl' and k == 16 and evaluation_set == 'nli' and "
        "label.isna() and selection == 'held-out'"
    )
    assert mine["n"].eq(60).all()
    (_, half) = of_model["In domain"]
    assert half.startswith(f"{100 * mine['accuracy'].mean():.1f} [")
    assert TESTED.strip() in table.note


def test_the_headline_is_of_the_test_half_where_the_study_says_so(half_study):
    catalog = CATALOG | {"main": {**CATALOG["main"], "selection": "held-out"}}
    table = registry.make_table("headline", half_study, catalog, {})
    setting = f"16 shots; checkpoint of fine-tuned models: {HELD_OUT}."
    claim = "95 % intervals are for rows like these (other draws, other rows)."
    assert table.note == f"{setting} {claim}{TESTED}"
    assert "in domain: 60 rows" in table.text["section"].iloc[0]


def test_the_figure_of_checkpoints_has_those_of_the_study(half_study, study):
    for evidence, expected in (
        (half_study, ["last epoch", HELD_OUT, "best out of domain (oracle)"]),
        (study, ["last epoch", "best in domain (reads the evaluation labels)",
                 "best out of domain (oracle)"]),
    ):  # fmt: skip
        told = str(make_figure("model_selection", evidence, CATALOG, {}, "Title"))
        titles = ("last epoch", "best in domain (reads", HELD_OUT, "best out of domain (oracle)")
        assert [title in told for title in titles] == [
            any(each.startswith(title) for each in expected) for title in titles
        ]


def test_verdicts_in_domain_rest_on_the_test_half(half_study):
    """In domain with as many rows on both sides; out of domain at the same epoch, on all rows."""
    catalog = CATALOG | {"main": {**CATALOG["main"], "selection": "held-out"}}
    frame = main_comparisons(half_study.comparisons, catalog)
    assert set(frame["selection"]) == {"held-out"} and frame["status"].eq("ok").all()
    rows = frame.groupby("domain")[["rows", "clusters"]].agg(lambda n: set(n))
    assert rows.loc["in"].tolist() == [{60}, {60}] and rows.loc["out"].tolist() == [{240}, {30}]
    # The difference of the means of the two arms on these rows.
    mine = at_level(half_study.metrics).query("selection == 'held-out' and k == 16")
    mean = mine.groupby(["model", "method", "domain"])["accuracy"].mean()
    for row in frame.to_dict("records"):
        sides = [mean[row["model"], name, row["domain"]] for name in (row["method"], "icl")]
        assert row["difference"] == pytest.approx(sides[0] - sides[1])
    elsewhere = main_comparisons(half_study.comparisons, CATALOG)
    assert set(elsewhere["selection"]) == {"last"} and set(elsewhere["rows"]) == {120, 240}


def test_the_variance_of_answers_is_split_on_the_test_half(half_study):
    found = half_study.variance.query("selection == 'held-out' and method == 'ft' and k == 16")
    assert set(zip(found["domain"], found["rows"], strict=True)) == {("in", 60), ("out", 240)}
    mean = at_level(half_study.metrics).groupby(["model", "method", "k", "selection", "domain"])
    for row in found.query("status == 'ok'").to_dict("records"):
        key = tuple(row[name] for name in ("model", "method", "k", "selection", "domain"))
        assert row["mean"] == pytest.approx(mean.get_group(key)["accuracy"].mean())
