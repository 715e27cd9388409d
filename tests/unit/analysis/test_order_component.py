"""The part of the order of the shots in the variance of a cell's answers."""

from types import SimpleNamespace

import compare_methods
import numpy as np
import pandas as pd
import pytest
from arm_frames import ROWS, SEEDS, arm, evaluation, together
from fewshot import schemas, storage
from fewshot.analysis import result_schemas, stats
from fewshot.analysis.predictions import unpack
from fewshot.analysis.variance import split_variance
from statsmodels.regression.mixed_linear_model import MixedLM

ORDERS = 3


def results(order: int, *, seeds=range(SEEDS), patterns=("minimal",), k=16):
    """Return metrics and outcomes with the shots in one order: of a task of its own but for 0."""
    task = "nli" if not order else f"nli-order{order}"
    arms = []
    for pattern in patterns:
        p, name = 0.5 + 0.12 * order, f"ft{order}"
        metrics, outcomes = arm("opt-s", name, p, pattern=pattern, seeds=seeds, k=k, noise=0.3)
        columns = {"method": "ft", "task": task, "evaluation_set": task}
        arms.append((metrics.assign(**columns), outcomes.assign(**columns)))
    return together(*arms)


def split(*found):
    [row] = split_variance(*found[0], [evaluation()], found[1:]).to_dict("records")
    return row


def crossed(values, factors):
    """Return the components of crossed factors by their names, in their order."""
    found = stats.component_sums(values, factors)
    return {":".join(f for f in factors if f in each): part.value for each, part in found.items()}


def table(found):
    """Return answers [S, O, R]."""
    return np.stack([unpack(outcomes["correct"].tolist(), ROWS) for _, outcomes in found], axis=1)


def test_orders_lie_within_draws():
    """By hand: mean squares of orders within draws, and of these with rows."""
    found = [results(order) for order in range(ORDERS)]
    values, row = table(found).astype(float), split(*found)
    by_order, by_draw = values.mean(axis=2), values.mean(axis=(1, 2))
    order = ROWS * ((by_order - by_draw[:, None]) ** 2).sum() / (SEEDS * (ORDERS - 1))
    left = values - by_order[:, :, None] - values.mean(axis=1)[:, None] + by_draw[:, None, None]
    with_rows = (left**2).sum() / (SEEDS * (ORDERS - 1) * (ROWS - 1))
    assert row["order"] == pytest.approx((order - with_rows) / ROWS) and row["order"] > 0
    draws = ORDERS * ROWS * ((by_draw - values.mean()) ** 2).sum() / (SEEDS - 1)
    by_row = values.mean(axis=(0, 1))
    met = values.mean(axis=1) - by_draw[:, None] - by_row + values.mean()
    met = ORDERS * (met**2).sum() / ((SEEDS - 1) * (ROWS - 1))
    nested = (draws - order - met + with_rows) / (ORDERS * ROWS)
    assert row["seed"] == pytest.approx(max(nested, 0)) and row["seed"] > 0
    rows = SEEDS * ORDERS * ((by_row - values.mean()) ** 2).sum() / (ROWS - 1)
    assert row["row"] == pytest.approx(max((rows - met) / (SEEDS * ORDERS), 0))
    assert row["seed_row"] == pytest.approx(max((met - with_rows) / ORDERS, 0))
    assert row["residual"] == pytest.approx(with_rows)
    assert (row["orders"], row["seeds"], row["status"]) == (ORDERS, SEEDS, "ok")
    assert row["mean"] == pytest.approx(values[:, 0].mean())  # that of the draw's own order


def test_the_parts_with_orders_add_up_to_the_variance_of_an_answer():
    """All components of the crossed table are in one of the parts, once."""
    found = [results(order, patterns=("minimal", "gpt-3")) for order in range(ORDERS)]
    row = split(*found)
    values = np.stack(
        [table([together(*[(m[m["pattern"] == p], o[o["pattern"] == p])]) for m, o in found])
         for p in ("minimal", "gpt-3")]
    )  # fmt: skip
    raw = crossed(values, ("pattern", "seed", "order", "row"))
    assert len(raw) == 15
    met = {"pattern:order", "order:row", "pattern:order:row"}
    of_draw = {name: raw[name] / ORDERS for name in (*met, "order")}
    expected = {
        "seed": raw["seed"] - of_draw["order"],
        "order": raw["order"] + raw["seed:order"],
        "pattern": raw["pattern"] + of_draw["pattern:order"],
        "row": raw["row"] + of_draw["order:row"],
        "pattern_row": raw["pattern:row"] + of_draw["pattern:order:row"],
        "seed_row": raw["seed:row"] - of_draw["order:row"],
        "seed_pattern": raw["pattern:seed"] - of_draw["pattern:order"]
        + raw["pattern:order"] + raw["pattern:seed:order"],
        "residual": raw["pattern:seed:row"] - of_draw["pattern:order:row"] + raw["order:row"]
        + raw["seed:order:row"] + raw["pattern:order:row"] + raw["pattern:seed:order:row"],
    }  # fmt: skip
    assert sum(expected.values()) == pytest.approx(sum(raw.values()) - of_draw["order"])
    for name, value in expected.items():
        assert row[name] == pytest.approx(max(value, 0)), name


