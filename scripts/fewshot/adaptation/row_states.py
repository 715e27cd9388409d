"""The states that the frozen model's readout reads behind rows' bare queries."""

import numpy as np
import pandas as pd
import torch

from ..errors import UserError
from ..models.load import pick_device
from ..prompts.channel import queries_of
from ..prompts.tokenize import Prompts
from ..scoring.states import States, hidden_states
from . import outputs
from .batches import query_prompts
from .job import AdaptationJob


def read_states(
    job: AdaptationJob,
    model: torch.nn.Module,
    rows: pd.DataFrame,
    phases: outputs.Phases,
    sharded: bool,
) -> tuple[Prompts, States]:
    """Return the prompts of rows (schemas.ROWS), as fine-tuned models read them, and their states.

    Raises UserError for states that are no numbers.
    """
    with phases.measure("tokenize"):
        ids = rows["id"].tolist()
        queries = queries_of(job.queries.tokenizer, job.pattern, rows, ids, scored=False)
        prompts = query_prompts(queries, job.pattern, classes=len(job.labels))
    with phases.measure("score"):
        states = hidden_states(
            model, prompts, batch_tokens=job.batch_tokens_on(pick_device().type),
            processes=job.processes, sharded=sharded,
        )  # fmt: skip
    wrong = np.flatnonzero(~np.isfinite(states.values).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{job.name}: row with id {rows['id'].iloc[wrong[0]]}: its hidden state is not finite "
            f"({len(wrong)} such rows); give the model another dtype in models.yaml"
        )
    return prompts, states
