"""The card (README.md) of an exported adapter: all that its numbers depend on, in words.

Its example is a row of the task's own evaluation set with the log-probabilities that the run has
stored for it, so that whoever loads the adapter can see whether they are the same.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

LICENCES = ("apache-2.0", "mit")
"""Licences of registries that, in lower case, are the Hub's names of them."""
VERSIONS = ("peft", "torch", "transformers")


@dataclass(frozen=True)
class Base:
    """The model that an adapter belongs to: the Hub's repository and its commit, or the folder of a
    local model, whose `weights` (file → sha256) tell which one it is."""

    name: str
    revision: str | None
    weights: Mapping[str, str]
    dtype: str
    licence: str = ""
    four_bit: bool = False

    @property
    def on_hub(self) -> bool:
        """Return whether it is of the Hub."""
        return self.revision is not None


@dataclass(frozen=True)
class Accuracy:
    """How many rows of an evaluation set are right, and the interval for other rows like these
    (None: a single row or cluster does not tell)."""

    name: str
    rows: int
    clusters: int
    mean: float
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class Prompting:
    """How prompts are made: `template` is the text in front of a label word, `words` are label →
    word, `special` what the tokenizer adds in front of the text, `notes` what else there is."""

    template: str
    words: Mapping[str, str]
    special: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Example:
    """A row that was scored: the `text` of its prompt, that `prompt` in Python (a text to tokenize,
    or tokens), and for each label the tokens of its word and their stored log-probability."""

    row: str
    text: str
    prompt: str
    answers: Sequence[tuple[str, Sequence[int], float]]


@dataclass(frozen=True)
class Card:
    """What a card tells: of the run its `cell`, `seed`, `titles` and `settings`, and what it was
    made with (`code`, `packages`); `shots` are (id, label) in the order of the draw."""

    cell: Mapping
    seed: int
    titles: Mapping[str, str]
    settings: Mapping
    peft_type: str
    code: str
    packages: Mapping[str, str]
    base: Base
    draw: str
    shots: Sequence[tuple[int, str]]
    accuracies: Sequence[Accuracy]
    prompting: Prompting
    example: Example


def render(card: Card) -> str:
    """Return a card as Markdown with the Hub's metadata in front."""
    cell, titles = card.cell, card.titles
    title = f"{titles['method']} of {titles['model']} on {titles['task']}"
    parts = [
        front_matter(card.base.name if card.base.on_hub else None, card.base.licence),
        f"# {title} ({cell['k']} shots, seed {card.seed})",
        "Trained by [fairshot](#made-by) on the shots below, to compare ways of adaptation. It was "
        "tested on nothing but the sets below.",
        _facts(card),
        "## Accuracy",
        _accuracies(card.accuracies),
        "## Shots",
        f"Rows of the training split of `{cell['task']}` by id, in the order drawn "
        f"(checksum `{card.draw}`): "
        + ", ".join(f"{number} ({label})" for number, label in card.shots)
        + ".",
        "## Prompt",
        _prompting(card.prompting),
        "## Load and check",
        _check(card),
        "## Made by",
        f"Cell `{'/'.join(map(str, cell.values()))}`, seed {card.seed}; code version "
        f"`{card.code}`; "
        + ", ".join(f"{name} {card.packages[name]}" for name in VERSIONS if name in card.packages)
        + f". Settings: `{json.dumps(card.settings, sort_keys=True)}`.",
    ]
    return "\n\n".join(parts) + "\n"


def index(study: str, written: Mapping[str, Card], left_out: Mapping[str, str]) -> str:
    """Return the page of all adapters of a study: `written` are their folders with the cards,
    `left_out` what was not exported → why."""
    bases = list(dict.fromkeys(card.base.name for card in written.values() if card.base.on_hub))
    lines = ["| adapter | base model | in domain (%) |", "|---|---|---|"]
    for folder, card in written.items():
        own = card.accuracies[0]
        lines.append(f"| [{folder}]({folder}/README.md) | {card.base.name} | {_share(own)} |")
    first, licences = next(iter(written)), {card.base.licence for card in written.values()}
    parts = [
        front_matter(bases or None, licences.pop() if len(licences) == 1 else ""),
        f"# Adapters of the study {study}",
        "In the format of peft, each with a card: base model, shots, prompt, accuracy, and an "
        "example to check that it was loaded as it should be. From the Hub:",
        _code([f'model = PeftModel.from_pretrained(base, "<owner/name>", subfolder="{first}")']),
        "\n".join(lines),
    ]
    if left_out:
        parts += [
            "Not exported:",
            "\n".join(f"- `{name}`: {why}" for name, why in left_out.items()),
        ]
    return "\n\n".join(parts) + "\n"


