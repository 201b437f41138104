"""Makes Kafka Connect run what reconcile.desired says, and waits until it does.

    desired, running ──plan──► actions ──► Connect ──► every connector and task RUNNING

Harmless when repeated: with nothing to do it only looks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.connect_admin import ConnectAdmin, Connector, KafkaConnectAdmin
from connectors.reconcile import Action, Kind, desired, plan, reason_of
from contracts.errors import Misconfigured, Transient
from contracts.logs import get_logger
from contracts.settings import Settings

log = get_logger(__name__)

WAIT_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.5
# Right after a change Connect still tells the old state for a moment, so the good news must come twice.
STEADY_POLLS: Final = 2
# A failed task is started again while we wait, in case its store was only slow to come; then the reason is final.
MOST_FAILURES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as this module uses it, so that tests need none."""

    now: Callable[[], float] = time.monotonic  # seconds
    sleep: Callable[[float], None] = field(default=time.sleep)


def apply(settings: Settings, *, wait_seconds: float = WAIT_SECONDS) -> list[Action]:
    """Does what `plan` lists and waits for RUNNING.

    Returns:
        What was done; empty when everything was as it should be.

    Raises:
        Transient: Connect is away, or a connector did not come up in time, with what it was doing.
        Misconfigured: Connect lacks a plugin or refuses a configuration, or a connector keeps failing, with the reason.
    """
    return apply_through(KafkaConnectAdmin(settings.connect), desired(settings), wait_seconds=wait_seconds)


def apply_through(
    admin: ConnectAdmin,
    wanted: Mapping[str, Mapping[str, str]],
    *,
    wait_seconds: float = WAIT_SECONDS,
    clock: Clock | None = None,
) -> list[Action]:
    """`apply` for any ConnectAdmin and any set of configurations."""
    actions = plan(wanted, admin.connectors())
    if any(action.kind in {Kind.CREATE, Kind.UPDATE} for action in actions):
        _assert_plugins(admin, wanted)
    for action in actions:
        act(admin, wanted, action)
        log.info("connector_changed", action=action.kind, connector=action.connector, changed=list(action.changed))
    _wait_until_running(admin, wanted, wait_seconds=wait_seconds, clock=clock or Clock())
    return actions


def act(admin: ConnectAdmin, wanted: Mapping[str, Mapping[str, str]], action: Action) -> None:
    """Does one action."""
    match action.kind:
        case Kind.CREATE | Kind.UPDATE:
            admin.put_config(action.connector, wanted[action.connector])
        case Kind.RESUME:
            admin.resume(action.connector)
        case Kind.RESTART:
            admin.restart(action.connector)
        case Kind.DELETE:
            admin.delete(action.connector)


def _assert_plugins(admin: ConnectAdmin, wanted: Mapping[str, Mapping[str, str]]) -> None:
    missing = sorted({config["connector.class"] for config in wanted.values()} - admin.plugins())
    if missing:
        raise Misconfigured(
            f"Kafka Connect has no {', '.join(missing)}: put the plugin into a folder of its plugin.path and restart it"
        )


def _wait_until_running(
    admin: ConnectAdmin, wanted: Mapping[str, Mapping[str, str]], *, wait_seconds: float, clock: Clock
) -> None:
    deadline = clock.now() + wait_seconds
    steady = 0
    failures: Counter[str] = Counter()
    while True:
        running = admin.connectors()
        late = {name: running.get(name) for name in wanted if not _is_running(running.get(name))}
        steady = 0 if late else steady + 1
        if steady >= STEADY_POLLS:
            return
        for name, connector in late.items():
            if connector is not None and connector.is_failed:
                failures[name] += 1
                _start_again_or_stop(admin, connector, failures[name])
        if clock.now() >= deadline:
            raise Transient(
                f"{'; '.join(f'{name} is {_state(entry)}' for name, entry in sorted(late.items()))} after "
                f"{wait_seconds:.0f} s: `sightline connectors status` shows more"
            )
        # Twice as long after each failure: what the connector waits for may be on its way.
        clock.sleep(POLL_SECONDS * 2 ** max(failures.values(), default=0))


def _start_again_or_stop(admin: ConnectAdmin, connector: Connector, failures: int) -> None:
    reason = reason_of(connector.traces[0])
    if failures > MOST_FAILURES:
        raise Misconfigured(
            f"{connector.name} keeps failing: {reason}. Remove the cause, then `sightline connectors apply`"
        )
    log.warning("connector_failed", connector=connector.name, reason=reason, failures=failures)
    admin.restart(connector.name)


def _is_running(connector: Connector | None) -> bool:
    return connector is not None and connector.is_running


def _state(connector: Connector | None) -> str:
    if connector is None:
        return "missing"
    tasks = ", ".join(f"task {task.task} {task.state}" for task in connector.tasks) or "without tasks"
    return f"{connector.state} ({tasks})"
