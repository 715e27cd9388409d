"""From logs of lm-evaluation-harness to runs like any other, in an archive to import."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schemas, storage
from ..adaptation import outputs
from ..data.evaluation_sets import EvaluationSet
from ..data.shots import describe_draws, read_shots
from ..errors import UserError
from ..prompts.patterns import Pattern
from ..scoring.scores import Scores
from .archive import write_archive
from .lm_eval_logs import Expected, Logged, read_log
from .lm_eval_tasks import cell_pattern

LOG = logging.getLogger(__name__)

SOURCE = "lm-evaluation-harness"
EPOCH = 0
"""Nothing was trained here."""


def convert_logs(path: str | Path, study: str, runs: Sequence[dict], code: str) -> None:
    """Write an archive of runs (see `write_run`), each under its `folder` in a project."""
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=Path(path).parent) as scratch:
        files = {}
        for number, run in enumerate(runs):
            folder = Path(scratch, str(number))
            write_run(folder, run, code)
            files |= {f"{run['folder']}/{file.name}": file for file in folder.iterdir()}
        write_archive(path, study, files)


def write_run(folder: str | Path, run: dict, code: str) -> None:
    """Read the logs of a cell's seeds and write the folder of its run, the manifest last.

    `run` has `cell` (protocol, task, model, method, pattern, k), `pattern` (a bound one), `prompts`
    (see `Expected`), `parameters` of the model, `evaluation` (set, merge and path of each), `logs`
    (seed → path for each of these), and `train` (path) and `shots` (seed → path) if prompts are to
    show the stored draws; of a model with `chat` also the path of its `manifest`. Raises UserError
    for a log that is not of this cell, or not of exactly its rows.
    """
    cell, pattern = run["cell"], cell_pattern(run)
    rows = {each["set"]: storage.read_rows(each["path"]) for each in run["evaluation"]}
    paths = {int(seed): path for seed, path in run["shots"].items()}
    shots = read_shots(run["train"], paths) if paths else {}
    predictions, curves, entries = [], [], {}
    for seed, logs in ((int(seed), logs) for seed, logs in run["logs"].items()):
        facts = {}
        context = pattern.context_of(shots[seed]) if seed in shots else pattern.context(())
        for log, each in zip(logs, run["evaluation"], strict=True):
            name = each["set"]
            expected = Expected(name, rows[name], each["merge"], pattern, context, run["prompts"])
            facts[name] = describe(log, cell, seed, name)
            logged = read_log(log, expected)
            item = EvaluationSet.of(each, rows[name])
            predictions.append(_predictions(cell, seed, item, pattern, logged))
            curves.append(_curve(cell, seed, item, pattern, logged))
            LOG.info("seed %d, set '%s': %d rows of %s", seed, name, len(rows[name]), log)
        entries[str(seed)] = {"status": "ok", "seconds": {}, "logs": facts}
    checksums = {
        "data": {
            f"{each['set']}/validation": storage.sha256(each["path"]) for each in run["evaluation"]
        },
        **describe_draws(paths),
    }
    folder, schema = Path(folder), schemas.predictions_schema(len(pattern.words))
    about = schemas.ranking_metadata(pattern.rank_by, pattern.characters) | {"source": SOURCE}
    frame = outputs.mark_epochs(pd.concat(predictions, ignore_index=True), EPOCH, EPOCH)
    paths = folder / "predictions.parquet", folder / "curves.parquet"
    storage.write_table(paths[0], frame, schema, **about)
    frame = pd.concat(curves, ignore_index=True)
    storage.write_table(paths[1], frame, schemas.CURVES)
    content = _manifest(run, entries, code, checksums) | {"files": storage.checksums_of(*paths)}
    storage.write_json(folder / "manifest.json", content)


def describe(log: str, cell: dict, seed: int, name: str) -> dict:
    """Return what is known of a log: its checksum, and what the results beside it say.

    The harness writes results_<date>.json beside samples_<task>_<date>.jsonl. Raises UserError
    where these say that another number of shots was shown, or that the task is another cell's.
    """
    path = Path(log)
    facts = {"file": path.name, "sha256": storage.sha256(path)}
    task, _, date = path.stem.removeprefix("samples_").rpartition("_")
    results = path.with_name(f"results_{date}.json")
    if not results.exists():
        return facts
    content = storage.read_json(results)
    shots = content.get("n-shot", {}).get(task)
    if shots is not None and shots != cell["k"]:
        raise UserError(f"{results}: task '{task}' was shown {shots} shots, not k = {cell['k']}")
    metadata = content.get("configs", {}).get(task, {}).get("metadata") or {}
    told = metadata.get("fairshot", {}) if isinstance(metadata, dict) else {}
    ours = {**cell, "seed": seed, "evaluation_set": name}
    for key, value in told.items():
        if ours.get(key) != value:
            raise UserError(f"{results}: task '{task}' has {key} {value}, not {ours.get(key)}")
    config = content.get("config", {})
    return facts | {
        "harness_task": task,
        "model_name": content.get("model_name"),
        "model_args": config.get("model_args"),
        "model_sha": config.get("model_sha"),
        "dtype": config.get("model_dtype"),
        "fewshot_seed": config.get("fewshot_seed"),
        "lm_eval": content.get("lm_eval_version"),
        "transformers": content.get("transformers_version"),
    }


def _scores(logged: Logged, pattern: Pattern, told: np.ndarray) -> Scores:
    """Return what a log tells as scores: without tokens of words and normaliser, which no log
    tells; `told` is which rows' top token starts a label word (None: not known)."""
    tokens = np.full(logged.logprobs.shape, None)
    return Scores(
        logged.logprobs, None, told, tokens, SOURCE, 0,
        rank_by=pattern.rank_by, characters=pattern.characters,
    )  # fmt: skip


