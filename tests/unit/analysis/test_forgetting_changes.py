"""After minus before, with errors over draws and documents, recomputed by hand."""

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas
from fewshot.analysis import forgetting, stats

TOKENS = np.array([10, 20, 30, 5])
BEFORE = np.array([2.0, 1.0, 1.5, 3.0])
AFTER = np.array([[2.5, 1.2, 1.4, 3.1], [2.1, 1.6, 1.9, 3.3], [2.2, 1.3, 1.8, 2.9]])
CELL = {"protocol": "fair", "task": "t", "model": "m", "method": "ft", "pattern": "p", "k": 16}
NONE = {**CELL, **dict.fromkeys(("task", "method", "pattern"), schemas.UNADAPTED), "k": 0}


def text_rows(cell, seed, losses) -> pd.DataFrame:
    told = {**cell, "seed": seed, "source": "wiki", "kind": "text", "shots": 0}
    ids = np.arange(len(losses)) + 5
    return pd.DataFrame({**told, "id": ids, "tokens": TOKENS, "loss": losses, "correct": None})


def task_rows(cell, seed, shots, correct) -> pd.DataFrame:
    told = {**cell, "seed": seed, "source": "rte", "kind": "task", "shots": shots}
    ids = np.arange(len(correct))
    return pd.DataFrame({**told, "id": ids, "tokens": None, "loss": np.nan, "correct": correct})


def test_the_change_of_a_text_is_the_mean_over_tokens_and_its_error_of_ratios():
    after = [text_rows(CELL, seed, losses) for seed, losses in enumerate(AFTER)]
    [row] = forgetting.changes([text_rows(NONE, 0, BEFORE)], after).to_dict("records")
    weights = TOKENS / TOKENS.sum()
    assert row["before"] == pytest.approx(weights @ BEFORE)
    assert row["after"] == pytest.approx((AFTER @ weights).mean())
    assert row["change"] == pytest.approx(((AFTER - BEFORE) @ weights).mean())
    sums = (AFTER - BEFORE) * TOKENS
    error = stats.error_of(stats.parts(sums, TOKENS))
    low, high = stats.t_bounds(row["change"], error.error, error.df)
    assert (row["error"], row["df"]) == pytest.approx((error.error, error.df))
    assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))
    assert (row["seeds"], row["rows"], row["unfit"], row["tokens"]) == (3, 4, 0, 65)


def test_what_is_not_known_of_every_seed_is_left_out_before_and_after():
    broken = AFTER.copy()
    broken[1, 2] = np.nan
    after = [text_rows(CELL, seed, losses) for seed, losses in enumerate(broken)]
    [row] = forgetting.changes([text_rows(NONE, 0, BEFORE)], after).to_dict("records")
    kept = [0, 1, 3]
    weights = TOKENS[kept] / TOKENS[kept].sum()
    assert row["change"] == pytest.approx(((AFTER - BEFORE)[:, kept] @ weights).mean())
    assert (row["before"], row["unfit"]) == (pytest.approx(weights @ BEFORE[kept]), 1)


def test_a_task_with_shots_is_compared_behind_the_same_draw():
    """Without shots with the one measure before; points lost count the other way round."""
    first = {0: [True, True, False, False], 4: [True, False, True, False]}
    before = [task_rows(NONE, seed, 2, correct) for seed, correct in first.items()]
    before.append(task_rows(NONE, 0, 0, [True] * 4))
    after = [
        *(task_rows(CELL, seed, 2, [False] * 4) for seed in (0, 4)),
        *(task_rows(CELL, seed, 0, [True, True, seed > 0, seed > 0]) for seed in (0, 4)),
    ]
    found = forgetting.changes(before, after).set_index("shots")
    assert found["before"].to_dict() == {2: 0.5, 0: 1.0}
    assert found["change"].to_dict() == {2: -0.5, 0: -0.25}
    lost = forgetting.worse(found)
    assert lost["lost"].to_dict() == {2: 50.0, 0: 25.0}
    assert (lost["lost_low"] <= lost["lost"]).all() and (lost["lost"] <= lost["lost_high"]).all()
    assert lost.loc[0, "lost_high"] == pytest.approx(-100 * found.loc[0, "low"])


def test_with_shots_a_seed_that_was_not_asked_before_is_no_part_of_the_change():
    first = [task_rows(NONE, 0, 2, [True, True]), task_rows(NONE, 1, 2, [False, False])]
    after = [task_rows(CELL, seed, 2, [True, False]) for seed in (1, 7)]
    [row] = forgetting.changes(first, after).to_dict("records")
    assert (row["seeds"], row["before"], row["change"]) == (1, 0.0, 0.5), "seed 1 alone"
    [row] = forgetting.changes(first, after[1:]).to_dict("records")
    assert row["seeds"] == 0 and np.isnan(row["change"])


def test_a_head_without_words_has_rows_and_no_number():
    before, after = task_rows(NONE, 0, 0, [True] * 3), task_rows(CELL, 0, 0, [None] * 3)
    [row] = forgetting.changes([before], [after]).to_dict("records")
    assert (row["rows"], row["unfit"]) == (3, 3) and np.isnan(row["change"])
    assert forgetting.changes([], [after]).empty
