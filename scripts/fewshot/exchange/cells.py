"""A finished run, taken up again: its cell and settings as the study tells them, checked against
what its manifest says it was made from."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from .. import storage
from ..adaptation.job import AdaptationJob
from ..analysis.run_manifests import read_run_manifest
from ..data.evaluation_sets import EvaluationSet, new_rows
from ..data.shots import describe_draws, read_shots
from ..errors import UserError, unknown
from ..models.files import files_checksum
from ..models.tokenizer import load_tokenizer
from ..prompts.chat import read_pattern
from ..prompts.set_queries import SetQueries
from ..prompts.window import OK
from ..runtime.placement import Placement
from ..runtime.processes import ProcessGroup


def read_finished(told: Mapping) -> dict:
    """Return the manifest of a run that `study.exchange_inputs.told_job` tells of.

    Raises UserError where there is none, and where the run was made with other settings, draws or
    weights than the study has now.
    """
    manifest = read_run_manifest(told["folder"], told["cell"])
    path = f"{told['folder']}/manifest.json"
    if manifest["settings"] != json.loads(json.dumps(told["method"])):
        raise UserError(
            f"{path}: method '{told['cell']['method']}' had other settings than it has now; start "
            "Snakemake again, which makes the run anew"
        )
    made_from = manifest["checksums"]
    files = storage.read_json(told["manifest"], "files")["files"]
    if made_from["model"] != files_checksum(files):
        raise UserError(f"{path}: model '{told['cell']['model']}' had other files than it has now")
    drawn = describe_draws(told["shots"])["shots"]
    for seed in drawn:
        if made_from["shots"].get(seed) != drawn[seed]:
            raise UserError(f"{path}: the draw of seed {seed} was another one than it is now")
    return manifest


def check_seed(manifest: Mapping, seed: int, folder: str) -> None:
    """Raise UserError for a seed that a run does not have, or that did not fit the window."""
    if str(seed) not in manifest["seeds"]:
        raise unknown("seed", seed, manifest["seeds"], f"{folder}/manifest.json")
    status = manifest["seeds"][str(seed)]["status"]
    if status != OK:
        raise UserError(f"{folder}/manifest.json: seed {seed}: {status}")


def adapter_file(told: Mapping, manifest: Mapping, seed: int) -> Path:
    """Return the file of the parameters that a run keeps of a seed, which are of its last epoch.

    Raises UserError where it keeps none, and where the file is not there: no archive brings any.
    """
    folder, names = told["folder"], manifest["seeds"][str(seed)].get("adapters", ())
    if not names:
        raise UserError(
            f"{folder}: it keeps no weights of seed {seed}; valid: keep_weights: true in "
            "methods.yaml, or a method that trains few parameters"
        )
    path = Path(folder, "adapters", names[0])
    if not path.is_file():
        raise UserError(
            f"{path}: not there; an archive brings no adapters: remove {folder}/manifest.json, so "
            "that its job runs again"
        )
    return path


def restored(
    told: Mapping, seed: int, sets: tuple[EvaluationSet, ...], tokenizer=None
) -> AdaptationJob:
    """Return the job of one seed of a run, with `sets` to be scored, the task's own first."""
    cell, settings = dict(told["cell"]), dict(told["method"])
    tokenizer = tokenizer or load_tokenizer(told["manifest"])
    paths = {seed: told["shots"][str(seed)]} if told["shots"] else {}
    return AdaptationJob(
        cell=cell,
        base=told["base"],
        seeds=(seed,),
        status={seed: OK},
        labels=tuple(told["labels"]),
        pattern=read_pattern(told["pattern"], tokenizer),
        settings=settings,
        model=dict(told["model"]),
        model_manifest=Path(told["manifest"]),
        evaluation=sets,
        shots=read_shots(told["train"], paths) if paths else {},
        batch_tokens=dict(told["batch_tokens"]),
        placement=Placement(),
        threads=1,
        processes=ProcessGroup(),
        checksums={},
        code="",
        output=None,
        train_patterns=tuple(
            read_pattern(each, tokenizer) for each in settings.get("train_patterns", ())
        ),
        train=_unlabelled(told) if "unlabelled_rows" in settings else None,
        queries=SetQueries(tokenizer),
    )


def _unlabelled(told: Mapping) -> pd.DataFrame:
    """Return the training rows that context distillation draws from, as its job does."""
    evaluated = (storage.read_rows(each["path"]) for each in told["evaluation"])
    return new_rows(storage.read_rows(told["train"]), evaluated)
