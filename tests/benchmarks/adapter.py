"""The one place where benchmark and judge call the project's scorer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fewshot.prompts.patterns import Pattern
from fewshot.prompts.tokenize import Queries
from fewshot.scoring.packing import length_of
from fewshot.scoring.reader import best_route
from fewshot.scoring.score import Scores, score


@dataclass(frozen=True)
class Scorer:
    """Prompts that are tokenized, and the function that scores them.

    `prefix` counts the tokens that all prompts share, `own[i]` those of sequence i beyond them;
    `run(model, batch_tokens)` returns the scores of the pattern's words behind each prompt.
    """

    prefix: int
    own: list[int]
    run: Callable[..., Scores]


def scorer(tokenizer, pattern: Pattern, context: str, texts: Sequence[str]) -> Scorer:
    """Tokenize the prompts `context + text`, each to be continued by the pattern's words."""
    prompts = Queries(tokenizer, texts, words=pattern.words).prompts(context)

    def run(model, batch_tokens: int) -> Scores:
        return score(model, prompts, batch_tokens=batch_tokens)

    _, pieces = best_route(prompts)
    return Scorer(len(prompts.prefix), [length_of(prompts, piece) for piece in pieces], run)
