"""Show which states of jobs no job needs any more, and remove them if asked.

A job keeps its finished seeds (see `runtime.resume`) until its outputs are written. What is left
after that is of jobs that shared a submission, and of settings that have changed since.
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
    folders = sorted(path for path in STATE.glob("*") if path.is_dir())
    owners = {folder: read_owner(folder) for folder in folders}
    held = {folder: holder(folder / LOCK) for folder in folders}
    running = {owners[folder].get("model") for folder in folders if held[folder]}
    found = []
    for folder in folders:
        free, why = _judge(owners[folder], held[folder], running, study, set(runs))
        files = (path for path in folder.rglob("*") if path.is_file())
        found.append(State(folder, sum(path.stat().st_size for path in files), free, why))
    return found


def _judge(
    owner: dict, holder: str | None, running: set[str | None], study: str, runs: set[str]
) -> tuple[bool, str]:
    """Return whether a state can be removed, and why or why not.

    A finished job's state is left where it shares a submission with others of its model: if one of
    them fails, all start again. While none of them has begun to run it looks like any other.
    """
    run = owner.get("run")
    if holder:
        return False, f"locked by {holder}"
    if run is None:
        return False, "does not say which run it belongs to; remove it by hand"
    finished = Path(run, "manifest.json").is_file()  # A run's manifest is written last.
    if finished and running & {owner.get("model"), None}:
        return False, f"{run} is finished, but may share the submission of a job that is running"
    if finished:
        return True, f"{run} is finished"
    return False, f"{run} is not finished" + (
        "" if run in runs else f", and not of study '{study}'"
    )


def remove_states(states: Sequence[State]) -> None:
    """Remove those that can go, unless a job has opened one since; raises OSError."""
    for state in states:
        if state.free and holder(state.folder / LOCK) is None:
            remove(state.folder)
            LOG.info("removed %s: %s", state.folder, state.why)


def describe(states: Sequence[State], deleted: bool) -> str:
    """Return the table of what was removed, or can be, and of what is kept, with sizes in sum."""
    free, kept = ([each for each in states if each.free == wanted] for wanted in (True, False))
    title = "Removed" if deleted else "Can be removed (by --config delete=yes)"
    lines = _listed(title, free) or ["No state of a job can be removed."]
    return "\n".join([*lines, *_listed("Kept", kept)])


def _listed(title: str, states: Sequence[State]) -> list[str]:
    if not states:
        return []
    total = size_text(sum(each.size for each in states), exact=True)
    rows = [
        f"  {size_text(each.size, exact=True):>10}  {each.folder}: {each.why}" for each in states
    ]
    return [f"{title}, {total}:", *rows]
