"""What a model's files say is compared before any job needs its weights."""

import json

import pytest
from fewshot.errors import UserError
from fewshot.models.compatibility import check_config, check_model
from tiny import save_tiny, write_manifest


@pytest.fixture
def model(tmp_path):
    """Return a function that says what is wrong with a small model of a changed config."""
    folder = save_tiny(tmp_path / "model", "opt")

    def check(**changes) -> str:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        manifest = write_manifest(tmp_path / "manifest.json", folder)
        try:
            check_model(manifest, folder, "mine")
        except UserError as error:
            return str(error)
        return "nothing"

    return check


def test_a_model_that_fits_passes(model):
    assert model() == "nothing"


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_quantised_weights_are_refused(model, method):
    said = model(quantization_config={"quant_method": method, "bits": 4})
    assert f"model 'mine': its weights are quantised ({method})" in said


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UserError, match="model_type 't5' is no causal language model"):
        check_config({"model_type": "t5"}, "model 'mine'")
    with pytest.raises(UserError, match="code that comes with a model is never run"):
        check_config({"model_type": "own", "auto_map": {"AutoModel": "x.Y"}}, "model 'mine'")


def test_a_tokenizer_of_another_model_is_refused(model):
    assert "but the model only 8 embeddings" in model(vocab_size=8)


def test_a_tokenizer_that_cannot_be_read_is_one_line(model, tmp_path):
    (tmp_path / "model/tokenizer.json").write_text("{}")
    said = model()
    assert "no tokenizer that can be loaded" in said and "\n" not in said
