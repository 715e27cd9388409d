"""Prompts against whole tokenization, with tokenizers that merge across many boundaries."""

import pandas as pd
import pytest
from fewshot.errors import UserError
from fewshot.prompts import tokenize
from fewshot.prompts.label_words import end_tokens, label_words
from fewshot.prompts.patterns import Pattern, parse_template
from fewshot.prompts.set_queries import SetQueries
from fewshot.prompts.tokenize import Queries
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer, tokenizer_in
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    "minimal": ("{text_a} {text_b} ?", "", (" Yes", " No")),
    "gpt-3": ("{text_a} question: {text_b} Yes or No?", " answer:", (" Yes", " No")),
    "eval-harness": (
        "{text_a} \nQuestion: {text_b} True or False?",
        "\nAnswer:",
        (" True", " False"),
    ),
}
PATTERNS = {
    name: Pattern(name, parse_template(template, ""), cue, words, "\n\n")
    for name, (template, cue, words) in TEMPLATES.items()
}


def assert_whole(tokenizer, context, queries):
    """Every row's tokens are those of its whole prompt; the prefix is as long as can be."""
    prompts = Queries(tokenizer, queries).prompts(context)
    whole = tokenizer([context + query for query in queries])["input_ids"]
    assert [list(prompts.prefix + suffix) for suffix in prompts.suffixes] == whole
    assert prompts.lengths == [len(row) for row in whole]
    assert all(prompts.suffixes)
    if min(map(len, prompts.suffixes)) > 1:
        assert len({row[0] for row in prompts.suffixes}) > 1
    return prompts


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_real_tokenizers_row_by_row(real, pattern, shared_data):
    train = pd.read_json(shared_data / "rte_train.jsonl", lines=True)
    rows = pd.read_json(shared_data / "rte_validation.jsonl", lines=True)
    queries = [
        pattern.query(a, b) for a, b in zip(rows["sentence1"], rows["sentence2"], strict=True)
    ]
    for k in (0, 2, 16):
        shots = train.iloc[10 : 10 + k]
        context = pattern.context(
            list(zip(shots["label"], shots["sentence1"], shots["sentence2"], strict=True))
        )
        prompts = assert_whole(real, context, queries)
        if k:
            alone = len(real(context)["input_ids"])
            assert alone - 2 <= len(prompts.prefix) <= alone + 3


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Return the list of how many texts each call tokenizes."""
    sizes, encode = [], tokenize.encode

    def counted(tokenizer, texts, **named):
        sizes.append(len(texts))
        return encode(tokenizer, texts, **named)

    monkeypatch.setattr(tokenize, "encode", counted)
    return sizes


def test_few_tails_serve_all_contexts(real, calls):
    """Rows are tokenized once per tail (" Yes\\n\\n"), not once per context."""
    pattern = PATTERNS["minimal"]
    queries = Queries(real, [pattern.query("A man sleeps.", f"It is {i}.") for i in range(500)])
    for i in range(20):
        queries.prompts(pattern.context([(0, f"Text {i}.", "A text."), (i % 2, "b", "c")]))
    assert sum(n for n in calls if n == 500) == 2 * 500
    assert sum(calls) < 2 * 500 + 20 * 11


def test_newlines_merge_only_at_the_end_of_a_text(real):
    """The reason for tokenizing whole prompts."""
    assert len(real("a\n\n", add_special_tokens=False)["input_ids"]) == 2
    assert len(real("a\n\nb", add_special_tokens=False)["input_ids"]) == 4
    prompts = assert_whole(real, "one ? Yes\n\n", ["two", "tree ?"])
    assert real.decode(prompts.prefix).endswith("Yes\n\n")


def merging(pieces: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose pre-tokenizer lets tokens span blanks and newlines."""
    tokenizer = Tokenizer(models.BPE())
    split = {
        "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "lines": pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"[^\n]*\n+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        "none": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        "prefix": pre_tokenizers.ByteLevel(add_prefix_space=True),
    }
    tokenizer.pre_tokenizer = split[pieces]
    tokenizer.decoder = decoders.ByteLevel()
    text = ["a b ? Yes\n\na a ? No\n\nb a ? Yes\n\n \n b? No\n\n  a", "Yes\n\na", "? Yes", " b\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(text * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=None)


TOKENIZERS = {name: merging(name) for name in ("gpt2", "lines", "none", "prefix")} | {
    "opt-like": tiny_tokenizer("opt"),
    "neox-like": tiny_tokenizer("gpt_neox"),
}
TEXT = st.text(alphabet="ab ?\nYésé\u0301", max_size=8)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(
    demonstrations=st.lists(st.tuples(TEXT, st.sampled_from([" Yes", " No"])), max_size=3),
    separator=st.sampled_from(["\n\n", "\n", " ", ""]),
    queries=st.lists(TEXT.map(lambda text: text + "?"), min_size=1, max_size=12),
)
def test_tokenizers_that_merge_across_boundaries(name, demonstrations, separator, queries):
    context = "".join(text + word + separator for text, word in demonstrations)
    assert_whole(TOKENIZERS[name], context, queries)


def test_a_single_row_keeps_one_token_of_its_own():
    prompts = Queries(tiny_tokenizer(), ["the nurse ?"], ["x/7"]).prompts("the doctor ? Yes\n\n")
    assert prompts.ids == ("x/7",) and len(prompts.suffixes[0]) == 1


def test_a_row_that_starts_all_others_keeps_a_token():
    prompts = Queries(tiny_tokenizer(), ["the doctor", "the doctor slept"]).prompts("")
    assert [len(row) for row in prompts.suffixes] == [1, 2]


def assert_words(tokenizer, context, queries, words):
    """Every row with every word behind it has the tokens of the whole text."""
    prompts = Queries(tokenizer, queries, words=words).prompts(context)
    for i, query in enumerate(queries):
        row = prompts.prefix + prompts.suffixes[i]
        for j, word in enumerate(words):
            whole = tuple(tokenizer(context + query + word)["input_ids"])
            assert row + prompts.words[i][j] == whole
        assert row == tuple(tokenizer(context + query)["input_ids"])[: len(row)]
    assert all(prompts.suffixes) and all(all(each) for each in prompts.words)
    return prompts


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("words", [(" Yes", " No"), (" yes, it follows", " no, not at all", " it")])
def test_words_behind_real_prompts_row_by_row(real, pattern, words, shared_data):
    rows = pd.read_json(shared_data / "rte_validation.jsonl", lines=True)[:60]
    queries = [
        pattern.query(a, b) for a, b in zip(rows["sentence1"], rows["sentence2"], strict=True)
    ]
    for context in ("", pattern.context([(0, "A man sleeps.", "He is awake.")])):
        prompts = assert_words(real, context, queries, words)
        assert len(set(prompts.words)) == 1


def test_words_are_tokenized_once_for_all_contexts(real, calls):
    pattern = PATTERNS["eval-harness"]
    texts = [pattern.query("A man sleeps.", f"It is {i}.") for i in range(300)]
    queries = Queries(real, texts, words=pattern.words)
    queries.prompts(pattern.context([(0, "A text.", "b")]))
    calls.clear()
    for i in range(20):
        queries.prompts(pattern.context([(0, f"Text {i}.", "b")]))
    assert sum(calls) <= 20 * 10


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(
    context=st.sampled_from(["", "a ? Yes\n\n", "b b\n"]),
    queries=st.lists(TEXT.map(lambda text: text + "?"), min_size=1, max_size=12),
    words=st.sampled_from([(" Yes", " No"), ("Yes", "No"), ("\n\na", " b\n"), ("?", " a b")]),
)
def test_words_that_merge_with_prompts(name, context, queries, words):
    try:
        assert_words(TOKENIZERS[name], context, queries, words)
    except UserError as error:
        # A word-level tokenizer reads "??" and "???" as one unknown token; a "?" alone may merge.
        unknown = "-like" in name and "adds no token to its prompt" in str(error)
        assert unknown or "no token of its prompt is left in front" in str(error)


def test_a_row_stops_before_what_a_word_merges_with():
    prompts = assert_words(TOKENIZERS["none"], "a b ?", ["a ?", " a?"], (" Yes", " No"))
    bare = TOKENIZERS["none"]("a b ?a ?")["input_ids"]
    assert len(prompts.prefix + prompts.suffixes[0]) < len(bare)


def labelled(*words, cue=""):
    return Pattern("odd", parse_template("{text_a} ?", ""), cue, words, "\n\n")


def test_words_may_have_several_tokens_and_end_in_the_tokenizers_own(real):
    pattern = labelled(" Yes", " No-but")
    words = label_words(real, pattern, "A ?")
    assert [len(word) for word in words] == [1, 3]
    end = end_tokens(real, {"end_token": True})
    assert end == (real.eos_token_id,) and end_tokens(real, {"end_token": False}) == ()
    assert label_words(real, pattern, "A ?", end) == tuple((*word, *end) for word in words)
    queries = Queries(real, ["A ?", "B ?"], words=pattern.words)
    assert queries.prompts("").ending_in(end).words == [tuple((*w, *end) for w in words)] * 2


def test_a_tokenizer_without_an_end_token_is_told():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"end_token: the tokenizer of .* has no end token"):
        end_tokens(tokenizer, {"end_token": True})
    assert end_tokens(tokenizer, {}) == ()


