"""What predictions cost in money: only by prices that are stated, each sum recomputed by hand."""

from dataclasses import replace

import pytest
import simulate
from fewshot.analysis import cell_costs, money
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables.registry import make_table
from registries import copy_registries, load, message

CATALOG = simulate.CATALOG
TOLD = {"currency": "USD", "date": "2026-11-30", "source": "a list"}
OWN = {**TOLD, "title": "Own machine", "machine": {"device": "cuda: a GPU", "hour": 3.6}}
SERVED = {"models": ["opt-l"], "input": 2.0, "output": 8.0, "output_tokens": 1}
CACHING = {**SERVED, "cached_input": 0.5}


def cell(study, method: str, model: str = "opt-l") -> dict:
    frame = cell_costs.cell_costs(study, CATALOG, [16])
    [row] = frame.query("task == 'nli' and model == @model and method == @method").to_dict(
        "records"
    )
    return row


def sold(row: dict, **prices) -> dict[tuple[str, str], tuple[float, float]]:
    found = money.offers(row, CATALOG, prices)
    return {(way.price, way.reading): (way.once, way.each) for way in found}


def test_a_machine_sells_measured_seconds(study):
    row = {**cell(study, "ft"), "flops_context": 0.0}
    found = sold(row, own=OWN)
    once, each = 0.001 * row["train_device_seconds"], 0.001 * row["prediction_device_seconds"]
    assert once == pytest.approx(0.06)
    assert found == {("Own machine", money.NO_CONTEXT): pytest.approx((once, each))}
    shown = cell(study, "icl")
    found = sold(shown, own=OWN)
    each = 0.001 * shown["prediction_device_seconds"]
    assert found["Own machine", money.CACHED] == pytest.approx((0, each))
    more = shown["flops_uncached"] / shown["flops_cached"]
    assert found["Own machine", money.WHOLE] == pytest.approx((0, each * more))


def test_an_api_sells_tokens(study):
    row = cell(study, "icl")
    context, own = row["context_tokens"] / 1e6, row["row_tokens"] / 1e6
    assert context > 0
    whole = sold(row, api={**TOLD, "api": SERVED})
    assert whole == {("api", money.WHOLE): pytest.approx((0, 2 * (context + own) + 8e-6))}
    cached = sold(row, api={**TOLD, "api": CACHING})["api", money.CACHED]
    assert cached == pytest.approx((2 * context, 0.5 * context + 2 * own + 8e-6))
    kept = {**CACHING, "cache_write": 2.5, "storage_hour": 4.5, "predictions_per_hour": 100}
    cached = sold(row, api={**TOLD, "api": kept})["api", money.CACHED]
    each = (0.5 + 0.045) * context + 2 * own + 8e-6
    assert cached == pytest.approx((2.5 * context, each))


def test_a_price_that_does_not_fit_is_no_way_to_buy(study):
    api, cpu = {**TOLD, "api": CACHING}, {**OWN, "machine": {"device": "cpu", "hour": 1}}
    assert not sold(cell(study, "ft"), api=api), "an API trains nothing"
    assert not sold(cell(study, "icl", "opt-s"), api=api), "it serves another model"
    assert not sold(cell(study, "icl"), cpu=cpu), "it was measured on a GPU"
    mixed = {**cell(study, "icl"), "device": "cpu: x86_64, cuda: a GPU"}
    assert not sold(mixed, cpu=cpu, own=OWN), "its seconds are of two kinds of machine"
    [name] = {cell(study, "icl")["pattern"]}
    texts = {**CATALOG["patterns"][name], "scores_texts": True}
    catalog = {**CATALOG, "patterns": {name: texts}}
    assert not money.offers(cell(study, "icl"), catalog, {"api": api}), "it scores no input"
    unknown = {**cell(study, "icl"), "context_tokens": float("nan")}
    assert not sold(unknown, api=api), "its tokens were not counted"


