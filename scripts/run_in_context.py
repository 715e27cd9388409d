"""Score all evaluation rows behind each seed's demonstrations (rule run_in_context)."""

from typing import TYPE_CHECKING

from fewshot.adaptation import job as job_module
from fewshot.adaptation import seeds
from fewshot.runtime import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    job = job_module.read_job(smk, uses_context=True)

    def start(_):
        # Imported where a seed is left to do: torch and transformers take seconds.
        from fewshot.adaptation import in_context

        return in_context.start_in_context(job)

    seeds.run_seeds(job, start)


if __name__ == "__main__":
    launch.run(main, snakemake)
