"""Two processes train and score as one does: same losses, same predictions, for each ZeRO stage."""

import os
import pickle
import re
import subprocess
import sys
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path

import fit_baseline
import numpy as np
import pytest
import run_in_context
from fewshot import storage
from fewshot.adaptation.training import fine_tune
from fewshot.prompts.patterns import Pattern
from job_files import PATTERN, write_job
from safetensors.numpy import load_file
from thinned import thinned

ROOT = Path(__file__).parents[2]

SCRIPT = """
import pickle, sys
from pathlib import Path
from fewshot.runtime import script
from test_distributed import job_of
smk = pickle.loads(Path(sys.argv[1]).read_bytes())
script.run(job_of(smk), smk)
"""


PROBE = {"family": "hidden_state", "head": "classification", "classifier": "linear"}
PROBE |= {"inverse_penalty": 1.0}


def job_of(smk):
    """Return the function that runs a job of the method's family."""
    if smk.params.method["family"] == "in_context":
        return run_in_context.main
    return fit_baseline.main if smk.params.method["family"] == "hidden_state" else fine_tune


def run(
    folder: Path, processes: int, stage: int, words=(), kind="gpt_neox", resources=(), **settings
):
    """Run a job in as many processes, a single one in this, and return what it names."""
    smk = write_job(folder, kind=kind, k=10, keep_weights=True, curve_rows=8, **settings)
    smk.resources |= {"zero_stage": stage, **dict(resources)}
    smk.params.pattern["words"] = words or smk.params.pattern["words"]
    if processes == 1:
        with chdir(folder):
            job_of(smk)(smk)
        return smk
    (folder / "job.pickle").write_bytes(pickle.dumps(smk))
    (folder / "job.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join(str(ROOT / name) for name in ("scripts", "tests", "tests/slow"))
    subprocess.run(
        [sys.executable, *launcher, str(folder / "job.py"), str(folder / "job.pickle")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        check=True,
    )
    return smk


def assert_alike(one, two):
    """Compare curves, predictions and weights of two jobs within rounding."""
    expected, found = (storage.read_table(smk.output.curves) for smk in (one, two))
    np.testing.assert_allclose(found["mean_logprob"], expected["mean_logprob"], rtol=0, atol=1e-5)
    assert (found[["n", "correct"]] == expected[["n", "correct"]]).all(axis=None)
    expected, found = (storage.read_table(smk.output.predictions) for smk in (one, two))
    columns = ["logprob_0", "logprob_1", "logsumexp"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=0, atol=1e-4)
    expected, found = (
        load_file(Path(smk.output.adapters, "seed0.safetensors")) for smk in (one, two)
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Softmax does not depend on the keys' biases: their gradient is rounding.
        if not name.endswith("query_key_value.bias"):
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4)


ADDED = {
    **{"virtual_tokens": 4, "encoder": "lstm", "encoder_width": "1/2"},
    **{"sublayers": ["attention", "feed-forward"], "form": "pfeiffer", "bottleneck": 4},
    **{"activation": "gelu", "scale": 1.0, "initialisation": "houlsby"},
}
"""Settings of what families add."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return, by family, the job that one process ran with PyTorch alone."""
    found = {}

    def get(family: str):
        if family not in found:
            found[family] = run(tmp_path_factory.mktemp(family), 1, 0, family=family, **ADDED)
        return found[family]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "stage", "resources"),
    thinned(
        [
            ("full", 0, {}),
            ("full", 1, {"micro_tokens": 16}),
            ("full", 2, {}),
            ("lora", 2, {"offload": "optimizer", "checkpointing": 1}),
            ("full", 3, {"micro_tokens": 16, "checkpointing": 1}),
            ("full", 3, {"offload": "parameters"}),
            ("prefix_tuning", 3, {}),
            ("mix_and_match", 3, {}),
        ],
        slow=[("full", 3, {"micro_tokens": 16, "checkpointing": 1})],
    ),
)
def test_two_processes_equal_plain_pytorch_in_one(tmp_path, alone, family, stage, resources):
    """The draw of 10 in batches of 4 leaves a last batch of 2, one row for each process.

    Curves count a sample, so that the best epoch's weights are put back for all rows at the end.
    """
    one = alone(family)
    two = run(tmp_path / "two", 2, stage, resources=resources, family=family, **ADDED)
    assert_alike(one, two)
    manifest = storage.read_json(two.output.manifest)
    assert manifest["world_size"] == 2 and manifest["placement"]["zero_stage"] == stage
    assert manifest["parameters"] == storage.read_json(one.output.manifest)["parameters"]


