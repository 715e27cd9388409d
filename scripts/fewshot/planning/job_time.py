"""How many seconds an adaptation job takes, by phase: a model from operations, rows and bytes.

What is read and trained comes from `workload.py`, operations from `flops.py`, what a processor does
in a second from `rates.py`. The constants here are what no formula tells; those said to be measured
were so on a CPU, where this project could be. The phases are those of a run's manifest, and
`start`, which is what its job takes besides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..analysis import flops
from ..analysis.flops import Counts, ModelSize
from ..models.shapes import CHUNK, ELEMENT_BYTES, Architecture
from ..prompts.contexts import shows_shots
from ..runtime.placement import JobPlace
from ..runtime.resume import WRITE_RATE
from ..study.families import added, family_of, second_moments, trainable, training_passes
from ..study.parameter_counts import linear_weights, lora_inputs
from .memory import FLOAT32, LONGEST_ROW, Demand, Quantised, tokens_at_once
from .rates import BUS, moving, rates_of, sweeps
from .workload import (
    Reading,
    Work,
    answer_size,
    batch_rows,
    shots_by_place,
    with_learned_context,
)

if TYPE_CHECKING:
    from ..study.cells import Cell
    from ..study.study import Study


PHASES = ("start", "load", "train", "curve", "score", "write")
"""Imports, checks and storing; weights and tokens; training; learning curve; all rows; weights."""
UNCERTAINTY = 3.0
"""Factor, up and down, within which a prediction is taken to lie; time limits are that much longer.
Guessed: no job was measured on a GPU."""

IMPORTS = {"cpu": 5.0, "gpu": 30.0}
"""Seconds until a process is ready: Python, torch and transformers, as measured from a local disk;
from a disk shared by a cluster, with CUDA's context, as one has to expect."""
TOKENIZE = 6e-5
"""Seconds to tokenize a row, measured: once to check that it fits, once to read it."""
STORE = 2e-6
"""Seconds to put a prediction into a frame and, at the end, into Parquet, measured."""
OPEN = 0.3
"""Seconds to make a model's modules and read its configuration and tokenizer, measured."""
QUANTISE = {"cpu": 3e-8, "gpu": 1e-9}
"""Seconds to put a weight into 4 bits: measured, and as it takes to move it to a GPU and back."""
DISK = 1e9
"""Bytes of weights read in a second, as of a file system shared by a cluster."""
ENGINE = {"cpu": 0.02, "gpu": 1.0}
"""Seconds to set up a seed's training, beside moving its weights: measured with plain PyTorch, and
as DeepSpeed's engine may take."""
ROW = 4e-5
"""Seconds of Python for each row that is scored, measured: its place in a batch, its answer."""
READOUT = 32
"""Bytes moved for each logit where a row's answer is read off, measured: itself, in float32, its
exponential, the comparison with the largest."""
STEP = 2e-3
"""Seconds of Python for an optimiser step, measured."""
PADDED = 1.1
"""Tokens of a batch, padding included, for each token of its rows."""
FILE = 5e-3
"""Seconds to copy or write weights, however few, measured."""
FIT, ANSWER = 0.05, 1e-4
"""Seconds to fit logistic regression to some shots, and to answer a row with it, measured: 128
shots of a width of 7,168, and texts of 40 words."""
DROPPED = {"cpu": 4, "gpu": 1}
"""Bytes by which PyTorch's dropout remembers whether a number was dropped."""
BEST = 5
"""Times that the best epoch is copied: 40 epochs in random order make 4.3 records."""


@dataclass(frozen=True)
class JobModel:
    """What is run: its `size`, what its memory plan says of it, the method's `settings`, and the
    weights that an `answer` is read off with (flops.head)."""

    size: ModelSize
    demand: Demand
    settings: Mapping
    answer: int

    @cached_property
    def still(self) -> Demand:
        """Return what there is to move while rows are read: weights alone, if anything."""
        return replace(self.demand, rows=0, trainable=0)


