"""Write documents of the embedded models' language that they never read (rule write_documents)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, since it imports transformers, which looks at the environment.
    from fewshot.demo.documents import held_out_documents

    p = smk.params
    texts = held_out_documents(p.documents, p.tokens, p.seed)
    with storage.atomic(smk.output.documents) as partial:
        lines = (json.dumps({"text": text}) for text in texts)
        Path(partial).write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    script.run(main, snakemake)
