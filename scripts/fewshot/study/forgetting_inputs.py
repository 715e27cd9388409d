"""What the jobs of a study read and are told to measure outside their own task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .cells import PROTOCOLS
from .other_tasks import (
    fixed_pattern,
    measured_models,
    others_of,
    trained_seeds,
    trains_here,
    unadapted_file,
)

if TYPE_CHECKING:
    from .job_inputs import JobInputs


class ForgettingInputs:
    """Inputs and parameters of the jobs that measure, by task (None: before any adaptation).

    Of a study that measures nothing there are no files.
    """

    def __init__(self, inputs: "JobInputs"):
        self.inputs, self.study = inputs, inputs.study

    def tasks(self, task: str | None) -> list[str]:
        """Return the tasks that are asked beside `task`; all of them before any adaptation."""
        elsewhere = self.study.forgetting
        return list(elsewhere.tasks) if task is None else others_of(self.study, task)

    def files(self, task: str | None, seeds: Sequence[int]) -> dict[str, list[str]]:
        """Return the named inputs of a job of these seeds: texts, other tasks' rows and draws."""
        if not self.study.forgetting:
            return {}
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
        return [unadapted_file(self.study, model) for model in measured_models(self.study)]

    def after(self) -> list[str]:
        """Return what was measured by each job that trains."""
        if not self.study.forgetting:
            return []
        jobs = [job for job in self.study.own_jobs if trains_here(self.study, job.cell.method)]
        return [f"{self.study.run_folder(job)}/forgetting.parquet" for job in jobs]

    def rows(self) -> list[str]:
        """Return the prepared rows and texts that only this is measured on, or others too."""
        found = self.files(None, ())
        return [*found.get("texts", ()), *found.get("other_rows", ())]

    def draws(self) -> list[str]:
        """Return the draws that stand in contexts of other tasks."""
        models = measured_models(self.study)
        seeds = sorted({seed for model in models for seed in trained_seeds(self.study, model)})
        return self.files(None, seeds)["other_shots"] if seeds else []
