"""Tell what the study can find, before anything is submitted (rule power)."""

from typing import TYPE_CHECKING

from fewshot.planning import power_page
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    print(power_page.write_power(smk.params.asked, smk.params.facts, smk.output))


if __name__ == "__main__":
    script.run(main, snakemake)
