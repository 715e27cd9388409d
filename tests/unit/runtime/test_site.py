"""A cluster's facts: what is missing, what SLURM contradicts, and what jobs ask for."""

from pathlib import Path

import pytest
import yaml
from fewshot.errors import UserError
from fewshot.runtime import site, site_checks, slurm
from fewshot.validation import read_schema
from slurm_commands import SITE, calls, stand_in

ROOT = Path(__file__).parents[3]
FACTS = {**SITE, "gpu_max_hours": "none"}
JOB = {"slurm_partition": "gpu", "gpu": 4, "nodes": 1, "mem_mb": 5000, "runtime": 60}


def write(folder: Path, **changes) -> Path:
    path = folder / "site.yaml"
    facts = {key: value for key, value in {**FACTS, **changes}.items() if value != "left out"}
    path.write_text(yaml.safe_dump(facts))
    return path


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put stand-ins for SLURM's commands on PATH; return the folder of what each prints."""
    monkeypatch.setenv("PATH", str(stand_in(tmp_path)))
    with open(tmp_path / "sinfo.out", "a") as found:
        found.write("gpu|1-00:00:00|3|128000|gpu:v100:8\n")
    return tmp_path


def problems(cluster: Path, requests=(JOB,), attempts: int = 1, **changes) -> list[str]:
    found = site.read_site(write(cluster, **changes))
    lines, doubts = site_checks.check_site(found, requests, attempts)
    assert not doubts
    return lines


def test_the_shipped_file_names_every_required_entry_and_fills_none():
    found = site.read_site(ROOT / "profiles/slurm/site.yaml")
    assert list(found.problems) == read_schema("site")["required"]
    assert found.machine == {
        "gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480,
    }  # fmt: skip


def test_placeholders_are_what_the_schema_asks_for(tmp_path):
    path = tmp_path / "site.yaml"
    required = read_schema("site")["required"]
    path.write_text(yaml.safe_dump({key: getattr(site.Site, key) for key in required}))
    assert not site.read_site(path).problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": None}, "'account' is missing. What jobs are charged to"),
        ({"nodes": "left out"}, "'nodes' is missing. Nodes that one job may take"),
        ({"acount": "lab"}, "unknown key 'acount'; did you mean 'account'?"),
        ({"gpus_per_node": "four"}, "gpus_per_node: 'four' is not a whole number"),
        ({"gpus_per_node": 4.0}, "gpus_per_node: 4.0 is not a whole number; write 4"),
        ({"account": 0o12}, "account: 10 is not text; put what the file says there in quotes"),
        ({"gpu_memory_gb": 0}, "gpu_memory_gb: 0 is too small; valid: more than 0"),
        ({"cpu_max_hours": "a day"}, "cpu_max_hours: give exactly one of: a number of hours; none"),
        ({"qos": " "}, "qos: ' ' is blank"),
        ({"cpu_max_hours": 0.25}, "cpu_max_hours: 0.25 is too small; valid: 1 or more"),
        ({"gpu_max_hours": 0.005}, "gpu_max_hours: 0.005 is too small; valid: 0.25 or more"),
        ({"gpu_memory_gb": "none"}, "gpu_memory_gb: 'none' is not a number"),
        ({"host_memory_gb": float("inf")}, "host_memory_gb: inf is not a finite number"),
        (
            {"gpu_memory_gb": 800},
            "gpu_memory_gb: 800 is too large; valid: more than 0 and at most 480",
        ),
    ],
)
def test_a_wrong_entry_is_one_line_and_a_placeholder(tmp_path, changes, expected):
    path = write(tmp_path, **changes)
    found = site.read_site(path)
    (line,) = found.problems.values()
    assert line.startswith(f"{path}: ") and expected in line and "\n" not in line
    (key,) = changes
    if key in read_schema("site")["required"]:
        assert getattr(found, key) == getattr(site.Site, key)


