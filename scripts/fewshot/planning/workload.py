"""How much an adaptation job reads, in rows and tokens, as far as that is known before it runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import curve_sample
from ..prompts.contexts import trained_behind
from ..study.families import family_of
from ..study.other_tasks import fixed_pattern, others_of, trained_seeds
from ..study.task_checks import stated_rows

if TYPE_CHECKING:
    from ..study.study import Cell, Study

DATA = Path("results/data")
"""Where prepared rows are."""
TYPICAL_ROWS = 10_000
"""Rows of a split of which nothing is known: no prepared file, no `expected`, no size."""
TYPICAL_TOKENS = 40.0
"""Tokens of a row's texts of which nothing is known: MNLI's rows have 35, RTE's 65."""
BYTES_PER_TOKEN = 5.0
"""Bytes of English per token: 4.7 to 4.9 for MNLI, RTE and CoLA, 6.1 for HANS's short words, by the
tokenizers of OPT and GPT-NeoX."""
TYPICAL_DOCUMENT = 256.0
"""Tokens of a document, unless a piece has fewer: a long paragraph."""
START, SOLVED = 1, 2
"""Tokens of a row besides its words: the one that texts begin with; of a demonstration its label
word and the separator."""
TURNS = 10
"""Tokens, about, that a chat template writes around a row's two turns (ChatML 9, Llama 3 11)."""
FIELD = re.compile(r"\{\w+\}")
PIECE = re.compile(r"\w+|[^\w\s]")
"""What of a label word is taken for a token."""


@dataclass(frozen=True)
class Split:
    """The rows of a prepared split and the tokens of a row's texts, on average."""

    rows: int
    tokens: float


@dataclass(frozen=True)
class Reading:
    """Rows that are scored `times` times, of so many `tokens` each behind what all begin with, at
    `answers` of which the readout is met."""

    rows: int
    tokens: float
    times: int = 1
    answers: float = 1


@dataclass(frozen=True)
class Work:
    """What a job does for each of its `seeds`.

    `curve` is what is scored for the learning curve, `score` all rows of what is kept. In front of
    each row stand `context` tokens, which are encoded once, and `learned` keys. `rows` of `row`
    tokens are trained on in each of the `epochs`, each row as often as it is read (AnswerSize).
    `predictions` are the rows that are stored. What is read `once` serves all seeds. Of a context
    that is not expected to fit the window (`fits` is false) that much is read as would.
    """

    seeds: int
    score: tuple[Reading, ...]
    curve: tuple[Reading, ...] = ()
    once: tuple[Reading, ...] = ()
    context: float = 0.0
    learned: int = 0
    rows: int = 0
    row: float = 0.0
    epochs: int = 0
    predictions: int = 0
    fits: bool = True

    @property
    def evaluated(self) -> int:
        """Return the rows of all evaluation sets."""
        return sum(each.rows for each in self.once or self.score)


class Splits:
    """The sizes of a study's splits: as prepared in `folder`, or else as its tasks tell."""

    def __init__(self, tasks: Mapping[str, Mapping], folder: Path = DATA):
        self.tasks, self.folder = tasks, folder
        self._known: dict[tuple[str, str], Split] = {}

    def of(self, task: str, split: str) -> Split:
        """Return the size of a split, "train" or "validation"; it is looked up once."""
        key = (task, split)
        if key not in self._known:
            entry = self.tasks[task]
            path = self.folder / entry.get("base", task) / f"{split}.parquet"
            found = prepared(path) if path.is_file() else None
            told = entry.get("row_tokens", {}).get(split)
            self._known[key] = Split(
                found.rows if found else told_rows(entry, self.tasks, split),
                told or (found and found.tokens) or TYPICAL_TOKENS,
            )
        return self._known[key]


def told_rows(entry: Mapping, tasks: Mapping[str, Mapping], split: str) -> int:
    """Return the rows that a split will have by its task's entry; TYPICAL_ROWS where it does not
    tell."""
    _, rows = stated_rows(entry, tasks, split) or ("", TYPICAL_ROWS)
    return sum(rows.values()) if isinstance(rows, Mapping) else rows


def prepared(path: Path) -> Split | None:
    """Return the size of a prepared split (schemas.ROWS) by its file's metadata alone.

    A column of texts takes the bytes of its different texts: as the scorer reads what rows have in
    common once, so is a repeated text stored once. Rows that were imported without texts have no
    tokens. None where the file cannot be read: the job that reads it will say why.
    """
    # Imported here: without prepared rows Snakemake starts the faster.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    columns = (found.row_group(i).column(j) for i in range(found.num_row_groups)
               for j in range(found.num_columns))  # fmt: skip
    size = sum(each.total_uncompressed_size for each in columns
               if each.path_in_schema in ("text_a", "text_b"))  # fmt: skip
    return Split(found.num_rows, size / BYTES_PER_TOKEN / max(found.num_rows, 1))


