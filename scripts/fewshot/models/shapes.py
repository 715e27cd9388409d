"""The modules of the model types that the memory plan knows, from their configurations' numbers.

The names of keys and modules are those of transformers' `config.json` and of its models; tests
compare all counts with its own modules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number of each dtype that models are run in."""
QUERIES = 1024
"""Queries whose attention scores are held at once where no fused kernel serves."""
CHUNK = 2048
"""Tokens of a context that are encoded at once. Behind more keys than that, fewer than `QUERIES`
have their scores held, so that memory does not grow with the context."""
SLIDING = {"mistral": 0, "gemma2": 2, "gemma3_text": 6}
"""Types whose layers slide, if their `sliding_window` is set: model_type → every how many layers
one attends to all keys instead (0: none does), unless `layer_types` says which."""


@dataclass(frozen=True)
class Module:
    """A module with parameters of its own, of which the model has `count`: one for each layer.

    `weight` and `bias` are elements; of a linear module also the numbers of inputs and outputs.
    """

    name: str
    weight: int
    bias: int = 0
    count: int = 1
    inputs: int = 0
    outputs: int = 0

    @property
    def size(self) -> int:
        """Return the parameters of one such module."""
        return self.weight + self.bias


@dataclass(frozen=True)
class Architecture:
    """The shape of a model, in elements.

    `width` is that of hidden states, `feed_forward` that of the layers' inner states, `query` and
    `key_value` those of all heads together; `readout` is the width of what meets the vocabulary.
    For its backward pass a layer keeps, of each token, `inner_states` states of the inner width,
    the `normed` elements that its norms take (and `norm_copies` times in float32), `extra` elements
    that other types do not keep, and the scores of its attention if that `holds_scores`. At once it
    holds `working_states` states of the inner width. In `sliding_layers` of its layers a token
    attends to the last `sliding_window` tokens only, itself among them. `exact` is false where all
    of this is guessed from the number of parameters.
    """

    parameters: int
    largest_layer: int
    layers: int
    width: int
    heads: int
    query: int
    key_value: int
    feed_forward: int
    inner_states: int
    working_states: int
    normed: int
    norm_copies: int
    vocabulary: int
    readout: int
    tied: bool
    extra: int = 0
    holds_scores: bool = False
    sliding_layers: int = 0
    sliding_window: int = 0
    modules: tuple[Module, ...] = field(default=(), repr=False)
    exact: bool = True


def _linear(name: str, inputs: int, outputs: int, bias: bool, count: int) -> Module:
    return Module(name, inputs * outputs, outputs if bias else 0, count, inputs, outputs)


def _finish(config: Mapping, modules: list[Module], tied: bool, **shape) -> Architecture:
    """Add the readout and what all types have in common."""
    vocabulary, readout = config["vocab_size"], shape["readout"]
    head = Module("lm_head", vocabulary * readout, 0, 1, readout, vocabulary)
    # A readout tied to the embeddings is a module without parameters that would count again.
    modules = modules if tied else [*modules, head]
    return Architecture(
        parameters=sum(product.size * product.count for product in modules),
        largest_layer=max(product.size for product in modules),
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        vocabulary=vocabulary,
        tied=tied,
        modules=tuple(modules),
        **shape,
    )


def _opt(config: Mapping) -> Architecture:
    """Return an OPT model; that of 350M projects its embeddings and has its norms at the end."""
    width, layers, inner = (config[k] for k in ("hidden_size", "num_hidden_layers", "ffn_dim"))
    words = config.get("word_embed_proj_dim") or width
    bias, affine = (
        config.get("enable_bias", True),
        config.get("layer_norm_elementwise_affine", True),
    )
    norm = (width, width) if affine else (0, 0)
    attention = ("q_proj", "k_proj", "v_proj", "out_proj")
    modules = [
        Module("embed_tokens", config["vocab_size"] * words),
        # Positions start at 2.
        Module("embed_positions", (config["max_position_embeddings"] + 2) * width),
        *(_linear(name, width, width, bias, layers) for name in attention),
        _linear("fc1", width, inner, bias, layers),
        _linear("fc2", inner, width, bias, layers),
        Module("self_attn_layer_norm", *norm, layers),
        Module("final_layer_norm", *norm, layers),
    ]
    if words != width:
        modules.append(_linear("project_in", words, width, False, 1))
        modules.append(_linear("project_out", width, words, False, 1))
    if config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm"):
        modules.append(Module("final_layer_norm", *norm))
    # A ReLU keeps its result alone, which is the next module's input.
    kept = 1 if config.get("activation_function", "relu") == "relu" else 2
    return _finish(
        config, modules, config.get("tie_word_embeddings", True),
        query=width, key_value=width, feed_forward=inner, inner_states=kept, working_states=2,
        normed=2 * width, norm_copies=0, readout=words,
    )  # fmt: skip


