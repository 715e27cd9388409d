"""The words of the synthetic corpora, and those of their labels."""

import numpy as np

NOUNS = tuple(
    "doctor lawyer teacher artist student manager actor judge banker author senator scientist "
    "tourist secretary athlete president professor baker farmer pilot".split()
)
TRANSITIVE = tuple(
    "saw helped called thanked admired avoided praised followed visited paid advised warned".split()
)
INTRANSITIVE = tuple("slept danced ran laughed waited shouted cried sang worked arrived".split())
ADJECTIVES = tuple("old young tall happy tired famous quiet clever".split())
PLACES = tuple("garden office river market library station kitchen park".split())
PREPOSITIONS = tuple("near behind in by".split())
FUNCTION_WORDS = tuple(
    "the The and or who that never was while because if If since Since said hoped knew "
    "thought Clearly Probably".split()
)
NEGATION = "never"
LABELS = {
    "mnli-like": ("entailment", "neutral", "contradiction"),
    "rte-like": ("entailment", "not_entailment"),
    "hans-like": ("entailment", "non-entailment"),
}
"""Of each corpus, in the order of their numbers."""


def vocabulary() -> list[str]:
    """Return every word of the corpora, without marks."""
    groups = (NOUNS, TRANSITIVE, INTRANSITIVE, ADJECTIVES, PLACES, PREPOSITIONS, FUNCTION_WORDS)
    return sorted({word for group in groups for word in group})


def pick(rng: np.random.Generator, words: tuple[str, ...], count: int = 1, not_in=()) -> list[str]:
    """Draw distinct words, none of them in `not_in`."""
    order = (words[i] for i in rng.permutation(len(words)))
    chosen = [word for word in order if word not in not_in]
    return chosen[:count]
