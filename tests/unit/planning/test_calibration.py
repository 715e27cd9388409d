"""Factors of finished jobs: found again, not moved by the disturbed, written and read."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fewshot import codeversion
from fewshot.errors import UserError
from fewshot.planning import calibration
from fewshot.planning.calibration import (
    Calibration,
    Factors,
    Measured,
    fit,
    held_out,
    weighted_median,
)
from fewshot.planning.job_time import PHASES
from fewshot.rng import generator

SEEN = dict.fromkeys(PHASES, 20)
WHOLE = dict.fromkeys(PHASES, 10.0)
TRUE = dict(zip(PHASES, (1.5, 0.8, 2.0, 3.0, 0.5, 1.2), strict=True))


def jobs(count=20, factors=TRUE, noise=0.0, kind="cpu", device="cpu: x86_64") -> list[Measured]:
    draw, found = generator("jobs", kind, count), []
    for _ in range(count):
        predicted = dict(zip(PHASES, draw.uniform(1, 100, len(PHASES)).tolist(), strict=True))
        near = np.exp(noise * draw.normal(size=len(PHASES)))
        measured = {
            phase: factors[phase] * predicted[phase] * near[i] for i, phase in enumerate(PHASES)
        }
        found.append(Measured(kind, device, 1000, predicted, measured))
    return found


def test_known_factors_are_found_again():
    known = fit(jobs()).kinds["cpu"]
    assert known.factors == pytest.approx(TRUE)
    assert known.low == pytest.approx(1) and known.high == pytest.approx(1)
    assert known.jobs == 20 and known.devices == {"cpu: x86_64": 20}


def test_a_quarter_of_disturbed_jobs_does_not_move_them():
    found = jobs(40, noise=0.05)
    for i in range(0, 40, 4):
        slow = {phase: 50 * each for phase, each in found[i].measured.items()}
        found[i] = replace(found[i], measured=slow)
    assert fit(found).kinds["cpu"].factors == pytest.approx(TRUE, rel=0.12)


def test_one_large_disturbed_job_does_not_move_them():
    """It is predicted to take ten times as long as all others together."""
    found = jobs(20)
    size = {phase: 10 * sum(job.predicted[phase] for job in found) for phase in PHASES}
    found[7] = replace(found[7], predicted=size, measured={p: 9 * n for p, n in size.items()})
    assert fit(found).kinds["cpu"].factors == pytest.approx(TRUE)


def test_kinds_of_devices_have_factors_of_their_own():
    twice = {phase: 2 * each for phase, each in TRUE.items()}
    other = jobs(9, twice, kind="gpu", device="cuda: B")
    found = fit([*jobs(), *jobs(6, twice, kind="gpu", device="cuda: A"), *other]).kinds
    assert found["cpu"].factors == pytest.approx(TRUE)
    assert found["gpu"].factors == pytest.approx(twice)
    assert found["gpu"].devices == {"cuda: A": 6, "cuda: B": 9}


def test_the_fit_has_the_least_absolute_error():
    """No job is predicted to take more than three times the median: all weigh their seconds."""
    found = jobs(15, noise=0.5)
    factor = fit(found).kinds["cpu"].factors["train"]
    predicted, measured = (
        np.array([getattr(job, name)["train"] for job in found])
        for name in ("predicted", "measured")
    )
    errors = [np.abs(measured - f * predicted).sum() for f in (factor, *np.linspace(0.1, 9, 999))]
    assert errors[0] <= min(errors) + 1e-9


def test_weighted_median_by_hand():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])
    assert weighted_median(values, weights) == 2.0
    assert weighted_median(values, np.array([5.0, 1.0, 1.0])) == 3.0
    assert weighted_median(values[:2], weights[:2]) == 1.0, "the lower of two"


def test_phases_without_time_to_speak_of_keep_their_seconds():
    tiny = [
        replace(job, **{name: {**getattr(job, name), "write": seconds}
                        for name, seconds in (("predicted", 0.01), ("measured", 0.09))})
        for job in jobs()
    ]  # fmt: skip
    found = fit(tiny).kinds["cpu"]
    assert found.factors["write"] == 1.0 and found.factors["train"] == pytest.approx(2.0)
    assert found.seen == {**SEEN, "write": 0}
    short = fit(jobs(factors={**TRUE, "write": 1e-4})).kinds["cpu"].factors
    assert short["write"] == pytest.approx(1e-4), "predicted to take long, and did not"
    without = [replace(job, measured={**job.measured, "train": 0.0}) for job in jobs()]
    assert fit(without).kinds["cpu"].factors["train"] == 1.0


def test_jobs_are_predicted_by_other_jobs():
    """Even jobs took twice as long as odd ones: each half is predicted by the other's factors."""
    found = jobs(8, dict.fromkeys(PHASES, 1.0))
    found[0::2] = [
        replace(job, measured={phase: 2 * each for phase, each in job.measured.items()})
        for job in found[0::2]
    ]
    ratios = [job.seconds / each for job, each in zip(found, held_out(found), strict=True)]
    assert ratios == pytest.approx([2.0, 0.5] * 4)
    assert held_out(found[:1]) == pytest.approx([found[0].seconds])


