"""P-tuning: embeddings in front of every prompt that an encoder makes, which is trained in their
place (Liu et al. 2021, "GPT understands, too"). The encoder is peft's `PromptEncoder`."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..models.widths import units_of
from .freezing import train_only
from .initial_values import draw_as_torch
from .prompt_tuning import VirtualEmbedding


class EncodedTokens(nn.Module):
    """Embeddings of virtual tokens, made by `encoder` of all of them together."""

    def __init__(self, encoder: nn.Module, tokens: int):
        super().__init__()
        self.encoder, self.tokens = encoder, tokens

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the embeddings [..., width] of virtual tokens by their `numbers` [...]."""
        every = torch.arange(self.tokens, device=numbers.device)
        return functional.embedding(numbers, self.encoder(every[None])[0])


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model `virtual_tokens` more embeddings, made by an `encoder` of `encoder_width`
    units (or a share of the embeddings' width), and freeze all else.

    `mlp`: an embedding of each position and three linear layers with ReLU between. `lstm`: that
    embedding, two layers of an LSTM in both directions and two linear layers with ReLU between.
    `parts.virtual_ids` are their ids, which prompts then begin with.
    """
    import peft

    words, tokens = model.get_input_embeddings(), settings["virtual_tokens"]
    config = peft.PromptEncoderConfig(
        num_virtual_tokens=tokens,
        token_dim=words.embedding_dim,
        num_transformer_submodules=1,
        encoder_reparameterization_type=settings["encoder"].upper(),
        encoder_hidden_size=units_of(settings["encoder_width"], words.embedding_dim),
    )
    embedding = VirtualEmbedding(words, tokens)
    encoder = peft.PromptEncoder(config).to(words.weight.device, words.weight.dtype)
    embedding.learned = EncodedTokens(encoder, tokens)
    model.set_input_embeddings(embedding)
    learned = {id(parameter) for parameter in encoder.parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in learned]
    return train_only(model, names, "p_tuning", "models with an embedding of their vocabulary")


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw the encoder's values as PyTorch does, and with it the published code and peft.

    The model does not start as what it was: what stands in front of its prompts is of no words.
    """
    draw_as_torch(model.get_input_embeddings().learned, generator)
