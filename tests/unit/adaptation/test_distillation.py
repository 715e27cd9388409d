"""Context distillation: the teacher is in-context learning, the student answers without context."""

import json
from dataclasses import replace
from pathlib import Path

import cross_validate
import fine_tune
import numpy as np
import pandas as pd
import pytest
import torch
from distillation_runs import DISTILS, ROWS, distils, divergence, started, taught, train_alone
from fewshot import schemas, storage
from fewshot.adaptation import training
from fewshot.adaptation.distillation import round_of, teach
from fewshot.adaptation.forward_pass import ForwardPass, right
from fewshot.adaptation.held_out import fold_jobs, read_held_out_job
from fewshot.adaptation.job import read_job
from fewshot.adaptation.job_prompts import JobPrompts, unlabelled_rows
from fewshot.adaptation.setup import read_rows
from fewshot.analysis import flops, run_costs
from fewshot.data.shots import draw_changed, read_shots, write_draw
from fewshot.errors import UserError
from fewshot.methods.losses import DISTILLATION, Answers, Teacher
from fewshot.models.architectures import architecture_of
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Interrupted
from fewshot.scoring.score import score
from fewshot.scoring.top_tokens import top_tokens
from fewshot.study.families import training_passes
from job_files import CELL, PATTERN, some_rows, write_job
from scipy.special import log_softmax, rel_entr
from seed_runs import StopAfter, outcome, set_up
from tiny import ALL_KINDS, TARGETS, tiny_model, tiny_tokenizer

LORA = {"family": "lora", "targets": TARGETS["opt"], "learning_rate": 0.02}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_teacher_is_in_context_learning_on_the_same_draw(kind):
    """Its answers are what transformers gives to whole prompts, context and all."""
    run = taught(kind)
    job, model, tokenizer = run.setup.job, tiny_model(kind), tiny_tokenizer(kind)
    context, rows = PATTERN.context_of(job.shots[0]), unlabelled_rows(job, 0).iloc[:ROWS]
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    for number, text in enumerate(PATTERN.queries(rows)):
        ids = torch.tensor([tokenizer(context + text)["input_ids"]])
        expected = model(ids).logits[0, -1].log_softmax(dim=-1)[words].detach()
        np.testing.assert_allclose(run.teacher.logprobs[number], expected, atol=1e-5)
        assert run.rows.labels[number] == expected.argmax()
    answers = run.progress.rounds[0]["answered"]
    assert sum(answers.values()) == ROWS and answers["0"] == (run.rows.labels == 0).sum()


def test_the_student_reads_bare_rows_that_are_neither_shots_nor_evaluation_rows():
    job = distils()
    made, rows = set_up("opt", job), unlabelled_rows(job, 0)
    assert len(rows) == 60 - 10 and not set(rows["id"]) & set(job.shots[0]["id"])
    copy = job.evaluation[1].rows.iloc[:1].assign(id=7)
    more = replace(job, train=pd.concat([job.train, copy], ignore_index=True))
    assert set(unlabelled_rows(more, 0)["id"]) == set(rows["id"])
    assert unlabelled_rows(job, 0)["id"].tolist() == rows["id"].tolist()
    prompts = made.prompts.of_seed(0)
    for number, text in enumerate(PATTERN.queries(rows.iloc[:ROWS])):
        bare = tiny_tokenizer("opt")(text)["input_ids"]
        assert list(prompts.shots.prefix + prompts.shots.suffixes[number]) == bare
    assert len(prompts.shots.ids) == ROWS == len(prompts.taught.ids)


def test_other_shots_leave_the_order_of_unlabelled_rows_as_it_is():
    """Numbers of shots, and factors of the data, then differ in nothing else."""
    job = distils()
    fewer = replace(job, shots={0: job.train.iloc[:4]})
    more = replace(job, shots={0: job.train.iloc[:8]})
    left = unlabelled_rows(fewer, 0)["id"]
    assert unlabelled_rows(more, 0)["id"].tolist() == [
        number for number in left if number not in set(more.shots[0]["id"])
    ]


def test_copies_of_shots_with_one_text_are_no_unlabelled_rows(tmp_path):
    """Nor are they where factors of the data have changed the shots, which keep missing texts."""
    rows = some_rows(60, "train").assign(text_b=None)
    rows = pd.concat([rows, rows.assign(id=rows["id"] + 1000)], ignore_index=True)
    storage.write_table(tmp_path / "train", rows, schemas.ROWS)
    flip = {"flip": 0.5}
    draw = draw_changed(rows.iloc[:60], 8, ["a", "b"], "task", 0, flip)
    write_draw(tmp_path / "draw", draw, flip)
    shots = read_shots(tmp_path / "train", {0: tmp_path / "draw"})
    job = replace(distils(), shots=shots, train=storage.read_rows(tmp_path / "train"))
    left = unlabelled_rows(job, 0)
    assert len(left) and not set(left["text_a"]) & set(shots[0]["text_a"])


