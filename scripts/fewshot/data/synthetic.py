"""Make the synthetic inference corpora of the embedded default.

Three kinds of sentence pairs over about a hundred words. `mnli-like` and `rte-like` are training
tasks: entailed hypotheses repeat one event of the premise, contradictions change it in one of three
ways (CONSTRUCTIONS), so that the hypothesis alone says nothing about the label. Most contradictions
name something that the premise does not say, so lexical overlap goes with entailment. `hans-like`
breaks that heuristic as HANS does (McCoy et al. 2019): every hypothesis word is in the premise and
half of the hypotheses do not follow.
"""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import unknown
from .hanslike import hans_pair
from .language import (
    ADJECTIVES,
    INTRANSITIVE,
    LABELS,
    NEGATION,
    NOUNS,
    PLACES,
    PREPOSITIONS,
    TRANSITIVE,
    pick,
)
from .sampling import generator

# How contradictions are made, and the share of each: words that the premise does not have, roles
# exchanged (all words are in the premise), "never" added or dropped.
CONSTRUCTIONS = {"replaced": 0.425, "swapped": 0.15, "negated": 0.425}
# Shares of hypotheses about an intransitive event, which has no roles to exchange: set so that as
# many entailed hypotheses have one as contradictions.
_INTRANSITIVE_SHARE = {"replaced": 0.25, "swapped": 0.0, "negated": 0.25, "entailed": 0.21}

# Each premise belongs to exactly one split, by its checksum, so that splits cannot share a pair.
SPLITS = ("train", "validation", "test", "pretrain")


class Event(NamedTuple):
    """What a sentence says: somebody (never) did something, to somebody or to nobody ("")."""

    subject: str
    verb: str
    object: str
    denied: bool

    @property
    def says(self) -> str:
        """Return its verb, denied or not."""
        return f"{NEGATION} {self.verb}" if self.denied else self.verb


def generate(kind: str, split: str, size: int, seed: int) -> pd.DataFrame:
    """Return `size` pairs of one corpus with columns idx, premise, hypothesis and label.

    Labels index `LABELS[kind]` and are balanced to within one row. The training tasks add
    construction ("entailed", "neutral" or a key of CONSTRUCTIONS), `hans-like` adds heuristic,
    subcase and template. No pair appears twice; splits share no premise, whatever the seeds.
    """
    if kind not in LABELS:
        raise unknown("corpus", kind, LABELS, "synthetic data")
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, f"synthetic data '{kind}'")
    rng = generator("synthetic", kind, split, seed)
    make = {"mnli-like": _mnli_pair, "rte-like": _rte_pair, "hans-like": hans_pair}[kind]
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


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " ").replace(",", " ").split()


def _scenes(rng: np.random.Generator, count: int) -> list[list[Event]]:
    """Return the events of `count` sentences, one or two in each; sentences share no word.

    Two events of a sentence share the person, verb and object, or nothing.
    """
    people, does = iter(pick(rng, NOUNS, 3 * count)), iter(pick(rng, TRANSITIVE, 2 * count))
    moves, scenes = iter(pick(rng, INTRANSITIVE, count)), []
    for _ in range(count):
        a, b, c = next(people), next(people), next(people)
        v, w, i = next(does), next(does), next(moves)
        shapes = (
            [(a, i, "")],
            [(a, v, b)],
            [(a, v, b), (c, v, b)],
            [(a, v, b), (a, w, c)],
            [(a, v, b), (c, i, "")],
        )
        said = shapes[rng.integers(len(shapes))]
        denied = rng.random(2) < 0.5
        if len(said) == 2 and said[0][1] == said[1][1]:
            denied[1] = denied[0]
        scenes.append([Event(*words, bool(no)) for words, no in zip(said, denied, strict=False)])
    return scenes


