"""Train on the shots and score every evaluation row, for one cell and chunk of seeds."""

from typing import TYPE_CHECKING

from fewshot.runtime import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot.adaptation.training import fine_tune

    fine_tune(smk)


if __name__ == "__main__":
    launch.run(main, snakemake)
