"""The frame of all jobs: what is read, what is repeated after an interruption, what is written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.adaptation import job as job_module
from fewshot.adaptation import outputs, seeds
from fewshot.runtime import script
from fewshot.scoring.score import Scores
from job_files import some_rows, write_job
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[3]


def a_result(job: job_module.AdaptationJob, seed: int) -> seeds.SeedResult:
    """Return scores that tell the seed, for every row of every set."""
    predictions, curves = [], []
    for each in job.evaluation:
        rows = len(each.rows)
        scores = Scores(
            logprobs=np.full((rows, 2), -0.5 - seed / 3, dtype=np.float32),
            logsumexp=np.ones(rows, dtype=np.float32),
            argmax_is_label=np.ones(rows, dtype=bool),
            tokens=np.ones((rows, 2), dtype=np.int16),
            route="plain",
            tokens_read=rows,
        )
        common = (job.cell, seed, 1, each, scores)
        predictions.append(outputs.prediction_frame(*common))
        curves.append(outputs.curve_frame(*common))
    facts = {"device": "cpu", "parameters": {}, "peak_memory_mib": 1.0}
    return seeds.SeedResult(
        outputs.mark_epochs(pd.concat(predictions, ignore_index=True), 1, 1),
        pd.concat(curves, ignore_index=True),
        facts,
        {"train": 1.0},
        {f"seed{seed}.txt": lambda path: path.write_text(str(seed))},
    )


def run(smk, fail_at: int | None = None) -> list[int]:
    """Run the job with made-up results and return the seeds that were computed."""
    done = []
    job = job_module.read_job(smk)

    def one(seed: int) -> seeds.SeedResult:
        if seed == fail_at:
            raise RuntimeError("node failure")
        done.append(seed)
        return a_result(job, seed)

    seeds.run_seeds(job, lambda _: one)
    return done


def output_bytes(smk) -> dict[str, bytes]:
    """Return the data that the job wrote; the manifest holds times."""
    folder = Path(smk.output.predictions).parent
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.name: path.read_bytes() for path in paths if path.suffix != ".json"}


def test_a_job_reads_its_inputs_in_the_order_of_the_draw(tmp_path):
    smk = write_job(tmp_path, k=8, seeds=(3, 4), unfit=(4,))
    job = job_module.read_job(smk)
    draw = storage.read_table(smk.input.shots[0])
    train = some_rows(60, "train").set_index("id")
    assert job.shots[3]["id"].tolist() == draw["id"].tolist()
    assert job.shots[3]["text_a"].tolist() == train.loc[draw["id"], "text_a"].tolist()
    assert job.status == {3: "ok", 4: "does not fit"}
    assert job.cell["k"] == 8 and job.name == "fair/task/tiny/ft/minimal/8"
    assert [each.name for each in job.evaluation] == ["task", "other"]
    assert job.pattern.query("a", "b") == "a b ?"
    assert job.checksums["data"]["task/validation"] == storage.sha256(smk.input.evaluation[0])


def test_without_shots_nothing_of_the_training_set_is_read(tmp_path):
    smk = write_job(tmp_path, k=0, seeds=(0,))
    job = job_module.read_job(smk)
    assert job.shots == {} and job.checksums["shots"] == {}
    assert run(smk) == [0]


@pytest.mark.parametrize(
    "change",
    [
        lambda smk: smk.params.method.update(learning_rate=0.02),
        lambda smk: smk.params.pattern.update(separator="\n"),
        lambda smk: setattr(smk.params, "batch_tokens", {"cpu": 1, "gpu": 1}),
        lambda smk: setattr(smk.params, "code", "other"),
        lambda smk: setattr(smk, "threads", 2),
        lambda smk: smk.resources.update(zero_stage=3),
        lambda smk: setattr(smk.wildcards, "method", "renamed"),
        lambda smk: storage.write_table(
            smk.input.evaluation[0], some_rows(23, "task"), schemas.ROWS
        ),
    ],
)
def test_whatever_changes_the_result_changes_the_fingerprint(tmp_path, change):
    smk = write_job(tmp_path)
    before = job_module.read_job(smk).fingerprint
    assert before == job_module.read_job(smk).fingerprint
    change(smk)
    assert job_module.read_job(smk).fingerprint != before


def test_an_interrupted_job_repeats_no_finished_seed_and_ends_in_the_same_bytes(tmp_path):
    whole = write_job(tmp_path / "whole", seeds=(0, 1, 2))
    assert run(whole) == [0, 1, 2]
    broken = write_job(tmp_path / "broken", seeds=(0, 1, 2))
    with pytest.raises(RuntimeError):
        run(broken, fail_at=1)
    assert not Path(broken.output.predictions).exists()
    [state] = Path("results/state").iterdir()
    owner = {"run": str(tmp_path / "broken/out"), "model": "tiny"}
    assert storage.read_json(state / "owner.json") == owner
    assert run(broken) == [1, 2]
    assert output_bytes(whole) == output_bytes(broken)
    assert len(output_bytes(whole)) == 5
    assert list(Path("results/state").iterdir()) == []


def test_changed_settings_continue_nothing(tmp_path):
    smk = write_job(tmp_path, seeds=(0, 1))
    with pytest.raises(RuntimeError):
        run(smk, fail_at=1)
    smk.params.method["learning_rate"] = 0.5
    assert run(smk) == [0, 1]


def test_nothing_is_loaded_where_all_seeds_are_finished(tmp_path, monkeypatch):
    smk = write_job(tmp_path, seeds=(0, 1))
    monkeypatch.setattr(seeds, "_assemble", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run(smk)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    seeds.run_seeds(job_module.read_job(smk), lambda _: pytest.fail("the model was loaded"))
    assert len(output_bytes(smk)) == 4


def test_seeds_that_do_not_fit_have_no_rows_and_a_status(tmp_path):
    smk = write_job(tmp_path, seeds=(0, 1), unfit=(0,))
    assert run(smk) == [1]
    predictions = storage.read_table(smk.output.predictions)
    assert set(predictions["seed"]) == {1} and len(predictions) == 24 + 11
    status = storage.read_json(smk.output.manifest)["seeds"]
    assert (status["0"]["status"], status["1"]["status"]) == ("does not fit", "ok")


def test_a_job_of_which_nothing_fits_writes_empty_tables(tmp_path):
    smk = write_job(tmp_path, seeds=(0,), unfit=(0,))
    seeds.run_seeds(job_module.read_job(smk), lambda _: pytest.fail("the model was loaded"))
    assert len(storage.read_table(smk.output.predictions)) == 0
    assert len(storage.read_table(smk.output.curves)) == 0
    assert Path(smk.output.adapters).is_dir()


FINE_TUNE = """
import json, pickle, sys
from pathlib import Path
from fewshot import storage
from fewshot.runtime import script
def main(smk):
    # Here, as in the project's scripts: what imports say goes to the log.
    from fewshot.adaptation.training import fine_tune
    fine_tune(smk)
