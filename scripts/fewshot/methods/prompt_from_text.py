"""Prompt tuning that starts from words: from the label words ("class labels" of Lester et al. 2021)
or from the prompt pattern's own text (peft's PROMPT_TUNING_INIT TEXT)."""

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..models.deepspeed_zero import callable_whole
from ..models.tokenizer import load_tokenizer
from . import prompt_tuning


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model `virtual_tokens` more embeddings and freeze all else.

    `settings["start"]` has the `texts` to start from, and the `manifest` of the model whose
    tokenizer reads them. With `initial_text: label-words` each of the first virtual tokens starts
    as the mean over the tokens of one label word, with `pattern` they are the tokens of the
    pattern's text, again from its start where it is shorter. Raises UserError for a text without
    tokens.
    """
    names = prompt_tuning.adapt(model, settings)
    start, words = settings["start"], settings["initial_text"] == "label-words"
    tokenizer = load_tokenizer(start["manifest"])
    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in start["texts"]]
    for text, ids in zip(start["texts"], texts, strict=True):
        if not ids:
            raise UserError(
                f"methods.yaml: initial_text: the tokenizer has no token for {text!r}; valid: "
                "other label words or another pattern"
            )
    tokens = settings["virtual_tokens"]
    if not words:
        (text,) = texts
        texts = [[text[i % len(text)]] for i in range(tokens)]
    model.get_input_embeddings().starts = texts[:tokens]
    return names


@torch.no_grad()
def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Set the learned embeddings to those of the words; to those of randomly drawn tokens where
    there are fewer, as Lester et al. do."""
    prompt_tuning.draw(model, generator)
    embedding = model.get_input_embeddings()
    weight = embedding.learned.weight
    with callable_whole(embedding.words):
        for place, ids in enumerate(embedding.starts):
            found = embedding.words(torch.tensor(ids, device=weight.device))
            weight[place] = found.float().mean(dim=0)
