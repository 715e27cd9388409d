"""Fetch the weights that unfinished runs need and that are not there any more (rule download)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.downloads import models
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    for marker in map(Path, smk.params.markers):
        models.fetch_weights(marker.with_name("manifest.json"), marker)


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
