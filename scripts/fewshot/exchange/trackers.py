"""Finished runs into a tracker: MLflow, Weights & Biases or trackio, each if it is installed.

None of them is a dependency. Each writer leaves out the runs that are there already, by their id,
and writes anew one that was not finished. Tested with mlflow 3.17, wandb 0.31 and trackio 0.43.
"""

import importlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import ModuleType

from ..errors import UserError, unknown
from .tracked_runs import TrackedRun

ID = "fairshot.id"
"""The name under which a tracker keeps a run's id."""
MOST = {"metrics": 1000, "params": 100}
"""How many of each MLflow takes at once."""


@dataclass(frozen=True)
class Tracker:
    """A tracker: the function that writes runs of a study to a folder and returns how many were
    new; the variable of the environment that names its place, and which one is meant unless the
    user has set it; and how to look at that (with `{folder}`)."""

    write: Callable[[ModuleType, str, Sequence[TrackedRun], Path], int]
    variable: str
    value: str
    look: str


def check(name: str) -> None:
    """Raise UserError for an unknown tracker and for one whose package is not installed."""
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS, "--config tracker=…")
    if find_spec(name) is None:
        raise UserError(
            f"--config tracker={name}: the package is not installed here; install it with: "
            f"pip install {name}"
        )


def export(name: str, study: str, runs: Sequence[TrackedRun], folder: str | Path) -> str:
    """Write runs to tracker `name`, in a folder of its own below `folder` unless the user names
    another place; return a line to print. Raises UserError as `check` does."""
    check(name)
    tracker, place = TRACKERS[name], Path(folder, name).absolute()
    look = tracker.look.format(folder=os.path.relpath(place))
    if os.environ.get(tracker.variable):
        look = f"they are where {tracker.variable} says"
    else:  # Packages look when they are imported.
        os.environ[tracker.variable] = tracker.value.format(folder=place)
        place.mkdir(parents=True, exist_ok=True)
    package = importlib.import_module(name)
    new = tracker.write(package, study, runs, Path(os.environ[tracker.variable]))
    return f"{name}: {new} runs written, {len(runs) - new} were there already; {look}"


def write_mlflow(mlflow: ModuleType, study: str, runs: Sequence[TrackedRun], folder: Path) -> int:
    """Write runs to the server or database of MLFLOW_TRACKING_URI."""
    client, new = mlflow.MlflowClient(), 0
    known = client.get_experiment_by_name(study)
    experiment = known.experiment_id if known else client.create_experiment(study)
    for run in runs:
        query = f"tags.`{ID}` = '{run.id}'"
        there = client.search_runs([experiment], filter_string=query)
        if any(each.info.status == "FINISHED" for each in there):
            continue
        for each in there:
            client.delete_run(each.info.run_id)
        _write_mlflow_run(mlflow.entities, client, experiment, run)
        new += 1
    return new


def _write_mlflow_run(entities: ModuleType, client, experiment: str, run: TrackedRun) -> None:
    at = 1000 * run.ended
    tags = {ID: run.id, "group": run.group, **run.tags}
    made = client.create_run(experiment, start_time=at, tags=tags, run_name=run.name).info.run_id
    points = [*run.points, (run.points[-1][0] if run.points else 0, run.summary)]
    lists = {
        "metrics": [
            entities.Metric(name, value, at, epoch)
            for epoch, numbers in points
            for name, value in numbers.items()
        ],
        "params": [entities.Param(name, str(value)) for name, value in run.params.items()],
    }
    for kind, items in lists.items():
        for first in range(0, len(items), MOST[kind]):
            client.log_batch(made, **{kind: items[first : first + MOST[kind]]})
    client.set_terminated(made, "FINISHED", at)


def write_wandb(wandb: ModuleType, study: str, runs: Sequence[TrackedRun], folder: Path) -> int:
    """Write runs to `folder`, from which `wandb sync` sends them: nothing is sent from here."""
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True,
        # Of the machine that exports: it tells nothing of the one that ran them.
        x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
    )  # fmt: skip
    partial, new = folder / ".partial", 0
    for run in runs:
        if any(folder.glob(f"offline-run-*-{run.id}")):
            continue
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        made = wandb.init(
            project=study, id=run.id, name=run.name, group=run.group, dir=partial,
            config={**run.params, **run.tags}, tags=[run.params["task"], run.params["method"]],
            mode="offline", resume="allow", settings=settings, reinit="finish_previous",
        )  # fmt: skip
        made.define_metric("*", step_metric="epoch")
        for epoch, numbers in run.points:
            made.log({"epoch": epoch, **numbers})
        made.summary.update(run.summary)
        made.finish()
        # Whole or not at all, as a killed export leaves it in the partial folder.
        for path in (partial / "wandb").glob("offline-run-*"):
            path.rename(folder / path.name)
        new += 1
    shutil.rmtree(partial, ignore_errors=True)
    return new


UNFINISHED = " (unfinished)"
"""How the name of a run in trackio ends until all of it is written."""


def write_trackio(trackio: ModuleType, study: str, runs: Sequence[TrackedRun], folder: Path) -> int:
    """Write runs to the database in TRACKIO_DIR."""
    new = 0
    there = {each.config.get(ID): each for each in _trackio_runs(trackio, study)}
    for run in runs:
        known = there.get(run.id)
        if known is not None and not known.name.endswith(UNFINISHED):
            continue
        if known is not None:
            known.delete()
        name = f"{run.name}{UNFINISHED}"
        with redirect_stdout(StringIO()):  # It tells of each run how to look at it.
            made = trackio.init(
                study, name, group=run.group, config={ID: run.id, **run.params, **run.tags},
                resume="never", embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            points = run.points or ((0, {}),)
            for epoch, numbers in points[:-1]:
                made.log({"epoch": epoch, **numbers}, step=epoch)
            last, numbers = points[-1]  # It has no summary besides.
            made.log({"epoch": last, **numbers, **run.summary}, step=last)
            made.finish()
        [written] = [each for each in _trackio_runs(trackio, study) if each.name == name]
        written.rename(run.name)
        new += 1
    return new


def _trackio_runs(trackio: ModuleType, study: str) -> list:
    try:
        return list(trackio.Api().runs(study))
    except ValueError:  # no such project yet
        return []


TRACKERS = {
    "mlflow": Tracker(
        write_mlflow, "MLFLOW_TRACKING_URI", "sqlite:///{folder}/mlflow.db",
        "mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db",
    ),
    "wandb": Tracker(write_wandb, "WANDB_DIR", "{folder}", "wandb sync {folder}/offline-run-*"),
    "trackio": Tracker(
        write_trackio, "TRACKIO_DIR", "{folder}", "TRACKIO_DIR={folder} trackio show"
    ),
}  # fmt: skip
