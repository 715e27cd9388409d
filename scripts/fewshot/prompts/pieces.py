"""Documents as the scorer reads them: pieces, each the only word behind a token that starts it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .tokenize import Prompts, encode

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pieces:
    """The tokens of documents, cut into pieces: each the only word of one of the `prompts`, which
    begin with the token that starts a text. `document` [pieces] is the number of the document that
    each is of, out of `count`; `cut` documents were longer than a piece."""

    prompts: Prompts
    document: np.ndarray
    count: int
    cut: int

    @property
    def tokens(self) -> np.ndarray:
        """Return the tokens of each piece, all of which are predicted, int64 [pieces]."""
        return np.array([len(piece) for (piece,) in self.prompts.words], dtype=np.int64)

    def losses(self, logprobs: np.ndarray) -> np.ndarray:
        """Return the mean loss over the tokens of each document, in nats, float64 [documents].

        `logprobs` [pieces] are the sums over the tokens of each piece; nan makes that of its
        document nan.
        """
        sums = np.bincount(self.document, weights=-logprobs, minlength=self.count)
        return sums / self.document_tokens

    @property
    def document_tokens(self) -> np.ndarray:
        """Return the tokens of each document that are predicted, int64 [documents]."""
        return np.bincount(self.document, weights=self.tokens, minlength=self.count).astype(int)


def pieces_of(
    tokenizer, texts: Sequence[str], ids: Sequence[object], longest: int, window: int, where: str
) -> Pieces:
    """Return documents in pieces of at most `longest` tokens, or as many as the window has room for
    behind the start.

    `ids` names the documents, `where` the text, for messages. Raises UserError for a document
    without tokens and for a tokenizer without a token to start with.
    """
    start = start_of(tokenizer, where)
    longest = min(longest, window - len(start))
    cut, document, words, names = 0, [], [], []
    for number, tokens in enumerate(encode(tokenizer, list(texts), special=False)):
        if not tokens:
            raise UserError(f"{where}: document {ids[number]} has no tokens")
        parts = [tokens[at : at + longest] for at in range(0, len(tokens), longest)]
        cut += len(parts) > 1
        document += [number] * len(parts)
        words += [(part,) for part in parts]
        names += [f"{ids[number]}, piece {part}" for part in range(1, len(parts) + 1)]
    if cut:
        LOG.info("%s: %d of %d documents are longer than %d tokens: %d pieces in all", where, cut,
                 len(texts), longest, len(words))  # fmt: skip
    prompts = Prompts(tuple(names), (), [start] * len(words), words)
    return Pieces(prompts, np.array(document), len(texts), cut)


def start_of(tokenizer, where: str) -> tuple[int, ...]:
    """Return what a text begins with: the tokens that the tokenizer puts in front of one or, where
    it puts none, its beginning-of-text token, else its end-of-text token.

    So does lm-evaluation-harness (`prefix_token_id`). Raises UserError where there is none of them.
    """
    (start,) = encode(tokenizer, [""])
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not start and token is None:
        raise UserError(
            f"{where}: the model's tokenizer has no token that begins or ends a text "
            "(bos_token, eos_token of its tokenizer_config.json), behind which the first token of "
            "a document could be predicted"
        )
    return start or (token,)
