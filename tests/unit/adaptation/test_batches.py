"""Rows of a draw as tensors, and who computes which of them in a step."""

import itertools

import numpy as np
import pytest
from fewshot.adaptation.batches import PASS, epoch_order, micro_batches, training_rows
from fewshot.errors import UserError
from fewshot.prompts.tokenize import Prompts
from fewshot.rng import generator
from fewshot.runtime.processes import ProcessGroup


def cut_alone(batch, lengths, tokens, processes):
    """Return the passes of one seed."""
    return [piece for (piece,) in micro_batches([batch], [lengths], tokens, processes)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 2, 10, 32])
@pytest.mark.parametrize("tokens", [1, 100, 4000])
def test_pieces_of_all_processes_make_the_batch_once(size, rows, tokens):
    lengths = generator("lengths").integers(3, 90, size=40)
    batch = generator("batch").permutation(40)[:rows]
    cut = [cut_alone(batch, lengths, tokens, ProcessGroup(rank, size)) for rank in range(size)]
    assert len({len(each) for each in cut}) == 1
    counted = [row for each in cut for piece in each for row in piece.rows[piece.counts > 0]]
    assert sorted(counted) == sorted(batch)
    for piece in itertools.chain(*cut):
        assert len(piece.rows) == len(piece.counts) > 0
        assert len(piece.rows) == 1 or len(piece.rows) * lengths[piece.rows].max() <= tokens
    # All have passes of like length, so that nobody waits for anybody.
    for together in zip(*cut, strict=True):
        sizes = [len(piece.rows) for piece in together]
        assert max(sizes) - min(sizes) <= 1


def test_cuts_cost_least():
    """By trying all ways to cut eight rows."""
    lengths = np.array([90, 80, 40, 38, 30, 9, 8, 3])
    found = cut_alone(np.arange(8), lengths, 200, ProcessGroup())
    assert [row for piece in found for row in piece.rows] == list(range(8))

    def cost(cuts):
        parts = np.split(lengths, cuts)
        sizes = [len(part) * part[0] for part in parts]
        fits = all(s <= 200 or len(p) == 1 for s, p in zip(sizes, parts, strict=True))
        return sum(sizes) + PASS * len(parts) if fits else np.inf

    ways = [cuts for n in range(8) for cuts in itertools.combinations(range(1, 8), n)]
    starts = [int(piece.rows[0]) for piece in found][1:]
    assert cost(starts) == min(map(cost, map(list, ways))) < np.inf


def test_each_epoch_has_its_own_order():
    first, second = (epoch_order(18, 4, "task", 3, epoch) for epoch in (1, 2))
    assert [len(batch) for batch in first] == [4, 4, 4, 4, 2]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(18))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()


def test_training_rows_are_padded_on_the_right():
    prompts = Prompts((5, 6), (9,), [(1, 2), (3,)]).with_words([7, 8])
    rows = training_rows(prompts, np.array([1, 0]), 3)
    assert rows.ids.tolist() == [[[9, 1, 2]], [[9, 3, 0]]]
    assert rows.lengths.tolist() == [[3], [2]] and rows.labels.tolist() == [1, 0]
    assert rows.words.tolist() == [[7, 8], [7, 8]] and rows.read.tolist() == [3, 2]
    ids, places, tokens = rows.together(np.array([1, 0]))
    assert ids.tolist() == [[9, 3, 0], [9, 1, 2]]
    assert places.tolist() == [[0, 1], [1, 2]] and tokens.tolist() == [7, 8]
    assert rows.together(np.array([1]))[0].tolist() == [[9, 3]]
    with pytest.raises(UserError, match="training row with id 5 has 3 tokens, the model reads 2"):
        training_rows(prompts, np.array([1, 0]), 2)


WORDS = [((7, 8, 9), (6,)), ((7, 8, 9), (4, 5))]
"""Label words of two rows; those of the second are others, as where they merge with the prompt."""


def test_training_rows_end_in_their_answer_without_its_last_token():
    prompts = Prompts((5, 6), (1,), [(2, 3), (3,)], WORDS)
    rows = training_rows(prompts, np.array([0, 1]), 5)
    assert rows.ids.tolist() == [[[1, 2, 3, 7, 8]], [[1, 3, 4, 0, 0]]]
    assert rows.lengths.tolist() == [[5], [3]] and rows.tokens.tolist() == [[3], [2]]
    assert rows.words is None and rows.read.tolist() == [5, 3]
    ids, places, tokens = rows.together(np.array([0, 1]))
    assert places.tolist() == [[0, 2], [0, 3], [0, 4], [1, 1], [1, 2]]
    assert tokens.tolist() == [7, 8, 9, 4, 5] and ids.shape == (2, 5)
    with pytest.raises(UserError, match="training row with id 5 has 6 tokens, the model reads 5"):
        training_rows(prompts, np.array([0, 1]), 5, ahead=1)


def test_a_loss_over_label_words_reads_each_of_them():
    prompts = Prompts((5, 6), (1,), [(2, 3), (3,)], WORDS)
    rows = training_rows(prompts, np.array([0, 1]), 5, all_words=True)
    assert rows.ids[:, :, :4].tolist() == [
        [[1, 2, 3, 7], [1, 2, 3, 0]],
        [[1, 3, 7, 8], [1, 3, 4, 0]],
    ]
    assert rows.lengths.tolist() == [[5, 3], [4, 3]] and rows.read.tolist() == [10, 8]
    ids, places, tokens = rows.together(np.array([1]))
    assert ids.tolist() == [[1, 3, 7, 8], [1, 3, 4, 0]]
    assert places.tolist() == [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2]]
    assert tokens.tolist() == [7, 8, 9, 4, 5]
