"""The four systems under comparison: each takes a job and returns a function that scores it.

What is done before the function is returned is not timed: building the model and tokenizing. Only
lm-eval tokenizes inside its call, which is its public interface; that takes milliseconds a row
where the model takes hundreds.
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from fewshot.prompts.patterns import Pattern
from torch import nn
from transformers import DynamicCache

from .adapter import scorer
from .cases import common

Run = Callable[[], np.ndarray]

WORTH = 16
"""Shared tokens from which on a cache is worth its copies."""


@dataclass(frozen=True)
class Job:
    """Prompts `context + texts[i]`, and in what portions a system reads them.

    `batch` is in padded tokens for fairshot and transformers-full, in rows for the other two.
    """

    tokenizer: object
    pattern: Pattern
    context: str
    texts: list[str]
    batch: int


def fairshot(model: nn.Module, job: Job) -> Run:
    """Score with this project's scorer."""
    prompts = scorer(job.tokenizer, job.pattern, job.context, job.texts)
    return lambda: prompts.run(model, job.batch).logprobs


def transformers_full(model: nn.Module, job: Job) -> Run:
    """Read each prompt whole: what a careful user of transformers writes.

    Rows are sorted by length and cut into batches of at most `job.batch` padded tokens, longest
    first; padding is on the right, so that the causal kernel needs no mask; no cache is kept; and
    the readout over the vocabulary meets the last position of each row only.
    """
    prompts, words = tokenize(job)
    batches = _by_tokens([len(prompt) for prompt in prompts], job.batch)

    def hidden(batch: list[int]) -> torch.Tensor:
        ids, last = _pad([prompts[row] for row in batch], model.device)
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return states[torch.arange(len(batch), device=model.device), last]

    return lambda: _collect(model, batches, words, hidden)


def transformers_cache(model: nn.Module, job: Job) -> Run:
    """Read the shared context once and copy its keys and values to every row of a batch.

    Batches have `job.batch` rows, sorted by length. Prompts that share next to nothing are read
    whole.
    """
    prompts, words = tokenize(job)
    shared = min(common(prompts), min(map(len, prompts)) - 1)
    shared = shared if shared >= WORTH else 0
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    batches = [order[start : start + job.batch] for start in range(0, len(order), job.batch)]
    device = model.device

    def run() -> np.ndarray:
        cache = None
        if shared:
            cache = DynamicCache(config=model.config)
            start = torch.tensor([prompts[0][:shared]], device=device)
            with torch.no_grad():
                model.base_model(input_ids=start, past_key_values=cache, use_cache=True)

        def hidden(batch: list[int]) -> torch.Tensor:
            ids, last = _pad([prompts[row][shared:] for row in batch], device)
            mine = copy.deepcopy(cache)
            if mine is not None:
                mine.batch_repeat_interleave(len(batch))
            positions = torch.arange(shared, shared + ids.shape[1], device=device)[None]
            states = model.base_model(
                input_ids=ids, position_ids=positions, past_key_values=mine, use_cache=shared > 0
            ).last_hidden_state
            return states[torch.arange(len(batch), device=device), last]

        return _collect(model, batches, words, hidden)

    return run


def lm_eval(model: nn.Module, job: Job) -> Run:
    """Score with lm-evaluation-harness: its class for transformers models, its own batching.

    `job.batch` is its batch size; all else is default. It asks for the words of a prompt in one
    forward pass (its cache of logits), with logits at all positions.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = HFLM(pretrained=model, tokenizer=job.tokenizer, batch_size=job.batch)
    requests = [
        Instance("loglikelihood", {}, (job.context + text, word), index)
        for text in job.texts
        for index, word in enumerate(job.pattern.words)
    ]

    def run() -> np.ndarray:
        answers = harness.loglikelihood(requests, disable_tqdm=True)
        logprobs = [logprob for logprob, _ in answers]
        return np.array(logprobs, dtype=np.float32).reshape(len(job.texts), -1)

    return run


SYSTEMS = {
    "fairshot": fairshot,
    "transformers-full": transformers_full,
    "transformers-cache": transformers_cache,
    "lm-eval": lm_eval,
}


def tokenize(job: Job) -> tuple[list[list[int]], list[int]]:
    """Return the tokens of each prompt and the one token of each label word behind it."""
    prompts = job.tokenizer([job.context + text for text in job.texts])["input_ids"]
    whole = job.tokenizer([job.context + job.texts[0] + word for word in job.pattern.words])
    if any(ids[:-1] != prompts[0] for ids in whole["input_ids"]):
        raise ValueError(f"a label word of {job.pattern.words} is not one token")
    return prompts, [ids[-1] for ids in whole["input_ids"]]


def _by_tokens(lengths: list[int], budget: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _pad(rows: list[list[int]], device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [rows, longest], padded on the right, and the last positions [rows]."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, torch.tensor([len(row) - 1 for row in rows], device=device)


def _collect(
    model: nn.Module,
    batches: list[list[int]],
    words: list[int],
    hidden: Callable[[list[int]], torch.Tensor],
) -> np.ndarray:
    """Return log-probabilities [rows, labels] from the last hidden state of each row."""
    logprobs = np.empty((sum(map(len, batches)), len(words)), dtype=np.float32)
    with torch.no_grad():
        for batch in batches:
            logits = model.get_output_embeddings()(hidden(batch)).float()
            logprobs[batch] = torch.log_softmax(logits, dim=-1)[:, words].cpu().numpy()
    return logprobs