def test_what_is_applied_and_how_long_limits_are():
    known = fit(jobs(noise=0.3))
    assert known.applied("cpu", dict.fromkeys(PHASES, 10.0)) == pytest.approx(
        {phase: 10 * each for phase, each in known.kinds["cpu"].factors.items()}
    )
    assert known.applied("gpu", {"train": 10.0}) == {"train": 10.0}
    high = known.kinds["cpu"].high
    assert known.bounds("cpu") == (known.kinds["cpu"].low, high) and high > 1
    assert known.margin("gpu", WHOLE) == calibration.UNKNOWN == 3.0
    assert known.margin("cpu", WHOLE) == max(1.5, 1.25 * high) < 3.0
    few = fit(jobs(7))
    assert few.margin("cpu", WHOLE) == 3.0, "of seven jobs nothing is known of an eighth"
    wide = Factors(TRUE, SEEN, 0.1, 9.0, {"cpu": 20}, 5)
    assert Calibration({"cpu": wide}).margin("cpu", WHOLE) == 3.0


def test_limits_of_what_no_job_did_rest_on_nothing():
    """Twenty jobs in context tell how long reading takes, seven trained ones too little."""
    shown = [
        replace(
            job, predicted={**job.predicted, "train": 0.0}, measured={**job.measured, "train": 0}
        )
        for job in jobs()
    ]
    known = fit([*shown, *jobs(7)])
    assert known.kinds["cpu"].seen == {**dict.fromkeys(PHASES, 27), "train": 7}
    assert known.margin("cpu", {**WHOLE, "train": 0.0}) < 3.0
    assert known.margin("cpu", {"score": 80.0, "train": 19.0}) < 3.0, "four fifths are known"
    assert known.margin("cpu", {"score": 80.0, "train": 21.0}) == 3.0
    assert known.kinds["cpu"].unseen(WHOLE) == {"train": 10.0}
    assert fit([*shown, *jobs(8)]).margin("cpu", {"train": 1.0}) < 3.0


def test_a_file_comes_back_as_it_was(tmp_path):
    path = tmp_path / "there" / "calibration.json"
    known = fit([*jobs(noise=0.2), *jobs(3, kind="gpu", device="cuda: A")])
    calibration.write(known, path)
    assert calibration.read(path) == known
    assert calibration.read(tmp_path / "none.json") == Calibration()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("kinds"), "no calibration that can be read (KeyError: 'kinds')"),
        (lambda c: c["kinds"]["cpu"]["factors"].pop("train"), "(KeyError: 'train')"),
        (lambda c: c["kinds"]["cpu"]["factors"].update(train="x"), "could not convert"),
        (lambda c: c["kinds"]["cpu"]["factors"].update(train=-1), "train is -1.0, not a positive"),
        (lambda c: c["kinds"]["cpu"].update(high=float("inf")), "high is inf, not a positive"),
        (lambda c: c["kinds"]["cpu"].update(devices=[]), "AttributeError"),
        (lambda c: c["kinds"]["cpu"].update(parameters=float("inf")), "OverflowError"),
        (lambda c: c["kinds"]["cpu"].update(parameters=float("nan")), "ValueError"),
        (lambda c: c["kinds"]["cpu"]["devices"].update(more=float("inf")), "OverflowError"),
        (lambda c: c["kinds"]["cpu"].pop("seen"), "(KeyError: 'seen')"),
        (lambda c: c.update(kinds=[1]), "AttributeError"),
        (lambda c: c.update(version="x"), "made by another version of the cost model"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, change, message):
    path = tmp_path / "calibration.json"
    calibration.write(fit(jobs()), path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        calibration.read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and message in line and "snakemake calibrate" in line
    assert "\n" not in line
    assert calibration.read_if_valid(path) == Calibration(problem=line)


def test_half_a_file_is_one_line(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text('{"version": ')
    with pytest.raises(UserError, match="no calibration that can be read"):
        calibration.read(path)


def test_the_version_is_that_of_all_that_seconds_come_from():
    seen, todo = set(), list(calibration.PREDICTING)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += codeversion.imports(module)
    assert {
        "planning.job_time",
        "planning.workload",
        "planning.rates",
        "analysis.flops",
        "planning.memory",
        "study.families",
    } <= seen
    assert {
        "data.curve_sample",
        "models.shapes",
        "models.architectures",
        "runtime.placement",
    } <= seen
    others = {
        "study.study",
        "study.checks",
        "study.catalog",
        "planning.calibration",
        "planning.memory_plan",
        "runtime.submission",
    }
    assert not others & seen, "what else is planned or checked changes no second"
    assert calibration.version() == codeversion.code_version(*calibration.PREDICTING)
