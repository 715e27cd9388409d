"""The committed checkpoints: they load, they are small, and their tokenizers lose nothing."""

import json
from pathlib import Path

import pytest
import torch
from fewshot.data.shots import draw_balanced
from fewshot.data.synthetic import generate
from fewshot.demo.recipes import LABEL_WORDS, PATTERNS, RECIPES, SEPARATOR, WINDOW, build_tokenizer
from thinned import thinned
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[3] / "config" / "embedded"


@pytest.fixture(scope="module", params=RECIPES)
def checkpoint(request):
    model, found = AutoModelForCausalLM.from_pretrained(
        FOLDER / request.param, dtype=torch.float32, output_loading_info=True
    )
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / request.param)
    return request.param, model, tokenizer, found


def test_all_checkpoints_together_stay_below_four_megabytes():
    beside = {"README.md", "documents.jsonl"}
    assert {folder.name for folder in FOLDER.iterdir()} - beside == set(RECIPES)
    files = [path for path in FOLDER.glob("*/**/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    assert {path.name for path in files} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_every_weight_is_found_and_none_is_left_over(checkpoint):
    _, model, _, found = checkpoint
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert not found["mismatched_keys"]
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_shape_and_class_follow_the_recipe(checkpoint):
    name, model, tokenizer, _ = checkpoint
    recipe = RECIPES[name]
    assert model.config.model_type == recipe.family
    assert model.config.hidden_size == recipe.width
    assert model.config.num_hidden_layers == recipe.layers
    assert model.config.max_position_embeddings == WINDOW == tokenizer.model_max_length
    assert model.config.vocab_size == len(tokenizer)
    assert all(weights.requires_grad for weights in model.parameters())


def test_configurations_name_no_folder_of_the_machine_that_trained_them(checkpoint):
    entries = json.loads((FOLDER / checkpoint[0] / "config.json").read_text())
    assert not [value for value in entries.values() if isinstance(value, str) and "/" in value]


def test_a_forward_pass_over_the_whole_window_is_finite(checkpoint):
    _, model, tokenizer, _ = checkpoint
    ids = torch.arange(WINDOW)[None] % len(tokenizer)
    with torch.no_grad():
        assert model(input_ids=ids).logits.isfinite().all()


@pytest.mark.parametrize("word", LABEL_WORDS)
def test_label_words_are_one_token_with_and_without_blank(checkpoint, word):
    tokenizer = checkpoint[2]
    with_blank = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    without = tokenizer(word, add_special_tokens=False)["input_ids"]
    assert len(with_blank) == len(without) == 1
    assert with_blank != without


def test_only_opt_starts_a_text_with_a_special_token(checkpoint):
    name, _, tokenizer, _ = checkpoint
    ids = tokenizer("The doctor slept.")["input_ids"]
    assert (ids[0] == tokenizer.bos_token_id) == name.startswith("opt")
    assert ids[-1] != tokenizer.eos_token_id
    assert tokenizer.convert_ids_to_tokens(ids)[-4:] == ["The", " doctor", " slept", "."]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
@pytest.mark.parametrize("kind", ["rte-like", "hans-like"])
def test_prompts_survive_the_round_trip_without_unknown_tokens(checkpoint, pattern, kind):
    tokenizer = checkpoint[2]
    for row in generate(kind, "validation", 40, 0).itertuples():
        text = pattern.demonstration(row.label, row.premise, row.hypothesis)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("text", ["\n\n", " \n", "A zebra, 42 % {ok}?", "tab-free  two blanks"])
def test_other_ascii_text_falls_back_to_characters(checkpoint, text):
    tokenizer = checkpoint[2]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_an_empty_line_is_one_token_of_opt_and_foreign_letters_are_unknown(checkpoint):
    name, _, tokenizer, _ = checkpoint
    tokens = 1 if RECIPES[name].family == "opt" else 2
    assert len(tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]) == tokens
    assert tokenizer.unk_token_id in tokenizer("é", add_special_tokens=False)["input_ids"]


def test_context_and_query_split_at_token_boundaries(checkpoint):
    tokenizer, pattern = checkpoint[2], PATTERNS[0]
    demonstration = pattern.demonstration(1, "The doctor slept.", "The judge sang.")
    query = pattern.query("The lawyer ran.", "The lawyer ran.")
    apart = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (demonstration, query)
    ]
    whole = tokenizer(demonstration + query, add_special_tokens=False)["input_ids"]
    assert whole == apart[0] + apart[1]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
@pytest.mark.parametrize("kind", thinned(["mnli-like", "rte-like"], ["mnli-like"], ["rte-like"]))
def test_sixteen_shots_fit_the_trained_lengths(checkpoint, pattern, kind):
    name, _, tokenizer, _ = checkpoint
    frame = generate(kind, "train", 600, 0).rename(columns={"idx": "id"})
    if kind == "mnli-like":
        frame = frame[frame["label"] != 1].assign(label=lambda rows: rows["label"] // 2)
    longest = max(length for stage in RECIPES[name].stages for length in stage.lengths)
    frame = frame.set_index("id", drop=False)
    for seed in range(3):
        shots = frame.loc[draw_balanced(frame, 16, 2, kind, seed)["id"]]
        rows = shots[["label", "premise", "hypothesis"]].itertuples(index=False, name=None)
        text = pattern.context(list(rows)) + pattern.query(
            *shots[["premise", "hypothesis"]].iloc[0]
        )
        assert len(tokenizer(text)["input_ids"]) <= longest


def test_a_built_tokenizer_equals_the_committed_one(checkpoint):
    name, _, tokenizer, _ = checkpoint
    built = build_tokenizer(RECIPES[name].family)
    assert json.loads(built.backend_tokenizer.to_str()) == json.loads(
        tokenizer.backend_tokenizer.to_str()
    )
