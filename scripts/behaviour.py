"""Write and print what the embedded models do (rule behaviour)."""

from typing import TYPE_CHECKING

from fewshot import records
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot.demo import behaviourtable

    text = behaviourtable.page(behaviourtable.read(smk.input))
    with records.atomic(smk.output.table) as partial:
        partial.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main, snakemake)
