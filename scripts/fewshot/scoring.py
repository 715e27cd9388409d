"""Score label words as continuations of prompts; the one scorer of all methods.

The tokens that all prompts share are encoded once (`attention.py`). Rows are cut into canonical
batches by a pure function of their lengths and a constant, so that predictions do not depend on
memory, processes or order. Only the last position of each row meets the readout.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .attention import SharedPrefix, Unroutable, routed
from .errors import UserError
from .models import backbone, readout, unwrap
from .tokens import Prompts

log = logging.getLogger(__name__)

SHORT_PREFIX = 16
"""A prefix below this many tokens is read with every row: sharing it would save nothing."""
PROGRESS = 10.0
"""Seconds between two lines of progress."""
PROBE = 32
"""Tokens of the prefix on which the shared and the plain path are compared."""
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Largest difference of the two paths' logits on the probe, relative to the largest logit."""
HALF_TOLERANCE = 0.1


@dataclass(frozen=True)
class Scores:
    """One entry per row, in the order of the prompts' ids.

    logprobs: float32 [rows, labels], log-probability of each label word over the vocabulary;
    logsumexp: float32 [rows], the normaliser; argmax_is_label: bool [rows], whether the most
    probable token is a label word. `route` is "shared prefix" or "plain", with a reason where the
    prefix could have been shared.
    """

    logprobs: np.ndarray
    logsumexp: np.ndarray
    argmax_is_label: np.ndarray
    route: str


def canonical_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut rows into batches of at most `batch_tokens` padded tokens, or of one longer row.

    Rows come sorted by (length, position). A pure function of its arguments.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def score(
    model: nn.Module,
    prompts: Prompts,
    word_ids: Sequence[int],
    *,
    batch_tokens: int,
    head: nn.Module | None = None,
) -> Scores:
    """Return the scores of `word_ids` as the next token of each prompt.

    `head`, from hidden states [n, width] to logits [n, labels], takes the place of the readout
    over the vocabulary (then `word_ids` is range(labels)). The model is scored in evaluation mode
    and comes back as it was. Raises UserError for a prompt longer than the model's window.
    """
    _check_window(model, prompts)
    with _evaluation(model):
        if head is None:
            head = readout(model)
            _check_readout(model, head, prompts)
        reason = _why_plain(model, prompts)
        if reason is None:
            try:
                return _run(model, prompts, word_ids, head, batch_tokens, shared=True)
            except Unroutable as error:
                reason = str(error)
        if reason:
            log.warning("the context is read again for every row, since %s", reason)
        plain = _run(model, prompts, word_ids, head, batch_tokens, shared=False)
        route = f"plain: {reason}" if reason else "plain"
        return Scores(plain.logprobs, plain.logsumexp, plain.argmax_is_label, route)


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Score without dropout or gradients; not in inference mode, whose tensors (a rotary
    embedding's, a gathered shard's) could not take part in the training that follows."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _check_window(model: nn.Module, prompts: Prompts) -> None:
    window = getattr(unwrap(model).config, "max_position_embeddings", None)
    longest = max(range(len(prompts.ids)), key=lambda i: len(prompts.suffixes[i]))
    length = prompts.lengths[longest]
    if window is not None and length > window:
        raise UserError(
            f"row {prompts.ids[longest]}: its prompt has {length} tokens, the model reads {window}"
        )


def _why_plain(model: nn.Module, prompts: Prompts) -> str | None:
    """Return None if the prefix is to be shared, "" if it is short, else why it cannot be."""
    if len(prompts.prefix) < SHORT_PREFIX:
        return ""
    inner = unwrap(model)
    if not getattr(inner, "_supports_attention_backend", False):
        return f"{type(inner).__name__} has no exchangeable attention"
    probe = Prompts((0,), prompts.prefix[:PROBE], [min(prompts.suffixes, key=len)])
    with routed(model):
        try:
            shared = _Reader(model, probe, shared=True).last_hidden([0])
        except Unroutable as error:
            return str(error)
    plain = _Reader(model, probe, shared=False).last_hidden([0])
    return None if _agree(shared, plain) else "its attention is not plainly causal (probe differs)"