def _sentence(events: list[Event], rng: np.random.Generator) -> str:
    """Write a scene out, adding places, bystanders and adjectives.

    What two events have in common, their person or their verb and object, is said once.
    """
    first, *others = events
    subject, said = _person(first.subject, rng), {event.subject for event in events}
    for event in others:
        if event.verb == first.verb:
            subject += f" and {_person(event.subject, rng)}"
    if not others and rng.random() < 0.3:
        bystander = pick(rng, NOUNS, 1, not_in=said | {first.object})[0]
        subject += f" {pick(rng, PREPOSITIONS, 1, not_in=('in',))[0]} the {bystander}"
    text = f"{subject} {_predicate(first, rng)}"
    for event in others:
        if event.subject == first.subject:
            text += f" and {_predicate(event, rng)}"
        elif event.verb != first.verb:
            link = pick(rng, ("while", "because", "and"))[0]
            text += f" {link} {_person(event.subject, rng)} {_predicate(event, rng)}"
    if not others and rng.random() < 0.4:
        text += _where(rng)
    return f"{text[0].upper()}{text[1:]}."


def _where(rng: np.random.Generator) -> str:
    return f" {pick(rng, PREPOSITIONS)[0]} the {pick(rng, PLACES)[0]}"


def _person(noun: str, rng: np.random.Generator) -> str:
    return f"the {pick(rng, ADJECTIVES)[0]} {noun}" if rng.random() < 0.2 else f"the {noun}"


def _predicate(event: Event, rng: np.random.Generator) -> str:
    return f"{event.says} {_person(event.object, rng)}" if event.object else event.says


def _say(event: Event, extra: str = "") -> str:
    rest = f" the {event.object}" if event.object else ""
    return f"The {event.subject} {event.says}{rest}{extra}."


def _contradict(event: Event, others: list[Event], construction: str, premise: str, rng) -> Event:
    """Change an event of the premise by one of CONSTRUCTIONS."""
    if construction == "negated":
        return event._replace(denied=not event.denied)
    if construction == "swapped":
        objects = [each.object for each in others if each.object not in ("", event.object)]
        if objects and rng.random() < 0.5:
            return event._replace(object=objects[rng.integers(len(objects))])
        return event._replace(subject=event.object, object=event.subject)
    pools = {"subject": NOUNS, "verb": TRANSITIVE, "object": NOUNS}
    if not event.object:
        pools = {"subject": NOUNS, "verb": INTRANSITIVE}
    names, said = list(pools), set(_words(premise))
    for name in rng.permutation(names)[: rng.integers(1, len(names) + 1)]:
        word = pick(rng, pools[name], 1, not_in=said | set(event[:3]))[0]
        event = event._replace(**{str(name): word})
    return event


def _pair(label: str, sentences: int, rng: np.random.Generator) -> dict:
    """Return a premise of some sentences and a hypothesis that is entailed, neutral or denied."""
    construction = label
    if label == "contradiction":
        construction = str(rng.choice(list(CONSTRUCTIONS), p=list(CONSTRUCTIONS.values())))
    intransitive = rng.random() < _INTRANSITIVE_SHARE.get(construction, 0.2)
    while True:
        scenes = _scenes(rng, sentences)
        events = [event for scene in scenes for event in scene]
        fitting = [
            place for place, event in enumerate(events) if intransitive != bool(event.object)
        ]
        if fitting:
            break
    premise = " ".join(_sentence(scene, rng) for scene in scenes)
    event = events.pop(fitting[rng.integers(len(fitting))])
    extra = _new_place(premise, rng) if label == "neutral" else ""
    if label == "contradiction":
        event = _contradict(event, events, construction, premise, rng)
    return {
        "premise": premise,
        "hypothesis": _say(event, extra),
        "construction": construction,
    }


def _new_place(premise: str, rng: np.random.Generator) -> str:
    """Return a place that the premise does not have."""
    place = pick(rng, PLACES, 1, not_in=_words(premise))[0]
    return f" {pick(rng, PREPOSITIONS)[0]} the {place}"


def _mnli_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    return _pair(("entailed", "neutral", "contradiction")[label], 1, rng)


def _rte_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    return _pair(("entailed", "contradiction")[label], 2, rng)
