"""Compare what was measured outside the tasks before and after adaptation (compare_forgetting)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import forgetting, statistics_schemas
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    files = smk.input.before, smk.input.after
    changes = forgetting.changes(*([*map(storage.read_table, paths)] for paths in files))
    storage.write_table(smk.output.changes, changes, statistics_schemas.FORGETTING)


if __name__ == "__main__":
    script.run(main, snakemake)
