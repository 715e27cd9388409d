"""What holds for every family on every kind of model: what is trained, drawn, stored, restored."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot.adaptation import setup, starting_points, training
from fewshot.adaptation.trainable_model import adapted, check_checkpointing, parameter_facts
from fewshot.adaptation.weights import put_weights, read_weights, take_weights, write_weights
from fewshot.errors import UserError
from fewshot.methods.freezing import check_trainable, train_only
from fewshot.models.parts import virtual_ids
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.scoring.score import score
from fewshot.study import families
from job_files import some_rows
from seed_runs import a_job, reading
from thinned import thinned
from tiny import ALL_KINDS, KINDS, TARGETS, tiny_model, tiny_tokenizer, write_manifest

ADAPTER = {
    **{"sublayers": ["attention", "feed-forward"], "bottleneck": 4, "activation": "gelu"},
    **{"scale": 2.0, "learning_rate": 0.02},
}
# Two layers of width 32, feed-forward 64, 75 words; Llama's keys and values have width 16.
# Settings, and trained numbers for opt, gpt_neox and llama.
FAMILIES = {
    "full": ({}, (23712, 21952, 2 * 75 * 32 + 2 * (3 * 1024 + 3 * 2048 + 64) + 32)),
    "bitfit": ({"learning_rate": 0.02}, (608, 608, 0)),
    "lora": ({}, (4 * 128, 2 * 256, 2 * (128 + 96))),
    "qlora": ({"quantise": "nf4", "dropout": 0.1}, (4 * 128, 2 * 256, 2 * (128 + 96))),
    "dora": ({"dora": True}, (512 + 4 * 32, 512 + 2 * 96, 448 + 2 * 48)),
    "ia3": ({"learning_rate": 0.05}, (2 * 128, 2 * 128, 2 * 96)),
    "prompt_tuning": ({"virtual_tokens": 4, "learning_rate": 0.1}, (4 * 32,) * 3),
    "prefix_tuning": (
        {"virtual_tokens": 4, "learning_rate": 0.05},
        (2 * 2 * 4 * 32, 2 * 2 * 4 * 32, 2 * 2 * 4 * 16),
    ),
    # Of one position, before a seed's context is there.
    "context_tuning": ({"token_dropout": 0.1, "learning_rate": 0.05}, (4 * 32, 4 * 32, 4 * 16)),
    # Of four positions the first stays as it is; trained on unlabelled rows alone.
    "cartridge": (
        {"virtual_tokens": 4, "learning_rate": 0.05, "loss": "distil-vocabulary"}
        | {"unlabelled_rows": 12, "temperature": 1.0, "rounds": 1},
        (2 * 2 * 4 * 32, 2 * 2 * 4 * 32, 2 * 2 * 4 * 16),
    ),
    "head_only": ({"learning_rate": 0.05}, (75 * 32,) * 3),
    # A layer has two adapters, each of 2 · 4 · 32 weights and 4 + 32 biases.
    "houlsby": ({**ADAPTER, "initialisation": "houlsby", "form": "houlsby"}, (4 * 292,) * 3),
    "pfeiffer": ({**ADAPTER, "initialisation": "bert", "form": "pfeiffer"}, (4 * 292,) * 3),
    "parallel": ({**ADAPTER, "initialisation": "lora", "form": "parallel"}, (4 * 292,) * 3),
    # Embeddings of 4 positions, as wide as keys, and two layers around 8 units.
    "reparametrised_prefix": (
        {"virtual_tokens": 4, "encoder_width": 8, "learning_rate": 0.02},
        (4 * 32 + 33 * 8 + 9 * 128, 4 * 32 + 33 * 8 + 9 * 128, 4 * 16 + 17 * 8 + 9 * 64),
    ),
    "mix_and_match": (
        {**ADAPTER, "initialisation": "lora", "virtual_tokens": 4, "encoder_width": "1/4"},
        (1544 + 2 * 292, 1544 + 2 * 292, 4 * 16 + 17 * 4 + 5 * 64 + 2 * 292),
    ),
    "p_tuning": (
        {"virtual_tokens": 4, "encoder": "mlp", "encoder_width": 8, "learning_rate": 0.02},
        (4 * 32 + 33 * 8 + 9 * 8 + 9 * 32,) * 3,
    ),
    # Of an LSTM, in both directions: four gates with weights and two biases each.
    "p_tuning_lstm": (
        {"virtual_tokens": 4, "encoder": "lstm", "encoder_width": "1/4", "learning_rate": 0.05},
        (4 * 32 + 2 * 32 * (32 + 8 + 2) + 2 * 32 * (16 + 8 + 2) + 17 * 16 + 17 * 32,) * 3,
    ),
    "prompt_from_text": (
        {"virtual_tokens": 4, "learning_rate": 0.1, "initial_text": "label-words"},
        (4 * 32,) * 3,
    ),
    # At four places three matrices and a bias, over the adapters of two tasks.
    "adapter_fusion": (
        {**ADAPTER, "initialisation": "bert", "form": "pfeiffer"}
        | {"start_from": {"tasks": ["one", "two"]}, "learning_rate": 0.02},
        (4 * (3 * 32 * 32 + 32),) * 3,
    ),
}
VARIANTS = {
    **{"dora": "lora", "p_tuning_lstm": "p_tuning"},
    **dict.fromkeys(("houlsby", "pfeiffer", "parallel"), "adapter"),
}
"""What is no family's name above → its family."""
NOT_DRAWN = ("full", "bitfit", "ia3", "head_only", "context_tuning", "cartridge")
UNCHANGED = ("full", "bitfit", "ia3", "head_only", "lora", "dora", "parallel")
PAIRS = [
    (family, kind)
    for family in FAMILIES
    for kind in ALL_KINDS
    if (family, kind) != ("bitfit", "llama")
]
each_pair = pytest.mark.parametrize(("family", "kind"), PAIRS)
ON_ONE = {
    **{"pfeiffer": "llama", "parallel": "gpt_neox", "prompt_from_text": "opt"},
    **{"reparametrised_prefix": "llama", "mix_and_match": "opt"},
    **{"p_tuning": "llama", "p_tuning_lstm": "gpt_neox", "adapter_fusion": "llama"},
}
"""Families that are trained on one kind of model alone."""
SHARDED = [
    *("bitfit", "lora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "head_only"),
    *("mix_and_match", "p_tuning_lstm", "context_tuning", "cartridge", "adapter_fusion"),
]
"""Families that are also trained in shards: all ways to add or to choose parameters."""
ONCE = [("full", "opt"), ("lora", "llama"), ("ia3", "gpt_neox"), ("prefix_tuning", "llama")]
"""Of these the first that are tried."""
TRAINED = [(family, kind) for family, kind in PAIRS if ON_ONE.get(family, kind) == kind]


@pytest.fixture(scope="module", autouse=True)
def words(tmp_path_factory):
    """Let the family that starts from words read the test pattern's."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer("opt").save_pretrained(folder)
    manifest = write_manifest(tmp_path_factory.mktemp("manifest") / "manifest.json", folder)
    start = {"texts": [" Yes", " No"], "manifest": manifest}
    FAMILIES["prompt_from_text"][0]["start"] = start


STARTS: dict[str, dict[int, tuple[Path, ...]]] = {}
"""Kind of model → seed → adapters of two tasks, as `pfeiffer` trains them."""


@pytest.fixture(scope="module", autouse=True)
def adapters(tmp_path_factory):
    """Store adapters for the family that fuses those of other tasks."""
    folder = tmp_path_factory.mktemp("adapters")
    for kind in ALL_KINDS:
        student = student_of("pfeiffer", kind)
        for task in ("one", "two"):
            noise = generator(task)
            for each in (p for p in student.parameters() if p.requires_grad):
                each.data = torch.from_numpy(noise.normal(0.0, 0.2, each.shape).astype(np.float32))
            write_weights(folder / f"{kind}-{task}", take_weights(student), {})
        files = (folder / f"{kind}-one", folder / f"{kind}-two")
        STARTS[kind] = {0: files, 1: files}


def job_of(family: str, kind: str, stage: int = 0, **settings):
    name = VARIANTS.get(family, family)
    given = {"family": name, "targets": TARGETS[kind], **FAMILIES[family][0], **settings}
    starts = STARTS[kind] if "start_from" in given else {}
    job = a_job(stage, **given)
    return dataclasses.replace(job, train=some_rows(60, "train"), starts=starts)


def method_of(job):
    return importlib.import_module(f"fewshot.methods.{job.settings['family']}")


def student_of(family: str, kind: str, **settings):
    job = job_of(family, kind, **settings)
    student = adapted(tiny_model(kind), method_of(job), job.settings, 2)
    if job.starts:
        starting_points.put_start(student, job, 0, False, method_of(job).place)
    return student


def train(folder: Path, family: str, kind: str, stage: int = 0, **settings):
    """Return the setup, the losses of the epochs and the result of a training run in `folder`."""
    torch.set_num_threads(1)
    job, model = job_of(family, kind, stage, **settings), tiny_model(kind)
    made = setup.set_up(reading(job, tiny_tokenizer(kind)), lambda: model)
    result = training.train_seed(made, 0, folder)
    curve = result.curves[result.curves["evaluation_set"] == "train"]
    return made, -curve["mean_logprob"].to_numpy(), result


def gradients(student) -> set[str]:
    """Return the parameters that a loss reaches, on a row whose prompt has what stands ahead."""
    row = (*virtual_ids(student.model), *range(4, 12))
    student(
        torch.tensor([row, row]), torch.tensor([[0, len(row) - 1], [1, len(row) - 3]])
    ).sum().backward()
    return {name for name, each in student.named_parameters() if each.grad is not None}


def test_every_family_that_trains_is_here():
    known = {VARIANTS.get(name, name) for name in FAMILIES}
    assert known == {name for name, each in families.FAMILIES.items() if each.trains}


@each_pair
def test_only_what_a_family_names_is_trained(family, kind):
    student = student_of(family, kind)
    names = {name for name, each in student.named_parameters() if each.requires_grad}
    count = sum(each.numel() for each in student.parameters() if each.requires_grad)
    assert count == FAMILIES[family][1][ALL_KINDS.index(kind)]
    assert parameter_facts(student)["trainable"] == count
    assert gradients(student) == names


@each_pair
def test_a_draw_belongs_to_its_generator_and_restores_the_untrained_model(family, kind):
    student, method = student_of(family, kind), method_of(job_of(family, kind))
    before = take_weights(student) if family in UNCHANGED else None
    method.draw(student.model, generator("x", 1))
    first = take_weights(student)
    if family not in ("full", "bitfit", "head_only", "context_tuning", "cartridge"):
        with torch.no_grad():
            for name, each in student.named_parameters():
                if each.requires_grad and "magnitude" not in name:
                    each += 1.0
    method.draw(student.model, generator("x", 1))
    assert all(torch.equal(each, first[n]) for n, each in take_weights(student).items())
    if before and family in NOT_DRAWN:
        assert all(torch.equal(each, before[n]) for n, each in first.items())
    method.draw(student.model, generator("x", 2))
    same = all(torch.equal(each, first[n]) for n, each in take_weights(student).items())
    assert same == (family in NOT_DRAWN)


@pytest.mark.parametrize("family", UNCHANGED)
@pytest.mark.parametrize("kind", KINDS)
def test_training_starts_from_the_base_model(family, kind):
    student = student_of(family, kind)
    method_of(job_of(family, kind)).draw(student.model, generator("x"))
    ids = torch.arange(4, 16).reshape(2, 6)
    assert torch.equal(student.model(input_ids=ids).logits, tiny_model(kind)(input_ids=ids).logits)


@pytest.mark.parametrize(("family", "kind"), thinned(TRAINED, ONCE, TRAINED[::4]))
def test_training_lowers_the_loss_and_is_restored_from_its_file(family, kind, tmp_path):
    made, losses, result = train(tmp_path, family, kind, epochs=6)
    # A divergence from a teacher starts small.
    assert losses[-1] < (losses[0] / 2 if family == "cartridge" else losses[0] - 0.3)
    base, untouched = tiny_model(kind).state_dict(), student_of(family, kind).model.state_dict()
    kept = made.origin.start(1, Placement(), torch.device("cpu")).model.state_dict()
    same = [torch.equal(each, untouched[name]) for name, each in kept.items() if name in base]
    assert same and all(same), "the base of the next seed"
    path = tmp_path / "stored.safetensors"
    result.files["seed0.safetensors"](path)
    read = made.prompts.of_seed(0)  # Of which only a learned context is the seed's own.
    other = made.origin.start(0, Placement(), torch.device("cpu"), read)
    put_weights(other, read_weights(path, other))
    for name, scored in read.sets.whole.items():
        found = score(other.model, scored.prompts, batch_tokens=256)
        rows = result.predictions.query(f"epoch == 6 and evaluation_set == '{name}'")
        np.testing.assert_array_equal(found.logprobs, rows[["logprob_0", "logprob_1"]])
        np.testing.assert_array_equal(found.logsumexp, rows["logsumexp"])


@pytest.mark.parametrize("family", thinned(SHARDED, slow=["lora"]))
def test_shards_train_alike(tmp_path, family):
    kind = "opt" if family == "bitfit" else "llama"
    _, losses, result = train(tmp_path, family, kind)
    _, sharded, other = train(tmp_path, family, kind, stage=3)
    np.testing.assert_allclose(sharded, losses, rtol=0, atol=1e-5)
    columns = ["logprob_0", "logprob_1", "logsumexp"]
    np.testing.assert_allclose(other.predictions[columns], result.predictions[columns], atol=1e-4)


@pytest.mark.parametrize(
    "family",
    thinned(
        ["dora", "ia3", "prompt_tuning", "prefix_tuning", "head_only", "p_tuning_lstm"],
        ["ia3"],
        ["dora", "prefix_tuning"],
    ),
)
def test_bfloat16_trains_alike(tmp_path, family):
    torch.set_num_threads(1)
    job = job_of(family, "llama", stage=1)
    half = dataclasses.replace(job, model={**job.model, "dtype": "bfloat16"})
    model = tiny_model("llama").to(torch.bfloat16)
    made = setup.set_up(reading(half, tiny_tokenizer("llama")), lambda: model)
    curves = training.train_seed(made, 0, tmp_path).curves.query("evaluation_set == 'train'")
    _, losses, _ = train(tmp_path, family, "llama")
    np.testing.assert_allclose(-curves["mean_logprob"], losses, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("family", ["head_only", "ia3", "prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize(("classifier", "count"), [("linear", 66), ("dense-relu-linear", 1122)])
def test_a_classification_head_is_trained_besides(tmp_path, family, classifier, count):
    own = 0 if family == "head_only" else FAMILIES[family][1][2]
    settings = {"head": "classification", "classifier": classifier, "learning_rate": 0.02}
    _, losses, result = train(tmp_path, family, "llama", epochs=6, **settings)
    assert result.facts["parameters"]["trainable"] == own + count
    heads = {name for name in result.facts["parameters"]["modules"] if name.startswith("head.")}
    assert heads == ({"head.out"} if classifier == "linear" else {"head.dense", "head.out"})
    assert losses[-1] < losses[0] - 0.05
    if family == "head_only":
        assert set(result.facts["parameters"]["modules"]) == heads


def test_a_readout_that_is_tied_is_trained_apart_from_the_embeddings():
    student = student_of("head_only", "opt")
    model = student.model
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)
    assert not model.get_input_embeddings().weight.requires_grad


def test_facts_name_what_is_trained():
    modules = {
        family: parameter_facts(student_of(family, "gpt_neox"))["modules"]
        for family in (
            *("lora", "ia3", "prompt_tuning", "prefix_tuning", "head_only"),
            *("houlsby", "parallel", "p_tuning", "reparametrised_prefix"),
        )
    }
    adapters = [
        f"model.gpt_neox.layers.*.{part}.adapter.{matrix}"
        for part in ("attention.dense", "mlp.dense_4h_to_h")
        for matrix in ("down", "up")
    ]
    assert modules == {
        "lora": [
            f"model.gpt_neox.layers.*.attention.query_key_value.lora_{factor}.default"
            for factor in "AB"
        ],
        "ia3": [
            "model.gpt_neox.layers.*.attention.query_key_value.ia3",
            "model.gpt_neox.layers.*.mlp.dense_4h_to_h.ia3",
        ],
        "prompt_tuning": ["model.gpt_neox.embed_in.learned"],
        "prefix_tuning": ["model.learned_prefix"],
        "head_only": ["model.lm_head"],
        "houlsby": adapters,
        "parallel": adapters,
        "p_tuning": ["model.gpt_neox.embed_in.learned.encoder.embedding"]
        + [f"model.gpt_neox.embed_in.learned.encoder.mlp_head.{i}" for i in (0, 2, 4)],
        "reparametrised_prefix": ["model.learned_prefix.encoder.embedding"]
        + [f"model.learned_prefix.encoder.transform.{i}" for i in (0, 2)],
    }


class Careless:
    """A family that leaves a parameter trainable which it does not name."""

    @staticmethod
    def adapt(model, settings):
        names = train_only(model, ["lm_head.weight"], "careless", "")
        model.gpt_neox.embed_in.weight.requires_grad_(settings["careless"])
        return [*names, *settings["more"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"careless": True, "more": []},
            "family 'careless' trains an unexpected parameter 'model.gpt_neox.embed_in.weight'",
        ),
        (
            {"careless": False, "more": ["gpt_neox.embed_in.weight"]},
            "'careless' does not train parameter 'model.gpt_neox.embed_in.weight', which it names",
        ),
    ],
)
def test_what_is_trained_is_what_was_named(settings, message):
    settings = {**settings, "head": "language-model", "family": "careless"}
    with pytest.raises(UserError, match=message):
        adapted(tiny_model("gpt_neox"), Careless, settings, 2)


def test_nothing_to_train_and_unknown_names_are_errors():
    model = tiny_model("gpt_neox")
    with pytest.raises(
        UserError, match=r"unknown parameter 'lm_heat.weight'; did you mean 'lm_head"
    ):
        train_only(model, ["lm_heat.weight"], "family", "")
    with pytest.raises(UserError, match="family 'x' trains nothing"):
        check_trainable(model.requires_grad_(False), [], "x")


def test_checkpointing_and_a_learned_prefix_exclude_each_other():
    for family in ("prefix_tuning", "cartridge"):
        with pytest.raises(UserError, match=rf"'{family}' .*; valid: checkpointing = 0"):
            check_checkpointing(student_of("prefix_tuning", "opt"), family)
    check_checkpointing(student_of("prompt_tuning", "opt"), "prompt_tuning")
