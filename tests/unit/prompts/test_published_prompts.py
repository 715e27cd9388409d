r"""The published code's prompts, character by character and token by token.

Written out by hand from its scripts and eval.py: a demonstration is the pattern, the target prefix,
the label word without its blank, and the separator; a query is the pattern, a blank, and the target
prefix without its outer blanks. `\n` is a backslash and an n there, and in the raw strings here.
"""

import json
from pathlib import Path

import pytest
from fewshot.prompts.label_words import label_words
from fewshot.prompts.patterns import bind_pattern, restore_pattern
from fewshot.prompts.tokenize import Queries, encode
from fewshot.study.registries import load_registries
from tiny import tokenizer_in

REGISTRIES = load_registries(Path(__file__).parents[3] / "config")
A, B = "It rained.", "It was wet."
# Demonstrations of label 0 and 1, and the query of in-context learning.
IN_CONTEXT = {
    ("llmft-minimal", "rte"): (
        r"It rained. It was wet. ? Yes\n\n",
        r"It rained. It was wet. ? No\n\n",
        r"It rained. It was wet. ? ",
    ),
    ("llmft-gpt-3", "rte"): (
        r"It rained. question: It was wet. Yes or No? answer: Yes\n\n",
        r"It rained. question: It was wet. Yes or No? answer: No\n\n",
        r"It rained. question: It was wet. Yes or No? answer:",
    ),
    ("llmft-eval-harness", "rte"): (
        r"It rained. \nQuestion: It was wet. True or False?\nAnswer: True\n\n",
        r"It rained. \nQuestion: It was wet. True or False?\nAnswer: False\n\n",
        r"It rained. \nQuestion: It was wet. True or False? \nAnswer:",
    ),
    ("llmft-minimal", "qqp-llmft"): (
        r"It rained. It was wet. ? No\n\n",
        r"It rained. It was wet. ? Yes\n\n",
        r"It rained. It was wet. ? ",
    ),
    ("llmft-qqp-eval-harness", "qqp-llmft"): (
        r"Question 1: It rained.\nQuestion 2: It was wet.\nQuestion: Do both questions ask the "
        r"same thing? Answer: No\n\n",
        r"Question 1: It rained.\nQuestion 2: It was wet.\nQuestion: Do both questions ask the "
        r"same thing? Answer: Yes\n\n",
        r"Question 1: It rained.\nQuestion 2: It was wet.\nQuestion: Do both questions ask the "
        r"same thing? Answer:",
    ),
    ("llmft-cola-minimal", "cola"): ("It rained. ? No ", "It rained. ? Yes ", "It rained. ? "),
    ("llmft-gpt-3", "cola"): (
        r"grammatical: It rained. Yes or No? answer: No\n\n",
        r"grammatical: It rained. Yes or No? answer: Yes\n\n",
        r"grammatical: It rained. Yes or No? answer:",
    ),
}
# What is trained on and scored after fine-tuning, and the words of label 0 and 1.
FINE_TUNING = {
    ("minimal", "rte"): ("It rained. It was wet. ?", (" Yes", " No")),
    ("minimal", "mnli"): ("It rained. It was wet. ?", (" Yes", " No")),
    ("llmft-gpt-3", "mnli"): (
        "It rained. question: It was wet. Yes or No? answer:",
        (" Yes", " No"),
    ),
    ("llmft-eval-harness", "mnli"): (
        r"It rained. \nQuestion: It was wet. True or False? \nAnswer:",
        (" True", " False"),
    ),
    ("minimal", "qqp-llmft"): ("It rained. It was wet. ?", (" No", " Yes")),
    ("minimal", "cola"): ("It rained. ?", (" No", " Yes")),
}


def bind(name, task):
    return bind_pattern(name, REGISTRIES["patterns"][name], task, REGISTRIES["tasks"][task])


def texts(task):
    return (A,) if task == "cola" else (A, B)


@pytest.mark.parametrize(("name", "task"), IN_CONTEXT)
def test_golden_demonstrations_and_queries(name, task):
    pattern, own = bind(name, task), texts(task)
    first, second, query = IN_CONTEXT[name, task]
    assert pattern.demonstration(0, *own) == first
    assert pattern.demonstration(1, *own) == second
    assert pattern.query(*own) == query
    assert pattern.context([(1, *own), (0, *own)]) == second + first


@pytest.mark.parametrize(("name", "task"), FINE_TUNING)
def test_golden_queries_of_fine_tuning(name, task):
    pattern = bind(name, task)
    assert (pattern.query(*texts(task)), pattern.words) == FINE_TUNING[name, task]


def test_what_a_query_says_survives_its_way_to_a_job():
    pattern = bind("llmft-minimal", "rte")
    stored = json.loads(json.dumps(vars(pattern)))
    assert restore_pattern(stored) == pattern
    assert pattern.query_cue == " " and pattern.words_alone


@pytest.mark.parametrize(("name", "task"), IN_CONTEXT)
def test_the_token_with_its_blank_is_scored_behind_the_whole_prompt(name, task, real):
    """The published code asks for the vocabulary's entry, where a blank may stand before already.

    GPT-NeoX has a token of two blanks: as a continuation of "? " the word would be another.
    """
    pattern, own = bind(name, task), texts(task)
    context = pattern.context([(label, *own) for label in (0, 1, 1, 0)])
    queries = [pattern.query(*own), pattern.query(*(text[::-1] for text in own))]
    prompts = Queries(real, queries, words=pattern.words, words_alone=True).prompts(context)
    whole = encode(real, [context + query for query in queries])
    entries = real.convert_tokens_to_ids([f"Ġ{word.strip()}" for word in pattern.words])
    for row, suffix in enumerate(prompts.suffixes):
        assert prompts.prefix + suffix == whole[row]
        assert prompts.words[row] == ((entries[0],), (entries[1],))
    assert label_words(real, pattern, queries[0]) == ((entries[0],), (entries[1],))


@pytest.mark.parametrize(("name", "task"), FINE_TUNING)
def test_fine_tuning_asks_for_the_same_tokens(name, task, real):
    pattern = bind(name, task)
    entries = real.convert_tokens_to_ids([f"Ġ{word.strip()}" for word in pattern.words])
    words = label_words(real, pattern, pattern.query(*texts(task)))
    assert words == tuple((entry,) for entry in entries)


def test_as_a_continuation_the_word_would_be_another_for_neox(shared_data):
    neox, pattern = tokenizer_in(shared_data / "neox_tokenizer"), bind("llmft-minimal", "rte")
    (words,) = Queries(neox, [pattern.query(A, B)], words=pattern.words).prompts("").words
    assert words != label_words(neox, pattern, pattern.query(A, B))
