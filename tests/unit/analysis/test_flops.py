"""Operations against PyTorch's own count, by hand, and against a published table."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewshot.adaptation.trainable_model import adapted
from fewshot.analysis import flops
from fewshot.analysis.flops import Counts, ModelSize, TrainingPasses, predictions_to_break_even
from fewshot.models import architectures
from fewshot.rng import generator
from fewshot.study.families import training_passes
from thinned import thinned
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.masking_utils import sliding_window_causal_mask_function

COMMON = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
GROUPED = {**COMMON, "intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 16}
CONFIGS = {
    "opt": OPTConfig(**COMMON, ffn_dim=96, word_embed_proj_dim=32),
    "opt-350m": OPTConfig(**COMMON, ffn_dim=96, word_embed_proj_dim=16, do_layer_norm_before=False),
    "gpt_neox": GPTNeoXConfig(**COMMON, intermediate_size=96),
    # Their queries are wider than hidden states, their keys and values are not.
    "qwen3": Qwen3Config(**GROUPED),
    "gemma3": Gemma3TextConfig(**GROUPED),
}
SLIDING = {
    "mistral": MistralConfig(**GROUPED, sliding_window=4),
    "gemma2": Gemma2Config(**GROUPED, sliding_window=4),
    "gemma3": Gemma3TextConfig(**GROUPED, sliding_window=4),
}
"""Models of which 6, 3 and 5 layers slide over four tokens."""
ALL_WEIGHTS = TrainingPasses(3, 3, 3)
TARGETS = {"opt": ["q_proj", "v_proj"], "gpt_neox": ["query_key_value"]}


def model_of(name: str, configs: dict = CONFIGS) -> torch.nn.Module:
    # Fused attention is not counted by PyTorch everywhere; written out it is.
    return AutoModelForCausalLM.from_config(configs[name], attn_implementation="eager")


def shape_of(name: str, configs: dict = CONFIGS) -> architectures.Architecture:
    return architectures.architecture_of(configs[name].to_dict(), 64)


def size_of(name: str, configs: dict = CONFIGS) -> ModelSize:
    return flops.model_size(shape_of(name, configs))


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "configs"),
    [(name, configs) for configs in (CONFIGS, SLIDING) for name in configs],
    ids=[*CONFIGS, *(f"{name} sliding" for name in SLIDING)],
)
def test_reading_token_by_token_is_counted_exactly(name, configs):
    """With a cache, token t attends to t keys, or as many as its window holds; the readout meets
    each position."""
    model, size, tokens = model_of(name, configs).eval(), size_of(name, configs), 9

    @torch.no_grad()
    def run():
        cache = None
        for token in range(tokens):
            out = model(input_ids=torch.tensor([[token + 4]]), past_key_values=cache)
            cache = out.past_key_values

    expected = flops.forward(size, tokens, tokens**2) + 2 * size.readout * tokens
    assert counted(run) == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_at_once_multiplies_the_whole_square_of_attention(name):
    """PyTorch counts products with keys that the mask hides, which is PaLM's T instead of T / 2."""
    model, size, rows, tokens = model_of(name).eval(), size_of(name), 3, 12
    with torch.no_grad():
        found = counted(lambda: model(input_ids=torch.full((rows, tokens), 5), logits_to_keep=1))
    causal = flops.uncached(size, Counts(rows, 0, rows * tokens, rows * tokens**2), size.readout)
    hidden = 4 * size.attention * rows * (tokens**2 - tokens) / 2
    assert found == causal + hidden


BOTTLENECK = {"bottleneck": 4, "activation": "relu", "scale": 1.0, "initialisation": "bert"}
FAMILIES = {
    "full": {},
    "bitfit": {},
    "ia3": {},
    "head_only": {},
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "dora": False},
    "prompt_tuning": {"virtual_tokens": 4},
    "prefix_tuning": {"virtual_tokens": 4},
    "adapter": {"sublayers": ["attention", "feed-forward"], "form": "houlsby", **BOTTLENECK},
    "p_tuning": {"virtual_tokens": 4, "encoder": "mlp", "encoder_width": 8},
    "mix_and_match": {"virtual_tokens": 4, "encoder_width": 8, **BOTTLENECK},
}


