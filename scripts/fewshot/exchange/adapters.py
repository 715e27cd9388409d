"""The adapters that a study's runs keep, in peft's format, each with a card."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .. import storage
from ..adaptation.job import AdaptationJob
from ..adaptation.job_prompts import JobPrompts
from ..analysis import stats
from ..analysis.row_clusters import row_clusters
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..models.files import model_folder
from ..models.language_part import read_config
from ..models.tokenizer import load_tokenizer
from ..prompts.tokenize import Prompts, encode
from ..prompts.window import OK
from . import adapter_cards as cards
from .cells import adapter_file, read_finished, restored
from .peft_files import FOUR_BIT, UnequalWidths, peft_form, write_form

LOG = logging.getLogger(__name__)
CARD = "README.md"
PART = "it is a part of a model that transformers loads whole, with other names of its layers"
UNEQUAL = "peft's prefixes have keys and values of one shape"


def write_adapters(
    folder: str | Path, study: str, runs: Sequence[Mapping], left_out: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Write the adapter of each run and seed to a folder of its own, and a page of all of them.

    `runs` and `left_out` are what `study.exchange_inputs.adapter_runs` returns. Returns the folders
    that were written, and what was left out → why, with draws that do not fit and models of which
    peft knows only the whole. Raises UserError where there is no adapter at all, or where a run is
    not what the study has now.
    """
    folder, written, left_out = Path(folder), {}, dict(left_out)
    for told in runs:
        made, not_made = _write_run(folder, told)
        written, left_out = written | made, left_out | not_made
    if not written:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UserError(
            f"study '{study}': no adapter that peft can load{f' ({reasons})' if reasons else ''}"
        )
    _write(folder / CARD, cards.index(study, written, left_out))
    LOG.info("%d adapters in %s", len(written), folder)
    return list(written), left_out


def _write_run(folder: Path, told: Mapping) -> tuple[dict[str, cards.Card], dict[str, str]]:
    """Write the adapters of a run; return their folders with the cards, and what was left out."""
    manifest, written, left_out = read_finished(told), {}, {}
    config, part = read_config(model_folder(told["manifest"]))
    if part:
        return {}, {told["cell"]["model"]: PART}
    base, tokenizer = _base(told), load_tokenizer(told["manifest"])
    scored = [each for each in told["evaluation"] if not each.get("probe")]
    sets = [EvaluationSet.of(each, storage.read_rows(each["path"])) for each in scored]
    predictions = storage.read_table(Path(told["folder"], "predictions.parquet"))
    predictions = predictions[predictions["last"]]
    for seed in sorted(map(int, manifest["seeds"])):
        place = f"{_place(told['cell'])}/seed{seed}"
        status = manifest["seeds"][str(seed)]["status"]
        if status != OK:
            left_out[place] = status
            continue
        state = _read_state(adapter_file(told, manifest, seed), told["cell"], seed)
        try:
            form = peft_form(told["method"], state, config)
        except UnequalWidths:
            return {}, {told["cell"]["method"]: UNEQUAL}
        about = {**told["cell"], "seed": seed, "epoch": told["method"]["epochs"]}
        write_form(folder / place, form, base.name, base.revision, about)
        scored = predictions[predictions["seed"] == seed]
        kind = form[0].peft_type.value
        card = _card(told, manifest, seed, base, kind, sets, scored, tokenizer)
        _write(folder / place / CARD, cards.render(card))
        written[place] = card
    return written, left_out


def _place(cell: Mapping) -> str:
    return "/".join(f"k{value}" if key == "k" else str(value) for key, value in cell.items())


def _write(path: Path, text: str) -> None:
    with storage.atomic(path) as partial:
        partial.write_text(text, "utf-8")


