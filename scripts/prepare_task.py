"""Bring the raw rows of one split to the common columns (rule prepare_task)."""

from typing import TYPE_CHECKING

from fewshot import schemas, storage
from fewshot.data import prepare
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    task, split = smk.wildcards.task, smk.wildcards.split
    rows = prepare.prepare_split(smk.input.manifest, smk.params.task, task, split)
    storage.write_table(smk.output.rows, rows, schemas.ROWS)


if __name__ == "__main__":
    script.run(main, snakemake)