@pytest.mark.parametrize(
    ("head", "answers"), [("language-model", 1), ("language-model", 3), ("classification", 1)]
)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", thinned(["opt", "gpt_neox"], ["opt"], ["gpt_neox"]))
def test_a_training_step_is_counted(name, family, head, answers):
    settings = {"family": family, "head": head, "classifier": "dense-relu-linear"}
    settings |= {"targets": TARGETS[name], **FAMILIES[family]}
    method = importlib.import_module(f"fewshot.methods.{family}")
    student = adapted(model_of(name), method, settings, 3).train()
    method.draw(student.model, generator("flops"))
    rows, own, size = 3, 14, size_of(name)
    learned = 4 if family in ("prefix_tuning", "mix_and_match") else 0
    ahead = list(range(97, 101)) if family in ("prompt_tuning", "p_tuning") else []
    ids = torch.tensor([ahead + list(range(4, 4 + own))] * rows)
    tokens = ids.shape[1]
    places = torch.tensor([[row, tokens - 1 - i] for row in range(rows) for i in range(answers)])
    found = counted(lambda: student(ids, places).logsumexp(-1).sum().backward())

    asked = rows * answers if answers > 1 else 0
    counts = Counts(rows, 0, rows * tokens, rows * tokens**2, learned, asked)
    answer = flops.head(size, settings, 3)
    passes = TrainingPasses(**training_passes(shape_of(name), settings))
    expected = flops.training(size, counts, 1, passes, answer)
    passes = 1 if family == "head_only" else 3
    hidden = passes * 4 * size.attention * rows * (tokens**2 - tokens) / 2
    if family == "mix_and_match":
        # The prefix's encoder is not counted.
        spared = 1 - found / (expected + hidden)
        assert -0.02 < spared < 1 / (2 * COMMON["num_hidden_layers"])
    elif family == "p_tuning":
        # The encoder reads the virtual tokens once for all rows.
        assert found == pytest.approx(expected + hidden, rel=1e-3)
    elif family in ("ia3", "lora", "prefix_tuning", "adapter"):
        # Nothing below the first layer's queries, keys and values is trained.
        spared = 1 - found / (expected + hidden)
        # The biases of adapters, which are counted, weigh something in so narrow ones.
        most = 1 / (2 * COMMON["num_hidden_layers"]) + 0.01 * (family == "adapter")
        assert 0.02 < spared < most
    else:
        assert found == pytest.approx(expected + hidden, rel=2e-4)


@pytest.mark.parametrize("family", ["adapter", "mix_and_match", "lora", "full"])
@pytest.mark.parametrize("name", ["opt", "gpt_neox"])
def test_predictions_are_multiplied_with_what_cannot_be_folded_in(name, family):
    """LoRA's updates are left out: what is read with them is what is read with the model's own."""
    settings = {"family": family, "head": "language-model", "targets": TARGETS[name]}
    settings |= FAMILIES[family]
    method = importlib.import_module(f"fewshot.methods.{family}")
    student = adapted(model_of(name), method, settings, 3).eval()
    rows, tokens, size, shape = 3, 14, size_of(name), shape_of(name)
    ids = torch.full((rows, tokens), 5)
    places = torch.tensor([[row, tokens - 1] for row in range(rows)])
    with torch.no_grad():
        found = counted(lambda: student(ids, places))
    passes = TrainingPasses(**training_passes(shape, settings))
    learned = 4 if family == "mix_and_match" else 0
    counts = Counts(rows, 0, rows * tokens, rows * tokens**2, learned)
    plain = flops.cached(size, counts, size.readout)
    plain += 4 * size.attention * rows * (tokens**2 - tokens) / 2
    beside = 2 * passes.predicting * rows * tokens
    assert (passes.predicting > 0) == (family in ("adapter", "mix_and_match"))
    if family == "lora":
        assert found == plain + 2 * passes.beside * rows * tokens
    elif family == "full":
        assert found == plain
    else:
        # Biases of adapters are counted, and not the encoder that makes a prefix once.
        encoder = counts_of_encoder(shape, settings) if learned else 0
        assert found == pytest.approx(plain + beside + encoder, rel=0.01) and beside > 0.02 * plain


def counts_of_encoder(shape, settings) -> int:
    width, inner = shape.key_value, settings["encoder_width"]
    return 2 * settings["virtual_tokens"] * (width * inner + inner * 2 * shape.layers * width)


