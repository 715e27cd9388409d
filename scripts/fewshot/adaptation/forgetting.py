"""What else changes when a model is adapted: its loss on texts, and its answers to other tasks.

The same is measured before any adaptation (`unadapted.py`) and, of what is trained, after the last
epoch, by the scorer of all evaluation sets. Methods with virtual tokens or learned prefixes have
these in front, as they are deployed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import schemas, storage
from ..data.curve_sample import stratified_sample
from ..data.shots import read_shots
from ..errors import UserError
from ..prompts.chat import read_pattern
from ..prompts.label_words import label_words
from ..prompts.patterns import Pattern
from ..prompts.pieces import Pieces, pieces_of
from ..prompts.set_queries import SetQueries
from ..prompts.tokenize import Prompts
from ..rng import generator
from ..scoring.scores import Scores

LOG = logging.getLogger(__name__)
TEXT, TASK = "text", "task"

Scorer = Callable[[str, Prompts, Pattern | None], Scores]
"""Returns the scores of prompts: given the name of what they are of, they themselves, and the
pattern that ranks their label words; without one they are texts, which the model's readout over the
vocabulary scores."""


@dataclass(frozen=True)
class OtherTask:
    """Rows (schemas.ROWS) of another task and the pattern that they are asked with; `shots[k,
    seed]` are the rows that stand in the context."""

    name: str
    pattern: Pattern
    rows: pd.DataFrame
    shots: Mapping[tuple[int, int], pd.DataFrame]


@dataclass(frozen=True)
class ReadingMode:
    """How a model reads what is measured: `virtual_ids` in front of each prompt, `ahead` positions
    of learned keys and values in front of these, and label words unless it has a head of its own.
    """

    virtual_ids: tuple[int, ...] = ()
    ahead: int = 0
    words: bool = True


@dataclass(frozen=True)
class Elsewhere:
    """What is measured of a model outside its task: texts in pieces with the ids of their
    documents, and other tasks, with `k` shots each; nothing longer than the window (tokens) is
    read. `told` are the parameters that say so, `files` those that all was read from."""

    texts: Mapping[str, tuple[np.ndarray, Pieces]]
    tasks: Sequence[OtherTask]
    k: tuple[int, ...]
    window: int
    queries: SetQueries
    told: Mapping[str, object]
    files: tuple[str, ...]

    @property
    def checksums(self) -> dict[str, str]:
        """Return the sha256 of each of the files, read now."""
        return {path: storage.sha256(path) for path in self.files}

    @property
    def facts(self) -> dict[str, dict]:
        """Return what a manifest tells of the texts: documents, pieces, documents that were cut."""
        return {
            name: {"documents": pieces.count, "pieces": len(pieces.tokens), "cut": pieces.cut}
            for name, (_, pieces) in self.texts.items()
        }

    def measure(
        self, cell: Mapping, seeds: Sequence[int], mode: ReadingMode, score: Scorer
    ) -> pd.DataFrame:
        """Return all that is measured of a model (schemas.FORGETTING): texts, and tasks without
        shots, once, as of the first of the seeds; tasks with shots for each seed's draw."""
        parts = [self._texts(cell, seeds[0], mode, score)]
        for k in self.k:
            for seed in seeds if k else seeds[:1]:
                parts.append(self._tasks(cell, seed, k, mode, score))
        return _together([part for part in parts if len(part)])

    def _texts(self, cell: Mapping, seed: int, mode: ReadingMode, score: Scorer) -> pd.DataFrame:
        """Return the losses (schemas.FORGETTING) of all texts."""
        found = []
        for name, (ids, pieces) in self.texts.items():
            prompts = pieces.prompts.behind(mode.virtual_ids)
            fits, logprobs = self._fits(prompts, mode), np.full(len(prompts.ids), np.nan)
            if fits.any():
                part = _part(prompts, fits)
                logprobs[fits] = score(f"text {name}", part, None).logprobs[:, 0]
                _check_finite(cell, seed, f"text '{name}', document", part.ids, logprobs[fits])
            _say_unfit(cell, seed, f"pieces of text '{name}'", fits)
            found.append(
                _rows(cell, seed, name, TEXT, 0, ids).assign(
                    tokens=pieces.document_tokens, loss=pieces.losses(logprobs)
                )
            )
        return _together(found)

    def _tasks(
        self, cell: Mapping, seed: int, k: int, mode: ReadingMode, score: Scorer
    ) -> pd.DataFrame:
        """Return the answers (schemas.FORGETTING) to the rows of all tasks behind `k` shots."""
        found = []
        for task in self.tasks:
            rows = _rows(cell, seed, task.name, TASK, k, task.rows["id"])
            if mode.words:
                rows = rows.assign(correct=self._answers(task, cell, seed, k, mode, score))
            found.append(rows)
        return _together(found)

    def _answers(
        self, task: OtherTask, cell: Mapping, seed: int, k: int, mode: ReadingMode, score: Scorer
    ) -> np.ndarray:
        """Return whether each row is right, or None where its prompt does not fit."""
        pattern, name = task.pattern, f"task {task.name}"
        queries = self.queries.of(pattern, name, task.rows)
        shots = task.shots[k, seed] if k else None
        context = pattern.context(()) if shots is None else pattern.context_of(shots)
        prompts = queries.prompts(context).behind(mode.virtual_ids)
        fits = self._fits(prompts, mode)
        correct = np.full(len(fits), None, dtype=object)
        if fits.any():
            scores, rows = score(name, _part(prompts, fits), pattern), task.rows[fits]
            ids = rows["id"].to_numpy()
            _check_finite(cell, seed, f"task '{task.name}', row with id", ids, scores.logprobs)
            correct[fits] = scores.best_words(ids) == rows["label"].to_numpy()
        _say_unfit(cell, seed, f"prompts of task '{task.name}' with {k} shots", fits)
        return correct

    def _fits(self, prompts: Prompts, mode: ReadingMode) -> np.ndarray:
        return np.array(prompts.lengths) + mode.ahead <= self.window


