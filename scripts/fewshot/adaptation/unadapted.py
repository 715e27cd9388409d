"""A model before any adaptation, on what is measured again after each: once for all methods.

No adapter is there, so none can be on by mistake: an adapter that is not neutral at its start, as
the virtual tokens of prompt tuning, would change what is called "before".
"""

import logging
from pathlib import Path

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
from .forgetting import ReadingMode, read_elsewhere
from .frozen_model import in_shards, load_base
from .job import batch_tokens_on

LOG = logging.getLogger(__name__)


def score_unadapted(smk) -> None:
    """Load the base model, score texts and tasks, and write all (schemas.FORGETTING).

    Texts and tasks without shots are scored once, others for each seed's shots.
    """
    params, seeds = smk.params, [int(seed) for seed in smk.params.seeds]
    torch.set_num_threads(int(smk.threads))
    manifest, processes = Path(smk.input.model), read_process_group()
    queries = SetQueries(load_tokenizer(manifest))
    elsewhere = read_elsewhere(smk, seeds, queries, params.model["window"])
    processes.connect()
    if processes.rank == 0:
        verify_files(manifest)
    sharded, name = in_shards(read_placement(smk.resources), processes), smk.wildcards.model
    model = load_base(manifest, params.model, name, processes, sharded)
    tokens = batch_tokens_on(params.batch_tokens, pick_device().type)

    def scored(_: str, prompts: Prompts, pattern: Pattern | None) -> Scores:
        ranked = {"rank_by": pattern.rank_by, "characters": pattern.characters} if pattern else {}
        return score(
            model, prompts, batch_tokens=tokens, processes=processes, sharded=sharded, **ranked
        )

    cell = dict.fromkeys(("protocol", "task", "model", "method", "pattern"), schemas.UNADAPTED)
    cell |= {"protocol": params.protocol, "model": name, "k": 0}
    rows = elsewhere.measure(cell, seeds, ReadingMode(), scored)
    if processes.rank == 0:
        storage.write_table(smk.output.before, rows, schemas.FORGETTING)
        LOG.info("%s: %d documents and answers before any adaptation", name, len(rows))
    processes.disconnect()
