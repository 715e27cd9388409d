"""How it is told what a study can find: the table, the page, the remarks, the files."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fewshot import storage
from fewshot.analysis.stats import power
from fewshot.planning import power_page

ASSUMED = {"draw_sd": 4, "disagreement": 0.3, "repeated": 0.5, "cluster_correlation": 0.1}
FACTS = {"study": "mine", "k": 16, "margin": 3, "comparisons": 20, "shared_draws": True,
         "assumed": ASSUMED}  # fmt: skip
SMALL = {"task": "rte", "evaluation_set": "rte", "domain": "in", "comparisons": 10, "seeds": 8,
         "rows": 277, "clusters": 277, "rows_from": "prepared", "test_half": False,
         "source": "finished cells",
         "finished": 10, "draw_variance": 32e-4, "row_variance": 5e-4, "both_variance": 5e-4,
         "row_df": 276.0}  # fmt: skip
LARGE = {**SMALL, "evaluation_set": "hans", "domain": "out", "rows": 30_000, "clusters": None,
         "rows_from": "tasks.yaml", "source": "assumed", "finished": 0, "row_variance": 5e-6,
         "both_variance": 5e-6, "row_df": 29_999.0}  # fmt: skip
BOTH = [SMALL, LARGE]


def sources(each) -> power.Sources:
    return power.Sources(*(each[name] for name in power_page.SOURCES))


def cells(page: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the table below a heading."""
    _, block = page[page.index(heading) :].split("\n\n")[:2]
    names, _, *lines = [
        [c.strip() for c in line.strip("|").split("|")] for line in block.split("\n")
    ]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_each_set_has_a_row_for_some_numbers_of_seeds_its_own_and_no_end():
    frame = power_page.powers(BOTH, FACTS)
    assert list(frame) == power_page.POWERS.names and len(frame) == 2 * 7
    seeds = frame.loc[frame["evaluation_set"] == "hans", "seeds"]
    assert seeds.astype(object).where(seeds.notna(), None).tolist() == [3, 5, 8, 10, 20, 50, None]
    assert frame.loc[frame["planned"], "seeds"].tolist() == [8, 8]
    again = power_page.powers([{**SMALL, "seeds": 10}], FACTS)
    assert len(again) == 6 and again["planned"].sum() == 1


def test_numbers_are_those_of_the_expected_error():
    """Both questions at 5 %, and at 5 % over all comparisons of the study."""
    frame = power_page.powers(BOTH, FACTS)
    row = frame[frame["planned"]].iloc[0]
    found = power.expected_error(sources(SMALL), 8)
    assert (row["error"], row["df"]) == (found.error, found.test_df)
    for end, alpha in (("", 0.05), ("_corrected", 0.05 / 20)):
        size, margin = row[f"detectable{end}"], row[f"provable{end}"]
        assert power.difference_power(found, size, alpha) == pytest.approx(0.8)
        assert power.equivalence_power(found, margin, alpha) == pytest.approx(0.8)
        assert row[f"equivalent{end}"] == power.equivalence_power(found, 0.03, alpha)
    assert row["detectable"] < row["detectable_corrected"]


def test_seeds_that_are_needed_are_found_and_no_fewer():
    row = power_page.powers([LARGE], FACTS).iloc[0]
    for name, chance in (("different", power.difference_power),
                         ("equivalent", power.equivalence_power)):  # fmt: skip
        for end, alpha in (("", 0.05), ("_corrected", 0.05 / 20)):
            seeds = row[f"seeds_{name}{end}"]
            reached = [
                chance(power.expected_error(sources(LARGE), n), 0.03, alpha) >= 0.8
                for n in (seeds - 1, seeds)
            ]
            assert reached == [False, True]


def test_draws_that_are_not_shared_have_more_degrees_of_freedom():
    shared, apart = (
        power_page.powers([SMALL], {**FACTS, "shared_draws": each}) for each in (True, False)
    )
    many = shared["seeds"] >= 8  # Of fewer, each part has the quantile of its own.
    assert (apart["df"][many] > shared["df"][many]).all() and many.sum() == 4


