"""Pairs that break heuristics of language inference as HANS does (McCoy et al. 2019)."""

import numpy as np

from .language import ADJECTIVES, INTRANSITIVE, NOUNS, PLACES, PREPOSITIONS, TRANSITIVE, pick

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
