"""Fetch the files of one model, or find them (rule download_model)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.downloads import models
from fewshot.models import compatibility
from fewshot.models.tokenizer import load_tokenizer
from fewshot.prompts import chat
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    folder = Path(smk.output.manifest).parent
    manifest = models.fetch_model(smk.params.entry, folder, smk.params.name)
    manifest["sizes"] = compatibility.read_sizes(manifest["path"], f"model '{smk.params.name}'")
    storage.write_json(smk.output.manifest, manifest)
    compatibility.check_model(smk.output.manifest, manifest["path"], smk.params.name)
    if "chat" in smk.params.entry:
        chat.check_template(load_tokenizer(smk.output.manifest), smk.params.entry["chat"])


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
