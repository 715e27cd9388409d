"""Pretrained models are trained as a plain loop over transformers, and peft, trains them."""

import fine_tune
import numpy as np
import peft
import pytest
import torch
from fewshot import storage
from fewshot.data.shots import read_shots
from fewshot.methods import lora
from fewshot.rng import generator
from real_jobs import PATTERN, real_job
from transformers import AutoModelForCausalLM, AutoTokenizer

K, BATCH, EPOCHS = 4, 2, 2
SETTINGS = {"epochs": EPOCHS, "batch_size": BATCH, "warmup": 0.3, "curve_epochs": "each"}
LORA = {"target_modules": ["q_proj", "v_proj"], "r": 8, "lora_alpha": 16, "lora_dropout": 0.0}
IA3 = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
METHODS = {
    "pattern-ft": (1e-5, {}, None),
    "lora": (2e-4, {"targets": LORA["target_modules"]}, peft.LoraConfig(**LORA)),
    "ia3": (3e-3, {}, peft.IA3Config(**IA3)),
}
"""Published rate, settings of the job, and the same adapter as peft has it."""
CLOSE = (1e-5, 1e-3)
"""How far losses (relative) and log-probabilities may differ."""
ROUNDED = {("gemma3", "pattern-ft"): (1e-3, 2e-2)}
"""The same where float32 does not hold more: gradients of norm 240, rounded by 2e-4 of that, are
steps of Adam. After four steps this very loop ends 4e-4 from itself with logits computed for the
last token alone, and both end 1e-4 to 3e-4 from the loop in float64, on either side."""


def last_logits(model, tokenizer, text: str) -> torch.Tensor:
    """Return the logits [words] behind a whole prompt."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return model(input_ids=ids).logits[0, -1].float()


def plain(folder, name: str, smk, rate: float, adapter) -> tuple[list[float], dict]:
    """Train with transformers and peft alone, row by row; return losses by epoch, and the
    log-probabilities of the label words by evaluation set."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in PATTERN.words]
    assert [len(word) for word in words] == [1, 1]
    words = [word[0] for word in words]
    if adapter is not None:
        model = peft.get_peft_model(model, adapter)
        lora.draw(model, generator("initial", name, 0))
    draw = read_shots(smk.input.train, {0: smk.input.shots[0]})[0]
    texts, labels = PATTERN.queries(draw), draw["label"].tolist()
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    warmup, step, losses = 2, 0, []  # 0.3 of 4 steps
    model.train()
    for epoch in range(1, EPOCHS + 1):
        order, total = generator("batches", "rte", 0, epoch).permutation(K), 0.0
        for batch in order.reshape(-1, BATCH):
            for row in batch:
                logits = last_logits(model, tokenizer, texts[row])
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(words[labels[row]]))
                (loss / BATCH).backward()
                total += loss.item()
            step += 1
            optimizer.param_groups[0]["lr"] = rate * min(1.0, step / warmup)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(total / K)
    model.eval()
    scores = {}
    with torch.no_grad():
        for path, each in zip(smk.input.evaluation, smk.params.evaluation, strict=True):
            queries = PATTERN.queries(storage.read_rows(path))
            logits = [
                last_logits(model, tokenizer, query).log_softmax(-1)[words] for query in queries
            ]
            scores[each["set"]] = torch.stack(logits).numpy()
    return losses, scores


@pytest.mark.parametrize("method", METHODS)
def test_training_is_that_of_a_plain_loop(model, shared_data, tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    rate, settings, adapter = METHODS[method]
    settings = {**SETTINGS, "learning_rate": rate, **settings}
    smk = real_job(tmp_path / "in", model, shared_data, method, K, **settings)
    fine_tune.main(smk)
    losses, scores = plain(model.folder, model.name, smk, rate, adapter)
    curve = storage.read_table(smk.output.curves)
    found = -curve.loc[curve["evaluation_set"] == "train", "mean_logprob"].to_numpy()
    of_losses, of_scores = ROUNDED.get((model.name, method), CLOSE)
    np.testing.assert_allclose(found, losses, rtol=of_losses)
    assert losses[-1] < losses[0] - 1e-3, "something was learned"
    ours = storage.read_table(smk.output.predictions)
    ours = ours[ours["epoch"] == EPOCHS]
    for name, rows in ours.groupby("evaluation_set", observed=True):
        logprobs = rows[["logprob_0", "logprob_1"]].to_numpy()
        np.testing.assert_allclose(logprobs, scores[name], atol=of_scores, rtol=0)
        assert (logprobs.argmax(axis=1) == scores[name].argmax(axis=1)).all()
