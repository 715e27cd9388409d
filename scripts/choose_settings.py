"""Choose settings from the held-out shots of one task and model (rule choose_settings)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import choices, result_schemas, run_costs
from fewshot.analysis.evidence import read_frames
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    cell = {"protocol": p.protocol, "task": p.task, "model": p.model}
    metrics = read_frames(smk.input.metrics, result_schemas.METRICS.names)
    costs = read_frames(smk.input.costs, result_schemas.COSTS.names)
    model = run_costs.flops_model(p.size, p.evaluation)
    found = choices.choose_settings(cell, p.choices, metrics, costs, model)
    storage.write_table(smk.output.choices, found, result_schemas.CHOICES)


if __name__ == "__main__":
    script.run(main, snakemake)
