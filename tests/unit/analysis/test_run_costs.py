"""Costs of finished seeds from made-up manifests, by hand, and written as stored."""

import json
from pathlib import Path

import pandas as pd
import pytest
import simulate
from fewshot import storage
from fewshot.analysis import flops, result_schemas, run_costs
from fewshot.analysis.flops import Counts, ModelSize, TrainingPasses

CELL = {"protocol": "fair", "task": "nli", "model": "opt-s"}
PAIR = next(p for p in simulate.pairs() if (p["task"], p["model"]) == ("nli", "opt-s"))
MODEL = run_costs.flops_model(PAIR["size"], PAIR["evaluation"])
SIZE = ModelSize(**PAIR["size"])

COUNTS = {"shared_tokens": 100, "own_tokens": 15, "own_squares": 75, "tokens_read": 115}


def write(folder: Path, method: str, k: int = 16, **changes) -> list[dict]:
    """Write a manifest and return its job."""
    job = next(each for each in PAIR["jobs"] if (each["method"], each["k"]) == (method, k))
    job = {**job, "folder": str(folder / method)}
    content = simulate.manifest(PAIR, job, 6, None) | changes
    storage.write_json(Path(job["folder"], "manifest.json"), content)
    return [job]


def costs(folder: Path, method: str, **changes) -> pd.DataFrame:
    return run_costs.compute_costs(CELL, write(folder, method, **changes), MODEL)


def test_results_made_elsewhere_have_no_costs(tmp_path):
    """Zero seconds would be a number that nobody measured."""
    unknown = {"world_size": None, "peak_memory_mib": None, "seconds": {}}
    frame = costs(tmp_path, "icl", settings={"family": "imported"}, **unknown)
    assert frame.empty and list(frame) == result_schemas.COSTS.names


def test_what_is_measured_outside_the_task_is_no_cost(tmp_path):
    (job,) = write(tmp_path, "icl")
    path = Path(job["folder"], "manifest.json")
    content, before = json.loads(path.read_text()), run_costs.compute_costs(CELL, [job], MODEL)
    for entry in content["seeds"].values():
        entry["seconds"]["forgetting"] = 1000.0
    storage.write_json(path, content)
    pd.testing.assert_frame_equal(run_costs.compute_costs(CELL, [job], MODEL), before)


def test_in_context_costs_by_hand(tmp_path):
    frame = costs(tmp_path, "icl")
    assert frame["seed"].tolist() == simulate.SEEDS
    row, shared, own = frame.iloc[0], 1 + 30 * 16, 24
    layers, width = 12, 768
    attended = own * shared + own * (own + 1) / 2
    cached = 2 * 12 * layers * width**2 * own + 4 * layers * width * attended + 2 * 50_000 * width
    context = 24 * layers * width**2 * shared + 4 * layers * width * shared * (shared + 1) / 2
    assert row["flops_context"] == context
    assert row["flops_cached"] == pytest.approx(cached, rel=1e-12)
    assert row["flops_uncached"] == pytest.approx(cached + context, rel=1e-12)
    assert (row["context_tokens"], row["row_tokens"]) == (shared, own)
    assert row["rows"] == row["scored_rows"] == 120 + 240
    assert row["cache_bytes"] == 2 * layers * width * shared * 4
    assert row["disk_bytes"] == 120 * 16
    assert row[["steps", "epochs", "train_tokens", "flops_train"]].eq(0).all()


def test_inputs_without_content_count_where_shots_are_held_out(tmp_path):
    (job,) = write(tmp_path, "icl")
    manifest = storage.read_json(Path(job["folder"], "manifest.json"))
    fold = {"scoring": {"held out": {**COUNTS, "rows": 2}}}
    seed = {"status": "ok", "seconds": {"load": 1.0, "score": 2.0}}
    few, more = (
        run_costs.held_out_costs(
            {**manifest, "seeds": {"4": {**seed, "folds": [each, each]}}}, job["passes"], MODEL
        )[4]["flops"]
        for each in (fold, fold | {"content_free_scoring": {"0": {**COUNTS, "rows": 3}}})
    )
    layers, width = 12, 768
    attended = 15 * 100 + (15 + 3 * 25) / 2  # Three rows of five tokens behind a hundred.
    row = 24 * layers * width**2 * 15 + 4 * layers * width * attended
    assert more - few == pytest.approx(2 * (row + 3 * 2 * 50_000 * width), rel=1e-12)


