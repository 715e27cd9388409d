"""Write the documents that embedded models are trained on, with what auxiliary classifiers ask.

Every document holds solved pairs under a rule of its own, which only its pairs tell. The rule says
what counts as entailed, the truth or lexical overlap, and which label word says so; in some
documents the labels have nothing to do with the pairs.
"""

from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerFast

from ..data.synthetic import CONSTRUCTIONS, NEGATION, generate
from ..prompts.patterns import Pattern
from ..rng import generator
from .recipes import PATTERNS, RECIPES, Recipe, Stage, build_tokenizer

PRETRAIN = "pretrain"
"""The split of the synthetic corpora whose premises the models read."""
HELD_OUT = "test"
"""One whose premises neither they nor the rows of a task have: splits share none."""
KINDS = ("entailed", *CONSTRUCTIONS)
POOL = 2000
"""Distinct pairs per corpus of held-out documents."""
RULES = 5
"""Truth or overlap, each with straight or flipped label words, and labels without a rule."""
# What a token of a document is: any text, a word of a hypothesis, the end of a query, its label.
TEXT, WORD, CUE, ANSWER = range(4)
IGNORE = -100
"""The class of tokens that no auxiliary classifier is asked about."""


class Corpus:
    """Tokenized queries of every pattern, and the documents made of them."""

    def __init__(
        self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int, split: str = PRETRAIN
    ):
        self.rng = generator("embedded", "documents", seed)
        self.recipe = recipe
        self.start = [tokenizer.bos_token_id] if recipe.family == "opt" else []

        def encode(texts):
            return tokenizer(list(texts), add_special_tokens=False)["input_ids"]

        frames = [_binary(kind, split, recipe.pool, seed) for kind in ("mnli-like", "rte-like")]
        self.kinds = [
            [np.flatnonzero(frame["construction"] == name) for name in KINDS] for frame in frames
        ]
        self.queries = [
            [_mark(tokenizer, pattern, frame) for frame in frames] for pattern in PATTERNS
        ]
        odd = generate("hans-like", split, recipe.pool // 10, seed)["premise"]
        self.plain = encode(f"{premise}\n\n" for premise in odd)
        self.words = [[ids[0] for ids in encode(pattern.words)] for pattern in PATTERNS]
        self.separator = encode(["\n\n"])[0]

    def rule(self, stage: Stage) -> tuple[int, np.ndarray | float]:
        """Draw a document's rule: its number, and each of KINDS's label or the share of label 1."""
        if self.rng.random() < stage.prior_share:
            return 4, 1.0 - self.rng.beta(*stage.prior)
        overlap = int(self.rng.random() < stage.overlap_share)
        flipped = int(self.rng.random() < stage.flipped_share)
        labels = np.array([0, 1, 1 - overlap, 1])
        return overlap + 2 * flipped, 1 - labels if flipped else labels

    def document(self, stage: Stage, length: int, pattern: int) -> np.ndarray:
        """Return int [4, tokens]: ids, what each is (TEXT, ...), its auxiliary class, the rule.

        A length of 0 stands for one pair. An answer's class is its kind + 4 * its label.
        """
        task, (number, labels) = int(self.rng.integers(2)), self.rule(stage)
        made = [([token], [TEXT], [IGNORE]) for token in self.start]
        count = len(made)
        while count < length or count == len(self.start):
            if length and self.rng.random() < self.recipe.plain_share:
                new = _plain(self.plain[self.rng.integers(len(self.plain))])
            else:
                new = self._pair(stage, pattern, task, labels)
            made.append(new)
            count += len(new[0])
        layers = np.array([list(chain.from_iterable(parts)) for parts in zip(*made, strict=True)])
        layers = np.vstack([layers, np.full(layers.shape[1], number)])
        return layers[:, : length or layers.shape[1]]

    def _pair(self, stage: Stage, pattern: int, task: int, labels) -> tuple[list, list, list]:
        """Return ids, roles and classes of one solved pair."""
        kind = int(self.rng.choice(len(KINDS), p=stage.kind_shares))
        row = int(self.rng.choice(self.kinds[task][kind]))
        label = int(self.rng.random() < labels) if isinstance(labels, float) else labels[kind]
        ids, roles, classes = self.queries[pattern][task][row]
        _, text, ignored = end = _plain(self.separator)
        return (
            [*ids, self.words[pattern][label], *end[0]],
            [*roles, ANSWER, *text],
            [*classes, kind + len(KINDS) * label, *ignored],
        )

    def batch(self, stage: Stage) -> torch.Tensor:
        """Return int [4, documents, tokens], padded with class IGNORE and role TEXT."""
        shares = np.array(stage.length_shares)
        length = int(self.rng.choice(stage.lengths, p=shares / shares.sum()))
        size = stage.tokens // (length or 24)
        pattern = int(self.rng.choice(len(PATTERNS), p=self.recipe.pattern_shares))
        made = [self.document(stage, length, pattern) for _ in range(size)]
        padded = np.zeros((4, size, max(document.shape[1] for document in made)), int)
        padded[2] = IGNORE
        for row, document in enumerate(made):
            padded[:, row, : document.shape[1]] = document
        return torch.from_numpy(padded)


def held_out_documents(count: int, tokens: int, seed: int) -> list[str]:
    """Return texts like those that the models were trained on in the end, of premises that they
    never read: under rules of their own, with all patterns."""
    recipe = replace(RECIPES["pythia-mini"], pool=POOL)
    tokenizer, stage = build_tokenizer(recipe.family), recipe.stages[-1]
    corpus = Corpus(recipe, tokenizer, seed, HELD_OUT)
    made = [corpus.document(stage, tokens, number % len(PATTERNS)) for number in range(count)]
    return [tokenizer.decode(document[0]) for document in made]


def _plain(ids: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Return ids, roles and classes of text that is neither asked about nor answered."""
    return ids, [TEXT] * len(ids), [IGNORE] * len(ids)


def _binary(kind: str, split: str, size: int, seed: int) -> pd.DataFrame:
    frame = generate(kind, split, size, seed)
    return frame[frame["construction"] != "neutral"].reset_index(drop=True)


def _mark(tokenizer, pattern: Pattern, frame: pd.DataFrame) -> list[tuple[list, list, list]]:
    """Return token ids, roles and auxiliary classes of each row's query.

    A word of the hypothesis has class 0 if it stands, else that of how it was changed; so has the
    cue, the last token, for the hypothesis as a whole.
    """
    rows = list(frame.itertuples())
    texts = [pattern.query(row.premise, row.hypothesis) for row in rows]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    documents = []
    for row, text, ids, spans in zip(
        rows, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        start, wrong = text.rindex(row.hypothesis), wrong_words(row)
        inside = [start < last <= start + len(row.hypothesis) for _, last in spans]
        words = [wrong.get(text[first:last].strip(), 0) for first, last in spans]
        roles = [WORD if is_word else TEXT for is_word in inside]
        classes = [word if is_word else IGNORE for word, is_word in zip(words, inside, strict=True)]
        roles[-1], classes[-1] = CUE, KINDS.index(row.construction)
        documents.append((ids, roles, classes))
    return documents


def wrong_words(row) -> dict[str, int]:
    """Return the words of a hypothesis that do not stand, with the number of their construction.

    Of exchanged roles the object is to blame, of a changed denial the verb.
    """
    subject, *rest = row.hypothesis.rstrip(".").split()[1:]
    verb, *rest = [word for word in rest if word != NEGATION]
    number = KINDS.index(row.construction)
    blamed = {"entailed": (), "swapped": rest[1:], "negated": (verb,)}.get(row.construction)
    if blamed is None:
        said = row.premise.replace(".", "").split()
        blamed = [word for word in (subject, verb, *rest[1:]) if word not in said]
    return dict.fromkeys(blamed, number)
