"""Score label words as continuations of prompts; the one scorer of all methods.

The tokens that all prompts share are encoded once (`attention.py`). Rows are cut into canonical
batches by a pure function of their lengths and a constant (`layout.py`), so that predictions do not
depend on memory, processes or order. Only positions that predict a label word meet the readout.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .attention import Unroutable, routed
from .errors import UserError
from .layout import Piece, canonical_batches, length_of, pieces_of
from .models import readout, unwrap
from .patterns import ranking
from .reading import Reader, out_of_memory
from .tokens import Prompts
from .world import World

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
TIE = 1e-5
"""Difference of log-probabilities below which another way to cut rows may turn a prediction."""


@dataclass(frozen=True)
class Scores:
    """One entry per row, in the order of the prompts' ids.

    logprobs: float32 [rows, labels], log-probability of each label word over the vocabulary, for
    words of several tokens the sum over them; logsumexp: float32 [rows], the normaliser behind the
    prompt; argmax_is_label: bool [rows], whether the most probable token there starts a label
    word; tokens: int16 [rows, labels], the tokens of each word. Words are ranked by `rank_by`, the
    "sum" or the "mean" over tokens. `route` is "shared prefix" or "plain", with a reason where the
    prefix could have been shared. `splits` counts batches that were halved as memory ran out.
    """

    logprobs: np.ndarray
    logsumexp: np.ndarray
    argmax_is_label: np.ndarray
    tokens: np.ndarray
    route: str
    splits: int = 0
    rank_by: str = "sum"

    @property
    def ranking(self) -> np.ndarray:
        """Return what is largest for the predicted label, float64 [rows, labels]."""
        return ranking(self.logprobs, self.tokens, self.rank_by)

    @property
    def ties(self) -> int:
        """Return the rows whose two best label words differ by less than `TIE`."""
        gaps = np.diff(np.sort(self.ranking, axis=1), axis=1)[:, -1:]
        return int((gaps < TIE).sum())


def score(
    model: nn.Module,
    prompts: Prompts,
    *,
    batch_tokens: int,
    head: nn.Module | None = None,
    world: World | None = None,
    sharded: bool = False,
    rank_by: str = "sum",
) -> Scores:
    """Return the scores of each prompt's label words as its continuation.

    `head`, from hidden states [n, width] to logits [n, labels], takes the place of the readout
    over the vocabulary (the words are then its classes). The processes of `world` share the
    batches; each gets all scores. If `sharded`, none of them can read without the others (ZeRO
    stage 3). `rank_by` says whether the sum or the mean over a word's tokens ranks it. The model is
    scored in evaluation mode and comes back as it was. Raises UserError for a prompt longer than
    the model's window, and for a row that does not fit in memory.
    """
    if len(prompts.words) != len(prompts.ids):
        raise ValueError("prompts without label words cannot be scored")
    _check_window(model, prompts)
    world = world or World()
    with _evaluation(model):
        if head is None:
            head = readout(model)
            _check_readout(model, head, prompts)
        reason = _why_plain(model, prompts)
        if reason is None:
            try:
                with routed(model):
                    reader = Reader(model, prompts, shared=True)
                    scores = _Run(reader, head, batch_tokens, world, sharded).scores()
                return replace(scores, rank_by=rank_by)
            except Unroutable as error:
                reason = str(error)
        if reason:
            log.warning("the context is read again for every row, since %s", reason)
        reader = Reader(model, prompts, shared=False)
        scores = _Run(reader, head, batch_tokens, world, sharded).scores()
        return replace(scores, rank_by=rank_by, route=f"plain: {reason}" if reason else "plain")


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
    lengths = prompts.lengths
    length = max(lengths)
    longest = lengths.index(length)
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
    probe = _probe(prompts)
    (piece,) = pieces_of(probe, packed=True)
    with routed(model):
        try:
            shared = Reader(model, probe, shared=True).hidden([piece])[0]
        except Unroutable as error:
            return str(error)
    plain = Reader(model, probe, shared=False).hidden([piece])[0]
    return None if _agree(shared, plain) else "its attention is not plainly causal (probe differs)"


def _probe(prompts: Prompts) -> Prompts:
    """Return one short row of one short word."""
    row = min(range(len(prompts.ids)), key=lambda i: len(prompts.suffixes[i]))
    word = prompts.words[row][0][:1]
    return Prompts((0,), prompts.prefix[:PROBE], [prompts.suffixes[row]], [(word,)])


def _check_readout(model: nn.Module, head: nn.Module, prompts: Prompts) -> None:
    """Compare the parts of the model with the whole on one short row."""
    probe = _probe(prompts)
    reader = Reader(model, probe, shared=False)
    (piece,) = pieces_of(probe, packed=True)
    ids = torch.tensor([probe.prefix + probe.suffixes[0]], device=reader.device)
    whole = unwrap(model)(input_ids=ids, use_cache=False).logits[:, -1]
    if not _agree(head(reader.hidden([piece])[0]), whole):
        name = type(unwrap(model)).__name__
        raise UserError(f"{name}: its logits are not its last hidden states times its head")


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether two results of one computation differ by rounding only (NaN passes)."""
    scale = expected.abs().max().float()
    difference = (found.float() - expected.float()).abs().max()
    return not difference > TOLERANCE.get(expected.dtype, HALF_TOLERANCE) * scale


