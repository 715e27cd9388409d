"""Models, runs and states of a project in the current folder, and what can be freed of them."""

from pathlib import Path

from fewshot import storage
from fewshot.downloads import clean, store
from fewshot.downloads.clean import Runs
from fewshot.runtime.resume import SeedStore

COMMIT, OLD = "a" * 40, "b" * 40


def model(name, revision=COMMIT, scratch=None, current=True) -> Path:
    """Lay down a model of 1,000 bytes of weights; return the folder of its revision."""
    folder = Path("results/models", name, revision)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if scratch is None:
        (folder / "model.safetensors").write_bytes(b"w" * 1000)
    else:
        place = store.root_of(str(scratch)) / "any--model" / revision
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(b"w" * 1000)
        store.register(place, folder)
        store.link(place, ["model.safetensors"], folder)
    files = {"config.json": {"bytes": 2}, "model.safetensors": {"bytes": 1000}}
    if current:
        manifest = {"model": name, "kind": "hub", "revision": revision, "files": files}
        storage.write_json(folder.parent / "manifest.json", manifest)
        storage.write_json(folder.parent / "weights.json", {"files": {"model.safetensors": {}}})
    return folder


def run(name, model="m", finished=True) -> dict[str, str]:
    """Return a run's folder and model, as the study lists them."""
    folder = f"results/runs/{name}"
    if finished:
        storage.write_json(f"{folder}/manifest.json", {})
    return {folder: model}


def state(name, owner, size=500) -> Path:
    """Lay down the state of a job of one seed; return its folder."""
    with SeedStore.open("results/state", name, owner) as found:
        (found.folder / "seed0").mkdir()
        (found.folder / "seed0/predictions.parquet").write_bytes(b"s" * size)
    return Path("results/state", name)


def look(runs, **how) -> dict[str, tuple[bool, str]]:
    """Return what is found: what it is → whether it can be freed, and why."""
    found = clean.clean(Runs("demo", runs), **how)
    return {each.what: (each.free, each.why) for each in found}


def files() -> dict[str, bytes]:
    """Return the content of all files but locks, by path."""
    found = (path for path in sorted(Path().rglob("*")) if path.name != ".lock")
    return {str(path): path.read_bytes() for path in found if path.is_file()}
