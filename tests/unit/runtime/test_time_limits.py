"""Time limits: what is predicted, a margin and time for a checkpoint, in sensible steps."""

import pytest
from fewshot.runtime import time_limits


@pytest.mark.parametrize(
    ("seconds", "margin", "minutes"),
    [
        (0, 3, 30),
        (500, 3, 30),  # 1,500 s and 300 s of notice: 30 minutes
        (501, 3, 60),
        (1700, 2, 90),  # 61.7
        (6900, 2, 240),  # 235, in halves of hours up to four
        (7200, 2, 300),  # 245, then in hours
        (40_000, 2, 23 * 60),  # 1,338
        (43_000, 2, 24 * 60),
        (43_200, 2, 30 * 60),  # 24 h and 5 minutes: in quarters of days
        (100_000, 3, 84 * 60),
    ],
)
def test_limits_by_hand(seconds, margin, minutes):
    assert time_limits.time_limit(seconds, margin) == minutes


def test_more_time_never_has_a_shorter_limit():
    found = [time_limits.time_limit(seconds, 1.5) for seconds in range(0, 200_000, 97)]
    assert found == sorted(found)


def test_a_job_that_takes_what_is_predicted_is_not_told_to_end():
    for seconds in (10, 1_000, 10_000, 100_000):
        assert time_limits.time_limit(seconds, 1.0) * 60 - time_limits.NOTICE >= seconds


def test_a_limit_is_the_sites_and_a_whole_minute_at_least():
    assert [time_limits.limited(30, most) for most in (float("inf"), 30, 20.5, 0.3)] == [
        30, 30, 20, 1,
    ]  # fmt: skip


def test_attempts_needed_by_the_time_until_they_are_told_to_end():
    """Five minutes before a limit, of which here there are twenty-five in each attempt."""
    minutes = (0, 25, 26, 75, 76)
    assert [time_limits.attempts_needed(60 * n, 30) for n in minutes] == [1, 1, 2, 3, 4]
    assert time_limits.attempts_needed(1e9, float("inf")) == 1