class _Run:
    """One pass over all rows: batches in their order, halved where memory runs out."""

    def __init__(self, reader: Reader, head: nn.Module, batch_tokens: int, world: World, sharded):
        self.reader, self.head, self.world, self.sharded = reader, head, world, sharded
        prompts = reader.prompts
        pieces = pieces_of(prompts, packed=reader.shared)
        lengths = [length_of(prompts, piece, len(reader.start)) for piece in pieces]
        batches = canonical_batches(lengths, batch_tokens)
        portions = world.portions([len(batch) * lengths[batch[-1]] for batch in batches])
        self.batches = [[pieces[i] for i in batches[j]] for j in portions[world.rank]]
        # Where no process can read alone, one with less to do reads a row again.
        idle = max(map(len, portions)) - len(self.batches)
        self.idle = [[pieces[batches[0][0]]]] * idle if sharded else []
        rows, labels = len(prompts.ids), len(prompts.words[0])
        self.logprobs = np.zeros((rows, labels))
        self.normaliser = np.zeros(rows, dtype=np.float32)
        self.argmax = np.zeros(rows, dtype=np.int8)
        self.splits = 0
        self._waiting: tuple | None = None

    def scores(self) -> Scores:
        """Read all batches and return every process's scores to each."""
        started = reported = time.monotonic()
        done, total = 0, sum(map(len, self.batches))
        for batch in self.batches:
            self._read(batch)
            done += len(batch)
            now = time.monotonic()
            # A set that took no time is not worth a line: training scores after every epoch.
            if now - reported >= PROGRESS or (done == total and now - started >= 1.0):
                reported = now
                log.info("%d of %d rows, %.1f rows/s", done, total, done / max(now - started, 1e-9))
        for batch in self.idle:
            self._forward(batch)
        self._enter()
        logprobs, normaliser, argmax, splits = (
            self.world.sum(torch.from_numpy(part)).numpy()
            for part in (self.logprobs, self.normaliser, self.argmax, np.array([self.splits]))
        )
        route = "shared prefix" if self.reader.shared else "plain"
        words = [[len(word) for word in each] for each in self.reader.prompts.words]
        return Scores(
            logprobs.astype(np.float32), normaliser, argmax.astype(bool),
            np.array(words, dtype=np.int16), route, int(splits[0]),
        )  # fmt: skip

    def _read(self, batch: list[Piece]) -> None:
        try:
            made = self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            made = None
        # The batch before this one is fetched while a GPU works on this one.
        self._enter()
        self._waiting = made
        if made is not None:
            return
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        self._check_split(batch)
        if self.reader.device.type == "cuda":
            torch.cuda.empty_cache()
        self.splits += 1
        half = len(batch) // 2
        self._read(batch[:half])
        self._read(batch[half:])

    def _check_split(self, batch: list[Piece]) -> None:
        prompts, (row, _) = self.reader.prompts, batch[-1]
        longest = length_of(prompts, batch[-1], len(self.reader.start))
        if self.sharded and self.world.size > 1:
            raise UserError(
                f"memory ran out on a batch of {len(batch)} rows of up to {longest} tokens, which "
                "cannot be halved where processes share the weights: lower batch_tokens"
            )
        if len(batch) == 1:
            raise UserError(
                f"row {prompts.ids[row]}: reading its {longest} tokens alone takes more memory "
                "than there is; use a larger machine or a smaller model"
            )
        log.warning(
            "memory ran out on %d rows of up to %d tokens: halved (results may differ by rounding)",
            len(batch), longest,
        )  # fmt: skip

    def _forward(self, batch: list[Piece]) -> tuple:
        """Return a batch's log-probabilities, normalisers and top tokens with its layout."""
        hidden, layout = self.reader.hidden(batch)
        logits = self.head(hidden).float()
        total = torch.logsumexp(logits, dim=-1)
        read, token = (torch.from_numpy(layout.targets[:, i]).to(logits.device) for i in (0, 3))
        return logits[read, token] - total[read], total, logits.argmax(dim=-1), layout

    def _enter(self) -> None:
        """Enter the results of the batch that is waiting, if one is."""
        if self._waiting is None:
            return
        found, total, top, layout = self._waiting
        self._waiting = None
        _, row, word, _ = layout.targets.T
        # In order and in double precision: a word's tokens add up alike everywhere.
        np.add.at(self.logprobs, (row, word), found.double().cpu().numpy())
        read, row = layout.trunks.T
        self.normaliser[row] = total.cpu().numpy()[read]
        words = self.reader.prompts.words
        self.argmax[row] = [
            any(token == each[0] for each in words[i])
            for token, i in zip(top.cpu().numpy()[read].tolist(), row.tolist(), strict=True)
        ]
