"""What the seeds of a fine-tuning job share, and how the training of one seed starts."""

import copy
import gc
import importlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..methods.losses import Answers, Teacher, loss_of, reads_all_words
from ..models.deepspeed_zero import load_deepspeed, loading_in_shards
from ..models.load import load_model, pick_device
from ..models.parts import (
    element_count,
    learned_prefix,
    tokens_ahead,
    trained_parameters,
    virtual_ids,
)
from ..prompts.tokenize import Prompts
from ..rng import generator
from ..runtime import peaks
from ..runtime.placement import Placement, easier
from ..runtime.processes import ProcessGroup
from ..runtime.stop import Stop
from ..scoring.routes import ReadingPlan, plan_reading
from .batches import TrainingRows, training_rows
from .checkpoints import TrainingProgress
from .dropout import DropoutMasks
from .engines import (
    DeepSpeedEngine,
    PlainEngine,
    engine_config,
    is_plain,
    needs_whole_tensors,
    start_engine,
)
from .job import AdaptationJob
from .job_prompts import JobPrompts, ScoredSets, SeedPrompts
from .outputs import Phases
from .trainable_model import TrainableModel, adapted, check_checkpointing, drawn, fresh
from .visits import Visits, visits_of
from .weights import trained_bytes


class InitialModel:
    """What a job's seeds start from: whole on the CPU, copied for each seed; or in shards.

    At ZeRO stage 3 no process may be able to hold the model: then `source` reads it again for each
    seed, of which every process keeps its shard.
    """

    def __init__(self, job: AdaptationJob, source: Callable[[], nn.Module]):
        # By name, so that the code version of one family leaves the others out.
        package = __package__ or ""
        self.method = importlib.import_module(f"..methods.{job.settings['family']}", package)
        self.penalty = getattr(self.method, "penalty", None)
        self._job, self._source = job, source
        sharded = job.placement.zero_stage == 3
        # What is read in shards to set the job up is the first seed's, and let go with it.
        self._first = self._in_shards(job.placement) if sharded else None
        self._base = None if sharded else self._adapt()
        self._moved: dict[int, nn.Parameter] = {}
        model = (self._first or self._base).model
        self.virtual_ids, self.tokens_ahead = virtual_ids(model), tokens_ahead(model)
        self.recomputes = learned_prefix(model) is None

    def start(
        self,
        seed: int,
        placement: Placement,
        device: torch.device,
        prompts: SeedPrompts | None = None,
    ) -> TrainableModel:
        """Return the model that training of a seed starts from, on its device: with newly drawn
        additions, or those that come from its shots or from other jobs."""
        trainable = self._drawn(seed, placement, device, prompts)
        if self._job.starts:
            points = importlib.import_module(".starting_points", __package__)
            place = getattr(self.method, "place", None)
            points.put_start(trainable, self._job, seed, placement.zero_stage == 3, place)
        return trainable

    def _drawn(
        self,
        seed: int,
        placement: Placement,
        device: torch.device,
        prompts: SeedPrompts | None,
    ) -> TrainableModel:
        """Return the untrained model of a seed on its device, with its additions."""
        draws = generator("initial", self._job.cell["model"], seed)
        if placement.zero_stage == 3:
            trainable, self._first = self._first or self._in_shards(placement), None
            self._begun(drawn(trainable, self.method, draws), prompts)
            return trainable if placement.offload == "parameters" else trainable.to(device)
        # Drawn where all weights are, the same for every seed: initial values may depend on them.
        trainable = self._on(device, fresh(self._base, self.method, draws))
        return self._begun(trainable, prompts)

    def _begun(self, trainable: TrainableModel, prompts: SeedPrompts | None) -> TrainableModel:
        """Tell a family that starts from the shots what their tokens are."""
        if prompts and prompts.ahead:
            self.method.begin(trainable.model, prompts.ahead, prompts.shot_of)
        return trainable

    def _on(self, device: torch.device, trainable: TrainableModel) -> TrainableModel:
        """Return the trainable model on a device, whose frozen weights all seeds share there."""
        if device.type == "cpu":
            return trainable
        frozen = [weight for weight in trainable.parameters() if not weight.requires_grad]
        for weight in frozen:
            if id(weight) not in self._moved:
                self._moved[id(weight)] = nn.Parameter(weight.to(device), requires_grad=False)
        kept = {id(weight): self._moved[id(weight)] for weight in frozen}
        return copy.deepcopy(trainable, kept).to(device)

    def _adapt(self) -> TrainableModel:
        return adapted(self._source(), self.method, self._job.settings, len(self._job.labels))

    def _in_shards(self, placement: Placement) -> TrainableModel:
        job = self._job
        config = engine_config(job.settings, job.model["dtype"], placement, job.processes.size)
        with loading_in_shards(config, job.processes):
            model = self._source()
        return adapted(model, self.method, job.settings, len(job.labels))


LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What all seeds of a job share.

    `loss` gives each row's loss (see methods.losses). Where `keeps_curve`, row predictions of all
    epochs of the curve are kept.
    """

    job: AdaptationJob
    origin: InitialModel
    loss: Callable[[Answers], torch.Tensor]
    prompts: JobPrompts
    keeps_curve: bool = False


@dataclass(frozen=True)
class Member:
    """What may be trained together with others: a seed of a setup, or a `part` of it, as a fold."""

    setup: Setup
    seed: int
    part: str = ""

    @property
    def name(self) -> int | str:
        """Return the name of what it gives, and of its checkpoints (see `SeedStore.save`)."""
        return f"{self.seed}.{self.part}" if self.part else self.seed


@dataclass(eq=False)
class SeedRun:
    """The training of one seed, or of a part of it: its engine, rows and what is counted on the
    way.

    In front of every row stand `ahead` positions of learned keys and values. `plans` are those of
    the curve's prompts, by evaluation set. `teacher` is what rows' answers should be in context
    distillation, in its present round. `masks` are its dropout; `together` are the names of those
    that are trained at once, itself among them. `unspoilt` until other weights than those of the
    last step are put into the model; `failure` is what ended it, while others go on.
    """

    member: Member
    placement: Placement
    shortages: int
    engine: PlainEngine | DeepSpeedEngine
    prompts: SeedPrompts
    rows: TrainingRows
    ahead: int
    visits: Visits
    device: torch.device
    phases: Phases
    stop: Stop
    plans: dict[str, ReadingPlan]
    masks: DropoutMasks
    together: tuple[int | str, ...]
    teacher: Teacher | None = None
    unspoilt: bool = True
    failure: UserError | None = None
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    reported: float = field(default_factory=time.monotonic)

    @property
    def setup(self) -> Setup:
        """Return what it shares with other seeds."""
        return self.member.setup

    @property
    def seed(self) -> int:
        """Return its seed."""
        return self.member.seed

    @property
    def name(self) -> int | str:
        """Return its name."""
        return self.member.name

    @property
    def sets(self) -> ScoredSets:
        """Return what is scored."""
        return self.prompts.sets

    @property
    def how(self) -> dict[str, object]:
        """Return what a checkpoint must agree in to be gone on from."""
        conditions = {"shortages": self.shortages, "device": self.device.type}
        return {**asdict(self.placement), **conditions, "together": list(self.together)}

    @property
    def where(self) -> str:
        """Return the run as it is named in messages."""
        return f"{self.setup.job.name}: seed {self.name}"


def load_setup(job: AdaptationJob) -> Setup:
    """Read model and tokenizer and set the job up; raises UserError where they do not fit."""
    torch.set_num_threads(job.threads)
    dtype = job.model["dtype"]
    # Before minutes of loading: what cannot be trained so.
    engine_config(job.settings, dtype, job.placement, job.processes.size)
    if torch.cuda.is_available():
        # Same bytes each time, as far as CUDA's kernels can; some only warn.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if not is_plain(job.settings, dtype, job.placement, job.processes):
        # First: transformers imports DeepSpeed too where it is installed, but not quietly.
        load_deepspeed(job.processes)
    return set_up(job, lambda: load_model(job.model_manifest, job.model, job.cell["model"]))


def set_up(job: AdaptationJob, source: Callable[[], nn.Module]) -> Setup:
    """Adapt the model that `source` gives by the job's method family; tokenize what is scored."""
    return set_up_from(job, InitialModel(job, source))


def set_up_from(job: AdaptationJob, origin: InitialModel) -> Setup:
    """Set up a job whose seeds start from a model that was adapted already."""
    prompts = JobPrompts(job, origin.virtual_ids)
    return Setup(job, origin, loss_of(origin.method, job.settings), prompts)


