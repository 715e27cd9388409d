"""A prepared evaluation set and its parts, as jobs score them and metrics count them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from .. import storage
from .curve_sample import PART, Parts, curve_sample, parts_of


@dataclass(frozen=True)
class EvaluationSet:
    """The prepared rows of an evaluation set (schemas.ROWS) and how labels map onto its labels.

    `merge[i]` is the label of this set that label i of the training task counts as. `base` is the
    task whose rows it has, if not its own. `label_names` are those of the set's own labels, for
    those who store predictions. `samples` keeps the samples of curves that were drawn from it, by
    their limit.
    """

    name: str
    merge: tuple[int, ...]
    rows: pd.DataFrame = field(repr=False)
    base: str = ""
    label_names: tuple[str, ...] = ()
    samples: dict[int | None, "EvaluationSet"] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of(cls, entry: Mapping, rows: pd.DataFrame) -> "EvaluationSet":
        """Return the set with these rows that rules tell of by set, merge, labels and, where it is
        not its own, base."""
        merge, labels = tuple(entry["merge"]), tuple(entry["labels"])
        return cls(entry["set"], merge, rows, entry.get("base", ""), labels)

    @cached_property
    def row_parts(self) -> Parts:
        """Return the part of each row, in the order of `rows`."""
        return parts_of(self.rows)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.rows["id"].to_numpy(), kind="stable")

    @cached_property
    def sorted_ids(self) -> np.ndarray:
        """Return the row ids in ascending order, int64 [rows]."""
        return self.rows["id"].to_numpy()[self._order]

    @cached_property
    def labels(self) -> np.ndarray:
        """Return the gold labels in the order of `sorted_ids`, int64 [rows]."""
        return self.rows["label"].to_numpy(dtype=np.int64)[self._order]

    @cached_property
    def parts(self) -> pd.DataFrame:
        """Return group, subset ('' for none), label and n of every part, in a fixed order."""
        return self.row_parts.keys.assign(n=self.row_parts.sizes)

    @cached_property
    def part_of(self) -> np.ndarray:
        """Return the index into `parts` of each row, in the order of `sorted_ids`, int [rows]."""
        return self.row_parts.of[self._order]

    def parts_named(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the index into `parts` of each row of a frame with their columns; -1: none."""
        named = frame[PART].astype({"label": "int64"})
        return pd.MultiIndex.from_frame(self.parts[PART]).get_indexer(
            pd.MultiIndex.from_frame(named)
        )

    @cached_property
    def label_count(self) -> int:
        """Return how many labels there are: of the rows, and of what can be predicted."""
        return int(max(*self.merge, self.labels.max(initial=0))) + 1

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Return the cluster of each row, 0 to C - 1, in the order of `sorted_ids`, int [rows].

        None where the set has no clusters; a row without one is a cluster of its own.
        """
        if "cluster" not in self.rows or self.rows["cluster"].isna().all():
            return None
        names = self.rows.sort_values("id")["cluster"].astype(object)
        codes = pd.factorize(names, sort=True)[0]
        alone = codes < 0
        codes[alone] = codes.max() + 1 + np.arange(alone.sum())
        return codes

    @cached_property
    def cluster_labels(self) -> np.ndarray | None:
        """Return the gold label of each cluster where the set's design fixes it, int64 [C].

        That is so if every row is in a named cluster and no cluster has two labels, as with HANS's
        templates. Else None: the few rows that share a first text may have one label by chance.
        """
        if self.clusters is None or self.rows["cluster"].isna().any():
            return None
        labels = np.zeros(self.clusters.max() + 1, dtype=np.int64)
        labels[self.clusters] = self.labels
        return labels if np.array_equal(labels[self.clusters], self.labels) else None

    def sample(self, limit: int | None) -> "EvaluationSet":
        """Return the rows that a curve of at most `limit` rows counts, as a set of its own.

        That is this very set where they are all of its rows.
        """
        if limit not in self.samples:
            chosen = curve_sample(self.rows, limit, self.base or self.name)
            whole = len(chosen) == len(self.rows)
            part = self if whole else replace(self, rows=self.rows.iloc[chosen], samples={})
            self.samples[limit] = part
        return self.samples[limit]

    def majority(self, level: Sequence[str]) -> pd.DataFrame:
        """Return the share of the most frequent gold label for each part at `level`."""
        by = [*level, "label"]
        counts = self.parts.groupby(by, as_index=False)["n"].sum()
        if not level:
            return pd.DataFrame({"majority": [counts["n"].max() / counts["n"].sum()]})
        grouped = counts.groupby(list(level))["n"]
        return (grouped.max() / grouped.sum()).rename("majority").reset_index()


def new_rows(rows: pd.DataFrame, known: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return those of `rows` whose texts no row of `known` has (all schemas.ROWS)."""

    def texts(of: pd.DataFrame) -> Iterator[tuple]:
        return zip(of["text_a"], of["text_b"], strict=True)

    old = {pair for each in known for pair in texts(each)}
    return rows[np.array([pair not in old for pair in texts(rows)], dtype=bool)]


def read_set(name: str, merge: Sequence[int], path: str | Path, base: str = "") -> EvaluationSet:
    """Read the prepared validation rows of an evaluation set; `base` as EvaluationSet has it."""
    columns = ["id", "label", "group", "subset", "cluster"]
    return EvaluationSet(name, tuple(merge), storage.read_table(path, columns), base)
