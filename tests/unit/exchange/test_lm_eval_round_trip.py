"""Out to lm-evaluation-harness as a task, run there, and back from its logs: the same numbers."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import convert_lm_eval
import export_lm_eval
import numpy as np
import pytest
import run_in_context
import yaml
from fewshot import storage
from fewshot.analysis import metrics
from fewshot.data import evaluation_sets
from fewshot.data.shots import read_shots
from fewshot.errors import UserError
from fewshot.exchange import lm_eval_runs, lm_eval_tasks, unpack
from fewshot.prompts.patterns import restore_pattern
from job_files import CELL, write_job
from lm_harness import cell_of, harness

pytestmark = pytest.mark.slow

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

SETS = ("task", "other")
TOLERANCE = 1e-4
LONG = "long words"
"""The job that ranks words of several tokens by their characters."""


@pytest.fixture(scope="module")
def travelled(tmp_path_factory):
    """Return a job that was run here, and the folder of the harness's logs of the same."""
    folder = tmp_path_factory.mktemp("harness")
    here = os.getcwd()
    os.chdir(folder)
    try:
        smk = write_job(folder / "in", k=4, family="in_context")
        bare = write_job(folder / "bare", k=0, seeds=(0,), family="in_context")
        long = write_job(folder / "long", k=4, seeds=(0,), family="in_context")
        words = {"words": [" Yes", " not all believed"], "rank_by": "characters"}
        long.params.pattern |= {"name": "characters", **words}
        long.wildcards.pattern = "characters"
        for job in (smk, bare, long):
            run_in_context.main(job)
        out = SimpleNamespace(folder=str(folder / "tasks"))
        cells = [cell_of(smk, 4), cell_of(bare, 0), cell_of(long, 4)]
        params = SimpleNamespace(cells=cells, left_out=[])
        export_lm_eval.main(SimpleNamespace(output=out, params=params))
        names = sorted(path.stem for path in (folder / "tasks").glob("*.yaml"))
        assert len(names) == 2 * 2 + 2 + 2
        harness(folder / "tasks", names, folder / "in/model")
    finally:
        os.chdir(here)
    return SimpleNamespace(
        jobs={4: smk, 0: bare, LONG: long}, logs=next((folder / "logs").glob("*"))
    )


def logs_of(travelled, k: int, seeds: list[int]) -> list[str]:
    names = [f"fair_task_minimal_k{k}_seed{seed}_{name}" for seed in seeds for name in SETS]
    return [str(next(travelled.logs.glob(f"samples_{name}_*.jsonl"))) for name in names]


def logged(travelled, k: int, prompts: str = "stored") -> dict:
    """Return a run as rule convert_lm_eval passes it."""
    job = travelled.jobs[k]
    cell, logs = cell_of(job, k), logs_of(travelled, k, job.params.seeds)
    shown = prompts == "stored" and k
    return {
        "folder": "results/runs/somewhere",
        "cell": {**CELL, "method": "harness", "k": k},
        "pattern": job.params.pattern,
        "prompts": prompts,
        "parameters": 23712,
        "evaluation": cell["evaluation"],
        "logs": {str(s): logs[2 * i : 2 * i + 2] for i, s in enumerate(job.params.seeds)},
        "train": cell["train"] if shown else "",
        "shots": cell["shots"] if shown else {},
    }


def accuracies(job, k: int, folder: str, method: str, pattern: str = "minimal"):
    sets = [
        evaluation_sets.read_set(each["set"], each["merge"], path)
        for each, path in zip(job.params.evaluation, job.input.evaluation, strict=True)
    ]
    cell = {name: CELL[name] for name in ("protocol", "task", "model")}
    run = {"method": method, "pattern": pattern, "k": k, "folder": folder}
    return metrics.compute_metrics(cell, [{**run, "seeds": job.params.seeds}], sets).metrics


