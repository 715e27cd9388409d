"""Batches of sequences: who is read with whom, where words fork, what is read off."""

from fewshot.layout import canonical_batches, lay_out, length_of, pieces_of
from fewshot.tokens import Prompts
from hypothesis import given
from hypothesis import strategies as st

SHORT = ((7,), (8,))
LONG = ((7, 8, 9), (5,), (4, 3))


def test_batches_are_cut_by_padded_tokens():
    assert canonical_batches([5, 3, 3, 9, 20], 10) == [[1, 2], [0], [3], [4]]
    assert canonical_batches([], 10) == []


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    batches = canonical_batches(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_words_of_one_token_need_one_sequence():
    prompts = Prompts((0, 1), (1, 2), [(3,), (4, 5)], [SHORT, SHORT])
    pieces = pieces_of(prompts, packed=False)
    assert pieces == pieces_of(prompts, packed=True) == [(0, (0, 1)), (1, (0, 1))]
    layout = lay_out(prompts, pieces, prompts.prefix)
    assert layout.ids.tolist() == [[1, 2, 3, 0], [1, 2, 4, 5]]
    assert layout.positions.tolist() == [[0, 1, 2, 3]] and layout.branches is None
    assert layout.reads.tolist() == [[0, 2], [1, 3]]
    assert layout.targets.tolist() == [[0, 0, 0, 7], [0, 0, 1, 8], [1, 1, 0, 7], [1, 1, 1, 8]]


def test_words_of_several_tokens_fork_off_packed():
    prompts = Prompts((0, 1), (1, 2), [(3,), (4, 5)], [LONG, SHORT])
    pieces = pieces_of(prompts, packed=True)
    assert pieces == [(0, (0, 1, 2)), (1, (0, 1))]
    assert [length_of(prompts, piece, 0) for piece in pieces] == [4, 2]
    layout = lay_out(prompts, pieces, ())
    assert layout.ids.tolist() == [[3, 7, 8, 4], [4, 5, 0, 0]]
    assert layout.positions.tolist() == [[0, 1, 2, 1], [0, 1, 0, 0]]
    assert layout.branches.tolist() == [[0, 1, 1, 3], [0, 0, 0, 0]]
    reads = layout.reads.tolist()
    told = [(reads[read], row, word, token) for read, row, word, token in layout.targets.tolist()]
    assert told == [
        ([0, 0], 0, 0, 7), ([0, 0], 0, 1, 5), ([0, 0], 0, 2, 4),
        ([0, 1], 0, 0, 8), ([0, 2], 0, 0, 9), ([0, 3], 0, 2, 3),
        ([1, 1], 1, 0, 7), ([1, 1], 1, 1, 8),
    ]  # fmt: skip
    assert [reads[read] for read, _ in layout.trunks] == [[0, 0], [1, 1]]


def test_words_of_several_tokens_get_sequences_of_their_own_unpacked():
    prompts = Prompts((0,), (1, 2), [(3,)], [LONG])
    pieces = pieces_of(prompts, packed=False)
    assert pieces == [(0, (0, 1)), (0, (2,))]
    layout = lay_out(prompts, pieces, prompts.prefix)
    assert layout.ids.tolist() == [[1, 2, 3, 7, 8], [1, 2, 3, 4, 0]]
    assert layout.trunks.tolist() == [[0, 0]]
