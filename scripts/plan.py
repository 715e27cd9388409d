"""Tell what the study will cost, before anything is submitted (rule plan)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.planning import calibration, estimate_page
from fewshot.planning.estimate import StudyEstimate
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.runtime import script
from fewshot.runtime.submission import Queue
from fewshot.study.study import Study

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    study = Study(**smk.params.study)
    plan = MemoryPlan(study, calibration.read_if_valid())
    queue = Queue(**smk.params.queue) if smk.params.queue else None
    schedule = StudyEstimate(plan, smk.params.files, queue=queue)
    folder = Path("results", study.name)
    print(estimate_page.write_estimate(schedule, folder))
    print(f"Plan: {folder}/schedule.md (each job: schedule.csv, schedule.parquet)")


if __name__ == "__main__":
    script.run(main, snakemake)
