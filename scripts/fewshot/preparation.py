"""What a fine-tuning job holds: the setup that its seeds share, and the run of one seed."""

import importlib
import logging
import time
from dataclasses import dataclass, field
from types import ModuleType

import torch

from .batches import TrainingRows, query_prompts, training_rows
from .engine import start_engine
from .jobs import Job
from .models import load_model, load_tokenizer, pick_device, tokens_ahead, virtual_ids
from .outputs import Phases
from .sampling import generator
from .student import Student, adapted, fresh, parameter_facts
from .tokens import Prompts
from .words import label_word_ids
from .zero import load_deepspeed

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What all seeds of a job share.

    `base` is the adapted, untrained model; `targets[label]` is the class that the loss asks for:
    the label word's token, or the label itself with a classification head.
    """

    job: Job
    method: ModuleType
    base: Student
    tokenizer: object
    targets: list[int]
    prompts: dict[str, Prompts]


@dataclass
class Run:
    """The training of one seed: its engine, rows and what is counted on the way."""

    setup: Setup
    seed: int
    engine: object
    rows: TrainingRows
    device: torch.device
    phases: Phases
    step: int = 0
    splits: int = 0
    last_loss: float | None = None
    reported: float = field(default_factory=time.monotonic)

    @property
    def where(self) -> str:
        """Return the run as it is named in messages."""
        return f"{self.setup.job.name}: seed {self.seed}"


def load(job: Job) -> Setup:
    """Read model and tokenizer and set the job up; raises UserError where they do not fit."""
    torch.set_num_threads(job.threads)
    # First: transformers imports DeepSpeed too where it is installed, but not quietly.
    load_deepspeed(job.world)
    tokenizer = load_tokenizer(job.model_manifest)
    model = load_model(job.model_manifest, job.model, job.cell["model"])
    return set_up(job, model, tokenizer)


def set_up(job: Job, model: torch.nn.Module, tokenizer) -> Setup:
    """Adapt `model` by the job's method family and tokenize its evaluation sets."""
    # By name, so that the code version of one family leaves the others out.
    method = importlib.import_module(f".methods.{job.settings['family']}", __package__)
    base = adapted(model, method, job.settings, job.labels)
    facts = parameter_facts(base)
    LOG.info("%s: %d of %d parameters are trained, in %s", job.name, facts["trainable"],
             facts["total"], ", ".join(facts["modules"]))  # fmt: skip
    if base.head is not None:
        targets = list(range(job.labels))
    else:
        row = job.evaluation[0].rows.iloc[0]
        probe = job.pattern.query(row["text_a"], row["text_b"])
        targets = label_word_ids(tokenizer, job.pattern, probe)
    ahead = virtual_ids(model)
    prompts = {
        each.name: query_prompts(tokenizer, job.pattern, each.rows, ahead).with_words(targets)
        for each in job.evaluation
    }
    return Setup(job, method, base, tokenizer, targets, prompts)


def begin(setup: Setup, seed: int, phases: Phases) -> Run:
    """Return the run of a seed: base weights, new additions, a new optimiser and engine."""
    job = setup.job
    with phases.measure("prepare"):
        draws = generator("initial", job.cell["model"], seed)
        device = pick_device()
        student = fresh(setup.base, setup.method, draws, share=job.zero_stage < 3).to(device)
        shots = job.shots[seed]
        rows = training_rows(
            query_prompts(setup.tokenizer, job.pattern, shots, virtual_ids(student.model)),
            shots["label"].to_numpy(),
            job.model["window"],
            tokens_ahead(student.model),
        )
        dtype = job.model["dtype"]
        engine = start_engine(student, job.settings, dtype, job.zero_stage, job.world)
        # Dropout draws from PyTorch's own stream.
        stream = generator("dropout", job.cell["model"], seed, job.world.rank)
        torch.manual_seed(int(stream.integers(2**63)))
    return Run(setup, seed, engine, rows, device, phases)
