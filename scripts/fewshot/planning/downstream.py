"""Which jobs wait for what is not there, told from paths alone.

As Snakemake has it: what is made anew makes all anew that is made from it, and rows and draws are
made only for a job that reads them. Unlike Snakemake, a run that is missing counts even where all
that is made from it is there: to tell one that was removed from one of a larger study takes its
records.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

RUNS = ("run_in_context", "fine_tune", "read_lm_eval")
"""Rules of adaptation jobs; their outputs' paths have task and model as fourth and fifth part."""
PAIRED = ("check_window", "compute_metrics")
"""Rules with a file for each task and model, results/{kind}/{study}/{task}/{model}.parquet."""
READERS = ("check_window", *RUNS)
"""Rules that read training rows and draws."""


def with_what_follows(files: Mapping[str, Iterable[str]], missing: set[str]) -> set[str]:
    """Return `missing` files with those of all jobs that wait for runs, windows or metrics.

    `files` are those of all jobs by rule.
    """
    found, waiting = set(missing), _lacking(files, missing, (*RUNS, *PAIRED))
    pairs = {_pair(path) for path in waiting}
    found |= {path for path in files.get("compute_metrics", ()) if _pair(path) in pairs}
    tasks = {task for task, _ in pairs}
    found |= {path for path in files.get("compare_methods", ()) if Path(path).parts[3] in tasks}
    if _lacking(files, found, ("compute_metrics", "compare_methods")):
        found |= {path for rule in ("make_table", "plot_figure") for path in files.get(rule, ())}
    if _lacking(files, found, ("make_table", "plot_figure")):
        found |= set(files.get("write_report", ()))
    return found


def unread(files: Mapping[str, Iterable[str]], to_make: set[str]) -> set[str]:
    """Return the training rows and draws of tasks that no job `to_make` reads, as after an
    import."""
    tasks = {Path(path).parts[3] for path in _lacking(files, to_make, READERS)}
    draws = [(path, Path(path).parts[3]) for path in files.get("sample_shots", ())]
    rows = [
        (path, Path(path).parts[2])
        for path in files.get("prepare_task", ())
        if Path(path).stem == "train"
    ]
    return {path for path, task in (*draws, *rows) if task not in tasks}


def _lacking(
    files: Mapping[str, Iterable[str]], missing: set[str], rules: Iterable[str]
) -> list[str]:
    """Return those files of some rules that are missing."""
    return [path for rule in rules for path in files.get(rule, ()) if path in missing]


def _pair(path: str) -> tuple[str, str]:
    """Return task and model of a run's file, or of one of the PAIRED rules."""
    parts = Path(path).parts
    return parts[3], parts[4] if parts[1] == "runs" else Path(path).stem