def job_seconds(work: Work, model: JobModel, site: JobPlace) -> dict[str, float]:
    """Return the seconds of a job by phase (PHASES), for all of its seeds.

    Seconds of the wall clock: all processes of the job spend them. The context of a job that does
    not fit is taken to be as long as the window.
    """
    trained = work.epochs > 0
    fitted = work.seeds * FIT if work.once else 0.0
    return {
        "start": _start(work, site),
        "load": _load(work, model, site, trained),
        "train": work.seeds * work.epochs * _epoch(work, model, site) if trained else fitted,
        "curve": work.seeds * sum(_reading(each, work, model, site) for each in work.curve),
        "score": work.seeds * sum(_reading(each, work, model, site) for each in work.score)
        + sum(_reading(each, work, model, site) for each in work.once)
        + work.seeds * ANSWER * sum(each.rows for each in work.once),
        "write": work.seeds * _write(model, site) if trained else 0.0,
    }


def _start(work: Work, site: JobPlace) -> float:
    """Return the seconds outside of all timed phases; a launcher starts its processes anew."""
    imports = IMPORTS[site.kind] * (2 if site.processes > 1 else 1)
    return imports + TOKENIZE * work.evaluated + work.seeds * STORE * work.predictions


def _load(work: Work, model: JobModel, site: JobPlace, trained: bool) -> float:
    """Return the seconds to read weights and rows, and to make each seed's model."""
    demand = model.demand
    weights = demand.element * demand.parameters
    moved = demand.weights / (BUS if site.per_node else rates_of(site).memory)
    seconds = OPEN + weights / DISK + TOKENIZE * work.evaluated + moved
    if demand.quantised is not None:
        seconds += QUANTISE[site.kind] * demand.quantised.weights
    if trained:
        seconds += work.seeds * (ENGINE[site.kind] + 2 * moved)
    return seconds


