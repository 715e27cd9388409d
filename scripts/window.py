"""Tell which contexts do not fit, and how many shots would (rule window)."""

from typing import TYPE_CHECKING

import pandas as pd
from fewshot import storage
from fewshot.prompts.window import describe_windows
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    tables = [storage.read_table(path) for path in smk.input.windows]
    windows = pd.concat(tables, ignore_index=True)
    print("\n".join(describe_windows(windows, smk.params.divided)))


if __name__ == "__main__":
    script.run(main, snakemake)
