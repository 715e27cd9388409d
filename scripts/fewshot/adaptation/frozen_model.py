"""The model of a job that trains none of it: whole in each process, or in shards."""

import torch

from ..models.load import load_model, pick_device
from .job import AdaptationJob


def shards_weights(job: AdaptationJob) -> bool:
    """Return whether the processes share the weights: at ZeRO stage 3, which the memory plan takes
    where a GPU cannot hold them all. Sharing only the rows is faster, and the scores are the same.
    """
    return job.placement.zero_stage == 3 and job.processes.size > 1


def load_frozen(job: AdaptationJob, sharded: bool) -> torch.nn.Module:
    """Return the job's model on its device or, if `sharded`, this process's part of it."""

    def load():
        return load_model(job.model_manifest, job.model, job.cell["model"])

    if not sharded:
        return load().to(pick_device())
    from ..models.deepspeed_zero import shard_model

    return shard_model(load, job.model["dtype"], job.processes)
