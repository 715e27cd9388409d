"""Latencies are measured of each way to deploy a cell, and only of one that answers as its run."""

from dataclasses import asdict
from itertools import count
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fewshot import storage
from fewshot.analysis.latency_schema import LATENCY
from fewshot.exchange import latency
from fewshot.exchange.adapted_model import AdaptedModel
from fewshot.exchange.ready import filling, first_rows, ready
from fewshot.prompts.patterns import ChannelPattern
from fewshot.prompts.tokenize import Prompts
from finished_runs import finish
from job_files import PARAMETERS, drawn, solved
from mistakes import told as mistake
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.slow

CHANNEL = ChannelPattern(
    "minimal", ((" . the tall doctor saw ", "text_a"), (" or ", "text_b"), (" ?", None)),
    "Answer:", (" Yes", " No"), "\n\n", "channel",
)  # fmt: skip
STEP = 0.004
"""Seconds between two looks at the clock."""
FLOAT, LAYERS, WIDTH = 4, 2, 32


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ticks = count()
    stepped = SimpleNamespace(perf_counter=lambda: STEP * next(ticks))
    monkeypatch.setattr(latency, "time", stepped)


def measured(told: dict, own_weights: bool = False) -> pd.DataFrame:
    """Return what is measured of a run, as it is stored, by reading and adapter."""
    frame = latency.measure(told, own_weights, 5, 3, 1)
    storage.write_table("latency.parquet", frame, LATENCY)
    found = storage.read_table("latency.parquet")
    assert set(found["status"]) == {"ok"} and set(found["single_rows"]) == {5}
    for name, milliseconds in (("single", 1000 * STEP), ("batch", 1000 * STEP / found.batch_rows)):
        assert np.allclose(found[f"{name}_ms"], milliseconds)
        assert np.allclose(found[f"{name}_ms_low"], found[f"{name}_ms_high"]), "a steady clock"
        assert (found[f"{name}_peak_mib"] > 50).all() and (found[f"{name}_growth_mib"] >= 0).all()
    return found.set_index(["reading", "merging"])


def test_a_context_is_kept_or_read_with_every_row(tmp_path):
    settings = {}
    told, _ = finish(tmp_path / "job", change=lambda smk: settings.update(smk=smk),
                     family="in_context")  # fmt: skip
    found = measured(told)
    assert list(found.index) == [("context cached", ""), ("whole prompts", "")]
    text = "".join(map(solved, drawn(settings["smk"], 0)))
    assert set(found["context_bytes"]) == {len(text.encode())}
    cached, whole = (row for _, row in found.iterrows())
    held = cached["context_tokens"] * LAYERS * 2 * WIDTH * FLOAT
    assert (cached["cache_bytes"], whole["cache_bytes"]) == (held, 0)
    assert (cached["kept_bytes"], whole["kept_bytes"]) == (held + len(text), len(text))
    assert set(found["model_bytes"]) == {PARAMETERS["opt"] * FLOAT}
    assert set(found["trained_bytes"]) == {0} and found["restored"].all()
    assert cached["batch_rows"] > whole["batch_rows"], "as many as fill a batch"
    assert (found["difference"] < 1e-5).all() and set(found["splits"]) == {0}


def test_one_row_reads_its_own_tokens_behind_what_is_kept_or_all_of_them(tmp_path):
    told, _ = finish(tmp_path / "job", family="in_context")
    model, tokens = AdaptedModel(told, 1), []
    rows = storage.read_rows(told["evaluation"][0]["path"])
    reading = model.reading(rows)
    model.model.get_input_embeddings().register_forward_hook(
        lambda _, given, __: tokens.append(given[0].numel())
    )
    (prompts,) = reading.prompts
    for whole in (False, True):
        with ready(model.model, None, reading.job, [prompts], whole) as way:
            tokens.clear()
            way.one(3)
            own = len(prompts.suffixes[3])
            assert tokens == [own + whole * len(prompts.prefix)]
            tokens.clear()
            way.every()
        shared = len(prompts.prefix) * len(rows)
        assert sum(tokens) >= sum(map(len, prompts.suffixes)) * 0.5 + whole * shared