def _epoch(work: Work, model: JobModel, site: JobPlace) -> float:
    """Return the seconds of one pass over the shots."""
    demand, size, place = model.demand, model.size, site.placement
    steps = -(-work.rows // demand.rows)
    rows = -(-demand.rows // site.processes)
    tokens = PADDED * rows * work.row
    most = tokens_at_once(demand, place, site.processes)
    cut = max(1.0, tokens / most)
    counts = Counts(work.rows, 0, PADDED * work.rows * work.row, work.rows * work.row**2,
                    work.learned, work.rows * demand.answers)  # fmt: skip
    passes = flops.TrainingPasses(**training_passes(demand.shape, model.settings))
    operations = flops.training(size, counts, 1, passes, model.answer)
    if place.checkpointing:
        operations += flops.forward(size, counts.own, counts.squares, work.learned, work.rows)
    # Of a step with fewer rows than processes, the others have none to share.
    working = min(site.processes, demand.rows)
    arithmetic = rates_of(site).arithmetic(demand.element, operations / working, min(tokens, most))
    launches = cut * rates_of(site).launch * demand.shape.layers * sweeps(demand, place)
    states = moving(demand, place, site.per_node, site.nodes, cut)
    return arithmetic + steps * (
        launches + states + rows * demand.answers * _answer(model, site) + STEP
    )


def _reading(reading: Reading, work: Work, model: JobModel, site: JobPlace) -> float:
    """Return the seconds to score rows as often as they are: the context, then batches."""
    if not reading.times or not reading.rows:
        return 0.0
    demand, size, rates = model.demand, model.size, rates_of(site)
    tokens = reading.rows * reading.tokens
    counts = Counts(
        reading.rows,
        work.context,
        tokens,
        reading.rows * reading.tokens**2,
        work.learned,
        reading.rows * reading.answers,
    )
    batch = min(demand.batch_tokens, tokens)
    rounds = max(1.0, PADDED * tokens / demand.batch_tokens / site.processes)
    operations = PADDED * flops.cached(size, counts, model.answer) / site.processes
    seconds = rates.arithmetic(demand.element, operations, batch)
    if work.context:
        chunk = min(work.context, CHUNK)
        seconds += rates.arithmetic(demand.element, flops.context(size, counts), chunk)
    passes = rounds + math.ceil(work.context / CHUNK)
    seconds += moving(model.still, site.placement, site.per_node, site.nodes, passes)
    seconds += passes * rates.launch * demand.shape.layers
    answers = ROW + reading.answers * _answer(model, site) / site.processes
    return reading.times * (seconds + reading.rows * answers)


def _answer(model: JobModel, site: JobPlace) -> float:
    """Return the seconds to read off an answer once its logits are there: bytes of memory."""
    return READOUT * model.answer / max(model.size.width, 1) / rates_of(site).memory


def _write(model: JobModel, site: JobPlace) -> float:
    """Return the seconds to keep a seed's weights: the best ones, and adapters, read back once."""
    demand, settings = model.demand, model.settings
    weights = demand.trained_element * demand.trainable
    copied = FILE + BEST * weights / (BUS if site.per_node else rates_of(site).memory)
    stored = settings.get("keep_weights", True)
    return copied + (FILE + 2 * weights / WRITE_RATE if stored else 0.0)


def demand_of(study: "Study", shape: Architecture, cell: "Cell", kind: str) -> Demand:
    """Return what a cell's jobs compute, with a model of this shape on a kind of device, "cpu" or
    "gpu"."""
    entry, settings = study.model(cell.model), study.cell_settings(cell)
    labels, element = len(study.tasks[cell.task]["labels"]), ELEMENT_BYTES[entry["dtype"]]
    family, window = family_of(settings), entry["window"]
    settings = with_learned_context(settings, min(window, cell.k * LONGEST_ROW))
    virtual, answer = settings.get("virtual_tokens", 0), answer_size(study, cell, settings)
    shows = family.shows_context or shows_shots(settings)
    places = shots_by_place(cell.k if shows else 0, settings)
    # Other tasks' shots, of which forgetting is measured.
    elsewhere = max(study.forgetting.k) if study.forgetting and family.trains else 0
    shared = max(places.shared, elsewhere)
    # In training the other shots stand in front of each.
    ahead = virtual + (cell.k * LONGEST_ROW if "train_context" in settings else 0)
    return Demand(
        shape=shape,
        element=element,
        trainable=trainable(shape, settings, labels),
        added=added(shape, settings, labels),
        rows=batch_rows(settings, cell.k) * answer.readings if family.trains else 0,
        row=min(window, (1 + places.by_row) * LONGEST_ROW + ahead + answer.tokens - 1),
        context=min(window, shared * LONGEST_ROW) if shows or elsewhere else virtual,
        batch_tokens=study.settings["batch_tokens"][kind],
        backward=family.backward,
        answers=answer.tokens,
        readings=answer.readings,
        second_moments=second_moments(shape, settings, labels) if family.trains else None,
        quantised=_quantised(shape, settings, element, kind) if family.four_bit else None,
    )


def _quantised(shape: Architecture, settings: Mapping, element: int, kind: str) -> Quantised:
    """Return what is in 4 bits; LoRA's modules keep what they read in float32, and where values are
    dropped which of them were."""
    copied = FLOAT32 + DROPPED[kind] if settings["dropout"] else FLOAT32 * (element < FLOAT32)
    read = copied * lora_inputs(shape, settings) // max(shape.layers, 1)
    return Quantised(*linear_weights(shape), read)


def job_model(study: "Study", shape: Architecture, cell: "Cell", kind: str) -> JobModel:
    """Return what is run of a cell on a kind of device."""
    size, settings = flops.model_size(shape), study.cell_settings(cell)
    answer = flops.head(size, settings, len(study.tasks[cell.task]["labels"]))
    return JobModel(size, demand_of(study, shape, cell, kind), settings, answer)
