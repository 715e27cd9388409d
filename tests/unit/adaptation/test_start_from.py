"""Training that starts from what was trained on other tasks: combined, stored, sharded, resumed."""

import dataclasses
from pathlib import Path

import fine_tune
import numpy as np
import pytest
import torch
from fewshot import storage
from fewshot.adaptation import combination, starting_points, training
from fewshot.adaptation.job import read_job
from fewshot.adaptation.setup import InitialModel
from fewshot.adaptation.weights import take_weights, write_weights
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.runtime.stop import Interrupted
from job_files import run_script, write_job
from mistakes import told
from peft.utils import merge_utils
from safetensors.torch import load_file
from seed_runs import StopAfter, a_job, outcome, set_up
from tiny import TARGETS, save_tiny
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.slow


def draws():
    return generator("draws")


def tensors(count: int = 3, shape=(4, 5)) -> list[torch.Tensor]:
    noise = generator("tensors")
    return [
        torch.from_numpy(noise.normal(0.0, 1.0, shape).astype(np.float32)) for _ in range(count)
    ]


def combine(how: str, drawn, trained, **rest) -> torch.Tensor:
    return combination.combined(drawn, trained, {"combine": how, **rest}, draws())


def test_one_task_is_taken_as_it_is_and_several_as_their_mean():
    one, two, three = tensors()
    drawn = torch.full((4, 5), 0.3)
    assert torch.equal(combination.combined(drawn, [one], {}, draws()), one)
    torch.testing.assert_close(combine("mean", drawn, [one, two, three]), (one + two + three) / 3)
    torch.testing.assert_close(
        combine("linear", drawn, [one, two], weight=0.4), drawn + 0.4 * (one + two - 2 * drawn)
    )


def test_ties_keeps_large_changes_that_agree():
    """By hand: of four changes the two largest, of these the sign with the larger sum, the mean."""
    drawn = torch.tensor([1.0, 1.0, 1.0, 1.0])
    first = drawn + torch.tensor([4.0, -3.0, 0.1, 0.2])
    second = drawn + torch.tensor([2.0, 1.0, 0.5, -0.1])
    found = combine("ties", drawn, [first, second], density=0.5)
    torch.testing.assert_close(found, drawn + torch.tensor([3.0, -3.0, 0.0, 0.0]))
    half = combine("ties", drawn, [first, second], density=0.5, weight=0.5)
    torch.testing.assert_close(half, drawn + torch.tensor([1.5, -1.5, 0.0, 0.0]))


def test_dare_drops_changes_and_scales_up_what_it_keeps():
    drawn, (one, two) = torch.full((40, 50), 0.5), tensors(2, (40, 50))
    found = combine("dare-linear", drawn, [one], density=0.25) - drawn
    kept = found != 0
    assert kept.double().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(found[kept], 4 * (one - drawn)[kept])
    assert torch.equal(found, combine("dare-linear", drawn, [one], density=0.25) - drawn)
    stream = torch.get_rng_state()
    ties = combine("dare-ties", drawn, [one, two], density=0.25)
    assert torch.equal(torch.get_rng_state(), stream), "dropout draws from it"
    seed = int(draws().integers(2**63))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = merge_utils.dare_ties([one - drawn, two - drawn], torch.ones(2), 0.25)
    assert torch.equal(ties, drawn + expected)


@pytest.mark.parametrize("how", ["mean", "linear", "ties", "dare-linear"])
def test_half_precision_is_combined_in_single(how):
    drawn, one, two = (each.bfloat16() for each in tensors())
    rest = {} if how in ("mean", "linear") else {"density": 0.5}
    found = combine(how, drawn, [one, two], **rest)
    assert found.dtype == torch.float32
    assert torch.equal(found, combine(how, drawn.float(), [one.float(), two.float()], **rest))


QUICK = {"family": "ia3", "learning_rate": 0.05, "epochs": 2, "curve_epochs": "last"}


def source_job(folder: Path, task: str, seeds=(0, 1), **settings):
    """Train a job of another task; return its manifest."""
    smk = write_job(folder / task, seeds=seeds, **{**QUICK, **settings})
    smk.wildcards.task = task
    run_script(fine_tune, smk)
    return smk.output.manifest


