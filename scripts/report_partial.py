"""Make tables, figures and report from what exists (rule report_partial)."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.report import partial
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    plan = partial.PartialStudy(p.study, p.catalog, p.figures, p.tables, p.pairs)
    path = partial.write_partial_report(plan, Path("results", p.study["study"], "partial"))
    logging.info("the partial report is %s", path)
    print(f"Partial report: {path}")


if __name__ == "__main__":
    script.run(main, snakemake)
