"""Make the synthetic inference corpora of the embedded default.

Three kinds of sentence pairs over about a hundred words. `mnli-like` and `rte-like` are training
tasks in which lexical overlap goes with entailment: entailed hypotheses only drop material, others
deny the event (the give-away word "never") or name other people and actions. `hans-like` breaks
that heuristic as HANS does (McCoy et al. 2019): every hypothesis word is in the premise and half
of the hypotheses do not follow.
"""

import zlib

import numpy as np
import pandas as pd

from .errors import unknown
from .sampling import generator

NOUNS = tuple(
    "doctor lawyer teacher artist student manager actor judge banker author senator scientist "
    "tourist secretary athlete president professor baker farmer pilot".split()
)
TRANSITIVE = tuple(
    "saw helped called thanked admired avoided praised followed visited paid advised warned".split()
)
INTRANSITIVE = tuple("slept danced ran laughed waited shouted cried sang worked arrived".split())
ADJECTIVES = tuple("old young tall happy tired famous quiet clever".split())
PLACES = tuple("garden office river market library station kitchen park".split())
PREPOSITIONS = tuple("near behind in by".split())
FUNCTION_WORDS = tuple(
    "the The and or who that never was while because if If since Since said hoped knew "
    "thought Clearly Probably".split()
)
NEGATION = "never"

LABELS = {
    "mnli-like": ("entailment", "neutral", "contradiction"),
    "rte-like": ("entailment", "not_entailment"),
    "hans-like": ("entailment", "non-entailment"),
}
# Each premise belongs to exactly one split, by its checksum, so that splits cannot share a pair.
SPLITS = ("train", "validation", "test", "pretrain")

# HANS-like pairs: subcase -> (premise, hypothesis). Slots: a, b, c people; v, w transitive and
# i, j intransitive verbs; d an adjective; p a place; r a preposition. The prefix is HANS's:
# heuristic (l, s, c), then e (entailment) or n (non-entailment).
HANS_TEMPLATES = {
    "le_conjunction": ("The {a} and the {b} {v} the {c}.", "The {b} {v} the {c}."),
    "le_relative_clause": ("The {a} who the {b} {v} {w} the {c}.", "The {b} {v} the {a}."),
    "le_around_prepositional_phrase": ("The {a} {r} the {b} {v} the {c}.", "The {a} {v} the {c}."),
    "ln_subject_object_swap": ("The {a} {v} the {b}.", "The {b} {v} the {a}."),
    "ln_preposition": ("The {a} {r} the {b} {v} the {c}.", "The {b} {v} the {a}."),
    "ln_conjunction": ("The {a} and the {b} {v} the {c}.", "The {a} {v} the {b}."),
    "se_conjunction": ("The {b} {i} and the {a} {v} the {c}.", "The {a} {v} the {c}."),
    "se_adjective": ("The {d} {a} {v} the {b}.", "The {a} {v} the {b}."),
    "se_PP_on_obj": ("The {a} {v} the {b} {r} the {p}.", "The {a} {v} the {b}."),
    "sn_NP_S": ("The {a} knew the {b} {i}.", "The {a} knew the {b}."),
    "sn_PP_on_subject": ("The {a} {r} the {b} {i}.", "The {b} {i}."),
    "sn_relative_clause_on_subject": ("The {a} who {v} the {b} {i}.", "The {b} {i}."),
    "ce_embedded_under_since": ("Since the {a} {i}, the {b} {j}.", "The {a} {i}."),
    "ce_embedded_under_verb": ("The {b} knew that the {a} {i}.", "The {a} {i}."),
    "ce_adverb": ("Clearly the {a} {v} the {b}.", "The {a} {v} the {b}."),
    "cn_embedded_under_if": ("If the {a} {i}, the {b} {j}.", "The {a} {i}."),
    "cn_embedded_under_verb": ("The {b} hoped that the {a} {i}.", "The {a} {i}."),
    "cn_adverb": ("Probably the {a} {v} the {b}.", "The {a} {v} the {b}."),
}
HEURISTICS = {"l": "lexical_overlap", "s": "subsequence", "c": "constituent"}


def generate(kind: str, split: str, size: int, seed: int) -> pd.DataFrame:
    """Return `size` pairs of one corpus with columns idx, premise, hypothesis and label.

    Labels index `LABELS[kind]` and are balanced to within one row. `hans-like` adds heuristic,
    subcase and template. No pair appears twice; splits share no premise, whatever the seeds.
    """
    if kind not in LABELS:
        raise unknown("corpus", kind, LABELS, "synthetic data")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, f"synthetic data '{kind}'")
    rng = generator("synthetic", kind, split, seed)
    make = {"mnli-like": _mnli_pair, "rte-like": _rte_pair, "hans-like": _hans_pair}[kind]
    labels = rng.permutation(np.arange(size) % len(LABELS[kind]))
    rows, seen = [], set()
    for position, label in enumerate(labels):
        while True:
            row = make(int(label), position, rng)
            pair = row["premise"], row["hypothesis"]
            if split_of(row["premise"]) == split and pair not in seen:
                break
        seen.add(pair)
        rows.append({"idx": position, **row, "label": int(label)})
    return pd.DataFrame(rows)


def split_of(premise: str) -> str:
    """Return the only split that may contain a premise."""
    return SPLITS[zlib.crc32(premise.encode()) % len(SPLITS)]


