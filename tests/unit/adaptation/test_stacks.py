"""Seeds that are trained together: each is what it would be alone, and what stops one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from fewshot.adaptation import stack_cuts, training
from fewshot.adaptation.forward_pass import ForwardPass
from fewshot.adaptation.setup import Member, set_up_from
from fewshot.adaptation.stack_cuts import cut_stacks
from fewshot.errors import UserError
from fewshot.models.parts import trained_parameters
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Interrupted
from job_files import some_rows
from seed_runs import K, StopAfter, a_job, outcome, set_up
from thinned import thinned
from tiny import ALL_KINDS, TARGETS

SEEDS = (0, 1, 4)
BOTTLENECK = {"bottleneck": 4, "activation": "relu", "scale": 2.0, "initialisation": "lora"}
FAMILIES = {
    "lora": {"family": "lora", "dropout": 0.1},
    "ia3": {"family": "ia3"},
    "bitfit": {"family": "bitfit"},
    "prompt": {"family": "prompt_tuning", "virtual_tokens": 3},
    "p-tuning": {
        "family": "p_tuning", "virtual_tokens": 3, "encoder": "mlp", "encoder_width": "1/2"
    },
    "prefix": {"family": "prefix_tuning", "virtual_tokens": 3},
    "encoded prefix": {
        "family": "reparametrised_prefix", "virtual_tokens": 3, "encoder_width": 8
    },
    "head": {"family": "head_only", "head": "classification"},
    "lora and head": {"family": "lora", "head": "classification"},
    "readout": {"family": "head_only"},
    "adapter": {
        "family": "adapter", "sublayers": ["attention", "feed-forward"], "form": "pfeiffer",
        **BOTTLENECK,
    },
    "mix-and-match": {
        "family": "mix_and_match", "virtual_tokens": 3, "encoder_width": 8, **BOTTLENECK
    },
}  # fmt: skip
ROOM = Placement(micro_tokens=1024)


def together(placement=ROOM, seeds=SEEDS, kind="opt", dropout=0.1, attention=0.0, **settings):
    """Return the setup of a job whose seeds may be trained together (LoRA, if nothing is said)."""
    settings = {"family": "lora", "learning_rate": 0.002, "targets": TARGETS[kind], **settings}
    return set_up(kind, a_job(placement, seeds=seeds, **settings), dropout, attention)


def set_up_as(setup, job):
    """Return the setup of another job with the same model."""
    return set_up_from(job, setup.origin)


def results(setup, folder, seeds=SEEDS, **given):
    """Return seed → result of a stack."""
    return dict(training.train_stack(members(setup, seeds), folder, **given))


def members(setup, seeds=SEEDS):
    return [Member(setup, seed) for seed in seeds]


def cuts(setup, seeds=SEEDS):
    """Return the seeds of each stack."""
    return [tuple(member.seed for member in stack) for stack in cut_stacks(members(setup, seeds))]


def losses(result) -> np.ndarray:
    curve = result.curves
    return curve.loc[curve["evaluation_set"] == "train", "mean_logprob"].to_numpy()


def check_alike(one, other):
    np.testing.assert_allclose(losses(one), losses(other), rtol=0, atol=1e-5)
    words = ["logprob_0", "logprob_1"]
    np.testing.assert_allclose(one.predictions[words], other.predictions[words], atol=1e-4)
    best = [np.argmax(each.predictions[words].to_numpy(), axis=1) for each in (one, other)]
    assert (best[0] == best[1]).all()


@pytest.mark.parametrize(
    ("kind", "family"),
    thinned(
        product(ALL_KINDS, FAMILIES),
        [(ALL_KINDS[0], "lora"), (ALL_KINDS[1], "ia3"), (ALL_KINDS[0], "prompt")],
        [(ALL_KINDS[number % len(ALL_KINDS)], family) for number, family in enumerate(FAMILIES)],
    ),
)
def test_each_seed_is_what_it_is_alone(tmp_path, kind, family):
    """Rows have 3 to 9 tokens; states and, where there is any, LoRA's input are dropped out."""
    if (kind, family) == ("llama", "bitfit"):
        pytest.skip("Llama has no bias")
    setup = together(kind=kind, curve_epochs="last", **FAMILIES[family])
    assert cuts(setup) == [SEEDS]
    found = results(setup, tmp_path)
    assert list(found) == list(SEEDS)
    for seed in SEEDS:
        assert found[seed].facts["together"] == list(SEEDS)
        check_alike(found[seed], training.train_seed(setup, seed, tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [64, 27])
def test_micro_batches_change_nothing_but_rounding(tmp_path, tokens):
    """They cut the rows of all seeds alike, and those of one seed otherwise; dropout included."""
    whole = results(together(), tmp_path / "whole")
    cut = results(together(Placement(micro_tokens=tokens)), tmp_path / "cut")
    for seed in SEEDS:
        check_alike(cut[seed], whole[seed])


def test_recomputed_activations_drop_the_same(tmp_path):
    plain, again = (
        training.train_seed(together(placement), 0, tmp_path / str(number))
        for number, placement in enumerate((ROOM, replace(ROOM, checkpointing=True)))
    )
    assert again.facts["placement"]["checkpointing"]
    check_alike(again, plain)


@pytest.mark.slow
def test_several_tokens_of_an_answer_are_read_of_each_seed(tmp_path):
    """Rows differ in how many: seeds together have as many places, and answers of their own."""
    words = (" Yes", " No saw the")
    setups = together(curve_epochs="last"), together(curve_epochs="last", loss="label-words")
    for number, setup in enumerate(setups):
        pattern = replace(setup.job.pattern, words=words)
        job = replace(setup.job, pattern=pattern)
        setup = set_up_as(setup, job)
        found = results(setup, tmp_path / f"{number}")
        for seed in SEEDS:
            alone = training.train_seed(setup, seed, tmp_path / f"alone{number}")
            check_alike(found[seed], alone)


@pytest.mark.parametrize("family", ["lora", "ia3"])
def test_members_of_other_tasks_and_rates_are_what_they_are_alone(tmp_path, family):
    """They share the model that they start from: shots, evaluation sets and label words are others,
    or the learning rate and the loss."""
    setup = together(curve_epochs="last", **FAMILIES[family])
    job, words = setup.job, (" the", " saw")
    task = replace(
        job,
        cell={**job.cell, "task": "another"},
        base="another",
        pattern=replace(job.pattern, words=words),
        shots={0: some_rows(K, "another")},
        evaluation=job.evaluation[1:],
    )
    settings = {**job.settings, "learning_rate": 0.02, "loss": "label-words"}
    stack = [
        Member(setup, 0),
        Member(set_up_as(setup, task), 0, "task"),
        Member(set_up_as(setup, replace(job, settings=settings)), 0, "rate"),
    ]
    found = dict(training.train_stack(stack, tmp_path))
    assert set(found["0.task"].predictions["evaluation_set"]) == {"other"}
    for member in stack:
        check_alike(found[member.name], dict(training.train_stack([member], tmp_path))[member.name])
    ends = [losses(result)[-1] for result in found.values()]
    assert min(abs(np.diff(sorted(ends)))) > 1e-3


@pytest.mark.parametrize(
    ("tokens", "cut"), [(1024, [(0, 1, 2, 4, 5)]), (120, [(0, 1), (2, 4, 5)]), (70, 5)]
)
def test_a_stack_is_what_one_pass_holds_whole_batches_of(tokens, cut):
    """Batches of four rows of at most nine tokens."""
    seeds = (0, 1, 2, 4, 5)
    expected = cut if isinstance(cut, list) else [(seed,) for seed in seeds]
    setup = together(Placement(micro_tokens=tokens), seeds=seeds)
    longest = max(int(stack_cuts.rows_of_draw(setup, seed).read.max()) for seed in seeds)
    assert longest == 9
    assert cuts(setup, seeds) == expected


def test_a_stack_holds_the_states_of_few_parameters(monkeypatch):
    setup = together()
    one = sum(
        each.nbytes
        for each in trained_parameters(setup.origin.start(0, ROOM, torch.device("cpu"))).values()
    )
    monkeypatch.setattr(stack_cuts, "STATE_BYTES", 5 * one * 2)
    assert cuts(setup) == [(0,), (1, 4)]
    monkeypatch.setattr(stack_cuts, "STATE_BYTES", 5 * one)
    assert cuts(setup) == [(0,), (1,), (4,)]


ALONE = {
    "everything is trained": {"family": "full"},
    "weights are read elsewhere": {"dora": True},
    "LSTM": {
        "family": "p_tuning", "virtual_tokens": 3, "encoder": "lstm", "encoder_width": "1/2"
    },
    "own contexts": {"family": "context_tuning", "token_dropout": 0.1},
    "attention drops": {"attention": 0.1},
    "recomputed": {"placement": replace(ROOM, checkpointing=True)},
    "shared states": {"placement": Placement(1, micro_tokens=1024)},
    "nothing is trained": {"epochs": 0},
}  # fmt: skip


@pytest.mark.parametrize("why", ALONE)
def test_seeds_are_trained_alone_where_they_cannot_be_together(why):
    assert cuts(together(**ALONE[why])) == [(0,), (1,), (4,)]


def test_seeds_of_several_processes_or_in_half_precision_are_trained_alone():
    for given in ({"processes": ProcessGroup(0, 2)}, {"dtype": "bfloat16"}):
        job = a_job(ROOM, seeds=SEEDS, family="lora", targets=TARGETS["opt"], **given)
        assert cuts(set_up("opt", job)) == [(0,), (1,), (4,)]


def test_what_computes_something_else_together_is_found(monkeypatch):
    """A stack that gives all rows to the first seed's parameters."""
    forward = stack_cuts.stacked

    def careless(trainables):
        return forward([trainables[0]] * len(trainables)) if len(trainables) > 1 else trainables[0]

    monkeypatch.setattr(stack_cuts, "stacked", careless)
    setup = together()
    monkeypatch.setattr(torch.autograd, "grad", _some(torch.autograd.grad))
    assert cuts(setup) == [(0,), (1,), (4,)]


def _some(grad):
    """Return zeros as the gradient of what has none."""

    def found(loss, parameters):
        every = grad(loss, parameters, allow_unused=True)
        return [
            torch.zeros_like(parameter) if each is None else each
            for parameter, each in zip(parameters, every, strict=True)
        ]

    return found


@pytest.mark.slow
def test_an_interrupted_stack_ends_in_the_same_bytes(tmp_path):
    """Stopped between steps, after an epoch, and four times within the scoring of all rows: before
    and after the best weights of the first seed were put in, and once one or two are finished."""
    sampled = {"curve_rows": 8}
    whole = results(together(**sampled), tmp_path / "a")
    expected = {seed: outcome(each) for seed, each in whole.items()}
    assert all(result.predictions["epoch"].nunique() == 2 for result in whole.values())
    for number, looks in enumerate(((2, 4, 9, 12), (31,), (34,), (38,), (42,))):
        found, folder = {}, tmp_path / str(number)
        for until in looks:
            with pytest.raises(Interrupted):
                seeds = training.train_stack(
                    members(together(**sampled)), folder, stop=StopAfter(until)
                )
                for seed, result in seeds:
                    found[seed] = result
            (path,) = folder.glob("seeds0-4.step*")
        left = [seed for seed in SEEDS if seed not in found]
        # Behind the last step the others are not needed.
        assert {each.name for each in path.glob("seed*")} == {f"seed{seed}" for seed in left}
        assert len(found) == {38: 1, 42: 2}.get(looks[-1], 0)
        found |= results(together(**sampled), folder, left=left)
        assert {seed: outcome(found[seed]) for seed in SEEDS} == expected
        for seed in SEEDS:
            assert found[seed].facts["scored_rows"] == whole[seed].facts["scored_rows"]
        assert not any(folder.glob("seed*.step*"))


@pytest.mark.slow
def test_seeds_that_are_stored_are_trained_again_beside_the_others(tmp_path):
    whole = results(together(), tmp_path / "a")
    found = results(together(), tmp_path / "b", left=[1])
    assert list(found) == [1] and outcome(found[1]) == outcome(whole[1])


def test_a_checkpoint_of_other_seeds_is_not_gone_on_from(tmp_path):
    setup = together(seeds=(0, 1, 2, 4))
    with pytest.raises(Interrupted):
        results(setup, tmp_path, seeds=(0, 1, 4), stop=StopAfter(4))
    found = results(setup, tmp_path, seeds=(0, 2, 4))
    assert found[0].facts["resumed_after_steps"] == []


def test_a_seed_whose_loss_is_not_finite_ends_alone(tmp_path, monkeypatch):
    expected = {seed: outcome(each) for seed, each in results(together(), tmp_path / "a").items()}
    update, epoch = training._update, training.train_epoch

    def spoil(run, *given):
        update(run, *given)
        if run.seed == 1 and run.progress.step == 4:
            with torch.no_grad():
                next(iter(trained_parameters(run.engine.trainable).values())).fill_(float("nan"))

    monkeypatch.setattr(training, "_update", spoil)
    found, stack = {}, training.train_stack(members(together()), tmp_path / "b")
    with pytest.raises(UserError, match="seed 1: the loss is nan at epoch 2, step 5; the last fin"):
        for seed, result in stack:
            found[seed] = outcome(result)
    assert found == {seed: expected[seed] for seed in (0, 4)}
    # Started again, it ends the job at once: the others are stored.
    trained = []
    monkeypatch.setattr(training, "train_epoch", lambda *given: trained.append(epoch(*given)))
    with pytest.raises(UserError, match="seed 1: the loss is nan at epoch 2, step 5"):
        results(together(), tmp_path / "b", left=[1])
    assert len(trained) == 1


def scarce(monkeypatch, limit: int) -> None:
    """Let memory run out where more than `limit` rows are read at once, once a step is done."""
    answers = ForwardPass.answers

    def read(passed, rows):
        if sum(map(len, rows)) > limit and passed.runs[0].progress.step:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answers(passed, rows)

    monkeypatch.setattr(ForwardPass, "answers", read)


def test_seeds_whose_memory_runs_out_together_are_trained_alone(tmp_path, monkeypatch, caplog):
    expected = results(together(), tmp_path / "a")
    scarce(monkeypatch, 4)
    found = results(together(), tmp_path / "b")
    assert "seed 0, 1, 4: memory ran out; it starts again with what needs less" in caplog.text
    for seed in SEEDS:
        facts = found[seed].facts
        assert facts["shortages"] == 1 and facts["together"] == [seed]
        check_alike(found[seed], expected[seed])
    assert "lost" in found[0].seconds and "lost" not in found[1].seconds


@pytest.mark.slow
def test_an_interrupted_seed_that_was_trained_alone_for_want_of_memory_goes_on(
    tmp_path, monkeypatch
):
    scarce(monkeypatch, 4)
    expected = results(together(), tmp_path / "a")
    with pytest.raises(Interrupted):
        results(together(), tmp_path / "b", stop=StopAfter(6))
    found = results(together(), tmp_path / "b")
    assert found[0].facts["resumed_after_steps"] != []
    assert outcome(found[0]) == outcome(expected[0])
