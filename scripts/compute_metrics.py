"""Summarise the runs of one task and model as metrics and costs (rule compute_metrics)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import metrics, result_schemas, run_costs, scored_sets
from fewshot.data import halves
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    sets = scored_sets.read_sets(p.evaluation, smk.input.evaluation)
    cell = {"protocol": p.protocol, "task": p.task, "model": p.model}
    windows, by_half = storage.read_table(smk.input.windows), p.best_epoch == halves.SELECTION
    probes = scored_sets.probe_names(p.evaluation)
    found = metrics.compute_metrics(cell, p.jobs, sets, windows, by_half=by_half, probes=probes)
    storage.write_table(smk.output.metrics, found.metrics, result_schemas.METRICS)
    storage.write_table(smk.output.outcomes, found.outcomes, result_schemas.OUTCOMES)
    costs = run_costs.compute_costs(cell, p.jobs, run_costs.flops_model(p.size, p.evaluation))
    storage.write_table(smk.output.costs, costs, result_schemas.COSTS)


if __name__ == "__main__":
    script.run(main, snakemake)