def _gpt_neox(config: Mapping) -> Architecture:
    """Return a GPT-NeoX model (Pythia), whose queries, keys and values are one module."""
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    inner, bias = config["intermediate_size"], config.get("attention_bias", True)
    # Values are a part of one tensor with queries and keys, which stay beside those with positions;
    # so does the attention's result, twice. Both norms take the same states, unless one by one.
    extra = (2 if config.get("use_parallel_residual", True) else 3) * width
    modules = [
        Module("embed_in", config["vocab_size"] * width),
        _linear("query_key_value", width, 3 * width, bias, layers),
        _linear("dense", width, width, bias, layers),
        _linear("dense_h_to_4h", width, inner, True, layers),
        _linear("dense_4h_to_h", inner, width, True, layers),
        Module("input_layernorm", width, width, layers),
        Module("post_attention_layernorm", width, width, layers),
        Module("final_layer_norm", width, width),
    ]
    return _finish(
        config, modules, config.get("tie_word_embeddings", False),
        query=width, key_value=width, feed_forward=inner, inner_states=2, working_states=2,
        normed=2 * width, norm_copies=0, readout=width, extra=extra,
    )  # fmt: skip


def _llama(
    config: Mapping,
    *,
    biases: str = "",
    mlp_bias: bool = False,
    head_width: int = 0,
    norms: int = 2,
    head_norms: str = "",
    tied: bool = False,
    norm_copies: int = 1,
    holds_scores: bool = False,
) -> Architecture:
    """Return a model like Llama: grouped queries, a gated feed-forward part, RMS norms.

    `biases` are the initials of attention modules that always have some; `head_width` is the
    default of `head_dim`, `norms` are those of a layer, `head_norms` is "each" where queries and
    keys of a head are normalised, "all" where those of all heads are. Norms compute in float32, and
    keep that twice where they also weigh in it. Soft-capped attention has no fused kernel.
    """
    width, heads = config["hidden_size"], config["num_attention_heads"]
    each = config.get("head_dim") or head_width or width // heads
    query, key_value = heads * each, (config.get("num_key_value_heads") or heads) * each
    if config.get("attention_bias", False):
        biases = "qkvo"
    modules = _llama_modules(config, query, key_value, biases, mlp_bias, norms)
    normed = norms * width
    if head_norms:
        normed += query + key_value
        sizes = (query, key_value) if head_norms == "all" else (each, each)
        for name, size in zip(("q_norm", "k_norm"), sizes, strict=True):
            modules.append(Module(name, size, 0, config["num_hidden_layers"]))
    sliding, window = _sliding(config)
    return _finish(
        config, modules, config.get("tie_word_embeddings", tied), query=query,
        key_value=key_value, feed_forward=config["intermediate_size"], inner_states=4,
        working_states=3, normed=normed, norm_copies=norm_copies, readout=width,
        holds_scores=holds_scores, sliding_layers=sliding, sliding_window=window,
    )  # fmt: skip


def _llama_modules(
    config: Mapping, query: int, key_value: int, biases: str, mlp_bias: bool, norms: int
) -> list[Module]:
    """Return the modules that all models like Llama have, but for the readout."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    layers = config["num_hidden_layers"]
    sizes = {"q": (width, query), "k": (width, key_value), "v": (width, key_value)}
    return [
        Module("embed_tokens", config["vocab_size"] * width),
        *(
            _linear(f"{name}_proj", *size, name in biases, layers)
            for name, size in {**sizes, "o": (query, width)}.items()
        ),
        _linear("gate_proj", width, inner, mlp_bias, layers),
        _linear("up_proj", width, inner, mlp_bias, layers),
        _linear("down_proj", inner, width, mlp_bias, layers),
        Module("layernorm", width, 0, norms * layers),
        Module("norm", width),
    ]


def _sliding(config: Mapping) -> tuple[int, int]:
    """Return how many layers have a sliding window, and how many tokens that has."""
    kind, window = config.get("model_type"), config.get("sliding_window")
    if kind not in SLIDING or not window:
        return 0, 0
    layers, every = config["num_hidden_layers"], SLIDING[kind]
    if not every:
        return layers, window
    types = config.get("layer_types")
    return types.count("sliding_attention") if types else layers - layers // every, window


def _unbiased(config: Mapping) -> dict:
    """Return the configuration without a key that models of its type do not read."""
    return {key: value for key, value in config.items() if key != "attention_bias"}


TYPES = {
    "opt": _opt,
    "gpt_neox": _gpt_neox,
    "llama": lambda config: _llama(config, mlp_bias=config.get("mlp_bias", False)),
    "mistral": lambda config: _llama(_unbiased(config)),
    "qwen2": lambda config: _llama(_unbiased(config), biases="qkv"),
    "qwen3": lambda config: _llama(config, head_width=128, head_norms="each"),
    "olmo2": lambda config: _llama(config, head_norms="all", norm_copies=2),
    "gemma": lambda config: _llama(config, head_width=256, tied=True, norm_copies=2),
    "gemma2": lambda config: _llama(
        config, head_width=256, norms=4, tied=True, norm_copies=2, holds_scores=True
    ),
    "gemma3_text": lambda config: _llama(
        config, head_width=256, norms=4, head_norms="each", tied=True, norm_copies=2
    ),
}
"""model_type → the architecture of a configuration with all sizes."""
