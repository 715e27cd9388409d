"""The trained parameters of a model: taken out and put back, whole or in shards; stored."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..models.parts import element_count, trained_parameters
from ..runtime.processes import ProcessGroup

ALONE = ProcessGroup()


def trained_bytes(model: nn.Module) -> int:
    """Return the size of the trained parameters, whether whole or in shards."""
    trained = trained_parameters(model).values()
    return sum(element_count(parameter) * parameter.element_size() for parameter in trained)


def take_weights(
    model: nn.Module, sharded: bool = False, processes: ProcessGroup = ALONE
) -> dict[str, torch.Tensor]:
    """Return copies of the trained parameters by name, on the CPU; all in the first process only.

    All processes must call it where parameters are in shards.
    """
    state = {}
    for name, parameter in trained_parameters(model).items():
        with _whole(parameter, sharded):
            if processes.rank == 0:
                state[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return state


@torch.no_grad()
def put_weights(
    model: nn.Module,
    state: dict[str, torch.Tensor],
    sharded: bool = False,
    processes: ProcessGroup = ALONE,
) -> None:
    """Give every process the first one's `state`, as `take_weights` returned it.

    For scoring: what optimisers hold is left as it is.
    """
    for name, parameter in trained_parameters(model).items():
        with _whole(parameter, sharded, changed=True):
            if processes.rank == 0:
                parameter.copy_(state[name])
        if processes.size > 1 and not sharded:
            torch.distributed.broadcast(parameter.data, src=0)


@torch.no_grad()
def change_weights(
    model: nn.Module, change: Callable[[str, torch.Tensor], torch.Tensor], sharded: bool = False
) -> None:
    """Replace each trained parameter by `change(name, parameter)`, which is given it on the CPU.

    All processes must call it alike: what is not in shards each of them changes for itself.
    """
    for name, parameter in trained_parameters(model).items():
        with _whole(parameter, sharded, changed=True):
            parameter.copy_(change(name, parameter.detach().cpu()))


@torch.no_grad()
def wipe_weights(model: nn.Module, sharded: bool, processes: ProcessGroup) -> None:
    """Make every trained parameter not a number, so that none can pass for having been read."""
    for parameter in trained_parameters(model).values():
        with _whole(parameter, sharded, changed=True):
            if processes.rank == 0 or not sharded:
                parameter.fill_(float("nan"))


def write_weights(path: Path, state: dict[str, torch.Tensor], about: dict[str, object]) -> None:
    """Write tensors as safetensors.

    `about` becomes the file's metadata `about`, as JSON: safetensors writes several entries in an
    order that changes from run to run. Raises UserError where the file system refuses the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(state, path, metadata={"about": json.dumps(about, sort_keys=True)})
    except SafetensorError as error:  # It has the system's error in its text alone.
        if "os error" not in str(error):
            raise
        raise UserError(f"{path}: {error}") from None


def store_weights(state: object, path: Path) -> None:
    """Write a state that holds tensors, as torch does.

    Raises UserError where the file system has no room for all of it.
    """
    try:
        torch.save(state, path)
    except RuntimeError as error:  # A full disk shows in how much was written, and nowhere else.
        if "inline_container" not in str(error):
            raise
        raise UserError(f"{path}: not written in full; is the disk full?") from error


def read_weights(path: str | Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return stored parameters of an adapted model, for `put_weights`.

    Raises UserError where the file's parameters are not the model's trainable ones.
    """
    from safetensors.torch import load_file

    state = load_file(path)
    different = sorted(state.keys() ^ trained_parameters(model).keys())
    if different:
        raise UserError(f"{path}: not an adapter of this model and method: '{different[0]}'")
    return state


@contextlib.contextmanager
def _whole(parameter: nn.Parameter, sharded: bool, changed: bool = False) -> Iterator[None]:
    """Gather a parameter for the time being; the first process's changes are kept if `changed`."""
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0 if changed else None):
        yield
