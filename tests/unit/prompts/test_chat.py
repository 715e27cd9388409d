"""Chat prompts against whole conversations that transformers renders and tokenizes itself."""

from types import SimpleNamespace

import download_model
import pandas as pd
import pytest
from chat_templates import TEMPLATES, chat_tokenizer
from fewshot import storage
from fewshot.adaptation.batches import query_prompts
from fewshot.errors import UserError
from fewshot.prompts import tokenize
from fewshot.prompts.channel import queries_of
from fewshot.prompts.chat import chat_pattern, check_template, read_pattern
from fewshot.prompts.label_words import end_tokens, label_words
from fewshot.prompts.patterns import Pattern, parse_template
from fewshot.prompts.set_queries import SetQueries
from fewshot.prompts.tokenize import Queries
from fewshot.prompts.window import WindowChecker
from job_files import CHAT_TEMPLATE
from tiny import save_tiny

PLAIN = Pattern(
    "eval-harness",
    parse_template("{text_a} \nQuestion: {text_b} True or False?", ""),
    "\nAnswer:",
    (" True", " False"),
    "\n\n",
)
CELL = {
    "pattern": "p", "draw": "own", "k": 2, "uses_context": True, "needs_words": True,
    "truncate": None,
}  # fmt: skip
OWN_BLANKS = Pattern(
    "blanks", parse_template("{text_a} {text_b} ", ""), "\n", (" Yes", " No"), "\n"
)
ARRANGEMENTS = ("turns", "one-turn")
SWITCHES = {"enable_thinking": False, "date_string": "26 Jul 2024"}


def some_rows(count: int, first: int = 0) -> pd.DataFrame:
    """Return rows of which some texts have blanks at an end."""
    texts = [f"The cat sat {'on the mat ' * (i % 3)}{i}." for i in range(first, first + count)]
    texts[1 % count] = f"\n {texts[1 % count]} é "
    return pd.DataFrame(
        {
            "id": range(first, first + count),
            "text_a": texts,
            "text_b": [f"It rained {i}? " for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }
    )


def contents(plain: Pattern, shots: pd.DataFrame, row: tuple, chat: dict, strip: bool) -> list:
    """Return the conversation by hand: what a template is to render."""
    texts = list(zip(shots["label"], shots["text_a"], shots["text_b"], strict=True))
    query = plain.query(*row)
    messages = [{"role": "system", "content": chat["system"]}] if "system" in chat else []
    if chat["demonstrations"] == "turns":
        for label, a, b in texts:
            solved = plain.demonstration(label, a, b)
            word = plain.words[label]
            messages.append({"role": "user", "content": solved[: -len(word + plain.separator)]})
            messages.append({"role": "assistant", "content": word.strip()})
        return [*messages, {"role": "user", "content": query}]
    shown = [plain.demonstration(label, a, b) for label, a, b in texts]
    if strip:  # Blanks in front of a text are taken off all of them alike.
        shown, query = [text.lstrip() for text in shown], query.lstrip()
    return [*messages, {"role": "user", "content": "".join(shown) + query}]


@pytest.mark.parametrize("plain", [PLAIN, OWN_BLANKS], ids=lambda each: each.name)
@pytest.mark.parametrize("k", [0, 2, 16])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_the_tokens_of_whole_conversations(name, arrangement, k, plain):
    tokenizer = chat_tokenizer(name)
    chat = {"demonstrations": arrangement}
    pattern = chat_pattern(plain, tokenizer, chat)
    shots, rows = some_rows(max(k, 1), 100)[:k], some_rows(12)
    context = pattern.context_of(shots)
    queries = Queries(
        tokenizer, pattern.queries(rows), None, pattern.words, special=pattern.adds_special
    )
    prompts = queries.prompts(context)
    strip = name not in ("chatml", "qwen3", "olmo2")
    for i, row in enumerate(zip(rows["text_a"], rows["text_b"], strict=True)):
        messages = contents(plain, shots, row, chat, strip)
        whole = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, **SWITCHES
        )
        ours = prompts.prefix + prompts.suffixes[i]
        assert list(ours) == whole
        for label, word in enumerate(plain.words):
            answer = [*messages, {"role": "assistant", "content": word.strip()}]
            solved = tokenizer.apply_chat_template(answer, return_dict=False, **SWITCHES)
            both = list(ours + prompts.words[i][label])
            assert solved[: len(both)] == both
    pattern.check(tokenizer, shots if k else None, rows)


