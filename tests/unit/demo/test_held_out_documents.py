"""The embedded text: documents of the models' language that no pretraining document overlaps."""

import json
import re

from fewshot.data.synthetic import split_of
from fewshot.demo import documents
from fewshot.demo.recipes import LABEL_WORDS, PATTERNS, RECIPES, build_tokenizer
from project import ROOT

TEXTS = [
    json.loads(line)["text"]
    for line in (ROOT / "config/embedded/documents.jsonl").read_text("utf-8").splitlines()
]
CUES = (
    r" \?",
    r" question: (?P<b>.+) Yes or No\? answer:",
    r" \nQuestion: (?P<c>.+) True or False\?\nAnswer:",
)
SOLVED = re.compile(f"^(?P<text>.+?)(?:{'|'.join(CUES)}) (?:{'|'.join(LABEL_WORDS)})$", re.S)


def premises(text: str) -> list[str]:
    """Return the premises of a document's whole pairs, by its text alone."""
    found = []
    for part in text.split("\n\n")[:-1]:  # The last one is cut off.
        match = SOLVED.match(part)
        if match is None:
            found.append(part)  # A premise without a question.
        elif match["b"] or match["c"]:
            found.append(match["text"])
        else:  # The hypothesis is the last sentence in front of the mark.
            found.append(match["text"].rpartition(". ")[0] + ".")
    return found


def test_the_shipped_documents_share_no_premise_with_any_pretraining_or_task_row():
    """A premise belongs to one split by its checksum, whatever the seed: these to none that is
    read. All of the models' documents are of the split "pretrain", of the tasks' "train" and
    "validation"."""
    found = [premise for text in TEXTS for premise in premises(text)]
    assert len(TEXTS) == 32 and len(found) > 200
    assert {split_of(premise) for premise in found} == {documents.HELD_OUT}
    corpus = documents.Corpus(
        documents.replace(RECIPES["opt-micro"], pool=40), build_tokenizer("opt"), 0
    )
    stage = RECIPES["opt-micro"].stages[-1]
    read = build_tokenizer("opt").decode(corpus.document(stage, 250, 0)[0][1:])
    assert {split_of(premise) for premise in premises(read)} == {documents.PRETRAIN}


def test_documents_are_made_of_all_patterns_and_tokens_give_their_text_back(monkeypatch):
    monkeypatch.setattr(documents, "POOL", 60)
    made = documents.held_out_documents(3, 120, 5)
    assert made == documents.held_out_documents(3, 120, 5) and len(set(made)) == len(PATTERNS)
    for family in ("opt", "gpt_neox"):
        tokenizer = build_tokenizer(family)
        for text in (*made, *TEXTS):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == text
