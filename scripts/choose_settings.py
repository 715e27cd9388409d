"""Choose settings from the held-out shots of one task and model (rule choose_settings)."""

from typing import TYPE_CHECKING

import pandas as pd
from fewshot import storage
from fewshot.analysis import choices, result_schemas, run_costs
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    cell = {"protocol": p.protocol, "task": p.task, "model": p.model}
    metrics, costs = (
        pd.concat([storage.read_table(path) for path in paths], ignore_index=True)
        for paths in (smk.input.metrics, smk.input.costs)
    )
    model = run_costs.flops_model(p.size, p.evaluation)
    found = choices.choose_settings(cell, p.choices, metrics, costs, model)
    storage.write_table(smk.output.choices, found, result_schemas.CHOICES)


if __name__ == "__main__":
    script.run(main, snakemake)
