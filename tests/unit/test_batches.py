"""Rows of a draw as tensors, and who takes which of them in a step."""

import numpy as np
import pytest
from fewshot.batches import Share, epoch_shares, training_rows
from fewshot.errors import UserError
from fewshot.sampling import generator
from fewshot.tokens import Prompts
from fewshot.world import World


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [2, 10, 32])
def test_shares_of_all_processes_make_the_mean_of_the_batch(size, rows):
    losses = generator("losses").normal(size=rows)
    worlds = [World(rank, size) for rank in range(size)]
    shares = [list(epoch_shares(rows, 12, "task", 3, 1, world)) for world in worlds]
    whole = list(epoch_shares(rows, 12, "task", 3, 1, World()))
    assert sorted(np.concatenate([each.rows for each in whole])) == list(range(rows))
    assert len({len(each) for each in shares}) == 1
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch.factor == 1.0
        mean = np.mean([part.factor * losses[part.rows].mean() for part in parts])
        assert mean == pytest.approx(losses[batch.rows].mean())


def test_each_epoch_has_its_own_order():
    orders = [
        tuple(np.concatenate([share.rows for share in epoch_shares(16, 4, "t", 0, epoch, World())]))
        for epoch in (1, 2)
    ]
    assert orders[0] != orders[1]
    assert isinstance(next(epoch_shares(16, 4, "t", 0, 1, World())), Share)


def test_training_rows_are_padded_on_the_right():
    rows = training_rows(Prompts((5, 6), (9,), [(1, 2), (3,)]), np.array([1, 0]), 3)
    assert rows.ids.tolist() == [[9, 1, 2], [9, 3, 0]]
    assert rows.last.tolist() == [2, 1] and rows.labels.tolist() == [1, 0]
    with pytest.raises(UserError, match="training row 5 has 3 tokens, the model reads 2"):
        training_rows(Prompts((5, 6), (9,), [(1, 2), (3,)]), np.array([1, 0]), 2)
