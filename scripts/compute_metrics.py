"""Summarise the runs of one task and model as metrics and costs (rule compute_metrics)."""

from typing import TYPE_CHECKING

from fewshot import records
from fewshot.analysis import evaluation, ledger, metrics, schemas
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    sets = [
        evaluation.read_set(item["set"], item["merge"], path)
        for item, path in zip(p.evaluation, smk.input.evaluation, strict=True)
    ]
    cell = {"protocol": p.protocol, "task": p.task, "model": p.model}
    found = metrics.compute(cell, p.jobs, sets, records.read_table(smk.input.fit))
    records.write_table(smk.output.metrics, found.metrics, schemas.METRICS)
    records.write_table(smk.output.outcomes, found.outcomes, schemas.OUTCOMES)
    costs = ledger.compute(cell, p.jobs, ledger.model_of(p.size, p.evaluation))
    records.write_table(smk.output.costs, costs, schemas.COSTS)


if __name__ == "__main__":
    script.run(main, snakemake)
