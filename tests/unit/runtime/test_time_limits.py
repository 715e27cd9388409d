"""Time limits: what is predicted, a margin and time for a checkpoint, in sensible steps."""

import pytest
from fewshot.runtime import submission


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
    assert submission.time_limit(seconds, margin) == minutes


def test_more_time_never_has_a_shorter_limit():
    found = [submission.time_limit(seconds, 1.5) for seconds in range(0, 200_000, 97)]
    assert found == sorted(found)


def test_a_job_that_takes_what_is_predicted_is_not_told_to_end():
    for seconds in (10, 1_000, 10_000, 100_000):
        assert submission.time_limit(seconds, 1.0) * 60 - submission.NOTICE >= seconds