@pytest.mark.parametrize("name", TEMPLATES)
def test_bos_is_there_once(name):
    tokenizer = chat_tokenizer(name)
    pattern = chat_pattern(PLAIN, tokenizer, {"demonstrations": "one-turn"})
    prompts = query_prompts(queries_of(tokenizer, pattern, some_rows(3), range(3)), pattern)
    first = (prompts.prefix + prompts.suffixes[0])[:2]
    if tokenizer.bos_token and name != "qwen3":
        assert first[0] == tokenizer.bos_token_id != first[1]
    else:
        assert first[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_thinking_is_off_where_the_template_has_a_switch():
    pattern = chat_pattern(PLAIN, chat_tokenizer("qwen3"), {"demonstrations": "turns"})
    assert pattern.end == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert pattern.header == "<|im_end|>\n<|im_start|>assistant\n"


def test_words_begin_the_answer_without_the_blank_of_running_text():
    for name, words in {"chatml": ("True", "False"), "llama2": (" True", " False")}.items():
        pattern = chat_pattern(PLAIN, chat_tokenizer(name), {"demonstrations": "turns"})
        assert pattern.words == words
        assert pattern.demonstration(0, "a", "b").count("True") == 2


def test_the_same_words_are_asked_for_in_context_and_in_training():
    tokenizer = chat_tokenizer("chatml")
    pattern = chat_pattern(OWN_BLANKS, tokenizer, {"demonstrations": "turns"})
    rows = some_rows(3)
    probe, *_ = pattern.queries(rows)
    shown = label_words(tokenizer, pattern, probe)
    queries = queries_of(tokenizer, pattern, rows, range(3))
    assert query_prompts(queries, pattern).words == [shown] * 3


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_with_its_end_token_is_the_assistants_whole_turn(name):
    """Also where a turn ends in another token than a text (<end_of_turn>, <|eot_id|>)."""
    tokenizer, rows = chat_tokenizer(name), some_rows(3)
    pattern = chat_pattern(PLAIN, tokenizer, {"demonstrations": "one-turn"})
    end = end_tokens(tokenizer, {"end_token": True}, pattern)
    queries = queries_of(tokenizer, pattern, rows, range(3))
    prompts = query_prompts(queries, pattern, end=end)
    for suffix, words, row in zip(prompts.suffixes, prompts.words, rows.itertuples(), strict=True):
        query = PLAIN.query(row.text_a, row.text_b)
        for label, word in enumerate(PLAIN.words):
            turns = [("user", query), ("assistant", word.strip())]
            messages = [{"role": role, "content": text} for role, text in turns]
            solved = tokenizer.apply_chat_template(messages, return_dict=False, **SWITCHES)
            own = [*prompts.prefix, *suffix, *words[label]]
            if name == "llama2":  # It has a blank in front of </s>, which no answer needs.
                assert own[-1] in solved[-1:] and solved[: len(own) - 1] == own[:-1]
            else:
                assert solved[: len(own)] == own
                assert len(solved) <= len(own) + 1, "the line break behind a turn"


def test_a_system_text_stands_in_place_of_the_default():
    tokenizer = chat_tokenizer("chatml")
    told = {"demonstrations": "turns", "system": "Say {{ Yes }}."}
    start = chat_pattern(PLAIN, tokenizer, told).start
    assert start == "<|im_start|>system\nSay {{ Yes }}.<|im_end|>\n<|im_start|>user\n"
    assert "DEFAULT" in chat_pattern(PLAIN, tokenizer, {"demonstrations": "turns"}).start
    own = chat_pattern(PLAIN, chat_tokenizer("gemma3"), told).start
    assert own == "<bos><start_of_turn>user\nSay {{ Yes }}.\n\n"


def test_the_date_is_the_same_every_day(monkeypatch):
    start = chat_pattern(PLAIN, chat_tokenizer("llama3"), {"demonstrations": "turns"}).start
    assert "Today Date: 26 Jul 2024\n" in start


def with_template(template: str, name: str = "chatml"):
    """Return a tokenizer with another template."""
    other = chat_tokenizer(name).__class__(
        tokenizer_object=chat_tokenizer(name).backend_tokenizer, eos_token="</s>"
    )
    other.chat_template = template
    return other


@pytest.mark.parametrize(
    ("template", "chat", "message"),
    [
        (None, {}, "no chat template; valid: an instruct model, or an entry without 'chat'"),
        (TEMPLATES["gemma2"][0], {"system": "x"}, r"cannot be used \(.*System role not supported"),
        (
            TEMPLATES["chatml"][0].replace("assistant\\n'", "assistant\\n<think>\\n'"),
            {},
            "no switch for it",
        ),
        ("{{ messages[-1].content }}{{ messages | length }}", {}, "each turn once, in order"),
        (
            "{% for m in messages %}{{ loop.index }}:{{ m.content }} {% endfor %}",
            {},
            "valid: demonstrations: one-turn",
        ),
        ("{% for m in messages %}>{{ m.content | indent }} {% endfor %}", {}, "changes the blanks"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", {}, "SecurityError"),
    ],
)  # fmt: skip
def test_templates_that_cannot_be_used_are_refused_in_one_line(template, chat, message):
    with pytest.raises(UserError, match=message) as refused:
        check_template(with_template(template), {"demonstrations": "turns", **chat})
    assert "\n" not in str(refused.value) and "models.yaml: chat" in str(refused.value)


def test_a_template_that_changes_texts_is_refused():
    template = TEMPLATES["chatml"][0].replace(
        "message.content", "message.content | replace('é','e')"
    )
    tokenizer = with_template(template)
    pattern = chat_pattern(PLAIN, tokenizer, {"demonstrations": "turns"})
    checker = WindowChecker(
        SetQueries(tokenizer), {"p": pattern}, {"task": some_rows(3)}, {("own", 2, 0): some_rows(2)}
    )
    with pytest.raises(UserError, match="changes texts, so that prompts cannot be put together"):
        checker.count(CELL, 0)


def test_a_pattern_without_chat_is_itself():
    values = {
        "name": "p", "parts": [["", "text_a"]], "cue": "", "words": [" Yes"], "separator": "\n",
        "rank_by": "sum", "query_cue": None, "words_alone": False,
    }  # fmt: skip
    pattern = read_pattern(values, None)
    assert type(pattern) is Pattern and pattern.context(()) == "" and pattern.adds_special


def test_special_tokens_let_a_context_be_cut(monkeypatch):
    """All rows are tokenized behind the last turn's header alone, whatever the demonstrations."""
    tokenizer = chat_tokenizer("llama3")
    pattern = chat_pattern(PLAIN, tokenizer, {"demonstrations": "turns"})
    queries = Queries(
        tokenizer, pattern.queries(some_rows(300)), None, pattern.words, special=False
    )
    sizes, encode = [], tokenize.encode

    def counted(tokenizer, texts, special=True):
        sizes.append(len(texts))
        return encode(tokenizer, texts, special)

    monkeypatch.setattr(tokenize, "encode", counted)
    queries.prompts(pattern.context_of(some_rows(2, 400)))
    assert sum(sizes) < 2 * 300 + 50
    sizes.clear()
    for i in range(20):
        queries.prompts(pattern.context_of(some_rows(4, 500 + 4 * i)))
    assert sum(sizes) <= 20 * 10


def test_the_window_counts_what_the_template_writes():
    tokenizer = chat_tokenizer("chatml")
    pattern = chat_pattern(PLAIN, tokenizer, {"demonstrations": "turns"})
    rows, shots = some_rows(5), some_rows(2, 50)
    checker = WindowChecker(
        SetQueries(tokenizer), {"p": pattern}, {"task": rows}, {("own", 2, 0): shots}
    )
    for shown in (True, False):
        _, longest, _ = checker.count({**CELL, "uses_context": shown}, 0)
        context = pattern.context_of(shots) if shown else pattern.context(())
        texts = pattern.queries(rows) + ([] if shown else pattern.queries(shots))
        whole = [
            len(tokenizer(context + text, add_special_tokens=False).input_ids) for text in texts
        ]
        words = max(len(word) for word in label_words(tokenizer, pattern, texts[0]))
        assert longest == max(whole) + words - 1


def test_a_download_says_whether_the_template_can_be_used(tmp_path):
    """With its file, chat_template.jinja, which is one of the model's; before any weights."""
    folder = save_tiny(tmp_path / "model")
    entry = {"local": str(folder), "chat": {"demonstrations": "turns"}}
    smk = SimpleNamespace(
        output=SimpleNamespace(manifest=str(tmp_path / "there/manifest.json")),
        params=SimpleNamespace(name="mine", entry=entry),
    )
    with pytest.raises(UserError, match="its tokenizer has no chat template"):
        download_model.main(smk)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    download_model.main(smk)
    assert "chat_template.jinja" in storage.read_json(smk.output.manifest)["files"]
    # A template that no entry uses may be any.
    (folder / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    smk.params.entry = {"local": str(folder)}
    download_model.main(smk)
