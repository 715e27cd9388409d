"""What accuracy costs: means per cell, the Pareto front, break-even points, tables and figures."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot import formatting
from fewshot.analysis import cell_costs
from fewshot.analysis.evidence import Evidence
from fewshot.report.figures import axes
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables import costs as costs_module
from fewshot.report.tables.registry import make_table

CATALOG = simulate.CATALOG
CELL = {"task": "nli", "model": "opt-l", "pattern": "minimal", "k": 16}


def picked(frame: pd.DataFrame, **cell) -> pd.Series:
    for name, value in cell.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_cells_are_means_over_their_own_seeds(study):
    costs = study.costs.copy()
    chosen = (costs["model"] == "opt-l") & (costs["task"] == "nli") & (costs["method"] == "ft")
    chosen &= costs["k"] == 16
    costs.loc[chosen, "seconds_train"] = [10.0, 20.0, 30.0, 40.0, 60.0]
    costs.loc[chosen, "processes"] = 2
    some = costs.drop(costs[chosen].index[-1:])
    row = picked(cell_costs.cell_costs(replace(study, costs=some), CATALOG), method="ft", **CELL)
    assert (row["seeds"], row["seeds_planned"]) == (4, 5)
    assert row["seconds_train"] == 25 and row["train_device_seconds"] == 50
    assert row["total_memory_mib"] == 2 * row["peak_memory_mib"]
    assert row["prediction_device_seconds"] == pytest.approx(2 * 30 / (7 * 360))
    text = costs_module.seeds_text(row)
    assert text == "4/5"


def test_the_front_is_what_nothing_beats():
    cost = pd.Series([3.0, 1.0, 2.0, 2.0, 5.0, np.nan, 1.0])
    value = pd.Series([9.0, 5.0, 4.0, 7.0, 9.0, 99.0, 3.0])
    found = cell_costs.efficient(cost, value)
    by_definition = [
        not math.isnan(c)
        and not any(
            (d <= c and w >= v and (d, w) != (c, v)) for d, w in zip(cost, value, strict=True)
        )
        for c, v in zip(cost, value, strict=True)
    ]
    assert found.tolist() == by_definition == [True, True, False, True, False, False, False]


def test_break_even_solves_the_costs_of_both(study):
    row = picked(cell_costs.contests(study, CATALOG, 16), method="ft", **CELL)
    whole, cached, seconds = (row[name] for name in cell_costs.EVEN)
    assert row["rival_method"] == "icl" and row["seeds"] == 5
    assert row["flops_train"] + whole * row["flops_uncached"] == pytest.approx(
        whole * row["rival_flops_uncached"], rel=1e-9
    )
    once = row["rival_flops_context"]
    assert row["flops_train"] + row["flops_context"] + cached * row["flops_cached"] == (
        pytest.approx(once + cached * row["rival_flops_cached"], rel=1e-9)
    )
    # 60 s of training; 30 s for 360 rows in context, for 7 times as many fine-tuned.
    assert seconds == pytest.approx(60 / (30 / 360 - 30 / 2520))
    assert whole < cached


def test_the_rival_shows_all_shots_in_one_context_if_any_does(study):
    several = {**CATALOG["methods"]["icl"], "divided": True, "title": "Ensemble"}
    catalog = {**CATALOG, "methods": {"several": several, **CATALOG["methods"]}}

    def named_several(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["method"] == "icl"].assign(method="several")

    metrics, costs = named_several(study.metrics), named_several(study.costs)
    both = replace(
        study,
        metrics=pd.concat([metrics, study.metrics]),
        costs=pd.concat([costs, study.costs]),
    )
    assert set(cell_costs.contests(both, catalog, 16)["rival_method"]) == {"icl"}
    trained = study.costs[study.costs["method"] != "icl"]
    alone = replace(study, costs=pd.concat([costs, trained]))
    assert set(cell_costs.contests(alone, catalog, 16)["rival_method"]) == {"several"}
    means = {}
    for name, evidence in (("both", both), ("one", study)):
        spec = make_figure("icl_patterns_shots", evidence, catalog, {}, "T")
        means[name] = spec["datasets"]
    assert means["both"] == means["one"], "a point is not of two ways at once"


def test_dearer_predictions_never_break_even(study):
    costs = study.costs.copy()
    trained = costs["method"] != "icl"
    costs.loc[trained, "seconds_score"] *= 100
    costs.loc[trained & (costs["model"] == "opt-s"), "flops_cached"] = np.nan
    table = make_table("break_even", replace(study, costs=costs), CATALOG, {})
    assert set(table.text["From (measured)"]) == {"never"}
    small = table.text[table.text["Model"] == "OPT small"]
    assert set(small["From (cached context)"]) == {"–"}
    assert len(table.text) == 2 * 4 * 2


def test_an_unfit_rival_leaves_nothing_to_compare(study):
    found = cell_costs.contests(study, CATALOG, 32)
    assert not len(found[(found["model"] == "pythia-s") & (found["task"] == "nli")])
    partly = found[(found["model"] == "pythia-l") & (found["task"] == "nli")]
    assert set(partly["seeds"]) == {4} and set(partly["seeds_planned"]) == {5}


def test_the_cost_table_sets_costs_beside_accuracy(study):
    table = make_table("cost_accuracy", study, CATALOG, {})
    row = picked(table.text, section="NLI · OPT large", Method="In-context learning", Shots="16")
    costs = study.costs.query("task == 'nli' and model == 'opt-l' and method == 'icl' and k == 16")
    assert float(row["FLOPs"]) == pytest.approx(costs["flops_uncached"].mean(), rel=0.05)
    assert row["training"] == "0" == row["Trained"] and row["Disk"] == "1.9 kB"
    accuracy = float(row["In domain (%)"].split(" ± ")[0])
    assert accuracy / 100 == pytest.approx(
        simulate.accuracy_of("opt-l", "icl", 16, "nli", 0), abs=0.05
    )
    assert set(table.text["Shots"]) == {"0", "16"}
    assert "≈" not in table.text.to_string() + table.note


def test_operations_without_a_shape_are_marked(study):
    rough = replace(study, costs=study.costs.assign(shape_known=False))
    table = make_table("cost_accuracy", rough, CATALOG, {})
    assert table.text["FLOPs"].str.startswith("≈ ").all()
    assert "attention is left out" in table.note
    assert "attention is left out" in make_table("break_even", rough, CATALOG, {}).note


def test_planned_memory_stands_beside_the_peak_where_there_is_a_plan(study):
    table = make_table("costs", study, CATALOG, {})
    assert "Planned (MiB)" in table.text
    unplanned = replace(study, costs=study.costs.assign(predicted_memory_mib=np.nan))
    assert "Planned (MiB)" not in make_table("costs", unplanned, CATALOG, {}).text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (16_000, "16 kB"), (4.2e6, "4.2 MB"), (6e10, "60 GB")],
)
def test_sizes_are_read_at_a_glance(size, text):
    assert formatting.size_text(size) == text


def test_sizes_that_are_compared_have_two_decimals():
    sizes = (999, 1000, 1_500_000, 26 * 10**10, 10**18)
    assert [formatting.size_text(size, exact=True) for size in sizes] == [
        *("999 B", "1.00 kB", "1.50 MB", "260.00 GB", "1,000.00 PB")
    ]


def test_counts_are_rounded_up():
    assert [costs_module.count_text(n) for n in (18.2, math.inf, math.nan, 1.44e12)] == [
        "19", "never", "–", "1.4e12",
    ]  # fmt: skip


def rows_of(spec: dict) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows]


def test_points_of_break_even_lie_on_both_lines(study):
    rows = rows_of(make_figure("break_even", study, CATALOG, {}, "T"))
    marks = [row for row in rows if row.get("against")]
    # Tasks, methods, measures; the largest models have one shape, and equal data are kept once.
    assert len(marks) == 2 * 2 * 3
    row = picked(cell_costs.contests(study, CATALOG, 16), method="ft", **CELL)
    expected = row["flops_train"] + row["even_uncached"] * row["flops_uncached"]
    found = [
        each["cost"] for each in marks if each["m"] == pytest.approx(row["even_uncached"], rel=1e-4)
    ]
    assert found and found[0] == pytest.approx(expected, rel=1e-4)


def test_marks_lie_on_both_lines_of_prompts_with_a_shared_start(study):
    """Trained models read such prompts whole or in two parts too: each mark is of two like ways."""
    trained, costs = study.costs["method"] != "icl", study.costs.copy()
    costs.loc[trained, "flops_context"] = 0.3 * costs.loc[trained, "flops_uncached"]
    costs.loc[trained, "flops_cached"] = 0.7 * costs.loc[trained, "flops_uncached"]
    spec = make_figure("break_even", replace(study, costs=costs), CATALOG, {}, "T")
    marks = [row for row in rows_of(spec) if row.get("against")]
    assert {row["line"].partition(", ")[2] for row in marks} == {"", "whole prompts"}
    for panel in spec["concat"]:
        # The panel's own lines, each two points joined on logarithmic axes.
        own = [spec["datasets"][layer["data"]["name"]] for layer in panel["layer"]]
        lines = {rows[0]["line"]: rows for rows in own if not rows[0].get("against")}
        for mark in (row for rows in own for row in rows if row.get("against")):
            for name in (mark["line"], mark["against"]):
                m, cost = ([row[key] for row in lines[name]] for key in ("m", "cost"))
                assert np.interp(mark["m"], m, cost) == pytest.approx(mark["cost"], rel=1e-3)


def test_costs_of_the_figure_are_training_and_predictions(study):
    few, many = (
        rows_of(make_figure("cost_accuracy", study, CATALOG, {"predictions": n}, "T"))
        for n in (1, 10**6)
    )
    cell = picked(cell_costs.cell_costs(study, CATALOG), method="icl", **CELL)

    def costs(rows):
        key = ("In-context learning", "OPT large")
        return [row["cost"] for row in rows if (row.get("arm"), row.get("size")) == key]

    assert float(f"{cell['flops_uncached']:.5g}") in costs(few)
    assert float(f"{1e6 * cell['flops_uncached']:.5g}") in costs(many)
    fronts = [row for row in few if set(row) == {"cost", "mean"}]
    assert 0 < len(fronts) < len(few)


@pytest.mark.slow
def test_panels_have_a_row_for_each_measure(study):
    rows = rows_of(make_figure("metrics_panels", study, CATALOG, {"tasks": ["nli"]}, "T"))
    times = [row["mean"] for row in rows if row["mean"] in (32.0, 92.0)]
    assert len(times) == 4 * 7 - 1  # models, methods × shots, one cell does not fit
    both = rows_of(make_figure("metrics_panels", study, CATALOG, {}, "T"))
    assert len(both) > 1.8 * len(rows)
    alone = make_figure("metrics_panels", Evidence(study.metrics), CATALOG, {}, "T")
    assert rows_of(alone)


def test_logarithmic_axes_have_few_round_ticks():
    assert axes.ticks([0.5, 2e3]) == [1, 100]
    assert axes.ticks([1, 1e6], 4) == [1, 100, 1e4, 1e6]
    assert axes.ticks([0.6, 9]) == [1, 2, 5]
    assert axes.ticks([61, 79]) == [65, 70, 75]
    assert axes.ticks([2.1, 2.3]) == [2.1, 2.2, 2.3]
    assert axes.span(pd.Series([0.0, 10.0, 1000.0, np.nan])) == [7.586, 1318.0]
    place = axes.GridPosition(True, True, True)
    axis = axes.logarithmic(place, "y", "t", [1.0, 1000.0])["axis"].to_dict()
    assert axis["values"] == [10, 100]


def test_coverage_names_the_sets_that_are_scored_in_part(study):
    cut = {"rows": 1000, "splits": ["validation"], "stratified": True}
    tasks = {**simulate.CATALOG["tasks"]}
    tasks["nli"] = {**tasks["nli"], "subsample": cut, "max_characters": 2000}
    table = make_table("coverage", study, {**simulate.CATALOG, "tasks": tasks}, {})
    assert (
        "Scored in part: NLI (rows of up to 2,000 characters; of these 1,000 random rows, "
        "stratified by label, group and subset)."
    ) in table.note
    whole = make_table("coverage", study, simulate.CATALOG, {})
    assert "Scored in part" not in whole.note
