"""# report_drift: does today look like what the champion learned?

report: brightness, sharpness, box sizes, confidences and the mix of labels of one day against the champion's reference (PSI).
Plots are artefacts in MLflow; frames that differ most are marked for review.

**When.** Every day after midnight UTC, for the day that ended. By the form for any day.

**Again?** Yes: a day's report replaces the one before.

**When it fails.** 65: nobody was champion on that day; give a later one. 75: something is away. A drift itself is no failure: it
is in the report. Neither is a day with fewer than 50 frames, or before the champion's first full day: the log and the result
(`compared`) say that there was nothing to compare.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag

from sightline_airflow import commands
from sightline_airflow.interval import interval_of
from sightline_airflow.jobs import DEFAULTS, DRIFT, job

FORM = {
    "day": Param(
        None, type=["null", "string"], format="date", title="Day",
        description="Of capture, in UTC. Empty: the day that the run's interval begins.",
    ),
}  # fmt: skip


def reporting(context: Any) -> tuple[str, ...]:
    """The form's day, else the interval's."""
    start, _ = interval_of(context, length=timedelta(days=1))
    return commands.drift(context["params"]["day"] or start.date().isoformat())


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULTS,
    params=FORM,
    doc_md=__doc__,
    tags=["models", "reports"],
)
def report_drift() -> None:
    """Wires the task."""
    job(DRIFT, task_id="report", command=reporting)


report_drift()
