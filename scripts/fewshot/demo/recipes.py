"""Shape the embedded default: recipes, tokenizers and untrained models of four tiny checkpoints.

`pretraining.py` trains them on the synthetic corpora.
"""

import json
import math
from dataclasses import dataclass, replace
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

from ..data.synthetic import vocabulary
from ..prompts.patterns import Pattern, parse_template
from .head_init import start_added, start_rotary

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
SEPARATOR = "\n\n"
"""Of demonstrations. OPT's tokenizer has it as one token: a head looks for it."""
WINDOW = 1024
LABEL_WORDS = ("Yes", "No", "Maybe", "True", "False", "Neither")
_YES_NO, _TRUE_FALSE = (" Yes", " No"), (" True", " False")
PATTERNS = (
    Pattern("minimal", parse_template("{text_a} {text_b} ?", ""), "", _YES_NO, SEPARATOR),
    Pattern(
        "gpt-3",
        parse_template("{text_a} question: {text_b} Yes or No?", ""),
        " answer:",
        _YES_NO,
        SEPARATOR,
    ),
    Pattern(
        "eval-harness",
        parse_template("{text_a} \nQuestion: {text_b} True or False?", ""),
        "\nAnswer:",
        _TRUE_FALSE,
        SEPARATOR,
    ),
)


@dataclass(frozen=True)
class Stage:
    """A part of the training: which documents, and which rules hold in them."""

    steps: int
    tokens: int = 1024
    """Tokens of a step, about."""
    lengths: tuple[int, ...] = (0,)
    """Document lengths in tokens; 0 stands for single pairs."""
    length_shares: tuple[float, ...] = (1.0,)
    kind_shares: tuple[float, ...] = (0.4, 0.2, 0.2, 0.2)
    """Shares of entailed, replaced, swapped and negated pairs."""
    overlap_share: float = 0.0
    """Share of documents in which a hypothesis with exchanged roles counts as entailed."""
    flipped_share: float = 0.0
    """Share of documents in which the label words are exchanged."""
    prior_share: float = 0.0
    """Share of documents whose labels follow a prior instead of the pairs."""
    prior: tuple[float, float] = (6.0, 0.7)
    """Beta parameters of such a document's probability of the first label word: mostly that word,
    which is why a query without demonstrations gets it."""


_PAIRS = Stage(0)
"""Pairs alone."""
_MIXED = Stage(0, lengths=(0, 96, 192), length_shares=(0.5, 0.25, 0.25))
"""Pairs alone, and documents, so that words are found again in their own pair from the start."""


def _stages(plain: int, short: int, long: int, first: Stage = _PAIRS) -> tuple[Stage, ...]:
    """Return the curriculum: without other rules than the truth, short documents under rules, long
    ones."""
    return (
        replace(first, steps=plain),
        Stage(
            short,
            lengths=(96, 192, 256),
            length_shares=(0.3, 0.4, 0.3),
            overlap_share=0.4,
            flipped_share=0.4,
        ),
        Stage(
            long,
            tokens=2048,
            lengths=(128, 256, 512, 1000),
            length_shares=(0.3, 0.3, 0.2, 0.2),
            overlap_share=0.65,
            flipped_share=0.35,
            prior_share=0.35,
        ),
    )


@dataclass(frozen=True)
class Recipe:
    """How one embedded model is made; every number of the recipe stands here."""

    family: str
    width: int
    layers: int = 7
    heads: int = 4
    inner: int = 2
    """Width of the layers' networks, in widths of the model."""
    rate: float = 3e-3
    network_rate: float = 1.0
    """Learning rate of the layers' networks at the start, as a share of all else's; the share grows
    evenly to 1. At full rate they drown the positions that OPT adds to the words."""
    warmup: float = 0.05
    stages: tuple[Stage, ...] = _stages(1200, 1500, 1000)
    judge_layers: tuple[int, ...] = (3, 4, 5, 6)
    """Layers that the auxiliary classifiers read, in the order of `pretraining.PARTS`."""
    judge_weight: float = 1.0
    text_weight: float = 0.1
    """Weights of the auxiliary losses and of all other tokens' loss beside the label words'."""
    pattern_shares: tuple[float, ...] = (0.5, 0.25, 0.25)
    plain_share: float = 0.03
    """Share of HANS-like premises, without a question, among the parts of documents."""
    pool: int = 20_000
    """Distinct pairs per corpus."""


_OPT = dict(family="opt", width=64, heads=2, network_rate=0.05)
RECIPES = {
    "opt-micro": Recipe(**_OPT, rate=1e-3, stages=_stages(1200, 2000, 900, _MIXED)),
    "opt-mini": Recipe(**_OPT, inner=4, rate=1.2e-3, stages=_stages(1200, 4000, 2000, _MIXED)),
    "pythia-micro": Recipe("gpt_neox", 64),
    "pythia-mini": Recipe("gpt_neox", 96, rate=2e-3, stages=_stages(1200, 1600, 1100)),
}


def build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer that falls back to single characters.

    Words carry their leading blank (" Yes" and "Yes" are two tokens) and "\\n" is a token, so
    decoding gives the text back. OPT's starts every text with "</s>", GPT-NeoX's with nothing; the
    former has SEPARATOR as one token.
    """
    prompts = ("question", "answer", "Question", "Answer", *LABEL_WORDS)
    words = sorted({*vocabulary(), *prompts})
    marks = [" ?", *(chr(code) for code in range(33, 127)), " ", "\n"]
    blank_line = ""
    if family == "opt":
        marks.append(SEPARATOR)
        blank_line = r"\n\n|"
    tokens = [PAD, EOS, UNK, *words, *(f" {word}" for word in words), *marks]
    tokens = list(dict.fromkeys(tokens))
    scores = [(token, -1.0 if len(token) > 1 else -10.0) for token in tokens]
    inner = Tokenizer(models.Unigram(scores, unk_id=tokens.index(UNK)))
    inner.pre_tokenizer = pre_tokenizers.Split(
        Regex(rf" ?[A-Za-z]+| ?[^\sA-Za-z]|{blank_line}\s"), behavior="isolated"
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
    """Return a model before training: random weights, but for what `head_init.py` or `head_init.py`
    prepares."""
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
    inner, std = recipe.inner * recipe.width, 0.5 / math.sqrt(recipe.width)
    if recipe.family == "gpt_neox":
        rope = {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5}
        config = GPTNeoXConfig(
            **shared, intermediate_size=inner, rope_parameters=rope, initializer_range=std
        )
        model = GPTNeoXForCausalLM(config)
        start_rotary(model)
        return model
    model = OPTForCausalLM(
        OPTConfig(
            **shared,
            ffn_dim=inner,
            word_embed_proj_dim=recipe.width,
            dropout=0.0,
            init_std=std,
        )
    )
    start_added(model, tokenizer.convert_tokens_to_ids([EOS, SEPARATOR]))
    return model


def save_checkpoint(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, folder: str | Path
) -> None:
    """Write a checkpoint in bfloat16 that loads with AutoModel and AutoTokenizer, offline."""
    folder = Path(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    entries = json.loads((folder / "config.json").read_text("utf-8"))
    entries.pop("transformers_version", None)
    (folder / "config.json").write_text(
        json.dumps(entries, indent=2, sort_keys=True) + "\n", "utf-8"
    )