def test_a_nested_component_is_that_of_a_mixed_model():
    """Orders within draws, of accuracies: REML of a balanced table equals the mean squares."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, 12)[:, None] + rng.normal(0, 2, (12, 4))
    parts = stats.component_sums(scores, ("seed", "order"), ("order", "seed"))
    assert set(parts) == {frozenset({"seed"}), frozenset({"seed", "order"})}
    long = pd.DataFrame({"seed": np.repeat(np.arange(12), 4), "score": scores.ravel()})
    fitted = MixedLM(long["score"], np.ones(len(long)), groups=long["seed"]).fit(reml=True)
    assert parts[frozenset({"seed", "order"})].value == pytest.approx(fitted.scale, rel=1e-4)
    between = float(np.asarray(fitted.cov_re).item())
    assert parts[frozenset({"seed"})].value == pytest.approx(between, rel=1e-3)


def test_one_order_changes_nothing():
    alone, own = split(results(0)), results(0)
    assert alone["orders"] == 1 and np.isnan(alone["order"])
    told = {"orders_planned": 2, "status": "1/2 orders"}
    for lacking in (results(1, seeds=range(2)), (own[0].iloc[:0], own[1].iloc[:0])):
        pd.testing.assert_series_equal(pd.Series(split(own, lacking)), pd.Series(alone | told))


def test_parts_of_one_draw_in_several_orders_add_up():
    found = [results(order, seeds=[0], patterns=("minimal", "gpt-3")) for order in range(ORDERS)]
    row = split(*found)
    values = np.stack(
        [table([together(*[(m[m["pattern"] == p], o[o["pattern"] == p])]) for m, o in found])[0]
         for p in ("minimal", "gpt-3")]
    )  # fmt: skip
    parts = crossed(values, ("pattern", "order", "row"))
    for name, effect in {"pattern": "pattern", "order": "order", "row": "row",
                         "pattern_row": "pattern:row"}.items():  # fmt: skip
        assert row[name] == pytest.approx(max(parts.pop(effect), 0))
    left = {"pattern:order", "order:row", "pattern:order:row"}
    assert set(parts) == left and row["residual"] == pytest.approx(sum(parts.values()))


def test_an_order_that_lacks_a_seed_is_left_out():
    row = split(results(0), results(1, seeds=range(SEEDS - 1)), results(2))
    assert (row["orders"], row["orders_planned"], row["seeds"]) == (2, 3, SEEDS)
    assert row["status"] == "2/3 orders"
    both = split(results(0), results(2))
    assert row["order"] == both["order"] and row["seed"] == both["seed"]


def test_the_rule_splits_a_task_with_the_results_of_its_other_orders(tmp_path):
    found = [results(order) for order in range(2)]
    paths = {"metrics": [], "outcomes": []}
    for number, (metrics, outcomes) in enumerate(found):
        filled = metrics.astype({"label": "Int16", "group": object, "subset": object})
        paths["metrics"].append(tmp_path / f"m{number}.parquet")
        paths["outcomes"].append(tmp_path / f"o{number}.parquet")
        storage.write_table(paths["metrics"][-1], filled, result_schemas.METRICS)
        storage.write_table(paths["outcomes"][-1], outcomes, result_schemas.OUTCOMES)
    rows = evaluation().rows.assign(text_a="a", text_b="b").astype({"label": "int16"})
    storage.write_table(tmp_path / "rows.parquet", rows, schemas.ROWS)
    entry = {"family": "opt", "trained": True, "parameters": 1}
    catalog = {"models": {"opt-s": entry}, "methods": {"ft": {**entry, "family": "full"}},
               "patterns": {"minimal": {}}, "shared_draws": True,
               "main": {"k": 16, "selection": "last"}}  # fmt: skip
    names = ("comparisons", "contrasts", "variance")
    output = SimpleNamespace(**{name: tmp_path / f"{name}.parquet" for name in names})
    evaluated = [{"set": "nli", "merge": [0, 1]}]
    compare_methods.main(
        SimpleNamespace(
            input=SimpleNamespace(manifests=[], evaluation=[tmp_path / "rows.parquet"], **paths),
            output=output,
            params=SimpleNamespace(
                orders=["nli", "nli-order1"], evaluation=evaluated, catalog=catalog
            ),
        )
    )
    [row] = storage.read_table(output.variance).to_dict("records")
    expected = split(*found)
    assert (row["task"], row["evaluation_set"], row["orders"]) == ("nli", "nli", 2)
    assert row["order"] == pytest.approx(expected["order"])


def test_nothing_is_ordered_without_shots():
    found = [results(order, seeds=[0], k=0) for order in range(2)]
    row = split(*found)
    assert row["orders"] == 1 and np.isnan(row["order"])