def test_words_must_have_tokens_of_their_own():
    with pytest.raises(UserError, match=r"label word ' Banana' has no tokens of its own"):
        label_words(tiny_tokenizer(), labelled(" Yes", " Banana"), "the doctor ?")


def test_a_word_that_begins_another_is_refused(real):
    with pytest.raises(UserError, match="' Yes-but' begins with the tokens of ' Yes', which is"):
        label_words(real, labelled(" Yes", " Yes-but"), "A ?")
    # Behind an end token they differ.
    assert label_words(real, labelled(" Yes", " Yes-but"), "A ?", (2,))


def test_a_word_may_merge_with_the_prompt(real):
    (yes, no) = label_words(real, labelled("es", " no"), "the answer is y")
    assert real.convert_ids_to_tokens(yes) == ["Ġyes"] and len(no) == 2


def test_a_tokenizer_that_ends_texts_is_refused(tmp_path):
    tokenizer = tiny_tokenizer("gpt_neox")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"model: its tokenizer adds tokens behind a text"):
        tokenizer_in(tmp_path / "model")


def test_a_folder_without_tokenizer_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no tokenizer that can be loaded"):
        tokenizer_in(tmp_path)


def test_bare_queries_are_tokenized_once(monkeypatch):
    queries = Queries(tiny_tokenizer(), ["the doctor ?", "the nurse ?"])
    first = queries.prompts("")
    monkeypatch.setattr(tokenize, "encode", lambda *a, **kw: pytest.fail("tokenized again"))
    assert queries.prompts("") == first


