"""Say which contexts fit the model's window (rule check_fit)."""

from typing import TYPE_CHECKING

import pandas as pd
from fewshot import records
from fewshot.prompts import fit, tokens
from fewshot.prompts.patterns import restore_pattern
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    params = smk.params
    if not params.cells:  # All of this model's results were made elsewhere.
        records.write_table(smk.output.fit, pd.DataFrame(columns=records.FIT.names), records.FIT)
        return
    evaluation = map(records.read_rows, smk.input.evaluation)
    empty = pd.DataFrame(columns=records.ROWS.names)
    checker = fit.Checker(
        tokens.load_tokenizer(smk.input.model),
        {name: restore_pattern(entry) for name, entry in params.patterns.items()},
        dict(zip(params.evaluation_sets, evaluation, strict=True)),
        records.read_table(smk.input.train) if smk.input.train else empty,
        {_draw(name): records.read_table(path) for name, path in params.shots.items()},
    )
    cell = {"protocol": params.protocol, "task": params.task, "model": smk.wildcards.model}
    rows = fit.check_cells(checker, cell, params.cells, params.window)
    records.write_table(smk.output.fit, pd.DataFrame(rows), records.FIT)


def _draw(name: str) -> tuple[str, int, int]:
    draw, k, seed = name.split("/")
    return draw, int(k), int(seed)


if __name__ == "__main__":
    script.run(main, snakemake)
