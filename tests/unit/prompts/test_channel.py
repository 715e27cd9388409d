"""Channel patterns by hand, and their prompts against whole tokenization."""

from dataclasses import asdict

import pandas as pd
import pytest
from fewshot.errors import UserError
from fewshot.prompts.channel import queries_of
from fewshot.prompts.label_words import label_words
from fewshot.prompts.patterns import ChannelPattern, bind_pattern, restore_pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from mistakes import told
from test_tokenize import TOKENIZERS
from tiny import tiny_tokenizer
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

ENTRY = {
    "template": " -\nPremise:  {text_a} So {text_b}.",
    "template_one_text": "\nReview: {text_a}",
    "answer": "It is {label}",
    "separator": "\n\n",
    "rank_by": "channel",
    "word_tokens": "continued",
    "verbalizer": "words",
}
TASK = {"text": ["a", "b"], "labels": {"x": 0, "y": 1}, "verbalizers": {"words": ["good", "bad"]}}


def bound(task=TASK, **changes) -> ChannelPattern:
    return bind_pattern("turned", {**ENTRY, **changes}, "t", task)


def rows_of(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"text_a": texts, "text_b": None})


def test_the_answer_stands_before_the_text():
    """By hand. Before the first field all is given but the blanks, which are the text's."""
    pattern = bound()
    assert pattern.label_prompt(1) == "It is bad -\nPremise:"
    assert pattern.query("a cat", "a dog") == "  a cat So a dog."
    shown = "It is bad -\nPremise:  a cat So a dog.\n\n"
    assert pattern.demonstration(1, "a cat", "a dog") == shown
    assert pattern.context([(1, "a cat", "a dog")] * 2) == 2 * shown
    assert pattern.content_free() == []
    one = bound({**TASK, "text": ["a"]})
    assert one.demonstration(0, "fine") == "It is good\nReview: fine\n\n"
    with pytest.raises(ValueError, match="text_b is None, not text"):
        pattern.query("a cat")


def test_a_job_gets_the_pattern_that_was_bound():
    assert restore_pattern(asdict(bound())) == bound()
    assert isinstance(restore_pattern(asdict(bound())), ChannelPattern)


@pytest.mark.parametrize("change", [{"query": " "}, {"word_tokens": "alone"}])
def test_label_words_that_continue_a_text_are_refused(change):
    assert told(bound, **change) == (
        f"config/patterns.yaml: pattern 'turned': {next(iter(change))}: with rank_by: channel no "
        "label word continues a text; leave it out"
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=15, deadline=None)
@given(
    shots=st.lists(st.tuples(st.integers(0, 1), st.text("ab ?\nY", max_size=6)), max_size=3),
    texts=st.lists(st.text("ab ?\nYé", min_size=1, max_size=6), min_size=1, max_size=5),
    words=st.sampled_from([("good", "bad"), ("a", "ab"), ("Yes", "No")]),
    template=st.sampled_from([" {text_a}", "\nb {text_a}", "{text_a} ?", ".{text_a}"]),
)
def test_tokens_are_those_of_the_whole_text(name, shots, texts, words, template):
    tokenizer = TOKENIZERS[name]
    task = {**TASK, "text": ["a"], "verbalizers": {"words": words}}
    pattern = bound(task, template_one_text=template, answer="a: {label}")
    context = pattern.context([(label, text, None) for label, text in shots])
    prompts = queries_of(tokenizer, pattern, rows_of(texts), range(len(texts))).prompts(context)
    assert prompts.per_row == 2 and prompts.ids == tuple(i for i in range(len(texts)) for _ in "ab")
    assert all(prompts.suffixes)
    pairs = [(text, label) for text in texts for label in (0, 1)]
    for (text, label), own, (word,) in zip(pairs, prompts.suffixes, prompts.words, strict=True):
        before = context + pattern.label_prompt(label)
        whole = tokenizer(before + pattern.query(text))["input_ids"]
        assert [*prompts.prefix, *own, *word] == whole
        # The label's prompt ends where its tokens are no longer those of the whole text.
        start = [*prompts.prefix, *own]
        alone = tokenizer(before)["input_ids"]
        assert start == alone[: len(start)] and whole[: len(start) + 1] != alone[: len(start) + 1]


def test_a_token_across_the_border_is_the_texts():
    """By hand: "b" and "c" merge, so that the text behind "ab" has the tokens "bc" and "d"."""
    tokens = {each: i for i, each in enumerate(["a", "b", "c", "d", "e", "bc"])}
    backend = Tokenizer(models.BPE(tokens, [("b", "c")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    task = {**TASK, "text": ["a"], "verbalizers": {"words": ["ab", "ae"]}}
    pattern = bound(task, template_one_text="{text_a}", answer="{label}")
    prompts = queries_of(tokenizer, pattern, rows_of(["cd"]), [7]).prompts("")
    assert prompts.prefix == () and prompts.ids == (7, 7)
    assert prompts.suffixes == [(0,), (0, 4)]
    assert prompts.words == [((5, 3),), ((2, 3),)]


def test_a_row_without_a_text_is_named():
    pattern = bound({**TASK, "text": ["a"]}, template_one_text=":{text_a}")
    queries = queries_of(tiny_tokenizer(), pattern, rows_of(["near", ""]), ["set/3", "set/4"])
    with pytest.raises(
        UserError, match="row with id set/4: its text adds no token behind a label word"
    ):
        queries.prompts("")


def test_label_words_must_be_known_and_differ():
    one = {**TASK, "text": ["a"]}
    tokenizer = tiny_tokenizer()
    known = bound({**one, "verbalizers": {"words": ["Yes", "Yes or"]}}, answer="Answer: {label}")
    words = [" Yes", " Yes or"]
    expected = tuple(tuple(tokenizer(w, add_special_tokens=False)["input_ids"]) for w in words)
    assert label_words(tokenizer, known, "") == expected, "one may begin with the other"
    assert "label word 'good' has no tokens of its own" in told(
        label_words, tokenizer, bound(one, answer="{label}"), ""
    )
