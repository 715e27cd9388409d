"""Train the embedded default: tiny language models that learn from the synthetic corpora alone.

Stage one reads single pairs, so that the model learns to match a hypothesis with its premise.
Stage two reads long documents of many solved pairs. In some of them the labels follow the pairs,
in others, more and more of them, a prior of the document decides, whatever the pair. A query alone
is then ambiguous: demonstrations of both labels, or gradient steps, say what is asked.
"""

import logging
import math

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from .embedded import PATTERNS, WINDOW, Recipe, build_model, build_tokenizer
from .sampling import generator
from .synthetic import generate

log = logging.getLogger(__name__)


class Corpus:
    """Tokenized queries of every pattern, and the documents made of them."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.recipe, self.rng = recipe, generator("embedded", "documents", seed)
        self.start = [tokenizer.bos_token_id] if recipe.family == "opt" else []
        self.queries, self.labels, self.prior_share = [], [], 0.0
        frames = [_binary(kind, recipe.pool, seed) for kind in ("mnli-like", "rte-like")]
        odd = generate("hans-like", "pretrain", recipe.pool // 10, seed)["premise"]

        def encode(texts):
            return tokenizer(list(texts), add_special_tokens=False)["input_ids"]

        for pattern in PATTERNS:
            for frame in frames:
                texts = zip(frame["premise"], frame["hypothesis"], strict=True)
                self.queries.append(encode(pattern.query(a, b) for a, b in texts))
        self.labels = [frame["label"].to_numpy() for frame in frames]
        self.words = [[ids[0] for ids in encode(pattern.words)] for pattern in PATTERNS]
        self.separator = encode(["\n\n"])[0]
        self.plain = [ids + self.separator for ids in encode(odd)]

    def document(self, length: int) -> tuple[list[int], list[bool]]:
        """Return the tokens of one document and which of them are label words."""
        pattern = self.rng.choice(len(PATTERNS), p=self.recipe.pattern_shares)
        kind = int(self.rng.integers(2))
        words, queries = self.words[pattern], self.queries[2 * pattern + kind]
        prior = None
        if length and self.rng.random() < self.prior_share:
            prior = self.rng.beta(*self.recipe.prior)
        tokens, answers = list(self.start), [False] * len(self.start)
        while True:
            row = int(self.rng.integers(len(queries)))
            label = self.labels[kind][row]
            if prior is not None:
                label = int(self.rng.random() >= prior)
            new = [*queries[row], words[label], *self.separator]
            tokens += new
            answers += [False] * len(queries[row]) + [True] + [False] * len(self.separator)
            if len(tokens) >= length:
                return (tokens[:length], answers[:length]) if length else (tokens, answers)

    def batch(self, size: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return tokens, label-word mask and padding mask; length 0 means single pairs."""
        made = [self.document(length) for _ in range(size)]
        if not length:
            for i in range(0, size, 16):
                ids = self.start + self.plain[int(self.rng.integers(len(self.plain)))]
                made[i] = ids, [False] * len(ids)
        longest = max(len(tokens) for tokens, _ in made)
        ids, answers = np.zeros((size, longest), int), np.zeros((size, longest), bool)
        real = np.zeros((size, longest), bool)
        for row, (tokens, marks) in enumerate(made):
            ids[row, : len(tokens)], answers[row, : len(marks)] = tokens, marks
            real[row, : len(tokens)] = True
        return torch.tensor(ids), torch.tensor(answers), torch.tensor(real)


def _binary(kind: str, size: int, seed: int) -> pd.DataFrame:
    frame = generate(kind, "pretrain", size, seed)
    if kind == "mnli-like":
        frame = frame[frame["label"] != 1].assign(label=lambda rows: rows["label"] // 2)
    return frame.reset_index(drop=True)


def train(recipe: Recipe, seed: int) -> tuple[torch.nn.Module, PreTrainedTokenizerFast]:
    """Train one embedded model from scratch and return it with its tokenizer."""
    tokenizer = build_tokenizer(recipe.family)
    model, corpus = build_model(recipe, tokenizer, seed), Corpus(recipe, tokenizer, seed)
    steps = recipe.single_steps + recipe.document_steps
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / (0.05 * steps), 0.05 + 0.475 * (1 + math.cos(math.pi * s / steps))),
    )
    model.train()
    recent = []
    for step in range(steps):
        loss, right = _loss(model, corpus, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        recent.append((loss.item(), right))
        if step % 100 == 99:
            mean = np.nanmean(recent, axis=0)
            log.info("step %d of %d: loss %.3f, accuracy %.3f", step + 1, steps, *mean)
            recent.clear()
    return model.eval(), tokenizer


def _loss(model: torch.nn.Module, corpus: Corpus, step: int) -> tuple[torch.Tensor, float]:
    """Return one batch's loss and the share of label words predicted right."""
    recipe = corpus.recipe
    length = 0
    if step >= recipe.single_steps:
        done = (step - recipe.single_steps) / recipe.document_steps
        corpus.prior_share = recipe.prior_share * min(1.0, 1.5 * done)
        shares = np.array(recipe.length_shares)
        shares[2 + int(done * len(shares)) :] = 0
        length = int(corpus.rng.choice(recipe.lengths, p=shares / shares.sum()))
    size = recipe.document_tokens // length if length else recipe.single_batch
    ids, answers, real = corpus.batch(size, length)
    extra = {}
    if recipe.family == "opt":
        room = WINDOW - ids.shape[1]
        shift = corpus.rng.integers(room + 1, size=(len(ids), 1)) if room else 0
        extra["position_ids"] = torch.arange(ids.shape[1]) + torch.as_tensor(shift)
    logits = model(input_ids=ids, use_cache=False, **extra).logits[:, :-1]
    each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    marks, text = answers[:, 1:], real[:, 1:] & ~answers[:, 1:]
    loss = each[marks].mean() + recipe.text_weight * each[text].mean()
    right = (logits[marks].argmax(-1) == ids[:, 1:][marks]).float().mean().item()
    return loss, right
