"""What a study costs: jobs, hours and bytes."""

import pytest
from estimates import GRID, finish, jobs_of, plan_of
from fewshot.analysis import result_schemas
from fewshot.planning import estimate, estimate_page
from fewshot.planning.requests import Requests
from fewshot.planning.workload import BYTES_PER_TOKEN, TYPICAL_DOCUMENT
from fewshot.study.other_tasks import placed_as, unadapted_file


def test_each_adaptation_job_has_a_row_and_is_finished_with_its_manifest(plan, tmp_path):
    """Two chunks of seeds, one seed without shots: each model has 1 + 2 × 2 and 4 × 2 jobs."""
    jobs = jobs_of(plan, tmp_path)
    assert list(jobs) == result_schemas.ESTIMATE.names
    counts = jobs.groupby(["model", "method"]).size()
    assert counts["opt-125m"].to_dict() == {"in-context": 5, "lora": 4, "pattern-ft": 4}
    assert len(jobs) == 26 and not jobs["finished"].any()
    finish(plan, tmp_path, "/in-context/")
    done = jobs_of(plan, tmp_path)
    assert done.groupby("method")["finished"].sum().to_dict() == {
        "in-context": 10, "lora": 0, "pattern-ft": 0,
    }  # fmt: skip
    assert done.drop(columns="finished").equals(jobs.drop(columns="finished"))


def test_hours_are_those_of_all_gpus(plan, tmp_path):
    rows = estimate.job_rows(plan, folder=tmp_path)
    for job, row in zip(plan.study.jobs, rows, strict=True):
        seconds, gpus = plan.seconds(job.cell, len(job.seeds)), plan.choice(job.cell).gpus
        wall = sum(seconds.values()) if row["fits"] else seconds["start"]
        assert row["seconds"] == pytest.approx(wall) and row["gpus"] == gpus
        assert row["device_hours"] == pytest.approx(wall * gpus / 3600)
    assert {row["gpus"] for row in rows} == {1, 4}, "13B is trained on four"
    assert sum(not row["fits"] for row in rows) == 2 * 2, "32 shots of RTE"


def test_limits_are_those_that_the_cluster_allows(plan, tmp_path):
    free, cut = jobs_of(plan, tmp_path), jobs_of(plan, tmp_path, 20)
    assert free["limit_minutes"].max() > 30 and set(cut["limit_minutes"]) == {20}


def test_bytes_by_hand(plan, tmp_path):
    assert estimate.model_bytes(plan) == 2 * (125_239_296 + 12_853_473_280)
    rows = (2490 * 66 + 277 * 65 + 30_000 * 11) * BYTES_PER_TOKEN
    assert estimate.data_bytes(plan) == pytest.approx(rows)
    lora = {"opt-125m": (4, 12 * 2 * 8 * 2 * 768), "opt-13b": (2, 40 * 2 * 8 * 2 * 5120)}
    kept = sum(24 * size * count for size, count in lora.values())
    # Per model: k = 0 once and k = 16 for twelve seeds in context; trained, two epochs are kept.
    predictions = 2 * 30_277 * (1 + 12 + 4 * 12 * 2)
    assert jobs_of(plan, tmp_path)["result_bytes"].sum() == kept + 16 * predictions


def test_full_weights_count_where_they_are_kept(tmp_path):
    grid = [GRID[1] | {"methods": ["pattern-ft"], "k": [16]}]
    plan = plan_of(tmp_path, models=["opt-125m"], grid=grid)
    before = jobs_of(plan, tmp_path)["result_bytes"].sum()
    plan.study.methods["pattern-ft"]["keep_weights"] = True
    assert jobs_of(plan, tmp_path)["result_bytes"].sum() - before == 12 * 4 * 125_239_296


def test_what_is_here_already_is_not_downloaded(tmp_path):
    """Models and sources in local folders; without shots training rows are not read."""
    grid = [{"methods": ["in-context"], "patterns": ["minimal"], "k": [0]}]
    plan = plan_of(tmp_path, models=["opt-micro"], tasks=["synth-rte"], grid=grid)
    assert (estimate.model_bytes(plan), estimate.data_bytes(plan)) == (0, 0)
    remote = plan_of(tmp_path, tasks=["rte"], grid=grid)
    rows = (277 * 65 + 30_000 * 11) * BYTES_PER_TOKEN
    assert estimate.data_bytes(remote) == pytest.approx(rows)


def test_a_model_before_any_adaptation_is_a_job_too(tmp_path):
    """Behind 64 shots of another task, of each of twelve seeds, and texts of the Hub."""
    asked = {"text": ["wikitext"], "tasks": ["mnli"], "k": [0, 64]}
    few, many, plain = (
        plan_of(tmp_path, models=["opt-125m"], **changes)
        for changes in ({"forgetting": {**asked, "k": [0]}}, {"forgetting": asked}, {})
    )
    [(_, row)] = jobs_of(many, tmp_path).query("method == 'none'").iterrows()
    assert (row["model"], row["task"], row["first_seed"], row["last_seed"]) == (
        *("opt-125m", "none", 0), 11,
    )  # fmt: skip
    assert row["seconds"] == pytest.approx(sum(many.unadapted("opt-125m").values()))
    text = estimate_page.page(jobs_of(many, tmp_path), estimate.facts(many))
    assert "before any adaptation" in text and "none" not in text.split("##")[1]
    rows = 200 + 500 * (1 + 12)
    assert row["result_bytes"] == 16 * rows and not row["finished"]
    stored, before = (
        jobs_of(each, tmp_path).query("method == 'lora'")["result_bytes"].sum()
        for each in (many, plain)
    )
    cells = sum(cell.method == "lora" for cell in many.study.own_cells)
    assert stored - before == 16 * cells * 12 * (200 + 500 * 2)
    assert many.unadapted("opt-125m")["score"] > 2 * few.unadapted("opt-125m")["score"]
    path = tmp_path / unadapted_file(many.study, "opt-125m")
    path.parent.mkdir(parents=True)
    path.touch()
    assert jobs_of(many, tmp_path)["finished"].sum() == 1

    asked_of, longest = Requests(many), Requests(many).longest()
    limit = asked_of.unadapted("opt-125m")["runtime"]
    assert limit == row["limit_minutes"] == asked_of.unadapted("opt-125m", 2)["runtime"] // 2
    assert longest >= row["seconds"] and placed_as(many.study, "opt-125m").k == 64
    mnli = many.splits.of("mnli", "validation")
    more = estimate.data_bytes(few) - estimate.data_bytes(plain)
    assert more == pytest.approx(
        (mnli.rows * mnli.tokens + 200 * TYPICAL_DOCUMENT) * BYTES_PER_TOKEN
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (["in-context", "ensemble-1"], ("in-context", 64)),
        (["hidden-state"], ("lora", 16)),
    ],
)
def test_a_model_before_any_adaptation_is_placed_as_what_shows_or_trains(tmp_path, shown, expected):
    """Not as methods that never read 64 shots in one context, of however many shots they are."""
    grid = [
        {"methods": [*shown[:1], "lora"], "patterns": ["minimal"], "k": [16]},
        {"methods": shown[-1:], "patterns": ["minimal"], "k": [128]},
    ]
    asked = {"tasks": ["mnli"], "k": [64]}
    study = plan_of(tmp_path, models=["opt-125m"], grid=grid, forgetting=asked).study
    cell = placed_as(study, "opt-125m")
    assert (cell.method, cell.k) == expected
