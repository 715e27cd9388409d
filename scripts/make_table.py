"""Make one table of the study in four formats (rule make_table)."""

from typing import TYPE_CHECKING

from fewshot.analysis import evidence
from fewshot.report.tables import registry
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, out = smk.params, smk.output
    files = evidence.evidence_inputs(smk.input)
    stored = evidence.read_evidence(**files)
    entry = {key: getattr(p, key) for key in ("function", "title", "caption", "options")}
    paths = {"parquet": out.table, "csv": out.csv, "tex": out.tex, "md": out.md}
    registry.write_table(paths, p.name, entry, stored, p.catalog, files, p.code)


if __name__ == "__main__":
    script.run(main, snakemake)
