"""Write and print what the embedded models do (rule behaviour)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot.demo import behaviour_tables

    text = behaviour_tables.page(behaviour_tables.read(smk.input))
    with storage.atomic(smk.output.table) as partial:
        partial.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main, snakemake)
