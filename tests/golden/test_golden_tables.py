"""Every table of the golden study says what is known to be true of it."""

import re

import numpy as np
import pytest
from fewshot.analysis import questions as asked
from fewshot.report import table_text
from fewshot.report.tables import registry
from fewshot.report.tables.comparisons import main_comparisons
from fewshot.study.catalog import catalog_of

from golden import effects, study

# The study is made once, by one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]

OPT = ("opt-125m", "opt-1.3b", "opt-6.7b")


@pytest.fixture(scope="module")
def made(golden):
    """Return the study's tables by name."""
    found, catalog = study.study(), catalog_of(study.study())
    return {
        name: registry.make_table(entry["function"], golden, catalog, entry["options"])
        for name, entry in found.tables.items()
    }


def points(model, reference, inside):
    """Return fine-tuning `model` minus `reference` in context, minimal pattern, in points."""
    base = effects.INSIDE if inside else effects.OUTSIDE
    gain = effects.INSIDE_GAIN if inside else effects.GAIN[model]
    return (base[model] + gain - base[reference]) / 2


@pytest.mark.parametrize("domain", ["in", "out"])
def test_the_matrix_has_the_known_differences(made, domain):
    numbers = made["matrix"].numbers
    cells = numbers[(numbers["task"] == "rte") & (numbers["domain"] == domain)]
    assert len(cells) == 9
    assert set(cells["model"]) == set(OPT)
    for cell in cells.to_dict("records"):
        true = points(cell["model"], cell["reference_model"], domain == "in")
        assert 100 * cell["difference"] == pytest.approx(true, abs=1e-9)
        assert (cell["seeds"], cell["family_size"]) == (10, 9)


def test_the_matrix_of_the_paper_sets_two_patterns_against_each_other(made):
    numbers = made["welch-rte"].numbers.set_index(["model", "reference_model"])
    assert set(numbers["pattern"]) == {"minimal"}
    assert set(numbers["reference_pattern"]) == {"gpt-3"}
    found = 100 * numbers.loc[("opt-1.3b", "opt-1.3b"), "difference"]
    assert found == pytest.approx(3.0 - effects.PATTERNS["gpt-3"] / 2, abs=1e-9)


def test_a_cell_that_lacks_a_seed_is_marked(made):
    text = made["matrix"].text
    mnli = text[text["section"].str.startswith("MNLI, HANS")].set_index(text.columns[1])
    assert all(cell.endswith("(9/10)") for cell in mnli.loc["OPT-1.3B"].iloc[1:])
    assert not mnli.loc["OPT-125M"].str.contains("/10").any()


def test_verdicts_are_what_is_known(golden):
    """Three points are found in either direction, nothing is found to be nothing, and a point and a
    half, which these 600 rows cannot tell from nothing or from three, is left open."""
    frame = main_comparisons(golden.comparisons, catalog_of(study.study()))
    known = frame[(frame["method"] == "pattern-ft") & (frame["domain"] == "out")]
    expected = {6: "better", -6: "worse", 0: "equivalent", 3: "undecided"}
    assert set(known["model"]) == set(effects.GAIN)
    assert known["verdict"].tolist() == [expected[effects.GAIN[name]] for name in known["model"]]
    inside = frame[(frame["method"] == "pattern-ft") & (frame["domain"] == "in")]
    assert set(inside["verdict"]) == {"better"}, "four points at every size"


def test_the_published_test_finds_the_effects_that_are_there(made):
    numbers = made["matrix"].numbers
    same = numbers[(numbers["model"] == numbers["reference_model"]) & (numbers["task"] == "rte")]
    same = same[same["domain"] == "out"].set_index("model")
    assert not same.loc["opt-125m", "published"]
    assert same.loc["opt-1.3b", "published"] and same.loc["opt-6.7b", "published"]


def test_the_headline_marks_missing_seeds(made):
    cells = made["headline"].text["In domain"]
    assert sum(cell.endswith("(9/10)") for cell in cells) == 2
    assert sum(cell == "10" for cell in made["headline"].text["Seeds"]) == len(cells) - 2


def test_cells_that_do_not_fit_say_so(made):
    text = made["accuracy"].text
    rte = text[text["section"].str.startswith("RTE") & (text["Shots"] == "32")]
    assert len(rte) == 3
    assert set(rte["In domain"]) == {"does not fit"}
    assert "2180 of 2048" in table_text.to_text(made["coverage"], 200)


def test_the_oracle_is_the_second_epoch(made):
    text = made["model-selection"].text
    oracle = text[text["Checkpoint"] == "best out of domain (oracle)"]
    assert set(oracle["Epoch"]) == {"2"}


