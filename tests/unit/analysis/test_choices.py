"""Choices of settings from held-out shots, by hand."""

import numpy as np
import pandas as pd
import pytest
import stored
from fewshot.analysis.choices import ARM, WAYS, choose_settings, mean_logprob
from fewshot.analysis.flops import ModelSize
from fewshot.analysis.run_costs import FlopsModel
from fewshot.errors import UserError
from metric_rows import metric_rows
from scipy.special import log_softmax

CELL = {"protocol": "fair", "task": "nli", "model": "m"}
MODEL = FlopsModel(ModelSize(weights=100, attention=2, known=True), 2)
PASSES = {"layers": 3, "attention": 3, "readout": 3}
SURE, UNSURE = [-1.0, -3.0], [-1.0, -1.5]


def test_log_probabilities_are_among_the_label_words():
    ranks, labels = np.array([[-3.0, -4.0], [-9.0, -2.0]]), np.array([0, 1])
    expected = log_softmax(ranks, axis=1)[[0, 1], labels].mean()
    assert mean_logprob(ranks, labels) == pytest.approx(expected)
    assert mean_logprob(ranks - 5, labels) == pytest.approx(expected), "however little they get"


def hold_out(folder, method, epochs, content_free=None, status="ok", **other):
    """Write held-out scores of two shots, one of each label, in a fold each: epoch → by how much
    the right word leads, for all seeds alike. Return the job."""
    job = {"method": method, "pattern": "p", "k": 4, "seeds": [0], "passes": PASSES, **other}
    cell = {**CELL, **{name: job[name] for name in job if name in ("task", *ARM)}}
    rows = []
    for epoch, (right, wrong) in epochs.items():
        one, other = [right, wrong], [wrong, right]
        columns = {"logprob_0": one, "logprob_1": other, "tokens_0": 1, "tokens_1": 1}
        columns |= {"logsumexp": 0.0, "argmax_is_label": True, "evaluation_set": "held out"}
        correct, last = np.full(2, right > wrong), max(epochs)
        columns |= stored.told(correct, np.array([0, 1]), epoch, last, best=min(epochs))
        rows.append(pd.DataFrame({"id": [5, 6], "label": [0, 1], "epoch": epoch, **columns}))
    scoring = {
        "rows": 1,
        "shared_tokens": 10,
        "own_tokens": 4,
        "own_squares": 16,
        "tokens_read": 14,
    }
    trained = {"steps": 2, "scored_rows": 3, "training": {
        "epochs": 2, "rows": 2, "tokens": 12, "squares": 72, "learned_keys": 0,
    }}  # fmt: skip
    # Neither retrieval nor channel scoring tells of inputs without content.
    without = {"content_free": content_free} if content_free is not None else {}
    fold = {"scoring": {"held out": scoring}, **without, **(trained if len(epochs) > 1 else {})}
    folds = [{**fold, "held_out": [place]} for place in (0, 1)]
    entry = {"status": status, "seconds": {"load": 1.0, "score": 2.0}, "folds": folds}
    content = {**cell, "settings": {"head": "language-model"}, "world_size": 2, "dtype": "float32"}
    run = folder / cell["task"] / method
    stored.write_results(run, cell, [], [row.assign(seed=0) for row in rows],
                         {**content, "seeds": {"0": entry}})  # fmt: skip
    return {**job, "held_out": str(run)}


def accuracies(method, epochs, selection="each", contextual=np.nan, n=100, seed=0, status="ok"):
    """Return metric rows of a seed: epoch → accuracy in domain and out of it."""
    frames = []
    for epoch, shares in epochs.items():
        for share, name, domain in zip(shares, ("nli", "hans"), ("in", "out"), strict=True):
            row = metric_rows([share], method=method, pattern="p", k=4, model="m", task="nli")
            frames.append(row.assign(
                evaluation_set=name, domain=domain, epoch=epoch, selection=selection, n=n,
                accuracy_contextual=contextual, status=status, seed=seed,
            ))  # fmt: skip
    return pd.concat(frames)


NO_COSTS = pd.DataFrame(columns=[*ARM, "seed"])


def chosen(jobs, metrics, costs=NO_COSTS):
    choice = {"choice": "rate", "k": 4, "jobs": jobs}
    frame = choose_settings(CELL, [choice], metrics, costs, MODEL)
    return frame.set_index(["way", "evaluation_set"]).sort_index()


