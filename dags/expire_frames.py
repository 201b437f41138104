"""# expire_frames: forgets what is older than its retention

expire ─► verify

`expire` copies reviewed and gate frames to the kept tables, writes down what goes, removes the objects, then the rows.
`verify` looks once more: exit code 75 where something is left.

**When.** Every night; unpaused, it waits for the next one. By the form: a rehearsal that removes nothing, or cameras with a
shorter retention.

**Again?** Yes: an expiry that was interrupted is ended by the next.

**When it fails.** 75: a store is away; what is begun is ended by the next try. `verify` with left-overs that stay: clear `expire`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag

from sightline_airflow import commands
from sightline_airflow.jobs import DEFAULTS, EXPIRE, job

FORM = {
    "rehearsal": Param(
        False, type="boolean", title="Rehearsal", description="Only say what would go; remove nothing."
    ),
    "days_of": Param(
        None, type=["null", "object"], title="These cameras alone",
        description='Each with the days to keep: {"line-1": 30}. Empty: every camera, as the settings say.',
    ),
}  # fmt: skip


def expiring(context: Any) -> tuple[str, ...]:
    """As the form says."""
    form = context["params"]
    return commands.expire(days_of=form["days_of"], how="--dry-run" if form["rehearsal"] else "")


def verifying(context: Any) -> tuple[str, ...]:
    """Nothing of it is there any more; after a rehearsal there is nothing to verify, and it says once more what would go."""
    form = context["params"]
    return commands.expire(days_of=form["days_of"], how="--dry-run" if form["rehearsal"] else "--verify")


@dag(
    # No start_date: with one, unpausing would run what was missed last night, before anybody could rehearse.
    schedule=CronTriggerTimetable("15 3 * * *", timezone="UTC", run_immediately=timedelta(minutes=10)),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULTS,
    params=FORM,
    doc_md=__doc__,
    tags=["frames", "retention"],
)
def expire_frames() -> None:
    """Wires the tasks."""
    expire = job(EXPIRE, task_id="expire", command=expiring, execution_timeout=timedelta(hours=6))
    verify = job(EXPIRE, task_id="verify", command=verifying)
    expire >> verify


expire_frames()
