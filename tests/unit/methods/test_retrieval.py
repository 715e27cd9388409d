"""Similarities by which shots are retrieved: by hand, and by the library run directly."""

import bm25s
import numpy as np
from fewshot.methods.retrieval import bm25, cosine, most_similar

POOL = ["A cat sat", "the dog", "Cat, cat: dog!"]


def test_bm25_by_hand():
    """Of 3 texts 2 have "cat", so its weight is ln(1 + 1.5 / 2.5) = 0.470004; the texts have 2, 2
    and 3 words of two letters, 7/3 on average."""
    found = bm25(POOL, ["cat", "a", "Unseen words"])
    np.testing.assert_allclose(found[0], [0.200917, 0.0, 0.245983], atol=1e-6)
    assert not found[1:].any()


def test_bm25_is_the_librarys():
    rows = ["the cat and the dog", "sat sat", "dog"]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(POOL, stopwords=None, show_progress=False), show_progress=False)
    words = [["the", "cat", "and", "the", "dog"], ["sat", "sat"], ["dog"]]
    expected = np.stack([index.get_scores(each) for each in words])
    assert expected.all(axis=1).sum() == 1 and np.array_equal(bm25(POOL, rows), expected)


def test_texts_without_words_are_like_nothing():
    assert not bm25(["x", ""], ["cat"]).any() and bm25([], ["cat"]).shape == (1, 0)
    found = bm25(["x", "cat"], ["cat", "-"])
    assert found[0, 1] > 0 and not found[0, 0] and not found[1].any()


def test_cosines_by_hand():
    pool = np.array([[3, 4], [0, 2], [-1, 0]], dtype=np.float32)
    found = cosine(pool, np.array([[1, 0], [5, 5]], dtype=np.float32))
    half = 0.5**0.5
    np.testing.assert_allclose(found, [[0.6, 0, -1], [1.4 * half, half, -half]], atol=1e-12)


def test_the_most_similar_stands_last_and_the_first_of_equals_is_more_similar():
    scores = np.array([[0.0, 2.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert most_similar(scores, 3).tolist() == [[2, 3, 1], [2, 1, 0]]
    assert most_similar(scores[:, :1], 3).tolist() == [[0], [0]]
