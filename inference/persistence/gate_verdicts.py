"""What the platform's own evaluation said of a version, against the champion of that time. Append-only.

save ──► gate_verdicts ──► newest: what a promotion asks for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from inference.persistence.database import Connection

Outcome = Literal["pass", "hold", "refused"]

GATE_SET: Final = "gate_set"  # in the figures: reviewed, labelled or simulated; older rows lack it

_COLUMNS: Final = (
    "model, version, model_digest, champion_version, verdict, reasons, figures, dataset_digest, gate_digest, run_id, "
    "decided_at"
)
_SAVE: Final = """
    INSERT INTO gate_verdicts (
        model, version, model_digest, champion_version, verdict, reasons, figures, dataset_digest, gate_digest, run_id,
        decided_at
    )
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, COALESCE(%s AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'))
    RETURNING id
"""
_NEWEST: Final = f"""
    SELECT {_COLUMNS} FROM gate_verdicts WHERE model = %s AND version = %s ORDER BY id DESC LIMIT 1
"""  # noqa: S608 - constants of this module
_NEWEST_OF_ALL: Final = f"""
    SELECT DISTINCT ON (version) {_COLUMNS} FROM gate_verdicts WHERE model = %s ORDER BY version, id DESC
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's answer for one version."""

    model: str  # registered model
    version: str
    model_digest: str  # sha256 of model.onnx: what was evaluated
    champion_version: str | None  # compared with; None: there was no champion
    verdict: Outcome
    reasons: tuple[str, ...]  # in words, with the figures
    figures: Mapping[str, Any]  # as JSON
    dataset_digest: str  # of the gate set
    gate_digest: str  # of gates/<model>.toml
    run_id: str | None = None  # in MLflow
    decided_at: datetime | None = None  # aware; None: now, by the database's clock


def save(connection: Connection, verdict: Verdict) -> int:
    """Writes a verdict down; returns the row's id."""
    values = (
        *(verdict.model, verdict.version, verdict.model_digest, verdict.champion_version, verdict.verdict),
        *(list(verdict.reasons), Jsonb(dict(verdict.figures)), verdict.dataset_digest, verdict.gate_digest),
        *(verdict.run_id, verdict.decided_at),
    )
    [(row_id,)] = connection.execute(_SAVE, values).fetchall()
    return int(row_id)


def newest(connection: Connection, model: str, version: str) -> Verdict | None:
    """The last word on a version; None: the gate never saw it."""
    row = connection.execute(_NEWEST, (model, version)).fetchone()
    return None if row is None else _verdict(row)


def newest_of_all(connection: Connection, model: str) -> dict[str, Verdict]:
    """The last word on each version that the gate saw."""
    verdicts = map(_verdict, connection.execute(_NEWEST_OF_ALL, (model,)).fetchall())
    return {verdict.version: verdict for verdict in verdicts}


def _verdict(row: tuple[Any, ...]) -> Verdict:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Verdict(**values | {"reasons": tuple(values["reasons"])})