def test_costs_of_texts_behind_each_label_word_by_hand(tmp_path):
    """Two sets of 120 and 240 rows with three labels: 24 tokens behind each, of 20 of which the
    log-probability is asked for."""
    (job,) = write(tmp_path, "icl")
    path = Path(job["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for entry in content["seeds"].values():
        for each in entry["scoring"].values():
            prompts = 3 * each["rows"]
            each |= {"prompts": prompts, "answers": 20 * prompts}
            each |= {"own_tokens": 24 * prompts, "own_squares": 24**2 * prompts}
    storage.write_json(path, content)
    row = run_costs.compute_costs(CELL, [job], MODEL).iloc[0]
    shared, own, layers, width = 1 + 30 * 16, 24, 12, 768
    attended = own * shared + own * (own + 1) / 2
    once = 2 * 12 * layers * width**2 * own + 4 * layers * width * attended
    cached = 3 * (once + 20 * 2 * 50_000 * width)
    context = 24 * layers * width**2 * shared + 4 * layers * width * shared * (shared + 1) / 2
    assert row["flops_context"] == pytest.approx(context, rel=1e-12)
    assert row["flops_cached"] == pytest.approx(cached, rel=1e-12)
    assert row["flops_uncached"] == pytest.approx(cached + 3 * context, rel=1e-12)
    assert (row["context_tokens"], row["row_tokens"]) == (shared, 3 * own)
    assert row["rows"] == row["scored_rows"] == 120 + 240


LAYERS, WIDTH = 12, 768


def read(keys: int, tokens: int) -> float:
    """Return the operations of a row of so many tokens behind keys, by hand."""
    attended = keys * tokens + tokens * (tokens + 1) / 2
    return 24 * LAYERS * WIDTH**2 * tokens + 4 * LAYERS * WIDTH * attended


def test_every_context_of_an_ensemble_costs_and_is_read_behind(tmp_path):
    """Two contexts of 100 and 60 tokens, behind each of which all rows are read."""
    jobs = write(tmp_path, "icl")
    path = Path(jobs[0]["folder"], "manifest.json")
    manifest = storage.read_json(path)
    counts = [
        {"shared_tokens": shared, "own_tokens": 10 * 7, "own_squares": 10 * 7**2}
        for shared in (100, 60)
    ]
    part = {"rows": 10, "longest_tokens": 107, "tokens_read": 300, "contexts": counts}
    for entry in manifest["seeds"].values():
        entry["scoring"] = {"nli": part}
    storage.write_json(path, manifest)
    row = run_costs.compute_costs(CELL, jobs, MODEL).iloc[0]
    contexts = read(0, 100) + read(0, 60)
    rows = read(100, 7) + read(60, 7) + 2 * (2 * 50_000 * WIDTH)
    assert row["flops_context"] == contexts
    assert row["flops_cached"] == pytest.approx(rows, rel=1e-12)
    assert row["flops_uncached"] == pytest.approx(contexts + rows, rel=1e-12)
    assert (row["context_tokens"], row["row_tokens"]) == (160, 14)
    assert (row["rows"], row["tokens_read"]) == (10, 300)
    assert row["cache_bytes"] == 2 * LAYERS * WIDTH * 160 * 4


def test_retrieval_by_states_costs_the_reading_of_shots_and_rows(tmp_path):
    """16 shots of 9 tokens, and rows of 9 alone and of 2 + 40 with what they are shown."""
    jobs = write(tmp_path, "icl")
    path = Path(jobs[0]["folder"], "manifest.json")
    manifest = storage.read_json(path)

    def counts(rows: int, shared: int, own: int) -> dict[str, int]:
        sums = {"own_tokens": rows * own, "own_squares": rows * own**2}
        return {"rows": rows, "shared_tokens": shared, **sums, "tokens_read": shared + rows * own}

    for entry in manifest["seeds"].values():
        entry["scoring"] = {"nli": counts(10, 2, 40) | {"states": counts(10, 1, 8)}}
        entry["index"] = counts(16, 1, 8)
        entry["seconds"] = {"retrieve": 3.0, "score": 4.0}
    storage.write_json(path, manifest)
    row = run_costs.compute_costs(CELL, jobs, MODEL).iloc[0]
    answer = 2 * 50_000 * WIDTH
    assert row["flops_train"] == pytest.approx(16 * read(0, 9), rel=1e-12)
    assert row["flops_context"] == pytest.approx(read(0, 2) + read(0, 1), rel=1e-12)
    assert row["flops_cached"] == pytest.approx(read(2, 40) + read(1, 8) + answer, rel=1e-12)
    assert row["flops_uncached"] == pytest.approx(read(0, 42) + read(0, 9) + answer, rel=1e-12)
    assert (row["context_tokens"], row["row_tokens"]) == (2, 48)
    assert row["tokens_read"] == 2 + 400 + 1 + 80
    assert (row["seconds_score"], row["seconds_other"]) == (7.0, 0.0)
    assert row["cache_bytes"] == 2 * LAYERS * WIDTH * 2 * 4


def test_training_costs_by_hand(tmp_path):
    row = costs(tmp_path, "ft").iloc[0]
    counts = Counts(16, 0, 16 * 25, 16 * 25**2)
    expected = flops.training(SIZE, counts, 6, TrainingPasses(3, 3, 3), SIZE.readout)
    assert row["flops_train"] == expected
    rough = 6 * SIZE.weights * 6 * 16 * 25
    assert rough < expected < 1.2 * rough
    assert (row["steps"], row["epochs"], row["train_tokens"]) == (6, 6, 400)
    assert row["scored_rows"] == 7 * 360
    assert row["disk_bytes"] == 4 * 125_000_000


def test_adapters_cost_less_to_train_and_to_keep(tmp_path):
    ft, lora = (costs(tmp_path, method).iloc[0] for method in ("ft", "lora"))
    assert 0.6 < lora["flops_train"] / ft["flops_train"] < 0.8
    assert lora["disk_bytes"] == 4 * lora["trainable"]
    assert lora["flops_cached"] == ft["flops_cached"]


def test_loading_is_shared_by_the_seeds_of_a_job(tmp_path):
    jobs = write(tmp_path, "ft")
    path = Path(jobs[0]["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for seed, entry in content["seeds"].items():
        entry["seconds"] = {"train": 60.0, "curve": 5.0, "keep": 1.0}
        entry["seconds"] |= {"load": 10.0} if seed == "0" else {}
    content["seeds"]["4"] = {"status": "does not fit"}
    content["world_size"] = 2
    storage.write_json(path, content)
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    assert frame["seed"].tolist() == [0, 1, 2, 3]
    assert frame["seconds_load"].eq(2.5).all() and frame["seconds_other"].eq(1.0).all()
    assert frame["device_seconds"].eq(2 * 68.5).all()


def test_a_classification_head_takes_the_place_of_the_readout(tmp_path):
    plain = costs(tmp_path, "ft").iloc[0]
    settings = {"family": "full", "head": "classification", "classifier": "linear"}
    row = costs(tmp_path, "ft", settings=settings).iloc[0]
    assert plain["flops_cached"] - row["flops_cached"] == 2 * (50_000 - 2) * 768


def test_answers_of_several_tokens_meet_the_readout_as_often(tmp_path):
    (job,) = write(tmp_path, "ft")
    path = Path(job["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for entry in content["seeds"].values():
        entry["training"]["answers"] = entry["training"]["rows"] + 5
    before = run_costs.compute_costs(CELL, [job], MODEL)["flops_train"]
    storage.write_json(path, content)
    after = run_costs.compute_costs(CELL, [job], MODEL)["flops_train"]
    training = next(iter(content["seeds"].values()))["training"]
    passes = job["passes"]["readout"] * training["epochs"]
    assert (after - before).tolist() == [passes * 2 * 50_000 * 768 * 5] * len(after)


def test_a_row_that_is_read_with_each_label_word_is_so_many_rows_to_a_window(tmp_path):
    (job,) = write(tmp_path, "ft")
    path = Path(job["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for entry in content["seeds"].values():
        entry["training"] |= {"tokens": 48 * 25, "squares": 48 * 25**2}
        entry["training"] |= {"answers": 96, "readings": 3}
    storage.write_json(path, content)
    size = {**PAIR["size"], "sliding": PAIR["size"]["attention"] // 2, "window": 20}
    model = run_costs.flops_model(size, PAIR["evaluation"])
    row = run_costs.compute_costs(CELL, [job], model).iloc[0]
    counts = Counts(48, 0, 48 * 25, 48 * 25**2, answers=96)
    passes = TrainingPasses(**job["passes"])
    expected = flops.training(model.size, counts, 6, passes, SIZE.readout)
    assert row["flops_train"] == expected < flops.training(SIZE, counts, 6, passes, SIZE.readout)


def test_sliding_layers_keep_no_more_keys_than_their_window(tmp_path):
    size = {**PAIR["size"], "sliding": PAIR["size"]["attention"] // 2, "window": 20}
    shared, (layers, width) = 1 + 30 * 16, (12, 768)
    model = run_costs.flops_model(size, PAIR["evaluation"])
    row = run_costs.compute_costs(CELL, write(tmp_path, "icl"), model).iloc[0]
    assert row["cache_bytes"] == 2 * layers * width * (shared + 20) / 2 * 4


def test_predictions_pay_for_weights_that_stay_beside_the_models_own(tmp_path):
    """Adapters; held-out rows and inputs without content are read with them too."""
    (job,) = write(tmp_path, "ft")
    plain = run_costs.compute_costs(CELL, [job], MODEL)
    job["passes"] = {**job["passes"], "predicting": 1000, "beside": 1000}
    found = run_costs.compute_costs(CELL, [job], MODEL)
    gained = (found["flops_cached"] - plain["flops_cached"]) / plain["row_tokens"]
    assert gained.tolist() == pytest.approx([2 * 1000] * len(plain))
    more = found["flops_train"] - plain["flops_train"]
    expected = 6 * 1000 * found["train_tokens"] * found["epochs"]
    assert more.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("window", [20, 21, 23, 29, 37, 64, 100])
def test_bytes_of_sliding_layers_are_whole_numbers_that_can_be_stored(tmp_path, window):
    """Of twelve layers ten slide: shares of a sixth, which floating point rounds."""
    size = {**PAIR["size"], "sliding": PAIR["size"]["attention"] * 10 // 12, "window": window}
    model = run_costs.flops_model(size, PAIR["evaluation"])
    costs = run_costs.compute_costs(CELL, write(tmp_path, "icl"), model)
    expected = 2 * 768 * 4 * (2 * (1 + 30 * 16) + 10 * window)
    assert set(costs["cache_bytes"]) == {expected}
    storage.write_table(tmp_path / "costs.parquet", costs, result_schemas.COSTS)


def test_an_unknown_shape_is_counted_by_its_parameters_alone(tmp_path):
    model = run_costs.flops_model({"weights": 125_000_000}, PAIR["evaluation"])
    row = run_costs.compute_costs(CELL, write(tmp_path, "icl"), model).iloc[0]
    assert not row["shape_known"]
    assert row["flops_uncached"] == pytest.approx(2 * 125e6 * (1 + 30 * 16 + 24))
    assert pd.isna(row["cache_bytes"])


def test_a_manifest_without_counts_gives_nulls_that_are_stored(tmp_path):
    jobs = write(tmp_path, "ft") + write(tmp_path, "icl")
    for job in jobs:
        path = Path(job["folder"], "manifest.json")
        content = json.loads(path.read_text())
        for entry in content["seeds"].values():
            for name in ("scoring", "training", "kept_bytes", "peak_memory_mib", "scored_rows"):
                entry.pop(name, None)
        storage.write_json(path, content | {"peak_memory_mib": None, "memory": None})
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    storage.write_table(tmp_path / "costs.parquet", frame, result_schemas.COSTS)
    found = storage.read_table(tmp_path / "costs.parquet")
    assert found[["flops_cached", "disk_bytes", "rows", "peak_memory_mib"]].isna().all(axis=None)
    assert found.groupby("method", observed=True)["flops_train"].count().to_dict() == {
        "ft": 0, "icl": 5,
    }  # fmt: skip
    assert found["seconds_train"].sum() == 300


def test_a_job_without_a_manifest_has_no_costs(tmp_path):
    jobs = [{**PAIR["jobs"][0], "folder": str(tmp_path / "none")}]
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    assert frame.empty and list(frame) == result_schemas.COSTS.names


def test_the_study_has_the_costs_of_all_finished_seeds(study):
    overall = study.metrics.query("selection == 'last' and status == 'ok'")
    overall = overall[overall["label"].isna() & overall["group"].isna()]
    keys = ["task", "model", "method", "k", "seed"]
    expected = overall[keys].drop_duplicates().astype({"k": int, "seed": int})
    merged = study.costs[keys].astype({"k": int, "seed": int}).merge(expected, how="outer")
    assert len(study.costs) == len(expected) == len(merged) > 200
    assert list(study.costs) == result_schemas.COSTS.names


def test_a_context_that_is_learned_itself_has_the_positions_of_its_shots(tmp_path):
    """Which no setting says."""
    (job,) = write(tmp_path, "ft")
    path = Path(job["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for entry in content["seeds"].values():
        entry["training"]["learned_keys"] = 480
    storage.write_json(path, content)
    assert (run_costs.compute_costs(CELL, [job], MODEL)["virtual_tokens"] == 480).all()


def test_what_a_teacher_reads_counts_as_training(tmp_path):
    """Its rows behind the context, once for each round."""
    (job,) = write(tmp_path, "ft")
    manifest = storage.read_json(Path(job["folder"], "manifest.json"))
    entry, done = manifest["seeds"]["0"], {}
    for rounds in (0, 2):
        taught = {"distillation": {"rounds": [{**COUNTS, "rows": 7}] * rounds}} if rounds else {}
        storage.write_json(
            Path(job["folder"], "manifest.json"),
            {**manifest, "seeds": {"0": {**entry, **taught}}},
        )
        frame = run_costs.compute_costs(CELL, [job], MODEL)
        done[rounds] = frame["flops_train"].iloc[0]
    counts = flops.Counts(7, COUNTS["shared_tokens"], COUNTS["own_tokens"], COUNTS["own_squares"])
    answer = flops.head(MODEL.size, manifest["settings"], 2)
    read = flops.context(MODEL.size, counts) + flops.cached(MODEL.size, counts, answer)
    assert done[2] - done[0] == pytest.approx(2 * read, rel=1e-9)
