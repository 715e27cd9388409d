"""Score a model before any adaptation on texts and other tasks (rule score_unadapted)."""

from typing import TYPE_CHECKING

from fewshot.runtime import launch

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    from fewshot.adaptation.unadapted import score_unadapted

    score_unadapted(smk)


if __name__ == "__main__":
    launch.run(main, snakemake)
