"""Tell what the study costs, before anything is submitted (rule estimate)."""

from typing import TYPE_CHECKING

from fewshot.planning import estimate_page
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    print(estimate_page.write_estimate(smk.params.jobs, smk.params.facts, smk.output))


if __name__ == "__main__":
    script.run(main, snakemake)
