"""Read stored row predictions once: check them against prepared rows and curves, and score them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import records
from ..errors import UserError
from ..prompts.patterns import ranking
from . import rowscores
from .evaluation import EvaluationSet

KEYS = ["seed", "epoch", "evaluation_set"]
PART = ["group", "subset", "label"]


@dataclass(frozen=True)
class Scored:
    """One evaluation set's rows as predicted by one run (seed and epoch), in ascending id.

    `predicted` and `gold` [rows] are labels of the set; `ranks` has an array [rows] per label word:
    what the words are ranked by.
    """

    predicted: np.ndarray
    gold: np.ndarray
    ranks: list[np.ndarray]

    @property
    def correct(self) -> np.ndarray:
        """Return whether each row is right, bool [rows]."""
        return self.predicted == self.gold


def score_predictions(
    folder: str, curves: pd.DataFrame, kept: pd.DataFrame, sets: list[EvaluationSet]
) -> pd.DataFrame:
    """Return one row per seed, epoch and evaluation set of a run's predictions.

    Columns: seed, epoch, evaluation_set, n, correct (bits, see `pack`) and `rowscores.NAMES`.

    Raises UserError unless the predictions are complete and tell what the run's curves tell. `kept`
    has, per seed, the epochs `last` and `best` whose predictions must be there; predictions of
    further epochs are checked too. `curves` are the run's counts over all rows, without samples.
    """
    path = Path(folder, "predictions.parquet")
    by_name = {item.name: item for item in sets}
    wanted = {
        (seed, epoch, name)
        for column in ("last", "best")
        for seed, epoch in kept[column].items()
        for name in by_name
    }
    known = _curve_counts(curves, by_name)
    rows = []
    for key, block in read_blocks(path):
        if key not in known:
            raise UserError(f"{path}: {_say(key)} is not in its curves; corrupt run")
        item = by_name[key[2]]
        scored = score_rows(block, item, f"{path}: {_say(key)}")
        counts = np.bincount(item.part_of[scored.correct], minlength=len(item.parts))
        if not np.array_equal(counts, known[key]):
            raise UserError(
                f"{path}: {_say(key)}: correct rows differ from its curves; corrupt run"
            )
        wanted.discard(key)
        row = dict(zip(KEYS, key, strict=True)) | rowscores.scores(scored, item)
        rows.append(row | {"n": len(scored.gold), "correct": pack(scored.correct)})
    if wanted:
        raise UserError(f"{path}: {_say(min(wanted))} has no predictions; incomplete run")
    return pd.DataFrame(rows, columns=[*KEYS, "n", "correct", *rowscores.NAMES])


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


def read_blocks(path: Path) -> Iterator[tuple[tuple[int, int, str], dict]]:
    """Yield ((seed, epoch, set), {id, label, ranks}) of a predictions file.

    Blocks are ordered by seed and epoch; ranks is a list of arrays, one per label word: what is
    largest for the predicted label.
    """
    words, rank_by = _words(path)
    tokens = [name.replace("logprob", "tokens") for name in words] if rank_by == "mean" else []
    table = records.read_table(path, [*KEYS, "id", "label", *words, *tokens])
    for name, count in zip(words, tokens, strict=False):
        table[name] = ranking(table[name], table[count], rank_by)
    names = table["evaluation_set"].cat.categories
    code = table["evaluation_set"].cat.codes.to_numpy().astype(np.int64)
    seed, epoch = (table[name].to_numpy().astype(np.int64) for name in ("seed", "epoch"))
    key = (seed << 40) + (epoch << 20) + code
    columns = {name: table[name].to_numpy() for name in ("id", "label", *words)}
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        key, columns = key[order], {name: values[order] for name, values in columns.items()}
    edges = [0, *(np.flatnonzero(np.diff(key)) + 1), len(key)]
    for start, stop in pairwise(edges):
        if start == stop:
            return
        head = int(key[start])
        block = {name: columns[name][start:stop] for name in ("id", "label")}
        block["ranks"] = [columns[name][start:stop] for name in words]
        yield (head >> 40, (head >> 20) & 0xFFFFF, names[head & 0xFFFFF]), block


def predicted_labels(ranks: list[np.ndarray], merge: tuple[int, ...]) -> np.ndarray:
    """Return each row's label of the highest rank, mapped through `merge`; ties: the lowest."""
    best = ranks[0]
    label = np.zeros(len(best), dtype=np.int64)
    for i, values in enumerate(ranks[1:], start=1):
        better = values > best
        label[better] = i
        best = np.where(better, values, best)
    return np.asarray(merge)[label]


def score_rows(block: dict, item: EvaluationSet, where: str) -> Scored:
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
    return Scored(predicted_labels(ranks, item.merge), item.labels, ranks)


def _curve_counts(curves: pd.DataFrame, sets: dict[str, EvaluationSet]) -> dict:
    """Return (seed, epoch, set) -> correct rows in each of the set's parts, int [parts]."""
    counts = {}
    for name, item in sets.items():
        rows = curves[curves["evaluation_set"] == name]
        parts = pd.MultiIndex.from_frame(item.parts[PART])
        place = parts.get_indexer(pd.MultiIndex.from_frame(rows[PART].astype({"label": "int64"})))
        # Curves hold each part once per seed and epoch: sorted, they form equal blocks.
        seed, epoch = rows["seed"].to_numpy(), rows["epoch"].to_numpy()
        order = np.lexsort((place, epoch, seed))
        blocks = rows["correct"].to_numpy()[order].reshape(-1, len(parts))
        heads = zip(seed[order][:: len(parts)], epoch[order][:: len(parts)], strict=True)
        keys = ((int(a), int(b), name) for a, b in heads)
        counts.update(zip(keys, blocks, strict=True))
    return counts


def _words(path: Path) -> tuple[list[str], str]:
    """Return the columns of label words and by what the words are ranked."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; incomplete run") from None
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}); corrupt run") from None
    rank_by = (schema.metadata or {}).get(records.RANK_BY.encode(), b"sum").decode()
    return [name for name in schema.names if name.startswith("logprob_")], rank_by


def _say(key: tuple) -> str:
    return f"seed {key[0]}, epoch {key[1]}, set '{key[2]}'"
