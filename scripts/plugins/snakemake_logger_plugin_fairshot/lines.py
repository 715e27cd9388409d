"""A run in words: what a job is called, how long it took, and how long the others will take."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

RULES = {
    "fine_tune": "fine-tune",
    "run_in_context": "run",
    "fit_baseline": "baseline",
    "cross_validate": "cross-validate",
}
"""Rules whose names do not read as words once `_` is a space."""
LONG = ("run_in_context", "fine_tune", "cross_validate")
"""Rules that take most of a study's time. The time left is shown once a job of each has ended."""
HIDDEN = ("study", "protocol", "draw", "how", "runs")
"""Wildcards that are not shown: they are the same for all jobs of a study, or nearly so."""
NO_PATTERN = "none"
"""The pattern of baselines that read no prompt."""
UNITS = (("s", 1, 90), ("min", 60, 120), ("h", 3600, 48), ("d", 86400, float("inf")))
"""Unit, its seconds, and the count from which the next unit is used."""
REASON = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ ERROR (.*)")
"""The last line of a job's log, if it says why the job failed: others have a traceback behind."""
SHOWN_FAILURES = 10
"""The most failed jobs that are listed at the end."""
SHOWN_FILES = 2
"""The most files that a line names."""


def duration(seconds: float) -> str:
    """Return seconds as a person says them: `12 s`, `2 min`, `3 h`, `4 d`; at least one second."""
    counts = [(max(round(seconds / size), 1), unit, most) for unit, size, most in UNITS]
    count, unit, _ = next(each for each in counts if each[0] < each[2])
    return f"{count} {unit}"


def describe(rule: str, wildcards: Mapping[str, str], names: Mapping[str, Mapping]) -> str:
    """Return what a job does: its rule, then its wildcards, by title where `names` has one.

    `names` maps wildcard -> value -> title. The pattern is left out where the study has only one. A
    rule without wildcards is a target and keeps its name.
    """
    if not wildcards:
        return rule
    values = {name: str(value) for name, value in wildcards.items() if name not in HIDDEN}
    if len(names.get("pattern", ())) == 1 or values.get("pattern") == NO_PATTERN:
        values.pop("pattern", None)
    first, last = values.pop("first", None), values.pop("last", None)
    words = [RULES.get(rule, rule.replace("_", " "))]
    for name, value in values.items():
        title = names.get(name, {}).get(value, value)
        words.append({"k": f"k={value}", "seed": f"seed {value}"}.get(name, title))
    if first is not None:
        words.append(f"seed {first}" if first == last else f"seeds {first}–{last}")
    return " · ".join(words)


