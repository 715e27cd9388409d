"""What the jobs of a study read and are told to measure outside their own task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .cells import PROTOCOLS
from .other_tasks import fixed_pattern, others_of, trains_here

if TYPE_CHECKING:
    from .cells import Cell
    from .job_inputs import JobInputs

KINDS = ("texts", "other_rows", "other_train", "other_shots")
"""The names of the inputs that a job measures on."""


class ForgettingInputs:
    """Inputs and parameters of the jobs that measure, by task (None: before any adaptation).

    Of a study that measures nothing there are no files.
    """

    def __init__(self, inputs: "JobInputs"):
        self.inputs, self.study = inputs, inputs.study

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the names of the inputs in `files`."""
        return KINDS if self.study.forgetting else ()

    @property
    def models(self) -> list[str]:
        """Return the models that are measured: those of which some are trained."""
        models = self.study.own_models if self.study.forgetting else ()
        return [name for name in models if self.seeds(name)]

    def seeds(self, model: str) -> list[int]:
        """Return the seeds of all that is trained of a model."""
        trained = (cell for cell in self.study.own_cells if cell.model == model)
        found = (
            self.study.seeds_of(cell) for cell in trained if trains_here(self.study, cell.method)
        )
        return sorted({seed for seeds in found for seed in seeds})

    def placed_as(self, model: str) -> "Cell":
        """Return the cell in whose place a model is scored as it is: one in context, if there is
        one, of the most shots."""
        study = self.study
        cells = [cell for cell in study.own_cells if cell.model == model]
        return max(cells, key=lambda cell: (study.uses_context(cell.method), cell.k))

    def tasks(self, task: str | None) -> list[str]:
        """Return the tasks that are asked beside `task`; all of them before any adaptation."""
        elsewhere = self.study.forgetting
        return list(elsewhere.tasks) if task is None else others_of(self.study, task)

    def files(self, task: str | None, seeds: Sequence[int]) -> dict[str, list[str]]:
        """Return the named inputs of a job of these seeds: texts, other tasks' rows and draws."""
        study, k = self.study, [count for count in self.study.forgetting.k if count]
        names = self.tasks(task)
        draw = PROTOCOLS[study.settings["protocol"]].in_context
        train = [f"results/data/{study.rows_of(name)}/train.parquet" for name in names if k]
        return {
            "texts": [f"results/texts/{name}.parquet" for name in study.forgetting.texts],
            "other_rows": [
                f"results/data/{study.rows_of(name)}/validation.parquet" for name in names
            ],
            "other_train": train,
            "other_shots": [
                f"results/shots/{draw}/{name}/k{count}/seed{seed}.parquet"
                for name in names
                for count in k
                for seed in seeds
            ],
        }

    def params(self, task: str | None, model: str) -> dict[str, object]:
        """Return what a job is told of what it measures, in the order of its inputs."""
        study, elsewhere = self.study, self.study.forgetting
        return {
            "texts": [
                {"text": name, "tokens": study.texts[name]["tokens"]} for name in elsewhere.texts
            ],
            "tasks": [
                {
                    "task": name,
                    "base": study.rows_of(name),
                    "pattern": self.inputs.pattern(name, fixed_pattern(study, name), model),
                }
                for name in self.tasks(task)
            ],
            "k": list(elsewhere.k),
            "rows": elsewhere.rows,
        }

    def before(self) -> list[str]:
        """Return what was measured of each model before any adaptation."""
        return [f"results/unadapted/{self.study.name}/{model}.parquet" for model in self.models]

    def after(self) -> list[str]:
        """Return what was measured by each job that trains."""
        if not self.study.forgetting:
            return []
        jobs = [job for job in self.study.own_jobs if trains_here(self.study, job.cell.method)]
        return [f"{self.study.run_folder(job)}/forgetting.parquet" for job in jobs]

    def rows(self) -> list[str]:
        """Return the prepared rows and texts that only this is measured on, or others too."""
        if not self.study.forgetting:
            return []
        found = self.files(None, ())
        return [*found["texts"], *found["other_rows"]]

    def draws(self) -> list[str]:
        """Return the draws that stand in contexts of other tasks."""
        seeds = sorted({seed for model in self.models for seed in self.seeds(model)})
        return self.files(None, seeds)["other_shots"] if seeds else []
