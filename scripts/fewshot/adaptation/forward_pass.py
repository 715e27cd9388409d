"""A forward pass of training, for a seed or for several at once: what the model answers."""

from collections.abc import Sequence

import numpy as np
import torch

from ..methods.losses import Answers
from ..prompts.patterns import best_words
from .setup import SeedRun
from .stacked_model import divided, joined, stacked


class ForwardPass:
    """Reads rows of all seeds of `runs`, as many of each, by their models as one."""

    def __init__(self, runs: Sequence[SeedRun]):
        self.runs = tuple(runs)
        self.model = stacked([run.engine.trainable for run in runs])
        # DeepSpeed's engine must do the pass itself. Seeds together have plain engines only.
        self._read = runs[0].engine.forward if len(runs) == 1 else self.model

    def answers(self, rows: Sequence[np.ndarray]) -> list[Answers]:
        """Return what each seed's model answers to its `rows` of the draw."""
        runs, device = self.runs, self.runs[0].device
        read = [run.rows.together(own) for run, own in zip(runs, rows, strict=True)]
        parts = [(ids, places) for ids, places, _ in read]
        ids, places = (part.to(device) for part in joined(parts))
        keys = [_keys(run, own) for run, own in zip(runs, rows, strict=True)]
        own = () if runs[0].prompts.own is None else (own_shots(runs[0], rows[0]),)
        with runs[0].masks.drawn(np.concatenate(keys), device):
            logits = divided(self._read(ids, places, *own), parts)
        return [
            _answers(run, own, *each, found)
            for run, own, each, found in zip(runs, rows, read, logits, strict=True)
        ]


def _keys(run: SeedRun, rows: np.ndarray) -> np.ndarray:
    """Return the keys of dropout of each sequence that is read of some rows."""
    readings = run.rows.lengths.shape[1]
    sequences = (rows[:, None] * readings + np.arange(readings)).ravel()
    return run.masks.keys(run.progress.step, sequences)


def _answers(
    run: SeedRun,
    rows: np.ndarray,
    ids: torch.Tensor,
    places: torch.Tensor,
    tokens: torch.Tensor,
    logits: torch.Tensor,
) -> Answers:
    """Return what a seed's model answers with `logits` to what was read of some rows."""
    ids, places, tokens = (part.to(run.device) for part in (ids, places, tokens))
    labels, words = run.rows.labels[rows].to(run.device), run.rows.words
    words = None if words is None else words[rows].to(run.device)
    pattern, characters = run.setup.job.pattern, None
    if pattern.rank_by == "characters":
        characters = torch.tensor(pattern.characters, device=run.device)
    mean = run.setup.job.settings.get("answer_loss", "mean") == "mean"
    by_mean = pattern.rank_by == "mean"
    teacher = None
    if run.teacher is not None:
        teacher = run.teacher.of(torch.from_numpy(rows).to(run.device))
    return Answers(logits, tokens, places, ids, labels, words, mean, by_mean, characters, teacher)


def own_shots(run: SeedRun, rows: np.ndarray) -> torch.Tensor:
    """Return the shot of the draw that each sequence is of, as often as a row is read."""
    own = np.repeat(run.prompts.own[rows], run.rows.lengths.shape[1])
    return torch.from_numpy(own).to(run.device)


@torch.no_grad()
def right(answers: Answers, row_ids: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whether the highest-ranked label word of each row is gold [rows], and whether each
    token of the gold word is the top one; where only that word was read, the latter twice."""
    top = answers.of_gold((answers.logits.argmax(dim=-1) != answers.tokens).float()) == 0
    if not answers.ranked:
        return top, top
    best = torch.from_numpy(best_words(answers.scores().cpu().numpy().T, row_ids))
    return best.to(top.device) == answers.labels, top