def _part(prompts: Prompts, chosen: np.ndarray) -> Prompts:
    return prompts if chosen.all() else prompts.of_rows(np.flatnonzero(chosen).tolist())


def _check_finite(
    cell: Mapping, seed: int, what: str, names: Sequence[object], logprobs: np.ndarray
) -> None:
    wrong = np.flatnonzero(~np.isfinite(logprobs.reshape(len(names), -1)).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{'/'.join(map(str, cell.values()))}: seed {seed}: {what} {names[wrong[0]]}: the "
            f"score is not finite ({len(wrong)} such scores); valid: another dtype in models.yaml "
            "or, of what is trained, a lower learning_rate in methods.yaml"
        )


def _say_unfit(cell: Mapping, seed: int, what: str, fits: np.ndarray) -> None:
    if not fits.all():
        LOG.warning("%s: seed %d: %d of %d %s do not fit the window and are not scored",
                    "/".join(map(str, cell.values())), seed, (~fits).sum(), len(fits),
                    what)  # fmt: skip


def _rows(
    cell: Mapping, seed: int, source: str, kind: str, shots: int, ids: Sequence[int]
) -> pd.DataFrame:
    """Return a row (schemas.FORGETTING) for each id, of which nothing is measured yet."""
    told = {**cell, "seed": seed, "source": source, "kind": kind, "shots": shots}
    return pd.DataFrame(
        {**told, "id": np.asarray(ids), "tokens": None, "loss": np.nan, "correct": None}
    )[schemas.FORGETTING.names]


def _together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame(columns=schemas.FORGETTING.names)
    kinds = {"tokens": "Int32", "correct": "boolean"}
    return pd.concat([frame.astype(kinds) for frame in frames], ignore_index=True)


def read_elsewhere(smk, seeds: Sequence[int], queries: SetQueries, window: int) -> Elsewhere:
    """Read what a job of these seeds measures, from its named inputs (see `ForgettingInputs.files`)
    and its parameter `forgetting`; `window` is the model's, in tokens.

    Raises UserError for a text that cannot be read in pieces, for label words that the tokenizer
    cannot tell apart, and for other draws than those of the task's rows.
    """
    told, files, tokenizer = smk.params.forgetting, smk.input, queries.tokenizer
    texts = {}
    for entry, path in zip(told["texts"], files.texts, strict=True):
        documents, name = storage.read_table(path), entry["text"]
        ids = documents["id"].to_numpy()
        pieces = pieces_of(
            tokenizer, documents["text"], ids, entry["tokens"], window, f"text '{name}'"
        )
        texts[name] = ids, pieces
    shown = [k for k in told["k"] if k]
    drawn = iter(files.other_shots)
    trains = list(files.other_train) or [None] * len(told["tasks"])
    tasks = []
    for entry, path, train in zip(told["tasks"], files.other_rows, trains, strict=True):
        paths = {(k, seed): next(drawn) for k in shown for seed in seeds}
        pattern = read_pattern(entry["pattern"], tokenizer)
        rows = _sampled(storage.read_rows(path), told["rows"], entry["base"])
        # Now, and not behind a seed's last epoch.
        label_words(tokenizer, pattern, pattern.queries(rows.head(1))[0])
        shots = read_shots(train, paths) if paths else {}
        tasks.append(OtherTask(entry["task"], pattern, rows, shots))
    paths = (*files.texts, *files.other_rows, *files.other_train, *files.other_shots)
    return Elsewhere(texts, tasks, tuple(told["k"]), window, queries, told, paths)


def _sampled(rows: pd.DataFrame, limit: int, base: str) -> pd.DataFrame:
    """Return at most `limit` rows, the same for all that ask for as many."""
    if len(rows) <= limit:
        return rows
    draw = generator("forgetting", base)
    chosen = stratified_sample(rows, limit, draw, "study: forgetting.rows", base)
    return rows.iloc[chosen].reset_index(drop=True)
