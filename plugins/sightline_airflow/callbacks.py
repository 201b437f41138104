"""What a person finds at the end of a failed task's log: which frames, and what to do.

The message of a job's failure says it already; this adds what only Airflow knows: which try it was, what is left undone.
"""

from __future__ import annotations

import logging
from typing import Any

from sightline_airflow.outcome import MOST_FRAMES, frames_named

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
    """on_skipped_callback: the job said hold (99)."""
    task = context["ti"]
    log.warning("%s of %s: hold. What comes after is skipped, and nothing is changed.", task.task_id, context["run_id"])


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0].rstrip(".") if error is not None and str(error) else "nobody said why"


def _result(task: Any) -> Any:
    try:
        return task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index)
    except Exception:  # noqa: BLE001 - a callback that fails would hide the failure that it explains
        return None
