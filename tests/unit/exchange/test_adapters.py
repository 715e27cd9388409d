"""Exported adapters and their cards: what a card says can be done with it is done, and is right."""

import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from fewshot import storage
from fewshot.adaptation.weights import write_weights
from fewshot.analysis import stats
from fewshot.exchange import adapters
from fewshot.exchange.adapter_cards import front_matter
from fewshot.models.language_part import LANGUAGE_PARTS
from finished_runs import finish, of_set
from job_files import TRAINING, give_chat
from mistakes import told as mistake
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

LORA = {"family": "lora"}


def plain(smk) -> None:
    """Change nothing."""


CASES = {
    "lora": ("opt", {**LORA, "dora": True}, plain),
    "in context": ("gpt_neox", {**LORA, "score_context": "shots"}, plain),
    "chat": ("llama", LORA, lambda smk: give_chat(smk, demonstrations="turns")),
    "learned context": (
        "opt",
        {"family": "context_tuning", "token_dropout": 0.0},
        plain,
    ),
    "cut": (
        "opt",
        {"family": "prompt_tuning", "virtual_tokens": 3, "truncate": 5},
        plain,
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_what_a_card_says_gives_the_stored_scores(here, capsys, case):
    kind, settings, change = CASES[case]
    told, predictions = finish(here / "job", kind, change, **settings)
    [first, _], left_out = adapters.write_adapters("out", "s", [told], {})
    assert not left_out and first == "fair/task/tiny/ft/minimal/k8/seed0"
    card = Path("out", first, "README.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)\n```$", card, re.M | re.S)
    capsys.readouterr()
    with chdir(Path("out", first)):
        exec(code, {})
    lines = [line.rpartition(" ") for line in capsys.readouterr().out.splitlines()]
    stored = of_set(predictions, "task", 0).iloc[0]
    expected = [stored["logprob_0"], stored["logprob_1"]]
    assert [label for label, *_ in lines] == ["no", "yes"]
    np.testing.assert_allclose([float(value) for *_, value in lines], expected, rtol=0, atol=1e-5)
    for label, value in zip(("no", "yes"), expected, strict=True):
        assert f"| {label} | {value:.5f} |" in card
    # A text is asked for as such, and its tokens where none has them.
    asks = "tokenizer(" in re.sub(r"tokenizer = .*", "", code)
    assert asks == (case != "cut")
    assert ("adds `</s>` in front" in card) == (kind == "opt" and case != "learned context")


def test_a_card_tells_the_draw_and_the_accuracy_with_its_interval(here):
    told, predictions = finish(here / "job", seeds=(3,), **LORA)
    adapters.write_adapters("out", "s", [{**told, "licence": "MIT"}], {"ft": "why not"})
    folder = Path("out/fair/task/tiny/ft/minimal/k8/seed3")
    card = (folder / "README.md").read_text()
    draw = storage.read_table(told["shots"]["3"])
    shown = ", ".join(f"{row.id} ({told['labels'][row.label]})" for row in draw.itertuples())
    assert f": {shown}." in card
    for name, rows in (("task", 24), ("other", 11)):
        right = int(of_set(predictions, name, 3)["correct"].sum())
        # Rows without clusters are nearly independent: Wilson's interval, but with Student's t.
        low, high = (100 * float(each) for each in stats.wilson_interval(right, rows))
        [found] = re.findall(
            rf"^\| `{name}` \| {rows} \| ([\d.]+) \[([\d.]+), ([\d.]+)\] \|$", card, re.M
        )
        assert float(found[0]) == pytest.approx(100 * right / rows, abs=0.051)
        assert [float(each) for each in found[1:]] == pytest.approx([low, high], abs=4)
    assert card.startswith("---\nlibrary_name: peft\nlicense: mit\n")
    manifest = storage.read_json(f"{told['folder']}/manifest.json")
    weights = storage.read_json(told["manifest"])["files"]["model.safetensors"]["sha256"]
    assert manifest["code"] in card and weights in card
    page = Path("out/README.md").read_text()
    assert "(fair/task/tiny/ft/minimal/k8/seed3/README.md)" in page and "`ft`: why not" in page


def test_the_same_runs_give_the_same_bytes(here):
    told, _ = finish(here / "job", seeds=(0,), **LORA)
    made = []
    for name in ("once", "again"):
        adapters.write_adapters(name, "s", [told], {})
        paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
        made.append({path.relative_to(name): path.read_bytes() for path in paths})
    assert made[0] == made[1] and len(made[0]) == 4


def test_what_is_not_exported_is_named(here, monkeypatch):
    told, _ = finish(here / "job", unfit=(1,), **LORA)
    written, left_out = adapters.write_adapters("out", "s", [told], {})
    assert [place[-5:] for place in written] == ["seed0"]
    assert left_out == {"fair/task/tiny/ft/minimal/k8/seed1": "does not fit"}
    monkeypatch.setattr(adapters, "read_config", lambda folder: (None, LANGUAGE_PARTS["gemma3"]))
    line = mistake(adapters.write_adapters, "none", "s", [told], {})
    assert "(tiny: it is a part of a model that transformers loads whole" in line
    line = mistake(adapters.write_adapters, "none", "s", [], {"ft": "why not"})
    assert line == "study 's': no adapter that peft can load (ft: why not)"


def test_runs_and_files_of_something_else_are_refused(here):
    told, _ = finish(here / "job", seeds=(0, 1), **LORA)

    def refused(**changes) -> str:
        line = mistake(adapters.write_adapters, "out", "s", [{**told, **changes}], {})
        assert not Path("out").exists()
        return line

    other = {**told["method"], "alpha": TRAINING["alpha"] + 1}
    assert "method 'ft' had other settings than it has now" in refused(method=other)
    swapped = {"0": told["shots"]["1"], "1": told["shots"]["0"]}
    assert "the draw of seed 0 was another one" in refused(shots=swapped)
    content = json.loads(Path(told["manifest"]).read_text())
    content["files"]["config.json"]["sha256"] = "0"
    Path("other.json").write_text(json.dumps(content))
    assert "model 'tiny' had other files" in refused(manifest="other.json")
    folder = Path(told["folder"], "adapters")
    shutil.copy(folder / "seed1.safetensors", folder / "seed0.safetensors")
    assert "seed is 1, not 0: another run's file" in refused()
    about = {**told["cell"], "seed": 0, "epoch": 2}
    write_weights(folder / "seed0.safetensors", load_file(folder / "seed1.safetensors"), about)
    (folder / "seed1.safetensors").unlink()
    line = mistake(adapters.write_adapters, "out", "s", [told], {})
    assert "seed1.safetensors: not there; an archive brings no adapters" in line


def test_the_metadata_says_what_is_known_of_the_licence():
    assert "license: apache-2.0\n" in front_matter("owner/name", "Apache-2.0")
    assert "base_model: owner/name\nbase_model_relation: adapter\n" in front_matter(
        "owner/name", ""
    )
    named = front_matter(None, "Gemma Terms of Use (gated)")
    assert "license: other\nlicense_name: Gemma Terms of Use (gated)\n" in named
    unknown = front_matter(None, "")
    assert "# license: unknown" in unknown and "base_model:" not in unknown
