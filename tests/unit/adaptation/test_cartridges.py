"""Cartridges: keys and values that start as those of the context and learn from it."""

import numpy as np
import pytest
import torch
from distillation_runs import distils, divergence, taught, train_alone
from fewshot.errors import UserError
from fewshot.models.parts import learned_prefix
from job_files import PATTERN
from peft.tuners.cartridge.utils import prompt_embeddings_from_past_key_values
from seed_runs import set_up
from tiny import ALL_KINDS, tiny_model, tiny_tokenizer

CARTRIDGE = {"family": "cartridge", "virtual_tokens": 20, "loss": "distil-vocabulary"}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_cartridge_starts_as_the_first_tokens_of_the_context(kind):
    """As peft makes one of a cache; its teacher reads all of the context, and none of it."""
    run = taught(kind, **CARTRIDGE)
    job, model = run.setup.job, tiny_model(kind)
    context = tiny_tokenizer(kind)(PATTERN.context_of(job.shots[0]))["input_ids"]
    cache = model(torch.tensor([context])).past_key_values
    pairs = [(layer.keys, layer.values) for layer in cache.layers]
    expected = prompt_embeddings_from_past_key_values(pairs, num_virtual_tokens=20)
    made = torch.stack([torch.cat(pair) for pair in learned_prefix(run.engine.trainable.model)()])
    found = made.permute(3, 0, 1, 2, 4).reshape(20, -1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    rows = run.prompts.taught
    assert run.ahead == 20 < len(rows.prefix)
    for number, suffix in enumerate(rows.suffixes[:4]):
        logits = model(torch.tensor([rows.prefix + suffix])).logits[0, -1]
        top = (logits / 2).log_softmax(dim=-1).topk(50)
        np.testing.assert_allclose(run.teacher.logprobs[number], top.values.detach(), atol=1e-5)
        cut = rows.prefix + suffix
        assert (
            cut[len(context) - 1 :] == run.prompts.shots.prefix + run.prompts.shots.suffixes[number]
        )


def test_a_cartridge_learns_but_for_its_first_token():
    settings = {**CARTRIDGE, "epochs": 10, "learning_rate": 0.05, "weight_decay": 0.0}
    run = taught("opt", **settings)
    before = divergence(run)
    prefix = learned_prefix(run.engine.trainable.model)
    first = prefix()[0][0].detach().clone()
    for epoch in range(1, 11):
        train_alone(run, epoch)
    assert divergence(run) < before / 2
    moved = (prefix()[0][0] != first).any(dim=3).any(dim=1)[0]
    assert moved[1:].all() and not moved[0]


def test_a_cartridge_longer_than_the_context_is_one_line():
    job = distils(**{**CARTRIDGE, "virtual_tokens": 100})
    with pytest.raises(UserError, match=r"virtual_tokens: 100 are more than the 8. tokens"):
        set_up("opt", job).prompts.of_seed(0)
