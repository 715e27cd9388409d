"""Real MNLI, RTE and HANS rows with the real OPT and GPT-NeoX tokenizers, end to end.

The models are small and randomly initialised: what is checked is that every row arrives, with its
label, in every table; not what such models answer.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import travels
from project import Project, run_once

# One process for all of them: they share one study.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real")]

MODELS = {"random-opt": "opt_tokenizer", "random-neox": "neox_tokenizer"}
RUNS = "results/runs/fair"


def make_model(folder, name, tokenizer):
    """Write a random model of width 16 beside a copy of a real tokenizer; return its size."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, OPTConfig

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if name == "random-opt":
        config = OPTConfig(vocab_size=50272, ffn_dim=32, word_embed_proj_dim=16, **shape)
    else:
        config = GPTNeoXConfig(vocab_size=50304, intermediate_size=32, **shape)
    model = AutoModelForCausalLM.from_config(config)
    shutil.copytree(tokenizer, folder / name)
    model.save_pretrained(folder / name)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="session")
def real(shared_data, tmp_path_factory) -> Project:
    return run_once(tmp_path_factory, "real", lambda project: run_study(project, shared_data))


def run_study(project: Project, shared_data: Path) -> None:
    """Configure the real tasks with local files and random models, and run the study."""
    sizes = {
        name: make_model(project.folder / "models", name, shared_data / tokenizer)
        for name, tokenizer in MODELS.items()
    }

    def models(content):
        for name, size in sizes.items():
            family = "opt" if "opt" in name else "pythia"
            content[name] = {
                "local": f"models/{name}",
                "family": family,
                "parameters": size,
                "window": 2048,
            }

    def tasks(content):
        files = {
            "rte": ("rte_train.jsonl", "rte_validation.jsonl"),
            "mnli": ("mnli_train_sample.jsonl", "mnli_validation_matched_sample.jsonl"),
        }
        for name, (train, validation) in files.items():
            content[name]["source"] = {
                "local": {
                    "train": str(shared_data / train),
                    "validation": str(shared_data / validation),
                }
            }
            content[name]["splits"] = {"train": "train", "validation": "validation"}
        for name in ("mnli", "mnli-three-way", "hans"):
            del content[name]["expected"]  # these are samples
        del content["mnli-mismatched"]
        content["mnli-three-way"]["splits"] = {"train": "train", "validation": "validation"}
        content["hans"]["source"] = {
            "local": {"validation": str(shared_data / "hans_sample.jsonl")}
        }

    def methods(content):
        content["brief-ft"] = {"base": "pattern-ft", "epochs": 1}

    study = {
        "study": "real",
        "models": list(MODELS),
        "tasks": ["rte", "mnli"],
        "seeds": "0-1",
        "grid": [
            {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 2]},
            {"methods": ["in-context"], "patterns": ["eval-harness"], "k": [32], "tasks": ["rte"]},
            {"methods": ["brief-ft"], "patterns": ["gpt-3"], "k": [2]},
            {
                "methods": ["in-context"],
                "patterns": ["minimal"],
                "k": [3],
                "tasks": ["mnli-three-way"],
                "models": ["random-opt"],
            },
        ],
        "main": {"k": 2},
    }
    project.edit("config/models.yaml", models)
    project.edit("config/tasks.yaml", tasks)
    project.edit("config/methods.yaml", methods)
    project.edit("config/config.yaml", lambda content: (content.clear(), content.update(study)))
    travels.few_pages(project)
    project.run(timeout=900)


def rows(real, task, split="validation"):
    return pd.read_parquet(real.folder / f"results/data/{task}/{split}.parquet")


def jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_row_counts_and_label_maps(real, shared_data):
    assert rows(real, "rte", "train")["label"].value_counts().to_dict() == {0: 1249, 1: 1241}
    assert rows(real, "rte")["label"].value_counts().to_dict() == {0: 146, 1: 131}
    raw = jsonl(shared_data / "mnli_validation_matched_sample.jsonl")
    kept = [row for row in raw if row["label"] != 1]
    mnli = rows(real, "mnli")
    assert mnli["id"].tolist() == [row["idx"] for row in kept]
    assert mnli["label"].tolist() == [{0: 0, 2: 1}[row["label"]] for row in kept]
    three = rows(real, "mnli-three-way")
    assert three["label"].tolist() == [row["label"] for row in raw]


def test_hans_subcases(real):
    hans = rows(real, "hans")
    assert hans.groupby("subset", observed=True).size().eq(100).all()
    assert hans["subset"].nunique() == 30
    assert hans.groupby("group", observed=True).size().to_dict() == {
        "lexical_overlap": 1000,
        "subsequence": 1000,
        "constituent": 1000,
    }
    assert hans["label"].value_counts().to_dict() == {0: 1500, 1: 1500}


def test_every_evaluation_row_has_exactly_one_prediction(real):
    files = sorted((real.folder / RUNS).rglob("predictions.parquet"))
    assert len(files) == 2 * (2 * 2 + 1 + 2) + 1
    scored = 0
    for file in files:
        predictions = pd.read_parquet(file)
        if "/rte/" in str(file) and "/k32/" in str(file):
            assert predictions.empty, "32 RTE shots exceed 2,048 tokens"
            continue
        parts = predictions.groupby(["seed", "epoch", "evaluation_set"], observed=True)
        for (_, _, name), part in parts:
            assert sorted(part["id"]) == sorted(rows(real, name)["id"])
            scored += len(part)
        assert predictions.filter(like="logprob").notna().all().all()
    assert scored > 100_000 / 5


def test_rte_with_32_shots_does_not_fit(real):
    fit = pd.read_parquet(real.folder / "results/windows/real/rte/random-opt.parquet")
    statuses = fit.groupby("k")["status"].agg(set)
    assert statuses[32] == {"does not fit"}
    assert statuses[2] == {"ok"}
    coverage = (real.folder / "results/real/tables/coverage.md").read_text()
    assert "Does not fit" in coverage and "of 2048" in coverage


def test_subcases_sum_to_heuristics_and_to_the_whole(real):
    metrics = pd.read_parquet(real.folder / "results/metrics/real/rte/random-neox.parquet")
    hans = metrics[
        (metrics["evaluation_set"] == "hans")
        & (metrics["selection"] == "last")
        & metrics["label"].isna()
        & (metrics["status"] == "ok")
    ]
    keys = ["method", "pattern", "k", "seed"]
    whole = hans[hans["group"].isna() & hans["subset"].isna()].set_index(keys)
    groups = hans[hans["group"].notna() & hans["subset"].isna()]
    subsets = hans[hans["subset"].notna()]
    assert len(whole) == 1 + 2 + 2
    for level in (groups, subsets):
        total = level.groupby(keys, observed=True)[["n", "correct"]].sum()
        assert (total["n"] == 3000).all()
        assert total["correct"].to_dict() == whole["correct"].to_dict()


def test_three_way_model_is_scored_on_two_way_hans(real):
    folder = real.folder / RUNS / "mnli-three-way/random-opt/in-context/minimal/k3/seeds0-1"
    predictions = pd.read_parquet(folder / "predictions.parquet")
    hans = predictions[predictions["evaluation_set"] == "hans"]
    words = hans[["logprob_0", "logprob_1", "logprob_2"]].to_numpy()
    correct = ((words.argmax(axis=1) > 0).astype(int) == hans["label"]).sum()
    curves = pd.read_parquet(folder / "curves.parquet")
    assert curves.loc[curves["evaluation_set"] == "hans", "correct"].sum() == correct
    assert set(hans["label"]) == {0, 1}
