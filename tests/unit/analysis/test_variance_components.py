"""The split of variance rests on full tables of patterns × seeds × rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from arm_frames import ROWS, SEEDS, arm, evaluation, together
from fewshot.analysis import statistics_schemas, stats, variance
from fewshot.analysis.predictions import unpack
from fewshot.analysis.variance import split_variance

ROOT = Path(__file__).parents[3]


def split(*arms):
    return split_variance(*together(*arms), [evaluation()])


def answers(one):
    return unpack(one[1]["correct"].tolist(), ROWS)


def components(table, factors):
    return {effect: part.value for effect, part in stats.component_sums(table, factors).items()}


def test_components_are_those_of_the_table_of_answers():
    arms = [arm("opt-s", "ft", 0.6, pattern=name) for name in ("minimal", "gpt-3")]
    [row] = split(*arms).to_dict("records")
    table = np.stack([answers(one) for one in arms])
    expected = components(table, ("pattern", "seed", "row"))
    names = {"pattern": "pattern", "seed": "seed", "row": "row", "seed_pattern": "pattern:seed",
             "seed_row": "seed:row", "pattern_row": "pattern:row",
             "residual": "pattern:seed:row"}  # fmt: skip
    for column, name in names.items():
        assert row[column] == pytest.approx(max(expected[frozenset(name.split(":"))], 0))
    assert row["mean"] == pytest.approx(table.mean())
    spread = np.abs(table[0].mean(axis=1) - table[1].mean(axis=1)).mean()
    assert row["spread"] == pytest.approx(spread)
    assert (row["patterns"], row["seeds"], row["rows"], row["status"]) == (2, SEEDS, ROWS, "ok")


def test_one_pattern_has_draws_and_rows():
    one = arm("opt-s", "ft", 0.6)
    [row] = split(one).to_dict("records")
    expected = components(answers(one), ("seed", "row"))
    for name, effect in (("seed", {"seed"}), ("row", {"row"}), ("residual", {"seed", "row"})):
        assert row[name] == pytest.approx(max(expected[frozenset(effect)], 0))
    lacking = [row[name] for name in ("pattern", "spread", "seed_row", "seed_row_high")]
    assert np.isnan(lacking).all()


def test_bounds_are_those_of_mean_squares_and_of_a_jackknife_where_rows_are_in_it():
    one = arm("opt-s", "ft", 0.6, noise=0.3)
    [row] = split(one).to_dict("records")
    table = answers(one).astype(float)
    found = stats.component_sums(table, ("seed", "row"))
    low, high = stats.square_sum_interval(found[frozenset({"seed"})])
    assert (row["seed_low"], row["seed_high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["row_low"] <= row["row"] <= row["row_high"]
    assert row["residual_low"] < row["residual"] < row["residual_high"]


def test_two_draws_have_bounds_of_draws_and_none_of_rows():
    [row] = split(arm("opt-s", "ft", 0.6, seeds=range(2))).to_dict("records")
    assert row["seed_high"] > row["seed"] and np.isnan(row["row_high"])


def test_rows_of_one_cluster_count_as_independent_and_readers_are_told():
    arms = [arm("opt-s", "ft", 0.6, pattern=name) for name in ("minimal", "gpt-3")]
    templates = evaluation([f"t{i // 8}" for i in range(ROWS)])
    pd.testing.assert_frame_equal(split_variance(*together(*arms), [templates]), split(*arms))
    assert b"one cluster" in statistics_schemas.VARIANCE.field("rows").metadata[b"description"]
    entries = yaml.safe_load((ROOT / "config" / "figures.yaml").read_text())
    for kind in ("figures", "tables"):
        assert "one cluster" in " ".join(entries[kind]["variance"]["caption"].split())


def test_only_seeds_that_all_patterns_have_count():
    arms = [
        arm("opt-s", "ft", 0.6),
        arm("opt-s", "ft", 0.6, pattern="gpt-3", seeds=range(2, 6)),
        arm("opt-s", "ft", 0, pattern="gpt-3", seeds=range(2), status="missing"),
    ]
    [row] = split(*arms).to_dict("records")
    assert (row["seeds"], row["seeds_planned"]) == (4, 6)
    assert row["status"] == "2/2 patterns, 4/6 seeds"
    table = np.stack([answers(arms[0])[2:], answers(arms[1])])
    assert row["mean"] == pytest.approx(table.mean())


def test_a_pattern_without_any_seed_is_told_and_left_out():
    lost = arm("opt-s", "ft", 0, pattern="gpt-3", status="does not fit")
    [row] = split(arm("opt-s", "ft", 0.6), lost).to_dict("records")
    assert (row["patterns"], row["patterns_planned"]) == (1, 2)
    assert row["status"] == "1/2 patterns, 6/6 seeds"


def test_a_cell_without_results_has_no_numbers_and_says_so():
    lost = arm("opt-l", "ft", 0, status="does not fit")
    frame = split(arm("opt-s", "ft", 0.6), lost)
    row = frame[frame["model"] == "opt-l"].iloc[0]
    assert row["status"] == "does not fit"
    assert np.isnan(row["mean"]) and np.isnan(row["seed"])
    assert len(frame) == 2


def test_every_part_has_bounds_in_the_schema():
    names = set(statistics_schemas.VARIANCE.names)
    parts = {*variance.NAMES.values(), "residual"}
    assert {f"{part}{end}" for part in parts for end in ("", "_low", "_high")} <= names