def test_the_page_tells_when_the_rows_allow_no_answer():
    page = power_page.page(power_page.powers(BOTH, FACTS), FACTS)
    assert page.startswith("# Power of study 'mine' with 16 shots\n") and "\n\n\n" not in page
    small, large = cells(page, "## As planned")
    assert small["seeds to find 3"] == small["seeds to show ±3"] == "never / never"
    assert all(text.replace(" / ", "").isdigit() for text in
               (large["seeds to find 3"], large["seeds to show ±3"]))  # fmt: skip
    [no_end, _] = [row for row in cells(page, "## By seeds") if row["seeds"] == "no end"]
    floor = power.detectable_difference(power.expected_error(sources(SMALL), power.ENDLESS))
    assert no_end["finds a difference of"].startswith(f"{100 * floor:.1f} / ") and floor > 0.03


def test_more_than_a_thousand_seeds_are_no_never():
    wide = {**LARGE, "draw_variance": 1.0}
    [row] = cells(power_page.page(power_page.powers([wide], FACTS), FACTS), "## As planned")
    assert row["seeds to find 3"] == "> 1,000 / > 1,000"
    few = cells(power_page.page(power_page.powers([wide], FACTS), FACTS), "## By seeds")[0]
    assert few["finds a difference of"] == "> 100 / > 100"


def test_what_variances_rest_on_is_told():
    text = power_page.short(power_page.powers(BOTH, FACTS), FACTS)
    assert "one of the study's 20, at 5 % / 20 (Bonferroni)" in text
    assert "Variances on rte are means over finished comparisons" in text
    assert "Variances on hans are assumed: accuracies vary by 4 points" in text
    assert "Rows of hans are not prepared" in text and "Rows of rte" not in text
    page = power_page.page(power_page.powers(BOTH, FACTS), FACTS)
    first, second = cells(page, "## What this rests on")
    assert (first["variances from"], first["clusters"]) == ("finished cells (10)", "277")
    assert (second["variances from"], second["clusters"]) == ("assumed", "not known")
    assert first["between draws"] == f"{100 * 32e-4**0.5:.1f}"
    assert first["by rows, one draw"] == f"{100 * 10e-4**0.5:.1f}"


def test_one_seed_has_no_verdict_and_unknown_rows_are_told():
    asked = [{**LARGE, "seeds": 1, "rows_from": "unknown"}]
    frame = power_page.powers(asked, FACTS)
    text = power_page.short(frame, FACTS)
    [row] = cells(text, "## Power")
    assert row["finds a difference of"] == row["chance to show ±3"] == "– / –"
    assert "One seed: no verdict" in text and "10,000 are taken" in text


def test_the_test_half_is_told():
    half = {**SMALL, "rows": 139, "clusters": 139, "test_half": True}
    frame = power_page.powers([half, LARGE], FACTS)
    page = power_page.page(frame, FACTS)
    for heading in ("## As planned", "## What this rests on"):
        assert [row["scored on"] for row in cells(page, heading)] == ["rte (test half)", "hans"]
    assert "In domain, on rte, verdicts rest on the test half" in page
    assert "test half" not in power_page.short(power_page.powers(BOTH, FACTS), FACTS)
    unknown = power_page.powers([{**half, "rows_from": "unknown"}], FACTS)
    assert "10,000 are taken, 5,000 for a test half." in power_page.short(unknown, FACTS)


def test_where_nothing_varies_nothing_is_told():
    flat = {**SMALL, "draw_variance": 0.0, "row_variance": 0.0, "both_variance": 0.0}
    frame = power_page.powers([flat], FACTS)
    assert np.isnan(frame["detectable"].astype(float)).all()
    [row] = cells(power_page.page(frame, FACTS), "## As planned")
    assert row["finds a difference of"] == row["seeds to find 3"] == "– / –"


def test_a_study_without_comparisons_says_so():
    frame = power_page.powers([], {**FACTS, "comparisons": 0})
    for text in (power_page.page(frame, FACTS), power_page.short(frame, FACTS)):
        assert "Nothing is compared" in text


@pytest.mark.parametrize("asked", [BOTH, []], ids=["two sets", "none"])
def test_the_power_is_written_in_three_formats(asked, tmp_path):
    output = SimpleNamespace(
        **{name: tmp_path / f"power.{end}"
           for name, end in (("table", "parquet"), ("csv", "csv"), ("md", "md"))}
    )  # fmt: skip
    text = power_page.write_power(asked, FACTS, output)
    stored = storage.read_table(output.table)
    assert list(stored) == power_page.POWERS.names and len(stored) == 7 * len(asked)
    assert len(pd.read_csv(output.csv)) == len(stored)
    page = output.md.read_text()
    assert page.startswith("# Power of study 'mine'") and text.splitlines()[-1] in page
