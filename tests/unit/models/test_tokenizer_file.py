"""A tokenizer gives the tokens of its tokenizer.json, whatever class transformers makes of it."""

import json
import logging

import pytest
from fewshot.errors import UserError
from fewshot.models import tokenizer as module
from fewshot.models.tokenizer import PROBES, load_tokenizer
from fewshot.prompts.tokenize import Queries
from tiny import write_manifest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from transformers import AutoTokenizer

# That of cl100k: up to three digits, line breaks together, letters with one character before them.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLASSES = [
    "GPT2Tokenizer", "GPTNeoXTokenizer", "LlamaTokenizer", "Qwen2Tokenizer", "GemmaTokenizer",
    "PreTrainedTokenizerFast", None,
]  # fmt: skip
TYPES = ["opt", "gpt2", "gpt_neox", "llama", "qwen3", "gemma3_text", "mistral", "phi"]


def trained(normalizer=None, bos=False) -> Tokenizer:
    """Return a small byte-level tokenizer that splits as cl100k does."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if normalizer:
        made.normalizer = normalizer
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    made.train_from_iterator([*PROBES * 20, "2023 202 023 \n\n \n\n"], trainer)
    if bos:
        made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return made


def folder_of(path, made: Tokenizer, kind=None, model_type="llama", **config):
    path.mkdir(exist_ok=True)
    made.save(str(path / "tokenizer.json"))
    named = {"tokenizer_class": kind} if kind else {}
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps({**named, **tokens, **config}))
    (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    return write_manifest(path / "manifest.json", path)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("model_type", TYPES)
def test_every_class_and_model_type_obeys_the_file(tmp_path, kind, model_type):
    made = trained(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
    loaded = load_tokenizer(folder_of(tmp_path, made, kind, model_type))
    for text in PROBES:
        assert loaded(text, add_special_tokens=False)["input_ids"] == made.encode(text).ids
        (batched,) = loaded([text], add_special_tokens=False)["input_ids"]
        assert batched == made.encode(text).ids


def test_a_tokenizer_that_did_not_is_named(tmp_path, caplog):
    manifest = folder_of(tmp_path, trained(), "GPT2Tokenizer")
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(PROBES[0])["input_ids"] != trained().encode(PROBES[0]).ids, "no fault to mend"
    caplog.set_level(logging.WARNING)
    load_tokenizer(manifest)
    assert "GPT2Tokenizer does not tokenize as its tokenizer.json says" in caplog.text
    caplog.clear()
    load_tokenizer(folder_of(tmp_path, trained(), "PreTrainedTokenizerFast"))
    assert not caplog.text


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "PreTrainedTokenizerFast", "GPT2Tokenizer"])
def test_special_tokens_are_the_configurations_or_else_the_files(tmp_path, kind):
    made = trained(bos=True)
    assert load_tokenizer(folder_of(tmp_path, made, kind))("No")["input_ids"][0] == 0
    told = folder_of(tmp_path, made, kind, add_bos_token=False)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert load_tokenizer(told)("No")["input_ids"] == plain("No")["input_ids"]


FIRST = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
PUBLISHED = {  # class, what is put around a text, further configuration, whether <s> comes first
    "smollm2": ("GPT2Tokenizer", None, {}, False),
    "qwen3": ("Qwen2Tokenizer", ByteLevel(trim_offsets=False), {"add_bos_token": False}, False),
    "llama": ("PreTrainedTokenizerFast", Sequence([ByteLevel(), FIRST]), {}, True),
    "gemma3_text": ("GemmaTokenizer", FIRST, {"add_bos_token": True, "add_eos_token": False}, True),
    "olmo2": ("GPT2Tokenizer", ByteLevel(trim_offsets=False), {"add_prefix_space": False}, False),
}
"""How the tokenizers of these models are published."""


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("context", ["", "In 2023 there were No\n\n", "No\n\n" * 20])
def test_a_prompt_has_the_first_token_once_and_none_behind(tmp_path, name, context):
    kind, around, config, first = PUBLISHED[name]
    made = trained()
    if around:
        made.post_processor = around
    tokenizer = load_tokenizer(folder_of(tmp_path, made, kind, name, **config))
    texts = ["DON'T they're (x)", "In 2023 there were"]
    prompts = Queries(tokenizer, texts, words=(" Yes", " No")).prompts(context)
    for text, suffix in zip(texts, prompts.suffixes, strict=True):
        plain = made.encode(context + text, add_special_tokens=False).ids
        assert [*prompts.prefix, *suffix] == [0] * first + plain
    assert all(min(word) > 2 for words in prompts.words for word in words)


def test_texts_of_the_study_are_compared(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path, trained(), "GPT2Tokenizer")
    load_tokenizer(manifest, ["In 2023\n\n", "No"])
    monkeypatch.setattr(module, "COMPONENTS", ())
    monkeypatch.setattr(module, "PROBES", ())
    load_tokenizer(manifest, ["No"])
    with pytest.raises(
        UserError, match=r"GPT2Tokenizer gives 'Yes\\n\\nNo\\n' the tokens .*tokenizer\.json"
    ):
        load_tokenizer(manifest, ["No", PROBES[0]])


def test_code_beside_a_tokenizer_is_never_run(tmp_path):
    proof = tmp_path / "it ran"
    own = {"AutoTokenizer": [None, "mine.Tokenizer"]}
    manifest = folder_of(tmp_path / "mine", trained(), "Tokenizer", "mine", auto_map=own)
    (tmp_path / "mine/mine.py").write_text(f"open({str(proof)!r}, 'w')\n")
    with pytest.raises(UserError, match=r"no tokenizer that can be loaded .*custom code"):
        load_tokenizer(manifest)
    assert not proof.exists()
