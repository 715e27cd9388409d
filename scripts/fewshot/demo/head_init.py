"""Initialise attention heads so that tiny models learn to look words up (mimetic initialisation).

GPT-NeoX: queries start equal to keys, so that a word attends to itself wherever it was said, and a
head's output to its transposed values, so that it hands on what it reads (Trockman and Kolter
2023). The first head of every layer looks at the token before. These are the parts of which
induction heads are made (Olsson et al. 2022); models of this size find them too, but it takes them
most of the training.

OPT: a position that is added to a word says how far back something is, and the word whether it is
equal, but one product of queries and keys cannot ask for both, and every word stands in many
demonstrations. So a head of the first layer finds the separator before each token and writes down
where it stood; words then attend to equal words behind the same separator, and to the separator
itself where there are none. Other heads look one or two tokens back. These are beginnings: all but
the table of positions is trained. The hidden state's dimensions are [POSITIONS | SEPARATOR |
words]. With 2 heads of 32 dimensions, words are told apart well enough; with 4 of 16 they are not.
"""

import torch

ROTARY_MATCH = 2.0
"""Scale of queries and keys: how strongly equal words attend to each other at first."""
ROTARY_BACK = 5.0
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
        weights[:, 0] *= ROTARY_MATCH
        _match_and_copy(weights[:, 0], weights[:, 1], weights[:, 2], attention.dense.weight)
        # Against the keys where positions turn: no word finds itself.
        weights[:, 0, : 2 * turned] *= -1
        # Constant keys, and queries turned back by some steps: the angle is 0 there.
        for head, steps in enumerate(_steps(place)):
            weights[head, :2] *= 0.1
            bias[head, 1, :turned] = ROTARY_BACK
            angles = rates * steps
            bias[head, 0, : 2 * turned] = ROTARY_BACK * torch.cat([angles.cos(), -angles.sin()])


def _steps(layer: int) -> tuple[int, ...]:
    """Return how far back the first heads of a layer look: also at the verb before an object."""
    return (1, 2) if layer == 0 else (1,)


def _match_and_copy(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, out: torch.Tensor
) -> None:
    """Tie the parts of all heads: [heads, size, width] each, and out [width, heads * size]."""
    keys.copy_(queries)
    out.copy_(values.reshape(out.shape[1], out.shape[0]).T)


POSITIONS = 16
"""Sines and cosines of a position, of 1 to 1 / THETA radians a token."""
THETA = 300.0
SEPARATOR = 8
"""Those of the separator's position, of the fastest rates: they tell neighbouring pairs apart."""
SLOW = ((3, 0.08), (4, 0.28), (5, 0.23), (6, 0.18), (7, 0.23))
"""Rates, and the share of each, whose cosines together fall with the distance to a token, without a
second peak within 1,000 tokens: the best for that by linear programming."""
# Scales of queries and keys: looking back; nearness and being a separator; words, equal separators,
# a token itself, the separator where no word is equal.
BACK, NEAR, FOUND = 3.0, 5.5, 25.0
MATCH, SAME, SELF, SINK = 2.0, 2.0, 2.5, 14.0
# Scales of what heads write: the separator's position, the token before, a word found again.
WRITE, LOOK, COPY = 0.066, 0.15, 0.15
LARGER = 15
"""Layer norm makes embeddings about so much larger."""
QUIET = 0.05
"""Scale of what the layers' networks write: at random it would drown the positions."""
HEADS = ((1, "separator"), (2, "match"))
"""What the heads of the first two layers do: look so far back, or what else."""
LATER = (1, "match")


