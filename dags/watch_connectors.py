"""# watch_connectors: do the sinks run?

report: every connector and task of ours, its state and, of one that failed, why.

**When.** Every ten minutes. The watchdog restarts what fails; this DAG acts on nothing. It asks three times, twice
`SIGHTLINE_JOBS__RETRY_SECONDS` apart (two minutes, unless that is set): a connector that is down for longer is one that the watchdog gave up, or whose store is away.

**Again?** Yes: it only reads.

**When it fails.** `sightline connectors status` shows the reason. Mend it, then `sightline connectors restart NAME`: the
watchdog looks after it again from then on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag

from sightline_airflow import commands
from sightline_airflow.jobs import CONNECTORS, DEFAULTS, job


@dag(
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1),  # noqa: DTZ001 - Airflow reads it as UTC
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    default_args=DEFAULTS
    | {"retries": 2, "retry_delay": 2 * DEFAULTS["retry_delay"], "retry_exponential_backoff": False},
    doc_md=__doc__,
    tags=["checks", "sinks"],
)
def watch_connectors() -> None:
    """Wires the task."""
    job(
        CONNECTORS,
        task_id="report",
        command=commands.connectors_status(),
        execution_timeout=timedelta(minutes=5),
    )


watch_connectors()
