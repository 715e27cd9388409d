"""Bring the raw rows of one split to the common columns (rule prepare_task)."""

from typing import TYPE_CHECKING

from fewshot import records, tasks

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    entry, task, split = smk.params.task, smk.wildcards.task, smk.wildcards.split
    raw = tasks.read_raw(tasks.raw_file(smk.input.manifest, entry["splits"][split]))
    rows = tasks.prepare(raw, entry, task, split)
    records.write_table(smk.output.rows, rows, records.ROWS)


if __name__ == "__main__":
    records.run(main, snakemake)
