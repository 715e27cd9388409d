"""Where downloaded weights lie: beside their model's manifest, or on another file system.

On a scratch file system a revision has a folder of its own, whose files are linked from the
project. Projects may share it: each that links to it is noted there, so that none frees what
another one uses. The lock of the store (`locks.py`) lets one download or clean up at a time.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..storage import atomic
from .disk import naming
from .revisions import is_commit

HOME = Path("results/models")
"""The store of a project without scratch, relative to its folder."""
BELOW = Path("fairshot/models")
"""The store within a scratch file system."""
USERS = ".users"


def root_of(scratch: str) -> Path:
    """Return the folder of all weights; raises UserError where `scratch` is no folder."""
    if not scratch:
        return HOME
    if not os.path.isdir(scratch):
        raise UserError(f"scratch: {scratch} is not a folder")
    return Path(scratch).resolve() / BELOW


def place_of(scratch: str, manifest: dict) -> Path:
    """Return the folder that the weights of a model's manifest are downloaded to."""
    if not scratch:
        return Path(manifest["path"])
    return root_of(scratch) / manifest["hub"].replace("/", "--") / manifest["revision"]


def link(place: Path, names: Iterable[str], folder: Path) -> None:
    """Put links to files of `place` into `folder`, each in one step; what was there is replaced."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target) as partial:
            partial.symlink_to(place / name)


def register(place: Path, folder: Path) -> None:
    """Note that the links in `folder` lead to `place`, before there are any."""
    with atomic(_note(place, folder)) as partial:
        partial.write_text(str(folder.absolute()), "utf-8")


def register_models(models: Iterable[str]) -> None:
    """Note again that the links of models lead to scratch, where the notes are gone.

    A file system that clears what was not written for a while clears notes as well. Raises
    UserError where it refuses new ones.
    """
    for model in models:
        links = (path for path in (HOME / model).glob("*/*") if path.is_symlink())
        with naming(f"model '{model}'"):
            for place, folder in {(place_in(path), path.parent) for path in links}:
                if place and place.is_dir() and not is_registered(place, folder):
                    register(place, folder)


def is_registered(place: Path, folder: Path) -> bool:
    """Return whether it is noted that `folder` links to `place`.

    Where it is not although there are links, the file system has removed notes, perhaps others too.
    """
    return _note(place, folder).is_file()


def _note(place: Path, folder: Path) -> Path:
    return place / USERS / hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]


def noted(place: Path) -> list[Path]:
    """Return the folders that were ever noted to link to `place`."""
    return [Path(path.read_text("utf-8")) for path in sorted(place.glob(f"{USERS}/*"))]


def users(place: Path) -> list[Path]:
    """Return the noted folders whose links lead to `place`.

    One that cannot be seen from here counts as well: it may be seen elsewhere.
    """
    return [each for each in noted(place) if is_hidden(each) or leads_to(each, place)]


def is_hidden(folder: Path) -> bool:
    """Return whether it cannot be told from here what a project's folder links to.

    The project {project}/results/models/{model}/{revision} may be gone, on a disk that is not
    mounted here, or another user's, who lets nobody look.
    """
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        # Unlike Path.is_dir, this raises nothing where a folder above may not be looked into.
        return not os.path.isdir(Path(*folder.parts[:-4]))
    except OSError:
        return True
    return not os.access(folder, os.R_OK | os.X_OK)


def leads_to(folder: Path, place: Path) -> bool:
    """Return whether a link in `folder` leads to a file of `place`, be it there or not."""
    found = folder.rglob("*") if folder.is_dir() else ()
    return any(path.is_symlink() and place in path.resolve().parents for path in found)


def revisions(root: Path) -> list[Path]:
    """Return the folders of models' revisions in a store, but for those behind a link.

    Nobody but a user puts a link in the place of a folder, and what is behind it is the user's.
    """
    models = (path for path in root.glob("*") if not path.is_symlink())
    found = (path for model in models for path in model.glob("*") if is_commit(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def linked_folders(root: Path) -> list[Path]:
    """Return the links that a store has in the place of the folder of a model or revision."""
    models = list(root.glob("*"))
    inside = [path for model in models if not model.is_symlink() for path in model.glob("*")]
    found = [*models, *(path for path in inside if is_commit(path.name))]
    return sorted(path for path in found if path.is_symlink() and os.path.isdir(path))


def places(root: Path) -> list[Path]:
    """Return the folders of revisions in a store on scratch."""
    return [path for path in revisions(root) if is_place(path)]


def place_in(path: Path) -> Path | None:
    """Return the folder on scratch that a link leads into, be its target there or not."""
    target = path.resolve() if path.is_symlink() else path
    return next((each for each in target.parents if is_place(each)), None)


def linked_places() -> set[Path]:
    """Return the folders on scratch that this project's links lead into."""
    links = (path for path in HOME.glob("*/*/*") if path.is_symlink())
    return {place for path in links if (place := place_in(path))}


def is_place(path: Path) -> bool:
    """Return whether a folder is one that `place_of` names on scratch: nothing else is freed."""
    return path.parts[-4:-2] == BELOW.parts and is_commit(path.name)
