"""The synthetic inference corpora of the demo: vocabulary, training rows, HANS-like rows."""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import unknown
from ..rng import generator

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
"""Of each corpus, in the order of their numbers."""


def vocabulary() -> list[str]:
    """Return every word of the corpora, without marks."""
    groups = (NOUNS, TRANSITIVE, INTRANSITIVE, ADJECTIVES, PLACES, PREPOSITIONS, FUNCTION_WORDS)
    return sorted({word for group in groups for word in group})


def pick(rng: np.random.Generator, words: tuple[str, ...], count: int = 1, not_in=()) -> list[str]:
    """Draw distinct words, none of them in `not_in`."""
    order = (words[i] for i in rng.permutation(len(words)))
    chosen = [word for word in order if word not in not_in]
    return chosen[:count]


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


def hans_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    """Return the row of the next subcase with this label: texts, heuristic, subcase, template."""
    names = [name for name in HANS_TEMPLATES if name[1] == "en"[label]]
    subcase = names[position // 2 % len(names)]
    a, b, c = pick(rng, NOUNS, 3)
    v, w = pick(rng, TRANSITIVE, 2)
    i, j = pick(rng, INTRANSITIVE, 2)
    d, p = pick(rng, ADJECTIVES)[0], pick(rng, PLACES)[0]
    r = pick(rng, PREPOSITIONS, not_in=("in",))[0]
    slots = dict(a=a, b=b, c=c, v=v, w=w, i=i, j=j, d=d, p=p, r=r)
    premise, hypothesis = (text.format(**slots) for text in HANS_TEMPLATES[subcase])
    return {
        "premise": premise,
        "hypothesis": hypothesis,
        "heuristic": HEURISTICS[subcase[0]],
        "subcase": subcase,
        "template": f"temp{list(HANS_TEMPLATES).index(subcase) + 1}",
    }


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
        objects = [other.object for other in others if other.object not in ("", event.object)]
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
    location = pick(rng, PLACES, 1, not_in=_words(premise))[0]
    return f" {pick(rng, PREPOSITIONS)[0]} the {location}"


def _mnli_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    return _pair(("entailed", "neutral", "contradiction")[label], 1, rng)


def _rte_pair(label: int, position: int, rng: np.random.Generator) -> dict:
    return _pair(("entailed", "contradiction")[label], 2, rng)
