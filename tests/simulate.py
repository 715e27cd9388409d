"""A small but complete fake study with known effects, in the formats the pipeline stores.

Two families of two sizes, two tasks with a HANS-like set (3 heuristics × 10 subcases), in-context
learning and two ways of fine-tuning, five seeds. In it, on purpose: one run is missing
(`MISSING`), one cell does not fit (`UNFIT`), and one seed of another does not (`PARTLY_UNFIT`).
True accuracies are those of `accuracy_of`; what is drawn is which rows are correct. With
`curve_rows`, curves are counted over samples of the sets, and all rows at the kept epochs alone;
with `by_half`, in domain over the choice half. A pair scores the sets of its key `evaluation`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import stored
from fewshot import schemas, storage
from fewshot.data import halves
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.models.architectures import guess
from fewshot.study.families import FAMILIES, kind_of, training_passes
from stored import cell_of

SEEDS = list(range(5))
EPOCHS = 6
MODELS = {
    "opt-s": {"title": "OPT small", "family": "opt", "parameters": 125_000_000},
    "opt-l": {"title": "OPT large", "family": "opt", "parameters": 1_300_000_000},
    "pythia-s": {"title": "Pythia small", "family": "pythia", "parameters": 160_000_000},
    "pythia-l": {"title": "Pythia large", "family": "pythia", "parameters": 1_400_000_000},
}
LAYERS = {"opt-s": (12, 768), "opt-l": (24, 2048), "pythia-s": (12, 768), "pythia-l": (24, 2048)}
"""Layers and width of each model."""
SHOT, QUERY, BATCH = 30, 24, 32
"""Tokens of a demonstration and of a query, all alike; rows of a training step."""
METHODS = {
    "icl": {"title": "In-context learning", "family": "in_context", "head": "language-model"},
    "ft": {"title": "Pattern-based fine-tuning", "family": "full", "head": "language-model"},
    "lora": {"title": "LoRA", "family": "lora", "head": "language-model", "rank": 8},
}
TASKS = {
    "nli": {"title": "NLI", "labels": ["entailment", "contradiction"]},
    "rte": {"title": "RTE", "labels": ["entailment", "not_entailment"]},
    "hans": {"title": "HANS-like", "labels": ["entailment", "non-entailment"]},
}
KS = {"icl": [0, 16, 32], "ft": [16, 32], "lora": [16, 32]}
SIZES = {"nli": 120, "rte": 80}
MISSING = ("rte", "opt-s", "lora", 32)
UNFIT = ("nli", "pythia-s", "icl", 32)
PARTLY_UNFIT = ("nli", "pythia-l", "icl", 32, 3)
CATALOG = {
    "models": MODELS,
    "methods": {
        name: {**entry, "kind": kind_of(entry), "trained": FAMILIES[entry["family"]].trains}
        for name, entry in METHODS.items()
    },
    "patterns": {"minimal": {"title": "Minimal"}},
    "tasks": TASKS,
    "main": {"k": 16, "selection": "last", "margin": 3},
}


def accuracy_of(model: str, method: str, k: int, evaluation: str, label: int) -> float:
    """Return the true accuracy of the last epoch; out of domain everything favours label 0."""
    size = 0.12 if model.endswith("-l") else 0.0
    shots = {0: 0.0, 16: 0.10, 32: 0.15}[k]
    gain = {"icl": 0.0, "ft": 0.15, "lora": 0.15}[method] if k else 0.0
    if evaluation == "hans":
        bias = 0.35 if method == "icl" else 0.25
        return 0.5 + (gain + size) / 3 + (bias if label == 0 else -bias)
    return 0.52 + size + shots + gain


def prepared(task: str) -> pd.DataFrame:
    """Return the validation rows of a task."""
    labels = None if task == "hans" else np.arange(SIZES[task]) % 2
    rows = stored.made_rows(labels, each=8)
    return rows.assign(id=rows["id"] * 3 + 7)


def write_prepared(folder: Path) -> None:
    """Write the prepared rows of every task and the manifests of sources and models."""
    for task in TASKS:
        path = folder / f"results/data/{task}/validation.parquet"
        storage.write_table(path, prepared(task), schemas.ROWS)
        files = {"validation": {"path": "x.parquet", "sha256": "ab" * 32, "bytes": 10}}
        manifest = {"source": task, "kind": "synthetic", "revision": "1", "files": files}
        storage.write_json(folder / f"results/raw/{task}/manifest.json", manifest)
    for model in MODELS:
        files = {"model.safetensors": {"sha256": "cd" * 32, "bytes": 10}}
        manifest = {"model": model, "kind": "local", "revision": "", "path": "m", "files": files}
        storage.write_json(folder / f"results/models/{model}/manifest.json", manifest)


def pairs(seeds: tuple[int, ...] | list[int] = tuple(SEEDS)) -> list[dict]:
    """Return, per task and model, the sets and jobs as the rules pass them."""
    return [
        {
            "protocol": "fair",
            "task": task,
            "model": model,
            "evaluation": [stored.scored_set(name) for name in (task, "hans")],
            "orders": [task],
            "size": size_of(model),
            "jobs": [_job(task, model, method, k, seeds) for method in METHODS for k in KS[method]],
        }
        for task in SIZES
        for model in MODELS
    ]


def size_of(model: str) -> dict:
    """Return the fields of flops.ModelSize of a model: layers of 12 width² weights."""
    layers, width = LAYERS[model]
    return {
        "weights": 12 * layers * width**2,
        "attention": layers * width,
        "cache": 2 * layers * width,
        "readout": 50_000 * width,
        "width": width,
        "known": True,
    }


def _job(task: str, model: str, method: str, k: int, seeds) -> dict:
    chunk = list(seeds) if k else [0]
    name = f"{task}/{model}/{method}/minimal/k{k}/seeds{chunk[0]}-{chunk[-1]}"
    folder = f"results/runs/fair/{name}"
    return {
        "method": method,
        "pattern": "minimal",
        "k": k,
        "seeds": chunk,
        "folder": folder,
        "passes": training_passes(guess(MODELS[model]["parameters"]), METHODS[method]),
    }


def write_study(
    folder: str | Path,
    planned: list[dict] | None = None,
    curve_rows: int | None = None,
    by_half: bool = False,
) -> None:
    """Write the study, or the `planned` pairs of it, below `folder`, the project's root."""
    folder = Path(folder)
    write_prepared(folder)
    for pair in pairs() if planned is None else planned:
        fit = [fit_row(pair, job, seed) for job in pair["jobs"] for seed in job["seeds"]]
        path = folder / f"results/windows/sim/{pair['task']}/{pair['model']}.parquet"
        storage.write_table(path, pd.DataFrame(fit), schemas.WINDOWS)
        for job in pair["jobs"]:
            if (pair["task"], pair["model"], job["method"], job["k"]) == MISSING:
                log = folder / "results/logs/runs" / f"{job['folder'][len('results/runs/') :]}.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text("INFO started\nERROR step 12: the loss is not a number\n")
            else:
                write_run(folder, pair, job, curve_rows=curve_rows, by_half=by_half)