def test_a_file_that_is_no_mapping_is_an_error(tmp_path):
    (tmp_path / "site.yaml").write_text("- account\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        site.read_site(tmp_path / "site.yaml")


def test_missing_entries_come_before_any_question_to_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ["is missing" in line for line in problems(tmp_path, account=None, nodes=None)] == [
        True, True,
    ]  # fmt: skip


def test_sbatch_is_asked_with_all_that_a_job_will_ask_for(cluster):
    """What is left out is found by the first submission, hours of downloads later."""
    more = {"slurm_account": "lab", "nodes": 2, "constraint": "nvlink&ib", "qos": "long"}
    more |= {"tasks": 8, "cpus_per_gpu": 6, "gpu": 8, "gpu_model": "a100"}
    extra = {"slurm_extra": "--signal=TERM@300 --gpus-per-node=a100:4"}
    assert problems(cluster, requests=[{**JOB, **more, **extra}]) == []
    [[test, *options, wrap, command]] = calls(cluster, "sbatch")
    assert (test, wrap, command) == ("--test-only", "--wrap", "true")
    assert options == [
        *("--account=lab", "--partition=gpu", "--time=60", "--mem=5000", "--nodes=2"),
        *("--constraint=nvlink&ib", "--qos=long", "--ntasks=8", "--cpus-per-gpu=6"),
        *("--gpus=a100:8", "--signal=TERM@300", "--gpus-per-node=a100:4"),
    ]


def test_what_a_job_does_not_ask_for_is_no_option():
    given = {**dict.fromkeys(JOB), "slurm_partition": "cpu", "gpu": 0}
    assert site_checks.options(given) == ["--partition=cpu"]
    assert site_checks.options({"gpu": 2, "gpu_model": None}) == ["--gpus=2"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": "labs"}, "account: unknown account 'labs'; did you mean 'lab'?"),
        ({"cpu_partition": "cpus"}, "cpu_partition: unknown partition 'cpus'; did you mean 'cpu'?"),
        ({"gpu_partition": "x"}, "gpu_partition: unknown partition 'x'; valid: cpu, gpu"),
        ({"gpu_partition": "cpu"}, "gpu_partition: no node of partition cpu has a GPU"),
        ({"gpu_type": "a1000"}, "unknown type of GPU 'a1000'; did you mean 'a100'?"),
        ({"gpus_per_node": 5}, "gpus_per_node is 5, but nodes of partition gpu have 4 at most"),
        ({"nodes": 3}, "nodes is 3, but partition gpu has 2 with 4 such GPUs"),
        ({"host_memory_gb": 64}, "host_memory_gb is 64, but nodes of partition gpu have 62.5"),
        ({"cpu_max_hours": 2}, "cpu_max_hours is 2, but partition cpu gives jobs 1 hours at most"),
        ({"gpu_max_hours": 25}, "gpu_max_hours is 25, but partition gpu gives jobs 24 hours"),
        ({"gpu_type": "a100-sxm"}, "gpu_type: 'a100-sxm' cannot be asked for: Snakemake's plugin"),
    ],
)
def test_what_slurm_contradicts_is_named_before_a_job_is_tried(cluster, changes, expected):
    (line,) = problems(cluster, **changes)
    assert line.startswith(f"{cluster / 'site.yaml'}: ") and expected in line
    assert not calls(cluster, "sbatch")


@pytest.mark.parametrize("word", ["any", "none"])
def test_any_type_of_gpu_will_do_where_none_is_asked_for(cluster, word):
    facts = {"gpu_type": word, "gpus_per_node": 8, "nodes": 3, "host_memory_gb": 120}
    assert problems(cluster, **facts) == []
    assert site.read_site(write(cluster, **facts)).request(8, 1)["gpu_model"] is None


def test_as_many_nodes_as_one_job_takes_must_have_the_memory(cluster):
    facts = {"gpu_type": "any", "gpus_per_node": 4, "host_memory_gb": 120}
    assert problems(cluster, nodes=3, **facts) == []
    (line,) = problems(cluster, nodes=4, **facts)
    assert "host_memory_gb is 120, but nodes of partition gpu have 62.5" in line


def test_a_cluster_without_gpus_needs_no_partition_of_theirs(cluster):
    facts = {"gpus_per_node": 0, "gpu_partition": "none", "gpu_type": "none"}
    facts["gpu_memory_gb"] = "none"
    assert problems(cluster, requests=[{"slurm_partition": "cpu"}], **facts) == []
    (line,) = problems(cluster, host_memory_gb=63, **facts)
    assert "host_memory_gb is 63, but nodes of partition cpu have 62.5" in line


def test_a_job_longer_than_its_partition_allows_would_wait_for_ever(cluster):
    long = {"slurm_partition": "cpu", "runtime": 90}
    (line,) = problems(cluster, requests=[JOB, long])
    assert (
        "jobs ask for up to 90 minutes, but partition cpu gives 60: set cpu_max_hours to 1" in line
    )


