"""Random models of two layers and a word-level tokenizer, for tests that need torch."""

from pathlib import Path
from tempfile import TemporaryDirectory

WORDS = (
    "the a doctor lawyer artist nurse judge poet saw thanked believed near and or not all some "
    "tall old young ran slept Yes No True False Maybe Question Answer question answer"
).split()
MARKS = ["?", ".", ",", ":", "Ċ", "ĊĊ", "Ġ"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
VOCABULARY = [*SPECIAL, *WORDS, *("Ġ" + word for word in WORDS), *MARKS, "Ġ?", "Ġ."]

KINDS = ("opt", "gpt_neox")
ALL_KINDS = (*KINDS, "llama")
# The modules that LoRA adapts in each.
TARGETS = {
    "opt": ["q_proj", "v_proj"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
}


def tiny_tokenizer(kind: str = "opt"):
    """Return a tokenizer that splits as GPT-2's does; OPT's puts `</s>` before each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if kind == "opt":
        backend.post_processor = processors.TemplateProcessing(
            single="</s> $A", special_tokens=[("</s>", vocabulary["</s>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="</s>",
        eos_token="</s>",
    )


def tiny_model(
    kind: str = "opt",
    dropout: float = 0.0,
    seed: int = 0,
    width: int = 32,
    attention: float | None = None,
):
    """Return a randomly initialised language model in evaluation mode.

    Its attention has as much dropout as its states, unless told. Llama's queries share keys and
    values in pairs.
    """
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, OPTConfig

    shared = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "attention_dropout": dropout if attention is None else attention,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    torch.manual_seed(seed)
    if kind == "opt":
        config = OPTConfig(
            **shared, ffn_dim=2 * width, word_embed_proj_dim=width, dropout=dropout, init_std=0.1
        )
    elif kind == "gpt_neox":
        config = GPTNeoXConfig(
            **shared, intermediate_size=2 * width, hidden_dropout=dropout, initializer_range=0.1
        )
    else:
        config = LlamaConfig(
            **shared, intermediate_size=2 * width, num_key_value_heads=2, initializer_range=0.1
        )
    return AutoModelForCausalLM.from_config(config).eval()


def write_manifest(path: str | Path, folder: str | Path) -> str:
    """Write the manifest of the model in `folder`, as rule download_model does; return its path."""
    from fewshot import storage

    files = {
        each.name: {"sha256": storage.sha256(each), "bytes": each.stat().st_size}
        for each in sorted(Path(folder).iterdir())
        if each.is_file()
    }
    facts = {"model": "tiny", "kind": "local", "hub": None, "revision": None, "path": str(folder)}
    storage.write_json(path, {**facts, "files": files})
    return str(path)


def tokenizer_in(folder: str | Path):
    """Return the tokenizer of a folder, loaded as jobs do, which name it by a manifest."""
    from fewshot import storage
    from fewshot.models.tokenizer import load_tokenizer

    with TemporaryDirectory() as place:
        storage.write_json(Path(place, "manifest.json"), {"path": str(folder)})
        return load_tokenizer(Path(place, "manifest.json"))


def save_tiny(folder: str | Path, kind: str = "opt", seed: int = 0) -> Path:
    """Write model and tokenizer to `folder` and return it."""
    tiny_model(kind, seed=seed).save_pretrained(folder)
    tiny_tokenizer(kind).save_pretrained(folder)
    return Path(folder)
