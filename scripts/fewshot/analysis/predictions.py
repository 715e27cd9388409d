"""Read stored row predictions, check them against prepared rows and curves, and score them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import schemas, storage
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..prompts.patterns import best_words, ranking
from . import stats
from .label_probabilities import (
    CALIBRATIONS,
    FittedToShots,
    batch_labels,
    contextual_words,
    label_weights,
    log_odds,
    probabilities,
)

BINS = 15
NAMES = ["mcc", "f1", "macro_f1", "brier", "ece", "roc_area", "roc_area_error"]
"""Matthews correlation, F1 of label 1 (two labels only), mean of the labels' F1, Brier score,
expected calibration error, area under the ROC curve and its standard error over rows, or clusters
of them."""
POSITIVE = 1


def row_scores(scored: "PredictedRows") -> dict[str, float]:
    """Return the scores NAMES of one evaluation set's predictions; `f1` is nan for 3 labels and up.

    Probabilities are those of the label words alone. The confidence of the calibration error is the
    probability of the predicted label.
    """
    labels = scored.item.label_count
    confidence = np.take_along_axis(scored.shares, scored.predicted[:, None], axis=1)[:, 0]
    codes = scored.gold * labels + scored.predicted
    confusion = np.bincount(codes, minlength=labels**2).reshape(labels, labels)
    curve = stats.roc_area(log_odds(scored.weights), scored.gold, scored.item.clusters)
    return of_confusion(confusion) | {
        "brier": stats.brier(scored.shares, scored.gold),
        "ece": stats.calibration_error(confidence, scored.correct, BINS),
        "roc_area": curve.area,
        "roc_area_error": curve.error,
    }


def calibrated(
    scored: "PredictedRows",
    content_free: Mapping[str, Sequence[float]],
    fitted: Mapping[str, FittedToShots] | None = None,
) -> dict[str, np.ndarray]:
    """Return whether each row is right after each of CALIBRATIONS that is known, bool [rows].

    `content_free` gives for inputs without content what their label words are ranked by, `fitted`
    the calibrations that were fitted to the shots.
    """
    inputs = {"contextual": list(content_free.values())}
    if "" in content_free:
        inputs["pmi"] = [content_free[""]]
    found = {"batch": batch_labels(scored.shares, scored.ids) == scored.gold}
    for name, ranks in inputs.items():
        if ranks:
            words = contextual_words(scored.ranks, np.array(ranks, dtype=float), scored.ids)
            found[name] = np.asarray(scored.item.merge)[words] == scored.gold
    for name, calibration in (fitted or {}).items():
        if np.isfinite(scored.ranks).all():
            words = calibration.words(scored.ranks, scored.ids)
            found[name] = np.asarray(scored.item.merge)[words] == scored.gold
    return found


def of_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return `mcc`, `f1` and `macro_f1` of confusion matrices [..., gold, predicted]."""
    # For one matrix a number, as the others are: an array of none would be an object in a frame.
    none = np.full(confusion.shape[:-2], np.nan)[()]
    f1 = stats.f1(confusion, POSITIVE) if confusion.shape[-1] == 2 else none
    return {"mcc": stats.matthews(confusion), "f1": f1, "macro_f1": stats.macro_f1(confusion)}


def add_scores(
    rows: pd.DataFrame,
    by_label: pd.DataFrame,
    scored: pd.DataFrame,
    labels: Mapping[str, int],
) -> pd.DataFrame:
    """Return overall metric rows with the columns NAMES.

    `rows` have job, selection, seed, epoch, evaluation_set and n, `by_label` the same counts by
    label. `scored` is that of `predictions.score_predictions` with a job; its scores count where
    they rest on as many rows (a curve's sample has fewer). `labels` gives each set's number of
    labels.
    """
    keys = ["job", "seed", "epoch", "evaluation_set"]
    rows = rows.merge(scored[[*keys, "n", *NAMES]], on=[*keys, "n"], how="left")
    two = rows["evaluation_set"].map(labels).eq(2).to_numpy()
    if two.any():
        scores = of_confusion(_confusions(rows, by_label))
        rows = rows.assign(**{name: np.where(two, scores[name], rows[name]) for name in scores})
    return rows