def test_each_way_chooses_among_cells_and_epochs(tmp_path):
    """Held-out shots are most probable under the slow rate's first epoch. Its accuracies come from
    the curve's sample of rows; at its last epoch, which is kept, from all rows."""
    jobs = [
        hold_out(tmp_path, "fast", {1: UNSURE, 2: UNSURE}),
        hold_out(tmp_path, "slow", {1: SURE, 2: UNSURE}),
    ]
    metrics = pd.concat([
        accuracies("fast", {1: (0.5, 0.9), 2: (0.6, 0.4)}, n=50),
        accuracies("fast", {2: (0.62, 0.42)}, "last"),
        accuracies("slow", {1: (0.7, 0.5), 2: (0.8, 0.6)}, n=50),
        accuracies("slow", {2: (0.82, 0.66)}, "last"),
    ])  # fmt: skip
    found = chosen(jobs, metrics)
    assert list(dict.fromkeys(found.index.get_level_values(0))) == sorted(WAYS)
    assert set(found["candidates"]) == {4}

    def told(way, name):
        row = found.loc[way, name]
        return row["method"], row["epoch"], row["accuracy"], row["n"]

    for name, share in (("nli", 0.7), ("hans", 0.5)):
        assert told("from-shots", name) == ("slow", 1, share, 50)
    assert told("first", "nli") == ("fast", 2, 0.62, 100)
    assert told("first", "hans") == ("fast", 2, 0.42, 100)
    assert told("best-in-domain", "nli") == ("slow", 2, 0.82, 100)
    assert told("best-in-domain", "hans") == ("slow", 2, 0.66, 100)
    assert told("oracle", "nli") == ("slow", 2, 0.82, 100)
    assert told("oracle", "hans") == ("fast", 1, 0.9, 50)
    mean = found.loc["mean", "hans"]
    assert mean["accuracy"] == pytest.approx(np.mean([0.9, 0.42, 0.5, 0.66]))
    assert mean["n"] == 50 and pd.isna(mean["method"])
    expected = log_softmax(SURE)[0]
    assert found.loc["from-shots", "nli"]["mean_logprob"] == pytest.approx(expected)


def test_ties_go_to_the_first_listed_and_its_last_epoch(tmp_path):
    jobs = [hold_out(tmp_path, name, {1: SURE, 2: SURE}) for name in ("b", "a")]
    both = [accuracies(name, {1: (0.5, 0.5), 2: (0.5, 0.5)}) for name in ("a", "b")]
    found = chosen(jobs, pd.concat(both))
    for way in ("from-shots", "best-in-domain", "oracle", "first"):
        assert tuple(found.loc[way, "nli"][["method", "epoch"]]) == ("b", 2)


def test_a_calibrated_candidate_divides_by_what_its_fold_expects(tmp_path):
    """Both words lead by e in turn; inputs without content say 3 : 1 for the first word."""
    inputs = {"0": {"N/A": np.log([0.75, 0.25]).tolist()}}
    jobs = [
        hold_out(tmp_path, "plain", {0: [-1.0, -2.0]}, {}),
        hold_out(tmp_path, "icl", {0: [-1.0, -2.0]}, inputs),
    ]
    metrics = pd.concat([
        accuracies("plain", {0: (0.5, 0.5)}, "last"),
        accuracies("icl", {0: (0.6, 0.6)}, "last", contextual=0.9),
    ])  # fmt: skip
    found = chosen(jobs, metrics)
    assert set(found["candidates"]) == {3}
    row = found.loc["oracle", "nli"]
    assert (row["method"], row["calibration"], row["accuracy"]) == ("icl", "contextual", 0.9)
    # Shares of the right words: 3 e / (e + 1) against 1 : e / 3 to 1, and 3 e to 1.
    expected = np.mean(np.log([np.e / 3 / (np.e / 3 + 1), 3 * np.e / (3 * np.e + 1)]))
    assert row["mean_logprob"] == pytest.approx(expected)
    assert found.loc["from-shots", "nli"]["method"] == "plain", "balanced, it was better as it is"


