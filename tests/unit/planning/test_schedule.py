"""What a study will cost: counts, hours, the longest chain and bytes."""

import pytest
from fewshot.planning import chain, estimate_page
from fewshot.planning.chain import COMPARE, COUNT, NETWORK, PREPARE, SMALL
from fewshot.planning.workload import BYTES_PER_TOKEN
from schedules import GRID, calibrated, everything, files_of, of, schedule


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return of(tmp_path_factory.mktemp("config"))


def test_jobs_are_counted_by_rule_and_by_what_is_there(study, tmp_path):
    """Two chunks of seeds, one seed without shots: each model has 1 + 2 × 2 and 4 × 2 jobs."""
    fresh = schedule(study, tmp_path).counts()
    assert fresh["run_in_context"] == (2 * 5, 2 * 5) and fresh["fine_tune"] == (2 * 8, 2 * 8)
    assert fresh["sample_shots"] == (36, 36) and "read_lm_eval" not in fresh
    some = schedule(study, tmp_path, done=["download_data", "run_in_context"])
    assert some.counts()["run_in_context"] == (10, 0) and some.counts()["fine_tune"] == (16, 16)
    assert len(some.jobs) == 26 and len(some.todo) == 16


def test_what_is_made_from_a_missing_run_is_to_do(study, tmp_path):
    """One run of the smaller model: its metrics, then all that both models' metrics are made to."""
    schedule(study, tmp_path, done=everything(study))
    run = next(path for path in files_of(study)["fine_tune"] if "opt-125m" in path)
    (tmp_path / run).unlink()
    found = schedule(study, tmp_path)
    left = {rule: todo for rule, (_, todo) in found.counts().items() if todo}
    last = ("compare_methods", "make_table", "plot_figure", "write_report")
    assert left == {"fine_tune": 1, "compute_metrics": 1, **dict.fromkeys(last, 1)}
    [link, *after] = chain.longest(found)
    assert link.rule == "fine_tune" and after[0].of == "rte/opt-125m" and len(after) == 4
    page = estimate_page.estimate_page(found, markdown=False)
    assert "Finished is what is on disk" in page


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("compute_metrics", ["compare_methods", "make_table", "plot_figure"]),
        ("compare_methods", ["make_table", "plot_figure"]),
        ("plot_figure", []),
        ("make_table", []),
        ("write_report", None),
    ],
)
def test_pages_are_made_from_what_is_made_anew(study, tmp_path, rule, left):
    schedule(study, tmp_path, done=everything(study))
    (tmp_path / files_of(study)[rule][-1]).unlink()
    found = {name for name, (_, todo) in schedule(study, tmp_path).counts().items() if todo}
    assert found == {rule, *(() if left is None else (*left, "write_report"))}


def test_rows_and_draws_that_nobody_reads_are_not_to_do(study, tmp_path):
    """As after the import of an archive, which has neither draws nor training rows here."""
    done = set(everything(study)) - {"prepare_task", "sample_shots", "write_report"}
    counts = schedule(study, tmp_path, done=done).counts()
    assert counts["sample_shots"] == (36, 0) and counts["prepare_task"] == (3, 2)
    counts = schedule(study, tmp_path / "b", done=done - {"fine_tune"}).counts()
    assert counts["sample_shots"] == (36, 36) and counts["prepare_task"] == (3, 3)


def test_hours_are_those_of_all_gpus(study, tmp_path):
    found = schedule(study, tmp_path)
    for each in found.jobs:
        seconds = found.plan.seconds(each.job.cell, len(each.job.seeds))
        gpus = found.plan.choice("rte", each.job.cell.model, each.job.cell.method, each.job.cell.k)
        wall = sum(seconds.values()) if each.fits else seconds["start"]
        assert each.wall == pytest.approx(wall)
        assert each.device_hours == pytest.approx(wall * gpus.gpus / 3600)
    assert {each.site.processes for each in found.jobs} == {1, 4}, "13B is trained on four"
    assert sum(not each.fits for each in found.jobs) == 2 * 2, "32 shots of RTE"


