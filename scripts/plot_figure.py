"""Make one figure's specification from metrics (rule plot_figure)."""

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
    render.write_spec(
        smk.output.spec, registry.make_figure(p.function, stored, p.catalog, p.options, p.title)
    )


if __name__ == "__main__":
    script.run(main, snakemake)