def _confusions(rows: pd.DataFrame, by_label: pd.DataFrame) -> np.ndarray:
    """Return the confusion matrices [rows, 2, 2] of rows with two labels, from counts by label."""
    keys = ["job", "selection", "seed", "epoch", "evaluation_set"]
    index = pd.MultiIndex.from_frame(rows[keys]).get_indexer(
        pd.MultiIndex.from_frame(by_label[keys])
    )
    label = by_label["label"].to_numpy(dtype=np.int64)
    right = by_label["correct"].to_numpy()
    two = label < 2
    confusion = np.zeros((len(rows), 2, 2), dtype=np.int64)
    np.add.at(confusion, (index[two], label[two], label[two]), right[two])
    wrong = (by_label["n"].to_numpy() - right)[two]
    np.add.at(confusion, (index[two], label[two], 1 - label[two]), wrong)
    return confusion


KEYS = ["seed", "epoch", "evaluation_set"]
KEPT = ("last", "best")
"""The epochs whose row predictions are kept, as these and `curves.kept_epochs` name them."""
CORRECT = ["correct", *(f"correct_{name}" for name in CALIBRATIONS)]
"""Which rows are right: as scored, and after each calibration."""


@dataclass(frozen=True)
class PredictedRows:
    """One evaluation set's rows as predicted by one run (seed and epoch), in ascending id.

    `predicted` [rows] are labels of the set; `ranks` has an array [rows] per label word: what the
    words are ranked by.
    """

    predicted: np.ndarray
    ranks: list[np.ndarray]
    item: EvaluationSet

    @property
    def ids(self) -> np.ndarray:
        """Return the rows' ids [rows]."""
        return self.item.sorted_ids

    @property
    def gold(self) -> np.ndarray:
        """Return the rows' labels [rows]."""
        return self.item.labels

    @property
    def correct(self) -> np.ndarray:
        """Return whether each row is right, bool [rows]."""
        return self.predicted == self.gold

    @cached_property
    def weights(self) -> np.ndarray:
        """Return how likely each label of the set is, [rows, labels]."""
        return label_weights(self.ranks, self.item.merge, self.item.label_count)

    @cached_property
    def shares(self) -> np.ndarray:
        """Return the probability of each label of the set, [rows, labels]."""
        return probabilities(self.weights)


def score_predictions(
    folder: str,
    curves: pd.DataFrame,
    kept: pd.DataFrame,
    sets: list[EvaluationSet],
    content_free: Mapping[tuple[int, int], Mapping[str, Sequence[float]]],
    fitted: Mapping[int, Mapping[str, FittedToShots]] | None = None,
    half: tuple[str, EvaluationSet] | None = None,
    probes: Collection[str] = (),
) -> pd.DataFrame:
    """Return one row per seed, epoch and evaluation set of a run's predictions.

    Columns: seed, epoch, evaluation_set, n, NAMES, and as bits (see `pack`) which rows are right:
    `correct`, and after each calibration, as `correct_batch` (None: not known). `content_free`
    gives, by seed and epoch, what `calibrated` takes, and so does `fitted` by seed. `half` are the
    name of a set and some of its rows, which get rows of their own; a calibration that uses
    evaluation rows uses all of the set's. They alone have two columns more, by part of `half`:
    `vocabulary` counts right rows whose top token starts a label word (nan: not known), `logprob`
    is the sum of gold labels' log-probabilities. Sets that `probes` names are passed over.

    Raises UserError unless the predictions are complete and tell what the run's curves tell. `kept`
    has, per seed, the epochs `last` and `best` whose predictions must be there; predictions of
    further epochs are checked too. `curves` are the run's counts over all rows, without samples.
    """
    path = Path(folder, "predictions.parquet")
    by_name = {item.name: item for item in sets}
    wanted = {
        (seed, epoch, name)
        for column in KEPT
        for seed, epoch in kept[column].items()
        for name in by_name
    }
    curve_counts = _curve_counts(curves, by_name)
    rows = []
    for key, block in read_blocks(path, whole=half is not None):
        if key[2] in probes:
            continue
        if key not in curve_counts:
            raise UserError(f"{path}: {_say(key)} is not in its curves; corrupt run")
        item = by_name[key[2]]
        scored = score_rows(block, item, f"{path}: {_say(key)}")
        counts = np.bincount(item.part_of[scored.correct], minlength=len(item.parts))
        if not np.array_equal(counts, curve_counts[key]):
            raise UserError(
                f"{path}: {_say(key)}: correct rows differ from its curves; corrupt run"
            )
        _check_told(block, scored, kept.loc[key[0]] == key[1], f"{path}: {_say(key)}")
        wanted.discard(key)
        maps = (fitted or {}).get(key[0])
        found = calibrated(scored, content_free.get(key[:2], {}), maps)
        right = {"correct": scored.correct} | {f"correct_{name}": found[name] for name in found}
        rows.append(_scored_row(key, scored, right))
        if half is not None and key[2] == half[0]:
            rows.append(_half_row(key, block, half[1], right, item))
    if wanted:
        raise UserError(f"{path}: {_say(min(wanted))} has no predictions; incomplete run")
    return pd.DataFrame(rows, columns=[*KEYS, "n", *CORRECT, *NAMES, *(HALF if half else ())])