def test_gold_labels_change_nothing(tmp_path):
    """Other than those of the shots: the rows' own are not read."""
    job = distils(**LORA)
    flipped = replace(job, train=job.train.assign(label=1 - job.train["label"]))
    results = [
        outcome(training.train_seed(set_up("opt", each), 0, tmp_path / str(number)))
        for number, each in enumerate((job, flipped))
    ]
    assert results[0] == results[1]


def test_too_few_rows_and_rows_that_do_not_fit(caplog):
    caplog.set_level("INFO")
    with pytest.raises(UserError, match=r"unlabelled_rows: 99 asked for, but task 'task' has \d+ "):
        set_up("opt", distils(unlabelled_rows=99)).prompts.of_seed(0)
    job = distils()
    longest = max(len(tiny_tokenizer("opt")(PATTERN.context_of(job.shots[0]) + text)["input_ids"])
                  for text in PATTERN.queries(job.train))  # fmt: skip
    tight = replace(job, model={**job.model, "window": longest - 2})
    prompts = set_up("opt", tight).prompts.of_seed(0)
    assert prompts.unfit and max(prompts.taught.lengths) <= longest - 2
    assert f"{prompts.unfit} unlabelled rows passed over, which do not fit" in caplog.text


@pytest.mark.parametrize("loss", DISTILLATION)
@pytest.mark.parametrize(("words", "rank_by"), [
    ((" Yes", " Maybe"), "characters"), ((" Yes the doctor", " No saw"), "mean"),
], ids=["characters", "several tokens"])  # fmt: skip
def test_a_student_that_reads_the_context_agrees_with_its_teacher(words, rank_by, loss):
    """So that correct, in the curve, means: as in context; whatever words are ranked by."""
    job = distils(loss=loss)
    job = replace(job, pattern=replace(PATTERN, words=words, rank_by=rank_by))
    run = started(set_up("opt", job, dropout=0.0))
    teach(run, 1)
    labels = run.rows.labels.numpy()
    run.rows = read_rows(job, run.prompts.taught, labels, run.ahead)
    run.engine.trainable.eval()
    answers = ForwardPass([run]).answers([np.arange(ROWS)])[0]
    assert run.setup.loss(answers).abs().max() < 1e-5
    assert right(answers, run.rows.row_ids)[0].all()


def test_label_words_that_begin_alike_are_not_distilled_by_their_beginning():
    """Nothing would part them, and the manifest would tell of a teacher that has fallen for one."""
    job = distils(loss="distil-vocabulary")
    job = replace(job, pattern=replace(PATTERN, words=(" Yes the doctor", " Yes saw")))
    with pytest.raises(UserError, match=r"words of pattern 'minimal' begin alike; valid: distil-l"):
        set_up("opt", job).prompts.of_seed(0)


