"""What a person finds at the end of a failed task's log: which frames, and what to do.

The message of a job's failure says it already; this adds what only Airflow knows: which try it was, what is left undone.
"""

from __future__ import annotations

import logging
from typing import Any

from sightline_airflow.outcome import HOLD, MOST_FRAMES, frames_named, next_step

log = logging.getLogger("sightline_airflow")


def explain_failure(context: Any) -> None:
    """on_failure_callback: after the last try, or the first that is final."""
    task = context["ti"]
    frames = frames_named(_result(task))
    named = f" Frames: {', '.join(frames[:MOST_FRAMES])}." if frames else ""
    log.error(
        "%s of %s failed for good at try %s: %s.%s What is done stays done; when the cause is mended, clear this task and "
        "the run goes on from here.",
        task.task_id,
        context["run_id"],
        task.try_number,
        _first_line(context.get("exception")),
        named,
    )


def tell_hold(context: Any) -> None:
    """on_skipped_callback: the job ended with 99, which means something else to each."""
    task = context["ti"]
    job = context["task"].kind.name
    log.warning("%s of %s: exit code %s. %s", task.task_id, context["run_id"], HOLD, next_step(job, HOLD))


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0].rstrip(".") if error is not None and str(error) else "nobody said why"


def _result(task: Any) -> Any:
    try:
        return task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index)
    except Exception:  # noqa: BLE001 - a callback that fails would hide the failure that it explains
        return None
