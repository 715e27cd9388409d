"""Answers of one, two and three tokens, trained and ranked as transformers alone does it."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from fewshot.adaptation import setup, training
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.models.parts import learned_cache, virtual_ids
from fewshot.prompts.tokenize import Queries
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.scoring.score import score
from job_files import PATTERN
from safetensors.torch import load_file
from seed_runs import PLACEMENTS, K, a_job, reading
from thinned import thinned
from tiny import KINDS, TARGETS, tiny_model, tiny_tokenizer

WORDS = (" Yes", " No or", " True and not")
LABELS = ("one", "two", "three")
BUT = ("k_proj.bias", "query_key_value.bias")
"""Softmax does not depend on them; their gradient is rounding, which Adam scales up."""


def labelled(rows):
    """Return rows of three labels."""
    return rows.assign(label=(np.arange(len(rows)) % 3).astype(np.int16))


def the_job(placement=0, pattern=None, **settings):
    """Return a job whose label words are one, two and three tokens long."""
    job = a_job(placement, **settings)
    return replace(
        job,
        labels=LABELS,
        pattern=pattern or replace(PATTERN, words=WORDS),
        evaluation=tuple(
            EvaluationSet(each.name, (0, 1, 2), labelled(each.rows), label_names=LABELS)
            for each in job.evaluation
        ),
        shots={seed: labelled(rows) for seed, rows in job.shots.items()},
    )


def made_ready(kind, job):
    torch.set_num_threads(1)
    model = tiny_model(kind).to(getattr(torch, job.model["dtype"]))
    return setup.set_up(reading(job, tiny_tokenizer(kind)), lambda: model)


def train(kind, job, tmp_path, name="run"):
    """Return the losses of epochs, the weights by name and the result."""
    (tmp_path / name).mkdir()
    result = training.train_seed(made_ready(kind, job), 0, tmp_path / name)
    result.files["seed0.safetensors"](tmp_path / f"{name}.safetensors")
    rows = result.curves[result.curves["evaluation_set"] == "train"]
    return -rows["mean_logprob"].to_numpy(), load_file(tmp_path / f"{name}.safetensors"), result


def whole(kind, job, row) -> list[tuple[list[int], int]]:
    """Return the tokens of a row's prompt with each word, and where the answer starts.

    Tokenized as one text; what the prompts with all words have in common is the prompt.
    """
    tokenizer, limit = tiny_tokenizer(kind), job.settings.get("truncate")
    query = job.pattern.query(row.text_a, row.text_b)
    texts = [tokenizer(query + word)["input_ids"] for word in job.pattern.words]
    alone = tokenizer(query)["input_ids"]
    start = min(
        next((i for i, (a, b) in enumerate(zip(alone, text, strict=False)) if a != b), len(alone))
        for text in texts
    )
    end = [tokenizer.eos_token_id] if job.settings.get("end_token") else []
    kept = min(start, limit or start)
    return [(text[:kept] + text[start:] + end, kept) for text in texts]


def language_model_loss(model, ids: list[int], start: int, ahead=()) -> tuple[torch.Tensor, int]:
    """Return the mean loss over the answer by transformers itself, and the answer's tokens."""
    given = torch.tensor([[*ahead, *ids]])
    labels = given.clone()
    labels[0, : len(ahead) + start] = -100
    output = model(input_ids=given, labels=labels, **learned_cache(model, 1))
    return output.loss, len(ids) - start


def token_logprobs(model, ids: list[int], start: int) -> torch.Tensor:
    """Return the log-probability of each token of the answer by transformers itself."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1]
    return logits.float().log_softmax(dim=-1)[range(len(ids) - start), ids[start:]]


def t_few_loss(model, words: list[tuple[list[int], int]], label: int, names) -> torch.Tensor:
    """Return the sum of those of T-Few's losses that are named (Liu et al. 2022)."""
    read = [token_logprobs(model, *word) for word in words]
    means = torch.stack([each.mean() for each in read])
    wrong = torch.cat([each for place, each in enumerate(read) if place != label])
    parts = {
        "vocabulary": -means[label],
        "unlikelihood": -torch.log(1 - wrong.exp() + 0.01).mean(),
        "length-normalised": -means.log_softmax(dim=0)[label],
    }
    return torch.stack([parts[name] for name in names]).sum()


def row_loss(model, kind, job, row, ahead=()) -> torch.Tensor:
    """Return a row's loss, each of its words read by itself."""
    settings, words = job.settings, whole(kind, job, row)
    names = settings["loss"] if isinstance(settings["loss"], list) else [settings["loss"]]
    if {"unlikelihood", "length-normalised"} & {*names}:
        return t_few_loss(model, words, row.label, names)
    if settings["loss"] == "vocabulary":
        mean, count = language_model_loss(model, *words[row.label], ahead)
        return mean * (count if settings.get("answer_loss") == "sum" else 1)
    pairs = [language_model_loss(model, *word, ahead) for word in words]
    ranks = [-mean * (1 if job.pattern.rank_by == "mean" else count) for mean, count in pairs]
    return -torch.stack(ranks).log_softmax(dim=0)[row.label]


