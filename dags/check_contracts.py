"""# check_contracts: does what is stored keep its promises?

check: frames and predictions of the last two hours against their contracts (pandera), the quick audit (every acknowledged
frame is stored, dead-lettered or expired), the registry's compatibility rule.

**When.** Every hour, with the hour before once more, for what came late. By the form for any range.

**Again?** Yes: it only reads.

**When it fails.** Exit code 65: rows break a contract, or frames are missing; the log names them, and `sightline trace
FRAME_ID` tells each one's life. 75: something is away, and Airflow tries again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag

from sightline_airflow import commands
from sightline_airflow.interval import interval_of
from sightline_airflow.jobs import CHECK, DEFAULTS, job

OVERLAP = timedelta(hours=1)

FORM = {
    "since": Param(
        None, type=["null", "string"], format="date-time", title="Captured since",
        description="Start of the range. Empty: an hour before the run's interval.",
    ),
    "until": Param(
        None, type=["null", "string"], format="date-time", title="Captured before",
        description="End of the range, not included. Empty: the end of the run's interval.",
    ),
}  # fmt: skip


def checking(context: Any) -> tuple[str, ...]:
    """The form's range, else the interval and the hour before it."""
    form = context["params"]
    start, end = interval_of(context, length=timedelta(hours=1))
    return commands.check(since=form["since"] or (start - OVERLAP).isoformat(), until=form["until"] or end.isoformat())


@dag(
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    default_args=DEFAULTS,
    params=FORM,
    doc_md=__doc__,
    tags=["checks", "frames"],
)
def check_contracts() -> None:
    """Wires the task."""
    job(CHECK, task_id="check", command=checking, execution_timeout=timedelta(minutes=30))


check_contracts()