def work_of(study: "Study", splits: Splits, cell: "Cell", seeds: int, settings: Mapping) -> Work:
    """Return what a job of `cell` does for so many seeds; `settings` are its method's."""
    around = template_tokens(study, cell)
    others = [*study.out_of_domain(cell.task, cell.protocol), *study.probes(cell.task)]
    sets = [splits.of(name, "validation") for name in (cell.task, *(name for name, _ in others))]
    answer = answer_size(study, cell, settings)
    whole = [Reading(each.rows, each.tokens + around + answer.forked) for each in sets]
    trained_with = settings.get("train_patterns") or [cell.pattern]
    texts = [template_tokens(study, replace(cell, pattern=name)) for name in trained_with]
    around = sum(texts) / len(texts)
    row = splits.of(cell.task, "train").tokens + around if cell.k else 0.0
    if study.scores_texts(cell.pattern):  # Each behind each label word.
        labels = len(study.tasks[cell.task]["labels"])
        whole = [replace(each, times=labels, answers=each.tokens) for each in whole]
    if family_of(settings).shows_context:
        return _shown(study, cell, seeds, whole, row, settings)
    if family_of(settings).baseline:
        shots = (Reading(cell.k, row),) if cell.k else ()
        stored = sum(each.rows for each in whole)
        return Work(seeds, shots, once=tuple(whole), predictions=stored)
    shots = min(cell.k * (row + SOLVED), study.model(cell.model)["window"])
    settings = with_learned_context(settings, shots)
    virtual = settings.get("virtual_tokens", 0)
    learned = virtual if family_of(settings).learned_keys else 0
    context = shots if "score_context" in settings else 0.0
    points = len(curve_sample.curve_epochs(settings["curve_epochs"], settings["epochs"]))
    limit = curve_sample.row_limit(settings["curve_rows"])
    counted = [each.rows for each in whole]
    if study.chooses_by_half:
        counted[0] //= 2
    counted = [min(rows, limit or rows) for rows in counted]
    # The best epoch is scored on all rows; the last one on those that its curve did not count.
    best = int(points > 1)
    score = [
        Reading(each.rows, each.tokens, best + (rows < each.rows))
        for each, rows in zip(whole, counted, strict=True)
    ]
    curve = [Reading(rows, each.tokens, points) for each, rows in zip(whole, counted, strict=True)]
    row = min(row, settings.get("truncate") or row) + virtual - learned + answer.tokens - 1
    rows = trained_rows(settings, cell.k)
    if "unlabelled_rows" in settings:  # Which the teacher reads behind the shots.
        score.append(Reading(rows, row + shots / rows, settings["rounds"]))
    asked = elsewhere(study, splits, cell, others_of(study, cell.task)) if study.forgetting else []
    if "train_context" in settings:
        row = min(row + shots * (1 - 1 / cell.k), study.model(cell.model)["window"])
    return Work(
        seeds, (*score, *asked), tuple(curve), context=context + virtual - learned, learned=learned,
        rows=rows * answer.readings, row=row, epochs=settings["epochs"],
        predictions=(1 + best) * sum(each.rows for each in whole) + read_rows(asked),
    )  # fmt: skip


def unadapted_work(study: "Study", splits: Splits, cell: "Cell") -> Work:
    """Return what the job does that measures the model of a cell before any adaptation."""
    seeds = len(trained_seeds(study, cell.model))
    read = elsewhere(study, splits, cell, study.forgetting.tasks, seeds)
    return Work(1, tuple(read), predictions=read_rows(read))


def read_rows(read: Sequence[Reading]) -> float:
    """Return how many rows are scored in all."""
    return sum(each.times * each.rows for each in read)


def elsewhere(
    study: "Study", splits: Splits, cell: "Cell", tasks: Sequence[str], seeds: int = 1
) -> list[Reading]:
    """Return what is read for `forgetting` of a cell's model: documents, all of whose tokens are
    predicted, and other tasks' rows, behind each number of shots, those of each seed."""
    told, found = study.forgetting, []
    for name in told.texts:
        tokens = min(study.texts[name]["tokens"], TYPICAL_DOCUMENT)
        found.append(Reading(study.texts[name]["rows"], tokens, answers=tokens))
    for name in tasks:
        rows = splits.of(name, "validation")
        count = min(rows.rows, told.rows)
        around = template_tokens(
            study, replace(cell, task=name, pattern=fixed_pattern(study, name))
        )
        shots = [k * (splits.of(name, "train").tokens + around + SOLVED) if k else 0.0
                 for k in told.k]  # fmt: skip
        found += [
            Reading(count, rows.tokens + around + context / count, seeds if context else 1)
            for context in shots
        ]
    return found