def fit_row(pair: dict, job: dict, seed: int) -> dict:
    """Return the row of schemas.WINDOWS for one cell and seed."""
    unfit = not fits(pair, job, seed)
    return {
        **cell_of(pair, job, seed),
        "context_tokens": 1100 if unfit else 20 * job["k"],
        "longest_tokens": 1150 if unfit else 20 * job["k"] + 50,
        "longest_row": f"{pair['task']}/7",
        "shown_rows": 0,
        "window": 1024,
        "status": "does not fit" if unfit else "ok",
    }


def fits(pair: dict, job: dict, seed: int) -> bool:
    """Return whether the context of this cell and seed is simulated as fitting."""
    key = (pair["task"], pair["model"], job["method"], job["k"])
    return key != UNFIT and (*key, seed) != PARTLY_UNFIT


def write_run(
    folder: Path,
    pair: dict,
    job: dict,
    epochs: int = EPOCHS,
    curve_rows: int | None = None,
    by_half: bool = False,
) -> None:
    """Write predictions, curves and manifest of one run."""
    curves, predictions = [pd.DataFrame(columns=schemas.CURVES.names)], []
    for seed in job["seeds"]:
        if fits(pair, job, seed):
            sets = [each["set"] for each in pair["evaluation"]]
            cell = cell_of(pair, job, seed)
            counted, made = simulate_seed(cell, sets, epochs, curve_rows, by_half)
            curves += counted
            predictions += made
    content = manifest(pair, job, epochs, curve_rows, by_half)
    stored.write_results(folder / job["folder"], cell_of(pair, job), curves, predictions, content)