def test_an_adapter_stands_beside_the_weights_or_in_them(tmp_path):
    told, _ = finish(tmp_path / "job", "gpt_neox", family="lora")
    found = measured(told)
    assert list(found.index) == [("", "unmerged"), ("", "merged")]
    beside, folded = (row for _, row in found.iterrows())
    stored = load_file(tmp_path / "job/out/adapters/seed0.safetensors").values()
    trained = sum(each.numel() for each in stored) * FLOAT
    whole = PARAMETERS["gpt_neox"] * FLOAT
    assert set(found["trained_bytes"]) == {trained} and set(found["context_tokens"]) <= {0, 1}
    assert (beside["model_bytes"], folded["model_bytes"]) == (whole + trained, whole)
    assert (beside["kept_bytes"], folded["kept_bytes"]) == (trained, whole)

    path = tmp_path / "job/out/adapters/seed0.safetensors"
    save_file({name: each + 0.1 for name, each in load_file(path).items()}, path)
    line = mistake(latency.measure, told, False, 5, 3, 1)
    assert line.startswith("job/out: seed 0, unmerged: row 1") or "out: seed 0, unmerged" in line
    assert "as stored; nothing is timed. Remove the run's manifest.json" in line
    manifest = storage.read_json(tmp_path / "job/out/manifest.json")
    other = {**manifest, "device": "cuda: Elsewhere"}
    storage.write_json(tmp_path / "job/out/manifest.json", other)
    line = mistake(latency.measure, told, False, 5, 3, 1)
    assert "run was made on cuda: Elsewhere, here is cpu: " in line and "such a device" in line


def test_a_run_without_weights_is_measured_as_its_training_started(tmp_path):
    told, _ = finish(tmp_path / "job", family="full", keep_weights=False)
    [(way, row)] = measured(told, own_weights=True).iterrows()
    assert way == ("", "merged") and not row["restored"]
    assert row["kept_bytes"] == row["trained_bytes"] == PARAMETERS["opt"] * FLOAT
    assert row["difference"] < 1e-5, "of rows read alone from rows read together"


def test_several_contexts_and_rows_that_are_scored_as_texts(tmp_path):
    def channel(smk):
        smk.params.pattern = asdict(CHANNEL)

    told, _ = finish(tmp_path / "job", "gpt_neox", channel, family="ensemble", shown=3)
    found = measured(told)
    assert list(found.index) == [("context cached", ""), ("whole prompts", "")]
    assert (found["batches"] >= 3).all(), "one at least behind each context"


def test_a_cell_of_which_no_draw_fits_is_told_of(tmp_path):
    told, _ = finish(tmp_path / "job", unfit=(0, 1), family="in_context")
    found = latency.measure(told, False, 5, 3, 1)
    storage.write_table("latency.parquet", found, LATENCY)
    assert found["status"].tolist() == ["does not fit"] and found["single_ms"].isna().all()


def test_a_full_batch_has_the_rows_that_fill_it():
    rows = [(1,) * tokens for tokens in (4, 2, 5, 1)]
    prompts = Prompts((0, 1, 2, 3), (9,) * 10, rows, [((1,), (2,))] * 4)
    counts = [filling(prompts, tokens, True) for tokens in (1, 4, 8, 14, 15, 20, 99)]
    assert counts == [1, 1, 2, 2, 3, 4, 4], "padded to the longest of them"
    assert filling(prompts, 28, False) == 2, "with what all begin with"
    paired = Prompts((0, 0, 1, 1), (9,), [(1,) * 4] * 4, [((1,),)] * 4, per_row=2)
    assert filling(paired, 16, True) == 2 and first_rows(paired, 1).ids == (0, 0)