def test_losses_by_hand():
    """KL of scipy at a temperature, times its square; over the vocabulary with the rest as one."""
    draw = np.random.default_rng(0)
    logits, ranks = draw.normal(size=(3, 9)), draw.normal(size=(3, 2))
    words = torch.tensor([[1, 4]] * 3)
    student = torch.tensor(logits, requires_grad=True)
    answers = Answers(
        student, words[:, 0], torch.stack([torch.arange(3), torch.zeros(3)], 1).long(),
        torch.zeros(3, 1), torch.zeros(3).long(), words, teacher=Teacher(torch.tensor(ranks), 2.0),
    )  # fmt: skip
    own = log_softmax(logits[:, [1, 4]] / 2, axis=1)
    target = log_softmax(ranks / 2, axis=1)
    expected = 4 * rel_entr(np.exp(target), np.exp(own)).sum(axis=1)
    found = DISTILLATION["distil-label-words"](answers)
    np.testing.assert_allclose(found.detach(), expected, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), student)
    np.testing.assert_allclose(gradient[:, [1, 4]], 2 * (np.exp(own) - np.exp(target)), atol=1e-12)

    whole = log_softmax(draw.normal(size=(3, 9)) / 2, axis=1)
    for count in (4, 9):
        top = np.argsort(-whole, axis=1)[:, :count].copy()
        parts = [
            np.take_along_axis(each, top, axis=1) for each in (whole, log_softmax(logits / 2, 1))
        ]
        p, q = (np.exp(part) for part in parts)
        p, q = (
            np.column_stack([each, np.clip(1 - each.sum(axis=1), 1e-9, None)]) for each in (p, q)
        )
        coarse = 4 * rel_entr(p, q).sum(axis=1)
        teacher = Teacher(torch.tensor(parts[0]), 2.0, torch.tensor(top))
        found = (
            DISTILLATION["distil-vocabulary"](replace(answers, teacher=teacher)).detach().numpy()
        )
        np.testing.assert_allclose(found, coarse, atol=1e-7)
        kl = 4 * rel_entr(np.exp(whole), np.exp(log_softmax(logits / 2, 1))).sum(axis=1)
        assert (found <= kl + 1e-7).all()
    np.testing.assert_allclose(found, kl, atol=1e-6)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_top_tokens_are_those_of_transformers(kind):
    made = set_up(kind, distils(loss="distil-vocabulary"), dropout=0.0)
    prompts, model = made.prompts.of_seed(0).taught, tiny_model(kind)
    found = top_tokens(
        model, prompts, 5, 2.0, batch_tokens=200, processes=ProcessGroup(), sharded=False
    )
    for row, suffix in enumerate(prompts.suffixes):
        logits = model(torch.tensor([prompts.prefix + suffix])).logits[0, -1].detach()
        top = (logits / 2).log_softmax(dim=-1).topk(5)
        np.testing.assert_allclose(found.logprobs[row], top.values, atol=1e-5)
        assert found.tokens[row].tolist() == top.indices.tolist()
        words = [word[0] for word in prompts.words[row]]
        np.testing.assert_allclose(found.words[row], logits.log_softmax(dim=-1)[words], atol=1e-5)


@pytest.mark.parametrize("loss", ["distil-label-words", "distil-vocabulary"])
def test_the_student_comes_close_to_its_teacher_who_stays_as_it_was(loss):
    run = taught("opt", loss=loss, epochs=10, learning_rate=0.01)
    before, teacher = divergence(run), run.teacher.logprobs.clone()
    for epoch in range(1, 11):
        teach(run, epoch)
        train_alone(run, epoch)
    assert divergence(run) < before / 10 and torch.equal(run.teacher.logprobs, teacher)
    assert len(run.progress.rounds) == 1


def test_the_next_rounds_teacher_is_the_last_ones_student():
    run = taught("opt", epochs=4, rounds=2, **LORA)
    first = run.teacher.logprobs.clone()
    for epoch in (1, 2):
        teach(run, epoch)
        train_alone(run, epoch)
    assert torch.equal(run.teacher.logprobs, first)
    teach(run, 3)
    expected = score(run.engine.trainable.model, run.prompts.taught, batch_tokens=256)
    np.testing.assert_allclose(run.teacher.logprobs, expected.ranking, atol=1e-6)
    assert not torch.allclose(run.teacher.logprobs, first, atol=1e-3)
    assert [each["epoch"] for each in run.progress.rounds] == [1, 3]
    settings = {"rounds": 3, "epochs": 7}
    assert [round_of(epoch, settings) for epoch in range(1, 8)] == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["distil-label-words", "distil-vocabulary"])
def test_an_interrupted_seed_ends_in_the_same_bytes(loss, tmp_path):
    job = distils(loss=loss, epochs=4, rounds=2, **LORA, dropout=0.1)
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    expected = outcome(whole)
    for looks in (4, 9, 6):
        with pytest.raises(Interrupted):
            training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(looks))
        assert [*(tmp_path / "parts").glob("seed0.step*")]
    result = training.train_seed(set_up("opt", job), 0, tmp_path / "parts")
    assert outcome(result) == expected
    told = result.facts["distillation"]
    assert told == whole.facts["distillation"] and [each["epoch"] for each in told["rounds"]] == [
        1,
        3,
    ]


def test_micro_batches_change_nothing_but_rounding(tmp_path):
    """No padding is in the loss: the predecessor summed over it."""
    jobs = [distils(placement=Placement(micro_tokens=most), **LORA) for most in (16, 4096)]
    curves = [
        training.train_seed(set_up("opt", job, dropout=0.0), 0, tmp_path / str(number)).curves
        for number, job in enumerate(jobs)
    ]
    losses = [each.query("evaluation_set == 'train'")["mean_logprob"] for each in curves]
    np.testing.assert_allclose(*losses, atol=1e-6)


