"""`sightline status`: is all well, and if not, where to look.

    services     supervisord, /proc           connectors   Connect's REST
    lag, rate    the broker's offsets         sessions     Postgres

Each is asked side by side with the others; what does not answer is shown as away, and the rest is still shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from connectors.connect_admin import KafkaConnectAdmin
from connectors.sink_states import ConnectorRow, all_run, connector_rows
from connectors.topic_figures import TopicFigures, topic_figures
from contracts.errors import PipelineError
from contracts.settings import Settings
from inference.persistence.sessions import OpenSession, open_sessions, warnings_about
from sightline.stack.disk_room import full_folders, in_words
from sightline.stack.report import RESTARTING, ServiceRow, service_rows, table
from sightline.stack.supervision import Supervisor
from sightline.stack.up import load

_T = TypeVar("_T")

_RESTS: Final = "   there is no challenger: what comes meanwhile is left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that was found. What could not be asked is None, with the reason in `away`."""

    services: tuple[ServiceRow, ...]
    connectors: tuple[ConnectorRow, ...] | None
    flow: TopicFigures | None
    sessions: tuple[OpenSession, ...] | None
    away: tuple[str, ...]
    warnings: tuple[str, ...]
    is_well: bool
    full: tuple[str, ...] = ()  # folders on whose disks no space is left
    resting: tuple[str, ...] = ()  # groups that read nothing for now: the shadow's while there is no challenger

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def look(settings: Settings) -> Status:
    """Asks everybody; raises nothing for what is away."""
    away: list[str] = []
    stack = load(settings)
    full = tuple(full_folders(stack.home))

    def asked(ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except PipelineError as error:
            away.append(str(error))
            return None

    if not Supervisor(stack.home).is_running:
        services = tuple(service_rows(stack))
        reason = f"the stack in {stack.home.folder} is not running: sightline up"
        return _judged(services, None, None, None, (reason,), full)
    with ThreadPoolExecutor(max_workers=5) as pool:
        rows = pool.submit(asked, lambda: tuple(service_rows(stack)))
        connectors = pool.submit(asked, lambda: connector_rows(KafkaConnectAdmin(settings.connect).connectors()))
        flow = pool.submit(asked, lambda: topic_figures(settings))
        sessions = pool.submit(asked, lambda: _ask_sessions(settings))
        resting = pool.submit(asked, lambda: _ask_shadow(settings))
    found = _judged(rows.result() or (), connectors.result(), flow.result(), sessions.result(), tuple(away), full)
    return replace(found, resting=resting.result() or ())


def _judged(
    services: tuple[ServiceRow, ...],
    connectors: tuple[ConnectorRow, ...] | None,
    flow: TopicFigures | None,
    sessions: tuple[OpenSession, ...] | None,
    away: tuple[str, ...],
    full: tuple[Path, ...] = (),
) -> Status:
    """All is well: nothing away, no disk full, every service and every connector with its tasks running."""
    return Status(
        services=services,
        connectors=connectors,
        flow=flow,
        sessions=sessions,
        away=away,
        warnings=(*_restarting(services), *warnings_about(sessions or ())),
        is_well=not away
        and not full
        and bool(services)
        and all(row.state == "running" for row in services)
        and all_run(connectors or ()),
        full=tuple(map(str, full)),
    )


def _restarting(services: tuple[ServiceRow, ...]) -> list[str]:
    return [
        f"{row.name} ends again and again, soon after its start: started {row.restarts + 1} times since `up`. "
        f"sightline logs {row.name}"
        for row in services
        if row.state == RESTARTING
    ]


def _ask_sessions(settings: Settings) -> tuple[OpenSession, ...]:
    from inference.persistence import connect

    with connect(settings) as connection:
        return open_sessions(connection)


def _ask_shadow(settings: Settings) -> tuple[str, ...]:
    """Its group, while every shadow says that it has no challenger to score with."""
    if settings.stack.profile == "core":
        return ()
    from inference.persistence import connect, heartbeats

    with connect(settings) as connection:
        replicas = heartbeats.replicas(connection, seconds=settings.serving.replica_seconds)
    shadows = [one for one in replicas if one.kind == "shadow"]
    is_resting = bool(shadows) and all(one.state == heartbeats.IDLE for one in shadows)
    return (settings.stream.challenger_group,) if is_resting else ()


def page(status: Status) -> str:
    """For a terminal: first what is wrong, last whether all is well."""
    blocks = [in_words(folder) for folder in status.full]
    blocks += [f"away: {reason}" for reason in status.away]
    blocks.append(table(status.services))
    if status.connectors is not None:
        blocks.append("\n".join(["connectors", *map(_connector_line, status.connectors)]))
    if status.flow is not None:
        blocks.append("\n".join(_flow_lines(status.flow, status.resting)))
    if status.sessions is not None:
        blocks.append("\n".join([f"open sessions: {len(status.sessions)}", *map(_session_line, status.sessions[:10])]))
    blocks += [f"warning: {warning}" for warning in status.warnings]
    blocks.append("all is well" if status.is_well else "not all is well")
    return "\n\n".join(blocks)


def _connector_line(row: ConnectorRow) -> str:
    tasks = ", ".join(f"{count} {state.lower()}" for state, count in Counter(row.tasks).items()) or "no task"
    return f"  {row.name:<24} {row.state.lower():<10} {tasks}{'   ' + row.reason if row.reason else ''}"


def _flow_lines(flow: TopicFigures, resting: Collection[str]) -> list[str]:
    lags = [
        f"  {lag.group:<32} {lag.topic:<12} {lag.records:>9,}{_RESTS if lag.group in resting else ''}"
        for lag in flow.lags
    ]
    letters = [f"  {topic:<45} {count:>9,}" for topic, count in flow.dead_letters.items() if count]
    return [
        f"frames: {flow.frames_per_second:.1f} per second in the last minute",
        "lag (records)",
        *lags,
        f"dead letters: {sum(flow.dead_letters.values()):,}",
        *letters,
    ]


def _session_line(session: OpenSession) -> str:
    silence = timedelta(seconds=int(session.silent_seconds))
    news = f"   no news for {silence}" if session.is_silent else ""
    return f"  {session.camera_id:<24} {session.captured:>9,} captured{news}   {session.session_id}"