@pytest.mark.parametrize("k", [4, 0])
def test_round_trip(travelled, tmp_path, k):
    job = travelled.jobs[k]
    lm_eval_runs.write_run(tmp_path, logged(travelled, k), "code")
    ours = storage.read_table(job.output.predictions)
    theirs = storage.read_table(tmp_path / "predictions.parquet")
    keys = ["seed", "evaluation_set", "id"]
    both = ours.astype({"evaluation_set": object}).merge(
        theirs.astype({"evaluation_set": object}), on=keys, suffixes=("", "_there"), how="outer"
    )
    assert len(both) == len(ours) == len(theirs)
    for name in ("logprob_0", "logprob_1"):
        np.testing.assert_allclose(both[name], both[f"{name}_there"], atol=TOLERANCE, rtol=0)
    assert both["logprob_0"].std() > 100 * TOLERANCE, "rows could be confused unnoticed"
    for name in ("gold", "predicted", "correct", "last", "best"):
        assert (both[name].astype(object) == both[f"{name}_there"].astype(object)).all()
    assert both["last"].all() and both["best"].all() and set(both["gold"]) == {"no", "yes"}
    folders = Path(job.output.predictions).parent, tmp_path
    first, second = (
        accuracies(job, k, str(folder), method)
        for folder, method in zip(folders, ("ft", "harness"), strict=True)
    )
    same = ["seed", "selection", "evaluation_set", "label", "n", "correct", "accuracy", "majority"]
    assert len(first) and first[same].equals(second[same])
    np.testing.assert_allclose(first["mean_logprob"], second["mean_logprob"], atol=TOLERANCE)


def test_ranking_by_characters_is_the_harness_s_own(travelled, tmp_path):
    """Its `acc_norm`: of choices without the blank that stands in front of them."""
    job = travelled.jobs[LONG]
    names = {name: f"fair_task_characters_k4_seed0_{name}" for name in SETS}
    logs = [str(next(travelled.logs.glob(f"samples_{name}_*"))) for name in names.values()]
    found = json.loads(next(travelled.logs.glob("results_*.json")).read_text())["results"]
    run = logged(travelled, 4) | {"pattern": job.params.pattern, "logs": {"0": logs}}
    run["cell"]["pattern"] = "characters"
    lm_eval_runs.write_run(tmp_path, run, "code")
    for folder in (Path(job.output.predictions).parent, tmp_path):
        method = "ft" if folder != tmp_path else "harness"
        frame = accuracies(job, 4, str(folder), method, "characters")
        frame = frame.query("label.isna() and selection == 'last'")
        ours = dict(zip(frame["evaluation_set"], frame["accuracy"], strict=True))
        assert ours == {name: pytest.approx(found[names[name]]["acc_norm,none"]) for name in SETS}
    assert any(found[name]["acc_norm,none"] != found[name]["acc,none"] for name in names.values())


def test_what_logs_do_not_tell_is_null(travelled, tmp_path):
    """The harness tells whether a word was the most probable text, and no more."""
    lm_eval_runs.write_run(tmp_path, logged(travelled, 4), "code")
    found = storage.read_table(tmp_path / "predictions.parquet")
    ours = storage.read_table(travelled.jobs[4].output.predictions)
    assert found["logsumexp"].isna().all() and found["tokens_0"].isna().all()
    # Words of one token here: what is known to start a word is what our scorer found so.
    assert found["argmax_is_label"].notna().tolist() == ours["argmax_is_label"].tolist()
    frame = accuracies(travelled.jobs[4], 4, str(tmp_path), "harness")
    curves = storage.read_table(tmp_path / "curves.parquet")
    known = curves.groupby(["seed", "evaluation_set"], observed=True)["correct_vocabulary"]
    known = known.agg(lambda counts: counts.notna().all())
    overall = frame[frame["label"].isna() & (frame["selection"] == "last")]
    for row in overall.itertuples():
        told = known[row.seed, row.evaluation_set]
        assert np.isnan(row.vocabulary_accuracy) != told


def test_the_manifest_names_logs_versions_and_model(travelled, tmp_path):
    lm_eval_runs.write_run(tmp_path, logged(travelled, 4), "code")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["source"] == "lm-evaluation-harness" and manifest["method"] == "harness"
    assert manifest["settings"] == {"family": "imported", "prompts": "stored"}
    assert manifest["packages"]["lm_eval"] == "0.4.13"
    log = manifest["seeds"]["1"]["logs"]["other"]
    assert log["harness_task"] == "fair_task_minimal_k4_seed1_other"
    assert log["sha256"] == storage.sha256(logs_of(travelled, 4, [1])[1])
    assert log["model_name"].endswith("in/model")
    assert set(manifest["checksums"]["shots"]) == {"0", "1"}