def _check_told(block: dict, scored: PredictedRows, kept: pd.Series, where: str) -> None:
    """Raise UserError where what predictions tell those who read them without this package is not
    what scores and curves tell: right rows, and whether the epoch is the last and the best one."""
    right = block["correct"][np.argsort(block["id"], kind="stable")]
    told = {"correct": right == scored.correct} | {name: block[name] == kept[name] for name in KEPT}
    for name, same in told.items():
        if not same.all():
            raise UserError(f"{where}: column '{name}' differs from scores or curves; corrupt run")


HALF = ("vocabulary", "logprob")
"""Columns of a half's rows, whose counts no curve has: an array [parts] each."""


def _scored_row(key: tuple, scored: PredictedRows, right: Mapping[str, np.ndarray]) -> dict:
    """Return the row of one block, of which `right` tells the right rows by column."""
    row = dict(zip(KEYS, key, strict=True)) | row_scores(scored) | {"n": len(scored.gold)}
    return row | dict.fromkeys(CORRECT) | {name: pack(bits) for name, bits in right.items()}


def _half_row(
    key: tuple,
    block: dict,
    half: EvaluationSet,
    right: Mapping[str, np.ndarray],
    item: EvaluationSet,
) -> dict:
    """Return the row of those rows of a block that `half` has; `item` are all of them, of which
    `right` tells the right ones by column, in ascending id."""
    order = np.argsort(block["id"], kind="stable")
    mine = np.isin(item.sorted_ids, half.sorted_ids)
    at = order[mine]
    words = {name: [values[at] for values in block[name]] for name in ("ranks", "logprobs")}
    part = {name: block[name][at] for name in ("id", "label", "top")} | words
    scored = score_rows(part, half, _say(key))
    # A gold label's probability is the sum over the words that count as it, as in curves.
    gold = [
        np.where(half.labels == label, values.astype(np.float64), -np.inf)
        for label, values in zip(half.merge, part["logprobs"], strict=True)
    ]
    sums = {
        "vocabulary": np.where(scored.correct, part["top"], 0.0),
        "logprob": np.logaddexp.reduce(gold),
    }
    row = _scored_row(
        (*key[:2], half.name), scored, {name: bits[mine] for name, bits in right.items()}
    )
    return row | {
        name: np.bincount(half.part_of, weights=values, minlength=len(half.parts))
        for name, values in sums.items()
    }


def pack(correct: np.ndarray) -> bytes:
    """Return which rows are right as bits, eight rows a byte, the first row's bit the highest."""
    return np.packbits(correct).tobytes()


def unpack(packed: Sequence[bytes], n: int) -> np.ndarray:
    """Return what `pack` was given for each of several sets of `n` rows, bool [sets, n]."""
    size = (n + 7) // 8
    if any(len(bits) != size for bits in packed):
        raise ValueError(f"packed bits do not hold {n} rows")
    bits = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), size)
    return np.unpackbits(bits, axis=1, count=n).astype(bool)