def test_the_shots_in_another_order_are_a_candidate_of_the_task(tmp_path):
    """Another task's run, of the same rows in and out of domain, whose own set has its name."""
    jobs = [
        hold_out(tmp_path, "icl", {0: UNSURE}),
        hold_out(tmp_path, "icl", {0: SURE}, task="nli-order2", order=2),
    ]
    other = accuracies("icl", {0: (0.7, 0.3)}, "last").assign(task="nli-order2")
    other["evaluation_set"] = other["evaluation_set"].replace("nli", "nli-order2")
    found = chosen(jobs, pd.concat([accuracies("icl", {0: (0.5, 0.6)}, "last"), other]))
    assert set(found["candidates"]) == {2} and set(found["task"]) == {"nli"}
    assert set(found.index.get_level_values("evaluation_set")) == {"nli", "hans"}

    def told(way, name):
        return tuple(found.loc[way, name][["order", "accuracy"]])

    assert told("from-shots", "nli") == (2, 0.7) and told("from-shots", "hans") == (2, 0.3)
    assert told("first", "nli") == (0, 0.5) and told("oracle", "hans") == (0, 0.6)
    assert found.loc["mean", "nli"]["accuracy"] == pytest.approx(0.6)


def test_a_seed_that_fits_no_candidate_is_told(tmp_path):
    jobs = [hold_out(tmp_path, name, {0: SURE}) for name in ("a", "b")]
    for job in jobs:
        job["seeds"] = [0, 1]
    both = [accuracies(name, {0: (0.5, 0.5)}, "last") for name in ("a", "b")]
    nothing = {0: (None, None)}
    both += [accuracies(name, nothing, "last", seed=1, status="does not fit") for name in "ab"]
    found = chosen(jobs, pd.concat(both)).reset_index()
    absent = found[found["seed"] == 1]
    assert len(absent) == 2 * len(WAYS) and absent["accuracy"].isna().all()
    assert set(absent["candidates"]) == set(absent["n"]) == {0}
    assert set(absent["status"]) == {"does not fit"}


@pytest.mark.parametrize(("status", "candidates"), [("missing", 0), ("does not fit", 1)])
def test_nothing_is_chosen_while_the_run_of_a_candidate_is_missing(tmp_path, status, candidates):
    """One that does not fit is none; one that is missing may yet be better than the other."""
    jobs = [hold_out(tmp_path, name, {0: SURE}) for name in ("a", "b")]
    absent = accuracies("b", {0: (None, None)}, "last", status=status)
    found = chosen(jobs, pd.concat([accuracies("a", {0: (0.5, 0.5)}, "last"), absent]))
    assert set(found["candidates"]) == {candidates}
    assert set(found["status"]) == {"ok" if candidates else "missing"}
    assert found["accuracy"].notna().all() == bool(candidates)


def test_the_cost_of_choosing_is_that_of_all_folds_of_all_candidates(tmp_path):
    """In context a fold encodes ten tokens, 2 × 100 for each and 4 × 2 for each of 55 keys, and
    scores a row of four tokens with 4 × 10 + 10 keys."""
    jobs = [hold_out(tmp_path, "icl", {0: SURE}), hold_out(tmp_path, "ft", {1: SURE, 2: SURE})]
    both = [accuracies("icl", {0: (0.5, 0.5)}), accuracies("ft", {2: (0.5, 0.5)})]
    at = {"task": "nli", "pattern": "p", "k": 4, "seed": 0}
    costs = pd.DataFrame([
        {**at, "method": "icl", "flops_train": 0.0,
         "flops_context": 7.0, "scored_rows": 10, "flops_cached": 3.0, "device_seconds": 5.0},
        {**at, "method": "ft", "flops_train": 100.0,
         "flops_context": 0.0, "scored_rows": 20, "flops_cached": 2.0, "device_seconds": 6.0},
        {**at, "method": "other", "flops_train": 1e9,
         "flops_context": 0.0, "scored_rows": 1, "flops_cached": 1.0, "device_seconds": 1e9},
    ])  # fmt: skip
    row = chosen(jobs, pd.concat(both), costs).iloc[0]
    assert row["flops_runs"] == 7 + 100, "but for the evaluation rows"
    assert row["device_seconds_runs"] == 11
    assert row["device_seconds_held_out"] == 2 * (2 * (1 + 2)), "seconds × processes, of two jobs"
    alone = chosen(jobs[:1], pd.concat(both), costs).iloc[0]["flops_held_out"]
    assert alone == 2 * ((10 * 200 + 55 * 8) + (4 * 200 + 50 * 8))
    assert row["flops_held_out"] > alone + 2 * 2 * 12 * 3 * 200, "two epochs of twelve tokens"


def test_held_out_scores_that_are_missing_are_told(tmp_path):
    job = hold_out(tmp_path, "a", {0: SURE})
    job["held_out"] = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere"):
        chosen([job], accuracies("a", {0: (0.5, 0.5)}))
