"""Which seeds of a job, or folds of them, are trained together: a pure function of its settings,
model and rows.

A stack is as many consecutive ones with as many rows as one pass can hold whole batches of.
Rounding depends on who is in it, so never on what memory is free, nor on what is finished already.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from ..models.load import pick_device
from ..models.parts import trained_parameters
from ..prompts.contexts import trained_behind
from ..rng import generator
from ..scoring.reader import out_of_memory
from .batches import TrainingRows
from .dropout import DropoutMasks
from .engines import is_plain
from .setup import Member, Setup, placed, rows_of_draw
from .stacked_model import divided, joined, stacked
from .trainable_model import TrainableModel
from .weights import trained_bytes

LOG = logging.getLogger(__name__)

STATE_BYTES = 1 << 28
"""What the trained parameters of a whole stack may take, with gradients, AdamW's two moments and a
copy of the best: memory plans count those of one seed."""
COPIES = 5
PROBED = 4
"""Rows of each of two members on which a stack is compared with each alone."""
SPREAD = 0.02
"""Deviation of what is added to all trained parameters there: many start as zeros or alike."""
TOLERANCE = 1e-3
"""Largest difference of logits or of a parameter's gradient there, relative to its own norm."""
ROUNDING = 1e-5
"""The same relative to the norm of all gradients: some are zero but for rounding."""


def cut_stacks(members: Sequence[Member]) -> list[list[Member]]:
    """Cut the members of a job, whose setups differ in rows alone, into stacks of consecutive ones
    with as many rows, about as many members in each."""
    if len(members) < 2 or not _may_stack(members[0].setup):
        return [[member] for member in members]
    alike: dict[tuple[int, ...], list[tuple[Member, TrainingRows]]] = {}
    for member in members:
        rows = rows_of_draw(member.setup, member.seed)
        alike.setdefault(rows.lengths.shape, []).append((member, rows))
    stacks = [stack for group in alike.values() for stack in _cut(*zip(*group, strict=True))]
    if len(stacks) < len(members):
        named = (", ".join(str(member.name) for member in stack) for stack in stacks)
        LOG.info("%s: trained together: seeds %s", members[0].setup.job.name, " and ".join(named))
    return stacks


def _cut(members: Sequence[Member], rows: Sequence[TrainingRows]) -> list[list[Member]]:
    size = _stack_size(members, rows) if len(members) > 1 else 1
    count = -(-len(members) // size)
    cuts = [len(members) * number // count for number in range(count + 1)]
    return [list(members[start:end]) for start, end in pairwise(cuts)]


def _may_stack(setup: Setup) -> bool:
    """Return whether a job is run by one process with all states whole, in float32, and its seeds
    read rows that do not depend on what was trained, nor each its own number of positions."""
    job, settings = setup.job, setup.job.settings
    plain = is_plain(settings, job.model["dtype"], job.placement, job.processes)
    return (
        plain
        and job.processes.size == 1
        and job.model["dtype"] == "float32"
        and not job.placement.checkpointing
        and setup.origin.penalty is None
        and settings["epochs"] > 0
        and "unlabelled_rows" not in settings
        and trained_behind(settings) != "all"
    )


def _stack_size(members: Sequence[Member], rows: Sequence[TrainingRows]) -> int:
    """Return how many members, of as many rows each, may be trained together, 1: each alone."""
    setup, device = members[0].setup, pick_device()
    job = setup.job
    longest = max(int(each.read.max()) for each in rows)
    batch = min(job.settings["batch_size"], len(rows[0].labels)) * longest
    size = placed(setup, device, longest, 0).micro_tokens // batch
    if size < 2:
        return 1
    two = [setup.origin.start(member.seed, job.placement, device) for member in members[:2]]
    trained = trained_bytes(two[0])
    shares = 2 * trained < sum(each.nbytes for each in two[0].parameters())
    size = min(size, STATE_BYTES // (COPIES * trained)) if shares else 1
    if size < 2 or not _agree(two, rows[:2], device, job.name):
        return 1
    return size


def _agree(
    two: list[TrainableModel], rows: Sequence[TrainingRows], device: torch.device, name: str
) -> bool:
    """Return whether two models together compute what each does alone, dropout included: logits,
    and the gradients of all that they train.

    Their parameters are changed, since many start as zeros or alike.
    """
    draws = generator("probe of a stack")
    for trainable in two:
        _add_noise(trainable.train(), draws)
    reads = [each.together(np.arange(len(each.labels))[:PROBED])[:2] for each in rows]
    masks = [DropoutMasks(number) for number in range(len(two))]
    keys = [mask.keys(0, np.arange(len(ids))) for mask, (ids, _) in zip(masks, reads, strict=True)]
    before = _random_states(device)
    alone = [
        _read([trainable], [read], mask, key, device)[0]
        for trainable, read, mask, key in zip(two, reads, masks, keys, strict=True)
    ]
    if not all(map(torch.equal, before, _random_states(device))):
        LOG.info("%s: trained seed by seed: something besides dropout of states is random", name)
        return False
    try:
        together = _read(two, reads, masks[0], np.concatenate(keys), device)
    except (RuntimeError, TypeError, ValueError, AttributeError, StopIteration) as error:
        if out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        LOG.info("%s: trained seed by seed: together they cannot be read (%s)", name, reason)
        return False
    alike = all(map(_alike, alone, together))
    if not alike:
        LOG.info("%s: trained seed by seed: together they compute something else", name)
    return alike


def _read(
    trainables: list[TrainableModel],
    reads: list[tuple[torch.Tensor, torch.Tensor]],
    masks: DropoutMasks,
    keys: np.ndarray,
    device: torch.device,
) -> list[list[torch.Tensor]]:
    """Return the logits of each model, and what changes their sum of squares: its gradients."""
    ids, places = (part.to(device) for part in joined(reads))
    with masks.drawn(keys, device):
        logits = divided(stacked(trainables)(ids, places), reads)
    trained = [list(trained_parameters(trainable).values()) for trainable in trainables]
    every = torch.autograd.grad(
        torch.stack([each.square().sum() for each in logits]).sum(),
        [parameter for own in trained for parameter in own],
    )
    parts = np.cumsum([0, *map(len, trained)])
    return [
        [own.detach(), *every[start:end]]
        for own, start, end in zip(logits, parts, parts[1:], strict=False)
    ]


def _alike(alone: list[torch.Tensor], together: list[torch.Tensor]) -> bool:
    floor = ROUNDING * float(torch.stack([each.norm() for each in alone[1:]]).norm())
    return all(
        float((own - found).norm()) <= TOLERANCE * float(own.norm()) + floor
        for own, found in zip(alone, together, strict=True)
    )


def _add_noise(trainable: nn.Module, draws: np.random.Generator) -> None:
    with torch.no_grad():
        for parameter in trained_parameters(trainable).values():
            noise = draws.normal(0.0, SPREAD, tuple(parameter.shape)).astype(np.float32)
            parameter += torch.from_numpy(noise).to(parameter.device)


def _random_states(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
