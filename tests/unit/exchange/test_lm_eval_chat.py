"""Chat prompts in lm-evaluation-harness: written out as tasks, and by its own chat template."""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import run_in_context
import yaml
from fewshot import storage
from fewshot.data.shots import read_shots
from fewshot.errors import UserError
from fewshot.exchange import lm_eval_runs, lm_eval_tasks
from job_files import CELL, PATTERN, give_chat, write_job
from test_lm_eval_round_trip import SETS, cell_of, harness
from tiny import tokenizer_in

pytestmark = pytest.mark.weekly

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

ARRANGEMENTS = ("turns", "one-turn")
TOLERANCE = 1e-4


def chat_cell(smk, k: int, name: str) -> dict:
    """Return the cell of a job as rule export_lm_eval passes it for a model with chat."""
    own = {"pattern": smk.params.pattern, "model": name, "manifest": smk.input.model}
    return {**cell_of(smk, k), **own}


@pytest.fixture(scope="module")
def travelled(tmp_path_factory):
    """Return jobs that were run here, by arrangement and k, and the harness's logs of the same."""
    folder, here, jobs = tmp_path_factory.mktemp("chat"), os.getcwd(), {}
    os.chdir(folder)
    try:
        for arrangement in ARRANGEMENTS:
            for k in (4, 0):
                seeds = (0, 1) if k else (0,)
                smk = write_job(folder / f"{arrangement}{k}", k=k, seeds=seeds, family="in_context")
                jobs[arrangement, k] = give_chat(smk, demonstrations=arrangement, system="a judge")
                run_in_context.main(smk)
        cells = [chat_cell(smk, k, name) for (name, k), smk in jobs.items()]
        names = lm_eval_tasks.write_tasks(folder / "tasks", cells)
        assert len(set(names)) == len(names) == 2 * (2 * 2 + 2)
        harness(folder / "tasks", names, folder / "turns4/model")
    finally:
        os.chdir(here)
    return SimpleNamespace(jobs=jobs, logs=next((folder / "logs").glob("*")), folder=folder)


def logged(travelled, arrangement: str, k: int) -> dict:
    """Return a run as rule convert_lm_eval passes it."""
    smk = travelled.jobs[arrangement, k]
    cell = chat_cell(smk, k, arrangement)
    logs = {
        str(seed): [
            str(next(travelled.logs.glob(f"samples_{lm_eval_tasks.task_name(cell, seed, each)}_*")))
            for each in SETS
        ]
        for seed in smk.params.seeds
    }
    return {
        **{key: cell[key] for key in ("pattern", "manifest", "evaluation", "train", "shots")},
        "cell": {**CELL, "model": arrangement, "method": "harness", "k": k},
        "prompts": "stored",
        "parameters": 1,
        "logs": logs,
    }


@pytest.mark.parametrize("k", [4, 0])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_round_trip(travelled, tmp_path, arrangement, k):
    """The harness counts the line break that ends a prompt to the answer: the same for all words of
    a row, so that their differences, and the predictions, are ours."""
    lm_eval_runs.write_run(tmp_path, logged(travelled, arrangement, k), "code")
    ours = storage.read_table(travelled.jobs[arrangement, k].output.predictions)
    theirs = storage.read_table(tmp_path / "predictions.parquet")
    keys = ["seed", "evaluation_set", "id"]
    first, second = (
        frame.astype({"evaluation_set": object}).sort_values(keys, ignore_index=True)
        for frame in (ours, theirs)
    )
    assert first[keys].equals(second[keys]) and len(first) == 35 * (2 if k else 1)
    gaps = [frame["logprob_0"] - frame["logprob_1"] for frame in (first, second)]
    np.testing.assert_allclose(*gaps, atol=TOLERANCE, rtol=0)
    assert gaps[0].std() > 100 * TOLERANCE


def test_logs_of_plain_prompts_are_not_those_of_a_chat(travelled, tmp_path):
    run = logged(travelled, "turns", 4)
    run["logs"] = logged(travelled, "one-turn", 4)["logs"]
    with pytest.raises(UserError, match="has model one-turn, not turns"):
        lm_eval_runs.write_run(tmp_path, run, "code")


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_prompts_are_those_of_the_harness_with_its_chat_template(travelled, arrangement, tmp_path):
    """`--apply_chat_template`, with `--fewshot_as_multiturn` for turns, on the plain pattern with
    words that have no blank, which the harness would keep."""
    from lm_eval.api.task import ConfigurableTask

    smk = travelled.jobs[arrangement, 4]
    bare = {**smk.params.pattern, "words": tuple(word.strip() for word in PATTERN.words)}
    own = {**bare, "chat": {"demonstrations": arrangement, "system": "a judge"}}
    pattern = lm_eval_tasks.cell_pattern({"pattern": own, "manifest": smk.input.model})
    del bare["chat"]
    [name, *_] = lm_eval_tasks.write_tasks(tmp_path, [{**cell_of(smk, 4), "pattern": bare}])
    config = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
    rows = str(tmp_path / config["dataset_kwargs"]["data_files"]["test"])
    config["dataset_kwargs"] = {"data_files": {"test": rows}, "cache_dir": str(tmp_path / "cache")}
    task = ConfigurableTask(config=config)
    tokenizer = tokenizer_in(Path(storage.read_json(smk.input.model)["path"]))
    shots = read_shots(smk.input.train, {0: smk.input.shots[0]})[0]
    for doc in list(task.test_docs())[:5]:
        theirs = task.fewshot_context(
            doc, 4, system_instruction="a judge", apply_chat_template=True,
            fewshot_as_multiturn=arrangement == "turns",
            chat_template=partial(tokenizer.apply_chat_template, tokenize=False),
        )  # fmt: skip
        assert theirs == pattern.context_of(shots) + pattern.query(doc["text_a"], doc["text_b"])
