"""A cell of a finished study, used on new texts: as its run scored its evaluation rows.

Its shots stand in the context again, or the parameters that it keeps are put back into the model.
The probabilities of new texts come from the same prompts and the same scorer, and those of an
evaluation row are the stored ones (within 1e-5 in float32, since other rows are read beside it).
"""

import os
from pathlib import Path

from ..errors import UserError, unknown
from ..study.exchange_inputs import told_job
from ..study.families import family_of
from ..study.job_inputs import JobInputs
from ..study.load import load_study
from ..validation import read_yaml
from .adapted_model import AdaptedModel

DEMO = "config/config.yaml"


def load(run: str | Path, seed: int = 0, study: str | Path = DEMO) -> AdaptedModel:
    """Return the model of one seed of a run, adapted as it was there.

    `run` is the folder of a job in context or of fine-tuning, `study` the file of a study that has
    it; the project's folder is the current one. Raises UserError for a folder that is no run of the
    study, that was made otherwise than the study says now, or that keeps no parameters.
    """
    found = load_study(read_yaml(study), where=str(study))
    folder, jobs = os.path.relpath(run), {found.run_folder(job): job for job in found.own_jobs}
    if folder not in jobs:
        raise unknown("run", folder, jobs, str(study))
    method = found.methods[jobs[folder].cell.method]
    if family_of(method).baseline:
        raise UserError(f"{folder}: a baseline, for which no model is adapted")
    return AdaptedModel(told_job(JobInputs(found), jobs[folder]), seed)
