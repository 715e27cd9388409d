"""The scores of some prompts, by which every method is judged. No torch."""

from dataclasses import dataclass

import numpy as np

from ..prompts.patterns import best_words, exact_ties, ranking

TIE = 2e-5
"""Difference of two log-probabilities, each good to 1e-5, below which another way to cut rows may
turn a prediction."""


@dataclass(frozen=True)
class Scores:
    """One entry per row, in the order of the prompts' ids.

    logprobs: float32 [rows, labels], log-probability of each label word over the vocabulary, for
    words of several tokens the sum over them; logsumexp: float32 [rows], the normaliser behind the
    prompt; argmax_is_label: bool [rows], whether the most probable token there starts a label
    word; tokens: int16 [rows, labels], the tokens of each word. With channel scoring a row's text
    behind each label word takes the place of words, and logsumexp and argmax_is_label are None:
    there is one for each label. Words, of so many `characters`, are ranked by `rank_by` (see
    `patterns.ranking`). `route` is "shared prefix", "packed" (rows that begin alike), or "plain",
    with a reason where it could have been either. `tokens_read` counts tokens without padding,
    `splits` batches that were halved as memory ran out.
    """

    logprobs: np.ndarray
    logsumexp: np.ndarray | None
    argmax_is_label: np.ndarray | None
    tokens: np.ndarray
    route: str
    tokens_read: int
    splits: int = 0
    rank_by: str = "sum"
    characters: tuple[int, ...] = ()

    @property
    def ranking(self) -> np.ndarray:
        """Return what is largest for the predicted label, float64 [rows, labels]."""
        return ranking(self.logprobs, self.tokens, self.rank_by, self.characters)

    def best_words(self, ids: np.ndarray) -> np.ndarray:
        """Return each row's highest-ranked label word, given the rows' ids; see patterns."""
        return best_words(self.ranking.T, ids)

    @property
    def exact_ties(self) -> int:
        """Return the rows of which several label words rank exactly alike and highest."""
        return exact_ties(self.ranking.T)

    @property
    def ties(self) -> int:
        """Return the rows whose two best label words differ by less than `TIE`."""
        gaps = np.diff(np.sort(self.ranking, axis=1), axis=1)[:, -1:]
        return int((gaps < TIE).sum())
