"""A pretrained instruct model is prompted as its own tokenizer writes conversations."""

import numpy as np
import pytest
import run_in_context
import torch
from fewshot import storage
from fewshot.data.shots import read_shots
from fewshot.models.load import load_model
from fewshot.prompts.chat import chat_pattern
from fewshot.prompts.tokenize import Queries
from real_jobs import PATTERN, real_job, real_rows
from tiny import tokenizer_in

SCORED = 2
"""Rows that are compared with the model's own forward pass."""


pytestmark = pytest.mark.parametrize("model", ["smollm2"], indirect=True)
ARRANGEMENTS = [{"demonstrations": "turns"}, {"demonstrations": "one-turn"}]


def conversation(draw, row, chat: dict) -> list[dict]:
    """Return the messages that show a draw and ask for a row, written by hand."""
    shown = [(PATTERN.query(a, b), PATTERN.words[label]) for label, a, b in draw]
    query = PATTERN.query(row.text_a, row.text_b)
    if chat["demonstrations"] == "one-turn":
        query, shown = "".join(f"{text}{word}\n\n" for text, word in shown) + query, []
    messages = []
    for text, word in shown:
        messages += [{"role": "user", "content": text}]
        messages += [{"role": "assistant", "content": word.strip()}]
    return [*messages, {"role": "user", "content": query}]


@pytest.mark.parametrize("chat", ARRANGEMENTS, ids=lambda each: each["demonstrations"])
@pytest.mark.parametrize("k", [0, 2, 16])
def test_prompts_are_the_tokens_of_whole_conversations(model, shared_data, chat, k):
    tokenizer = tokenizer_in(model.folder)
    pattern = chat_pattern(PATTERN, tokenizer, chat)
    shots, rows = (
        real_rows(shared_data, "rte", "train")[:k],
        real_rows(shared_data, "rte", "validation"),
    )
    queries = Queries(tokenizer, pattern.queries(rows), None, pattern.words, special=False)
    prompts = queries.prompts(pattern.context_of(shots))
    draw = list(zip(shots["label"], shots["text_a"], shots["text_b"], strict=True))
    assert len(rows) == 277
    for i, row in enumerate(rows.itertuples()):
        whole = tokenizer.apply_chat_template(
            conversation(draw, row, chat), add_generation_prompt=True, return_dict=False
        )
        assert list(prompts.prefix + prompts.suffixes[i]) == whole
    assert set(prompts.words) == {((tokenizer.convert_tokens_to_ids("True"),),
                                   (tokenizer.convert_tokens_to_ids("False"),))}  # fmt: skip


@pytest.mark.parametrize(
    ("k", "chat"), [(0, ARRANGEMENTS[0]), *((4, each) for each in ARRANGEMENTS)]
)
def test_scores_are_those_of_the_models_own_forward_pass(model, shared_data, tmp_path, chat, k):
    smk = real_job(tmp_path / "in", model, shared_data, "in-context", k)
    smk.params.pattern["chat"] = chat
    run_in_context.main(smk)
    ours = storage.read_table(smk.output.predictions)
    tokenizer = tokenizer_in(model.folder)
    words = tokenizer.convert_tokens_to_ids(["True", "False"])
    loaded = load_model(model.manifest, model.entry, model.name)
    shots = read_shots(smk.input.train, {0: smk.input.shots[0]})[0] if k else None
    draw = (
        list(zip(*(shots[name] for name in ("label", "text_a", "text_b")), strict=True))
        if k
        else []
    )
    for name, path in zip(("rte", "hans"), smk.input.evaluation, strict=True):
        found = ours[ours["evaluation_set"] == name].set_index("id")
        for row in storage.read_table(path)[:SCORED].itertuples():
            ids = tokenizer.apply_chat_template(
                conversation(draw, row, chat), add_generation_prompt=True, return_dict=False
            )
            with torch.no_grad():
                expected = loaded(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[words]
            scored = found.loc[row.id, ["logprob_0", "logprob_1"]].to_numpy(dtype=float)
            np.testing.assert_allclose(scored, expected, atol=1e-4, rtol=0)