def front_matter(base: str | Sequence[str] | None, licence: str) -> str:
    """Return the metadata of a card: `base` are repositories of the Hub, `licence` is what a
    model's entry says; without any the user is told to fill it in."""
    told = {"library_name": "peft"}
    if base:
        told |= {"base_model": base, "base_model_relation": "adapter"}
    if licence.lower() in LICENCES:
        told["license"] = licence.lower()
    elif licence:
        told |= {"license": "other", "license_name": licence}
    text = yaml.safe_dump({**told, "tags": ["fairshot", "few-shot"]}, sort_keys=False, width=1000)
    note = "" if licence else "# license: unknown; for you to say, by base model and data\n"
    return f"---\n{text}{note}---"


def _facts(card: Card) -> str:
    base, cell = card.base, card.cell
    if base.on_hub:
        told = f"`{base.name}`, revision `{base.revision}`"
    else:
        sums = ", ".join(f"{name} sha256 `{digest}`" for name, digest in base.weights.items())
        told = f"local folder `{base.name}` ({sums}), not on the Hub"
    licence = base.licence or "not stated"
    rows = {
        "Base model": told,
        "Precision": base.dtype
        + (", linear layers in 4 bits (NF4, double quantisation)" if base.four_bit else ""),
        "Task": f"{card.titles['task']} (`{cell['task']}`)",
        "Method": f"{card.titles['method']} (`{cell['method']}`), peft's {card.peft_type}",
        "Weights": f"of the last epoch, {card.settings['epochs']}",
        "Licence": f"of the base model: {licence}; of this adapter: its maker's to say, as that "
        "and the licence of the data allow",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _share(accuracy: Accuracy) -> str:
    text = f"{100 * accuracy.mean:.1f}"
    if accuracy.bounds:
        text += " [{:.1f}, {:.1f}]".format(*(100 * each for each in accuracy.bounds))
    return text


def _accuracies(accuracies: Iterable[Accuracy]) -> str:
    lines = ["| evaluation set | rows | accuracy (%) |", "|---|--:|---|"]
    for each in accuracies:
        rows = str(each.rows) + (
            f" in {each.clusters} clusters" if each.clusters < each.rows else ""
        )
        lines.append(f"| `{each.name}` | {rows} | {_share(each)} |")
    note = (
        "With 95 % intervals for other rows like these. They say nothing of other draws of shots. "
        "The first set is the task's own, the others are out of domain."
    )
    return "\n".join(lines) + f"\n\n{note}"


def _prompting(prompting: Prompting) -> str:
    words = ", ".join(f"{label} → `{json.dumps(word, ensure_ascii=False)}`"
                      for label, word in prompting.words.items())  # fmt: skip
    added = "adds no special token to the text"
    if prompting.special:
        added = (
            f"adds {', '.join(f'`{token}`' for token in prompting.special)} in front of the text"
        )
    notes = "".join(f"\n- {note}" for note in prompting.notes)
    return (
        f"{_code([json.dumps(prompting.template, ensure_ascii=False)])}\n\n"
        f"- Label words, which follow it: {words}. The one that is most probable is the answer.\n"
        f"- The tokenizer {added}; prompt and label word are tokenized together.{notes}"
    )


def _check(card: Card) -> str:
    base, example = card.base, card.example
    name = f'"{base.name}"' + (f', revision="{base.revision}"' if base.on_hub else "")
    classes, quantised = "AutoModelForCausalLM, AutoTokenizer", ""
    if base.four_bit:
        classes += ", BitsAndBytesConfig"
        quantised = (
            ", quantization_config=BitsAndBytesConfig(load_in_4bit=True, "
            'bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
            f"bnb_4bit_compute_dtype=torch.{base.dtype})"
        )
    answers = {label: list(answer) for label, answer, _ in example.answers}
    code = [
        "import torch",
        "from peft import PeftModel",
        f"from transformers import {classes}",
        "",
        'adapter = "."  # the folder of this card',
        f"base = AutoModelForCausalLM.from_pretrained({name}, dtype=torch.{base.dtype}{quantised})",
        "model = PeftModel.from_pretrained(base, adapter, autocast_adapter_dtype=False).eval()",
        f"tokenizer = AutoTokenizer.from_pretrained({name})",
        f"prompt = {example.prompt}",
        f"for label, answer in {json.dumps(answers, ensure_ascii=False)}.items():",
        "    with torch.no_grad():",
        "        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]",
        "    logprobs = logits[-len(answer) - 1 : -1].float().log_softmax(-1)",
        "    print(label, logprobs[range(len(answer)), answer].sum().item())",
    ]
    stored = ["| label | log-probability |", "|---|--:|"]
    stored += [f"| {label} | {value:.5f} |" for label, _, value in example.answers]
    near = "to 1e-5" if base.dtype == "float32" and not base.four_bit else "but for rounding"
    parts = [
        f"Row {example.row} has the prompt",
        _code([json.dumps(example.text, ensure_ascii=False)]),
        "and",
        _code(code, "python"),
        f"prints, {near}, what the run has stored:",
        "\n".join(stored),
    ]
    return "\n\n".join(parts)


def _code(lines: Sequence[str], language: str = "") -> str:
    text, fence = "\n".join(lines), "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
