"""Make one table of the study in four formats (rule make_table)."""

from typing import TYPE_CHECKING

from fewshot.analysis import evidence
from fewshot.report import provenance
from fewshot.report.tables import registry
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, out = smk.params, smk.output
    files = evidence.evidence_inputs(smk.input)
    stored = evidence.read_evidence(**files)
    table = registry.make_table(p.function, stored, p.catalog, p.options)
    paths = {"parquet": out.table, "csv": out.csv, "tex": out.tex, "md": out.md}
    origin = provenance.origin(table.read, files, p.code)
    registry.write_table_files(table, paths, p.name, p.title, p.caption, origin)


if __name__ == "__main__":
    script.run(main, snakemake)
