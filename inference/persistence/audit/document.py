"""The audit's report as one JSON document: what `sightline audit --json` prints and GET /v1/audit answers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from inference.persistence.audit.verdicts import Report, SessionVerdict

_COUNTS: Final = ("stored", "dead_lettered", "expired", "pending")


def as_document(report: Report) -> dict[str, Any]:
    """The report for a script or a client; times are ISO 8601."""
    return {
        "is_closed": report.is_closed,
        "judged_at": report.judged_at.isoformat(),
        "is_quick": report.is_quick,
        "acknowledged": report.acknowledged,
        **{name: report.total(name) for name in _COUNTS},
        "problem_count": report.problem_count,
        "problems": [asdict(named) for named in report.problems],
        "pending_frames": [asdict(named) for verdict in report.sessions for named in verdict.pending_frames],
        "dead_letters": [asdict(named) for verdict in report.sessions for named in verdict.dead_letters],
        "unreadable_dead_letters": [asdict(letter) for letter in report.unreadable],
        "objects_without_row": report.objects_without_row,
        "sessions": [_session_as_json(verdict) for verdict in report.sessions],
    }


def _session_as_json(verdict: SessionVerdict) -> dict[str, Any]:
    witness = verdict.witness
    return {
        **{name: getattr(witness, name) for name in ("session_id", "camera_id", "source")},
        "state": verdict.state,
        **{name: _iso(getattr(witness, name)) for name in ("started_at", "updated_at", "closed_at")},
        **{name: getattr(witness, name) for name in ("captured", "rejected", "first_sequence", "last_acknowledged")},
        "acknowledged": witness.acknowledged,
        **{name: getattr(verdict, name) for name in (*_COUNTS, "problem_count")},
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
