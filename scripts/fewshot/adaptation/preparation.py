"""What a fine-tuning job holds: the setup that its seeds share, and the run of one seed."""

import gc
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import pandas as pd
import torch
from torch import nn

from ..data import samples
from ..data.sampling import generator
from ..errors import UserError
from ..models.models import load_model, load_tokenizer, pick_device, size_of
from ..models.zero import load_deepspeed
from ..prompts.tokens import Prompts
from ..prompts.truncation import truncate
from ..prompts.words import label_word_ids
from ..runtime.interrupts import Stop
from ..runtime.placement import Placement, easier
from ..runtime.world import World
from ..scoring.ways import Way, find_way
from .batches import TrainingRows, query_prompts, training_rows
from .checkpoints import Checkpoints
from .engine import DeepSpeedEngine, PlainEngine, engine_config, is_plain, start_engine
from .jobs import Job
from .origin import Origin
from .outputs import Parts, Phases, parts_of
from .progress import Progress
from .student import Student, check_checkpointing

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What is scored of one evaluation set: all its rows (`whole`), or those of the curve.

    `rows` (records.ROWS) are those of `prompts`, `parts` what curves count apart among them.
    """

    prompts: Prompts
    rows: pd.DataFrame
    parts: Parts
    whole: bool


@dataclass(frozen=True)
class Setup:
    """What all seeds of a job share.

    `targets[label]` is the class that the loss asks for: the label word's token, or the label
    itself with a classification head. `curve` and `whole` are what is scored, by evaluation set,
    `truncated` how many of its rows were longer than the method allows, if it does cut them.
    """

    job: Job
    origin: Origin
    tokenizer: object
    targets: list[int]
    curve: dict[str, Scored]
    whole: dict[str, Scored]
    truncated: dict[str, int]


@dataclass
class Run:
    """The training of one seed: its engine, rows and what is counted on the way.

    `ways` are those of the curve's prompts, by evaluation set. `unspoilt` until other weights than
    those of the last step are put into the model; `written` is the step of the newest checkpoint.
    """

    setup: Setup
    seed: int
    placement: Placement
    shortages: int
    engine: PlainEngine | DeepSpeedEngine
    rows: TrainingRows
    device: torch.device
    phases: Phases
    stop: Stop
    checkpoints: Checkpoints
    ways: dict[str, Way]
    unspoilt: bool = True
    written: int = -1
    progress: Progress = field(default_factory=Progress)
    reported: float = field(default_factory=time.monotonic)

    @property
    def how(self) -> dict[str, object]:
        """Return what a checkpoint must agree in to be gone on from."""
        return {**asdict(self.placement), "shortages": self.shortages, "device": self.device.type}

    @property
    def where(self) -> str:
        """Return the run as it is named in messages."""
        return f"{self.setup.job.name}: seed {self.seed}"


def load(job: Job) -> Setup:
    """Read model and tokenizer and set the job up; raises UserError where they do not fit."""
    torch.set_num_threads(job.threads)
    dtype = job.model["dtype"]
    # Before minutes of loading: what cannot be trained so.
    engine_config(job.settings, dtype, job.placement, job.world.size)
    if torch.cuda.is_available():
        # Same bytes each time, as far as CUDA's kernels can; some only warn.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if not is_plain(dtype, job.placement, job.world):
        # First: transformers imports DeepSpeed too where it is installed, but not quietly.
        load_deepspeed(job.world)
    tokenizer = load_tokenizer(job.model_manifest)
    return set_up(
        job, lambda: load_model(job.model_manifest, job.model, job.cell["model"]), tokenizer
    )


def set_up(job: Job, source: Callable[[], nn.Module], tokenizer) -> Setup:
    """Adapt the model that `source` gives by the job's method family; tokenize what is scored."""
    origin = Origin(job, source)
    if job.settings["head"] == "classification":
        targets = list(range(job.labels))
    else:
        row = job.evaluation[0].rows.iloc[0]
        probe = job.pattern.query(row["text_a"], row["text_b"])
        targets = label_word_ids(tokenizer, job.pattern, probe)

    whole, curve, truncated = {}, {}, {}

    def scored(name: str, rows: pd.DataFrame, whole: bool) -> Scored:
        prompts, cut = _prompts(job, tokenizer, origin, rows, f"set '{name}'")
        truncated.setdefault(name, cut)
        return Scored(prompts.with_words(targets), rows, parts_of(rows), whole)

    limit = samples.row_limit(job.settings["curve_rows"])
    for each in job.evaluation:
        whole[each.name] = curve[each.name] = scored(each.name, each.rows, True)
        sample = samples.curve_sample(each.rows, limit, each.name)
        if len(sample) < len(each.rows):
            curve[each.name] = scored(each.name, each.rows.iloc[sample], False)
    return Setup(job, origin, tokenizer, targets, curve, whole, truncated)


