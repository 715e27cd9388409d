"""The plan of a study: machines, placements, times, the table and its check."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.errors import UserError
from fewshot.planning import memory_plan_table
from fewshot.planning.job_time import UNCERTAINTY
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.runtime import machine, time_limits
from fewshot.runtime.machine import (
    GIB,
    Machine,
    gpu_memories,
    host_memory,
    read_machine,
    visible_gpus,
)
from fewshot.study.study import Cell
from mistakes import told
from registries import BLOCK, copy_registries, edit, load

CLUSTER = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 16]},
    {"methods": ["pattern-ft", "vanilla-ft", "lora"], "patterns": ["minimal"], "k": [2, 64, 128]},
]


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def plan(folder, **changes) -> MemoryPlan:
    study = {"models": ["opt-125m", "opt-13b"], "grid": GRID, "machine": CLUSTER}
    return MemoryPlan(load(folder, **{**study, **changes}))


def cell(model="opt-13b", method="pattern-ft", k=128, task="rte") -> Cell:
    return Cell("fair", task, model, method, "minimal", k)


def test_words_of_several_tokens_are_planned_apart(folder):
    words = {"entailment": "That follows", "not_entailment": "It does not"}
    answers = {"template": "{text_a} {text_b} ?", "answer": " {label}", "labels": words}
    edit(folder, "patterns", lambda c: c.update(long=answers))
    edit(folder, "methods", lambda c: c.update(words={"base": "lora", "loss": "label-words"}))
    made = plan(folder, grid=[{"methods": ["words"], "patterns": ["minimal", "long"], "k": [64]}])
    short, long = (made.demand(replace(cell(method="words", k=64), pattern=name))
                   for name in ("minimal", "long"))  # fmt: skip
    assert (short.rows, short.row, short.answers, short.readings) == (32, 512, 1, 1)
    assert (long.rows, long.row, long.answers, long.readings) == (64, 514, 3, 2)
    assert made.wall(replace(cell(method="words", k=64), pattern="long"), 1) > made.wall(
        cell(method="words", k=64), 1
    )


def test_a_named_machine_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(machine, "gpu_memories", lambda: pytest.fail("all of it was named"))
    found = read_machine(CLUSTER)
    assert found == Machine(80 * GIB, 4, 2, 480 * GIB) and found.has_gpu
    assert found.name == "2 nodes of 4 × 80 GB GPUs and 480 GB of host memory"


def test_what_is_left_out_is_looked_up(smi):
    smi("0, GPU-12ab, 81559", "1, GPU-34cd, 40960")
    found = read_machine({})
    assert (found.gpus_per_node, found.gpu_memory, found.nodes) == (2, 40960 * 2**20, 1)
    assert found.binding and found.host_memory == host_memory() > GIB
    assert read_machine({"gpus_per_node": 1}).gpus_per_node == 1
    assert read_machine({"gpu_memory_gb": 24}).gpu_memory == 24 * GIB
    assert not read_machine({"gpus_per_node": 0}).has_gpu


@pytest.mark.parametrize(
    ("visible", "sizes"),
    [
        ("1", [40960]),
        ("1,0", [40960, 81559]),
        ("", []),
        ("-1", []),
        ("0,7,1", [81559]),
        ("GPU-34", [40960]),
        ("GPU-34cd, 0", [40960, 81559]),
        ("GPU-56", []),
        ("MIG-GPU-1/2/0", [40960]),
        ("1,1", [40960]),
    ],
)
def test_only_what_cuda_would_show_is_seen(smi, monkeypatch, visible, sizes):
    smi("0, GPU-12ab, 81559", "1, GPU-34cd, 40960")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_memories() == tuple(size * 2**20 for size in sizes)


@pytest.mark.parametrize("lines", [(), ("No devices were found",), ("0, GPU-12ab, [N/A]",)])
def test_a_machine_without_gpus_refuses_nothing(smi, monkeypatch, lines):
    smi(*lines, status=0 if lines else 9)
    found = read_machine({})
    assert not found.has_gpu and not found.binding
    assert read_machine({"host_memory_gb": 8}).binding, "what was named counts"
    assert read_machine({"gpu_memory_gb": 80}).gpus_per_node == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-1/2/0")
    assert visible_gpus() == ()


def test_a_missing_nvidia_smi_is_no_gpu(smi, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memories() == ()


def test_a_job_that_will_not_fit_ends_when_it_has_started(folder):
    """RTE's 64 demonstrations are twice what the window holds; should they fit, there is time."""
    long = {**GRID[0], "k": [16, 64]}
    known = plan(folder, models=["opt-13b"], grid=[long])
    fitting, beyond = (cell("opt-13b", "in-context", k) for k in (16, 64))
    whole = known.seconds(beyond, 10)
    assert known.wall(beyond, 10) == whole["start"] == known.expected(beyond, 10)["start"]
    assert known.wall(fitting, 10) == sum(known.seconds(fitting, 10).values())
    assert known.minutes(beyond, 10) == time_limits.time_limit(sum(whole.values()), UNCERTAINTY)


def test_jobs_that_take_the_same_share_a_choice(folder):
    known = plan(folder)
    known.check()
    ones = known.choice(cell("opt-13b", "lora", 64))
    assert ones is known.choice(cell("opt-13b", "lora", 128)), "a step has 32 rows either way"
    assert ones is known.choice(cell("opt-13b", "lora", 128, "mnli")), "as many labels"
    assert ones is not known.choice(cell("opt-13b", "lora", 2))


