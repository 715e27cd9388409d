"""Show what of a project's disk no run needs any more, and free it if asked."""

import logging
import shutil
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filelock import Timeout

from ..formatting import size_text
from ..models.files import weight_names
from ..runtime.locks import exclusive, holder
from ..runtime.resume import LOCK, STATE, read_owner, remove
from ..storage import read_json
from . import disk, store
from .disk import PARTIAL
from .presence import forget

RAW = Path("results/raw")


@dataclass(frozen=True)
class Leftover:
    """One thing that takes disk: what it is, the files and folders that go if it goes, its bytes,
    whether it can be freed, and why or why not. `model` is the one whose marker names the files;
    `failed` tells that it was to be freed, and the file system refused."""

    what: str
    paths: tuple[Path, ...]
    size: int
    free: bool
    why: str
    model: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class Runs:
    """The runs of a study: `models` maps the folder of each to the model that it loads."""

    study: str
    models: dict[str, str]

    @cached_property
    def unfinished(self) -> frozenset[str]:
        """Return the folders of runs that have no results yet."""
        return frozenset(run for run in self.models if not is_finished(run))

    def of(self, model: str) -> list[str]:
        """Return the folders of a model's runs."""
        return [run for run, each in self.models.items() if each == model]


def is_finished(run: str) -> bool:
    """Return whether a run has its results: the manifest is written last."""
    return Path(run, "manifest.json").is_file()


def survey(runs: Runs, roots: Sequence[Path], busy: Sequence[Path]) -> list[Leftover]:
    """Return all that takes disk beside results, by what it is.

    `roots` are the stores of weights (see `store`); of those that are `busy` another process holds
    the lock, so that nothing of theirs can be freed.
    """
    found = [
        *_weights(runs), *_linked_folders(), *_orphans(roots), *_states(runs), *_partials(roots),
    ]  # fmt: skip
    return [_kept_if_busy(each, busy) for each in found]


def _kept_if_busy(each: Leftover, busy: Sequence[Path]) -> Leftover:
    inside = any(root in path.parents for root in busy for path in each.paths)
    return replace(each, free=False, why="a download is running") if inside else each


def _weights(runs: Runs) -> list[Leftover]:
    """Return the weights of models from the Hub, by model and revision."""
    running = _running_models()
    found = {}
    for folder in store.revisions(store.HOME):
        files = _weight_files(folder)
        if files:
            free, why = _judge_model(runs, running, folder)
            found[folder] = (files, free, why)
    # A place on scratch goes with the last folder that links to it.
    going = {folder.absolute() for folder, (_, free, _) in found.items() if free}
    return [_weights_of(folder, *each, going) for folder, each in found.items()]


def _weight_files(folder: Path) -> list[Path]:
    """Return what a revision's folder holds of weights, or all of it if no manifest names it."""
    manifest = _manifest(folder.parent)
    if manifest.get("revision") == folder.name:
        paths = [folder / name for name in weight_names(manifest)]
    else:
        paths = [path for path in folder.rglob("*") if PARTIAL not in path.parts]
    return [path for path in paths if path.is_symlink() or path.is_file()]


def _manifest(folder: Path) -> dict:
    path = folder / "manifest.json"
    return read_json(path) if path.is_file() else {}


def _judge_model(runs: Runs, running: set[str | None], folder: Path) -> tuple[bool, str]:
    """Return whether a revision of a model can be freed, and why or why not."""
    model = folder.parent.name
    all_runs = runs.of(model)
    waiting = runs.unfinished.intersection(all_runs)
    revision = _manifest(folder.parent).get("revision", folder.name)
    if model in running:
        return False, "a running job uses it"
    if None in running:
        return False, "a job is running that does not say what it uses"
    if revision != folder.name:
        return True, f"the model's manifest names another revision, {revision}"
    if waiting:
        return False, f"needed by {len(waiting)} of {len(all_runs)} runs"
    if all_runs:
        return True, f"all runs of study '{runs.study}' are finished ({len(all_runs)})"
    return True, f"no cell of study '{runs.study}' needs it"


