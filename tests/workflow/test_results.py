"""What a finished study leaves: every declared file, readable and consistent."""

import json
import zipfile
from contextlib import chdir

import pandas as pd
import pytest
from fewshot.study.load import load_study
from fewshot.validation import read_yaml

RUN = "results/runs/fair/synth-mnli/opt-micro"


def test_every_row_has_exactly_one_prediction(finished):
    rows = {
        name: pd.read_parquet(finished.folder / f"results/data/{name}/validation.parquet")
        for name in ("synth-mnli", "synth-hans")
    }
    files = sorted((finished.folder / RUN).rglob("predictions.parquet"))
    assert len(files) == 4
    for file in files:
        predictions = pd.read_parquet(file)
        keys = ["seed", "epoch", "evaluation_set", "id"]
        assert not predictions.duplicated(keys).any()
        for (_, _, name), part in predictions.groupby(keys[:3], observed=True):
            expected = rows[name].set_index("id")["label"]
            assert (
                part.set_index("id")["label"]
                .sort_index()
                .equals(expected.sort_index().astype("int16"))
            )


def test_every_finished_seed_has_its_costs(finished):
    files = sorted((finished.folder / "results/costs").rglob("*.parquet"))
    costs = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    runs = [json.loads(p.read_text()) for p in (finished.folder / RUN).rglob("manifest.json")]
    done = sum(seed["status"] == "ok" for run in runs for seed in run["seeds"].values())
    assert len(costs[costs["model"] == "opt-micro"]) == done > 0
    assert costs["shape_known"].all() and costs["processes"].eq(1).all()
    never_null = [name for name in costs if name != "predicted_memory_mib"]
    assert costs[never_null].notna().all(axis=None)
    shown = costs[costs["method"] == "in-context"]
    assert (shown["flops_train"] == 0).all()
    assert (shown["flops_uncached"] > shown["flops_cached"]).all()
    assert (costs.loc[costs["method"] != "in-context", "flops_train"] > 0).all()


def test_manifests_say_what_was_run(finished):
    path = finished.folder / RUN / "quick-lora/minimal/k4/seeds8-9/manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["seeds"].keys() == {"8", "9"}
    assert all(seed["status"] == "ok" for seed in manifest["seeds"].values())
    assert 0 < manifest["parameters"]["trainable"] < manifest["parameters"]["total"]
    assert manifest["settings"]["rank"] == 8
    for key in ("code", "packages", "device", "threads", "checksums", "seconds", "peak_memory_mib"):
        assert manifest[key], key
    adapters = path.parent / "adapters"
    assert {file.name for file in adapters.glob("*.safetensors")} == {
        "seed8.safetensors",
        "seed9.safetensors",
    }


def check_pages(project) -> tuple[int, int]:
    """Look at all pages of a study that was run; return the numbers of figures and tables."""
    with chdir(project.folder):
        study = load_study(read_yaml("config/config.yaml"))
    pages = project.folder / "results/demo"
    for name in study.figures:
        for kind in ("vl.json", "svg", "pdf", "png", "html"):
            assert (pages / f"figures/{name}.{kind}").stat().st_size > 500
    for name in study.tables:
        for kind in ("parquet", "csv", "tex", "md"):
            assert (pages / f"tables/{name}.{kind}").stat().st_size > 50
    assert "<img src=" in (pages / "report.html").read_text()
    assert "Fine-tuning" in (pages / "summary.txt").read_text()
    return len(study.figures), len(study.tables)


def test_tables_figures_and_report_exist(finished):
    assert check_pages(finished) == (3, 4)


@pytest.mark.weekly
def test_every_page_that_the_cells_allow_is_made(study):
    study.edit("config/config.yaml", lambda c: (c.pop("figures"), c.pop("tables")))
    study.run()
    assert min(check_pages(study)) > 10


def test_state_is_gone_after_a_finished_run(finished):
    state = finished.folder / "results/state"
    assert not state.exists() or not list(state.iterdir())


@pytest.mark.slow
def test_snakemake_report_has_captions_and_categories(study):
    study.run("--report", "report.zip")
    with zipfile.ZipFile(study.folder / "report.zip") as archive:
        text = "".join(
            archive.read(name).decode("utf-8", "replace")
            for name in archive.namelist()
            if name.endswith((".html", ".js", ".json"))
        )
    assert "1 Main result" in text and "4 Out of domain" in text
    assert "Each point is one run" in text