def test_a_job_reads_training_rows_and_tells_of_its_rounds(tmp_path):
    settings = {"loss": "distil-label-words", "temperature": 1.0, "epochs": 2, "rounds": 2}
    smk = write_job(tmp_path / "in", "opt", unlabelled_rows=20, **settings)
    fine_tune.main(smk)
    manifest = json.loads(Path(smk.output.manifest).read_text())
    for seed in ("0", "1"):
        told = manifest["seeds"][seed]["distillation"]
        assert [each["epoch"] for each in told["rounds"]] == [1, 2]
        for each in told["rounds"]:
            assert each["rows"] == 20 == sum(each["answered"].values())
            assert each["shared_tokens"] > 40, "the shots"
        assert manifest["seeds"][seed]["seconds"]["teach"] >= 0
        assert manifest["seeds"][seed]["training"]["rows"] == 20
    curves = pd.read_parquet(smk.output.curves).query("evaluation_set == 'train'")
    assert set(curves["n"]) == {20} and len(curves) == 4
    shape = architecture_of(tiny_model("opt").config.to_dict(), 128)
    size, method = flops.model_size(shape), smk.params.method
    told = {"method": "ft", "pattern": "minimal", "k": 8, "seeds": [0, 1]}
    told |= {"folder": str(Path(smk.output.manifest).parent)}
    passes = training_passes(shape, method)
    model = run_costs.FlopsModel(size, 2)
    costs = run_costs.compute_costs(CELL, [{**told, "passes": passes}], model)
    bare = {**manifest, "seeds": {"0": {**manifest["seeds"]["0"], "distillation": {}}}}
    storage.write_json(smk.output.manifest, bare)
    less = run_costs.compute_costs(CELL, [{**told, "passes": passes}], model)
    assert costs["flops_train"].iloc[0] > less["flops_train"].iloc[0] > 0, "its teacher's reading"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    {"loss": "distil-label-words", "temperature": 1.0, "rounds": 1, "unlabelled_rows": 20},
    {"family": "context_tuning", "token_dropout": 0.1},
    {**LORA, "train_context": "others", "score_context": "shots"},
], ids=["distilled", "context", "in context"])  # fmt: skip
def test_shots_are_held_out_of_contexts_and_unlabelled_rows_too(settings, tmp_path):
    smk = write_job(tmp_path / "in", "opt", epochs=1, **settings)
    smk.params.cross_validation, smk.params.trains = 4, True
    del smk.output.adapters
    cross_validate.main(smk)
    frame = pd.read_parquet(smk.output.predictions)
    assert len(frame) == 2 * 8 and frame["logprob_0"].notna().all()
    manifest = json.loads(Path(smk.output.manifest).read_text())
    folds = manifest["seeds"]["0"]["folds"]
    assert len(folds) == 4 and all(fold["training"]["rows"] in (6, 20) for fold in folds)


def test_the_pool_of_a_fold_has_no_evaluation_row_either(tmp_path):
    """Though its own evaluation rows are shots; in the order of the pool of all shots."""
    smk = write_job(tmp_path / "in", "opt", epochs=1, **{**DISTILS, "unlabelled_rows": 20})
    train = storage.read_table(smk.input.train)
    copied = storage.read_table(smk.input.evaluation[1])[["text_a", "text_b"]].iloc[:5]
    ids = sorted({*train["id"]} - {*storage.read_table(smk.input.shots[0])["id"], 999})[:5]
    for number, texts in zip(ids, copied.to_dict("records"), strict=True):
        train.loc[train["id"] == number, ["text_a", "text_b"]] = list(texts.values())
    storage.write_table(smk.input.train, train, schemas.ROWS)
    whole = read_job(smk)
    smk.params.cross_validation = 4
    pool = unlabelled_rows(whole, 0)["id"].tolist()
    for fold in fold_jobs(read_held_out_job(smk, uses_context=False), 0):
        found = unlabelled_rows(fold, 0)["id"].tolist()
        assert not {*found} & {*ids} and [each for each in found if each in {*pool}] == pool


def test_no_fold_reads_a_shot_that_it_holds_out():
    """Neither in the context nor among the unlabelled rows, in which all shots would be."""
    job = distils(cross_validation=5)
    job = replace(job, shots={0: job.train.iloc[:10].reset_index(drop=True)})
    for part in fold_jobs(set_up("opt", job).job, 0):
        held_out = part.evaluation[0].rows
        assert len(held_out) == 2 and not set(held_out["id"]) & set(part.shots[0]["id"])
        assert set(unlabelled_rows(part, 0)["id"]) == set(job.train["id"].iloc[10:])
        taught = JobPrompts(part, ()).of_seed(0).taught
        context = part.queries.tokenizer(PATTERN.context_of(part.shots[0]))["input_ids"][:-1]
        assert list(taught.prefix[: len(context)]) == context
