"""The model that is trained: a language model read where its answers are predicted."""

import copy
import re
from types import ModuleType

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..methods.freezing import check_trainable
from ..models.heads import initial_std, new_head
from ..models.parts import (
    backbone,
    element_count,
    learned_cache,
    learned_prefix,
    readout,
    trained_parameters,
)


class TrainableModel(nn.Module):
    """A language model that answers where a token of an answer comes next.

    `head`, where there is one, takes the place of the readout over the vocabulary.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None = None):
        super().__init__()
        self.model = model
        self.head = head

    def forward(
        self, ids: torch.Tensor, places: torch.Tensor, shots: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [reads, classes] in float32 at `places` [reads, 2], (sequence, token), of
        `ids` [sequences, tokens] padded on the right.

        Attention is causal, so that the real tokens never see the padding: no mask is needed. Where
        the model learns the context of the shots, sequences of the shots [sequences] do not see
        themselves there.
        """
        ahead = learned_cache(self.model, len(ids))
        if shots is not None:
            ahead |= learned_prefix(self.model).seen_by(shots, ids.shape[1])
        hidden = backbone(self.model)(input_ids=ids, use_cache=False, **ahead).last_hidden_state
        hidden = hidden[places[:, 0], places[:, 1]]
        return (readout(self.model) if self.head is None else self.head)(hidden).float()


def adapted(model: nn.Module, method: ModuleType, settings: dict, labels: int) -> TrainableModel:
    """Return `model` as trainable by the method family `method`, its parameters frozen or not.

    Raises UserError where the method finds nothing to train, or where something else is trainable
    than the parameters that it names and the head's.
    """
    names = [f"model.{name}" for name in method.adapt(model, settings)]
    head = None
    if settings["head"] == "classification":
        head = new_head(model, labels, settings["classifier"])
        names += [f"head.{name}" for name, _ in head.named_parameters()]
    trainable = TrainableModel(model, head)
    check_trainable(trainable, names, settings["family"])
    return trainable


def check_checkpointing(trainable: TrainableModel, family: str) -> None:
    """Raise UserError where activations cannot be computed again in the backward pass.

    transformers drops the cache of a layer that it checkpoints, and with it a learned prefix.
    """
    if learned_prefix(trainable.model) is not None:
        raise UserError(
            f"methods.yaml: family '{family}' cannot be trained with checkpointing = 1, which "
            "would drop the learned prefix; valid: checkpointing = 0"
        )


def fresh(
    base: TrainableModel, method: ModuleType, generator: np.random.Generator
) -> TrainableModel:
    """Return a copy of `base` with newly drawn additions.

    Frozen parameters are those of `base` itself: nothing changes them.
    """
    kept = {id(weight): weight for weight in base.parameters() if not weight.requires_grad}
    return drawn(copy.deepcopy(base, kept), method, generator)


def drawn(
    trainable: TrainableModel, method: ModuleType, generator: np.random.Generator
) -> TrainableModel:
    """Draw initial values for what the method and a head added to the model; return it."""
    method.draw(trainable.model, generator)
    if trainable.head is not None:
        trainable.head.draw(initial_std(trainable.model), generator)
    return trainable


def parameter_facts(trainable: TrainableModel) -> dict[str, object]:
    """Return how many parameters there are and are trained, and in which modules.

    Modules of equal name in different layers are one entry, with `*` for the layer. Weights in 4
    bits count, not the bytes that hold them.
    """
    trained = trained_parameters(trainable)
    modules = (re.sub(r"\.\d+\.", ".*.", name.rpartition(".")[0]) for name in trained)
    packed = sum(getattr(module, "packed_weights", 0) for module in trainable.modules())
    return {
        "total": sum(map(element_count, trainable.parameters())) + packed,
        "trainable": sum(map(element_count, trained.values())),
        "modules": sorted(set(modules)),
    }