def _check_readout(model: nn.Module, head: nn.Module, prompts: Prompts) -> None:
    """Compare the parts of the model with the whole on one short row."""
    row = Prompts((0,), prompts.prefix[:PROBE], [min(prompts.suffixes, key=len)])
    reader = _Reader(model, row, shared=False)
    whole = unwrap(model)(input_ids=reader.padded([0])[0], use_cache=False).logits[:, -1]
    if not _agree(head(reader.last_hidden([0])), whole):
        name = type(unwrap(model)).__name__
        raise UserError(f"{name}: its logits are not its last hidden states times its head")


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether two results of one computation differ by rounding only (NaN passes)."""
    scale = expected.abs().max().float()
    difference = (found.float() - expected.float()).abs().max()
    return not difference > TOLERANCE.get(expected.dtype, HALF_TOLERANCE) * scale


class _Reader:
    """Turns rows of prompts into the hidden states of their last tokens."""

    def __init__(self, model: nn.Module, prompts: Prompts, shared: bool):
        self.backbone, self.prompts, self.shared = backbone(model), prompts, shared
        self.device = next(model.parameters()).device
        self.prefix = SharedPrefix()
        if shared:
            ids = torch.tensor([prompts.prefix], device=self.device)
            self._call(ids, 0)
            self.prefix.encoding = False
            if not self.prefix.layers:
                raise Unroutable("its attention is not exchangeable")

    @property
    def lengths(self) -> list[int]:
        """Return the tokens that each row adds to a batch."""
        whole = self.prompts.lengths
        return [len(row) for row in self.prompts.suffixes] if self.shared else whole

    def padded(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids [rows, longest], padded on the right, and the last positions [rows].

        Causal attention keeps padding on the right out of all real tokens: no mask is needed.
        """
        start = () if self.shared else self.prompts.prefix
        tokens = [start + self.prompts.suffixes[row] for row in rows]
        ids = np.zeros((len(rows), max(map(len, tokens))), dtype=np.int64)
        for i, row in enumerate(tokens):
            ids[i, : len(row)] = row
        last = torch.tensor([len(row) - 1 for row in tokens])
        return torch.from_numpy(ids).to(self.device), last.to(self.device)

    def last_hidden(self, rows: list[int]) -> torch.Tensor:
        """Return the hidden states [rows, width] from which the next token is predicted."""
        ids, last = self.padded(rows)
        hidden = self._call(ids, len(self.prompts.prefix)) if self.shared else self._plain(ids)
        return hidden[torch.arange(len(rows), device=self.device), last]

    def _call(self, ids: torch.Tensor, start: int) -> torch.Tensor:
        positions = torch.arange(start, start + ids.shape[1], device=self.device)[None]
        return self.backbone(
            input_ids=ids, position_ids=positions, use_cache=False, shared_prefix=self.prefix
        ).last_hidden_state

    def _plain(self, ids: torch.Tensor) -> torch.Tensor:
        return self.backbone(input_ids=ids, use_cache=False).last_hidden_state


def _run(model, prompts, word_ids, head, batch_tokens, shared) -> Scores:
    """Score all rows on one of the two paths."""
    if shared:
        with routed(model):
            return _batches(_Reader(model, prompts, True), word_ids, head, batch_tokens)
    return _batches(_Reader(model, prompts, False), word_ids, head, batch_tokens)


def _batches(reader: _Reader, word_ids, head: nn.Module, batch_tokens: int) -> Scores:
    rows = len(reader.prompts.ids)
    logprobs = np.empty((rows, len(word_ids)), dtype=np.float32)
    normaliser = np.empty(rows, dtype=np.float32)
    argmax = np.empty(rows, dtype=bool)
    words = torch.tensor(list(word_ids), device=reader.device)
    started = reported = time.monotonic()
    done = 0
    for batch in canonical_batches(reader.lengths, batch_tokens):
        logits = head(reader.last_hidden(batch)).float()
        total = torch.logsumexp(logits, dim=-1)
        logprobs[batch] = (logits[:, words] - total[:, None]).cpu().numpy()
        normaliser[batch] = total.cpu().numpy()
        argmax[batch] = torch.isin(logits.argmax(dim=-1), words).cpu().numpy()
        done += len(batch)
        now = time.monotonic()
        # A set that took no time to score is not worth a line: training scores after every epoch.
        if now - reported >= PROGRESS or (done == rows and now - started >= 1.0):
            reported = now
            log.info("%d of %d rows, %.1f rows/s", done, rows, done / max(now - started, 1e-9))
    return Scores(logprobs, normaliser, argmax, "shared prefix" if reader.shared else "plain")
