"""Results in the shared schema of Every Eval Ever (version 0.3.0): a record for each cell.

https://github.com/evaleval/every_eval_ever: eval.schema.json and, of single rows,
instance_level_eval.schema.json. Records lie at data/{collection}/{developer}/{model}/{uuid}.json;
their details are texts alone.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from .. import storage
from ..analysis.stats import CONFIDENCE
from ..analysis.summary import BOUNDS
from ..errors import UserError
from .shared_results import (
    METRICS,
    CellScores,
    Context,
    Runs,
    SetScores,
    as_text,
    settings_told,
)

SCHEMA = "0.3.0"
DOMAINS = {"in": "in the domain of", "out": "out of the domain of"}
COLUMNS = {"last": "last", "best-in-domain": "best"}
"""Selection → the column of row predictions that marks its epoch; of others, not all rows are kept
or count."""


def model_id(context: Context, model: str) -> str:
    """Return developer/name of a model as on the Hub; `local` develops what comes from a folder."""
    name = context.model_source(model).get("hub", f"local/{model}")
    return name if "/" in name else f"unknown/{name}"


def record_id(context: Context, cell: Mapping, runs: Runs) -> str:
    """Return the id of a record: that of other results is another, the same results keep theirs.

    It has the form of a random UUID, which the schema asks for.
    """
    files = [manifest.get("files", {}) for manifest in runs.manifests]
    text = json.dumps([context.study, dict(cell), files], sort_keys=True)
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4))


def path_of(context: Context, cell: Mapping, runs: Runs) -> Path:
    """Return where a record stands, below the folder that holds `data`."""
    developer, name = model_id(context, cell["model"]).split("/", 1)
    parts = (collection(context), developer, name.replace("/", "_"))
    return Path("data", *parts, f"{record_id(context, cell, runs)}.json")


def collection(context: Context) -> str:
    """Return the folder of a study's records: one for each source, as the datastore asks for."""
    return f"fairshot-{context.study}"


def record(context: Context, scores: CellScores, runs: Runs) -> dict:
    """Return the record of a cell: all its scores on all evaluation sets, as shares."""
    cell, name = scores.cell, model_id(context, scores.cell["model"])
    ways = (collection(context), *(str(cell[key]) for key in ("task", "method", "pattern")))
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{'.'.join(ways)}.k{cell['k']}/{name}/{runs.ended}",
        "evaluation_timestamp": runs.date,
        "retrieved_timestamp": str(runs.ended),
        "source_metadata": {
            "source_name": f"fairshot study {context.study}",
            "source_type": "evaluation_run",
            "source_organization_name": context.organization or "unknown",
            "evaluator_relationship": _relationship(context, name),
            **({"additional_details": {"url": context.source}} if context.source else {}),
        },
        "eval_library": _library(runs),
        "model_info": _model_info(context, cell, name, runs),
        "evaluation_results": [
            _result(context, scores, runs, each, metric)
            for each in scores.sets
            for metric in each.scores
        ],
    }


def _relationship(context: Context, name: str) -> str:
    developer = name.split("/", 1)[0]
    if developer == "local":
        return "other"
    own = context.organization.casefold() == developer.casefold()
    return "first_party" if own else "third_party"


def _library(runs: Runs) -> dict:
    """Return the software that scored: lm-evaluation-harness, where the logs were its own."""
    manifest = runs.manifests[0]
    if manifest.get("settings", {}).get("family") == "imported":
        version = manifest.get("packages", {}).get("lm_eval", "unknown")
        return {"name": "lm_eval", "version": version}
    versions = {key: as_text(value) for key, value in manifest.get("packages", {}).items()}
    details = {"additional_details": versions} if versions else {}
    return {"name": "fairshot", "version": manifest["code"], **details}


def _model_info(context: Context, cell: Mapping, name: str, runs: Runs) -> dict:
    manifest, entry = runs.manifests[0], context.catalog["models"][cell["model"]]
    source = context.model_source(cell["model"])
    trained = context.catalog["methods"][cell["method"]]["trained"]
    engine = manifest.get("packages", {}).get("transformers", "unknown")
    parameters = manifest.get("parameters") or {}
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if "hub" in source else "unknown",
        "revision": source.get("revision"),
        "dtype": manifest.get("dtype"),
        "parameters": entry["parameters"],
        "trained_parameters": parameters.get("trainable"),
        "adaptation": f"{'trained on' if trained else 'weights as published, shown'} {cell['k']} "
        f"shots of task {cell['task']}, method {cell['method']}",
    }
    return {
        "name": entry["title"],
        "id": name,
        "developer": name.split("/", 1)[0],
        "inference_engine": {"name": "transformers", "version": engine},
        "additional_details": {
            key: as_text(value) for key, value in details.items() if value is not None
        },
    }


