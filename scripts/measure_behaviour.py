"""Measure what an embedded model does on fresh data seeds (rule measure_behaviour)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from fewshot import storage
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    import torch
    from fewshot.analysis import result_schemas
    from fewshot.demo import behaviour

    torch.set_num_threads(smk.threads)
    folder = Path(smk.input[0]).parent
    found = [
        behaviour.measure(folder, cell, smk.params.seeds, smk.params.rows)
        for cell in behaviour.cells()
    ]
    table = pd.concat(found, ignore_index=True).assign(model=smk.wildcards.model)
    storage.write_table(smk.output.counts, table, result_schemas.BEHAVIOUR)


if __name__ == "__main__":
    script.run(main, snakemake)
