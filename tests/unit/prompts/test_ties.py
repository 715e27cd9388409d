"""Label words that rank exactly alike: no label is preferred, and cutting jobs changes nothing."""

import numpy as np
import pytest
from fewshot.prompts.patterns import best_words, exact_ties


def test_the_highest_word_is_predicted():
    ranks = [np.array([0, 1, -1.0]), np.array([-2, 0, 1.0]), np.array([-1, 2, 0.0])]
    assert best_words(ranks, np.arange(3)).tolist() == [0, 2, 1]
    assert exact_ties(ranks) == 0


@pytest.mark.parametrize("labels", [2, 3])
def test_ties_go_to_every_label_alike(labels):
    ranks = [np.zeros(6000)] * labels
    for ids in (np.arange(6000), 2 * np.arange(6000), 10**12 + 3 * np.arange(6000)):
        shares = np.bincount(best_words(ranks, ids), minlength=labels) / 6000
        # Five standard errors of a share.
        assert np.abs(shares - 1 / labels).max() < 5 * np.sqrt(0.25 / 6000)
    assert exact_ties(ranks) == 6000


def test_a_word_below_the_tie_is_never_predicted():
    ranks = [np.full(500, -1.0), np.zeros(500), np.zeros(500)]
    assert set(best_words(ranks, np.arange(500))) == {1, 2}


def test_a_row_is_resolved_alike_wherever_it_stands():
    ids = np.arange(100)
    ranks = [np.zeros(100), np.zeros(100)]
    whole = best_words(ranks, ids)
    order = np.random.default_rng(0).permutation(100)[:40]
    assert best_words([part[order] for part in ranks], ids[order]).tolist() == whole[order].tolist()


def test_impossible_words_tie_too():
    ranks = [np.full(200, -np.inf), np.full(200, -np.inf)]
    assert set(best_words(ranks, np.arange(200))) == {0, 1}
