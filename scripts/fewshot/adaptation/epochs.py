"""A pass over the rows of a draw: steps, their loss and rate, what is counted on the way."""

import math

import pandas as pd
import torch
from torch.nn import functional

from .. import records
from ..errors import UserError
from .batches import Piece, epoch_order, pieces
from .marking import HINT
from .preparation import Run


def train_epoch(run: Run, epoch: int) -> pd.DataFrame:
    """Pass over the rows once; return the epoch's row of the training curve.

    Loss and correct rows are those of the forward passes before each step, with dropout.
    """
    job, rows, state = run.setup.job, run.rows, run.progress
    settings, count = job.settings, len(run.rows.labels)
    order = epoch_order(count, settings["batch_size"], job.cell["task"], run.seed, epoch)
    run.engine.student.train()
    with run.phases.measure("train"):
        for batch in order[state.done :]:
            cut = pieces(batch, rows.lengths, run.placement.micro_tokens, job.world)
            _step(run, epoch, cut, len(batch), settings["epochs"] * len(order))
            run.stop.check(job.world)
    loss_sum, correct, correct_vocabulary = state.counts
    return pd.DataFrame(
        [
            {
                **job.cell,
                "seed": run.seed,
                "epoch": epoch,
                "evaluation_set": "train",
                "group": None,
                "subset": None,
                "label": None,
                "sampled": False,
                "n": count,
                "correct": int(correct),
                "correct_vocabulary": int(correct_vocabulary),
                "mean_logprob": -loss_sum / count,
            }
        ],
        columns=records.CURVES.names,
    )


def _step(run: Run, epoch: int, cut: list[Piece], batch: int, total: int) -> None:
    """Compute the mean loss of a batch of that size, piece by piece, and update once."""
    state, world = run.progress, run.setup.job.world
    counts = torch.zeros(3, dtype=torch.float64, device=run.device)
    for piece in cut:
        losses, correct, top = _losses(run, piece)
        counted = torch.from_numpy(piece.counts).to(run.device)
        run.engine.backward((losses * counted).sum() / batch)
        found = torch.stack([losses.detach(), correct, top]).double()
        counts += (found * counted).sum(dim=1)
    counts = world.sum(counts.cpu()).tolist()
    loss = counts[0] / batch
    if not math.isfinite(loss):
        raise UserError(
            f"{run.where}: the loss is {loss} at epoch {epoch}, step {state.step + 1}; the last "
            f"finite loss was {state.last_loss}; {HINT}"
        )
    if not run.engine.step(rate(state.step, total, run.setup.job.settings)):
        state.skipped += 1
    state.last_loss = loss
    state.counts = tuple(a + b for a, b in zip(state.counts, counts, strict=True))
    state.step += 1
    state.done += 1


def rate(step: int, total: int, settings: dict) -> float:
    """Return the learning rate of a step (from 0): a linear rise over the warm-up, then constant.

    The warm-up's last step is the first with the full rate; no step has rate 0.
    """
    warmup = math.ceil(settings["warmup"] * total - 1e-9)
    return settings["learning_rate"] * min(1.0, (step + 1) / max(warmup, 1))


def _losses(run: Run, piece: Piece) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return each row's loss, whether its best label word is gold, whether the top token is."""
    rows, device = run.rows, run.device
    targets = torch.tensor(run.setup.targets, device=device)
    longest = int(rows.lengths[piece.rows].max())
    ids = rows.ids[piece.rows, :longest].to(device)
    labels = rows.labels[piece.rows].to(device)
    last = torch.from_numpy(rows.lengths[piece.rows] - 1).to(device)
    logits = run.engine.forward(ids, last)
    found = logits.detach()
    words = found[:, targets].argmax(dim=-1) == labels
    top = found.argmax(dim=-1) == targets[labels]
    return functional.cross_entropy(logits, targets[labels], reduction="none"), words, top