def _read_state(path: Path, cell: Mapping, seed: int) -> dict:
    """Return stored parameters; raises UserError where they are of another cell or seed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not readable ({error})") from None
    for key, value in {**cell, "seed": seed}.items():
        if about.get(key) != value:
            raise UserError(f"{path}: {key} is {about.get(key)}, not {value}: another run's file")
    return state


def _base(told: Mapping) -> cards.Base:
    """Return which model the adapters of a run belong to."""
    manifest = storage.read_json(told["manifest"], "hub", "revision", "path", "files")
    weights = {
        name: entry["sha256"]
        for name, entry in manifest["files"].items()
        if name.endswith((".safetensors", ".bin"))
    }
    return cards.Base(
        manifest["hub"] or manifest["path"],
        manifest["revision"],
        weights,
        told["model"]["dtype"],
        told["licence"],
        told["method"]["family"] in FOUR_BIT,
    )


def _card(
    told: Mapping,
    manifest: Mapping,
    seed: int,
    base: cards.Base,
    peft_type: str,
    sets: Sequence[EvaluationSet],
    scored: pd.DataFrame,
    tokenizer,
) -> cards.Card:
    """Return what is told of an adapter; `scored` are its predictions of the evaluation `sets`."""
    own = sets[0]
    first = own.rows.sort_values("id").head(1)
    example = EvaluationSet(own.name, own.merge, first, own.base, own.label_names)
    job = restored(told, seed, (example,), tokenizer)
    read = JobPrompts(job, ()).of_seed(seed)
    prompts = read.sets.whole[own.name].prompts
    stored = scored[(scored["evaluation_set"] == own.name) & (scored["id"] == first["id"].iloc[0])]
    shots, replaced = job.shots[seed], bool(read.ahead)
    front = _left_of_context(job, prompts, first) if replaced else job.pattern.context(())
    return cards.Card(
        cell=told["cell"],
        seed=seed,
        titles=told["titles"],
        settings=told["method"],
        peft_type=peft_type,
        code=manifest["code"],
        packages=manifest["packages"],
        base=base,
        draw=manifest["checksums"]["shots"][str(seed)],
        shots=[
            (int(number), job.labels[label])
            for number, label in zip(shots["id"], shots["label"], strict=True)
        ],
        accuracies=[_accuracy(item, scored) for item in sets],
        prompting=_prompting(job, front, replaced),
        example=_example(job, first, prompts, stored, front, replaced),
    )


def _left_of_context(job: AdaptationJob, prompts: Prompts, row: pd.DataFrame) -> str:
    """Return what stands between learned keys and values and a query: tokenizers may merge the end
    of a context where nothing follows, so that its last token is no part of prompts behind it."""
    ids = [*prompts.prefix, *prompts.suffixes[0]]
    tokenizer = job.queries.tokenizer
    (query,) = encode(tokenizer, job.pattern.queries(row), special=False)
    return tokenizer.decode(ids[: len(ids) - len(query)])


def _accuracy(item: EvaluationSet, scored: pd.DataFrame) -> cards.Accuracy:
    """Return the share of a set's rows that are right, with its interval for rows like these."""
    answers = scored[scored["evaluation_set"] == item.name].sort_values("id")
    correct = answers["correct"].to_numpy()
    clusters = row_clusters(item)
    parts = clusters.parts(clusters.added(correct[None].astype(float)))
    count = len(clusters.sizes)
    bounds = None
    if count > 1:
        error = stats.error_of(parts)
        bounds = tuple(map(float, stats.share_bounds(parts.mean, error.error, error.df, count)))
    return cards.Accuracy(item.name, len(correct), count, parts.mean, bounds)


def _prompting(job: AdaptationJob, front: str, replaced: bool) -> cards.Prompting:
    """Return how prompts are made: queries behind the text `front`, and behind the shots where the
    method shows them, unless learned keys and values have `replaced` these."""
    pattern, settings, notes = job.pattern, job.settings, []
    fields = {field for _, field in pattern.parts if field}
    template = front + pattern.query("{text_a}", "{text_b}" if "text_b" in fields else None)
    if replaced:
        notes.append(
            "The learned keys and values stand in the place of the shots and of the special tokens "
            "in front of them"
        )
    elif settings.get("score_context"):
        notes.append("In front of it stand the shots, solved, in their order: see the example")
    if settings.get("end_token"):
        notes.append("Behind a label word stands the token that ends an answer, which counts too")
    if settings.get("truncate"):
        notes.append(f"Prompts are cut to {settings['truncate']} tokens, on the right")
    if pattern.rank_by in ("mean", "characters"):
        unit = {"mean": "token", "characters": "character"}[pattern.rank_by]
        notes.append(f"Label words are ranked by their log-probability per {unit}")
    words = dict(zip(job.labels, pattern.words, strict=True))
    added = pattern.adds_special and not replaced
    return cards.Prompting(template, words, _special(job) if added else (), notes)


def _special(job: AdaptationJob) -> list[str]:
    """Return the special tokens that the tokenizer adds in front of a text."""
    tokenizer = job.queries.tokenizer
    whole, bare = (encode(tokenizer, ["a"], special=added)[0] for added in (True, False))
    return tokenizer.convert_ids_to_tokens(whole[: len(whole) - len(bare)])


def _example(
    job: AdaptationJob,
    row: pd.DataFrame,
    prompts: Prompts,
    stored: pd.DataFrame,
    front: str,
    replaced: bool,
) -> cards.Example:
    """Return a row with its prompt as it was read and what the run has stored for it."""
    pattern = job.pattern
    if job.settings.get("score_context"):
        (front,) = (pattern.context_of(shots) for shots in job.shots.values())
    text, special = front + pattern.queries(row)[0], pattern.adds_special and not replaced
    ids = [*prompts.prefix, *prompts.suffixes[0]]
    prompt = f"tokenizer({json.dumps(text, ensure_ascii=False)}, add_special_tokens={special})"
    # Where words merge with a text, or it was cut, no text has the tokens that were read.
    same = _plain_tokenizer(job)(text, add_special_tokens=special)["input_ids"] == ids
    logprobs = stored.filter(regex=r"^logprob_\d+$").to_numpy()[0].tolist()
    return cards.Example(
        f"{int(row['id'].iloc[0])} of `{job.cell['task']}`",
        text,
        f'{prompt}["input_ids"]' if same else str(ids),
        list(zip(job.labels, prompts.words[0], logprobs, strict=True)),
    )


def _plain_tokenizer(job: AdaptationJob):
    """Return the tokenizer as transformers alone loads it."""
    from transformers import AutoTokenizer

    folder = model_folder(job.model_manifest)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
