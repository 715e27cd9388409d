"""Lay the golden study out as the pipeline stores it.

`outcomes.parquet` holds, for each run, kept epoch and evaluation set, which rows are right, as
packed bits. Predictions follow from these, curves from `effects`.
"""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import simulate
import stored
from fewshot import schemas, storage
from fewshot.analysis import flops
from fewshot.data.curve_sample import Parts, parts_of
from fewshot.models import architectures
from fewshot.report import partial
from fewshot.study.catalog import catalog_of
from fewshot.study.families import training_passes
from fewshot.study.load import load_study
from fewshot.study.study import Study
from fewshot.validation import read_yaml

from . import effects

FOLDER = Path(__file__).parent
ROWS = {"rte": 200, "mnli": 400, "hans": 600}
KEYS = ["task", "model", "method", "pattern", "k", "seed", "epoch", "evaluation_set"]


@cache
def study() -> Study:
    """Return the golden study, checked against the project's own registries."""
    root = FOLDER.parents[1]
    return load_study(read_yaml(FOLDER / "study.yaml"), root / "config", "study.yaml")


@cache
def prepared(name: str) -> pd.DataFrame:
    """Return the evaluation rows of a set: on HANS, 20 rows of each of 30 subcases, 10 templates a
    heuristic and label; elsewhere slightly more rows of label 0."""
    n = ROWS[name]
    if name != "hans":
        return stored.made_rows((np.arange(n) >= n * 0.53).astype(int))
    rows = stored.made_rows(each=20)
    template = (rows["id"] % 20 // 10).astype(str)
    return rows.assign(cluster=rows["subset"].str.replace("_case_", "") + "." + template)


def pairs() -> list[dict]:
    """Return, per task and model, the sets and jobs as the rules pass them."""
    found = study()
    keys = dict.fromkeys((job.cell.task, job.cell.model) for job in found.jobs)
    shapes = {model: architectures.entry_architecture(found.models[model]) for _, model in keys}
    return [
        {
            "protocol": found.settings["protocol"],
            "task": task,
            "model": model,
            "evaluation": [stored.scored_set(name) for name in found.evaluation_sets(task)],
            "orders": [task],
            "size": asdict(flops.model_size(shapes[model])),
            "jobs": [
                {
                    "method": job.cell.method,
                    "pattern": job.cell.pattern,
                    "k": job.cell.k,
                    "seeds": list(job.seeds),
                    "folder": f"results/runs/{job.folder}",
                    "passes": training_passes(
                        shapes[model], found.method_settings(job.cell.method, model)
                    ),
                }
                for job in found.jobs_of(task, model)
            ],
        }
        for task, model in keys
    ]


def plan() -> partial.PartialStudy:
    """Return what a report of the study is made by."""
    found = study()
    return partial.PartialStudy(
        found.settings, catalog_of(found), found.figures, found.tables, pairs()
    )


def write(folder: Path) -> None:
    """Write the study's rows, runs and fit tables below `folder`, a project's root."""
    for name in ROWS:
        path = folder / f"results/data/{name}/validation.parquet"
        storage.write_table(path, prepared(name), schemas.ROWS)
    known = pd.read_parquet(FOLDER / "outcomes.parquet")
    outcomes = dict(
        zip(known[KEYS].itertuples(index=False, name=None), known["correct"], strict=True)
    )
    name = study().name
    for pair in pairs():
        fit = []
        for job in pair["jobs"]:
            fit += [_fit_row(pair, job, seed) for seed in job["seeds"]]
            key = (pair["task"], pair["model"], job["method"], job["pattern"], job["k"])
            if (*key, job["seeds"][0]) not in effects.MISSING:
                _write_run(folder, pair, job, outcomes)
        path = folder / f"results/windows/{name}/{pair['task']}/{pair['model']}.parquet"
        storage.write_table(path, pd.DataFrame(fit), schemas.WINDOWS)


def family_of(job: dict) -> str:
    return study().methods[job["method"]]["family"]


def epochs_of(job: dict, seed: int) -> tuple[list[int], list[int]]:
    """Return the epochs of a run's curve and those whose predictions are kept."""
    if family_of(job) == "in_context":
        return [0], [0]
    return list(range(1, effects.EPOCHS + 1)), sorted({effects.best_epoch(seed), effects.EPOCHS})


def _fit_row(pair: dict, job: dict, seed: int) -> dict:
    fits = effects.fits(pair["task"], family_of(job), job["k"], seed)
    return {
        **stored.cell_of(pair, job, seed),
        "context_tokens": 60 * job["k"] if fits else 2100,
        "longest_tokens": 60 * job["k"] + 80 if fits else 2180,
        "longest_row": f"{pair['task']}/7",
        "shown_rows": 0,
        "window": 2048,
        "status": "ok" if fits else "does not fit",
    }


def _write_run(folder: Path, pair: dict, job: dict, outcomes: dict) -> None:
    family = family_of(job)
    done = [s for s in job["seeds"] if effects.fits(pair["task"], family, job["k"], s)]
    cell = stored.cell_of(pair, job)
    curves, predictions = [], []
    for seed in done:
        counted = []
        steps, kept = epochs_of(job, seed)
        for item in pair["evaluation"]:
            for epoch in steps:
                key = (*list(cell.values())[1:], seed, epoch, item["set"])
                correct = None
                if epoch in kept:
                    bits = np.frombuffer(outcomes[key], dtype=np.uint8)
                    correct = np.unpackbits(bits, count=ROWS[item["set"]]).astype(bool)
                    rows = _predictions(seed, epoch, item["set"], correct)
                    label = rows["label"]
                    rows |= stored.told(correct, label, epoch, steps[-1], min(kept))
                    predictions.append(rows)
                counted.append(_curve(cell, family, seed, epoch, item["set"], correct))
        curves.append(stored.stack(counted))
        if family != "in_context":
            curves.append(simulate.train_loss({**cell, "seed": seed}, steps))
    content = _manifest(pair, job, family)
    stored.write_results(
        folder / job["folder"], cell, curves, [stored.stack(predictions)] if done else [], content
    )


def _predictions(seed: int, epoch: int, name: str, correct: np.ndarray) -> dict:
    """Return row predictions: a row's confidence is its own, whatever the model."""
    rows = prepared(name)
    gold = rows["label"].to_numpy()
    sure = 0.55 + 0.1 * (np.arange(len(rows)) % 5)
    return {
        "id": rows["id"].to_numpy(),
        **{"seed": seed, "epoch": epoch, "evaluation_set": name, "label": gold},
        **stored.answers(correct, gold, sure),
        **{"tokens_0": 1, "tokens_1": 1, "logsumexp": 1.0, "argmax_is_label": True},
    }


def _curve(
    cell: dict, family: str, seed: int, epoch: int, name: str, correct: np.ndarray | None
) -> dict:
    """Return the counts of an epoch: of its rows where they are kept, else spread over parts."""
    parts, n, label = _parts(name)
    if correct is not None:
        found = np.bincount(parts.of[correct], minlength=len(n))
    else:
        found = np.zeros_like(n)
        for gold, total in right(cell, family, seed, epoch, name).items():
            own = np.flatnonzero(label == gold)
            found[own] = total // len(own) + (np.arange(len(own)) < total % len(own))
    mean = np.log(0.5 + 0.4 * (found / n - 0.5))
    counts = {"n": n, "correct": found, "correct_vocabulary": found, "mean_logprob": mean}
    run = {"seed": seed, "epoch": epoch, "evaluation_set": name, "sampled": False}
    keys = {name: values.to_numpy() for name, values in parts.keys.items()}
    return {**keys, **counts, **run}


def right(cell: dict, family: str, seed: int, epoch: int, name: str) -> dict[int, int]:
    """Return by label the number of right rows that `effects` asks for."""
    half = effects.half_points(cell, family, seed, epoch, inside=name == cell["task"])
    _, n, label = _parts(name)
    sizes = (int(n[label == 0].sum()), int(n[label == 1].sum()))
    return effects.by_label(half, sizes, family, biased=name == "hans")


@cache
def _parts(name: str) -> tuple[Parts, np.ndarray, np.ndarray]:
    """Return a set's parts, and the rows and gold label of each."""
    parts = parts_of(prepared(name))
    return parts, parts.sizes, parts.keys["label"].to_numpy()


def _manifest(pair: dict, job: dict, family: str) -> dict:
    """Return a run's manifest, with costs that grow with the model."""
    trained = family != "in_context"
    total = study().models[pair["model"]]["parameters"]
    settings = {"family": family}
    if trained:
        settings |= {"epochs": effects.EPOCHS, "curve_epochs": "each", "curve_rows": "all"}
    seconds = {"load": 2.0, "train": total / 2e7 if trained else 0.0, "score": total / 1e8}
    share = {"in_context": 0, "full": 1}.get(family, 0.002)
    sizes = {each["set"]: ROWS[each["set"]] for each in pair["evaluation"]}
    done = {
        "status": "ok",
        "seconds": seconds,
        "kept_bytes": int(4 * total * share) if trained else 120 * job["k"],
        **simulate.work(sizes, job["k"], trained, effects.EPOCHS),
    }
    return {
        **stored.cell_of(pair, job),
        "seeds": {
            str(seed): done
            if effects.fits(pair["task"], family, job["k"], seed)
            else {"status": "does not fit"}
            for seed in job["seeds"]
        },
        "settings": settings,
        "code": "0123456789abcdef",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
        "python": "3.11.7",
        "device": "cuda: simulated",
        "threads": 1,
        "world_size": 1,
        "dtype": "float32",
        "checksums": {"model": "cd" * 8, "data": {}, "shots": {}},
        "parameters": {"total": total, "trainable": int(total * share), "modules": []},
        "peak_memory_mib": 512.0 + total * (16 if trained else 4) / 2**20,
        "seconds": {name: value * len(job["seeds"]) for name, value in seconds.items()},
    }
