"""Operations against PyTorch's own count, by hand, and against a published table."""

import importlib
import math

import numpy as np
import pytest
import torch
from fewshot.adaptation.trainable_model import adapted
from fewshot.analysis import flops
from fewshot.analysis.flops import Counts, ModelSize, TrainingPasses, predictions_to_break_even
from fewshot.models import architectures
from fewshot.rng import generator
from fewshot.study.families import training_passes
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPTNeoXConfig, OPTConfig

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
CONFIGS = {
    "opt": OPTConfig(**COMMON, ffn_dim=96, word_embed_proj_dim=32),
    "opt-350m": OPTConfig(**COMMON, ffn_dim=96, word_embed_proj_dim=16, do_layer_norm_before=False),
    "gpt_neox": GPTNeoXConfig(**COMMON, intermediate_size=96),
}
ALL_WEIGHTS = TrainingPasses(3, 3, 3)
TARGETS = {"opt": ["q_proj", "v_proj"], "gpt_neox": ["query_key_value"]}


def model_of(name: str) -> torch.nn.Module:
    # Fused attention is not counted by PyTorch everywhere; written out it is.
    return AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager")


def size_of(name: str) -> ModelSize:
    return flops.model_size(architectures.architecture_of(CONFIGS[name].to_dict(), 64))


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CONFIGS)
def test_reading_token_by_token_is_counted_exactly(name):
    """With a cache, token t attends to t keys; the readout meets each position."""
    model, size, tokens = model_of(name).eval(), size_of(name), 9

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


FAMILIES = {
    "full": {},
    "bitfit": {},
    "ia3": {},
    "head_only": {},
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "dora": False},
    "prompt_tuning": {"virtual_tokens": 4},
    "prefix_tuning": {"virtual_tokens": 4},
}


@pytest.mark.parametrize("head", ["language-model", "classification"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["opt", "gpt_neox"])
def test_a_training_step_is_counted(name, family, head):
    settings = {"family": family, "head": head, "classifier": "dense-relu-linear"}
    settings |= {"targets": TARGETS[name], **FAMILIES[family]}
    method = importlib.import_module(f"fewshot.methods.{family}")
    student = adapted(model_of(name), method, settings, 3).train()
    method.draw(student.model, generator("flops"))
    rows, own, size = 3, 14, size_of(name)
    learned = 4 if family == "prefix_tuning" else 0
    ahead = list(range(97, 101)) if family == "prompt_tuning" else []
    ids = torch.tensor([ahead + list(range(4, 4 + own))] * rows)
    tokens = ids.shape[1]
    last = torch.full((rows,), tokens - 1)
    found = counted(lambda: student(ids, last).logsumexp(-1).sum().backward())

    counts = Counts(rows, 0, rows * tokens, rows * tokens**2, learned)
    trained = sum(each.numel() for each in student.parameters() if each.requires_grad)
    answer = flops.head(size, settings, 3)
    passes = TrainingPasses(**training_passes(settings))
    expected = flops.training(size, counts, 1, passes, answer, trained)
    passes = 1 if family == "head_only" else 3
    hidden = passes * 4 * size.attention * rows * (tokens**2 - tokens) / 2
    if family in ("ia3", "lora", "prefix_tuning"):
        # Nothing below the first layer's queries, keys and values is trained.
        spared = 1 - found / (expected + hidden)
        assert 0.02 < spared < 1 / (2 * COMMON["num_hidden_layers"])
    else:
        assert found == pytest.approx(expected + hidden, rel=2e-4)


def test_the_context_is_encoded_once_or_for_each_row():
    size, counts = ModelSize(1000, 20, 8, 50, 5, True), Counts(7, 11.0, 35.0, 181.0, 2)
    by_hand = 2 * 1000 * 11 + 4 * 20 * (2 * 11 + 11 * 12 / 2)
    assert flops.context(size, counts) == by_hand
    whole = Counts(7, 0, 35 + 77, 181 + 2 * 11 * 35 + 7 * 121, 2)
    assert flops.uncached(size, counts, 50) == flops.uncached(size, whole, 50)
    saved = flops.uncached(size, counts, 50) - flops.cached(size, counts, 50)
    assert saved == 7 * by_hand


def test_attention_is_kaplans_and_palms():
    """A row of T tokens: 2 L d T per token forward (Kaplan, T large), 12 L d T of training with
    the mask's products (PaLM: no half)."""
    size, tokens = ModelSize(0, 100, known=True), 10_000
    kaplan = 2 * 100 * tokens * tokens
    assert flops.forward(size, tokens, tokens**2) == pytest.approx(kaplan, rel=1e-3)
    counts = Counts(1, 0, tokens, tokens**2)
    trained = flops.training(size, counts, 1, ALL_WEIGHTS, 0)
    assert 2 * trained == pytest.approx(12 * 100 * tokens * tokens, rel=1e-3)


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


def test_break_even_against_whole_prompts_is_that_of_the_notes():
    """M ≈ 3 steps · batch · Q / P, without attention and where Q is much shorter than P."""
    steps, batch, own, shared = 40, 32, 50, 100_000
    few = flops.training(T0, Counts(batch, 0, batch * own, 0), steps, ALL_WEIGHTS, 0)
    each = flops.uncached(T0, Counts(1, 0, own, 0), 0)
    icl = flops.uncached(T0, Counts(1, shared, own, 0), 0)
    found = predictions_to_break_even(few, each, 0, icl)
    assert found == pytest.approx(3 * steps * batch * own / shared)
