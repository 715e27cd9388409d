"""Train the embedded default: tiny language models that learn from the synthetic corpora alone.

Documents (`documents.py`) follow hidden rules, so that a query alone is ambiguous: demonstrations,
or gradient steps, say what is asked. The final label teaches the comparison of premise and
hypothesis, and what the demonstrations say, very slowly. So auxiliary classifiers on inner layers,
thrown away afterwards, supervise the steps, as ELECTRA learns from every token whether it was
replaced (Clark et al. 2020).
"""

import logging
import math
import re
import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from .documents import ANSWER, CUE, KINDS, RULES, WORD, Corpus
from .recipes import WINDOW, Recipe, Stage, build_model, build_tokenizer

log = logging.getLogger(__name__)

PARTS = ((WORD, 2, len(KINDS)), (CUE, 2, len(KINDS)), (ANSWER, 2, 2 * len(KINDS)), (CUE, 3, RULES))
"""What is asked on which tokens: (what they are, row of the document, classes).

Of a word of the hypothesis, whether and how it was changed; of the end of a query, how the
hypothesis was made; of a label word, that and the label; of the end of a query, the rule so far.
"""

NETWORKS = re.compile(r"\.(fc[12]|mlp\.\w+)\.")
"""Parameters of the layers' networks, of both families."""


class Judges(torch.nn.Module):
    """The auxiliary classifiers, linear on hidden states [documents, tokens, width]."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.layers = recipe.judge_layers
        self.heads = torch.nn.ModuleList(
            torch.nn.Linear(recipe.width, classes) for _, _, classes in PARTS
        )

    def forward(self, states: tuple[torch.Tensor, ...], batch: torch.Tensor) -> torch.Tensor:
        """Return the sum of their mean cross-entropies; `states` are embeddings and layers."""
        losses = []
        for (role, part, _), layer, head in zip(PARTS, self.layers, self.heads, strict=True):
            chosen = batch[1] == role
            losses.append(
                functional.cross_entropy(head(states[layer][chosen]), batch[part][chosen])
            )
        return sum(losses)


def train(recipe: Recipe, seed: int) -> tuple[torch.nn.Module, PreTrainedTokenizerFast]:
    """Train one embedded model from scratch and return it with its tokenizer."""
    tokenizer = build_tokenizer(recipe.family)
    model, corpus = build_model(recipe, tokenizer, seed), Corpus(recipe, tokenizer, seed)
    judges = Judges(recipe)
    stages = [stage for stage in recipe.stages for _ in range(stage.steps)]
    weights = [*model.parameters(), *judges.parameters()]
    networks = {
        id(parameter) for name, parameter in model.named_parameters() if NETWORKS.search(name)
    }
    parts = [[], []]
    for each in weights:
        if each.requires_grad:
            parts[id(each) in networks].append(each)
    optimizer = torch.optim.AdamW(
        [{"params": part} for part in parts], lr=recipe.rate, betas=(0.9, 0.98), fused=True
    )

    def general(step: int) -> float:
        return _rate(step / len(stages), recipe.warmup)

    def of_networks(step: int) -> float:
        least = recipe.network_rate
        return general(step) * (least + (1 - least) * step / len(stages))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [general, of_networks])
    model.train()
    seen, started = [], time.process_time()
    for step, stage in enumerate(stages, 1):
        loss, outcome = _loss(model, judges, corpus, stage)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        seen.append(outcome)
        if step % 100 == 0 or step == len(stages):
            _report(step, len(stages), seen, time.process_time() - started)
            seen.clear()
    return model.eval(), tokenizer


def _rate(done: float, warmup: float) -> float:
    """Return the share of the learning rate: a linear start, then a cosine down to a twentieth."""
    return min(done / warmup + 1e-3, 0.05 + 0.475 * (1 + math.cos(math.pi * done)))


def _loss(model, judges, corpus: Corpus, stage: Stage) -> tuple[torch.Tensor, np.ndarray]:
    """Return one batch's loss and, for each answer, int [3]: its kind, whether right, its place."""
    recipe, batch = corpus.recipe, corpus.batch(stage)
    ids, roles, extra = batch[0], batch[1], {}
    if recipe.family == "opt":
        room = WINDOW - ids.shape[1]
        shift = corpus.rng.integers(room + 1, size=(len(ids), 1)) if room else 0
        extra["position_ids"] = torch.arange(ids.shape[1]) + torch.as_tensor(shift)
    output = model(input_ids=ids, use_cache=False, output_hidden_states=True, **extra)
    logits, after = output.logits[:, :-1], ids[:, 1:]
    each = functional.cross_entropy(logits.transpose(1, 2), after, reduction="none")
    marks, text = roles[:, 1:] == ANSWER, (roles[:, 1:] != ANSWER) & (after != 0)
    loss = each[marks].mean() + recipe.text_weight * each[text].mean()
    loss = loss + recipe.judge_weight * judges(output.hidden_states, batch)
    right = logits[marks].argmax(-1) == after[marks]
    place = (roles[:, 1:] == ANSWER).cumsum(1)[marks]
    kinds = batch[2][:, 1:][marks] % len(KINDS)
    return loss, torch.stack([kinds, right.long(), place]).numpy()


def _report(step: int, steps: int, seen: list[np.ndarray], seconds: float) -> None:
    """Log how often label words were right, by kind of pair, in the later half of documents."""
    kinds, right, place = np.concatenate(seen, axis=1)
    late = place > place.max() // 2
    shares = pd.Series(right[late]).groupby(kinds[late]).mean()
    shares = " ".join(f"{KINDS[kind]} {share:.2f}" for kind, share in shares.items())
    log.info("step %d of %d, %.0f CPU seconds; label words right: %s", step, steps, seconds, shares)
