"""Make one table of the study in four formats (rule make_table)."""

from typing import TYPE_CHECKING

from fewshot import evidence, records, tables

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, out = smk.params, smk.output
    stored = evidence.read_evidence(
        metrics=smk.input.metrics,
        comparisons=smk.input.comparisons,
        variance=smk.input.variance,
        fit=smk.input.fit,
        manifests=smk.input.manifests,
    )
    table = tables.make(p.function, stored, p.catalog, p.options)
    paths = {"parquet": out.table, "csv": out.csv, "tex": out.tex, "md": out.md}
    tables.write(table, paths, p.name, p.title, p.caption)


if __name__ == "__main__":
    records.run(main, snakemake)
