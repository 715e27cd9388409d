"""Shape the embedded default: recipes, tokenizers and untrained models of four tiny checkpoints.

`pretraining.py` trains them on the synthetic corpora.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

from .patterns import Pattern, parse_template
from .synthetic import vocabulary

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
WINDOW = 1024
LABEL_WORDS = ("Yes", "No", "Maybe", "True", "False", "Neither")
_YES_NO, _TRUE_FALSE = (" Yes", " No"), (" True", " False")
PATTERNS = (
    Pattern("minimal", parse_template("{text_a} {text_b} ?", ""), "", _YES_NO, "\n\n"),
    Pattern(
        "gpt-3",
        parse_template("{text_a} question: {text_b} Yes or No?", ""),
        " answer:",
        _YES_NO,
        "\n\n",
    ),
    Pattern(
        "eval-harness",
        parse_template("{text_a} \nQuestion: {text_b} True or False?", ""),
        "\nAnswer:",
        _TRUE_FALSE,
        "\n\n",
    ),
)


@dataclass(frozen=True)
class Recipe:
    """How one embedded model is made; every number of the recipe stands here."""

    family: str
    width: int
    layers: int = 4
    heads: int = 4
    rate: float = 3e-3
    single_steps: int = 1000
    document_steps: int = 1200
    single_batch: int = 64
    document_tokens: int = 2048
    lengths: tuple[int, ...] = (64, 128, 256, 512, 704)
    """Document lengths in tokens; stage two begins with the short ones."""
    length_shares: tuple[float, ...] = (0.1, 0.2, 0.35, 0.25, 0.1)
    pattern_shares: tuple[float, ...] = (0.5, 0.25, 0.25)
    prior_share: float = 0.7
    """Share of documents whose labels follow a prior instead of the pairs, once it has grown."""
    prior: tuple[float, float] = (6.0, 0.7)
    """Beta parameters of such a document's probability of the first label word: mostly that word,
    which is why a query without demonstrations gets it. Priors that favour either word at random
    teach the models to repeat the last label; only the quickest to match pairs does without."""
    text_weight: float = 0.3
    """Weight of all other tokens' loss beside the label words'."""
    pool: int = 15_000
    """Distinct pairs per corpus."""


RECIPES = {
    "opt-micro": Recipe("opt", 64, single_steps=1600, document_steps=2400),
    "opt-mini": Recipe("opt", 96, rate=2e-3, single_steps=1200, document_steps=2600),
    "pythia-micro": Recipe("gpt_neox", 64, prior=(0.3, 0.08)),
    "pythia-mini": Recipe("gpt_neox", 96, rate=2e-3, document_steps=2200),
}


def build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer that falls back to single characters.

    Words carry their leading blank (" Yes" and "Yes" are two tokens) and "\\n" is a token, so
    decoding gives the text back. OPT's starts every text with "</s>", GPT-NeoX's with nothing.
    """
    prompts = ("question", "answer", "Question", "Answer", *LABEL_WORDS)
    words = sorted({*vocabulary(), *prompts})
    marks = [" ?", *(chr(code) for code in range(33, 127)), " ", "\n"]
    tokens = [PAD, EOS, UNK, *words, *(f" {word}" for word in words), *marks]
    tokens = list(dict.fromkeys(tokens))
    scores = [(token, -1.0 if len(token) > 1 else -10.0) for token in tokens]
    inner = Tokenizer(models.Unigram(scores, unk_id=tokens.index(UNK)))
    inner.pre_tokenizer = pre_tokenizers.Split(
        Regex(r" ?[A-Za-z]+| ?[^\sA-Za-z]|\s"), behavior="isolated"
    )
    inner.decoder = decoders.Fuse()
    if family == "opt":
        inner.post_processor = processors.TemplateProcessing(
            single=f"{EOS} $A", pair=f"{EOS} $A $B", special_tokens=[(EOS, tokens.index(EOS))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=EOS,
        eos_token=EOS,
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> torch.nn.Module:
    """Return a model before training: random weights, but for OPT's positions."""
    torch.manual_seed(seed)
    shared = dict(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=WINDOW,
        attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    inner, std = 2 * recipe.width, 0.5 / math.sqrt(recipe.width)
    if recipe.family == "gpt_neox":
        rope = {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 1.0}
        config = GPTNeoXConfig(
            **shared, intermediate_size=inner, rope_parameters=rope, initializer_range=std
        )
        return GPTNeoXForCausalLM(config)
    model = OPTForCausalLM(
        OPTConfig(
            **shared,
            ffn_dim=inner,
            word_embed_proj_dim=recipe.width,
            dropout=0.0,
            init_std=std,
        )
    )
    _place_positions(model)
    return model


def _place_positions(model: torch.nn.Module) -> None:
    """Give OPT sinusoid positions in dimensions of their own, and a head that looks one token back.

    Rotary models find the previous token almost at once; with positions that are added to the
    words, a model of this size takes too long, so it starts with that head. The table stays
    fixed: Adam moves rows that a batch rarely visits at full rate, which would scramble it.
    """
    decoder = model.model.decoder
    size = model.config.hidden_size // model.config.num_attention_heads
    rates = 100.0 ** -torch.linspace(0, 1, size // 2)
    angles = torch.arange(decoder.embed_positions.weight.shape[0])[:, None] * rates
    attention, pairs = decoder.layers[0].self_attn, torch.arange(size // 2)
    back = 2.0 * torch.eye(size)
    back[pairs, pairs] = back[pairs + size // 2, pairs + size // 2] = 2.0 * rates.cos()
    back[pairs, pairs + size // 2] = -2.0 * rates.sin()
    back[pairs + size // 2, pairs] = 2.0 * rates.sin()
    with torch.no_grad():
        decoder.embed_tokens.weight[:, :size] = 0
        decoder.embed_positions.weight.zero_()
        scale = 2 * model.config.init_std
        decoder.embed_positions.weight[:, :size] = (
            torch.cat([angles.sin(), angles.cos()], 1) * scale
        )
        for projection, rows in (
            (attention.q_proj, back),
            (attention.k_proj, 2.0 * torch.eye(size)),
        ):
            projection.weight[:size] = 0
            projection.weight[:size, :size] = rows
    decoder.embed_positions.weight.requires_grad = False


def save(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Write a checkpoint in bfloat16 that loads with AutoModel and AutoTokenizer, offline."""
    folder = Path(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    entries = json.loads((folder / "config.json").read_text())
    entries.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
