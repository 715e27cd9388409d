"""Say which parameters of a model are trained."""

from collections.abc import Iterable

from torch import nn

from ..errors import UserError, unknown
from ..models.parts import trained_parameters


def train_only(model: nn.Module, names: list[str], method: str, valid: str) -> list[str]:
    """Make exactly the named parameters trainable and return their names.

    Raises UserError, saying what would be `valid`, where there is none, and for a name that no
    parameter has (one that is tied to another goes by the other's name).
    """
    where = f"methods.yaml: family '{method}'"
    if not names:
        raise UserError(
            f"{where} finds nothing to train in a model of type '{model.config.model_type}'; "
            f"valid: {valid}"
        )
    chosen, parameters = set(names), dict(model.named_parameters())
    for name in names:
        if name not in parameters:
            raise unknown("parameter", name, parameters, where)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in chosen)
    return names


def check_trainable(model: nn.Module, expected: Iterable[str], method: str) -> None:
    """Check that exactly the parameters that a method names are trainable.

    Raises UserError naming one that is trained though it should not be, or the reverse, and where
    nothing is trained at all.
    """
    where = f"methods.yaml: family '{method}'"
    trainable, wanted = set(trained_parameters(model)), set(expected)
    for name in sorted(trainable - wanted):
        raise UserError(f"{where} trains an unexpected parameter '{name}'")
    for name in sorted(wanted - trainable):
        raise UserError(f"{where} does not train parameter '{name}', which it names")
    if not trainable:
        raise UserError(f"{where} trains nothing")