def test_the_context_is_encoded_once_or_for_each_row():
    size, counts = ModelSize(1000, 20, 8, 50, 5, True), Counts(7, 11.0, 35.0, 181.0, 2)
    by_hand = 2 * 1000 * 11 + 4 * 20 * (2 * 11 + 11 * 12 / 2)
    assert flops.context(size, counts) == by_hand
    whole = Counts(7, 0, 35 + 77, 181 + 2 * 11 * 35 + 7 * 121, 2)
    assert flops.uncached(size, counts, 50) == flops.uncached(size, whole, 50)
    saved = flops.uncached(size, counts, 50) - flops.cached(size, counts, 50)
    assert saved == 7 * by_hand


def reached(window: int, lengths: list[int], keys: int) -> int:
    """Count what rows behind `keys` see under the mask that transformers makes for a window."""
    sees = sliding_window_causal_mask_function(window)
    places = [torch.arange(keys + length) for length in lengths]
    return sum(sees(0, 0, query, row).sum().item() for row in places for query in row[keys:])


LENGTHS = {
    "one row": [13],
    "equally long": [9, 9, 9],
    "all end in a window of 20": [3, 1, 7],
    "all end past a window of 5": [8, 30, 13],
}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("keys", [0, 1, 4, 5, 12, 13, 40])
@pytest.mark.parametrize("window", [1, 5, 20])
def test_no_key_beyond_a_sliding_window_is_counted(window, keys, lengths):
    past = [keys + length > window for length in lengths]
    exact = len(set(lengths)) == 1 or all(past) or not any(past)
    tokens, squares = sum(lengths), sum(length**2 for length in lengths)
    size = ModelSize(0, attention=10, sliding=10, window=window)
    found = flops.attention(size, tokens, squares, keys, len(lengths)) / 4 / 10
    if exact or keys >= window:
        assert found == reached(window, lengths, keys)
    most = reached(keys + max(lengths), lengths, keys)
    assert tokens <= found <= most
    some = flops.attention(replace(size, sliding=3), tokens, squares, keys, len(lengths))
    assert some == 4 * (3 * found + 7 * most), "the other layers reach all"


def test_a_context_and_rows_behind_it_reach_what_whole_rows_do():
    size = ModelSize(1000, 20, 8, 50, 5, True, sliding=15, window=16)
    for shared in (3, 14, 40):
        counts = Counts(7, shared, 7 * 5, 7 * 25)
        whole = Counts(7, 0, 7 * (shared + 5), 7 * (shared + 5) ** 2)
        assert flops.uncached(size, counts, 50) == flops.uncached(size, whole, 50)
        once = flops.training(size, whole, 1, TrainingPasses(1, 1, 1), 50)
        assert once == flops.uncached(size, whole, 50)


SLIDES, WHOLE = "sliding_attention", "full_attention"


@pytest.mark.parametrize(
    ("config", "window"),
    [
        (MistralConfig(**GROUPED, sliding_window=24), 24),
        (MistralConfig(**GROUPED, sliding_window=None), 0),
        (Gemma2Config(**GROUPED, sliding_window=24), 24),
        (Gemma2Config(**GROUPED | {"num_hidden_layers": 7}), 4096),
        (Gemma3TextConfig(**GROUPED, sliding_window=24), 24),
        (Gemma3TextConfig(**GROUPED | {"num_hidden_layers": 26}, sliding_window=512), 512),
        (Gemma3TextConfig(**GROUPED, layer_types=4 * [SLIDES] + 2 * [WHOLE]), 4096),
        (Gemma3TextConfig(**GROUPED, layer_types=6 * [SLIDES]), 4096),
        (Gemma3TextConfig(**GROUPED, layer_types=6 * [WHOLE]), 4096),
        (Qwen3Config(**GROUPED, sliding_window=4096, use_sliding_window=False), 0),
        (Qwen2Config(**GROUPED, sliding_window=131072, use_sliding_window=False), 0),
    ],
)
def test_the_layers_that_slide_are_those_of_transformers(config, window):
    stated = config.to_dict()
    shape = architectures.architecture_of(architectures.shape_keys(stated, "m"), 64)
    slides = sum(DynamicCache(config=config).is_sliding)
    assert (shape.sliding_layers, shape.sliding_window) == (slides, window)
    assert architectures.architecture_of(stated, 64) == shape, "as of a local model"


