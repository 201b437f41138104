"""What to do about each connector, decided from what is seen. Pure: no network, no clock.

    decide(state, observation, rules) ──► (state, actions)

A connector that failed is restarted, at once when it fails for the first time, then after 1, 2, 4 ... seconds. Its
failure counts only while its stores are there: while one is away, by our probe or by the failure's own words, it waits
without limit. The same failure counted `same_failures` times, without any record done in between, ends the restarts
until a person restarts it or changes its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from connectors.connect_admin import HALTED, Connector
from connectors.reconcile import reason_of

_FIRST_PAUSE_SECONDS: Final = 1.0

# The failure itself says that a store was away, or could not take anything: another try later is all it needs. What
# Connect cannot reach may well answer to us, and a full disk answers every probe.
_STORE_AWAY: Final = re.compile(
    r"connection\b.{0,80}\b(refused|reset|closed|failed|timed out|attempt failed)|has been closed|broken pipe|"
    r"ConnectException: .*(refused|timed out)|I/O error occurred|SocketTimeout|SocketException|NoRouteToHost|"
    r"UnknownHost|EOFException|acquisition timeout|"
    r"terminating connection|the database system is|too many (clients|connections)|remaining connection slots|"
    r"No space left|could not (extend|write|fsync) file|disk full|read-only transaction|"
    r"deadlock detected|lock timeout|statement timeout|could not serialize",
    re.IGNORECASE,
)
_VARYING: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How patient the watchdog is."""

    same_failures: int = 5
    longest_pause_seconds: float = 30.0
    longest_outage_pause_seconds: float = 5.0  # between tries while only the failure's words say that a store is away
    healthy_seconds: float = 60.0  # running for so long, a connector's earlier failures are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen at one moment."""

    at: float  # seconds, monotonic
    connectors: Mapping[str, Connector] | None  # None: Connect is away
    progress: Mapping[str, int | None] = field(default_factory=dict)  # committed offsets, of the connectors asked for
    stores_away: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by connector: which of its stores


class Kind(StrEnum):
    """What the watchdog does, or has to say."""

    RESTART = "restart"
    CONFIGURE = "configure"  # it should be there and is not
    WAIT = "wait"  # for a store; said once per outage
    GIVE_UP = "give_up"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do about one connector, or to tell."""

    kind: Kind
    connector: str
    reason: str = ""
    failures: int = 0  # counted so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is remembered of a connector that failed."""

    signature: str
    reason: str
    progress: int | None
    config: Mapping[str, str]
    count: int  # same failures with the stores there
    tries: int  # restarts since it last was healthy
    restart_at: float | None  # None: it was restarted, or given up
    is_excused: bool = False  # a store was away: it is not counted
    has_given_up: bool = False
    running_since: float | None = None


State = Mapping[str, Failure]


def decide(
    state: State, seen: Observation, rules: Rules, *, wanted: frozenset[str]
) -> tuple[State, tuple[Action, ...]]:
    """The next state and what to do, for the connectors in `wanted`; others are nobody's business here."""
    if seen.connectors is None:
        return state, ()
    following: dict[str, Failure] = {}
    actions: list[Action] = []
    for name in sorted(wanted):
        connector = seen.connectors.get(name)
        if connector is None:
            actions.append(Action(kind=Kind.CONFIGURE, connector=name))
            continue
        known = state.get(name)
        if known is not None and known.config != connector.config:
            known = None  # somebody changed it: a new beginning
        failure, action = (_failed if connector.is_failed else _not_failed)(known, connector, seen, rules)
        if failure is not None:
            following[name] = failure
        if action is not None:
            actions.append(action)
    return following, tuple(actions)


def not_restarted(state: State, name: str, *, at: float) -> State:
    """The state when a restart could not be asked for: it is still due."""
    if name not in state:
        return state
    return {**state, name: replace(state[name], restart_at=at)}


def is_the_stores_fault(trace: str) -> bool:
    """Whether a failure's own words say that a store was away or full, rather than that a record was bad.

    Only the root counts: what wraps it says "no connection" for a wrong password too.
    """
    return bool(_STORE_AWAY.search(reason_of(trace)))