def test_so_would_a_later_attempt_which_asks_for_more(cluster):
    """Unless the site has a limit, which jobs heed in every attempt."""
    job = {"slurm_partition": "cpu", "runtime": 30}
    assert problems(cluster, requests=[job], attempts=2, cpu_max_hours="none") == []
    (line,) = problems(cluster, requests=[job], attempts=3, cpu_max_hours="none")
    assert "jobs ask for up to 90 minutes, but partition cpu gives 60" in line
    assert problems(cluster, requests=[job], attempts=3, cpu_max_hours=1) == []


def test_work_that_its_attempts_do_not_end_is_told_of(tmp_path):
    """Of each attempt's time the last five minutes are for its end."""
    found = site.read_site(write(tmp_path, gpu_max_hours=4))
    assert site_checks.check_work(found, 2 * (4 * 3600 - 300), 2) == []
    (line,) = site_checks.check_work(found, 8 * 3600, 2)
    assert "gpu_max_hours is 4, but jobs are predicted to take up to 8.0 hours" in line
    assert "more than 2 attempts; --retries 2 lets them end" in line
    assert site_checks.check_work(site.read_site(write(tmp_path)), 1e9, 2) == []


def test_what_sbatch_refuses_is_told_once_for_each_shape_of_job(cluster):
    (cluster / "sbatch.out").write_text("error:allocation failure: Invalid qos specification")
    more = {**JOB, "mem_mb": 9000}
    (line,) = problems(cluster, requests=[JOB, more, JOB], qos="fast")
    assert "refuses jobs of 4 GPUs on 1 nodes with 9000 MB in partition gpu" in line
    assert line.endswith("Invalid qos specification") and len(calls(cluster, "sbatch")) == 1


def test_while_nodes_are_down_what_none_can_take_now_is_only_told_of(cluster):
    """Of that partition: elsewhere, some node is always down."""
    (cluster / "sbatch.out").write_text("error:Requested node configuration is not available")
    found = site.read_site(write(cluster))
    for reasons, count in (("", (1, 0)), ("a fan 2026-11-26 gpu1", (0, 1))):
        (cluster / "reasons.out").write_text(reasons)
        assert tuple(map(len, site_checks.check_site(found, [JOB]))) == count
    assert ["-h", "-R", "-p", "gpu"] in calls(cluster, "sinfo")


def test_no_answer_from_sbatch_is_one_line(cluster, monkeypatch):
    monkeypatch.setattr(slurm, "PATIENCE", 0.01)
    with pytest.raises(UserError, match="sbatch: no answer from SLURM"):
        slurm.refusal("--partition=gpu")


def test_accounts_that_slurm_does_not_keep_are_not_checked(cluster):
    (cluster / "sacctmgr.out").write_text("error:no database")
    assert problems(cluster, account="anything") == []


def test_a_machine_without_slurm_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sinfo: command not found; --profile slurm submits from"):
        problems(tmp_path)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1-00:00:00", 1440), ("1:30:00", 90), ("5:00", 5), ("0:30", 0.5), ("infinite", float("inf"))],
)
def test_time_limits_are_read(limit, minutes):
    assert slurm.parse_minutes(limit) == minutes


def test_gpus_are_read():
    assert slurm.gpus_in("gpu:a100:4(S:0-1),gpu:v100:2,shard:8") == {"a100": 4, "v100": 2}
    assert slurm.gpus_in("gpu:8") == {"": 8} and slurm.gpus_in("(null)") == {}


def test_a_job_on_one_node_names_type_and_number_of_gpus(tmp_path):
    found = site.read_site(write(tmp_path, cpus_per_gpu=8, constraint="fast")).request(2, 1)
    assert {key: value for key, value in found.items() if value is not None} == {
        "slurm_partition": "gpu",
        "gpu_model": "a100",
        "cpus_per_gpu": 8,
        "constraint": "fast",
        "slurm_extra": "--signal=TERM@300",
    }


