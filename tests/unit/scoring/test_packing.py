"""Batches of sequences: who is read with whom, where words fork, what is read off."""

from fewshot.prompts.tokenize import Prompts
from fewshot.scoring.packing import (
    FAMILY_TOKENS,
    PackedSequence,
    canonical_batches,
    halves,
    lay_out,
    length_of,
    pack_rows,
    total,
)
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


def alone(row: int, tokens: int, *words: int) -> PackedSequence:
    return PackedSequence(((row, words),), tokens)


def told(layout) -> list:
    """Return (sequence, token), row, word, asked token of every target."""
    reads = layout.reads.tolist()
    return [(reads[read], row, word, token) for read, row, word, token in layout.targets.tolist()]


def test_words_of_one_token_need_one_sequence():
    prompts = Prompts((0, 1), (1, 2), [(3,), (4, 5)], [SHORT, SHORT])
    pieces = pack_rows(prompts, forks=False)
    assert pieces == pack_rows(prompts, forks=True) == [alone(0, 1, 0, 1), alone(1, 2, 0, 1)]
    layout = lay_out(prompts, pieces, prompts.prefix)
    assert layout.ids.tolist() == [[1, 2, 3, 0], [1, 2, 4, 5]]
    assert layout.positions.tolist() == [[0, 1, 2, 3]] and layout.branches is None
    assert layout.reads.tolist() == [[0, 2], [1, 3]]
    assert layout.targets.tolist() == [[0, 0, 0, 7], [0, 0, 1, 8], [1, 1, 0, 7], [1, 1, 1, 8]]


def test_words_of_several_tokens_fork_off():
    prompts = Prompts((0, 1), (1, 2), [(3,), (4, 5)], [LONG, SHORT])
    pieces = pack_rows(prompts, forks=True)
    assert pieces == [alone(0, 1, 0, 1, 2), alone(1, 2, 0, 1)]
    assert [length_of(prompts, piece) for piece in pieces] == [4, 2]
    layout = lay_out(prompts, pieces, ())
    assert layout.ids.tolist() == [[3, 7, 8, 4], [4, 5, 0, 0]]
    assert layout.positions.tolist() == [[0, 1, 2, 1], [0, 1, 0, 0]]
    branches, before = layout.branches.tolist()
    assert branches == [[0, 1, 1, 2], [0, 0, 0, 0]] and before == [[0] * 4] * 2
    assert told(layout) == [
        ([0, 0], 0, 0, 7), ([0, 0], 0, 1, 5), ([0, 0], 0, 2, 4),
        ([0, 1], 0, 0, 8), ([0, 2], 0, 0, 9), ([0, 3], 0, 2, 3),
        ([1, 1], 1, 0, 7), ([1, 1], 1, 1, 8),
    ]  # fmt: skip
    reads = layout.reads.tolist()
    assert [reads[read] for read, _ in layout.trunks] == [[0, 0], [1, 1]]


def test_words_of_several_tokens_get_sequences_of_their_own_without_forks():
    prompts = Prompts((0,), (1, 2), [(3,)], [LONG])
    pieces = pack_rows(prompts, forks=False)
    assert pieces == [alone(0, 1, 0, 1), alone(0, 1, 2)]
    layout = lay_out(prompts, pieces, prompts.prefix)
    assert layout.ids.tolist() == [[1, 2, 3, 7, 8], [1, 2, 3, 4, 0]]
    assert layout.trunks.tolist() == [[0, 0]]


def test_rows_that_begin_alike_are_packed():
    same = (5, 6, 7, 8)
    rows = [(*same, 9), (4,), (*same, 3, 2), same]
    prompts = Prompts((0, 1, 2, 3), (1,), rows, [SHORT, SHORT, ((7, 1), (8,)), SHORT])
    pieces = pack_rows(prompts, forks=True)
    family = PackedSequence(((3, (0, 1)), (2, (0, 1)), (0, (0, 1))), 4)
    assert pieces == [alone(1, 1, 0, 1), family]
    assert length_of(prompts, family) == 4 + (2 + 1) + 1
    assert total(prompts, pieces) == 9
    layout = lay_out(prompts, [family], (1,))
    assert layout.ids.tolist() == [[1, 5, 6, 7, 8, 3, 2, 7, 9]]
    assert layout.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 5]]
    assert layout.branches.tolist() == [[[0] * 5 + [1, 1, 2, 3]], [[0] * 5 + [0, 0, 1, 0]]]
    assert told(layout) == [
        ([0, 4], 3, 0, 7), ([0, 4], 3, 1, 8),
        ([0, 6], 2, 0, 7), ([0, 6], 2, 1, 8), ([0, 7], 2, 0, 1),
        ([0, 8], 0, 0, 7), ([0, 8], 0, 1, 8),
    ]  # fmt: skip


def test_each_sequence_counts_its_own_branches():
    prompts = Prompts((0, 1), (1,), [(3,), (4,)], [LONG, LONG])
    branches, _ = lay_out(prompts, pack_rows(prompts, forks=True), ()).branches.tolist()
    assert branches == [[0, 1, 1, 2]] * 2


def test_little_in_common_is_not_worth_a_pack():
    rows = [(1, 2, 3, 4, *range(10, 90)), (1, 2, 3, 4, *range(100, 190))]
    prompts = Prompts((0, 1), (9,), rows, [SHORT, SHORT])
    assert [len(piece.rows) for piece in pack_rows(prompts, forks=True)] == [1, 1]


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple), min_size=1),
    st.randoms(use_true_random=False),
)
def test_packs_hold_every_row_once_and_do_not_depend_on_the_order(rows, random):
    prompts = Prompts(tuple(range(len(rows))), (9,), rows, [SHORT] * len(rows))
    pieces = pack_rows(prompts, forks=True)
    held = [row for piece in pieces for row, _ in piece.rows]
    assert sorted(held) == list(range(len(rows)))
    for piece in pieces:
        starts = {rows[row][: piece.shared] for row, _ in piece.rows}
        assert len(starts) == 1 and length_of(prompts, piece) <= FAMILY_TOKENS
    assert total(prompts, pieces) <= sum(map(len, rows))
    order = list(range(len(rows)))
    random.shuffle(order)
    other = Prompts(tuple(order), (9,), [rows[i] for i in order], [SHORT] * len(rows))

    def texts(prompts):
        return sorted(
            (piece.shared, sorted(prompts.suffixes[row] for row, _ in piece.rows))
            for piece in pack_rows(prompts, forks=True)
        )

    assert texts(other) == texts(prompts)


def test_batches_are_halved_down_to_rows():
    one, two = alone(0, 1, 0), alone(1, 2, 0)
    pack = PackedSequence(((2, (0,)), (3, (0,)), (4, (0,))), 5)
    assert halves([one, two, pack]) == ([one], [two, pack])
    assert halves([pack]) == (
        [PackedSequence(pack.rows[:1], 5)],
        [PackedSequence(pack.rows[1:], 5)],
    )
    assert halves([one]) is None
