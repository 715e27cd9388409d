"""Training that starts from what other jobs have trained on other tasks (setting `start_from`).

Their files are read tensor by tensor, so that no process holds them whole. Every process reads
them: parameters may be whole in all of them, or in shards.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..models.parts import trained_parameters
from ..rng import generator
from ..storage import read_json, sha256
from .combination import combined
from .job import AdaptationJob
from .trainable_model import TrainableModel
from .weights import change_weights

Files = dict[int, tuple[Path, ...]]
"""Seed → the file of each task that the setting names, in its order."""


def read_files(manifests: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> Files:
    """Return the files of adapters of `tasks`, which lie beside the manifests of their runs.

    Raises UserError where a run has none of a seed.
    """
    found, runs = {}, {}
    for manifest in manifests:
        content = read_json(manifest, "task", "seeds")
        for seed, entry in content["seeds"].items():
            runs[content["task"], int(seed)] = manifest
            for name in entry.get("adapters", ()):
                found[content["task"], int(seed)] = Path(manifest).parent / "adapters" / name
    for task in tasks:
        for seed in seeds:
            path = found.get((task, seed))
            where = runs.get((task, seed), "start_from")
            if path is None:
                raise UserError(
                    f"{where}: it has no adapters of task '{task}', seed {seed}, to start from, as "
                    "that draw does not fit the window; leave out the task (start_from.tasks in "
                    "methods.yaml) or the seed"
                )
            if not path.is_file():
                raise UserError(
                    f"{path}: not there, and training starts from it; an archive brings no "
                    f"adapters: remove {where}, so that its job runs again"
                )
    return {seed: tuple(found[task, seed] for task in tasks) for seed in seeds}


def checksums_of(files: Files, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return task → seed → the checksum of its file."""
    return {
        task: {str(seed): sha256(paths[place]) for seed, paths in files.items()}
        for place, task in enumerate(tasks)
    }


def put_start(
    trainable: TrainableModel,
    job: AdaptationJob,
    seed: int,
    sharded: bool,
    place: Callable[[nn.Module, Sequence[Callable[[str], torch.Tensor]]], None] | None,
) -> None:
    """Put what other tasks' runs of a seed have trained into a model whose additions were drawn.

    Each trained parameter becomes their combination, unless the family keeps them apart: then its
    function `place(model, sources)` is given them. Raises UserError where a file is not one of this
    model and method.
    """
    from safetensors import safe_open

    files = [safe_open(path, "pt") for path in job.starts[seed]]
    if place is not None:
        place(trainable.model, [partial(_tensor, file) for file in files])
        return
    expected = trained_parameters(trainable).keys()
    for path, file in zip(job.starts[seed], files, strict=True):
        different = sorted(expected ^ set(file.keys()))
        if different:
            raise UserError(f"{path}: not an adapter of this model and method: '{different[0]}'")
    draws = generator("combination", job.cell["model"], seed)

    def change(name: str, drawn: torch.Tensor) -> torch.Tensor:
        found = [file.get_tensor(name) for file in files]
        return combined(drawn, found, job.settings["start_from"], draws)

    change_weights(trainable, change, sharded)


def _tensor(file, name: str) -> torch.Tensor:
    return file.get_tensor(f"model.{name}")
