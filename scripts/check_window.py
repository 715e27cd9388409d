"""Say which contexts fit the model's window (rule check_window)."""

from typing import TYPE_CHECKING

import pandas as pd
from fewshot import schemas, storage
from fewshot.data.shots import read_shots
from fewshot.models.tokenizer import load_tokenizer
from fewshot.prompts import window
from fewshot.prompts.chat import read_pattern
from fewshot.prompts.patterns import restore_pattern
from fewshot.prompts.set_queries import SetQueries
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    params = smk.params
    if not params.cells:  # All of this model's results were made elsewhere.
        storage.write_table(
            smk.output.windows, pd.DataFrame(columns=schemas.WINDOWS.names), schemas.WINDOWS
        )
        return
    paths = {_draw(name): path for name, path in params.shots.items()}
    tables = map(storage.read_rows, smk.input.evaluation)
    evaluation = dict(zip(params.evaluation_sets, tables, strict=True))
    plain = {name: restore_pattern(entry) for name, entry in params.patterns.items()}
    tokenizer = load_tokenizer(smk.input.model, window.sample_texts(plain, evaluation))
    patterns = {name: read_pattern(entry, tokenizer) for name, entry in params.patterns.items()}
    shots = read_shots(smk.input.train, paths) if paths else {}
    checker = window.WindowChecker(SetQueries(tokenizer), patterns, evaluation, shots)
    if smk.input.train:
        window.check_copies(storage.read_table(smk.input.train), evaluation)
    cell = {"protocol": params.protocol, "task": params.task, "model": smk.wildcards.model}
    rows = window.check_cells(checker, cell, params.cells, params.window)
    storage.write_table(smk.output.windows, pd.DataFrame(rows), schemas.WINDOWS)


def _draw(name: str) -> tuple[str, int, int]:
    draw, k, seed = name.split("/")
    return draw, int(k), int(seed)


if __name__ == "__main__":
    script.run(main, snakemake)
