"""Every table of the golden study says what is known to be true of it."""

import re

import pytest
from fewshot.report import table_text
from fewshot.report.tables import registry
from fewshot.report.tables.comparisons import main_comparisons
from fewshot.study.catalog import catalog_of

from golden import effects, study

# The study is made once, by one worker.
pytestmark = pytest.mark.xdist_group("golden")

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
    """Three points are found in either direction, none is made of nothing, and a point and a half,
    which these 600 rows cannot tell from nothing, is left open."""
    frame = main_comparisons(golden.comparisons, catalog_of(study.study()))
    known = frame[(frame["method"] == "pattern-ft") & (frame["domain"] == "out")]
    expected = {6: "higher", -6: "lower", 0: "open", 3: "open"}
    assert set(known["model"]) == set(effects.GAIN)
    assert known["verdict"].tolist() == [expected[effects.GAIN[name]] for name in known["model"]]
    inside = frame[(frame["method"] == "pattern-ft") & (frame["domain"] == "in")]
    assert set(inside["verdict"]) == {"higher"}, "four points at every size"


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
