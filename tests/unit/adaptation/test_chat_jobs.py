"""Jobs of a model that is prompted by its chat template, against transformers itself."""

import fine_tune
import numpy as np
import pytest
import run_in_context
import torch
from fewshot import storage
from fewshot.adaptation.batches import query_prompts
from fewshot.adaptation.job import read_job
from fewshot.data.shots import read_shots
from fewshot.errors import UserError
from fewshot.prompts.channel import queries_of
from job_files import PATTERN, give_chat, some_rows, write_job
from tiny import KINDS, tiny_model, tokenizer_in

pytestmark = pytest.mark.slow


def scored(smk, script=run_in_context):
    script.main(smk)
    return storage.read_table(smk.output.predictions)


def conversation(draw, row, chat: dict) -> list[dict]:
    """Return the messages that show a draw and ask for a row, written by hand."""
    shown = [(f"{a} {b} ?", PATTERN.words[label]) for label, a, b in draw]
    query = f"{row.text_a} {row.text_b} ?"
    if chat["demonstrations"] == "one-turn":
        query, shown = "".join(f"{text}{word}\n\n" for text, word in shown) + query, []
    messages = [{"role": "system", "content": chat["system"]}] if "system" in chat else []
    for text, word in shown:
        messages += [{"role": "user", "content": text}]
        messages += [{"role": "assistant", "content": word.strip()}]
    return [*messages, {"role": "user", "content": query}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, 4])
@pytest.mark.parametrize(
    "chat", [{"demonstrations": "turns"}, {"demonstrations": "one-turn", "system": "a judge"}]
)
def test_in_context_scores_are_those_of_whole_conversations(tmp_path, kind, k, chat):
    seeds = (0, 1) if k else (0,)
    smk = write_job(tmp_path / "in", kind, k=k, seeds=seeds, sizes=(9, 5), family="in_context")
    predictions = scored(give_chat(smk, **chat))
    tokenizer, model = tokenizer_in(tmp_path / "in/model"), tiny_model(kind)
    words = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    paths = dict(zip(seeds, smk.input.shots, strict=False))
    drawn = read_shots(smk.input.train, paths) if k else {}
    for seed in seeds:
        columns = [drawn[seed][name] for name in ("label", "text_a", "text_b")] if k else []
        draw = list(zip(*columns, strict=True)) if k else []
        for name, size in (("task", 9), ("other", 5)):
            of_set = predictions.query(f"seed == {seed} and evaluation_set == '{name}'")
            for row, found in zip(some_rows(size, name).itertuples(), of_set.itertuples(),
                                  strict=True):  # fmt: skip
                ids = tokenizer.apply_chat_template(
                    conversation(draw, row, chat), add_generation_prompt=True, return_dict=False
                )
                with torch.no_grad():
                    logits = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                expected = logits[words].numpy()
                np.testing.assert_allclose(
                    [found.logprob_0, found.logprob_1], expected, atol=1e-5, rtol=0
                )


@pytest.mark.parametrize("arrangement", ["turns", "one-turn"])
def test_both_arms_read_the_same_queries(tmp_path, arrangement):
    """Training that changes nothing scores as no demonstrations do."""
    shown = write_job(tmp_path / "in", k=0, seeds=(0,), family="in_context")
    trained = write_job(tmp_path / "ft", k=4, seeds=(0,), learning_rate=0.0, epochs=1)
    first = scored(give_chat(shown, demonstrations=arrangement))
    second = scored(give_chat(trained, demonstrations=arrangement), fine_tune)
    last = second[second["epoch"] == second["epoch"].max()]
    for name in ("logprob_0", "logprob_1", "logsumexp"):
        np.testing.assert_allclose(first[name], last[name], atol=1e-5, rtol=0)
    plain = scored(write_job(tmp_path / "plain", k=0, seeds=(0,), family="in_context"))
    assert np.abs(first["logprob_0"] - plain["logprob_0"]).max() > 0.01


def test_training_rows_are_the_conversations_up_to_the_answer(tmp_path):
    smk = give_chat(write_job(tmp_path, k=4, seeds=(0,)), demonstrations="turns", system="a judge")
    job, tokenizer = read_job(smk), tokenizer_in(tmp_path / "model")
    queries = queries_of(tokenizer, job.pattern, job.shots[0], range(4))
    prompts = query_prompts(queries, job.pattern)
    chat = {"demonstrations": "turns", "system": "a judge"}
    for suffix, row in zip(prompts.suffixes, job.shots[0].itertuples(), strict=True):
        whole = tokenizer.apply_chat_template(
            conversation([], row, chat), add_generation_prompt=True, return_dict=False
        )
        assert list(prompts.prefix + suffix) == whole


def test_chat_is_part_of_a_jobs_identity(tmp_path):
    smk = write_job(tmp_path, k=4, seeds=(0,))
    names = [read_job(smk).fingerprint]
    for chat in ({"demonstrations": "turns"}, {"demonstrations": "turns", "system": "a"}):
        names.append(read_job(give_chat(smk, **chat)).fingerprint)
    assert len(set(names)) == 3


def test_a_model_without_template_is_refused_before_it_is_loaded(tmp_path):
    smk = write_job(tmp_path, k=0, seeds=(0,), family="in_context")
    smk.params.pattern["chat"] = {"demonstrations": "turns"}
    with pytest.raises(UserError, match="its tokenizer has no chat template"):
        read_job(smk)