def _prompts(job: Job, tokenizer, origin: Origin, rows: pd.DataFrame, where: str):
    """Return the rows' prompts, cut where the method cuts them, and how many were."""
    prompts = query_prompts(tokenizer, job.pattern, rows, origin.virtual_ids)
    limit = job.settings.get("truncate")
    return truncate(prompts, limit and limit + len(origin.virtual_ids), where)


def begin(
    setup: Setup,
    seed: int,
    shortages: int,
    phases: Phases,
    stop: Stop,
    checkpoints: Checkpoints,
) -> Run:
    """Return the run of a seed: base weights, new additions, a new optimiser and engine.

    `shortages` says how often memory ran out before. Raises UserError where nothing needs less.
    """
    job, dtype, device = setup.job, setup.job.model["dtype"], pick_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with phases.measure("prepare"):
        rows = _training_rows(setup, seed)
        placement = _placement(setup, device, int(rows.lengths.max()), shortages)
        student = setup.origin.start(seed, placement, device)
        if placement.checkpointing:
            _recompute(student, job)
        engine = start_engine(student, job.settings, dtype, placement, job.world)
        # Now, with weights that do not depend on where training was interrupted.
        trained = engine.student
        ways = {
            name: find_way(trained.model, of.prompts, trained.head)
            for name, of in setup.curve.items()
        }
        # Dropout draws from PyTorch's own stream.
        stream = generator("dropout", job.cell["model"], seed, job.world.rank)
        torch.manual_seed(int(stream.integers(2**63)))
    LOG.info("%s: seed %d: %s", job.name, seed, placement)
    checkpoints.expect(_state_bytes(engine.student, placement, job.world))
    return Run(
        setup, seed, placement, shortages, engine, rows, device, phases, stop, checkpoints, ways
    )


def _training_rows(setup: Setup, seed: int) -> TrainingRows:
    """Return the draw as the model reads it."""
    job, origin = setup.job, setup.origin
    shots = job.shots[seed]
    prompts, cut = _prompts(job, setup.tokenizer, origin, shots, f"shots of seed {seed}")
    gold, window = shots["label"].to_numpy(), job.model["window"]
    return replace(training_rows(prompts, gold, window, origin.tokens_ahead), truncated=cut)


def _placement(setup: Setup, device: torch.device, longest: int, shortages: int) -> Placement:
    """Return the job's placement, made easier as often as memory ran out."""
    job, found = setup.job, setup.job.placement
    recomputes = setup.origin.recomputes
    if not found.micro_tokens:
        found = replace(found, micro_tokens=job.batch_tokens_on(device.type))
    if shortages:
        # No more than a batch can have: the first time must change something.
        most = -(-job.settings["batch_size"] // job.world.size) * longest
        found = replace(found, micro_tokens=min(found.micro_tokens, most))
    for _ in range(shortages):
        before = found
        found = easier(before, longest, job.world.size, device.type == "cuda", recomputes)
        if found is None:
            raise UserError(
                f"{job.name}: memory ran out on a row of {longest} tokens with {before}; nothing "
                "is left to share, move or cut: give the job more GPUs, larger ones, or more host "
                "memory"
            )
    return found


def _recompute(student: Student, job: Job) -> None:
    """Keep no activations but those between layers; raises UserError where that cannot be done."""
    check_checkpointing(student)
    try:
        student.model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise UserError(f"{job.name}: activations cannot be recomputed: {error}") from None


def release(run: Run) -> None:
    """Let go of what a run holds, so that the next one finds the memory."""
    run.engine.close()
    if run.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _state_bytes(student: Student, placement: Placement, world: World) -> int:
    """Return about how many bytes a checkpoint has for each process: weights, AdamW's moments in
    float32, and a copy of the best weights."""
    trained = [each for each in student.parameters() if each.requires_grad]
    weights = sum(size_of(each) * each.element_size() for each in trained)
    states = sum(map(size_of, trained)) * 12
    return weights * 2 + states // (world.size if placement.zero_stage else 1)