script.run(main, pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def start_script(smk, folder: Path) -> subprocess.Popen:
    import pickle

    path = folder / "smk.pickle"
    path.write_bytes(pickle.dumps(smk))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", FINE_TUNE, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_fine_tuning_killed_between_seeds_ends_in_the_same_bytes(tmp_path):
    """The real loop, with LoRA, all seeds together: killed with -9 once one is stored, then run
    again."""
    from fewshot.adaptation.training import fine_tune

    settings = {"family": "lora", "learning_rate": 0.05, "epochs": 8}
    smk = write_job(tmp_path / "killed", seeds=tuple(range(4)), **settings)
    process = start_script(smk, tmp_path)
    while process.poll() is None and not list(Path("results/state").glob("*/seed1")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout.read() == ""  # nothing but the log speaks
    finished = len(list(Path("results/state").glob("*/seed?")))
    assert 2 <= finished < 4 and not Path(smk.output.predictions).exists()

    script.log_to(smk.log[0])
    fine_tune(smk)
    assert f"{4 - finished} of 4 seeds to do" in Path(smk.log[0]).read_text()
    whole = write_job(tmp_path / "whole", seeds=tuple(range(4)), **settings)
    fine_tune(whole)
    found = output_bytes(smk)
    assert found == output_bytes(whole) and len(found) == 6
    seeds = storage.read_json(smk.output.manifest)["seeds"]
    assert [each["together"] for each in seeds.values()] == [[0, 1, 2, 3]] * 4
    curves = storage.read_table(smk.output.curves)
    last = curves[(curves["epoch"] == 8) & (curves["evaluation_set"] == "task")]
    assert last["correct"].sum() / last["n"].sum() > 0.8


def test_a_loss_that_is_not_finite_leaves_no_outputs(tmp_path, capsys):
    from fewshot.adaptation.training import fine_tune

    smk = write_job(tmp_path, learning_rate=1e30, warmup=0.0)
    with pytest.raises(SystemExit):
        script.run(fine_tune, smk)
    said = capsys.readouterr().err
    assert said.startswith("error: fair/task/tiny/ft/minimal/8: seed 0: the loss is ")
    assert "epoch 1, step 2" in said and "last finite loss was " in said
    assert "lower learning_rate in methods.yaml" in said
    assert "at epoch 1, step 2" in Path(smk.log[0]).read_text().splitlines()[-1]
    assert not Path(smk.output.predictions).parent.exists()


@pytest.mark.parametrize("keep", [False, True])
def test_full_weights_are_kept_on_request_only(tmp_path, keep):
    from fewshot.adaptation.training import fine_tune

    smk = write_job(tmp_path, kind="gpt_neox", seeds=(5,), keep_weights=keep, head="classification")
    fine_tune(smk)
    kept = sorted(Path(smk.output.adapters).iterdir())
    manifest = storage.read_json(smk.output.manifest)
    assert [path.name for path in kept] == (["seed5.safetensors"] if keep else [])
    assert manifest["seeds"]["5"]["adapters"] == [path.name for path in kept]
    assert manifest["parameters"]["trainable"] == 21952 - 75 * 32 + 32 * 32 + 32 + 2 * 32 + 2
    if keep:
        stored = load_file(kept[0])
        assert sum(each.size for each in stored.values()) == manifest["parameters"]["trainable"]
