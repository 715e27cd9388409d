"""Write all that tables and figures are made from into one archive (rule export_predictions)."""

from typing import TYPE_CHECKING

from fewshot.exchange import archive
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    archive.export_study(smk.output.archive, p.study, p.entries, smk.input.files, smk.input.rows)


if __name__ == "__main__":
    script.run(main, snakemake)