def files_text(files: Iterable[str]) -> str:
    """Return files in one line: those that differ only in their suffix as one, SHOWN_FILES at most,
    then how many more there are."""
    suffixes: dict[str, list[str]] = {}
    for file in map(str, files):
        folder, name = os.path.split(file)
        stem, dot, suffix = name.partition(".")
        suffixes.setdefault(os.path.join(folder, stem + dot), []).append(suffix)
    shown = [
        stem + (found[0] if len(found) == 1 else f"{{{','.join(found)}}}")
        for stem, found in suffixes.items()
    ]
    more = len(shown) - SHOWN_FILES
    return ", ".join(shown[:SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")


def reason_of(logs: Iterable[str]) -> str:
    """Return why a job failed, by the first of its logs whose last line says so; else nothing."""
    for log in map(Path, logs):
        *_, last = ["", *log.read_text("utf-8", "replace").splitlines()] if log.is_file() else [""]
        if found := REASON.fullmatch(last):
            return found[1]
    return ""


@dataclass
class Job:
    """A job that was started: what its line says, and when it began (seconds since the epoch)."""

    rule: str
    words: str
    files: str
    started: float
    submitted: bool


@dataclass
class Progress:
    """What has been started and finished, and the line for each job that has ended."""

    names: Mapping[str, Mapping] = field(default_factory=dict)
    waiting: Counter = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ended: list[str] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    lost: float = 0.0
    began: float | None = None

    def planned(self, jobs: Mapping[str, int]) -> str:
        """Note how many jobs of each rule are to run (with their `total`) and say how many."""
        self.waiting = Counter({rule: count for rule, count in jobs.items() if rule != "total"})
        total = self.waiting.total()
        return f"{total} job{'s' if total != 1 else ''} to run"

    def started(
        self, jobid: int, rule: str, wildcards: Mapping[str, str], files: str, at: float,
        submitted: bool = False,
    ) -> None:  # fmt: skip
        """Note that a job was started, again after a failure, or given to a queue (`submitted`)."""
        self.began = at if self.began is None else self.began
        self.failures.pop(jobid, None)
        words = describe(rule, wildcards, self.names)
        self.running[jobid] = Job(rule, words, files, at, submitted)

    def finished(self, jobid: int, at: float) -> None:
        """Note that a job ended well; `counted` says so, once Snakemake has counted it."""
        job = self.running.pop(jobid, None)
        if job is None:  # With `--quiet rules` Snakemake does not say what was started.
            self.ended.append("")
            return
        took = at - job.started
        self.seconds[job.rule].append(took)
        self.waiting[job.rule] -= 1
        since = f"{duration(took)}{' since it was submitted' if job.submitted else ''}"
        said = f"{job.words} → {job.files}" if job.files else job.words
        self.ended.append(f"{said} · {since}")

    def failed(self, jobid: int, at: float, logs: Iterable[str] = ()) -> str:
        """Note that a job failed: its `lost` seconds count for how many jobs run side by side.

        Return a line with the reason that one of its `logs` ends with, or nothing.
        """
        job, reason, logs = self.running.pop(jobid, None), reason_of(logs), ", ".join(logs)
        if job is None:
            return ""
        self.lost += at - job.started
        said = f"{job.words}: {reason}" if reason else job.words
        self.failures[jobid] = f"{said} ({logs})" if logs else said
        return f"failed · {said}" if reason else ""

    def failed_jobs(self) -> list[str]:
        """Return the jobs that failed and were not started again, a line each."""
        said, count = list(self.failures.values()), len(self.failures)
        more = count - SHOWN_FAILURES
        return [
            f"{count} job{'s' if count != 1 else ''} failed:",
            *(f"  {line}" for line in said[:SHOWN_FAILURES]),
            *([f"  and {more} more"] if more > 0 else []),
        ]

    def counted(self, done: int, total: int, at: float) -> list[str]:
        """Return a line for each job that ended since the last call; `done` of `total` have."""
        left = self.time_left(at) if done < total else None
        lines = []
        for number, said in enumerate(self.ended, done - len(self.ended) + 1):
            parts = [f"{number:>{len(str(total))}}/{total}", said]
            if left is not None and number == done:
                parts.append(f"about {duration(left)} left")
            lines.append(" · ".join(filter(None, parts)))
        self.ended = []
        return lines

    def time_left(self, at: float) -> float | None:
        """Return the seconds until the last job ends, or None while too little is known.

        Each job is taken to last as long as the mean of its rule, or of all rules before a job of
        its rule has ended. As many jobs as so far are taken to run side by side: the seconds of all
        jobs over the seconds since the first one began.
        """
        due = {rule: count for rule, count in self.waiting.items() if count > 0}
        if self.began is None or any(rule in due and rule not in self.seconds for rule in LONG):
            return None
        every = [took for each in self.seconds.values() for took in each]
        if not every or at <= self.began:
            return None
        mean = {rule: sum(each) / len(each) for rule, each in self.seconds.items()}
        usual = sum(every) / len(every)
        spent = {jobid: at - job.started for jobid, job in self.running.items()}
        work = sum(count * mean.get(rule, usual) for rule, count in due.items())
        work -= sum(
            min(spent[jobid], mean.get(job.rule, usual)) for jobid, job in self.running.items()
        )
        abreast = (sum(every) + sum(spent.values()) + self.lost) / (at - self.began)
        return work / abreast if abreast > 0 else None
