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
import pandas as pd
import torch
from torch import nn

from ..data import curve_sample
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..methods.losses import Answers, loss_of, reads_all_words
from ..models.deepspeed_zero import load_deepspeed, loading_in_shards
from ..models.load import load_model, pick_device
from ..models.parts import (
    element_count,
    learned_prefix,
    tokens_ahead,
    trained_parameters,
    virtual_ids,
)
from ..models.tokenizer import load_tokenizer
from ..prompts.label_words import end_tokens
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Prompts, truncate
from ..rng import generator
from ..runtime.placement import Placement, easier
from ..runtime.processes import ProcessGroup
from ..runtime.stop import Stop
from ..scoring.routes import ReadingPlan, plan_reading
from .batches import TrainingRows, one_after_another, query_prompts, training_rows
from .checkpoints import Checkpoints, TrainingProgress
from .engines import (
    DeepSpeedEngine,
    PlainEngine,
    engine_config,
    is_plain,
    needs_whole_tensors,
    start_engine,
)
from .job import AdaptationJob
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

    def start(self, seed: int, placement: Placement, device: torch.device) -> TrainableModel:
        """Return the model that training of a seed starts from, on its device: with newly drawn
        additions, or with what other jobs have trained in their place."""
        trainable = self._drawn(seed, placement, device)
        if self._job.starts:
            points = importlib.import_module(".starting_points", __package__)
            place = getattr(self.method, "place", None)
            points.put_start(trainable, self._job, seed, placement.zero_stage == 3, place)
        return trainable

    def _drawn(self, seed: int, placement: Placement, device: torch.device) -> TrainableModel:
        """Return the untrained model of a seed, with newly drawn additions, on its device."""
        draws = generator("initial", self._job.cell["model"], seed)
        if placement.zero_stage == 3:
            trainable, self._first = self._first or self._in_shards(placement), None
            drawn(trainable, self.method, draws)
            return trainable if placement.offload == "parameters" else trainable.to(device)
        # Drawn where all weights are, the same for every seed: initial values may depend on them.
        return self._on(device, fresh(self._base, self.method, draws))

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
        return adapted(self._source(), self.method, self._job.settings, self._job.labels)

    def _in_shards(self, placement: Placement) -> TrainableModel:
        job = self._job
        config = engine_config(job.settings, job.model["dtype"], placement, job.processes.size)
        with loading_in_shards(config, job.processes):
            model = self._source()
        return adapted(model, self.method, job.settings, job.labels)


LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredSet:
    """What is scored of one evaluation set: all its rows (`whole`), or those of the curve.

    `item` has these rows alone, whose prompts are `prompts`.
    """

    item: EvaluationSet
    prompts: Prompts
    whole: bool


@dataclass(frozen=True)
class Setup:
    """What all seeds of a job share.

    `loss` gives each row's loss (see methods.losses). `curve` and `whole` are what is scored, by
    evaluation set, `truncated` how many of its rows were longer than the method allows, if it does
    cut them. `content_free` are inputs without content. Where `keeps_curve`, row predictions of all
    epochs of the curve are kept.
    """

    job: AdaptationJob
    origin: InitialModel
    tokenizer: object
    loss: Callable[[Answers], torch.Tensor]
    curve: dict[str, ScoredSet]
    whole: dict[str, ScoredSet]
    truncated: dict[str, int]
    content_free: ScoredSet
    keeps_curve: bool = False


@dataclass
class SeedRun:
    """The training of one seed: its engine, rows and what is counted on the way.

    `plans` are those of the curve's prompts, by evaluation set. `unspoilt` until other weights than
    those of the last step are put into the model; `written` is the step of the newest checkpoint.
    """

    setup: Setup
    seed: int
    placement: Placement
    shortages: int
    engine: PlainEngine | DeepSpeedEngine
    rows: TrainingRows
    visits: Visits
    device: torch.device
    phases: Phases
    stop: Stop
    checkpoints: Checkpoints
    plans: dict[str, ReadingPlan]
    unspoilt: bool = True
    written: int = -1
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    reported: float = field(default_factory=time.monotonic)

    @property
    def how(self) -> dict[str, object]:
        """Return what a checkpoint must agree in to be gone on from."""
        return {**asdict(self.placement), "shortages": self.shortages, "device": self.device.type}

    @property
    def where(self) -> str:
        """Return the run as it is named in messages."""
        return f"{self.setup.job.name}: seed {self.seed}"


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
    tokenizer = load_tokenizer(job.model_manifest)
    return set_up(
        job, lambda: load_model(job.model_manifest, job.model, job.cell["model"]), tokenizer
    )


def set_up(job: AdaptationJob, source: Callable[[], nn.Module], tokenizer) -> Setup:
    """Adapt the model that `source` gives by the job's method family; tokenize what is scored."""
    return set_up_from(job, InitialModel(job, source), tokenizer)