def test_tails_that_do_not_come_again_are_let_go():
    queries = Queries(tiny_tokenizer(), ["the doctor ?", "the nurse ?"])
    for i in range(100):
        queries.prompts(f"some lawyer {i}")
    assert len(queries._tails) <= tokenize.TAILS


@pytest.mark.parametrize("rows", [[1, 3], [4], [0, 1, 2, 3, 4]])
def test_the_prompts_of_some_rows_are_those_of_these_rows_alone(real, rows):
    """Some begin alike further than all do."""
    texts = ["A man sleeps. He", "A man sleeps. He rests", "A dog", "A man sleeps.", "A dog runs"]
    context = "One sleeps. Yes\n\n"
    every = Queries(real, texts, words=(" Yes", " No"))
    some = Queries(real, [texts[row] for row in rows], rows, words=(" Yes", " No"))
    for text in ("", context):
        assert every.prompts(text).of_rows(rows) == some.prompts(text)


def test_queries_of_a_set_are_made_once_for_its_rows():
    rows = pd.DataFrame({"id": [7, 8], "text_a": ["the doctor", "the nurse"], "text_b": "slept"})
    made = SetQueries(tiny_tokenizer())
    first = made.of(PATTERNS["minimal"], "task", rows)
    assert first.ids == ("task/7", "task/8") and made.of(PATTERNS["minimal"], "task", rows) is first
    assert made.of(PATTERNS["minimal"], "task", rows, scored=False) is not first
    other = made.of(PATTERNS["minimal"], "task", rows.head(1))
    assert other.ids == ("task/7",) and made.of(PATTERNS["minimal"], "task", rows) is not first
