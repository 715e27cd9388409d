"""Retrieval: each row is shown the shots that are most like it (Liu et al. 2022, KATE).

How like two rows are is told by their words, or by the frozen model's own states.
"""

import logging
from collections.abc import Sequence

import bm25s
import numpy as np

# It sets its own level to DEBUG, and would write a line for each index into every job's log.
logging.getLogger("bm25s").setLevel(logging.WARNING)


def bm25(pool: Sequence[str], rows: Sequence[str]) -> np.ndarray:
    """Return the BM25 score of each text of `pool` for each of `rows`, float32 [rows, pool].

    By bm25s as it is where nothing is said (Lucene's variant, k1 = 1.5, b = 0.75; words of two
    letters and up in lower case), but for stop words, of which there are none:
    Σ_w ln(1 + (N - n + ½) / (n + ½)) · f / (f + k1 (1 - b + b · l / mean l)) over the words w of
    the row. Of the N texts n have w; this one, of l words, has it f times. Rows or texts without a
    word score 0.
    """
    words, asked = _words(pool), _words(rows)
    scores = np.zeros((len(rows), len(pool)), dtype=np.float32)
    if not any(words):
        return scores
    index = bm25s.BM25()
    index.index(words, show_progress=False)
    for row, tokens in enumerate(asked):
        if tokens:
            scores[row] = index.get_scores(tokens)
    return scores


def _words(texts: Sequence[str]) -> list[list[str]]:
    return bm25s.tokenize(list(texts), stopwords=[], return_ids=False, show_progress=False)


def cosine(pool: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the cosine of each of the states `pool` [pool, width] with each of `rows` [rows,
    width], float64 [rows, pool]."""
    pool, rows = (
        states / np.linalg.norm(states, axis=1, keepdims=True)
        for states in (pool.astype(np.float64), rows.astype(np.float64))
    )
    return rows @ pool.T


def most_similar(scores: np.ndarray, shown: int) -> np.ndarray:
    """Return for each row the places of the `shown` highest scores [rows, pool], the highest last:
    int64 [rows, shown]. Of equal scores the first in the pool counts as higher."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :shown][:, ::-1]
