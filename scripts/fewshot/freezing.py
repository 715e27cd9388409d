"""Say which parameters of a model are trained, and store their values."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from .errors import UserError, unknown


def train_only(model: nn.Module, names: list[str], method: str, valid: str) -> list[str]:
    """Make exactly the named parameters trainable and return their names.

    Raises UserError, saying what would be `valid`, where there is none, and for a name that no
    parameter has (one that is tied to another goes by the other's name).
    """
    where = f"config/methods.yaml: family '{method}'"
    if not names:
        raise UserError(
            f"{where} finds nothing to train in a model of type '{model.config.model_type}'; "
            f"valid: {valid}"
        )
    chosen, known = set(names), dict(model.named_parameters())
    for name in names:
        if name not in known:
            raise unknown("parameter", name, known, where)
    for name, parameter in known.items():
        parameter.requires_grad_(name in chosen)
    return names


def check_trainable(model: nn.Module, expected: Iterable[str], method: str) -> None:
    """Check that exactly the parameters that a method names are trainable.

    Raises UserError naming one that is trained though it should not be, or the reverse, and where
    nothing is trained at all.
    """
    where = f"config/methods.yaml: family '{method}'"
    found = {name for name, each in model.named_parameters() if each.requires_grad}
    wanted = set(expected)
    for name in sorted(found - wanted):
        raise UserError(f"{where} trains an unexpected parameter '{name}'")
    for name in sorted(wanted - found):
        raise UserError(f"{where} does not train parameter '{name}', which it names")
    if not found:
        raise UserError(f"{where} trains nothing")


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the trainable parameters, by name, on the CPU."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def write_state(path: Path, state: dict[str, torch.Tensor], about: dict[str, object]) -> None:
    """Write tensors as safetensors and read them back; raises OSError where they differ.

    `about` becomes the file's metadata `about`, as JSON: safetensors writes several entries in an
    order that changes from run to run.
    """
    from safetensors.torch import load_file, save_file

    save_file(state, path, metadata={"about": json.dumps(about, sort_keys=True)})
    stored = load_file(path)
    if stored.keys() != state.keys() or any(
        not torch.equal(stored[name].view(torch.uint8), state[name].view(torch.uint8))
        for name in state
    ):
        raise OSError(f"{path}: what was written is not what is read")


@torch.no_grad()
def read_state(path: str | Path, model: nn.Module) -> None:
    """Put stored parameters into an adapted model.

    Raises UserError where the file's parameters are not the model's trainable ones.
    """
    from safetensors.torch import load_file

    state = load_file(path)
    target = {name: each for name, each in model.named_parameters() if each.requires_grad}
    different = sorted(state.keys() ^ target.keys())
    if different:
        raise UserError(f"{path}: not an adapter of this model and method: '{different[0]}'")
    for name, parameter in target.items():
        parameter.copy_(state[name])
