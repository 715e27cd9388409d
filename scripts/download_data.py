"""Fetch the raw rows of one source (rule download_data)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.data import sources
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    folder = Path(smk.output.manifest).parent
    manifest = sources.fetch_source(smk.params.source, folder, smk.params.name)
    storage.write_json(smk.output.manifest, manifest)


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
