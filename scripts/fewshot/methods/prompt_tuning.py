"""Prompt tuning: learned embeddings in front of every prompt (Lester et al. 2021)."""

import numpy as np
import torch
from torch import nn

from ..models.deepspeed_zero import callable_whole
from .freezing import train_only

COMMON = 5000
"""Initial embeddings are those of tokens with an id below this: in byte-pair vocabularies, the most
frequent. Lester et al. sample among as many."""


class VirtualEmbedding(nn.Module):
    """A model's embedding of its vocabulary, with learned rows for the ids beyond that.

    A readout that is tied to the embedding stays tied to the vocabulary's part.
    """

    def __init__(self, words: nn.Embedding, tokens: int):
        super().__init__()
        self.words = words
        # Of the embedding's width, dtype and device: OPT-350m's hidden states are wider.
        self.learned = nn.Embedding(
            tokens, words.embedding_dim, dtype=words.weight.dtype, device=words.weight.device
        )
        self.virtual_ids = tuple(range(words.num_embeddings, words.num_embeddings + tokens))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings [rows, tokens, width] of `ids` [rows, tokens]."""
        beyond = ids - self.words.num_embeddings
        embedded = self.words(ids.clamp(max=self.words.num_embeddings - 1))
        return torch.where((beyond >= 0)[..., None], self.learned(beyond.clamp(min=0)), embedded)


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model `settings["virtual_tokens"]` more embeddings and freeze all else.

    `parts.virtual_ids` are their ids, which prompts then begin with.
    """
    embedding = VirtualEmbedding(model.get_input_embeddings(), settings["virtual_tokens"])
    model.set_input_embeddings(embedding)
    learned = {id(parameter) for parameter in embedding.learned.parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in learned]
    return train_only(model, names, "prompt_tuning", "models with an embedding of their vocabulary")


@torch.no_grad()
def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Set the learned embeddings to those of randomly drawn tokens of the vocabulary.

    This is the "sampled vocabulary" of Lester et al.; with it the model starts as what it is behind
    a text of these tokens.
    """
    embedding = model.get_input_embeddings()
    common = min(COMMON, embedding.words.num_embeddings)
    ids = torch.from_numpy(generator.integers(common, size=len(embedding.virtual_ids)))
    with callable_whole(embedding.words):
        embedding.learned.weight.copy_(embedding.words(ids.to(embedding.learned.weight.device)))