def overlap(premise: str, hypothesis: str) -> float:
    """Return the share of hypothesis words that occur in the premise, case and marks ignored."""
    words = set(_words(premise))
    said = _words(hypothesis)
    return sum(word in words for word in said) / len(said)


def vocabulary() -> list[str]:
    """Return every word of the corpora, without marks."""
    groups = (NOUNS, TRANSITIVE, INTRANSITIVE, ADJECTIVES, PLACES, PREPOSITIONS, FUNCTION_WORDS)
    return sorted({word for group in groups for word in group})


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " ").replace(",", " ").split()


def _pick(rng: np.random.Generator, words: tuple[str, ...], count: int = 1, not_in=()) -> list[str]:
    """Draw distinct words, none of them in `not_in`."""
    order = (words[i] for i in rng.permutation(len(words)))
    chosen = [word for word in order if word not in not_in]
    return chosen[:count]


def _scene(rng: np.random.Generator) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the clauses of one sentence and its events, each (person, verb[, person])."""
    a, b, c = _pick(rng, NOUNS, 3)
    v, w = _pick(rng, TRANSITIVE, 2)
    i = _pick(rng, INTRANSITIVE)[0]
    shape = rng.integers(5)
    if shape == 0:
        return [f"{{{a}}} {i}", _where(rng)], [(a, i)]
    if shape == 1:
        return [f"{{{a}}} {v} {{{b}}}", _where(rng)], [(a, v, b)]
    if shape == 2:
        return [f"{{{a}}} {v} {{{b}}}", f" and {w} {{{c}}}"], [(a, v, b), (a, w, c)]
    link = _pick(rng, ("while", "because", "and"))[0]
    if shape == 3:
        return [f"{{{a}}} {v} {{{b}}}", f" {link} {{{c}}} {i}"], [(a, v, b), (c, i)]
    return [f"{{{a}}} {v} {{{b}}}", ""], [(a, v, b)]


def _where(rng: np.random.Generator) -> str:
    return f" {_pick(rng, PREPOSITIONS)[0]} the {_pick(rng, PLACES)[0]}"


def _sentence(clauses: list[str], rng: np.random.Generator) -> str:
    """Write a scene out; about a third of the people get an adjective."""
    text = "".join(clauses)
    for noun in NOUNS:
        if f"{{{noun}}}" in text:
            adjective = f"{_pick(rng, ADJECTIVES)[0]} " if rng.random() < 0.3 else ""
            text = text.replace(f"{{{noun}}}", f"the {adjective}{noun}")
    return f"{text[0].upper()}{text[1:]}."


def _say(event: tuple[str, ...], deny: bool = False, extra: str = "") -> str:
    subject, verb, *rest = event
    middle = f"{NEGATION} {verb}" if deny else verb
    return f"The {subject} {middle}{f' the {rest[0]}' if rest else ''}{extra}."


def _replace(event: tuple[str, ...], count: int, premise: str, rng) -> tuple[str, ...]:
    """Swap `count` content words of an event for words that the premise does not have."""
    said, changed = set(_words(premise)), list(event)
    for place in rng.permutation(len(event))[:count]:
        verbs = TRANSITIVE if len(event) == 3 else INTRANSITIVE
        pool = verbs if place == 1 else NOUNS
        changed[place] = _pick(rng, pool, 1, not_in=said | set(changed))[0]
    return tuple(changed)


def _mnli_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    clauses, events = _scene(rng)
    premise = _sentence(clauses, rng)
    event = events[rng.integers(len(events))]
    if label == 0:
        hypothesis = _say(event)
    elif label == 1:
        hypothesis = _say(event, extra=_where(rng))
        if overlap(premise, hypothesis) == 1.0:
            return _mnli_pair(label, position, rng)
    elif rng.random() < 0.5:
        hypothesis = _say(event, deny=True)
    else:
        hypothesis = _say(_replace(event, int(rng.integers(2, 4)), premise, rng))
    return {"premise": premise, "hypothesis": hypothesis}


def _rte_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    (first, first_events), (second, second_events) = _scene(rng), _scene(rng)
    premise = f"{_sentence(first, rng)} {_sentence(second, rng)}"
    events = first_events + second_events
    event = events[rng.integers(len(events))]
    if label == 0:
        hypothesis = _say(event)
    elif rng.random() < 0.4:
        hypothesis = _say(event, deny=True)
    else:
        hypothesis = _say(_replace(event, int(rng.integers(2, 4)), premise, rng))
    return {"premise": premise, "hypothesis": hypothesis}


def _hans_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    names = [name for name in HANS_TEMPLATES if name[1] == "en"[label]]
    subcase = names[position // 2 % len(names)]
    a, b, c = _pick(rng, NOUNS, 3)
    v, w = _pick(rng, TRANSITIVE, 2)
    i, j = _pick(rng, INTRANSITIVE, 2)
    d, p = _pick(rng, ADJECTIVES)[0], _pick(rng, PLACES)[0]
    r = _pick(rng, PREPOSITIONS, not_in=("in",))[0]
    slots = dict(a=a, b=b, c=c, v=v, w=w, i=i, j=j, d=d, p=p, r=r)
    premise, hypothesis = (text.format(**slots) for text in HANS_TEMPLATES[subcase])
    return {
        "premise": premise,
        "hypothesis": hypothesis,
        "heuristic": HEURISTICS[subcase[0]],
        "subcase": subcase,
        "template": f"temp{list(HANS_TEMPLATES).index(subcase) + 1}",
    }