def set_up_from(job: AdaptationJob, origin: InitialModel, tokenizer) -> Setup:
    """Tokenize what is scored by a job whose seeds start from a model that was adapted already."""
    whole, curve, truncated = {}, {}, {}
    limit = curve_sample.row_limit(job.settings["curve_rows"])
    for item in job.evaluation:
        where, sample = f"set '{item.name}'", item.sample(limit)
        prompts, truncated[item.name] = _prompts(job, tokenizer, origin, item.rows, where)
        whole[item.name] = ScoredSet(item, prompts, True)
        curve[item.name] = whole[item.name]
        if sample is not item:
            prompts, _ = _prompts(job, tokenizer, origin, sample.rows, where)
            curve[item.name] = ScoredSet(sample, prompts, False)
    item = job.content_free
    prompts, _ = _prompts(job, tokenizer, origin, item.rows, "inputs without content")
    content_free = ScoredSet(item, prompts, True)
    loss = loss_of(origin.method, job.settings)
    return Setup(job, origin, tokenizer, loss, curve, whole, truncated, content_free)


def _prompts(
    job: AdaptationJob,
    tokenizer,
    origin: InitialModel,
    rows: pd.DataFrame,
    where: str,
    pattern: Pattern | None = None,
) -> tuple[Prompts, int]:
    """Return the rows' prompts with a pattern, or with the job's own, cut where the method cuts
    them, and how many were."""
    pattern = pattern or job.pattern
    classes = job.labels if job.settings["head"] == "classification" else 0
    end = end_tokens(tokenizer, job.settings, pattern)
    prompts = query_prompts(tokenizer, pattern, rows, origin.virtual_ids, end, classes)
    limit = job.settings.get("truncate")
    return truncate(prompts, limit and limit + len(origin.virtual_ids), where)


def start_run(
    setup: Setup,
    seed: int,
    shortages: int,
    phases: Phases,
    stop: Stop,
    checkpoints: Checkpoints,
) -> SeedRun:
    """Return the run of a seed: base weights, new additions, a new optimiser and engine.

    `shortages` says how often memory ran out before. Raises UserError where nothing needs less.
    """
    job, dtype, device = setup.job, setup.job.model["dtype"], pick_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with phases.measure("prepare"):
        rows, visits = _training_rows(setup, seed), visits_of(job, seed)
        placement = _placement(setup, device, int(rows.read.max()), shortages)
        trainable = setup.origin.start(seed, placement, device)
        if placement.checkpointing:
            _recompute(trainable, job)
        engine = start_engine(trainable, job.settings, dtype, placement, job.processes)
        # Now, with weights that do not depend on where training was interrupted.
        trained = engine.trainable
        plans = {
            name: plan_reading(trained.model, of.prompts, trained.head)
            for name, of in setup.curve.items()
        }
        # Dropout draws from PyTorch's own stream.
        stream = generator("dropout", job.cell["model"], seed, job.processes.rank)
        torch.manual_seed(int(stream.integers(2**63)))
    LOG.info("%s: seed %d: %s", job.name, seed, placement)
    checkpoints.expect(_state_bytes(engine.trainable, placement, job.processes))
    return SeedRun(
        *(setup, seed, placement, shortages, engine, rows, visits, device, phases, stop),
        *(checkpoints, plans),
    )


def _training_rows(setup: Setup, seed: int) -> TrainingRows:
    """Return the draw as the model reads it: with one pattern after the other, if there are
    several. Of these the one that cuts most rows tells how many were cut."""
    job, origin = setup.job, setup.origin
    shots, where = job.shots[seed], f"shots of seed {seed}"
    parts, cut = zip(
        *(
            _prompts(job, setup.tokenizer, origin, shots, where, pattern)
            for pattern in job.train_patterns or (job.pattern,)
        ),
        strict=True,
    )
    gold, window = np.tile(shots["label"].to_numpy(), len(parts)), job.model["window"]
    every = reads_all_words(job.settings)
    rows = training_rows(one_after_another(parts), gold, window, origin.tokens_ahead, every)
    return replace(rows, truncated=max(cut))


def _placement(setup: Setup, device: torch.device, longest: int, shortages: int) -> Placement:
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


def _recompute(trainable: TrainableModel, job: AdaptationJob) -> None:
    """Keep no activations but those between layers; raises UserError where that cannot be done."""
    check_checkpointing(trainable)
    try:
        trainable.model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise UserError(f"{job.name}: activations cannot be recomputed: {error}") from None


def release_run(run: SeedRun) -> None:
    """Let go of what a run holds, so that the next one finds the memory."""
    run.engine.close()
    if run.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _state_bytes(trainable: TrainableModel, placement: Placement, processes: ProcessGroup) -> int:
    """Return about how many bytes a checkpoint has for each process: weights, AdamW's moments in
    float32 (Adafactor has fewer), and a copy of the best weights."""
    states = sum(map(element_count, trained_parameters(trainable).values())) * 12
    return trained_bytes(trainable) * 2 + states // (processes.size if placement.zero_stage else 1)
