"""Fetch the weights of one model, or find them (rule download_weights)."""

from typing import TYPE_CHECKING

from fewshot.downloads import models
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    models.fetch_weights(smk.input.manifest, smk.output.marker)


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
