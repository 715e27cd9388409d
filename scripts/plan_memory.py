"""Write the memory plan of a study, once its counts are checked against the real architectures."""

from typing import TYPE_CHECKING

from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what transformers says goes to the log.
    from fewshot.planning import memory_plan_table

    plan = memory_plan_table.checked(smk.params.plan, smk.params.models)
    memory_plan_table.write_memory_plan(plan, smk.output, smk.params.machine)


if __name__ == "__main__":
    script.run(main, snakemake)
