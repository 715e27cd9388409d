"""Figures and tables of factors of the data: wrong labels, and orders of the same shots."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.summary import at_level
from fewshot.report import render
from fewshot.report.figures import registry
from fewshot.report.tables.registry import make_table

SHARES = {"nli": 0, "nli-flip12": 0.125, "nli-flip50": 0.5}
CATALOG = {
    **simulate.CATALOG,
    "tasks": {
        **simulate.TASKS,
        **{name: {**simulate.TASKS["nli"], "title": name} for name in SHARES if name != "nli"},
    },
    "variants": {"flip": {"nli": SHARES}, "order": {"nli": {"nli": 0, "nli-order1": 1}}},
}


@pytest.fixture(scope="module")
def flipped(study):
    """Return evidence with two tasks of wrong labels; 40 points are lost at a share of a half."""
    metrics = study.metrics[study.metrics["task"] == "nli"]
    frames = []
    for name, share in SHARES.items():
        own = metrics["evaluation_set"] == "nli"
        frames.append(
            metrics.assign(
                task=name,
                evaluation_set=metrics["evaluation_set"].where(~own, name),
                accuracy=metrics["accuracy"] - 0.8 * share,
            )
        )
    return Evidence(pd.concat(frames, ignore_index=True))


@pytest.fixture(scope="module")
def ordered(study):
    """Return evidence whose cells on NLI have two orders, with an SD of 3 points between them."""
    variance = study.variance.assign(order=np.nan, orders=1)
    of_nli = variance["task"] == "nli"
    variance.loc[of_nli, ["order", "orders"]] = [0.03**2, 2]
    return replace(study, variance=variance)


def rows_of(spec):
    return [row for rows in spec["datasets"].values() for row in rows]


def test_wrong_labels_are_shown_by_share_beside_the_draw_as_it_is(flipped, tmp_path):
    options = {"k": 32}
    spec = registry.make_figure("accuracy_by_wrong_labels", flipped, CATALOG, options, "A title")
    rows = [row for row in rows_of(spec) if row.get("mean") is not None and "k" in row]
    assert {row["k"] for row in rows} == {0, 12.5, 50}
    cell = at_level(flipped.metrics).query(
        "task == 'nli' and evaluation_set == 'nli' and model == 'opt-l' and method == 'ft' and "
        "k == 32 and selection == 'last'"
    )
    mean = 100 * cell["accuracy"].mean()
    shown = {round(row["mean"], 1) for row in rows if row["size"] == "OPT large"
             and row["arm"] == "Pattern-based fine-tuning"}  # fmt: skip
    assert {round(mean, 1), round(mean - 10, 1), round(mean - 40, 1)} <= shown
    # Lines are arms, panels models, rows in and out of domain.
    titles = {cell["title"][0] for cell in spec["concat"] if "title" in cell}
    assert titles == {entry["title"] for entry in simulate.MODELS.values()}
    assert len([cell for cell in spec["concat"] if "layer" in cell]) == 2 * 4
    render.render(spec, {"png": tmp_path / "f.png"})
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_spread_by_order_is_shown_against_spread_by_draw(ordered, tmp_path):
    spec = registry.make_figure("order_spread", ordered, CATALOG, {}, "A title")
    points = [row for row in rows_of(spec) if "size" in row]
    assert {row["y"] for row in points} == {3.0}
    assert len(points) == 3 * 4 * 2  # methods, models, evaluation sets; all of one task
    one = ordered.variance.query(
        "task == evaluation_set == 'nli' and model == 'opt-l' and method == 'ft' and k == 16 and "
        "selection == 'last'"
    )
    assert f"{100 * np.sqrt(one['seed'].item()):.5g}" in {f"{row['x']:.5g}" for row in points}
    # One range for all panels: only the last row has labels on x.
    ranges = [
        layer["encoding"][side]["scale"]["domain"]
        for cell in spec["concat"]
        for layer in cell.get("layer", ())
        for side in "xy"
    ]
    assert all(each == ranges[0] for each in ranges) and len(ranges) == 3 * 2 * 2 * 2
    render.render(spec, {"png": tmp_path / "f.png"})
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_the_variance_table_and_figure_have_a_part_of_the_order_where_there_is_one(study, ordered):
    plain, table = (make_table("variance", each, CATALOG, {}) for each in (study, ordered))
    assert "Orders" not in plain.text and "Orders:" not in plain.note
    assert set(table.text["Orders"]) == {"3.0", "–"} and "Orders:" in table.note
    specs = [registry.make_figure("variance", each, CATALOG, {}, "x") for each in (study, ordered)]
    parts = [{row.get("part") for row in rows_of(spec)} - {None} for spec in specs]
    assert parts[1] - parts[0] == {"order"} and parts[0] < parts[1]
    legends = [re.findall(r'"domain": (\["seed"[^]]*\])', json.dumps(spec)) for spec in specs]
    assert set(legends[0]) == {'["seed", "pattern", "seed \\u00d7 pattern", "rows"]'}
    assert set(legends[1]) == {'["seed", "order", "pattern", "seed \\u00d7 pattern", "rows"]'}