def _weights_of(
    folder: Path, files: list[Path], free: bool, why: str, going: set[Path]
) -> Leftover:
    model = folder.parent.name
    marked = _manifest(folder.parent).get("revision") == folder.name
    paths = list(files) if marked else [folder]
    owned = [path for path in files if not path.is_symlink()]
    for place in sorted({place for path in files if (place := store.place_in(path))}):
        others = [user for user in store.users(place) if user not in going]
        if free and others:
            free, why = False, f"{others[0]} uses it too"
        elif free and place.is_dir() and not store.is_registered(place, folder):
            free, why = False, f"{place} has lost its notes on who uses it; remove it by hand"
        paths.append(place)
        owned += [path for path in place.glob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in owned)
    what = f"weights of {model} ({folder})"
    return Leftover(what, tuple(paths), size, free, why, model if marked else None)


def _linked_folders() -> Iterator[Leftover]:
    """Yield what a user has put elsewhere, so that it does not look forgotten."""
    for path in store.linked_folders(store.HOME):
        yield Leftover(f"link {path}", (), 0, False, f"{path.resolve()} is not looked into")


def _orphans(roots: Sequence[Path]) -> Iterator[Leftover]:
    """Yield what lies on scratch and no project that can be seen from here links to any more."""
    linked = store.linked_places()
    for place in (place for root in roots for place in store.places(root)):
        users = store.users(place)
        if place in linked or not all(map(store.is_hidden, users)):
            continue
        free = not users and bool(store.noted(place))
        why = "no project links to them any more" if free else "not noted who uses them"
        if users:
            why = f"{users[0]} cannot be seen from here; if it is gone, remove them by hand"
        yield Leftover(f"weights in {place}", (place,), disk.used(place), free, why)


def _running_models() -> set[str | None]:
    """Return the models of jobs that hold their state; None for one that does not say."""
    held = [folder for folder in STATE.glob("*") if holder(folder / LOCK)]
    return {read_owner(folder).get("model") for folder in held}


def _states(runs: Runs) -> Iterator[Leftover]:
    running = _running_models()
    for folder in sorted(path for path in STATE.glob("*") if path.is_dir()):
        free, why = _judge_state(runs, running, folder)
        yield Leftover(f"state {folder}", (folder,), disk.used(folder), free, why)


def _judge_state(runs: Runs, running: set[str | None], folder: Path) -> tuple[bool, str]:
    """Return whether a job's state can be freed, and why or why not.

    A finished job's state is left where it shares a submission with others of its model: if one of
    them fails, all start again. While none of them has begun to run it looks like any other.
    """
    owner, who = read_owner(folder), holder(folder / LOCK)
    run = owner.get("run")
    if who:
        return False, f"locked by {who}"
    if run is None:
        done = bool(runs.models) and not runs.unfinished
        rest = f"all runs of study '{runs.study}' are finished" if done else "it may be needed"
        return done, f"of an older version, which did not note whose it is; {rest}"
    if is_finished(run) and running & {owner.get("model"), None}:
        return False, f"{run} is finished, but may share the submission of a job that is running"
    if is_finished(run):
        return True, f"{run} is finished"
    if run in runs.models:
        return False, f"{run} is not finished"
    return False, f"{run} is not finished, and not of study '{runs.study}'"


def _partials(roots: Sequence[Path]) -> Iterator[Leftover]:
    """Yield what interrupted downloads left."""
    sources = [path for path in RAW.glob("*") if not path.is_symlink()]
    folders = [*sources, *(path for root in {store.HOME, *roots} for path in store.revisions(root))]
    partials = [folder / PARTIAL for folder in folders if (folder / PARTIAL).is_dir()]
    files = [path for folder in sources for path in folder.glob(".*.partial") if path.is_file()]
    for path in sorted([*partials, *files]):
        size = disk.used(path) if path.is_dir() else path.stat().st_size
        if path.is_file():
            why = "interrupted, and cannot be gone on from"
        else:
            why = "interrupted; the next download would go on from it"
        yield Leftover(f"partial download {path}", (path,), size, True, why)


LOG = logging.getLogger(__name__)


def clean(runs: Runs, scratch: str = "", delete: bool = False) -> list[Leftover]:
    """Return what takes disk (see `leftovers`); with `delete`, remove what can be freed.

    Stores that another process holds the lock of are left alone; so is what cannot be removed,
    which is returned as kept and failed. Raises UserError where `scratch` is no folder, and where
    something cannot be read.
    """
    linked = {place.parents[1] for place in store.linked_places()}
    roots = {*linked, store.root_of(scratch)} - {store.HOME}
    # A model's facts are fetched under a lock of its own (see `models.fetch_model`).
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