def test_an_archive_of_logs_is_imported_like_any_other(travelled, tmp_path):
    run = logged(travelled, 4)
    run["folder"] = "results/runs/fair/task/model/harness/minimal/k4/seeds0-1"
    out = SimpleNamespace(archive=str(tmp_path / "lm_eval.tar"))
    params = SimpleNamespace(study="mine", runs=[run], code="code")
    convert_lm_eval.main(SimpleNamespace(output=out, params=params))
    first = Path(out.archive).read_bytes()
    convert_lm_eval.main(SimpleNamespace(output=out, params=params))
    assert Path(out.archive).read_bytes() == first
    done = unpack.import_archive(out.archive, tmp_path)
    assert (done.study, done.placed, done.configuration) == ("mine", 3, "")
    lm_eval_runs.write_run(tmp_path / "alone", run, "code")
    for file in (tmp_path / "alone").iterdir():
        assert (tmp_path / run["folder"] / file.name).read_bytes() == file.read_bytes()


def test_another_draw_is_found(travelled, tmp_path):
    """The log of seed 1 in the place of that of seed 0, with and without what results say."""
    run = logged(travelled, 4)
    run["logs"] = {"0": run["logs"]["1"], "1": run["logs"]["0"]}
    with pytest.raises(UserError, match="has seed 1, not 0"):
        lm_eval_runs.write_run(tmp_path, run, "code")
    alone = {}
    for seed, names in run["logs"].items():
        alone[seed] = [str(tmp_path / f"{seed}-{place}.jsonl") for place in range(len(names))]
        for name, copy in zip(names, alone[seed], strict=True):
            Path(copy).write_bytes(Path(name).read_bytes())
    with pytest.raises(UserError, match="behind the stored draw; prompts: pattern compares"):
        lm_eval_runs.write_run(tmp_path, {**run, "logs": alone}, "code")
    other = {**logged(travelled, 4, "pattern"), "logs": alone}
    lm_eval_runs.write_run(tmp_path, other, "code")
    assert (tmp_path / "manifest.json").exists()


def test_another_number_of_shots_is_found(travelled, tmp_path):
    run = logged(travelled, 4, "pattern")
    run["cell"]["k"] = 8
    with pytest.raises(UserError, match="was shown 4 shots, not k = 8"):
        lm_eval_runs.write_run(tmp_path, run, "code")


def test_tasks_of_merged_labels_accept_each_word_that_counts(tmp_path):
    """Three words against two labels: contradiction and neutral are both non-entailment."""
    smk = write_job(tmp_path, k=0, seeds=(0,))
    cell = cell_of(smk, 0)
    cell["pattern"]["words"] = (" Yes", " Maybe", " No")
    cell["evaluation"] = [{**cell["evaluation"][1], "merge": [0, 1, 1]}]
    [name] = lm_eval_tasks.write_tasks(tmp_path / "tasks", [cell])
    lines = (tmp_path / "tasks/rows/task_minimal_other.jsonl").read_text().splitlines()
    labels = storage.read_table(smk.input.evaluation[1])["label"]
    expected = [[0] if label == 0 else [1, 2] for label in labels]
    assert [json.loads(line)["target"] for line in lines] == expected
    assert (tmp_path / f"tasks/{name}.yaml").exists()


def test_the_same_cells_give_the_same_bytes(tmp_path):
    cell = cell_of(write_job(tmp_path, k=4), 4)
    for folder in ("one", "two"):
        lm_eval_tasks.write_tasks(tmp_path / folder, [cell])
    files = [path for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert len(files) == 2 * 2 + 2
    for file in files:
        other = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.read_bytes() == other.read_bytes()


def test_demonstrations_may_read_otherwise_than_queries(tmp_path):
    """As the published code's do; what cannot be written as query and word is an error."""
    cell = cell_of(write_job(tmp_path, k=4, seeds=(0,)), 4)
    cell["pattern"] |= {"cue": " So", "query_cue": " Hence", "separator": "\\n"}
    names = lm_eval_tasks.write_tasks(tmp_path / "tasks", [cell])
    task = yaml.safe_load((tmp_path / f"tasks/{names[0]}.yaml").read_text())
    pattern = restore_pattern(cell["pattern"])
    draw = read_shots(cell["train"], {0: cell["shots"]["0"]})[0]
    texts = zip(draw["label"], draw["text_a"], draw["text_b"], strict=True)
    samples = task["fewshot_config"]["samples"]
    assert task["num_fewshot"] == len(samples) == 4
    shown = "".join(
        each["query"] + task["doc_to_choice"][each["target"]] + task["fewshot_delimiter"]
        for each in samples
    )
    assert shown == pattern.context([(int(label), a, b) for label, a, b in texts])
    assert all(each["query"].endswith(" So") for each in samples)
    row = (tmp_path / "tasks/rows/task_minimal_task.jsonl").read_text().splitlines()[0]
    assert json.loads(row)["query"].endswith(" Hence")
