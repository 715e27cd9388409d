"""The sets that a task's runs score, apart: those that tell accuracies, and probes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..data.evaluation_sets import EvaluationSet, read_set


def read_sets(entries: Iterable[Mapping], paths: Iterable[str]) -> list[EvaluationSet]:
    """Return the prepared sets that tell accuracies, of `entries` as the rules pass them (set,
    merge and perhaps base and probe) with the file of each."""
    return [
        read_set(entry["set"], entry["merge"], path, entry.get("base", ""))
        for entry, path in zip(entries, paths, strict=True)
        if not entry.get("probe")
    ]


def read_probes(entries: Iterable[Mapping], paths: Iterable[str]) -> list[EvaluationSet]:
    """Return the prepared probes among these, which name their labels."""
    return [
        replace(read_set(entry["set"], entry["merge"], path), label_names=tuple(entry["labels"]))
        for entry, path in zip(entries, paths, strict=True)
        if entry.get("probe")
    ]


def probe_names(entries: Sequence[Mapping]) -> list[str]:
    """Return the names of the probes among `entries`."""
    return [entry["set"] for entry in entries if entry.get("probe")]