def _predictions(
    cell: dict, seed: int, item: EvaluationSet, pattern: Pattern, logged: Logged
) -> pd.DataFrame:
    # Where no word was the most probable text, a word's first token may still have been.
    told = np.where(logged.greedy.any(axis=1), True, None)
    return outputs.prediction_frame(cell, seed, EPOCH, item, _scores(logged, pattern, told))


def _curve(
    cell: dict, seed: int, item: EvaluationSet, pattern: Pattern, logged: Logged
) -> pd.DataFrame:
    """Return the counts; those over the vocabulary only where they are the same whatever the logs
    do not tell."""
    certain = logged.greedy.any(axis=1)
    least, most = (
        outputs.curve_frame(cell, seed, EPOCH, item, _scores(logged, pattern, told))
        for told in (certain, np.ones_like(certain))
    )
    counts = least["correct_vocabulary"].astype("float64")
    return least.assign(correct_vocabulary=counts.mask(counts != most["correct_vocabulary"]))


def _manifest(run: dict, entries: dict, code: str, checksums: dict) -> dict:
    """Return the manifest; what it cost is not known here."""
    logs = [log for entry in entries.values() for log in entry["logs"].values()]
    versions = {
        name: sorted({str(log[name]) for log in logs if log.get(name)})
        for name in ("lm_eval", "transformers")
    }
    dtypes = sorted({str(log["dtype"]) for log in logs if log.get("dtype")})
    return {
        **run["cell"],
        "seeds": entries,
        "source": SOURCE,
        "settings": {"family": "imported", "prompts": run["prompts"]},
        "code": code,
        "packages": {name: ", ".join(found) for name, found in versions.items() if found},
        "python": None,
        "device": f"elsewhere ({SOURCE})",
        "dtype": ", ".join(dtypes).removeprefix("torch.") or None,
        "threads": None,
        "world_size": None,
        "checksums": checksums,
        "parameters": {"total": run["parameters"], "trainable": 0, "modules": []},
        "peak_memory_mib": None,
        "seconds": {},
    }
