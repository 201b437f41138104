"""How the pipeline is: GET /v1/pipeline, /v1/stats, /v1/audit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Query

from connectors.connect_admin import KafkaConnectAdmin
from connectors.sink_states import all_run, connector_rows
from connectors.topic_figures import topic_figures
from contracts.errors import PipelineError
from contracts.logs import get_logger
from inference.api.answers.pipeline import (
    AuditAnswer,
    ConnectorAnswer,
    DetectionCountAnswer,
    FlowAnswer,
    FrameCountAnswer,
    LatencyAnswer,
    OpenSessionAnswer,
    PipelineAnswer,
    StatisticsAnswer,
)
from inference.api.guard import GuardedRoute
from inference.api.inputs import At, CameraName, Neighbours, Since, Until
from inference.api.parts import Parts
from inference.api.problems import Problem
from inference.persistence.audit import as_document, audit
from inference.persistence.sessions import OpenSession, open_sessions, warnings_about
from inference.persistence.statistics import Step, statistics

router = APIRouter(tags=["pipeline"], route_class=GuardedRoute)

_LONGEST: Final[dict[Step, timedelta]] = {"minute": timedelta(days=1), "hour": timedelta(days=31)}
_USUAL: Final[dict[Step, timedelta]] = {"minute": timedelta(hours=1), "hour": timedelta(days=1)}
_LONGEST_AUDIT: Final = timedelta(hours=2)
_USUAL_AUDIT: Final = timedelta(minutes=15)

_log = get_logger(__name__)

_T = TypeVar("_T")


@router.get("/v1/pipeline")
def show_pipeline(parts: Neighbours) -> PipelineAnswer:
    """Connectors, lag, open sessions, dead letters. What is away is named; the rest is still answered."""
    answer: PipelineAnswer = parts.recent.get(lambda: _look(parts))
    return answer


def _look(parts: Parts) -> PipelineAnswer:
    away: list[str] = []

    def asked(ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except PipelineError as error:
            _log.warning("neighbour_not_asked", reason=str(error))
            away.append(error.public)
            return None

    def sessions() -> tuple[OpenSession, ...]:
        with parts.database.connection() as connection:
            return open_sessions(connection)

    connect = parts.settings.connect
    with ThreadPoolExecutor(max_workers=3) as pool:
        asking_connect = pool.submit(asked, lambda: connector_rows(KafkaConnectAdmin(connect).connectors()))
        asking_broker = pool.submit(asked, lambda: topic_figures(parts.settings))
        found_sessions = asked(sessions)
        rows, flow = asking_connect.result(), asking_broker.result()
    return PipelineAnswer(
        is_well=not away and all_run(rows or ()),
        connectors=None if rows is None else [ConnectorAnswer.model_validate(row) for row in rows],
        flow=None if flow is None else FlowAnswer.model_validate(flow),
        open_sessions=None
        if found_sessions is None
        else [OpenSessionAnswer.model_validate(each) for each in found_sessions],
        away=away,
        warnings=warnings_about(found_sessions or ()),
        asked_at=datetime.now(UTC),
    )


@router.get("/v1/stats")
def show_statistics(
    parts: Neighbours,
    since: Since = None,
    until: Until = None,
    step: Annotated[Step, Query(description="minute: a day at most; hour: 31 days at most")] = "minute",
    camera: CameraName = None,
) -> StatisticsAnswer:
    """Frames and detections by step, camera and label; statuses; latency. Without a range: the last hour, or day."""
    until = until or datetime.now(UTC)
    since = since or until - _USUAL[step]
    if not timedelta(0) < until - since <= _LONGEST[step]:
        longest = _LONGEST[step].total_seconds() / 3600
        raise Problem(422, "bad_range", f"with step {step}, `until` comes after `since` by {longest:.0f} hours at most")
    model = parts.settings.mlflow.model_name
    with parts.database.connection() as connection:
        found = statistics(connection, since=since, until=until, step=step, camera=camera, model=model)
    return StatisticsAnswer(
        since=since,
        until=until,
        step=step,
        frames=[FrameCountAnswer.model_validate(each) for each in found.frames],
        detections=[DetectionCountAnswer.model_validate(each) for each in found.detections],
        statuses=found.statuses,
        latency=LatencyAnswer.model_validate(found.latency),
    )


@router.get("/v1/audit")
def show_audit(
    parts: Neighbours,
    since: Annotated[At | None, Query(description="Two hours ago at the earliest; 15 minutes ago unless given")] = None,
    camera: CameraName = None,
) -> AuditAnswer:
    """Is every acknowledged frame of the last minutes accounted for? `sightline audit` judges all of time, and bytes."""
    now = datetime.now(UTC)
    since = since or now - _USUAL_AUDIT
    if now - since > _LONGEST_AUDIT + timedelta(minutes=1):
        raise Problem(422, "bad_range", "this audit looks back two hours at most: `sightline audit` judges all of time")
    if not parts.auditing.acquire(blocking=False):
        raise Problem(
            503, "busy", "an audit is being made: one at a time, ask again soon", headers={"Retry-After": "5"}
        )
    try:
        report = audit(parts.settings, camera=camera, since=since, is_quick=True)
    finally:
        parts.auditing.release()
    return AuditAnswer.model_validate(as_document(report))
