"""The adapted, untrained model from which every seed of a job starts anew."""

import copy
import importlib
from collections.abc import Callable

import torch
from torch import nn

from ..data.sampling import generator
from ..models.models import learned_prefix, tokens_ahead, virtual_ids
from ..models.zero import loading_in_shards
from ..runtime.placement import Placement
from .engine import engine_config
from .jobs import Job
from .student import Student, adapted, drawn, fresh


class Origin:
    """What a job's seeds start from: whole on the CPU, copied for each seed; or in shards.

    At ZeRO stage 3 no process may be able to hold the model: then `source` reads it again for each
    seed, of which every process keeps its shard.
    """

    def __init__(self, job: Job, source: Callable[[], nn.Module]):
        # By name, so that the code version of one family leaves the others out.
        package = __package__ or ""
        self._method = importlib.import_module(f"..methods.{job.settings['family']}", package)
        self._job, self._source = job, source
        sharded = job.placement.zero_stage == 3
        # What is read in shards to set the job up is the first seed's, and let go with it.
        self._first = self._in_shards(job.placement) if sharded else None
        self._base = None if sharded else self._adapt()
        self._moved: dict[int, nn.Parameter] = {}
        model = (self._first or self._base).model
        self.virtual_ids, self.tokens_ahead = virtual_ids(model), tokens_ahead(model)
        self.recomputes = learned_prefix(model) is None

    def start(self, seed: int, placement: Placement, device: torch.device) -> Student:
        """Return the untrained student of a seed, with newly drawn additions, on its device."""
        draws = generator("initial", self._job.cell["model"], seed)
        if placement.zero_stage == 3:
            student, self._first = self._first or self._in_shards(placement), None
            drawn(student, self._method, draws)
            return student if placement.offload == "parameters" else student.to(device)
        # Drawn where all weights are, the same for every seed: initial values may depend on them.
        return self._on(device, fresh(self._base, self._method, draws))

    def _on(self, device: torch.device, student: Student) -> Student:
        """Return the student on a device, whose frozen weights all seeds share there."""
        if device.type == "cpu":
            return student
        frozen = [each for each in student.parameters() if not each.requires_grad]
        for each in frozen:
            if id(each) not in self._moved:
                self._moved[id(each)] = nn.Parameter(each.to(device), requires_grad=False)
        kept = {id(each): self._moved[id(each)] for each in frozen}
        return copy.deepcopy(student, kept).to(device)

    def _adapt(self) -> Student:
        return adapted(self._source(), self._method, self._job.settings, self._job.labels)

    def _in_shards(self, placement: Placement) -> Student:
        job = self._job
        config = engine_config(job.settings, job.model["dtype"], placement, job.world.size)
        with loading_in_shards(config, job.world):
            model = self._source()
        return adapted(model, self._method, job.settings, job.labels)