def simulate_seed(
    cell: dict,
    sets: list[str],
    epochs: int,
    curve_rows: int | None = None,
    by_half: bool = False,
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Return curves and predictions of one seed: epoch 0 in context, 1, 2, … fine-tuned."""
    trained = cell["method"] != "icl"
    names = "/".join(str(cell[name]) for name in ("task", "model", "method", "k", "seed"))
    rng = np.random.default_rng(list(names.encode()))
    steps = range(1, epochs + 1) if trained else [0]
    scored = {
        (epoch, name): scored_rows(cell, epoch / epochs if trained else 1, name, rng)
        for epoch in steps
        for name in sets
    }
    limit, task = curve_rows if trained else None, cell["task"]
    counted = {
        name: chosen_rows(name, limit, trained and by_half and name == task) for name in sets
    }
    own = counted[task]
    right = {step: scored[step, cell["task"]]["correct"][own].sum() for step in steps}
    last, best = max(steps), max(steps, key=lambda step: (right[step], -step))
    kept = {last, best}
    counts = [each for key, rows in scored.items() for each in
            forms(cell["seed"], *key, rows, counted[key[1]], whole=key[0] in kept)]  # fmt: skip
    curves = [stored.stack(counts), *([train_loss(cell, steps)] if trained else [])]
    columns = ["id", "label", "logprob_0", "logprob_1", "tokens_0", "tokens_1"]
    predictions = [
        {column: rows[column] for column in columns}
        | {"seed": cell["seed"], "epoch": epoch, "evaluation_set": name}
        | {"logsumexp": 1.0, "argmax_is_label": True}
        | stored.told(rows["correct"], rows["label"], epoch, last, best)
        for (epoch, name), rows in scored.items()
        if epoch in kept
    ]
    return curves, [stored.stack(predictions)]


@cache
def chosen_rows(name: str, limit: int | None, by_half: bool = False) -> np.ndarray:
    """Return the positions of a set's rows that the curve counts, `by_half` of its choice half."""
    item = EvaluationSet(name, (0, 1), prepared(name))
    counted = (halves.half_for_choice(item) if by_half else item).sample(limit)
    return np.flatnonzero(item.rows["id"].isin(counted.rows["id"]))


def forms(
    seed: int, epoch: int, name: str, rows: dict, chosen: np.ndarray, *, whole: bool
) -> list[dict]:
    """Return the curve rows of one epoch and set: of its sample, if any, and of all rows."""
    if len(chosen) == len(rows["id"]):
        return [curve(seed, epoch, name, rows)]
    found = [curve(seed, epoch, name, rows, chosen)]
    return [*found, curve(seed, epoch, name, rows)] if whole else found


@cache
def layout(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return a set's ids, labels, the part of each row, and the parts' keys."""
    rows = prepared(name)
    by = ["group", "subset", "label"]
    part = rows.groupby(by, dropna=False).ngroup().to_numpy()
    parts = rows.groupby(by, dropna=False).size().reset_index()
    keys = {key: parts[key].to_numpy() for key in by}
    return rows["id"].to_numpy(), rows["label"].to_numpy(), part, keys


def scored_rows(cell: dict, progress: float, name: str, rng: np.random.Generator) -> dict:
    """Return the set's rows with log-probabilities; `progress` in (0, 1] scales what is learnt."""
    ids, label, *_ = layout(name)
    final = [accuracy_of(cell["model"], cell["method"], cell["k"], name, i) for i in (0, 1)]
    noise = rng.normal(0, 0.02) if cell["k"] else 0
    p = 0.5 + (np.array(final) - 0.5) * np.sqrt(progress) + noise
    correct = rng.random(len(ids)) < p[label]
    sure = rng.uniform(0.5, 0.95, len(ids))
    logprobs = stored.answers(correct, label, sure)
    floats = {key: value.astype("float32") for key, value in logprobs.items()}
    tokens = {key: np.ones(len(ids), dtype="int16") for key in ("tokens_0", "tokens_1")}
    return {"id": ids, "label": label, "correct": correct, **floats, **tokens}


def curve(seed: int, epoch: int, name: str, rows: dict, chosen: np.ndarray | None = None) -> dict:
    """Return the curve rows (schemas.CURVES) of one epoch and set, over the `chosen` rows."""
    at = slice(None) if chosen is None else chosen
    _, label, part, parts = layout(name)
    part, size = part[at], len(parts["label"])
    gold = np.where(label == 0, rows["logprob_0"], rows["logprob_1"])[at]
    n = np.bincount(part, minlength=size)
    correct = np.bincount(part[rows["correct"][at]], minlength=size)
    mean = np.bincount(part, weights=gold, minlength=size) / n
    counts = {"n": n, "correct": correct, "correct_vocabulary": correct, "mean_logprob": mean}
    run = {"seed": seed, "epoch": epoch, "evaluation_set": name, "sampled": chosen is not None}
    return {**parts, **counts, **run}


def train_loss(cell: dict, steps) -> pd.DataFrame:
    """Return the 'train' rows: a loss that halves with every epoch."""
    frame = pd.DataFrame({"epoch": list(steps)})
    frame["mean_logprob"] = -3.0 / 2.0 ** frame["epoch"]
    frame["label"] = pd.array([pd.NA] * len(frame), dtype="Int16")
    return frame.assign(
        seed=cell["seed"],
        evaluation_set="train",
        sampled=False,
        group=None,
        subset=None,
        n=cell["k"],
        correct=0,
        correct_vocabulary=0,
    )


def manifest(
    pair: dict, job: dict, epochs: int, curve_rows: int | None, by_half: bool = False
) -> dict:
    """Return a run's manifest with made-up costs, as of a GPU."""
    trained, sets = job["method"] != "icl", [each["set"] for each in pair["evaluation"]]
    settings = {name: METHODS[job["method"]][name] for name in ("family", "head")}
    if trained:
        settings |= {"epochs": epochs, "curve_epochs": "each", "curve_rows": curve_rows or "all"}
        settings |= {"best_epoch": "held-out"} if by_half else {}
    total = MODELS[pair["model"]]["parameters"]
    seconds = {"load": 2.0, "train": 60.0 if trained else 0.0, "score": 30.0}
    share = {"icl": 0, "ft": 1, "lora": 0.002}[job["method"]]
    peak = (512.0 + total / 1e6) * (1 + 3 * share + (0.5 if trained else 0))
    entry = {
        "status": "ok",
        "seconds": seconds,
        "peak_memory_mib": peak,
        **work({n: len(prepared(n)) for n in sets}, job["k"], trained, epochs),
        "kept_bytes": int(4 * total * share) if trained else 120 * job["k"],
    }
    return {
        **cell_of(pair, job),
        "seeds": {
            str(seed): entry if fits(pair, job, seed) else {"status": "does not fit"}
            for seed in job["seeds"]
        },
        "settings": settings,
        "code": "0123456789abcdef",
        "packages": {"torch": "2.13.0", "transformers": "5.0"},
        "python": "3.11.7",
        "device": "cuda: a GPU",
        "threads": 1,
        "world_size": 1,
        "dtype": "float32",
        "checksums": {"model": "cd" * 8, "data": {}, "shots": {}},
        "parameters": {"total": total, "trainable": int(total * share), "modules": []},
        "peak_memory_mib": peak,
        "memory": {"predicted_gpu_mib": 1.1 * peak, "measured_gpu_mib": peak},
        "seconds": {name: value * len(job["seeds"]) for name, value in seconds.items()},
        "versions": {},
    }


def work(sizes: dict[str, int], k: int, trained: bool, epochs: int) -> dict:
    """Return what a manifest counts of a seed that scores sets of these `sizes`: rows of `QUERY`
    tokens behind demonstrations of `SHOT` tokens, or behind one token."""
    shared = 1 if trained else 1 + SHOT * k
    scoring = {
        name: {
            "rows": rows,
            "shared_tokens": shared,
            "own_tokens": QUERY * rows,
            "own_squares": QUERY**2 * rows,
            "longest_tokens": shared + QUERY,
            "tokens_read": shared + QUERY * rows,
        }
        for name, rows in sizes.items()
    }
    if not trained:
        return {"scoring": scoring}
    return {
        "scoring": scoring,
        "scored_rows": (epochs + 1) * sum(sizes.values()),
        "steps": epochs * -(-k // BATCH),
        "training": {
            "epochs": epochs,
            "rows": k,
            "tokens": (1 + QUERY) * k,
            "squares": (1 + QUERY) ** 2 * k,
            "learned_keys": 0,
        },
    }


def write_pair(folder: Path) -> dict:
    """Write one pair's runs with 16 shots, in context and fully fine-tuned, and return it."""
    write_prepared(folder)
    pair = pairs([0, 1])[0]
    pair["jobs"] = [job for job in pair["jobs"] if job["k"] == 16 and job["method"] != "lora"]
    for job in pair["jobs"]:
        write_run(folder, pair, job, epochs=3)
    return pair
