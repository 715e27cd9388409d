"""The registry's models of today, of whose sizes the registry says nothing."""

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from architectures import GROUPED, assert_equal, draw, reference
from fewshot.errors import UserError
from fewshot.methods import ia3
from fewshot.models.architectures import architecture_of
from fewshot.models.compatibility import read_sizes
from fewshot.models.load import load_model
from fewshot.planning.memory_plan_table import count_parameters
from fewshot.scoring.score import score
from fewshot.study.families import trainable
from fewshot.study.registries import load_registries
from model_configs import LATER, MODELS, PUBLISHED, REGISTRY, meta
from project import ROOT
from safetensors.torch import load_file, save_file
from tiny import write_manifest
from transformers import AutoModelForCausalLM, Gemma3Config

TARGETS = load_registries(ROOT / "config")["methods"]["lora"]["targets"]
COUNTS = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b-pt": 999_885_952,
    # 4,300,079,472 with the encoder of images and its projector.
    "gemma-3-4b-pt": 4_300_079_472 - 416_866_032 - 2_950_272,
    "olmo-2-0425-1b": 1_484_916_736,
    "olmo-2-1124-7b": 7_298_617_344,
}
"""Parameters as the Hub shows them, a tied readout counted once."""
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip


def size_of(name: str) -> str:
    """Return the entry with the shape of a model."""
    kinds = ("-instruct", "-it", "-base")
    plain = next((name.removesuffix(kind) for kind in kinds if name.endswith(kind)), name)
    return plain if plain in PUBLISHED else f"{plain}-pt"


def test_every_model_of_today_is_of_a_published_shape():
    assert {size_of(name) for name in LATER} == set(PUBLISHED)
    for size in PUBLISHED:
        assert len([name for name in LATER if size_of(name) == size]) == 2, "base and instruct"
    for name in LATER:
        entry, large = REGISTRY[name], COUNTS[size_of(name)] >= 0.9e9
        assert entry["dtype"] == ("bfloat16" if large else "float32"), name
        assert ("chat" in entry) == ("Instruct" in entry["title"]), "base models read plain text"
        assert entry["licence"] and name == entry["hub"].partition("/")[2].lower()


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_that_the_hub_shows(tmp_path, name):
    config = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    sizes = read_sizes(tmp_path, name)
    window = config["max_position_embeddings"]
    assert sizes == {"parameters": COUNTS[name], "window": window, "config": config}
    assert MODELS[name]["parameters"] == COUNTS[name], "which transformers counts as well"


@pytest.mark.parametrize("name", PUBLISHED)
def test_lora_and_ia3_find_their_modules(name):
    """In two layers of the published width, against peft and the family itself."""
    config, targets = {**PUBLISHED[name], "num_hidden_layers": 2}, TARGETS[REGISTRY[name]["family"]]
    shape, model = architecture_of(config, 1), meta(config)
    with torch.device("meta"):
        peft.inject_adapter_in_model(peft.LoraConfig(r=8, target_modules=targets), model)
    expected = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert trainable(shape, {"family": "lora", "rank": 8, "targets": targets}, 2) == expected > 0
    model = meta(config)
    names = set(ia3.adapt(model, {}))
    expected = sum(p.numel() for n, p in model.named_parameters() if n in names)
    assert trainable(shape, {"family": "ia3"}, 2) == expected > 0


@pytest.fixture
def multimodal(tmp_path) -> tuple[Path, torch.nn.Module]:
    """Return the folder of a small Gemma 3 that reads images, as published, and the whole model."""
    text = {**GROUPED, "head_dim": 8, "sliding_window": 24}
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config=text, vision_config=VISION, mm_tokens_per_image=4, image_token_index=90,
        boi_token_index=91, eoi_token_index=92,
    )  # fmt: skip
    whole = AutoModelForCausalLM.from_config(config).eval()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.15)
    folder = tmp_path / "model"
    whole.save_pretrained(folder)
    assert {name.partition(".")[0] for name in load_file(folder / "model.safetensors")} == {
        "language_model", "vision_tower", "multi_modal_projector",
    }  # fmt: skip
    return folder, whole


def test_of_a_gemma_3_that_reads_images_the_language_model_is_taken(multimodal, tmp_path):
    folder, whole = multimodal
    sizes = read_sizes(folder, "m")
    own = sum(p.numel() for n, p in whole.named_parameters() if "language_model" in n)
    assert sizes["parameters"] == own == architecture_of(sizes["config"], 1).parameters
    assert count_parameters({"local": str(folder)}, "m")[0] == own
    assert sizes["window"] == 160 and sizes["config"]["model_type"] == "gemma3_text"
    entry = {**sizes, "dtype": "float32"}
    model = load_model(write_manifest(tmp_path / "manifest.json", folder), entry)
    assert type(model).__name__ == "Gemma3ForCausalLM"
    prompts = draw(np.random.default_rng(3), 40, [5, 9, 30], [(5, 6), (7,)])
    scores = score(model, prompts, batch_tokens=64)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(whole, prompts))


def test_a_weight_of_the_language_model_that_is_left_over_is_an_error(multimodal, tmp_path):
    folder, _ = multimodal
    path = folder / "model.safetensors"
    state = load_file(path)
    entry = {**read_sizes(folder, "m"), "dtype": "float32"}
    state["language_model.model.more.weight"] = torch.zeros(2)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"unexpected_keys: model\.more\.weight"):
        load_model(write_manifest(tmp_path / "manifest.json", folder), entry)
    del state["language_model.model.more.weight"], state["language_model.model.norm.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"missing_keys: model\.norm\.weight"):
        load_model(write_manifest(tmp_path / "manifest.json", folder), entry)
