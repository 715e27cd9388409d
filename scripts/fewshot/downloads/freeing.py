"""Show what of a project's disk can be freed, and free it if asked."""

import logging
import shutil
from collections.abc import Container, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from filelock import Timeout

from ..report.typeset import size_text
from ..runtime.exclusion import exclusive
from ..runtime.lock import holder
from ..runtime.state import LOCK, STATE, read_owner, remove
from . import disk, store
from .leftovers import RAW, Leftover, Runs, is_finished, survey
from .presence import forget

LOG = logging.getLogger(__name__)


def clean(runs: Runs, scratch: str = "", delete: bool = False) -> list[Leftover]:
    """Return what takes disk (see `leftovers`); with `delete`, remove what can be freed.

    Stores that another process holds the lock of are left alone; so is what cannot be removed,
    which is returned as kept and failed. Raises UserError where `scratch` is no folder, and where
    something cannot be read.
    """
    linked = {place.parents[1] for place in store.linked_places()}
    roots = {*linked, store.root_of(scratch)} - {store.HOME}
    # A model's facts are fetched under a lock of its own (see `snapshots.fetch`).
    models = [path for path in sorted(store.HOME.glob("*")) if not path.is_symlink()]
    with disk.naming("clean"), ExitStack() as held:
        locks = [root for root in (store.HOME, *models, RAW, *sorted(roots)) if root.is_dir()]
        busy = [root for root in locks if not _locked(held, root)]
        found = survey(runs, sorted(roots), busy)
        return [_freed(each) if delete and each.free else each for each in found]


def free_finished(runs: Container[str]) -> None:
    """Remove the states of those of `runs` that are finished; for the process that starts jobs.

    Jobs that share a submission keep them, since another one's failure may start all again. So
    `runs` are folders of runs that no Snakemake is about to make: of its own plan, whose files are
    locked against others, and before it starts jobs but for those.
    """
    for folder in STATE.glob("*"):
        run = read_owner(folder).get("run")
        if run in runs and is_finished(run) and holder(folder / LOCK) is None:
            remove(folder)


def describe(found: Sequence[Leftover], deleted: bool) -> str:
    """Return the table of what was freed, or could be, and of what is kept, with sizes in sum."""
    free, kept = ([each for each in found if each.free == wanted] for wanted in (True, False))
    title = "Freed" if deleted else "Could be freed (deleted with --config delete=yes)"
    lines = _listed(title, free) or ["Nothing can be freed."]
    return "\n".join([*lines, *_listed("Kept", kept)])


def _listed(title: str, found: Sequence[Leftover]) -> list[str]:
    if not found:
        return []
    total = size_text(sum(each.size for each in found), exact=True)
    rows = [f"  {size_text(each.size, exact=True):>10}  {each.what}: {each.why}" for each in found]
    return [f"{title}, {total}:", *rows]


def _locked(held: ExitStack, root: Path) -> bool:
    try:
        held.enter_context(exclusive(root, wait=False))
    except Timeout:
        return False
    return True


def _freed(each: Leftover) -> Leftover:
    """Return a leftover that was removed, or as kept where the file system refuses."""
    try:
        _free(each)
    except OSError as error:
        return replace(each, free=False, why=f"cannot be removed ({error})", failed=True)
    return each


def _free(each: Leftover) -> None:
    """Remove what a leftover is made of: files, then what they link to; before, from the marker."""
    if each.model:
        forget(each.model)
    for path in each.paths:
        if path.parent == STATE:
            if holder(path / LOCK) is None:  # since it was looked at
                remove(path)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    LOG.info("freed %s: %s", size_text(each.size, exact=True), each.what)
