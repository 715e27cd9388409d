"""The classification head is the paper's, with the model's own scale of weights."""

import numpy as np
import pytest
import torch
from fewshot.errors import UserError
from fewshot.models.heads import ClassificationHead, initial_std, new_head
from fewshot.rng import generator
from tiny import tiny_model


def test_the_head_computes_dense_relu_linear():
    head = ClassificationHead(2, 3, 0.5, torch.float32).eval()
    with torch.no_grad():
        head.dense.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        head.dense.bias.copy_(torch.tensor([1.0, 0.0]))
        head.out.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]))
        head.out.bias.copy_(torch.tensor([0.0, 0.0, 10.0]))
    # Dense: [1 + 1, -3] → ReLU [2, 0] → [2, 0, 4 + 10]
    assert head(torch.tensor([[1.0, 3.0]])).tolist() == [[2.0, 0.0, 14.0]]


def test_the_linear_head_computes_a_linear_layer():
    head = ClassificationHead(2, 2, 0.5, torch.float32, dense=False).eval()
    with torch.no_grad():
        head.out.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 1.0]]))
        head.out.bias.copy_(torch.tensor([0.0, 10.0]))
    assert head(torch.tensor([[1.0, -3.0]])).tolist() == [[1.0, 9.0]]
    assert [name for name, _ in head.named_parameters()] == ["out.weight", "out.bias"]
    head.draw(0.02, generator("head"))
    assert head.out.weight.abs().min() > 0 and head.out.bias.abs().max() == 0


def test_weights_are_normal_with_the_models_scale_and_biases_zero():
    head = ClassificationHead(200, 2, 0.0, torch.float32)
    head.draw(0.05, generator("head"))
    assert head.dense.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert head.dense.weight.mean().item() == pytest.approx(0.0, abs=0.001)
    assert head.dense.bias.abs().max() == 0 and head.out.bias.abs().max() == 0


def test_the_draw_belongs_to_its_generator():
    first, second, other = (ClassificationHead(4, 2, 0.0, torch.float32) for _ in range(3))
    first.draw(0.02, generator("model", 1))
    second.draw(0.02, generator("model", 1))
    other.draw(0.02, generator("model", 2))
    assert torch.equal(first.dense.weight, second.dense.weight)
    assert not torch.equal(first.dense.weight, other.dense.weight)


@pytest.mark.parametrize("kind", ["opt", "gpt_neox"])
def test_a_new_head_fits_the_model(kind):
    model = tiny_model(kind, dropout=0.3)
    head = new_head(model, 3, "dense-relu-linear")
    assert head.out.weight.shape == (3, 32) and head.dense.weight.shape == (32, 32)
    assert head.dropout.p == 0.3
    assert initial_std(model) == 0.1


def test_a_head_is_one_of_two_kinds():
    model = tiny_model("opt")
    assert new_head(model, 2, "linear").dense is None
    with pytest.raises(UserError, match=r"classifier: unknown classifier 'liner'; did you mean"):
        new_head(model, 2, "liner")


def test_the_width_is_that_of_the_word_embeddings():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=20, hidden_size=16, word_embed_proj_dim=8, num_hidden_layers=1,
        num_attention_heads=2, ffn_dim=8, do_layer_norm_before=False,
    )  # fmt: skip
    model = OPTForCausalLM(config).half()
    head = new_head(model, 2, "dense-relu-linear")
    assert head.dense.weight.shape == (8, 8) and head.dense.weight.dtype == torch.float16
    assert np.isclose(initial_std(model), 0.02)
