"""What a seed's manifest says of the work done: prompts and training rows counted in tokens.

Attention grows with the square of a row's length, so that sums of squares are kept as well:
`flops.py` tells from these counts what the work cost.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..prompts.tokens import Prompts
    from ..scoring.scoring import Scores


def reading(prompts: "Prompts", scores: "Scores") -> dict[str, int]:
    """Return how long the prompts of an evaluation set are.

    In tokens: `shared_tokens` is the prefix of all rows, `own_tokens` the sum of what rows have
    behind it and `own_squares` that of the squares; `tokens_read` is what the scorer read, to
    which rows that begin alike count a common part once.
    """
    shared = len(prompts.prefix)
    own = [length - shared for length in prompts.lengths]
    return {
        "rows": len(own),
        "shared_tokens": shared,
        "own_tokens": sum(own),
        "own_squares": sum(length**2 for length in own),
        "longest_tokens": shared + max(own),
        "tokens_read": scores.tokens_read,
    }


def training(lengths: Iterable[int], epochs: int, learned_keys: int) -> dict[str, int]:
    """Return what was trained on: rows of `lengths` tokens, unpadded, in each of the epochs.

    `learned_keys` stand before every row in each layer (prefix tuning); virtual tokens of a prompt
    count as its own.
    """
    lengths = [int(length) for length in lengths]
    return {
        "epochs": epochs,
        "rows": len(lengths),
        "tokens": sum(lengths),
        "squares": sum(length**2 for length in lengths),
        "learned_keys": learned_keys,
    }
