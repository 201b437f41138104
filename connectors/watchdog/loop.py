"""The watchdog's rounds: observe, decide, act."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from connectors.connect_admin import HALTED, ConnectAdmin, Connector
from connectors.watchdog.decision import Action, Kind, Observation, Rules, State, decide, not_restarted
from connectors.watchdog.metrics import Metrics
from connectors.watchdog.stores import Probe, stores_of
from contracts.errors import PipelineError, Transient
from contracts.logs import get_logger

log = get_logger(__name__)

ADVICE: Final = "remove the cause, then `sightline connectors restart {connector}`; `connectors status` shows the trace"


class Watchdog:
    """Looks after the wanted connectors, a round at a time."""

    def __init__(
        self,
        admin: ConnectAdmin,
        wanted: Mapping[str, Mapping[str, str]],
        probes: Mapping[str, Probe],
        *,
        rules: Rules | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = admin
        self._wanted = wanted
        self._probes = probes
        self._rules = rules or Rules()
        self._clock = clock
        self._state: State = {}
        self._is_connect_up = True
        self._refused: dict[str, str] = {}
        self.metrics = metrics or Metrics()
        # Missing connectors are configured only once somebody says so: before the migrations they could only fail.
        self.may_configure = threading.Event()
        for name in wanted:
            self.metrics.gave_up.labels(name).set(0)
            self.metrics.waiting.labels(name).set(0)

    def run(self, stop: threading.Event, *, poll_seconds: float) -> None:
        """Rounds until told to stop."""
        while not stop.is_set():
            self.step()
            stop.wait(poll_seconds)

    def step(self) -> None:
        """One round. What cannot be done now is tried in the next one."""
        seen = self._observe()
        self._state, actions = decide(self._state, seen, self._rules, wanted=frozenset(self._wanted))
        for action in actions:
            self._act(action, at=seen.at)
        for name in self._wanted:
            failure = self._state.get(name)
            self.metrics.gave_up.labels(name).set(failure is not None and failure.has_given_up)
            self.metrics.waiting.labels(name).set(bool(failure and failure.is_excused and failure.restart_at))

    def _observe(self) -> Observation:
        try:
            connectors = self._admin.connectors()
        except PipelineError as error:
            self._note_connect(is_up=False, reason=str(error))
            self.metrics.miss(self._wanted)
            return Observation(at=self._clock(), connectors=None)
        self._note_connect(is_up=True)
        ours = [connector for name, connector in connectors.items() if name in self._wanted]
        self.metrics.see(ours)
        self.metrics.miss(self._wanted.keys() - connectors.keys())
        return Observation(
            at=self._clock(),
            connectors=connectors,
            progress={entry.name: self._progress(entry.name) for entry in ours if self._is_followed(entry)},
            stores_away=self._stores_away([connector for connector in ours if connector.is_failed]),
        )

    def _is_followed(self, connector: Connector) -> bool:
        """Whether its offsets matter: asking for them costs Connect a request to the broker."""
        known = self._state.get(connector.name)
        if known is not None and known.has_given_up:
            return False
        return connector.is_failed or (known is not None and connector.state not in HALTED)

    def _progress(self, name: str) -> int | None:
        try:
            return self._admin.progress(name)
        except PipelineError:
            return None

    def _stores_away(self, failed: list[Connector]) -> dict[str, tuple[str, ...]]:
        needed = {store for connector in failed for store in stores_of(connector.config)}
        is_there = {store: self._probes[store]() for store in sorted(needed)}
        return {
            connector.name: away
            for connector in failed
            if (away := tuple(store for store in stores_of(connector.config) if not is_there[store]))
        }

    def _note_connect(self, *, is_up: bool, reason: str = "") -> None:
        self.metrics.connect_up.set(is_up)
        if is_up != self._is_connect_up:
            self._is_connect_up = is_up
            if is_up:
                log.info("connect_answered")
            else:
                log.warning("connect_away", reason=reason)

    def _act(self, action: Action, *, at: float) -> None:
        match action.kind:
            case Kind.RESTART:
                self._restart(action, at=at)
            case Kind.CONFIGURE:
                self._configure(action.connector)
            case Kind.WAIT:
                log.warning("connector_waits_for_store", connector=action.connector, reason=action.reason)
            case Kind.GIVE_UP:
                log.error(
                    "watchdog_gave_up",
                    connector=action.connector,
                    reason=action.reason,
                    failures=action.failures,
                    advice=ADVICE.format(connector=action.connector),
                )
            case Kind.RECOVERED:
                log.info("connector_recovered", connector=action.connector)

    def _restart(self, action: Action, *, at: float) -> None:
        try:
            self._admin.restart(action.connector)
        except PipelineError as error:
            self._state = not_restarted(self._state, action.connector, at=at)
            log.warning("connector_not_restarted", connector=action.connector, reason=str(error))
            return
        self.metrics.restarts.labels(action.connector).inc()
        log.warning("connector_restarted", connector=action.connector, reason=action.reason, failures=action.failures)

    def _configure(self, name: str) -> None:
        if not self.may_configure.is_set():
            return
        try:
            self._admin.put_config(name, self._wanted[name])
        except PipelineError as error:
            # Told once for each reason: this comes again every round.
            if self._refused.get(name) != str(error):
                self._refused[name] = str(error)
                tell = log.warning if isinstance(error, Transient) else log.error
                tell("connector_not_configured", connector=name, reason=str(error))
            return
        self._refused.pop(name, None)
        log.info("connector_configured", connector=name)
