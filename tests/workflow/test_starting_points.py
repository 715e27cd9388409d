"""A method that starts from another task's adapters waits for that run, and repeats no other."""

import pytest

RUN = "results/runs/fair/{}/opt-micro/{}/minimal/k4/seeds8-9"


@pytest.mark.slow
def test_a_start_waits_for_its_source_and_repeats_nothing(study):
    start = {"method": "quick-lora", "tasks": "others", "k": 4}
    started = {"base": "quick-lora", "start_from": start}
    study.edit("config/methods.yaml", lambda c: c.update(started=started))

    def grid(content):
        content["tasks"] = ["synth-mnli", "synth-rte"]
        for block in content["grid"]:
            block["tasks"] = ["synth-mnli"]
        lora = {"methods": ["quick-lora"], "tasks": ["synth-rte"]}
        for block in (lora, {"methods": ["started"], "tasks": ["synth-mnli"]}):
            content["grid"].append({"patterns": ["minimal"], "k": [4], **block})

    study.edit("config/config.yaml", grid)
    target, source = RUN.format("synth-mnli", "started"), RUN.format("synth-rte", "quick-lora")
    planned = study.snakemake("-n", "runs").output
    jobs = [part for part in planned.split("\nrule ")[1:] if part.startswith("fine_tune:")]
    assert len(jobs) == 2 and "rule run_in_context" not in planned
    first, second = jobs
    assert f"output: {source}/predictions.parquet" in first and "start" not in first
    assert f"output: {target}/predictions.parquet" in second
    assert f"{source}/manifest.json" in second.split("output:")[0]
