"""Which time a run is about.

scheduled ─► its data interval        started by REST without a logical date ─► so long before the moment it was started

Never the clock: a task that is tried again looks at the same frames.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any


def interval_of(context: Any, *, length: timedelta) -> tuple[datetime, datetime]:
    """Start and end, aware.

    Args:
        context: of a task.
        length: of an interval that the run does not have by itself.
    """
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None:
        return start, end
    until: datetime = context["dag_run"].run_after
    return until - length, until
