"""Do the stores keep the contracts? Rows against pandera, objects against rows, schemas against the registry.

    --since, --until             rows of frames and predictions, the quick audit of them, schemas on disk and in the registry
    --run-id [--since, --until]  the predictions of one batch job alone; all days are searched unless the range is known

Exit 65: something is broken; every kind is counted, the first of each are named, with what to do. Exit 78: only the
registry is not as it should be. Exit 75: a store, the broker or the registry is away.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from connectors.schema_registry import SchemaRegistry
from contracts import compatibility, schemas
from contracts.checks import Broken, broken_rows
from contracts.errors import Misconfigured
from contracts.settings import Settings
from contracts.topics import CONTRACT_TOPICS
from inference.batch.job import Result, Say
from inference.batch.span import add_span, span_of
from inference.persistence import connect, contract_rows
from inference.persistence.audit import Report, audit
from inference.persistence.contract_rows import Rows

ABOUT: Final = "Checks rows, objects and schemas against their contracts."

NAMED: Final = 100  # of each kind, in the result
_TOLD: Final = 10  # of each kind, in the log
_ROWS_ADVICE: Final = (
    "it came past the sink's own check: `sightline trace FRAME_ID` shows its record; mend the producer, then score or "
    "send the frame again"
)
_AUDIT_ADVICE: Final = (
    "`no prediction`: score_frames with `missing` fills it; any other: `sightline audit` and `sightline trace FRAME_ID`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """What was found in one table."""

    topic: str
    rows: int
    broken: int  # rows
    named: tuple[Broken, ...]  # what is wrong with the first of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's options."""
    add_span(parser, required=False)
    parser.add_argument("--run-id", help="only the predictions of this batch job")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds for frames that are on their way")


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """Checks everything, then says all that was found.

    Raises:
        Misconfigured: neither a range nor a run was given, or an empty range; pandera is switched off; a login does not
            fit.
        Transient: Postgres, the object store, the broker or the registry is away.
    """
    span = span_of(given)
    if given.run_id:
        return _check_run(settings, given.run_id, span, say)
    if span is None:
        raise Misconfigured("give --since and --until, or --run-id")
    since, until = span
    with connect(settings) as connection:
        frames, predictions = (
            _checked(topic, contract_rows.of_range(connection, topic, since=since, until=until))
            for topic in ("frames", "predictions")
        )
    report = audit(settings, since=since, until=until, wait=timedelta(seconds=given.wait), is_quick=True)
    on_disk = [problem for topic in CONTRACT_TOPICS for problem in compatibility.check(topic.name)]
    registry = registry_problems(settings)
    if not frames.rows and not report.acknowledged:
        say(f"no frame was captured from {since.isoformat()} to {until.isoformat()}: only the schemas were checked")
    for checked in (frames, predictions):
        _tell_rows(say, checked)
    _tell(say, "frame unaccounted for", report.problem_count, map(_frame, report.problems), _AUDIT_ADVICE)
    _tell(say, "schema on disk is incompatible", len(on_disk), on_disk, "a released version never changes: add one")
    _tell(say, "problem of the registry", len(registry), registry, "`sightline contracts diff` compares")
    is_broken = bool(frames.broken or predictions.broken or on_disk) or not report.is_closed
    return Result(
        fields={
            "frames": frames.rows,
            "predictions": predictions.rows,
            "broken_rows": frames.broken + predictions.broken,
            "rows": [asdict(one) for one in (*frames.named, *predictions.named)],
            "audit": _audit_fields(report),
            "schemas": on_disk,
            "registry": registry,
        },
        exit_code=65 if is_broken else Misconfigured.exit_code if registry else 0,
    )


def _check_run(settings: Settings, run_id: str, span: tuple[datetime, datetime] | None, say: Say) -> Result:
    with connect(settings) as connection:
        checked = _checked("predictions", contract_rows.of_run(connection, run_id, span))
    if not checked.rows:
        say(f"no prediction names the run {run_id}: nothing was checked")
    _tell_rows(say, checked)
    fields = {"run_id": run_id, "predictions": checked.rows, "broken_rows": checked.broken}
    named = {"rows": [asdict(one) for one in checked.named]}
    return Result(fields=fields | named, exit_code=65 if checked.broken else 0)


def registry_problems(settings: Settings) -> list[str]:
    """What the registry lacks, enforces otherwise, or would not take.

    Raises:
        Transient: it is away.
    """
    with SchemaRegistry(settings.registry) as registry:
        try:
            registry.assert_registered()
        except Misconfigured as error:
            return [str(error)]
        return [
            f"the registry finds the newest schema of {topic.name} incompatible with its versions"
            for topic in CONTRACT_TOPICS
            if not registry.is_compatible(topic.name, schemas.latest(topic.name))
        ]


def _checked(topic: str, pieces: Iterable[Rows]) -> _Checked:
    rows = broken = 0
    named: list[Broken] = []
    for piece in pieces:
        found = broken_rows(topic, piece)
        rows += len(piece)
        broken += len({one.key for one in found})
        named += found[: NAMED - len(named)]
    return _Checked(topic=topic, rows=rows, broken=broken, named=tuple(named))


def _audit_fields(report: Report) -> dict[str, Any]:
    return {
        "is_closed": report.is_closed,
        "acknowledged": report.acknowledged,
        "stored": report.total("stored"),
        "problem_count": report.problem_count,
        "problems": [asdict(one) for one in report.problems[:NAMED]],
    }


def _tell_rows(say: Say, checked: _Checked) -> None:
    _tell(say, f"row of {checked.topic} breaks its contract", checked.broken, map(_row, checked.named), _ROWS_ADVICE)


def _tell(say: Say, what: str, count: int, named: Iterable[str], advice: str) -> None:
    if count:
        say(f"{count} x {what}; {advice}")
        for line in islice(named, _TOLD):
            say(f"  {line}")


def _row(one: Broken) -> str:
    return f"{' '.join(one.key)}: {one.what}"


def _frame(one: Any) -> str:
    where = f"camera {one.camera_id}, session {one.session_id}, sequence {one.sequence}"
    return f"{one.problem}: {where}, frame {one.frame_id or 'unknown'}"