def signature_of(trace: str) -> str:
    """What makes two failures the same: the first line and the root of the trace, without numbers and ids."""
    first = trace.strip().split("\n", 1)[0]
    return _VARYING.sub("#", f"{first} | {reason_of(trace)}")


def _not_failed(
    known: Failure | None, connector: Connector, seen: Observation, rules: Rules
) -> tuple[Failure | None, Action | None]:
    if known is None or connector.state in HALTED:
        return None, None
    recovered = Action(kind=Kind.RECOVERED, connector=connector.name, failures=known.count)
    if known.has_given_up:
        return None, recovered  # a person restarted it
    if not connector.is_running:
        return replace(known, running_since=None), None
    since = seen.at if known.running_since is None else known.running_since
    if seen.at - since >= rules.healthy_seconds:
        return None, recovered
    progress = seen.progress.get(connector.name)
    if _has_progressed(known, progress):
        # Its tries stay: where one partition is stuck and another flows, the restarts still become rarer.
        known = replace(known, count=0, progress=progress)
    return replace(known, running_since=since, restart_at=None), None


def _failed(
    known: Failure | None, connector: Connector, seen: Observation, rules: Rules
) -> tuple[Failure | None, Action | None]:
    away = seen.stores_away.get(connector.name, ())
    if known is not None and known.has_given_up:
        return known, None
    if known is None or known.restart_at is None:
        failure = _counted(known, connector, seen, rules, is_away=bool(away))
        if failure.has_given_up:
            return failure, _give_up(connector.name, failure)
    elif away and not known.is_excused:
        # The store turned out to be away: this failure was its doing.
        failure = replace(known, is_excused=True, count=max(known.count - 1, 0), restart_at=seen.at)
    else:
        failure = replace(known, restart_at=seen.at) if away else known
    if away:
        is_news = known is None or not known.is_excused or known.restart_at is None
        waits = Action(kind=Kind.WAIT, connector=connector.name, reason=f"{', '.join(away)} away: {failure.reason}")
        return failure, waits if is_news else None
    if failure.restart_at is not None and seen.at >= failure.restart_at:
        restart = Action(kind=Kind.RESTART, connector=connector.name, reason=failure.reason, failures=failure.count)
        return replace(failure, restart_at=None, tries=failure.tries + 1), restart
    return failure, None


def _counted(known: Failure | None, connector: Connector, seen: Observation, rules: Rules, *, is_away: bool) -> Failure:
    """A failure that was not seen before: is it the same once more, and when is the next try?"""
    trace = connector.traces[0]
    signature = signature_of(trace)
    progress = seen.progress.get(connector.name)
    is_excused = is_away or any(is_the_stores_fault(each) for each in connector.traces)
    is_same = known is not None and known.signature == signature and not _has_progressed(known, progress)
    before = known.count if known is not None and is_same else 0
    count = before if is_excused else before + 1
    tries = known.tries if known is not None else 0
    has_given_up = not is_excused and count >= rules.same_failures
    return Failure(
        signature=signature,
        reason=reason_of(trace),
        progress=progress,
        config=connector.config,
        count=count,
        tries=tries,
        restart_at=None if has_given_up else seen.at + _pause_seconds(tries, rules, is_excused=is_excused),
        is_excused=is_excused,
        has_given_up=has_given_up,
    )


def _pause_seconds(tries: int, rules: Rules, *, is_excused: bool) -> float:
    if tries == 0:
        return 0.0
    longest = rules.longest_outage_pause_seconds if is_excused else rules.longest_pause_seconds
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(tries - 1, 30), longest)


def _has_progressed(known: Failure, progress: int | None) -> bool:
    return progress is not None and known.progress is not None and progress > known.progress


def _give_up(name: str, failure: Failure) -> Action:
    return Action(kind=Kind.GIVE_UP, connector=name, reason=failure.reason, failures=failure.count)