def read_blocks(path: Path, *, whole: bool = False) -> Iterator[tuple[tuple[int, int, str], dict]]:
    """Yield ((seed, epoch, set), {id, label, correct, last, best, ranks}) of a predictions file.

    Blocks are ordered by seed and epoch; ranks is a list of arrays, one per label word: what is
    largest for the predicted label. The `whole` of a block has two entries more: `logprobs` of
    these words, and `top`, whether the top token starts one (1 or 0; nan: not known).
    """
    words, rank_by, characters = _words(path)
    tokens = [name.replace("logprob", "tokens") for name in words] if rank_by == "mean" else []
    top = ["argmax_is_label"] if whole else []
    plain = ["id", "label", "correct", *KEPT]
    table = storage.read_table(path, [*KEYS, *plain, *words, *tokens, *top])
    raw = {f"raw_{name}": table[name].to_numpy() for name in words} if whole else {}
    for name, count in zip(words, tokens, strict=False):
        table[name] = ranking(table[name], table[count], rank_by)
    for name, count in zip(words, characters, strict=False):
        table[name] = ranking(table[name], (), rank_by, count)
    names = table["evaluation_set"].cat.categories
    code = table["evaluation_set"].cat.codes.to_numpy().astype(np.int64)
    seed, epoch = (table[name].to_numpy().astype(np.int64) for name in ("seed", "epoch"))
    key = np.stack([seed, epoch, code])
    columns = {name: table[name].to_numpy() for name in (*plain, *words)} | raw
    for name in top:
        known = table[name].astype("boolean")
        columns["top"] = known.to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.lexsort(key[::-1])
    if np.any(np.diff(order) < 0):
        key, columns = key[:, order], {name: values[order] for name, values in columns.items()}
    edges = [0, *(np.flatnonzero(np.diff(key).any(axis=0)) + 1), key.shape[1]]
    for start, stop in pairwise(edges):
        if start == stop:
            return
        seed, epoch, code = key[:, start].tolist()
        block = {name: columns[name][start:stop] for name in plain}
        block["ranks"] = [columns[name][start:stop] for name in words]
        if whole:
            block["logprobs"] = [columns[name][start:stop] for name in raw]
            block["top"] = columns["top"][start:stop]
        yield (seed, epoch, names[code]), block


def score_rows(block: dict, item: EvaluationSet, where: str) -> PredictedRows:
    """Return the block's predictions in the order of the set's ascending ids.

    Raises UserError unless the block predicts every prepared row of the set exactly once, with
    its gold label and a number for every label word.
    """
    ids, gold, ranks = block["id"], block["label"], block["ranks"]
    if not np.array_equal(ids, item.sorted_ids):
        order = np.argsort(ids, kind="stable")
        ids, gold, ranks = ids[order], gold[order], [values[order] for values in ranks]
        if not np.array_equal(ids, item.sorted_ids):
            raise UserError(
                f"{where}: {len(ids)} predictions do not match the "
                f"{len(item.sorted_ids)} prepared rows one to one; incomplete or corrupt run"
            )
    if len(ranks) != len(item.merge):
        raise UserError(f"{where}: {len(ranks)} label words, not {len(item.merge)}")
    if not np.array_equal(gold, item.labels):
        raise UserError(f"{where}: gold labels differ from the prepared rows; corrupt run")
    if any(np.isnan(values).any() for values in ranks):
        raise UserError(f"{where}: a log-probability is not a number; corrupt run")
    predicted = np.asarray(item.merge)[best_words(ranks, ids)]
    return PredictedRows(predicted, ranks, item)


def _curve_counts(curves: pd.DataFrame, sets: dict[str, EvaluationSet]) -> dict:
    """Return (seed, epoch, set) -> correct rows in each of the set's parts, int [parts]."""
    counts = {}
    for name, item in sets.items():
        rows = curves[curves["evaluation_set"] == name]
        parts, part = len(item.parts), item.parts_named(rows)
        # Curves hold each part once per seed and epoch: sorted, they form equal blocks.
        seed, epoch = rows["seed"].to_numpy(), rows["epoch"].to_numpy()
        order = np.lexsort((part, epoch, seed))
        blocks = rows["correct"].to_numpy()[order].reshape(-1, parts)
        heads = zip(seed[order][::parts], epoch[order][::parts], strict=True)
        keys = ((int(a), int(b), name) for a, b in heads)
        counts.update(zip(keys, blocks, strict=True))
    return counts


def _words(path: Path) -> tuple[list[str], str, list[int]]:
    """Return the columns of label words, by what the words are ranked and, where that needs them,
    their characters."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; incomplete run") from None
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}); corrupt run") from None
    words = [name for name in schema.names if name.startswith("logprob_")]
    absent = [n for n in schemas.predictions_schema(len(words)).names if n not in schema.names]
    if absent:
        raise UserError(f"{path}: no column '{absent[0]}'; written by another version, run it anew")
    rank_by, characters = schemas.read_ranking(schema.metadata)
    if rank_by == "characters" and len(characters) != len(words):
        raise UserError(f"{path}: its metadata lack the characters of label words; corrupt run")
    return words, rank_by, characters


def _say(key: tuple) -> str:
    return f"seed {key[0]}, epoch {key[1]}, set '{key[2]}'"