@torch.no_grad()
def start_added(model: torch.nn.Module, separators: list[int]) -> None:
    """Prepare an OPT model of 2 heads a layer in place; `separators` are token ids: what starts a
    text, and what stands between demonstrations.

    The table of positions stays fixed: Adam moves rows that a batch rarely visits at full rate,
    which would scramble it.
    """
    config, decoder = model.config, model.model.decoder
    words, positions = decoder.embed_tokens.weight, decoder.embed_positions.weight
    rates = THETA ** -torch.linspace(0, 1, POSITIONS // 2)
    angles = torch.arange(len(positions))[:, None] * rates
    words[:, : POSITIONS + SEPARATOR] = 0
    positions.zero_()
    positions[:, :POSITIONS] = 2 * config.init_std * torch.cat([angles.sin(), angles.cos()], 1)
    positions.requires_grad = False
    for place, layer in enumerate(decoder.layers):
        layer.fc2.weight *= QUIET
        for number, kind in enumerate(HEADS[place] if place < len(HEADS) else LATER):
            head = Head(layer.self_attn, number, config.num_attention_heads)
            if kind == "separator":
                find_separator(head, words[separators])
            elif kind == "match":
                match_words(head, words[separators[-1]])
            else:
                look_back(head, rates * kind, config.init_std)


class Head:
    """One head's parameters, set to zero: views on its queries, keys and values [size, width], the
    queries' bias [size], and what it writes, out [width, size]."""

    def __init__(self, attention: torch.nn.Module, number: int, heads: int):
        width = attention.embed_dim
        self.size = width // heads
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        shape = heads, self.size, width
        self.queries, self.keys, self.values = (part.weight.view(shape)[number] for part in parts)
        self.bias = attention.q_proj.bias.view(heads, self.size)[number]
        self.out = attention.out_proj.weight.view(width, heads, self.size)[:, number]
        for weights in (self.queries, self.keys, self.values, self.out):
            weights.zero_()


def look_back(head: Head, angles: torch.Tensor, scale: float) -> None:
    """Attend to the token whose position's sinusoids are turned back by these angles; write it
    down in random directions, in which it is not taken for the word itself."""
    sin, cos = torch.diag(angles.sin()), torch.diag(angles.cos())
    turn = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
    head.queries[:POSITIONS, :POSITIONS] = BACK * turn
    head.keys[:POSITIONS, :POSITIONS] = BACK * torch.eye(POSITIONS)
    first = POSITIONS + SEPARATOR
    torch.nn.init.orthogonal_(head.values[:, first:])
    head.out[first:].normal_(0, LOOK * scale)


def find_separator(head: Head, separators: torch.Tensor) -> None:
    """Attend to the nearest separator, and write down its position."""
    half = POSITIONS // 2
    for row, (rate, share) in enumerate(SLOW):
        for part in (0, 1):
            head.queries[2 * row + part, rate + part * half] = NEAR * share**0.5
    head.keys.copy_(head.queries)
    row, mean = 2 * len(SLOW), separators.mean(0)
    head.bias[row] = 1.0
    head.keys[row] = FOUND * head.size**0.5 / LARGER * mean / (mean @ separators[0])
    for row in range(SEPARATOR):
        head.values[row, row // 2 + row % 2 * half] = 1.0
        head.out[POSITIONS + row, row] = WRITE


def match_words(head: Head, separator: torch.Tensor) -> None:
    """Attend to equal words behind the same separator, not to the word itself; else to the
    separator. Hand on what is found as it is (mimetic initialisation)."""
    first, half, own = POSITIONS + SEPARATOR, POSITIONS // 2, 4
    rank = head.size - own
    head.queries[own:, first:] = MATCH * torch.nn.init.orthogonal_(
        torch.empty(rank, head.queries.shape[1] - first)
    )
    head.queries[own:, POSITIONS:first] = SAME * torch.nn.init.orthogonal_(
        torch.empty(rank, SEPARATOR)
    )
    for row in range(own):
        head.queries[row, row // 2 + row % 2 * half] = SELF
    head.keys.copy_(head.queries)
    head.queries[:own] *= -1
    key = head.queries @ separator
    head.bias.copy_(SINK * head.size**0.5 / LARGER * key / (key @ key))
    torch.nn.init.orthogonal_(head.values[:, first:])
    head.out.copy_(COPY * head.values.T)
