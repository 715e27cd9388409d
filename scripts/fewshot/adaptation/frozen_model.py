"""The model of a job that trains none of it: whole in each process, or in shards."""

from pathlib import Path

import torch

from ..models.load import load_model, pick_device
from ..runtime.placement import Placement
from ..runtime.processes import ProcessGroup
from .job import AdaptationJob


def shards_weights(job: AdaptationJob) -> bool:
    """Return whether the processes share the weights: at ZeRO stage 3, which the memory plan takes
    where a GPU cannot hold them all. Sharing only the rows is faster, and the scores are the same.
    """
    return in_shards(job.placement, job.processes)


def in_shards(placement: Placement, processes: ProcessGroup) -> bool:
    """Return whether processes that are placed so share the weights."""
    return placement.zero_stage == 3 and processes.size > 1


def load_frozen(job: AdaptationJob, sharded: bool) -> torch.nn.Module:
    """Return the job's model on its device or, if `sharded`, this process's part of it."""
    return load_base(job.model_manifest, job.model, job.cell["model"], job.processes, sharded)


def load_base(
    manifest: Path, entry: dict, name: str, processes: ProcessGroup, sharded: bool
) -> torch.nn.Module:
    """Return the model `name` of a manifest and an entry on its device or, if `sharded`, this
    process's part of it."""

    def load():
        return load_model(manifest, entry, name)

    if not sharded:
        return load().to(pick_device())
    from ..models.deepspeed_zero import shard_model

    return shard_model(load, entry["dtype"], processes)