def plain(kind, job) -> tuple[np.ndarray, dict, torch.nn.Module]:
    """Train row by row without padding, with PyTorch and transformers alone."""
    model, settings, rows = tiny_model(kind).train(), job.settings, [*job.shots[0].itertuples()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    steps, step, curve = 3 * math.ceil(K / 4), 0, []
    for epoch in (1, 2, 3):
        order, total = generator("batches", "task", 0, epoch).permutation(K), 0.0
        for batch in (order[i : i + 4] for i in range(0, K, 4)):
            losses = torch.stack([row_loss(model, kind, job, rows[i]) for i in batch])
            optimizer.param_groups[0]["lr"] = 0.01 * min(1.0, (step + 1) / math.ceil(0.3 * steps))
            optimizer.zero_grad()
            losses.mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["gradient_clip"])
            optimizer.step()
            total, step = total + losses.sum().item(), step + 1
        curve.append(total / K)
    state = {f"model.{name}": each.detach() for name, each in model.named_parameters()}
    return np.array(curve), state, model.eval()


def assert_equal_states(found, expected):
    """AdamW divides a gradient by its own size: where that is all but zero, rounding moves a
    weight, another one on each kind of CPU. No more than one in five hundred may be so."""
    assert found.keys() == expected.keys()
    for name, each in found.items():
        if not name.endswith(BUT):
            difference = (each - expected[name]).abs()
            assert difference.max() < 1e-4, name
            assert (difference > 1e-5).sum() <= 1 + each.numel() // 500, name


@torch.no_grad()
def assert_ranked(result, job, kind, model):
    """Compare the stored log-probabilities with those of whole texts."""
    last = result.predictions[result.predictions["epoch"] == result.predictions["epoch"].max()]
    for item in job.evaluation:
        stored = last[last["evaluation_set"] == item.name].set_index("id")
        for row in item.rows.itertuples():
            pairs = [language_model_loss(model, *word) for word in whole(kind, job, row)]
            for i, (mean, count) in enumerate(pairs):
                assert stored.at[row.id, f"tokens_{i}"] == count
                found = stored.at[row.id, f"logprob_{i}"]
                assert found == pytest.approx(-mean.item() * count, abs=2e-4)


T_FEW = ["vocabulary", "unlikelihood", "length-normalised"]
CASES = {
    "mean": {},
    "sum": {"answer_loss": "sum"},
    "mean, end": {"end_token": True},
    "sum, end": {"end_token": True, "answer_loss": "sum"},
    "words": {"loss": "label-words"},
    "words, end": {"loss": "label-words", "end_token": True},
    "cut": {"truncate": 5},
    "unlikelihood": {"loss": ["vocabulary", "unlikelihood"]},
    "length-normalised, end": {"loss": "length-normalised", "end_token": True},
    "t-few, end": {"loss": T_FEW, "end_token": True},
}