def start_run(
    member: Member,
    shortages: int,
    phases: Phases,
    stop: Stop,
    together: tuple[int | str, ...] = (),
) -> SeedRun:
    """Return the run of a member: base weights, new additions, a new optimiser and engine.

    `shortages` says how often memory ran out before, `together` are the names of those that it is
    trained with, itself among them, if it is not alone. Raises UserError where nothing needs less.
    """
    setup, seed, device = member.setup, member.seed, pick_device()
    job, dtype = setup.job, setup.job.model["dtype"]
    peaks.start(device)
    with phases.measure("prepare"):
        prompts, visits = setup.prompts.of_seed(seed), visits_of(job, seed)
        ahead = len(prompts.ahead) or setup.origin.tokens_ahead
        rows = read_rows(job, prompts.shots, prompts.labels, ahead, prompts.cut)
        placement = placed(setup, device, int(rows.read.max()), shortages)
        trainable = setup.origin.start(seed, placement, device, prompts)
        stream = int(generator("dropout", job.cell["model"], seed).integers(2**63))
        masks = DropoutMasks(stream)
        if placement.checkpointing:
            _recompute(trainable, job, masks)
        engine = start_engine(trainable, job.settings, dtype, placement, job.processes)
        # Now, with weights that do not depend on where training was interrupted.
        trained = engine.trainable
        plans = {
            name: plan_reading(trained.model, of.prompts, trained.head)
            for name, of in prompts.sets.curve.items()
        }
        # Anything random besides the dropout of hidden states draws from PyTorch's own stream.
        torch.manual_seed((stream + job.processes.rank) % 2**63)
    run = SeedRun(
        *(member, placement, shortages, engine, prompts, rows, ahead, visits, device),
        *(phases, stop, plans, masks, together or (member.name,)),
    )
    LOG.info("%s: %s", run.where, placement)
    return run


def read_rows(
    job: AdaptationJob, shots: Prompts, labels: np.ndarray, ahead: int, cut: int = 0
) -> TrainingRows:
    """Return the rows that a seed trains on as the model reads them, with these gold labels, behind
    `ahead` positions, `cut` of them truncated; raises UserError for one longer than the window."""
    every, window = reads_all_words(job.settings), job.model["window"]
    return replace(training_rows(shots, labels, window, ahead, every), truncated=cut)


def rows_of_draw(setup: Setup, seed: int) -> TrainingRows:
    """Return the rows that a seed trains on, where these are the shots of its draw."""
    shots, labels, cut = setup.prompts.of_shots(seed)
    return read_rows(setup.job, shots, labels, setup.origin.tokens_ahead, cut)


def placed(setup: Setup, device: torch.device, longest: int, shortages: int) -> Placement:
    """Return the job's placement, made easier as often as memory ran out."""
    job, placement = setup.job, setup.job.placement
    recomputes = setup.origin.recomputes
    if not placement.micro_tokens:
        placement = replace(placement, micro_tokens=job.batch_tokens_on(device.type))
    if shortages:
        # No more than a batch can have: the first time must change something.
        most = -(-job.settings["batch_size"] // job.processes.size) * longest
        placement = replace(placement, micro_tokens=min(placement.micro_tokens, most))
    for _ in range(shortages):
        before = placement
        # Whole tensors can neither be shared nor moved to the host.
        shares = device.type == "cuda" and not needs_whole_tensors(job.settings)
        placement = easier(before, longest, job.processes.size, shares, recomputes)
        if placement is None:
            raise UserError(
                f"{job.name}: memory ran out on a row of {longest} tokens with {before}; nothing "
                "is left to share, move or cut: give the job more GPUs, larger ones, or more host "
                "memory"
            )
    return placement


def _recompute(trainable: TrainableModel, job: AdaptationJob, masks: DropoutMasks) -> None:
    """Keep no activations but those between layers; raises UserError where that cannot be done."""
    check_checkpointing(trainable, job.settings["family"])
    try:
        trainable.model.activation_checkpointing_enable(
            {"use_reentrant": False, "context_fn": masks.again}
        )
    except ValueError as error:
        raise UserError(f"{job.name}: activations cannot be recomputed: {error}") from None


def release_run(run: SeedRun) -> None:
    """Let go of what a run holds, so that the next one finds the memory."""
    run.engine.close()
    if run.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def state_bytes(trainable: nn.Module, placement: Placement, processes: ProcessGroup) -> int:
    """Return about how many bytes a checkpoint has for each process: weights, AdamW's moments in
    float32 (Adafactor has fewer), and a copy of the best weights."""
    states = sum(map(element_count, trained_parameters(trainable).values())) * 12
    return trained_bytes(trainable) * 2 + states // (processes.size if placement.zero_stage else 1)
