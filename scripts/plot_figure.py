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
    spec = registry.make_figure(p.function, stored, p.catalog, p.options, p.title)
    render.write_spec(smk.output.spec, spec)
    render.render(spec, {kind: getattr(smk.output, kind) for kind in render.KINDS})


if __name__ == "__main__":
    script.run(main, snakemake)
