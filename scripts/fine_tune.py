"""Train on the shots and score every evaluation row, for one cell and chunk of seeds."""

from typing import TYPE_CHECKING

from fewshot import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot.training import fine_tune

    fine_tune(smk)


if __name__ == "__main__":
    launch.run(main, snakemake)
