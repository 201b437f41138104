"""Which processes serve which model: one row each in `serving`, renewed every 2 s.

beat ──► row of this instance, with the database's time: the clocks of the machines do not matter
replicas(seconds=10) ──► the processes that are alive
forget ──► a process that stops cleanly is none at once
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.times import as_stored
from inference.domain.alive import ALIVE
from inference.persistence.database import Connection

STARTING: Final = "starting"  # serves nothing yet
SERVING: Final = "serving"  # what it should, or the last that it could
IDLE: Final = "idle"  # a shadow without a challenger
REFUSED: Final = "refused"  # the version that it should serve does not work here; `reason` says why
DRAINING: Final = "draining"  # told to stop

_BEAT: Final = """
INSERT INTO serving (instance, kind, model, version, state, warmed_version, engine, reason, started_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp() AT TIME ZONE 'UTC')
ON CONFLICT (instance) DO UPDATE SET
    kind = EXCLUDED.kind, model = EXCLUDED.model, version = EXCLUDED.version, state = EXCLUDED.state,
    warmed_version = EXCLUDED.warmed_version, engine = EXCLUDED.engine, reason = EXCLUDED.reason,
    started_at = EXCLUDED.started_at, updated_at = EXCLUDED.updated_at
"""

_REPLICAS: Final = f"""
SELECT instance, kind, model, version, state, warmed_version, engine, reason, started_at, updated_at
FROM serving
WHERE {ALIVE}
ORDER BY kind, instance
"""  # noqa: S608 - constants of ours
_FORGET_SILENT: Final = f"DELETE FROM serving WHERE NOT ({ALIVE})"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One process that serves a model."""

    instance: str
    kind: str  # stream | shadow | api
    model: str  # the registered model's name
    version: str  # that serves; empty: none does
    state: str
    warmed_version: str | None  # loaded, warmed and checked beforehand
    engine: str
    reason: str | None  # why it does not serve or has not warmed what it should
    started_at: datetime  # UTC, by the process's own clock
    updated_at: datetime | None = None  # UTC, by the database's clock; None: not written yet


def beat(connection: Connection, heartbeat: Heartbeat) -> None:
    """Writes the row, as of now."""
    values = (
        heartbeat.instance,
        heartbeat.kind,
        heartbeat.model,
        heartbeat.version,
        heartbeat.state,
        heartbeat.warmed_version,
        heartbeat.engine,
        heartbeat.reason,
        as_stored(heartbeat.started_at),
    )
    connection.execute(_BEAT, values)


def replicas(connection: Connection, *, seconds: float) -> list[Heartbeat]:
    """The processes whose heartbeat is younger than that."""
    rows = connection.execute(_REPLICAS, {"seconds": seconds}).fetchall()
    return [
        Heartbeat(
            instance=instance,
            kind=kind,
            model=model,
            version=version,
            state=state,
            warmed_version=warmed,
            engine=engine,
            reason=reason,
            started_at=started_at,
            updated_at=updated_at,
        )
        for instance, kind, model, version, state, warmed, engine, reason, started_at, updated_at in rows
    ]


def forget(connection: Connection, instance: str) -> None:
    """Removes the row of a process that stops."""
    connection.execute("DELETE FROM serving WHERE instance = %s", (instance,))


def forget_silent(connection: Connection, *, seconds: float) -> None:
    """Removes the rows of processes that were killed: nobody else would."""
    connection.execute(_FORGET_SILENT, {"seconds": seconds})
