"""How jobs share submissions, and what their time limits are then."""

import pytest
from fewshot.runtime.placement import JobPlace, Placement
from fewshot.runtime.submission import Queue

PLACE = JobPlace(Placement(), 1)


def limits(queue: Queue, minutes: int) -> list[int]:
    """Return the limits of a job in its three attempts, the first of which asks for `minutes`."""
    shares = queue.shares(PLACE, 500, minutes)
    return [queue.limited(attempt * minutes, shares) for attempt in (1, 2, 3)]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (float("inf"), [30, 60, 90]),
        (240, [30, 40, 40]),
        (180, [30, 30, 30]),
        (179, [30, 60, 90]),
        (30, [30, 30, 30]),
        (15, [15, 15, 15]),
    ],
)
def test_a_job_has_no_less_time_for_sharing_a_submission(most, expected):
    """Which six do that fit into the site's limit: below it each has a submission to itself."""
    queue = Queue(most_minutes=most, attempts=3, short_minutes=10, together=6)
    assert queue.shares(PLACE, 500, 30) == (most >= 6 * 30)
    assert limits(queue, 30) == expected


def test_only_short_jobs_of_one_process_share():
    queue = Queue(most_minutes=1440, attempts=3, short_minutes=10, together=6)
    assert queue.shares(PLACE, 599, 30) and not queue.shares(PLACE, 600, 30)
    assert not queue.shares(JobPlace(Placement(), 2), 500, 30)
    assert not queue.shares(JobPlace(Placement(2, "optimizer"), 1), 500, 30)


def test_attempts_suffice_by_the_time_until_they_are_told_to_end():
    """Five minutes before a limit, of which here there are twenty-five in each attempt."""
    queue = Queue(most_minutes=30, attempts=3, short_minutes=10, together=6)
    assert queue.suffices(75 * 60) and not queue.suffices(75 * 60 + 1)
    assert [queue.needed(minutes * 60) for minutes in (0, 25, 26, 75, 76)] == [1, 1, 2, 3, 4]
    assert Queue(float("inf"), 1, 10, 6).suffices(1e9)
