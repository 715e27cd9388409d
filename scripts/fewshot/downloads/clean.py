"""Show which states of jobs no job needs any more, and remove them if asked.

A job keeps its finished seeds (see `runtime.resume`) until its outputs are written. What is left
after that is of settings that have changed since, and of jobs that ended while they removed it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..formatting import size_text
from ..runtime.locks import holder
from ..runtime.resume import LOCK, STATE, read_owner, remove

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """The finished seeds of one job: their folder, its bytes, whether it can go, and why (not)."""

    folder: Path
    size: int
    free: bool
    why: str


def find_states(study: str, runs: Iterable[str]) -> list[State]:
    """Return all states; `runs` are the folders of the runs of `study`."""
    runs, states = set(runs), []
    for folder in sorted(path for path in STATE.glob("*") if path.is_dir()):
        free, why = _judge(folder, study, runs)
        files = (path for path in folder.rglob("*") if path.is_file())
        states.append(State(folder, sum(path.stat().st_size for path in files), free, why))
    return states


def _judge(folder: Path, study: str, runs: set[str]) -> tuple[bool, str]:
    """Return whether a state can be removed, and why or why not."""
    run = read_owner(folder).get("run")
    if process := holder(folder / LOCK):
        return False, f"locked by {process}"
    if run is None:
        return False, "does not say which run it belongs to; remove it by hand"
    if Path(run, "manifest.json").is_file():  # A run's manifest is written last.
        return True, f"{run} is finished"
    elsewhere = "" if run in runs else f", and not of study '{study}'"
    return False, f"{run} is not finished{elsewhere}"


def remove_states(states: Sequence[State]) -> None:
    """Remove those that can go, unless a job has opened one since; raises OSError."""
    for state in states:
        if state.free and holder(state.folder / LOCK) is None:
            remove(state.folder)
            LOG.info("removed %s: %s", state.folder, state.why)


def describe(states: Sequence[State], deleted: bool) -> str:
    """Return the table of what was removed, or can be, and of what is kept, with sizes in sum."""
    free, kept = ([state for state in states if state.free == wanted] for wanted in (True, False))
    title = "Removed" if deleted else "Can be removed (by --config delete=yes)"
    lines = _listed(title, free) or ["No state of a job can be removed."]
    return "\n".join([*lines, *_listed("Kept", kept)])


def _listed(title: str, states: Sequence[State]) -> list[str]:
    if not states:
        return []
    total = size_text(sum(state.size for state in states), exact=True)
    rows = [
        f"  {size_text(state.size, exact=True):>10}  {state.folder}: {state.why}"
        for state in states
    ]
    return [f"{title}, {total}:", *rows]