def test_a_calibration_is_applied(study, tmp_path):
    plain, twice = schedule(study, tmp_path), schedule(study, tmp_path, calibrated(2.0))
    assert sum(each.wall for each in twice.jobs) == pytest.approx(
        2 * sum(each.wall for each in plain.jobs)
    )
    other = schedule(study, tmp_path, calibrated(2.0, kind="cpu"))
    assert [each.wall for each in other.jobs] == [each.wall for each in plain.jobs]


def test_the_longest_chain_by_hand(study, tmp_path):
    found = schedule(study, tmp_path)
    longest = max(found.jobs, key=lambda each: each.wall)
    predictions = {
        name: sum(each.predictions for each in found.jobs if each.job.cell.model == name)
        for name in ("opt-125m", "opt-13b")
    }
    assert longest.job.cell.model == "opt-13b"
    assert [(link.rule, link.seconds) for link in chain.longest(found)] == [
        ("download_model", SMALL),
        ("download_weights", SMALL + 2 * 12_853_473_280 / NETWORK),
        ("fine_tune", longest.wall),
        ("compute_metrics", pytest.approx(SMALL + COUNT * predictions["opt-13b"])),
        ("compare_methods", pytest.approx(SMALL + COMPARE * sum(predictions.values()))),
        ("plot_figure", SMALL),
        ("write_report", SMALL),
    ]


def test_rows_and_draws_come_before_a_job_whose_model_is_there(study, tmp_path):
    found = schedule(study, tmp_path, done=["download_model", "download_weights"])
    first = chain.longest(found)[:3]
    assert [(link.rule, link.of) for link in first] == [
        ("download_data", "rte"),
        ("prepare_task", "rte/train"),
        ("sample_shots", "fair/rte/k128/seed9"),
    ]
    assert [link.seconds for link in first] == pytest.approx(
        [SMALL + 2490 * 66 * BYTES_PER_TOKEN / NETWORK, SMALL + 2490 * PREPARE, SMALL]
    )


def test_what_is_finished_is_in_no_chain(study, tmp_path):
    downloads = ["download_data", "download_model", "download_weights"]
    runs = ["prepare_task", "sample_shots", "run_in_context", "fine_tune"]
    rest = schedule(study, tmp_path, done=[*downloads, *runs])
    assert [link.rule for link in chain.longest(rest)] == [
        *("compute_metrics", "compare_methods", "plot_figure", "write_report")
    ]
    rest = schedule(study, tmp_path, done=everything(study))
    assert chain.longest(rest) == [] and rest.todo == []
    page = estimate_page.estimate_page(rest, markdown=False)
    assert "All files are there" in page and "Longest chain" not in page


def test_bytes_by_hand(study, tmp_path):
    found = schedule(study, tmp_path)
    models = 2 * (125_239_296 + 12_853_473_280)
    rows = (2490 * 66 + 277 * 65 + 30_000 * 11) * BYTES_PER_TOKEN
    assert found.download_bytes() == pytest.approx(models + rows)
    done = schedule(study, tmp_path, done=["download_weights", "download_data"])
    assert done.download_bytes() == 0
    lora = {"opt-125m": (4, 12 * 2 * 8 * 2 * 768), "opt-13b": (2, 40 * 2 * 8 * 2 * 5120)}
    kept = sum(24 * size * count for size, count in lora.values())
    # Per model: k = 0 once and k = 16 for twelve seeds in context; trained, two epochs are kept.
    predictions = 2 * 30_277 * (1 + 12 + 4 * 12 * 2)
    assert found.result_bytes() == kept + 16 * predictions


def test_full_weights_count_where_they_are_kept(tmp_path):
    folder = tmp_path / "config"
    folder.mkdir()
    kept = of(folder, models=["opt-125m"], grid=[GRID[1] | {"methods": ["pattern-ft"], "k": [16]}])
    found = schedule(kept, tmp_path)
    before = found.result_bytes()
    kept.methods["pattern-ft"]["keep_weights"] = True
    after = schedule(kept, tmp_path).result_bytes()
    assert after - before == 12 * 4 * 125_239_296