@pytest.mark.parametrize("loss", thinned(["vocabulary", "label-words"], slow=["vocabulary"]))
def test_answers_of_several_tokens_are_trained_alike(tmp_path, loss):
    """The processes ask for different numbers of tokens, and for as many passes."""
    settings = {"words": (" Yes", " No not all"), "loss": loss, "end_token": True}
    one = run(tmp_path / "one", 1, 0, **settings)
    two = run(tmp_path / "two", 2, 3, resources={"micro_tokens": 16}, **settings)
    assert_alike(one, two)
    tokens = storage.read_table(two.output.predictions)[["tokens_0", "tokens_1"]]
    assert (tokens == [2, 4]).all(axis=None)


@pytest.mark.weekly
def test_adafactor_keeps_whole_tensors_in_two_processes(tmp_path):
    """With T-Few's losses, and patterns that are drawn: the same in both processes."""
    other = Pattern("other", ((" ", "text_b"), (" ", "text_a")), "", (" True", " No not"), "")
    settings = {
        "family": "ia3", "optimizer": "adafactor", "schedule": "linear", "end_token": True,
        "loss": ["vocabulary", "unlikelihood", "length-normalised"], "epochs": 3, "steps": 8,
        "train_patterns": [asdict(PATTERN), asdict(other)],
    }  # fmt: skip
    one = run(tmp_path / "one", 1, 0, **settings)
    two = run(tmp_path / "two", 2, 0, resources={"micro_tokens": 16}, **settings)
    assert_alike(one, two)


@pytest.mark.weekly
def test_weights_in_four_bits_are_whole_in_two_processes(tmp_path):
    settings = {"family": "qlora", "quantise": "nf4", "optimizer": "paged-adamw"}
    one = run(tmp_path / "one", 1, 0, **settings)
    two = run(tmp_path / "two", 2, 0, resources={"micro_tokens": 16}, **settings)
    assert_alike(one, two)


DISTILS = {"unlabelled_rows": 10, "temperature": 2.0, "epochs": 2, "loss": "distil-vocabulary"}
# Near its teacher a student's gradients are small, and AdamW makes steps of what is rounding there.
DISTILS |= {"learning_rate": 0.001}


@pytest.mark.parametrize("settings", [
    pytest.param(
        {"family": "cartridge", "virtual_tokens": 20, "rounds": 1, **DISTILS},
        id="cartridge", marks=pytest.mark.weekly,
    ),
    pytest.param(
        {"rounds": 2, **DISTILS, "loss": "distil-label-words", "words": (" Yes", " No not all")},
        id="label words", marks=pytest.mark.slow,
    ),
])  # fmt: skip
def test_what_comes_of_a_context_is_shared_by_two_processes(tmp_path, settings):
    """Also where each holds a part of the weights; both know what the teacher answered."""
    one = run(tmp_path / "one", 1, 0, seeds=(0,), **settings)
    two = run(tmp_path / "two", 2, 3, resources={"micro_tokens": 16}, seeds=(0,), **settings)
    assert_alike(one, two)
    told = [storage.read_json(smk.output.manifest)["seeds"]["0"] for smk in (one, two)]
    assert told[0].get("distillation") == told[1].get("distillation")


@pytest.mark.parametrize("stage", thinned([0, 3], slow=[3]))
@pytest.mark.parametrize(
    ("method", "kind"),
    [({"family": "in_context"}, "gpt_neox"), (PROBE, "opt")],
    ids=["shown", "probed"],
)
def test_two_processes_score_the_same_bytes(tmp_path, method, kind, stage):
    """With the whole model in each (stage 0), and with its weights in shards (stage 3)."""
    settings = {**method, "kind": kind, "sizes": (61, 11)}
    settings["words"] = (" Yes", " No not all")
    one = run(tmp_path / "one", 1, stage, **settings)
    two = run(tmp_path / "two", 2, stage, **settings)
    for name in ("predictions", "curves"):
        first, second = (Path(getattr(smk.output, name)).read_bytes() for smk in (one, two))
        assert first == second
    manifest = storage.read_json(two.output.manifest)
    assert manifest["world_size"] == 2
    assert manifest["parameters"] == storage.read_json(one.output.manifest)["parameters"]
    route = manifest["seeds"]["0"]["scoring"]["task"]["route"]
    assert (route == "shared prefix") == (method is not PROBE), "bare queries share little"
    for rank in range(2):
        log = Path(f"{two.log[0]}.rank{rank}" if rank else two.log[0]).read_text()
        held = re.search(r"holds (\d+) of (\d+) parameters", log)
        assert bool(held) == (stage == 3)
        assert not held or int(held[1]) < 0.52 * int(held[2])
