"""Batches of sequences read by a model, with or without a shared prefix."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from .attention import SharedPrefix, Unroutable
from .errors import UserError
from .layout import Layout, Piece, lay_out
from .models import backbone
from .tokens import Prompts


class Reader:
    """Turns sequences into the hidden states that predict tokens of label words.

    If `shared`, the prompts' prefix is encoded first, and the model's attention must be `routed`
    as long as this is used. Raises Unroutable where it does not go that way.
    """

    def __init__(self, model: nn.Module, prompts: Prompts, shared: bool):
        self.backbone, self.prompts, self.shared = backbone(model), prompts, shared
        self.device = next(model.parameters()).device
        self.prefix = SharedPrefix()
        self.start = () if shared else prompts.prefix
        if shared:
            try:
                self._call(np.array([prompts.prefix]), np.arange(len(prompts.prefix))[None])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise UserError(
                    f"the context of {len(prompts.prefix)} tokens alone does not fit in memory"
                ) from None
            self.prefix.encoding = False
            if not self.prefix.layers:
                raise Unroutable("its attention is not exchangeable")

    def hidden(self, batch: Sequence[Piece]) -> tuple[torch.Tensor, Layout]:
        """Return hidden states [reads, width] of a batch, and its layout."""
        layout = lay_out(self.prompts, batch, self.start)
        if self.shared:
            positions = layout.positions + len(self.prompts.prefix)
            states = self._call(layout.ids, positions, layout.branches)
        else:
            ids = self._on_device(layout.ids)
            states = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        reads = self._on_device(layout.reads)
        return states[reads[:, 0], reads[:, 1]], layout

    def _call(self, ids, positions, branches=None) -> torch.Tensor:
        places = self._on_device(positions)
        self.prefix.place(places, None if branches is None else self._on_device(branches))
        return self.backbone(
            input_ids=self._on_device(ids),
            position_ids=places,
            use_cache=False,
            shared_prefix=self.prefix,
        ).last_hidden_state

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


def out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed, on the GPU or on the host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        "can't allocate memory" in str(error) or "not enough memory" in str(error)
    )
