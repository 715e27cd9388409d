"""Give a GPT-NeoX model heads that find a word again, copy it, and look one token back.

Queries start equal to keys, so that a word attends to itself wherever it was said, and a head's
output to its transposed values, so that it hands on what it reads (mimetic initialisation,
Trockman and Kolter 2023). The first head of every layer looks at the token before. These are the
parts of which induction heads are made (Olsson et al. 2022); models of this size find them too, but
it takes them most of the training. `added.py` does the same for OPT.
"""

import torch

MATCH = 2.0
"""Scale of queries and keys: how strongly equal words attend to each other at first."""
BACK = 5.0
"""Scale of what makes the first heads look back."""


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


def _steps(layer: int) -> tuple[int, ...]:
    """Return how far back the first heads of a layer look: also at the verb before an object."""
    return (1, 2) if layer == 0 else (1,)


def _match_and_copy(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, out: torch.Tensor
) -> None:
    """Tie the parts of all heads: [heads, size, width] each, and out [width, heads * size]."""
    keys.copy_(queries)
    out.copy_(values.reshape(out.shape[1], out.shape[0]).T)