def test_demands_follow_settings(folder):
    known = plan(folder)
    full, vanilla, lora = (
        known.demand(cell("opt-125m", method, 128))
        for method in ("pattern-ft", "vanilla-ft", "lora")
    )
    assert full.trainable == 125_239_296 and (full.rows, full.batch_tokens) == (32, 16384)
    head = 768 * 769 + 769 * 2
    assert (vanilla.trainable, vanilla.added) == (full.trainable + head, head)
    assert lora.trainable == lora.added == 12 * 2 * 8 * (768 + 768)
    shown = known.demand(cell("opt-125m", "in-context", 16))
    assert (shown.context, shown.rows, shown.trainable) == (2048, 0, 0)
    assert known.demand(cell("opt-125m", "in-context", 0)).context == 0
    assert (
        plan(folder, machine={"gpus_per_node": 0}).demand(cell("opt-125m", "lora", 2)).batch_tokens
        == 1024
    )


def test_the_machine_is_no_setting_of_the_study(folder):
    study = load(folder, machine=CLUSTER)
    assert study.machine == CLUSTER and "machine" not in study.settings
    assert study.settings == load(folder).settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu_memory": 80}, "machine: unknown key 'gpu_memory'; did you mean 'gpu_memory_gb'?"),
        (
            {"gpu_memory_gb": "80"},
            "machine.gpu_memory_gb: '80' is not a number; write 80.0",
        ),
        ({"nodes": 0}, "machine.nodes: 0 is too small; valid: 1 or more"),
    ],
)
def test_a_mistake_in_the_machine_is_one_line(folder, change, message):
    assert message in told(load, folder, machine=change)


def test_a_study_that_fits_nowhere_is_refused(folder):
    small = {"gpu_memory_gb": 8, "gpus_per_node": 1, "host_memory_gb": 32}
    assert told(plan(folder, machine=small).check).startswith(
        f"{folder}/models.yaml: model 'opt-13b' with method 'in-context' and k = 0 fits nowhere on "
        "1 × 8 GB GPUs and 32 GB of host memory"
    )


def test_the_table_has_a_row_for_each_model_and_method(folder):
    table = pd.DataFrame(plan(folder, tasks=["rte", "mnli-three-way"], grid=[
        {**GRID[0], "tasks": ["rte"]}, {**GRID[1], "k": [6, 18]}]).table())  # fmt: skip
    assert len(table) == 2 * 4 and set(table["method"]) == {
        *("in-context", "pattern-ft", "vanilla-ft", "lora")
    }
    assert (table.loc[table["method"] != "in-context", "k"] == 18).all()
    vanilla = table.set_index(["model", "method"]).loc[("opt-125m", "vanilla-ft")]
    assert vanilla["trainable"] == 125_239_296 + 768 * 769 + 769 * 3, "three labels, the most"
    assert list(table.columns) == schemas.MEMORY_PLAN.names


def test_the_table_is_written_in_three_formats(folder, tmp_path):
    known = plan(folder, models=["opt-125m", "tiny"])
    models = {name: known.study.models[name] for name in ("opt-125m", "tiny")}
    checked = memory_plan_table.checked(known.table(), models)
    output = SimpleNamespace(
        **{name: str(tmp_path / f"plan.{end}")
           for name, end in (("plan", "parquet"), ("csv", "csv"), ("md", "md"))}
    )  # fmt: skip
    memory_plan_table.write_memory_plan(checked, output, known.machine.name)
    stored = storage.read_table(output.plan)
    assert len(stored) == 8 and len(pd.read_csv(output.csv)) == 8
    page = Path(output.md).read_text()
    assert page.startswith("# Memory plan for 2 nodes of 4 × 80 GB GPUs")
    assert "| opt-125m | lora | 128 | 1 | 1 | 0 | none |" in page
    assert "| tiny ~ | lora |" in page, "its shape is guessed"


def test_counts_that_differ_from_transformers_are_refused(folder):
    known = plan(folder, models=["opt-125m"])
    rows, entry = known.table(), known.study.models["opt-125m"]
    for row in rows:
        row["largest_layer"] += 1
    with pytest.raises(UserError, match=r"model 'opt-125m': the plan counts \(125239296, 38608897"):
        memory_plan_table.checked(rows, {"opt-125m": entry})
    for row in rows:
        row["shape_known"] = False
    wrong = {**entry, "parameters": 5}
    with pytest.raises(UserError, match=r"opt-125m.parameters is 5, but the model has 125239296"):
        memory_plan_table.checked(rows, {"opt-125m": wrong})


def test_a_type_that_the_plan_does_not_know_is_counted_by_transformers(folder):
    config = {"model_type": "phi3", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
    parameters = 2 * 99 * 64 + 2 * (64 * 128 + 64 * 64 + 64 * 192 + 96 * 64 + 2 * 64) + 64
    entry = {"config": config, "parameters": parameters, "window": 128}
    edit(folder, "models", lambda models: models["tiny"].update(entry))
    known = plan(folder, models=["tiny"], grid=[BLOCK])
    [row] = known.table()
    assert not row["shape_known"] and row["largest_layer"] == parameters
    checked = memory_plan_table.checked([row], {"tiny": known.study.models["tiny"]})
    assert checked["largest_layer"].tolist() == [64 * 192]
    assert (
        memory_plan_table.count_parameters({**entry, "config": {"model_type": "no-such"}}, "x")
        is None
    )
