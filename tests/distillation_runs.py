"""Runs of one seed that distil the context of a tiny model."""

from dataclasses import replace

import numpy as np
import torch
from fewshot.adaptation.distillation import teach
from fewshot.adaptation.epochs import enter
from fewshot.adaptation.forward_pass import ForwardPass
from fewshot.adaptation.outputs import Phases
from fewshot.adaptation.setup import Member, start_run
from fewshot.adaptation.stack import Stack
from fewshot.adaptation.training import train_epoch
from fewshot.runtime.stop import Stop
from job_files import some_rows
from seed_runs import a_job, set_up

ROWS = 12
DISTILS = {"loss": "distil-label-words", "unlabelled_rows": ROWS, "temperature": 2.0, "rounds": 1}


def distils(**settings):
    """Return a job that distils, with training rows beside its shots."""
    job = a_job(**{**DISTILS, "epochs": 2, **settings})
    return replace(job, train=some_rows(60, "train"), model={**job.model, "window": 128})


def started(made):
    """Return the run of a seed at its start."""
    return start_run(Member(made, 0), 0, Phases(), Stop())


def taught(kind, epoch=1, **settings):
    """Return a run whose teacher has answered."""
    run = started(set_up(kind, distils(**settings), dropout=0.0))
    teach(run, epoch)
    return run


def divergence(run) -> float:
    """Return the mean loss of all rows at the present weights."""
    run.engine.trainable.eval()
    with torch.no_grad():
        return float(run.setup.loss(ForwardPass([run]).answers([np.arange(ROWS)])[0]).mean())


def train_alone(run, epoch) -> None:
    """Train one seed for an epoch, of which nothing is scored."""
    stack = Stack([run], ForwardPass([run]), None, (run.seed,))
    train_epoch(stack, epoch)
    enter(run, epoch, [], None)
