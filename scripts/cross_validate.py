"""Learn from folds of each draw and score the shots that are held out (rule cross_validate)."""

from typing import TYPE_CHECKING

from fewshot.runtime import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    if smk.params.trains:
        from fewshot.adaptation.held_out_training import cross_validate
    else:
        from fewshot.adaptation.held_out_in_context import cross_validate

    cross_validate(smk)


if __name__ == "__main__":
    launch.run(main, snakemake)