def trained_rows(settings: Mapping, k: int) -> int:
    """Return the rows of an epoch: the shots, or those that context distillation trains on."""
    return settings.get("unlabelled_rows", k)


def batch_rows(settings: Mapping, k: int) -> int:
    """Return the rows of a training step."""
    return min(settings["batch_size"], trained_rows(settings, k))


def with_learned_context(settings: Mapping, tokens: float) -> Mapping:
    """Return the settings with as many virtual tokens as a context has that is trained itself."""
    learned = trained_behind(settings) == "all"
    return {**settings, "virtual_tokens": int(tokens)} if learned else settings


@dataclass(frozen=True)
class ShotsByPlace:
    """Where k shots stand: `shared` of them in each of the `contexts` that every row is read
    behind, and `by_row` between this and a row, other ones for each."""

    shared: int
    contexts: int = 1
    by_row: int = 0


def shots_by_place(k: int, settings: Mapping) -> ShotsByPlace:
    """Return where the k shots of a method stand that shows them."""
    shown = settings.get("shown")
    if not shown or not k:
        return ShotsByPlace(k)
    if "cached" in settings:
        return ShotsByPlace(settings["cached"], by_row=shown)
    return ShotsByPlace(shown, -(-k // shown))


def held_out(work: Work, k: int, folds: int) -> Work:
    """Return what the job does that scores the shots of the same cell and seeds, held out in turn:
    as `work` for each fold, but for the rows that are scored."""
    rows = -(-k // folds)
    curve, score = (
        tuple(replace(each, rows=rows) for each in readings[:1])
        for readings in (work.curve, work.score)
    )
    kept = curve[0].times if curve else 1
    return replace(
        work, seeds=work.seeds * folds, curve=curve, score=score, predictions=kept * rows
    )


def _shown(
    study: "Study", cell: "Cell", seeds: int, whole: list[Reading], row: float, settings: Mapping
) -> Work:
    """Return the work of an in-context job, whose demonstrations are rows of `row` tokens, solved.

    Rows whose own states choose their shots are read once for all seeds in truth; the few tokens
    are counted for each.
    """
    places, solved = shots_by_place(cell.k, settings), row + SOLVED
    context, own = places.shared * solved, places.by_row * solved
    room = study.model(cell.model)["window"] - max(each.tokens for each in whole)
    twice = settings.get("similarity") == "states"
    read = [
        replace(
            each,
            tokens=(1 + twice) * each.tokens + min(own, room),
            times=each.times * places.contexts,
        )
        for each in whole
    ]
    return Work(
        seeds, tuple(read), context=max(0.0, min(context, room - own)), fits=context + own <= room,
        predictions=sum(each.rows for each in whole),
    )  # fmt: skip


@dataclass(frozen=True)
class AnswerSize:
    """How a row's label words are read, about: in training `readings` times, `tokens` being asked
    for each time at most; in scoring with `forked` tokens besides the prompt."""

    readings: int = 1
    tokens: int = 1
    forked: int = 0


def answer_size(study: "Study", cell: "Cell", settings: Mapping) -> AnswerSize:
    """Return how label words are read; a loss other than `vocabulary` reads all that are long."""
    if settings["head"] != "language-model":
        return AnswerSize()
    if study.scores_texts(cell.pattern):
        return AnswerSize()
    end = bool(settings.get("end_token"))
    words, *others = (
        [max(1, len(PIECE.findall(word))) + end for word in study.bind(name, cell.task).words]
        for name in (cell.pattern, *settings.get("train_patterns", ()))
    )
    longest = max(map(max, others or [words]))
    every = longest > 1 and settings.get("loss", "") != "vocabulary"
    return AnswerSize(len(words) if every else 1, longest, sum(words) - len(words))


def template_tokens(study: "Study", cell: "Cell") -> float:
    """Return the tokens that a pattern puts around a row's texts, before its label word."""
    entry = study.patterns[cell.pattern]
    two = len(study.tasks[cell.task]["text"]) > 1
    text = entry["template" if two else "template_one_text"] + entry.get("query", entry["answer"])
    markup = TURNS if study.chat(cell.model) else 0
    return START + markup + len(FIELD.sub("", text)) / BYTES_PER_TOKEN