@pytest.mark.parametrize("name", SLIDING)
def test_types_have_their_own_pattern_where_layers_are_not_told_apart(name):
    stated = {**SLIDING[name].to_dict(), "layer_types": None}
    for layers in (1, 2, 6, 13, 26):
        config = type(SLIDING[name])(**{**GROUPED, "num_hidden_layers": layers}, sliding_window=24)
        shape = architectures.architecture_of({**stated, "num_hidden_layers": layers}, 64)
        assert shape.sliding_layers == sum(DynamicCache(config=config).is_sliding)


def test_a_window_that_qwen_switches_off_counts_for_nothing():
    """As its config.json has it, which transformers has not read."""
    config = {"model_type": "qwen2", "hidden_size": 32, "num_hidden_layers": 6, "vocab_size": 97}
    config |= {"num_attention_heads": 4, "intermediate_size": 96}
    off = {"sliding_window": 131072, "use_sliding_window": False, "max_window_layers": 28}
    assert architectures.shape_keys(config | off, "m") == config
    shape = architectures.architecture_of(config | off, 64)
    assert shape == architectures.architecture_of(config, 64) and not shape.sliding_layers


def test_opt_125m_has_kaplans_weights():
    config = {"model_type": "opt", "hidden_size": 768, "num_hidden_layers": 12}
    config |= {"num_attention_heads": 12, "ffn_dim": 3072, "vocab_size": 50272}
    size = flops.model_size(architectures.architecture_of(config, 2048))
    assert size == ModelSize(12 * 12 * 768**2, 12 * 768, 2 * 12 * 768, 50272 * 768, 768, True)
    guessed = flops.model_size(architectures.guess(10**9))
    assert guessed == ModelSize(10**9) and not guessed.known


# Liu et al. 2022, section 4.2 and table 1: 41 demonstrations of 98 tokens, an input of 103; tokens
# of an encoder-decoder model pass through half of its weights.
SHOTS, DEMONSTRATION, INPUT = 41, 98, 103
TASK = Counts(1, SHOTS * DEMONSTRATION, INPUT, INPUT**2)
T0, T5 = ModelSize(int(11e9 / 2)), ModelSize(int(11e9 / 2))
GPT3 = {name: ModelSize(int(name * 1e9)) for name in (6.7, 13, 175)}


def digits(value: float, published: float) -> bool:
    return f"{value:.1e}" == f"{published:.1e}"


def test_the_published_costs_of_t_few_follow_from_the_formulas():
    zero_shot = Counts(1, 0, INPUT, INPUT**2)
    assert digits(flops.uncached(T0, zero_shot, 0), 1.1e12)
    assert digits(flops.uncached(T5, TASK, 0), 4.5e13)
    assert digits(flops.uncached(GPT3[175], TASK, 0), 1.4e15)
    batches = Counts(8, 0, 8 * INPUT, 8 * INPUT**2)
    # Published as if all weights were trained; with frozen ones it would be two thirds.
    few = flops.training(T0, batches, 1000, ALL_WEIGHTS, 0)
    assert digits(few, 2.7e16)
    frozen = flops.training(T0, batches, 1000, TrainingPasses(2, 3, 2), 0)
    assert frozen == pytest.approx(2 / 3 * few)
    # The published table is rounded from other medians for the two smaller models.
    assert flops.uncached(GPT3[6.7], TASK, 0) == pytest.approx(5.4e13, rel=0.03)
    assert flops.uncached(GPT3[13], TASK, 0) == pytest.approx(1.0e14, rel=0.08)
    gain = flops.uncached(GPT3[175], TASK, 0) / flops.cached(GPT3[175], TASK, 0)
    assert gain == pytest.approx(41, rel=0.03)
    each = flops.uncached(T0, zero_shot, 0), flops.uncached(GPT3[175], TASK, 0)
    assert round(predictions_to_break_even(few, each[0], 0, each[1])) == 19  # "about 20"


def test_break_even_is_where_the_costs_are_equal():
    found = predictions_to_break_even(100.0, 1.0, 20.0, 5.0)
    assert found == 20 and 100 + found == 20 + 5 * found
    assert predictions_to_break_even(100.0, 5.0, 20.0, 5.0) == math.inf
    assert predictions_to_break_even(10.0, 5.0, 20.0, 5.0) == 0
    assert predictions_to_break_even(10.0, 6.0, 20.0, 5.0) == math.inf
    assert predictions_to_break_even(10.0, 1.0, 20.0, 5.0) == 0
    assert math.isnan(predictions_to_break_even(np.nan, 1.0, 0.0, 2.0))
