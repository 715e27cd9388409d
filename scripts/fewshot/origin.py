"""The adapted, untrained model from which every seed of a job starts anew."""

import importlib
from collections.abc import Callable

from torch import nn

from .engine import engine_config
from .jobs import Job
from .placement import Placement
from .sampling import generator
from .student import Student, adapted, drawn, fresh
from .zero import loading_in_shards


class Origin:
    """What a job's seeds start from: whole on the CPU, copied for each seed; or in shards.

    At ZeRO stage 3 no process may be able to hold the model: then `source` reads it again for each
    seed, of which every process keeps its shard. `student` is one to look at, maybe trained.
    """

    def __init__(self, job: Job, source: Callable[[], nn.Module]):
        # By name, so that the code version of one family leaves the others out.
        package = __package__ or ""
        self._method = importlib.import_module(f".methods.{job.settings['family']}", package)
        self._job, self._source, self._untouched = job, source, True
        self._sharded = job.placement.zero_stage == 3
        self.student = self._in_shards(job.placement) if self._sharded else self._adapt()

    def start(self, seed: int, placement: Placement) -> Student:
        """Return the untrained student of a seed, with newly drawn additions."""
        draws = generator("initial", self._job.cell["model"], seed)
        if placement.zero_stage < 3:
            return fresh(self.student, self._method, draws)
        # What was read to set the job up is the first seed's.
        first, self._untouched = self._sharded and self._untouched, False
        student = self.student if first else self._in_shards(placement)
        if self._sharded:
            self.student = student
        return drawn(student, self._method, draws)

    def _adapt(self) -> Student:
        return adapted(self._source(), self._method, self._job.settings, self._job.labels)

    def _in_shards(self, placement: Placement) -> Student:
        job = self._job
        config = engine_config(job.settings, job.model["dtype"], placement, job.world.size)
        with loading_in_shards(config, job.world):
            model = self._source()
        return adapted(model, self._method, job.settings, job.labels)
