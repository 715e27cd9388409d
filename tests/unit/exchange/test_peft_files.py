"""What is written in peft's format gives, loaded by peft, the logits of what was trained."""

import copy
import json

import pytest
import torch
from architectures import MODELS, draw, shift
from fewshot.adaptation.trainable_model import TrainableModel
from fewshot.adaptation.weights import take_weights
from fewshot.exchange.peft_files import (
    CONFIG,
    FORMS,
    WEIGHTS,
    UnequalWidths,
    peft_form,
    write_form,
)
from fewshot.methods import (
    cartridge,
    context_tuning,
    ia3,
    lora,
    p_tuning,
    prefix_tuning,
    prompt_tuning,
    qlora,
    reparametrised_prefix,
)
from fewshot.models.four_bit import FourBitLinear
from fewshot.models.parts import virtual_ids
from fewshot.rng import generator
from fewshot.scoring.score import score
from fewshot.study.exchange_inputs import IN_PEFT, OWN_WEIGHTS
from fewshot.study.families import FAMILIES
from peft import PeftModel
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.slow

PROMPTS = draw(generator("export"), 3, [7, 2, 5], words=((5, 8), (6,)))
CONTEXT = tuple(int(token) for token in generator("context").integers(3, 97, 6))
ABOUT = {"task": "task", "seed": 0}
TARGETS = {"gpt-neox": ["query_key_value"], "other": ["q_proj", "v_proj"]}
LORA = {"rank": 2, "alpha": 4, "dropout": 0.1, "dora": False}
VIRTUAL = {"virtual_tokens": 4, "token_dropout": 0.0, "head": "language-model"}
MADE = {
    "lora": (lora, LORA),
    "dora": (lora, {**LORA, "dora": True}),
    "qlora": (qlora, LORA),
    "ia3": (ia3, {}),
    "prompt_tuning": (prompt_tuning, VIRTUAL),
    "p_tuning": (p_tuning, {**VIRTUAL, "encoder": "mlp", "encoder_width": 12}),
    "p_tuning-lstm": (p_tuning, {**VIRTUAL, "encoder": "lstm", "encoder_width": "1/2"}),
    "prefix_tuning": (prefix_tuning, VIRTUAL),
    "reparametrised_prefix": (reparametrised_prefix, {**VIRTUAL, "encoder_width": "1/2"}),
    "context_tuning": (context_tuning, VIRTUAL),
    "cartridge": (cartridge, VIRTUAL),
}
CASES = [
    *((case, name) for case in MADE for name in ("opt", "gpt-neox")),
    # Keys and values of grouped queries, of another width than the states, with norms of keys.
    *((case, name) for case in ("ia3", "prefix_tuning") for name in ("llama", "qwen3", "gemma2")),
    ("reparametrised_prefix", "qwen3"),
    # Embeddings of another width than the states, and embeddings that the model scales.
    ("p_tuning", "opt-post-norm"),
    ("p_tuning", "gemma2"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a function of an architecture's name that gives the folder of its model."""
    made = {}

    def folder(name: str):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            MODELS[name].save_pretrained(made[name])
        return made[name]

    return folder


def trained(case: str, name: str) -> tuple[torch.nn.Module, dict]:
    """Return a model whose additions are away from where they start, and the method's settings."""
    method, settings = MADE[case]
    settings = {**settings, "family": method.__name__.rpartition(".")[2]}
    settings["targets"] = TARGETS.get(name, TARGETS["other"])
    model = copy.deepcopy(MODELS[name])
    method.adapt(model, settings)
    method.draw(model, generator("initial"))
    if hasattr(method, "begin"):
        method.begin(model, CONTEXT, torch.zeros(len(CONTEXT), dtype=torch.long).numpy())
    shift(model)
    return model.eval(), settings


def export(folder, model, settings: dict, base) -> None:
    state = take_weights(TrainableModel(model))
    form = peft_form(settings, state, model.config)
    write_form(folder, form, str(base), None, ABOUT)


@torch.no_grad()
def loaded_logprobs(model) -> torch.Tensor:
    """Return the log-probabilities [rows, words] that a model gives, read row by row and whole."""
    found = []
    for suffix, words in zip(PROMPTS.suffixes, PROMPTS.words, strict=True):
        prompt = [*PROMPTS.prefix, *suffix]
        for word in words:
            logits = model(input_ids=torch.tensor([[*prompt, *word]])).logits[0]
            each = logits[-len(word) - 1 : -1].log_softmax(-1)[range(len(word)), word]
            found.append(each.sum())
    return torch.stack(found).reshape(len(PROMPTS.ids), -1)


@pytest.mark.parametrize(("case", "name"), CASES)
def test_peft_gives_the_scores_of_what_was_trained(folders, tmp_path, case, name):
    model, settings = trained(case, name)
    export(tmp_path, model, settings, folders(name))
    prompts = PROMPTS.behind(virtual_ids(model))
    ours = torch.from_numpy(score(model, prompts, batch_tokens=64).logprobs)
    base = AutoModelForCausalLM.from_pretrained(folders(name))
    if settings["family"] == "qlora":
        put_rounded(base, model)
    before = loaded_logprobs(base)
    theirs = loaded_logprobs(PeftModel.from_pretrained(base, tmp_path).eval())
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    assert (theirs - before).abs().max() > 0.01, "an adapter that is not loaded changes nothing"


@torch.no_grad()
def put_rounded(base, model) -> None:
    """Give a plain model the weights that the 4 bits of an adapted one stand for."""
    for name, module in model.named_modules():
        if isinstance(module, FourBitLinear):
            base.get_submodule(name.replace(".base_layer", "")).weight.copy_(module.dequantised())


def test_the_same_adapter_has_the_same_bytes(folders, tmp_path):
    for case in ("dora", "ia3"):
        for part in ("once", "again"):
            model, settings = trained(case, "opt")
            export(tmp_path / case / part, model, settings, folders("opt"))
        for file in (CONFIG, WEIGHTS):
            once, again = (
                (tmp_path / case / part / file).read_bytes() for part in ("once", "again")
            )
            assert once == again
        told = json.loads((tmp_path / case / "once" / CONFIG).read_text())
        assert told["target_modules"] == sorted(told["target_modules"])
        assert told["base_model_name_or_path"] == str(folders("opt")) and told["revision"] is None


def test_keys_and_values_of_different_widths_have_no_form():
    state = {"model.learned_prefix.keys": torch.zeros(2, 4, 3, 8)}
    state["model.learned_prefix.values"] = torch.zeros(2, 4, 3, 6)
    with pytest.raises(UnequalWidths, match="keys"):
        peft_form({"family": "prefix_tuning"}, state, None)


def test_every_family_that_is_exported_is_compared_with_peft():
    assert set(IN_PEFT) == FORMS.keys() and all(FAMILIES[name].trains for name in IN_PEFT)
    assert not set(IN_PEFT) & set(OWN_WEIGHTS)
    # The embeddings of a prompt from text are stored as those of any other prompt.
    tested = {method.__name__.rpartition(".")[2] for method, _ in MADE.values()}
    assert tested | {"prompt_from_text"} == FORMS.keys()
