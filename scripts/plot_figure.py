"""Make one figure from metrics, in every format (rule plot_figure)."""

from typing import TYPE_CHECKING

from fewshot.analysis import evidence
from fewshot.report import render
from fewshot.report.figures import registry
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    part = registry.part_of(p.function)
    stored = evidence.read_evidence(part=part, **evidence.evidence_inputs(smk.input))
    entry = {key: getattr(p, key) for key in ("function", "title", "caption", "options")}
    paths = {kind: getattr(smk.output, kind) for kind in ("spec", *render.KINDS)}
    registry.write_figure(paths, entry, stored, p.catalog)


if __name__ == "__main__":
    script.run(main, snakemake)
