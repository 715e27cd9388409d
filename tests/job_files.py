"""The input files of an adaptation job on a tiny model, and the `smk` object that names them."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from fewshot import schemas, storage
from fewshot.data.shots import draw_balanced
from fewshot.prompts.patterns import Pattern
from fewshot.rng import generator
from fewshot.study.families import read_settings
from tiny import TARGETS, WORDS, save_tiny, write_manifest

LONG = 999
"""A training row beyond the window, drawn for the seeds that are not to fit."""
PATTERN = Pattern(
    "minimal", (("", "text_a"), (" ", "text_b"), (" ?", None)), "", (" Yes", " No"), "\n\n"
)
PARAMETERS = {"opt": 23712, "gpt_neox": 21952, "llama": 23392}
CELL = {"protocol": "fair", "task": "task", "model": "tiny", "method": "ft", "pattern": "minimal"}
TRAINING = {
    "family": "full",
    "head": "language-model",
    "loss": "vocabulary",
    "learning_rate": 0.01,
    "epochs": 3,
    "batch_size": 4,
    "warmup": 0.3,
    "weight_decay": 0.0,
    "gradient_clip": 1.0,
    "keep_weights": False,
    "curve_epochs": "each",
    "curve_rows": 512,
    "rank": 2,
    "alpha": 4,
    "dropout": 0.0,
    "dora": False,
    "classifier": "dense-relu-linear",
}


def some_rows(count: int, stream: str) -> pd.DataFrame:
    """Return rows of 3 to 8 words whose label is told by the first word."""
    draw = generator(stream)
    texts = [" ".join(draw.choice(WORDS[:20], size=draw.integers(1, 4))) for _ in range(2 * count)]
    label = np.arange(count) % 2
    first = [("all " if each else "some ") + text for each, text in zip(label, texts, strict=False)]
    return pd.DataFrame(
        {
            "id": np.arange(count) + 100,
            "text_a": first,
            "text_b": texts[count:],
            "label": label.astype(np.int16),
            "group": None,
            "subset": None,
            "cluster": None,
        }
    )


def write_job(
    folder: Path,
    kind: str = "opt",
    k: int = 8,
    seeds: tuple[int, ...] = (0, 1),
    unfit: tuple[int, ...] = (),
    sizes: tuple[int, int] = (24, 11),
    **settings,
) -> SimpleNamespace:
    """Write all inputs of a job under `folder` and return what Snakemake would give its script."""
    cell = {**CELL, "k": k}
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = {}
    for name, size in zip(("task", "other"), sizes, strict=True):
        evaluation[name] = str(folder / f"{name}.parquet")
        storage.write_table(evaluation[name], some_rows(size, name), schemas.ROWS)
    train = pd.concat([some_rows(60, "train"), some_rows(1, "long")], ignore_index=True)
    train.loc[60, ["id", "text_a"]] = [LONG, "some " * 200]
    storage.write_table(folder / "train.parquet", train, schemas.ROWS)
    shots = []
    for seed in seeds if k else ():
        shots.append(str(folder / f"shots{seed}.parquet"))
        draw = draw_balanced(train[train["id"] != LONG], k, 2, "task", seed)
        if seed in unfit:
            draw.loc[draw["label"].idxmin(), "id"] = LONG
        checksum = storage.frame_checksum(draw.itertuples(index=False))
        storage.write_table(shots[-1], draw, schemas.SHOTS, checksum=checksum)
    return as_snakemake(
        folder,
        cell,
        seeds,
        evaluation,
        shots,
        model=write_manifest(folder / "model.json", save_tiny(folder / "model", kind)),
        entry={"dtype": "float32", "parameters": PARAMETERS[kind], "window": 128},
        pattern=PATTERN,
        method={**TRAINING, "targets": TARGETS[kind], **settings},
        batch_tokens=512,
    )


def as_snakemake(
    folder: Path,
    cell: dict,
    seeds: tuple[int, ...],
    evaluation: dict[str, str],
    shots: list[str],
    *,
    model: str,
    entry: dict,
    pattern: Pattern,
    method: dict,
    batch_tokens: int,
) -> SimpleNamespace:
    """Return what Snakemake would give the script of a job whose inputs are under `folder`.

    `evaluation` has the file of each set, the task's own first; `model` is a manifest, `entry` what
    jobs have of models.yaml, and `method` its settings, without defaults.
    """
    out = folder / "out"
    return SimpleNamespace(
        input=SimpleNamespace(
            model=model,
            evaluation=list(evaluation.values()),
            train=str(folder / "train.parquet") if cell["k"] else [],
            shots=shots,
        ),
        output=SimpleNamespace(
            predictions=str(out / "predictions.parquet"),
            curves=str(out / "curves.parquet"),
            manifest=str(out / "manifest.json"),
            adapters=str(out / "adapters"),
        ),
        wildcards=SimpleNamespace(**cell),
        params=SimpleNamespace(
            task=cell["task"],
            seeds=list(seeds),
            labels=["no", "yes"],
            evaluation=[
                {"set": name, "labels": ["no", "yes"], "merge": [0, 1]} for name in evaluation
            ],
            pattern=asdict(pattern),
            method=read_settings(method),
            model=entry,
            batch_tokens={"cpu": batch_tokens, "gpu": batch_tokens},
            code="code",
        ),
        resources={"zero_stage": 0},
        threads=1,
        log=[str(folder / "job.log")],
    )


CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{{ bos_token + {'system': 'the', 'user': 'Question', 'assistant': 'Answer'}[m.role] }}"
    "{{ ':\\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token + 'Answer:\\n' }}{% endif %}"
)


def give_chat(smk: SimpleNamespace, **chat) -> SimpleNamespace:
    """Give a job's model a chat template, which is used as `chat` says; return the job."""
    folder = Path(storage.read_json(smk.input.model)["path"])
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    write_manifest(smk.input.model, folder)
    smk.params.pattern["chat"] = chat
    return smk


def run_script(script, smk) -> tuple[pd.DataFrame, dict]:
    """Run the script of an adaptation job and return its predictions and its manifest."""
    script.main(smk)
    return storage.read_table(smk.output.predictions), storage.read_json(smk.output.manifest)


def drawn(smk, seed: int) -> list:
    """Return the training rows of a job's seed, in the order of its draw."""
    draw = storage.read_table(smk.input.shots[seed])
    return list(some_rows(60, "train").set_index("id").loc[draw["id"]].itertuples())


def solved(row) -> str:
    """Return a training row as it is shown in a context."""
    return f"{row.text_a} {row.text_b} ?{PATTERN.words[row.label]}\n\n"