@pytest.mark.parametrize(
    ("kind", "case"),
    thinned(
        product(KINDS, CASES),
        [(KINDS[0], "words, end"), (KINDS[1], "t-few, end")],
        [(KINDS[number % 2], case) for number, case in enumerate(CASES)],
    ),
)
def test_training_equals_plain_transformers(kind, case, tmp_path):
    job = the_job(**CASES[case])
    losses, state, result = train(kind, job, tmp_path)
    expected, weights, model = plain(kind, job)
    np.testing.assert_allclose(losses[:1], expected[:1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert_equal_states(state, weights)
    assert_ranked(result, job, kind, model)


@pytest.mark.parametrize("loss", ["vocabulary", "label-words"])
def test_words_that_merge_with_the_prompt_are_read_as_in_context(loss, tmp_path):
    """'… n' and 'ot' are '… not': the prompt stops before its last token."""
    parts = (("", "text_a"), (" ", "text_b"), (" n", None))
    pattern = replace(PATTERN, parts=parts, words=("ot", "ear No", "ear all all"), rank_by="mean")
    job = the_job(pattern=pattern, loss=loss)
    row = job.shots[0].iloc[0]
    (text, start), *_ = whole("opt", job, row)
    assert tiny_tokenizer().convert_ids_to_tokens(text[start:]) == ["Ġnot"]
    losses, state, result = train("opt", job, tmp_path)
    expected, weights, model = plain("opt", job)
    np.testing.assert_allclose(losses[:1], expected[:1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert_equal_states(state, weights)
    assert_ranked(result, job, "opt", model)


@pytest.fixture(scope="module", params=["vocabulary", "label-words"])
def trained(request, tmp_path_factory):
    job = the_job(loss=request.param, end_token=True)
    return request.param, *train("opt", job, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "name",
    thinned(
        [name for name in PLACEMENTS if name != "plain"], ["pieces"], ["recomputed", "stage 3"]
    ),
)
def test_every_engine_gives_the_same_training(name, trained, tmp_path):
    loss, losses, state, result = trained
    placement, dtype = PLACEMENTS[name]
    job = the_job(placement, loss=loss, end_token=True, dtype=dtype)
    other, weights, judged = train("opt", job, tmp_path)
    if dtype == "bfloat16":
        np.testing.assert_allclose(other, losses, rtol=0.1, atol=0.05)
        return
    np.testing.assert_allclose(other, losses, rtol=0, atol=1e-5)
    assert_equal_states(weights, state)
    columns = ["logprob_0", "logprob_1", "logprob_2"]
    np.testing.assert_allclose(
        judged.predictions[columns], result.predictions[columns], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("loss", ["vocabulary", "label-words"])
@pytest.mark.parametrize("family", ["prompt_tuning", "prefix_tuning", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_learned_positions_stand_before_prompt_and_answer(kind, family, loss, tmp_path):
    settings = {"virtual_tokens": 4, "targets": TARGETS[kind], "learning_rate": 0.0}
    job = the_job(family=family, loss=loss, **settings)
    model = made_ready(kind, job).origin.start(0, Placement(), torch.device("cpu")).model.eval()
    rows = [*job.shots[0].itertuples()]
    ahead = virtual_ids(model)
    with torch.no_grad():
        expected = sum(row_loss(model, kind, job, row, ahead).item() for row in rows) / K
    losses, _, result = train(kind, job, tmp_path)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        first = next(job.evaluation[0].rows.itertuples())
        pairs = [language_model_loss(model, *word, ahead) for word in whole(kind, job, first)]
    found = result.predictions.iloc[0][["logprob_0", "logprob_1", "logprob_2"]].to_numpy(float)
    np.testing.assert_allclose(found, [-m.item() * n for m, n in pairs], rtol=0, atol=1e-4)


@pytest.mark.parametrize("rank_by", ["sum", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_training_it_scores_as_in_context_without_shots(kind, rank_by, tmp_path):
    job = the_job(learning_rate=0.0)
    job = replace(job, pattern=replace(job.pattern, rank_by=rank_by))
    _, _, result = train(kind, job, tmp_path)
    kept = result.predictions[result.predictions["epoch"] == 1]
    for item in job.evaluation:
        texts = job.pattern.queries(item.rows)
        queries = Queries(tiny_tokenizer(kind), texts, item.rows["id"].tolist(), WORDS)
        scores = score(tiny_model(kind), queries.prompts(""), batch_tokens=256, rank_by=rank_by)
        mine = kept[kept["evaluation_set"] == item.name]
        assert (mine["id"].to_numpy() == item.rows["id"].to_numpy()).all()
        for i in range(3):
            assert (mine[f"logprob_{i}"].to_numpy() == scores.logprobs[:, i]).all()
            assert (mine[f"tokens_{i}"] == i + 1).all()
        curve = result.curves[result.curves["evaluation_set"] == item.name]
        right = scores.best_words(item.rows["id"].to_numpy()) == item.rows["label"].to_numpy()
        assert curve.groupby("epoch")["correct"].sum().tolist() == [right.sum()] * 3


@pytest.mark.parametrize("loss", ["vocabulary", "label-words"])
def test_the_manifest_counts_what_was_read_and_asked_for(loss, tmp_path):
    job = the_job(loss=loss, end_token=True, learning_rate=0.02, epochs=12)
    losses, _, result = train("opt", job, tmp_path)
    read = []
    for row in job.shots[0].itertuples():
        words = whole("opt", job, row)
        read += words if loss == "label-words" else [words[row.label]]
    lengths = np.array([len(ids) - 1 for ids, _ in read])
    readings = {"readings": len(WORDS)} if loss == "label-words" else {}
    assert result.facts["training"] == {
        "epochs": 12, "rows": K, "tokens": lengths.sum(), "squares": (lengths**2).sum(),
        "learned_keys": 0, "answers": sum(len(ids) - start for ids, start in read), **readings,
    }  # fmt: skip
    rows = result.curves[result.curves["evaluation_set"] == "train"]
    assert losses[-1] < 0.2 and (rows["n"] == K).all() and rows["correct"].iloc[-1] == K
    if loss == "vocabulary":
        assert (rows["correct"] == rows["correct_vocabulary"]).all()