def _result(context: Context, scores: CellScores, runs: Runs, each: SetScores, metric: str) -> dict:
    cell, score = scores.cell, each.scores[metric]
    about, (low, high) = METRICS[metric], BOUNDS[metric]
    prompt = context.catalog["patterns"].get(cell["pattern"], {}).get("prompts", {})
    template = prompt.get(cell["task"], {})
    title = context.title("tasks", each.name)
    uncertainty = {"num_samples": each.rows}
    if score.error is not None:
        uncertainty["standard_error"] = {"value": score.error, "method": score.method}
    if score.low is not None:
        bounds = {"lower": score.low, "upper": score.high, "confidence_level": CONFIDENCE}
        uncertainty["confidence_interval"] = {**bounds, "method": score.method}
    return {
        "evaluation_result_id": result_id(each.name, metric),
        "evaluation_name": f"{collection(context)}.{each.name}",
        "source_data": _source_data(context, each),
        "evaluation_timestamp": runs.date,
        "metric_config": {
            "evaluation_description": f"{about.title} on {title}, {DOMAINS[each.domain]} "
            f"{context.title('tasks', cell['task'])}: mean over draws of {cell['k']} shots",
            "metric_id": about.id,
            "metric_name": about.title,
            "metric_kind": about.kind,
            "metric_unit": "proportion",
            "lower_is_better": about.lower_is_better,
            "score_type": "continuous",
            "min_score": float(low),
            "max_score": float(high),
        },
        "score_details": {
            "score": score.mean,
            "details": {
                "by_seed": as_text({str(seed): value for seed, value in score.by_seed.items()}),
                "rows": str(each.rows),
                "domain": each.domain,
                "share_of_most_frequent_label": as_text(each.majority),
            },
            "uncertainty": uncertainty,
        },
        "generation_config": {
            **({"generation_args": {"prompt_template": as_text(template)}} if template else {}),
            "additional_details": settings_told(context, scores, runs),
        },
    }


def result_id(evaluation_set: str, metric: str) -> str:
    """Return the name of a result within its record, which rows of it repeat."""
    return f"{evaluation_set}/{METRICS[metric].id}"


def _source_data(context: Context, each: SetScores) -> dict:
    source = context.set_source(each.name)
    told = {"dataset_name": context.title("tasks", each.name)}
    if "hub" in source:
        return {
            **told,
            "source_type": "hf_dataset",
            "hf_repo": source["hub"],
            "hf_split": source["split"],
            "samples_number": each.rows,
            "additional_details": {"revision": source.get("revision") or "unknown"},
        }
    rows = {"samples_number": str(each.rows)}
    if source.get("url"):
        return {**told, "source_type": "url", "url": source["url"], "additional_details": rows}
    return {**told, "source_type": "other", "additional_details": {"kind": source["kind"], **rows}}


def write(
    folder: str | Path,
    context: Context,
    scores: CellScores,
    runs: Runs,
    rows: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the record of a cell, and its single rows beside it where prepared `rows` of its
    evaluation sets are given. Raises UserError where the selection has none."""
    content, place = record(context, scores, runs), path_of(context, scores.cell, runs)
    if rows is not None:
        path = place.with_name(f"{place.stem}_samples.jsonl")
        count = 0
        with storage.atomic(Path(folder, path)) as partial, open(partial, "w", -1, "utf-8") as file:
            for line in samples(context, content, scores, runs, rows):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
        content["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": path.as_posix(),
            "hash_algorithm": "sha256",
            "checksum": storage.sha256(Path(folder, path)),
            "total_rows": count,
        }
    storage.write_json(Path(folder, place), content)


def samples(
    context: Context, content: Mapping, scores: CellScores, runs: Runs, rows: Mapping
) -> Iterator[dict]:
    """Yield the single rows of a record: each seed's answer to each row, which accuracy counts."""
    if scores.selection not in COLUMNS:
        raise UserError(
            f"main.selection: single rows of '{scores.selection}' are not those that its scores "
            f"count; valid with rows=yes: {', '.join(COLUMNS)}"
        )
    shared = {key: content[key] for key in ("schema_version", "evaluation_id")}
    shared |= {"model_id": content["model_info"]["id"], "interaction_type": "single_turn"}
    judged = {each.name for each in scores.sets}  # No probe, of which no answer is right.
    for folder in runs.folders:
        frame = storage.read_table(folder / "predictions.parquet")
        frame = frame[frame[COLUMNS[scores.selection]] & frame["evaluation_set"].isin(judged)]
        words = [name for name in frame if name.startswith("logprob_")]
        for name, answers in frame.groupby("evaluation_set", sort=False, observed=True):
            link = {**shared, "evaluation_name": f"{collection(context)}.{name}"}
            link |= {"evaluation_result_id": result_id(str(name), "accuracy")}
            labels = context.catalog["tasks"][str(name)]["labels"]
            texts = _texts(rows[str(name)])
            for answer in answers.to_dict("records"):
                yield {**link, **_sample(answer, texts[answer["id"]], labels, words)}


def _texts(rows: pd.DataFrame) -> dict[int, str]:
    """Return the texts of each row, by its id, without a prompt."""
    second = rows["text_b"].fillna("")
    whole = rows["text_a"].str.cat(second, sep="\n").str.rstrip("\n")
    return dict(zip(rows["id"].tolist(), whole.tolist(), strict=True))


def _sample(answer: Mapping, raw: str, labels: list[str], words: list[str]) -> dict:
    asked = {"raw": raw, "reference": [answer["gold"]]}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return {
        "sample_id": str(answer["id"]),
        "sample_hash": hashlib.sha256(text.encode()).hexdigest(),
        "input": {**asked, "choices": list(labels)},
        "output": {"raw": [answer["predicted"]]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": answer["predicted"],
                "extraction_method": "highest log-probability of the label words",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": float(answer["correct"]), "is_correct": bool(answer["correct"])},
        "metadata": {
            "seed": str(answer["seed"]),
            "epoch": str(answer["epoch"]),
            "label_word_logprobs": json.dumps([round(float(answer[word]), 6) for word in words]),
        },
    }
