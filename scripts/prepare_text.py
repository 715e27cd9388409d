"""Bring the documents of a text to one shape (rule prepare_text)."""

from typing import TYPE_CHECKING

from fewshot import schemas, storage
from fewshot.data import texts
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    documents = texts.prepare_text(smk.input.manifest, smk.params.entry, smk.wildcards.text)
    storage.write_table(smk.output.documents, documents, schemas.TEXTS)


if __name__ == "__main__":
    script.run(main, snakemake)