def test_training_is_no_dearer_from_where_both_cost_the_same(study):
    prices = {"own": OWN, "api": {**TOLD, "api": CACHING}}
    found = money.money_contests(study, CATALOG, 16, prices)
    found = found.query("task == 'nli' and model == 'opt-l' and method == 'ft'")
    pairs = set(zip(found["rival_price"], found["rival_reading"], strict=True))
    assert pairs == {
        (by, how) for by in ("Own machine", "api") for how in (money.WHOLE, money.CACHED)
    }
    finite = found[found["even"].between(1, 1e12)]
    assert len(finite)
    for row in finite.to_dict("records"):
        ours = row["once"] + row["even"] * row["each"]
        assert ours == pytest.approx(row["rival_once"] + row["even"] * row["rival_each"])
    table = make_table("money", study, CATALOG, {"prices": prices})
    assert table.note == "In USD. Prices: Own machine: 2026-11-30, a list; api: 2026-11-30, a list."
    row = table.text.query("Model == 'OPT large' and by == 'api' and Prompts == 'whole prompts'")
    assert set(row["Training"]) == {"0.06"} and set(row["By"]) == {"Own machine"}


def test_a_rival_without_a_shared_context_is_read_in_its_one_way(study):
    costs = study.costs.assign(flops_context=study.costs["flops_context"].astype(float))
    costs.loc[costs["method"] == "icl", "flops_context"] = 0.0
    found = money.money_contests(replace(study, costs=costs), CATALOG, 16, {"own": OWN})
    pairs = set(zip(found["reading"], found["rival_reading"], strict=True))
    assert pairs == {(money.WHOLE, money.NO_CONTEXT), (money.CACHED, money.NO_CONTEXT)}


def test_the_figure_shows_the_cost_of_1_of_1000_and_of_a_million(study):
    spec = make_figure("money", study, CATALOG, {"prices": {"own": OWN}}, "T")
    points = [row for rows in spec["datasets"].values() for row in rows if "way" in row]
    row = cell(study, "ft")
    once, each = 0.001 * row["train_device_seconds"], 0.001 * row["prediction_device_seconds"]
    costs = {
        p["cost"]
        for p in points
        if p["arm"] == CATALOG["methods"]["ft"]["title"] and p["size"] == "OPT large"
    }
    for count in (1, 1000, 1_000_000):
        assert any(cost == pytest.approx(once + count * each, rel=1e-4) for cost in costs)
    assert {p["way"] for p in points} == {
        "Own machine · context cached",
        "Own machine · whole prompts",
    }
    empty = make_figure(
        "money",
        study,
        CATALOG,
        {"prices": {"cpu": {**OWN, "machine": {"device": "cpu", "hour": 1}}}},
        "T",
    )
    assert "No costs that a price fits yet" in str(empty)


def test_without_a_price_nothing_of_money_is_made(tmp_path):
    folder = copy_registries(tmp_path)
    study = load(folder)
    assert "money" not in study.figures and "money" not in study.tables
    assert "needs a price (config/prices.yaml)" in study.unmet["figure"]["money"]
    study = load(folder, define={"prices": {"own": OWN}})
    assert study.figures["money"]["options"]["prices"]["own"]["machine"]["hour"] == 3.6
    assert "prices" not in study.figures["cost-accuracy"]["options"], "others are not made anew"


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ({"a": OWN, "b": {**OWN, "currency": "EUR"}}, "b.currency: EUR beside USD of 'a'"),
        ({"a": {**TOLD, "api": {**SERVED, "models": ["opt-125n"]}}}, "did you mean 'opt-125m'"),
        ({"a": TOLD}, "give exactly one of: machine; api"),
        ({"a": {**OWN, "api": SERVED}}, "exactly one of"),
        ({"a": {**TOLD, "api": {**SERVED, "cache_write": 1}}}, "cached_input"),
        ({"a": {**OWN, "machine": {"device": "cpu", "hour": -1}}}, "0 or more"),
        ({"a": {key: value for key, value in OWN.items() if key != "date"}}, "date"),
    ],
)  # fmt: skip
def test_a_mistaken_price_is_one_line(tmp_path, prices, said):
    assert said in message(copy_registries(tmp_path), define={"prices": prices})