def started_job(folder: Path, manifests: list[str], tasks: list[str], **settings):
    start = {"method": "ia3", "tasks": tasks, "k": 8}
    smk = write_job(folder, **{**QUICK, "start_from": start, **settings})
    smk.input.start = manifests
    return smk


def stored(manifest: str, seed: int) -> dict:
    return load_file(Path(manifest).parent / f"adapters/seed{seed}.safetensors")


def test_a_job_starts_from_the_mean_of_two_tasks(tmp_path):
    """Untrained, what is stored and scored at epoch 0 is that mean; training goes on from it."""
    sources = [
        source_job(tmp_path, "first"), source_job(tmp_path, "second", learning_rate=0.1),
    ]  # fmt: skip
    smk = started_job(tmp_path / "none", sources, ["first", "second"], epochs=0)
    predictions, manifest = run_script(fine_tune, smk)
    for seed in (0, 1):
        one, two = (stored(each, seed) for each in sources)
        for name, found in stored(smk.output.manifest, seed).items():
            torch.testing.assert_close(found, (one[name] + two[name]) / 2)
            assert not torch.equal(one[name], two[name])
    assert set(predictions["epoch"]) == {0} and len(predictions) == 2 * (24 + 11)
    assert [manifest["seeds"][seed]["steps"] for seed in "01"] == [0, 0]
    assert manifest["seeds"]["0"]["training"]["epochs"] == 0
    sums = manifest["checksums"]["start"]
    assert {task: [*sums[task]] for task in sums} == {"first": ["0", "1"], "second": ["0", "1"]}
    assert manifest["settings"]["start_from"]["tasks"] == ["first", "second"]

    smk = started_job(tmp_path / "more", sources, ["first", "second"])
    predictions, manifest = run_script(fine_tune, smk)
    assert set(predictions["epoch"]) == {2} and manifest["seeds"]["0"]["steps"] == 4
    bare = write_job(tmp_path / "bare", **QUICK)
    run_script(fine_tune, bare)
    started, untouched = (stored(each.output.manifest, 0) for each in (smk, bare))
    assert not any(torch.equal(started[name], untouched[name]) for name in started)


def test_a_changed_source_makes_another_job(tmp_path):
    sources = [source_job(tmp_path, "first", seeds=(0, 1))]
    smk = started_job(tmp_path / "job", sources, ["first"])
    before = read_job(smk)
    assert read_job(smk).fingerprint == before.fingerprint
    path = Path(sources[0]).parent / "adapters/seed1.safetensors"
    write_weights(path, {n: 2 * each for n, each in load_file(path).items()}, {})
    after = read_job(smk)
    assert after.fingerprint != before.fingerprint
    assert after.starts == before.starts and before.starts[1] == (path,)
    changed = [after.checksums["start"]["first"][seed] != before.checksums["start"]["first"][seed]
               for seed in ("0", "1")]  # fmt: skip
    assert changed == [False, True]
    path.unlink()
    message = told(read_job, smk)
    assert message.startswith(f"{path}: not there, and training starts from it; an archive brings")
    assert "start" not in read_job(write_job(tmp_path / "bare", **QUICK)).checksums


def test_a_source_without_a_seed_ends_in_one_line(tmp_path):
    source = write_job(tmp_path / "first", unfit=(1,), **QUICK)
    source.wildcards.task = "first"
    run_script(fine_tune, source)
    smk = started_job(tmp_path / "job", [source.output.manifest], ["first"])
    assert f"{source.output.manifest}: it has no adapters of task 'first', seed 1" in told(
        read_job, smk
    )


def test_adapters_of_another_method_are_refused(tmp_path):
    source = source_job(tmp_path, "first", family="bitfit")
    smk = started_job(tmp_path / "job", [source], ["first"])
    expected = "seed0.safetensors: not an adapter of this model and method: 'model.model.decoder"
    assert expected in told(fine_tune.main, smk)


def trained_elsewhere(folder: Path, kind: str = "opt", **settings) -> tuple[Path, ...]:
    """Return files of two tasks that a method might have trained, of which one moved far."""
    job, files = a_job(**settings), []
    drawn = set_up(kind, job).origin.start(0, Placement(), torch.device("cpu"))
    for task, size in (("one", 0.1), ("two", 0.3)):
        noise, state = generator(task), take_weights(drawn)
        for each in state.values():
            each += torch.from_numpy(noise.normal(0.0, size, each.shape).astype(np.float32))
        files.append(folder / task)
        write_weights(files[-1], state, {})
    return tuple(files)