def test_a_job_over_nodes_is_started_by_its_own_srun(tmp_path):
    found = site.read_site(write(tmp_path)).request(8, 2)
    assert (found["mpi"], found["tasks"], found["tasks_per_gpu"]) == ("srun", 8, 0)
    assert found["slurm_extra"] == ("--signal=TERM@300 --ntasks-per-node=4 --gpus-per-node=a100:4")
    untyped = site.read_site(write(tmp_path, gpu_type="any")).request(8, 2)
    assert untyped["gpu_model"] is None and "--gpus-per-node=4" in untyped["slurm_extra"]


def test_a_job_without_gpu_goes_to_the_other_partition(tmp_path):
    found = site.read_site(write(tmp_path, cpus_per_gpu=8)).request(0, 1)
    assert found["slurm_partition"] == "cpu"
    assert found["gpu_model"] is None and found["cpus_per_gpu"] is None


def test_nothing_is_asked_for_by_the_word_none(tmp_path):
    found = site.read_site(write(tmp_path, constraint="none", qos="none"))
    assert not found.problems and found.request(2, 1)["constraint"] is None


def test_memory_is_counted_as_slurm_counts_it(tmp_path):
    assert site.read_site(write(tmp_path, host_memory_gb=62.5)).most_mib == 64000


def test_time_limits_of_the_site(tmp_path):
    found = site.read_site(write(tmp_path))
    assert found.most_minutes(0) == 60 and found.most_minutes(1) == float("inf")


def test_jobs_of_this_folder_alone_are_left_over(cluster, monkeypatch):
    """Those that Snakemake submitted, each by itself or several together."""
    monkeypatch.chdir(cluster)
    here, elsewhere = cluster.resolve(), cluster / "bin"
    (cluster / "squeue.out").write_text(
        f"1|RUNNING|rule_fine_tune_wildcards_a|{here}\n2|PENDING|rule_prepare_task|{elsewhere}\n"
        f"3|PENDING|rule_prepare_task|{here}\n4|RUNNING|(null)|{here}\n"
        f"5|COMPLETING|rule_tables_a_make_table|{here}\n"
    )
    assert slurm.jobs_here() == {"1": "RUNNING", "3": "PENDING", "5": "COMPLETING"}
    (line,) = site_checks.left_over()
    assert "jobs of an earlier start in this folder are still in SLURM's queue" in line
    assert line.endswith("scancel 1 3 5") and not calls(cluster, "scancel"), "told, not done"


def test_a_start_waits_for_jobs_that_end(cluster, monkeypatch):
    """Cancelled jobs write what they have computed before they leave the queue."""
    monkeypatch.chdir(cluster)
    queue, waits = cluster / "squeue.out", []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            queue.write_text("")

    monkeypatch.setattr(site_checks, "sleep", sleep)
    queue.write_text(f"7|COMPLETING|rule_fine_tune_wildcards_a|{cluster.resolve()}\n")
    assert site_checks.left_over() == [] and len(waits) == 3
    queue.write_text(f"8|COMPLETING|rule_fine_tune_wildcards_a|{cluster.resolve()}\n")
    (line,) = site_checks.left_over()
    assert line.endswith("scancel 8") and len(waits) == 3 + site_checks.ENDING_SECONDS


def test_a_start_compares_the_site_before_it_looks_for_jobs_left_over(cluster, monkeypatch):
    monkeypatch.chdir(cluster)
    wrong, right = site.read_site(write(cluster, account="labs")), site.read_site(write(cluster))
    (line,), _ = site_checks.check_start(wrong, [JOB], 3, 60.0)
    assert "unknown account 'labs'" in line and not calls(cluster, "squeue")
    assert site_checks.check_start(right, [JOB], 3, 60.0) == ([], [])
    (cluster / "squeue.out").write_text(f"7|PENDING|rule_prepare_task|{cluster.resolve()}\n")
    (line,), _ = site_checks.check_start(right, [JOB], 3, 60.0)
    assert line.endswith("scancel 7")


def test_what_may_pass_is_told_and_ends_nothing(cluster, monkeypatch):
    monkeypatch.chdir(cluster)
    (cluster / "sbatch.out").write_text("error:Requested node configuration is not available")
    (cluster / "reasons.out").write_text("a fan 2026-11-26 gpu1")
    found = site.read_site(write(cluster, gpu_max_hours=4))
    problems, (refusal, why, long) = site_checks.check_start(found, [JOB], 1, 8 * 3600)
    assert problems == [] and "SLURM refuses jobs" in refusal and "are submitted, and wait" in why
    assert "--retries 2 lets them end" in long