def test_the_best_pattern_is_as_far_from_the_worst_as_it_is_known_to_be(made):
    spread = (max(effects.PATTERNS.values()) - min(effects.PATTERNS.values())) / 200
    numbers = made["patterns-summary"].numbers
    assert len(numbers) == 12
    assert numbers["spread"].to_numpy() == pytest.approx(spread)
    assert set(numbers["patterns"]) == {3}


def test_intervals_tell_what_they_allow_for(made):
    """The oracle takes the second epoch, whose answers are kept of a seed where it is the best."""
    assert set(made["headline"].numbers["interval"]) == {"draws and rows"}
    numbers = made["accuracy"].numbers
    numbers = numbers[numbers["seeds"] > 0]
    assert set(numbers.loc[numbers["k"] == 0, "interval"]) == {"rows"}
    drawn = numbers[numbers["k"] > 0].groupby("selection", sort=False)["interval"].agg(set)
    assert drawn["last"] == drawn["best-in-domain"] == {"draws and rows"}
    assert drawn["best-out-of-domain"] == {"draws"}
    assert (numbers["low"] < numbers["mean"]).all() and (numbers["mean"] < numbers["high"]).all()


def test_every_accuracy_tells_its_seeds_and_rows(made):
    for name in ("headline", "accuracy", "model-selection", "hans", "hans-heuristics"):
        numbers = made[name].numbers
        assert {"seeds", "seeds_planned", "rows"} <= set(numbers)
        done = numbers[numbers["seeds"] > 0]
        assert (done["rows"] > 0).all()
        lacking = numbers[(numbers["seeds"] < numbers["seeds_planned"]) & (numbers["seeds"] > 0)]
        assert len(lacking)
        assert lacking["status"].str.fullmatch(r"\d+/\d+ seeds").all()
    assert re.search(r"\(9/10\)", table_text.to_text(made["hans-heuristics"], 200))


def test_the_questions_have_the_known_answers(made):
    """In half points: a gap is GAIN less INSIDE_GAIN; 16 shots are 4 above 2, 128 are 10."""
    numbers = made["questions"].numbers
    assert set(numbers["question"]) == {*asked.TITLES} - {asked.WAYS}
    whole = numbers[numbers["seeds"] == numbers["seeds_planned"]]
    gains = effects.METHODS | {"pattern-ft": 0}
    for question, known in (
        (asked.GAP, lambda row: effects.GAIN[row["model"]] - effects.INSIDE_GAIN),
        (
            asked.SHOTS_OF_ARM,
            lambda row: effects.SHOTS[row["k"]] - effects.SHOTS[row["reference_k"]],
        ),
        (asked.METHODS, lambda row: gains[row["method"]] - gains[row["reference_method"]]),
        (
            asked.PATTERNS,
            lambda row: (
                effects.PATTERNS[row["pattern"]] - effects.PATTERNS[row["reference_pattern"]]
            ),
        ),
    ):
        rows = whole[whole["question"] == question].to_dict("records")
        found = [200 * row["estimate"] for row in rows]
        assert len(found) > 20
        assert found == pytest.approx([known(row) for row in rows], abs=1e-6), question


def test_the_trend_of_the_difference_is_the_known_slope(made):
    numbers = made["questions"].numbers
    trends = numbers[(numbers["question"] == asked.SIZE) & (numbers["model_family"] == "opt")]
    sizes = [study.study().models[name]["parameters"] for name in OPT]
    gains = [effects.GAIN[name] for name in OPT]
    slope = np.polynomial.polynomial.polyfit(np.log10(sizes), gains, 1)[1]
    found = trends[(trends["domain"] == "out") & (trends["task"] == "rte")]["estimate"]
    assert len(found) == 6
    assert (200 * found).to_numpy() == pytest.approx(slope, abs=1e-6)
    assert (trends[trends["domain"] == "in"]["p"] > 0.99).all(), "the same gain at every size"


def test_the_mean_of_the_study_is_that_of_its_tasks_and_models(made):
    numbers = made["questions"].numbers
    means = numbers[numbers["tasks"].notna()].set_index(["question", "domain"])
    assert len(means) == 4 and set(means["tasks"]) == {"rte, mnli"}
    inside = means.loc[(asked.MEAN, "in"), "estimate"]
    assert 200 * inside == pytest.approx(effects.INSIDE_GAIN, abs=0.5)
    gain = sum(effects.GAIN.values()) / len(effects.GAIN)
    assert 200 * means.loc[(asked.MEAN, "out"), "estimate"] == pytest.approx(gain, abs=0.5)
    width = means["high"] - means["low"]
    assert width[asked.MEAN_OF_KIND, "out"] > 1.5 * width[asked.MEAN, "out"], "models differ there"
