"""A model before any adaptation, on what is measured again after each: once for all methods.

No adapter is there, so none can be on by mistake: an adapter that is not neutral at its start, as
the virtual tokens of prompt tuning, would change what is called "before".
"""

import logging
from pathlib import Path

import pandas as pd
import torch

from .. import schemas, storage
from ..models.files import verify_files
from ..models.load import pick_device
from ..models.tokenizer import load_tokenizer
from ..prompts.patterns import Pattern
from ..prompts.set_queries import SetQueries
from ..prompts.tokenize import Prompts
from ..runtime.placement import read_placement
from ..runtime.processes import read_process_group
from ..scoring.score import Scores, score
from .forgetting import Reading, read_asked
from .frozen_model import in_shards, load_base

LOG = logging.getLogger(__name__)


def score_unadapted(smk) -> None:
    """Load the base model, score texts and tasks, and write all (schemas.FORGETTING).

    Texts and tasks without shots are scored once, with seed 0, others for each seed's shots.
    """
    params, seeds = smk.params, [int(seed) for seed in smk.params.seeds]
    torch.set_num_threads(int(smk.threads))
    manifest, processes = Path(smk.input.model), read_process_group()
    queries = SetQueries(load_tokenizer(manifest))
    asked = read_asked(smk, seeds, queries, params.model["window"])
    processes.connect()
    verify_files(manifest)
    sharded, name = in_shards(read_placement(smk.resources), processes), smk.wildcards.model
    model = load_base(manifest, params.model, name, processes, sharded)
    kind = "gpu" if pick_device().type == "cuda" else "cpu"

    def scored(_: str, prompts: Prompts, pattern: Pattern | None) -> Scores:
        ranked = {"rank_by": pattern.rank_by, "characters": pattern.characters} if pattern else {}
        tokens = params.batch_tokens[kind]
        return score(
            model, prompts, batch_tokens=tokens, processes=processes, sharded=sharded, **ranked
        )

    cell = dict.fromkeys(("protocol", "task", "model", "method", "pattern"), schemas.UNADAPTED)
    cell |= {"protocol": params.protocol, "model": name, "k": 0}
    measured, reading = asked.measured, Reading()
    parts = [measured.of_texts(cell, 0, reading, scored)]
    for k in measured.k:
        for seed in seeds if k else [0]:
            parts.append(measured.of_tasks(cell, seed, k, reading, scored))
    if processes.rank == 0:
        rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
        storage.write_table(smk.output.before, rows, schemas.FORGETTING)
        LOG.info("%s: %d documents and answers before any adaptation", name, len(rows))
    processes.disconnect()
