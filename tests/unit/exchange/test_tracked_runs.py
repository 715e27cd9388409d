"""Finished runs as trackers have them, and what each tracker has after one export and after two."""

import sys
from contextlib import chdir
from importlib.util import find_spec

import pytest
from exported import simulated
from fewshot import storage
from fewshot.errors import UserError
from fewshot.exchange import tracked_runs, trackers


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def runs(study):
    with chdir(study.folder):
        return tracked_runs.tracked_runs("sim", study.jobs, study.metrics, study.costs, "last")


def test_a_run_for_each_seed_that_has_results(runs):
    assert len(runs) == 1 + 4 + 5 and len({run.id for run in runs}) == len(runs)
    groups = {run.group.removeprefix("nli pythia-l ") for run in runs}
    assert groups == {"icl minimal k0", "icl minimal k32", "lora minimal k16"}
    assert runs[-1].name == "nli pythia-l lora minimal k16 seed4"
    assert runs[-1].tags["study"] == "sim" and runs[-1].tags["code"] == "0123456789abcdef"


def test_points_are_those_of_the_stored_curves(runs, study):
    curves = storage.read_table(study.folder / study.jobs[-1]["folder"] / "curves.parquet")
    own = curves[curves["seed"] == 4]
    assert [epoch for epoch, _ in runs[-1].points] == [1, 2, 3]
    for epoch, numbers in runs[-1].points:
        part = own[own["epoch"] == epoch]
        hans = part[part["evaluation_set"] == "hans"]
        assert numbers["accuracy/hans"] == pytest.approx(hans["correct"].sum() / hans["n"].sum())
        [loss] = -part[part["evaluation_set"] == "train"]["mean_logprob"]
        assert numbers["loss/train"] == pytest.approx(loss)
    assert [epoch for epoch, _ in runs[0].points] == [0] and "loss/train" not in runs[0].points[0][
        1
    ]


def test_the_summary_is_of_the_selected_epoch_with_what_it_cost(runs, study):
    last = runs[-1].points[-1][1]["accuracy/hans"]
    assert runs[-1].summary["final/accuracy/hans"] == last
    assert runs[-1].summary["final/epoch"] == 3 and runs[-1].summary["cost/seconds_train"] == 60
    with chdir(study.folder):
        best = tracked_runs.tracked_runs(
            "sim", study.jobs, study.metrics, study.costs, "best-in-domain"
        )
    numbers = [run.summary["final/accuracy/nli"] for run in best]
    assert all(a >= b.summary["final/accuracy/nli"] for a, b in zip(numbers, runs, strict=True))


def test_settings_are_flat(runs):
    assert runs[-1].params["family"] == "lora" and runs[-1].params["seed"] == 4
    told = dict(tracked_runs.flat({"a": {"b": 1, "c": [1, "x"]}, "d": None, "e": True}))
    assert told == {"a.b": 1, "a.c": '[1, "x"]', "e": True}


def test_an_id_stands_for_the_results(study, runs):
    path = study.folder / study.jobs[1]["folder"] / "manifest.json"
    kept = path.read_text()
    with chdir(study.folder):
        args = ("sim", study.jobs[1:2], study.metrics, study.costs, "last")
        [same] = tracked_runs.tracked_runs(*args)
        storage.write_json(path, {**storage.read_json(path), "files": {"predictions.parquet": "x"}})
        [other] = tracked_runs.tracked_runs(*args)
        path.write_text(kept)
    assert same.id == runs[0].id != other.id and other.name == same.name


def test_mistakes_are_one_line(runs, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown tracker 'wandbb'; did you mean 'wandb'"):
        trackers.export("wandbb", "sim", runs, tmp_path)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed here; install it with: pip install mlflow"):
        trackers.export("mlflow", "sim", runs, tmp_path)


def mlflow_has(folder) -> dict[str, dict]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("sim").experiment_id])
    assert all(each.info.status == "FINISHED" for each in found)
    return {
        each.info.run_name: {
            "id": each.data.tags[trackers.ID],
            "k": each.data.params["k"],
            "hans": [
                (point.step, point.value)
                for point in client.get_metric_history(each.info.run_id, "accuracy/hans")
            ],
            "final": each.data.metrics["final/accuracy/hans"],
        }
        for each in found
    }


def trackio_has(folder) -> dict[str, dict]:
    from trackio.sqlite_storage import SQLiteStorage

    found = {}
    for each in trackers._trackio_runs(sys.modules["trackio"], "sim"):
        logs = SQLiteStorage.get_logs("sim", each.name)
        found[each.name] = {
            "id": each.config[trackers.ID],
            "k": str(each.config["k"]),
            "hans": [(log["step"], log["accuracy/hans"]) for log in logs],
            "final": logs[-1]["final/accuracy/hans"],
        }
    return found


@pytest.mark.parametrize(("name", "has"), [("mlflow", mlflow_has), ("trackio", trackio_has)])
def test_a_tracker_has_each_run_once(runs, tmp_path, monkeypatch, name, has):
    if not find_spec(name):
        pytest.skip(f"{name} is not installed; it is no dependency")
    variable = trackers.TRACKERS[name].variable
    monkeypatch.delenv(variable, raising=False)
    first = trackers.export(name, "sim", [runs[0]], tmp_path)
    assert first.startswith(f"{name}: 1 runs written, 0 were there already; ")
    monkeypatch.delenv(variable)
    told = trackers.export(name, "sim", [runs[0], runs[-1]], tmp_path)
    assert told.startswith(f"{name}: 1 runs written, 1 were there already; ")
    found = has(tmp_path / name)
    assert set(found) == {runs[0].name, runs[-1].name}
    own = found[runs[-1].name]
    assert own["id"] == runs[-1].id and own["k"] == "16"
    assert own["hans"] == [(epoch, told["accuracy/hans"]) for epoch, told in runs[-1].points]
    assert own["final"] == runs[-1].summary["final/accuracy/hans"]


def test_what_a_killed_export_left_is_written_anew(runs, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is no dependency")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = mlflow.MlflowClient()
    client.create_run(client.create_experiment("sim"), tags={trackers.ID: runs[0].id})
    told = trackers.export("mlflow", "sim", runs[:1], tmp_path)
    assert told == (
        "mlflow: 1 runs written, 0 were there already; they are where MLFLOW_TRACKING_URI says"
    )
    assert set(mlflow_has(tmp_path)) == {runs[0].name}


def test_wandb_has_a_folder_for_each_run_to_sync(runs, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is no dependency")
    for _ in range(2):
        monkeypatch.delenv("WANDB_DIR", raising=False)
        told = trackers.export("wandb", "sim", runs[-1:], tmp_path)
    assert told.startswith("wandb: 0 runs written, 1 were there already; wandb sync ")
    [folder] = (tmp_path / "wandb").iterdir()
    assert folder.name.startswith("offline-run-") and folder.name.endswith(runs[-1].id)
    content = (folder / f"run-{runs[-1].id}.wandb").read_bytes()
    for text in ("accuracy/hans", "loss/train", "final/roc_area/nli", runs[-1].name, "lora"):
        assert text.encode() in content
