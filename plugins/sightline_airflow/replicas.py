"""Does every process serve the new champion? Asked of the heartbeats. Pure: Airflow's hook runs the statement.

young rows of `serving` (stream, api) ─► all serve it · some do not yet · one refuses, with its reason

A row does not say which version is refused. In the first moments it may be another one, named before: a process asks every
second who is champion, but not while it loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from contracts.errors import Rejected
from inference.domain.alive import ALIVE

REFUSED: Final = "refused"
SETTLING: Final = timedelta(seconds=90)  # then a refusal is of this version; a refused one is tried again after 60 s

SQL: Final = f"""
SELECT instance, kind, version, state, reason FROM serving
WHERE model = %(model)s AND kind IN ('stream', 'api')
    AND {ALIVE}
ORDER BY kind, instance
"""  # noqa: S608 - constants of ours


def lagging(rows: Sequence[Sequence[Any]], version: str, *, waited: timedelta) -> list[str]:
    """Those that do not serve this version yet, in words; nobody alive is one of them.

    Raises:
        Rejected: a process refuses, and has had the time to hear of this version: waiting does not help.
    """
    if not rows:
        return ["no process that serves a champion is alive"]
    late = []
    for instance, kind, served, state, reason in rows:
        if state == REFUSED and waited >= SETTLING:
            raise Rejected(
                f"{kind} {instance} refuses version {version}: {reason}. Go back with `sightline model rollback "
                "--reason …`, or mend that process and clear this task"
            )
        if state == REFUSED:
            late.append(f"{kind} {instance} refuses a version, this one or the one before: {reason}")
        elif served != version:
            late.append(f"{kind} {instance} serves {served or 'nothing'}")
    return late
