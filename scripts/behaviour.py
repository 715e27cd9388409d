"""Write and print what the embedded models do (rule behaviour)."""

from typing import TYPE_CHECKING

import pandas as pd
from fewshot import records

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot import behaviourtable

    counts = pd.concat(map(pd.read_parquet, smk.input), ignore_index=True)
    text = behaviourtable.page(counts)
    with records.atomic(smk.output.table) as partial:
        partial.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    records.run(main, snakemake)
