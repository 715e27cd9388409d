"""Fetch weights that are not there (rules download_weights and download)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.downloads import models
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # `download` has no output: it is told of weights that were freed since they were fetched.
    for marker in map(Path, smk.output or smk.params.markers):
        models.fetch_weights(marker.with_name("manifest.json"), marker)


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
