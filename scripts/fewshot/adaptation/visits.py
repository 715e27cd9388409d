"""Which rows of a draw each step of training visits, with which pattern, and what is read so."""

from dataclasses import dataclass

import numpy as np

from ..rng import generator
from . import outputs
from .batches import TrainingRows, epoch_order
from .job import AdaptationJob


@dataclass(frozen=True)
class Visits:
    """The order in which training visits the `rows` of a draw: each once in an epoch, in batches,
    until `steps` are done, with which the last of the `epochs` may end before all are visited.

    Of several `patterns` each visit draws one, independently of the others. Rows are numbered as
    they are in TrainingRows: all with the first pattern, all with the second, and so on.
    """

    rows: int
    batch_size: int
    epochs: int
    steps: int
    patterns: int
    task: str
    seed: int

    def of_epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch, from 1, each an array of rows.

        A pure function of task, seed and epoch: no model, method or placement changes it.
        """
        order = epoch_order(self.rows, self.batch_size, self.task, self.seed, epoch)
        if self.patterns > 1:
            draws = generator("patterns", self.task, self.seed, epoch)
            drawn = draws.integers(self.patterns, size=self.rows)
            order = [drawn[batch] * self.rows + batch for batch in order]
        return order[: self.steps - (epoch - 1) * len(order)]

    def counts(self) -> np.ndarray:
        """Return how often each row is visited with each pattern [patterns × rows]."""
        every = [batch for epoch in range(1, self.epochs + 1) for batch in self.of_epoch(epoch)]
        return np.bincount(np.concatenate(every), minlength=self.patterns * self.rows)


def visits_of(job: AdaptationJob, seed: int) -> Visits:
    """Return the visits of a seed of a job."""
    settings = job.settings
    rows = settings.get("unlabelled_rows", len(job.shots[seed]))
    batch_size, epochs = settings["batch_size"], settings["epochs"]
    steps = settings.get("steps", epochs * -(-rows // batch_size))
    patterns = max(1, len(job.train_patterns))
    return Visits(rows, batch_size, epochs, steps, patterns, job.base, seed)


def training_tokens(rows: TrainingRows, visits: Visits, learned_keys: int) -> dict[str, float]:
    """Return `outputs.training_tokens`, which are means over the epochs where these differ."""
    facts = outputs.training_tokens(rows, visits.epochs, learned_keys)
    counts = visits.counts()
    if (counts == visits.epochs).all():
        return facts
    lengths = rows.lengths
    answers, visited = counts @ rows.tokens.sum(axis=1), counts.sum()
    totals = {
        "rows": visited,
        "tokens": counts @ lengths.sum(axis=1),
        "squares": counts @ (lengths**2).sum(axis=1),
        **({"answers": answers} if answers != visited else {}),
    }
    facts.pop("answers", None)
    return facts | {key: float(total / visits.epochs) for key, total in totals.items()}
