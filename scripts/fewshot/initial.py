"""Give the embedded models heads that find a word again, copy it, and look one token back.

Queries start equal to keys, so that a word attends to itself wherever it was said, and a head's
output to its transposed values, so that it hands on what it reads (mimetic initialisation,
Trockman and Kolter 2023). The first head of every layer looks at the token before. These are the
parts of which induction heads are made (Olsson et al. 2022); models of this size find them too, but
it takes them most of the training.
"""

import torch

MATCH, MATCH_ADDED = 2.0, 1.5
"""Scales of queries and keys: how strongly equal words attend to each other at first, for rotary
positions and for those that are added to the words."""
BACK, BACK_ADDED = 5.0, 2.0
"""Scales of what makes the first heads look back, likewise."""
NEARNESS = 0.3
"""Scale of how much queries and keys read of positions that are added to the words."""
THETA = 100.0
"""OPT's sinusoids turn by 1 to 1 / THETA radians a token."""


@torch.no_grad()
def start_rotary(model: torch.nn.Module) -> None:
    """Prepare the heads of a GPT-NeoX model in place."""
    config = model.config
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    turned = int(size * rope["partial_rotary_factor"]) // 2
    rates = rope["rope_theta"] ** -(torch.arange(turned) / turned)
    for place, layer in enumerate(model.gpt_neox.layers):
        attention = layer.attention
        weights = attention.query_key_value.weight.view(heads, 3, size, config.hidden_size)
        bias = attention.query_key_value.bias.view(heads, 3, size)
        weights[:, 0] *= MATCH
        _match_and_copy(weights[:, 0], weights[:, 1], weights[:, 2], attention.dense.weight)
        # Against the keys where positions turn: no word finds itself.
        weights[:, 0, : 2 * turned] *= -1
        # Constant keys, and queries turned back by some steps: the angle is 0 there.
        for head, steps in enumerate(_steps(place)):
            weights[head, :2] *= 0.1
            bias[head, 1, :turned] = BACK
            angles = rates * steps
            bias[head, 0, : 2 * turned] = BACK * torch.cat([angles.cos(), -angles.sin()])


@torch.no_grad()
def start_added(model: torch.nn.Module) -> None:
    """Prepare an OPT model in place: sinusoid positions in dimensions of their own, and the heads.

    The table stays fixed: Adam moves rows that a batch rarely visits at full rate, which would
    scramble it.
    """
    config, decoder = model.config, model.model.decoder
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    rates = THETA ** -torch.linspace(0, 1, size // 2)
    angles = torch.arange(decoder.embed_positions.weight.shape[0])[:, None] * rates
    decoder.embed_tokens.weight[:, :size] = 0
    decoder.embed_positions.weight.zero_()
    table = torch.cat([angles.sin(), angles.cos()], 1)
    decoder.embed_positions.weight[:, :size] = 2 * config.init_std * table
    decoder.embed_positions.weight.requires_grad = False
    for place, layer in enumerate(decoder.layers):
        attention = layer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        queries, keys, values = (
            each.weight.view(heads, size, config.hidden_size) for each in projections
        )
        # Words are matched and copied, positions hardly: they would outweigh the words.
        queries[:, :, :size] *= NEARNESS
        values[:, :, :size] = 0
        queries *= MATCH_ADDED
        _match_and_copy(queries, keys, values, attention.out_proj.weight)
        for head, steps in enumerate(_steps(place)):
            queries[head], keys[head] = 0, 0
            queries[head, :, :size] = BACK_ADDED * _turn_back(rates * steps)
            keys[head, :, :size] = BACK_ADDED * torch.eye(size)


def _steps(layer: int) -> tuple[int, ...]:
    """Return how far back the first heads of a layer look: also at the verb before an object."""
    return (1, 2) if layer == 0 else (1,)


def _turn_back(angles: torch.Tensor) -> torch.Tensor:
    """Return the matrix [size, size] that turns sines and cosines of a position back."""
    sin, cos = torch.diag(angles.sin()), torch.diag(angles.cos())
    return torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])


def _match_and_copy(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, out: torch.Tensor
) -> None:
    """Tie the parts of all heads: [heads, size, width] each, and out [width, heads * size]."""
    keys.copy_(queries)
    out.copy_(values.reshape(out.shape[1], out.shape[0]).T)
