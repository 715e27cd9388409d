"""Fit a baseline to each seed's shots and answer every evaluation row (rule fit_baseline)."""

from typing import TYPE_CHECKING

from fewshot.adaptation import job as job_module
from fewshot.adaptation import seeds
from fewshot.runtime import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    job = job_module.read_job(smk)

    def start(_):
        # Imported where a seed is left to do: scikit-learn, or torch, takes seconds.
        from fewshot.adaptation import baselines

        return baselines.start_baseline(job)

    seeds.run_seeds(job, start)


if __name__ == "__main__":
    launch.run(main, snakemake)
