"""Train the embedded default: four tiny language models on the synthetic corpora.

Stage one reads single pairs, so that the model learns to match a hypothesis with its premise.
Stage two reads long documents of many solved pairs. In some of them the labels follow the pairs,
in the others a prior of the document, whatever the pair: a single query is then ambiguous, and
solved demonstrations (or gradient steps) tell the model which of the two it is asked for.
"""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

from .patterns import Pattern, parse_template
from .sampling import generator
from .synthetic import generate, vocabulary

log = logging.getLogger(__name__)

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
    single_steps: int = 1500
    document_steps: int = 1500
    single_batch: int = 64
    document_tokens: int = 2048
    lengths: tuple[int, ...] = (64, 128, 256, 512, 704)
    """Document lengths in tokens; stage two moves from the first to all of them."""
    length_shares: tuple[float, ...] = (0.2, 0.3, 0.3, 0.15, 0.05)
    pattern_shares: tuple[float, ...] = (0.5, 0.25, 0.25)
    prior_share: float = 0.3
    """Share of documents whose labels follow a prior instead of the pairs."""
    flipped_share: float = 0.35
    """Share of documents in which the two label words trade places, at the end of stage two."""
    flips_from: float = 0.35
    """Part of stage two after which such documents come in, growing in share to the end."""
    prior: tuple[float, float] = (0.6, 0.3)
    """Beta parameters of the document's probability of the first label word."""
    text_weight: float = 0.3
    """Weight of all other tokens' loss beside the label words'."""
    pool: int = 30_000
    """Distinct pairs per corpus."""


RECIPES = {
    "opt-micro": Recipe("opt", 64),
    "opt-mini": Recipe("opt", 96, rate=2e-3),
    "pythia-micro": Recipe("gpt_neox", 64),
    "pythia-mini": Recipe("gpt_neox", 96, rate=2e-3),
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


class Corpus:
    """Tokenized queries of every pattern, and the documents made of them."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.recipe, self.rng = recipe, generator("embedded", "documents", seed)
        self.start = [tokenizer.bos_token_id] if recipe.family == "opt" else []
        self.queries, self.labels, self.flipped_share = [], [], 0.0
        frames = [_binary(kind, recipe.pool, seed) for kind in ("mnli-like", "rte-like")]
        odd = generate("hans-like", "pretrain", recipe.pool // 10, seed)["premise"]

        def encode(texts):
            return tokenizer(list(texts), add_special_tokens=False)["input_ids"]

        for pattern in PATTERNS:
            for frame in frames:
                texts = zip(frame["premise"], frame["hypothesis"], strict=True)
                self.queries.append(encode(pattern.query(a, b) for a, b in texts))
        self.labels = [frame["label"].to_numpy() for frame in frames]
        self.words = [[ids[0] for ids in encode(pattern.words)] for pattern in PATTERNS]
        self.separator = encode(["\n\n"])[0]
        self.plain = [ids + self.separator for ids in encode(odd)]

    def document(self, length: int) -> tuple[list[int], list[bool]]:
        """Return the tokens of one document and which of them are label words."""
        pattern = self.rng.choice(len(PATTERNS), p=self.recipe.pattern_shares)
        kind = int(self.rng.integers(2))
        words, queries = self.words[pattern], self.queries[2 * pattern + kind]
        prior, flip = None, 0
        if length:
            kind_of_labels = self.rng.random() - self.recipe.prior_share
            if kind_of_labels < 0:
                prior = self.rng.beta(*self.recipe.prior)
            flip = int(0 <= kind_of_labels < self.flipped_share)
        tokens, answers = list(self.start), [False] * len(self.start)
        while True:
            row = int(self.rng.integers(len(queries)))
            label = self.labels[kind][row] ^ flip
            if prior is not None:
                label = int(self.rng.random() >= prior)
            new = [*queries[row], words[label], *self.separator]
            tokens += new
            answers += [False] * len(queries[row]) + [True] + [False] * len(self.separator)
            if len(tokens) >= length:
                return (tokens[:length], answers[:length]) if length else (tokens, answers)

    def batch(self, size: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return tokens, label-word mask and padding mask; length 0 means single pairs."""
        made = [self.document(length) for _ in range(size)]
        if not length:
            for i in range(0, size, 16):
                ids = self.start + self.plain[int(self.rng.integers(len(self.plain)))]
                made[i] = ids, [False] * len(ids)
        longest = max(len(tokens) for tokens, _ in made)
        ids, answers = np.zeros((size, longest), int), np.zeros((size, longest), bool)
        real = np.zeros((size, longest), bool)
        for row, (tokens, marks) in enumerate(made):
            ids[row, : len(tokens)], answers[row, : len(marks)] = tokens, marks
            real[row, : len(tokens)] = True
        return torch.tensor(ids), torch.tensor(answers), torch.tensor(real)


def _binary(kind: str, size: int, seed: int):
    frame = generate(kind, "pretrain", size, seed)
    if kind == "mnli-like":
        frame = frame[frame["label"] != 1].assign(label=lambda rows: rows["label"] // 2)
    return frame.reset_index(drop=True)


def train(recipe: Recipe, seed: int) -> tuple[torch.nn.Module, PreTrainedTokenizerFast]:
    """Train one embedded model from scratch and return it with its tokenizer."""
    tokenizer = build_tokenizer(recipe.family)
    model, corpus = build_model(recipe, tokenizer, seed), Corpus(recipe, tokenizer, seed)
    steps = recipe.single_steps + recipe.document_steps
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / (0.05 * steps), 0.05 + 0.475 * (1 + math.cos(math.pi * s / steps))),
    )
    model.train()
    recent = []
    for step in range(steps):
        loss, right = _loss(model, corpus, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        recent.append((loss.item(), right))
        if step % 100 == 99:
            mean = np.nanmean(recent, axis=0)
            log.info("step %d of %d: loss %.3f, accuracy %.3f", step + 1, steps, *mean)
            recent.clear()
    return model.eval(), tokenizer


def _loss(model: torch.nn.Module, corpus: Corpus, step: int) -> tuple[torch.Tensor, float]:
    """Return one batch's loss and the share of label words predicted right."""
    recipe = corpus.recipe
    length = 0
    if step >= recipe.single_steps:
        done = (step - recipe.single_steps) / recipe.document_steps
        grown = min(1.0, max(0.0, 3 * (done - recipe.flips_from)))
        corpus.flipped_share = recipe.flipped_share * grown
        shares = np.array(recipe.length_shares)
        shares[2 + int(done * len(shares)) :] = 0
        length = int(corpus.rng.choice(recipe.lengths, p=shares / shares.sum()))
    size = recipe.document_tokens // length if length else recipe.single_batch
    ids, answers, real = corpus.batch(size, length)
    extra = {}
    if recipe.family == "opt":
        room = WINDOW - ids.shape[1]
        shift = corpus.rng.integers(room + 1, size=(len(ids), 1)) if room else 0
        extra["position_ids"] = torch.arange(ids.shape[1]) + torch.as_tensor(shift)
    logits = model(input_ids=ids, use_cache=False, **extra).logits[:, :-1]
    each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    marks, text = answers[:, 1:], real[:, 1:] & ~answers[:, 1:]
    loss = each[marks].mean() + recipe.text_weight * each[text].mean()
    right = (logits[marks].argmax(-1) == ids[:, 1:][marks]).float().mean().item()
    return loss, right


def save(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Write a checkpoint in bfloat16 that loads with AutoModel and AutoTokenizer, offline."""
    folder = Path(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    entries = json.loads((folder / "config.json").read_text())
    entries.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
