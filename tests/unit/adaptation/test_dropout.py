"""Dropout that depends on seed, step, row and place alone."""

import numpy as np
import pytest
import torch
from fewshot.adaptation.dropout import DropoutMasks
from torch.nn import functional

CPU = torch.device("cpu")


def dropped(shape, rows=range(32), step=3, stream=7, p=0.2, calls=1):
    """Return what each call of dropout leaves of ones."""
    masks, ones = DropoutMasks(stream), torch.ones(shape)
    with masks.drawn(masks.keys(step, np.array(rows)), CPU):
        return [functional.dropout(ones, p) for _ in range(calls)]


@pytest.mark.parametrize("p", [0.01, 0.2, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_others_scaled(p):
    (found,) = dropped((32, 40, 64), p=p)
    kept = found[found != 0]
    assert torch.allclose(kept, torch.tensor(1 / (1 - p)))
    error = (p * (1 - p) / found.numel()) ** 0.5
    assert abs(1 - len(kept) / found.numel() - p) < 4 * error


def test_masks_of_rows_steps_calls_and_seeds_are_independent():
    first, second = dropped((32, 40, 64), calls=2)
    others = [second, *dropped((32, 40, 64), step=4), *dropped((32, 40, 64), stream=8)]
    flat = [(each != 0).double().flatten() for each in (first, *others)]
    # Neighbours in each direction, besides.
    flat += [flat[0].roll(shift) for shift in (1, 64, 40 * 64)]
    correlated = torch.corrcoef(torch.stack(flat)) - torch.eye(len(flat))
    assert float(correlated.abs().max()) < 5 / len(flat[0]) ** 0.5


def test_a_mask_does_not_depend_on_what_a_row_is_read_with():
    whole = dropped((32, 40, 64), calls=70)
    some = dropped((2 * 9, 64), rows=(30, 4), calls=70)  # fewer tokens, rows and tokens as one
    for own, found in zip(whole, some, strict=True):
        assert torch.equal(found.view(2, 9, 64), own[[30, 4], :9])


def test_what_is_no_state_draws_from_torch():
    """Weights of attention, whose places move with the padding."""
    masks, weights = DropoutMasks(7), torch.ones(4, 2, 9, 9)
    keys = masks.keys(0, np.arange(4))
    torch.manual_seed(0)
    with masks.drawn(keys, CPU):
        found = functional.dropout(weights, 0.5)
        assert functional.dropout(weights, 0.5, training=False) is weights
        assert functional.dropout(weights, 0.0) is weights
    torch.manual_seed(0)
    assert torch.equal(found, functional.dropout(weights, 0.5))


def test_a_model_without_dropout_is_not_watched_for_it():
    masks = DropoutMasks(7)
    assert masks.met
    with masks.drawn(masks.keys(0, np.arange(2)), CPU):
        functional.linear(torch.ones(2, 3), torch.ones(1, 3))
    assert not masks.met
