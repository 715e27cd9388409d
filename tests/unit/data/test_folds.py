"""Folds of a draw: every row held out once, with its copies, from balanced rest."""

import numpy as np
import pandas as pd
import pytest
from fewshot.data.folds import fold_count, folds_of
from mistakes import told


def draw(labels, ids=None) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": np.arange(len(labels)) + 50 if ids is None else ids, "label": labels}
    )


def held_ids(shots, *asked) -> list[set[int]]:
    return [set(shots["id"].to_numpy()[fold.held_out]) for fold in folds_of(shots, *asked)]


def test_folds_hold_every_row_out_once_and_as_many_of_each_label():
    shots = draw([0, 1, 1, 0, 0, 1, 1, 0])
    folds = folds_of(shots, 4, 2, "task", 3)
    assert sorted(np.concatenate([fold.held_out for fold in folds])) == list(range(8))
    for fold in folds:
        assert sorted(shots["label"][fold.held_out]) == [0, 1]
        assert sorted([*fold.learned, *fold.held_out]) == list(range(8))
        assert (np.diff(fold.learned) > 0).all(), "in the draw's order"


def test_folds_differ_by_a_row_at_most_where_they_do_not_divide_the_draw():
    folds = folds_of(draw([0, 1, 2] * 4), 5, 3, "task", 0)
    assert sorted(len(fold.held_out) for fold in folds) == [2, 2, 2, 3, 3]


@pytest.mark.parametrize("how", [16, "leave-one-out"])
def test_there_are_no_more_folds_than_rows(how):
    assert sorted(map(len, held_ids(draw([0, 1, 0, 1]), how, 2, "task", 0))) == [1, 1, 1, 1]


def test_copies_of_a_row_are_held_out_together():
    shots = draw([0, 1, 0, 1, 0, 1, 0, 1], [7, 8, 9, 10, 7, 8, 9, 10])
    for how, most in ((2, 4), ("leave-one-out", 2)):
        for fold in folds_of(shots, how, 2, "task", 0):
            held, learned = (set(shots["id"][places]) for places in (fold.held_out, fold.learned))
            assert len(fold.held_out) == most and not held & learned


def test_folds_depend_on_the_rows_and_not_on_their_order():
    shots = draw([0, 1, 0, 1, 0, 1, 0, 1])
    other = shots.iloc[::-1].reset_index(drop=True)
    assert held_ids(shots, 2, 2, "task", 0) == held_ids(other, 2, 2, "task", 0)
    drawn = {str(held_ids(shots, 2, 2, "task", seed)) for seed in range(6)}
    assert len(drawn) > 1, "another seed cuts otherwise"


@pytest.mark.parametrize(
    ("rows", "labels", "ends"), [(16, 2, [2, 4, 8, 16]), (10, 3, [3, 6, 10]), (3, 2, [2, 3])]
)
def test_prequential_blocks_double_and_come_behind_all_rows_before(rows, labels, ends):
    folds = folds_of(draw([0] * rows), "prequential", labels, "task", 0)
    assert [len(fold.learned) for fold in folds] == ends[:-1]
    assert [fold.held_out[-1] + 1 for fold in folds] == ends[1:]
    for fold in folds:
        assert [*fold.learned, *fold.held_out] == list(range(fold.held_out[-1] + 1))


def test_too_few_rows_to_hold_any_out_are_told():
    found = told(fold_count, "prequential", 2, 2, "here")
    assert found == (
        "here: cross_validation: prequential needs more than 2 different shots, to learn from some "
        "and hold others out; here: 2"
    )
    assert "leave-one-out needs more than 1" in told(fold_count, "leave-one-out", 1, 2, "here")