LORA = {"family": "lora", "targets": TARGETS["opt"]}
TIES = {"tasks": ["one", "two"], "combine": "dare-ties", "density": 0.5}


def started(job, files, **start):
    settings = {**job.settings, "start_from": {**TIES, **start}}
    return dataclasses.replace(job, settings=settings, starts=dict.fromkeys(job.seeds, files))


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_an_interrupted_seed_that_started_so_ends_in_the_same_bytes(tmp_path, stage):
    job = a_job(stage, epochs=3, **LORA)
    job = started(job, trained_elsewhere(tmp_path, **LORA))
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    bare = training.train_seed(set_up("opt", a_job(stage, epochs=3, **LORA)), 0, tmp_path / "bare")
    expected = outcome(whole)
    assert expected != outcome(bare)
    made = set_up("opt", job)
    for looks in (2, 5):
        with pytest.raises(Interrupted):
            training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(looks))
    assert [*(tmp_path / "parts").glob("seed0.step*")]
    assert outcome(training.train_seed(made, 0, tmp_path / "parts")) == expected


def test_an_interrupted_score_of_a_start_ends_in_the_same_bytes(tmp_path):
    job = started(
        a_job(epochs=0, curve_epochs="last", curve_rows=8, **LORA),
        trained_elsewhere(tmp_path, **LORA),
    )
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    made = set_up("opt", job)
    for looks in (1, 2):
        with pytest.raises(Interrupted):
            training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(looks))
    result = training.train_seed(made, 0, tmp_path / "parts")
    assert outcome(result) == expected
    assert not result.curves.duplicated().any() and set(result.curves["epoch"]) == {0}


@pytest.mark.parametrize("family", ["lora", "full"])
def test_shards_start_alike(tmp_path, family):
    """In shards a parameter of the model is put together, changed and cut up again."""
    settings = LORA if family == "lora" else {"family": "full"}
    files, found = trained_elsewhere(tmp_path, **settings), []
    folder = save_tiny(tmp_path / "model")
    for stage in (0, 3):
        place = Placement(stage)
        job = started(a_job(place, **settings), files)
        origin = InitialModel(job, lambda: AutoModelForCausalLM.from_pretrained(folder))
        start = origin.start(0, place, torch.device("cpu"))
        weight = start.model.get_input_embeddings().weight
        assert hasattr(weight, "ds_id") == (stage == 3)
        found.append(take_weights(start, sharded=stage == 3))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(each, found[1][name]) for name, each in found[0].items())


def test_seeds_start_from_adapters_of_their_own(tmp_path):
    files = trained_elsewhere(tmp_path, **LORA)
    job = a_job(seeds=(0, 1), **LORA)
    job = started(job, files, combine="mean")
    job = dataclasses.replace(job, starts={0: files[:1], 1: files[1:]})
    origin = set_up("opt", job).origin
    for seed in (1, 0):
        state = take_weights(origin.start(seed, Placement(), torch.device("cpu")))
        expected = load_file(files[seed])
        assert all(torch.equal(each, expected[name]) for name, each in state.items())


def test_files_are_named_by_task_and_seed(tmp_path):
    paths = []
    for task, seeds in (("b", "01"), ("a", "0"), ("a", "1")):
        folder = tmp_path / task / seeds
        (folder / "adapters").mkdir(parents=True)
        for seed in seeds:
            (folder / f"adapters/seed{seed}.safetensors").touch()
        entries = {seed: {"adapters": [f"seed{seed}.safetensors"]} for seed in seeds}
        paths.append(str(folder / "manifest.json"))
        storage.write_json(paths[-1], {"task": task, "seeds": entries})
    files = starting_points.read_files(paths, ["a", "b"], [0, 1])
    found = {seed: [path.parts[-4:-2] for path in files[seed]] for seed in files}
    assert found == {0: [("a", "0"), ("b", "01")], 1: [("a", "1"), ("b", "01")]}
