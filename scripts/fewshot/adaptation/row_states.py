"""The states that the frozen model's readout reads behind rows' bare queries."""

import numpy as np
import pandas as pd
import torch

from ..errors import UserError
from ..models.load import pick_device
from ..prompts.tokenize import Prompts
from ..scoring.states import States, hidden_states
from . import outputs
from .batches import query_prompts
from .job import AdaptationJob


def read_states(
    job: AdaptationJob,
    model: torch.nn.Module,
    tokenizer,
    rows: pd.DataFrame,
    phases: outputs.Phases,
    sharded: bool,
) -> tuple[Prompts, States]:
    """Return the prompts of rows (schemas.ROWS), as fine-tuned models read them, and their states.

    Raises UserError for states that are no numbers.
    """
    with phases.measure("tokenize"):
        prompts = query_prompts(tokenizer, job.pattern, rows, classes=job.labels)
    with phases.measure("score"):
        states = hidden_states(
            model, prompts, batch_tokens=job.batch_tokens_on(pick_device().type),
            processes=job.processes, sharded=sharded,
        )  # fmt: skip
    wrong = np.flatnonzero(~np.isfinite(states.values).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{job.name}: row {rows['id'].iloc[wrong[0]]}: its hidden state is not finite "
            f"({len(wrong)} such rows); give the model another dtype in models.yaml"
        )
    return prompts, states
