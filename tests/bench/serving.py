"""The serving rows: one core for the server, the other for vegeta and everything else.

    serving       the real engine: how much of the raw loop's speed is left when it is reached by HTTP
    serving-noop  an engine that does nothing: what the servers themselves cost
    overload      three times as many requests as can be answered: how many are, and how soon

All servers of a row are started once; each has its turn in every round while the others are frozen. Before anything is
measured, each must have found the same boxes in the same image as the engine itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import contenders
from tests.bench.field import Field, a_field
from tests.bench.harness import Ratios, Row, in_turns
from tests.bench.load import Load, attack
from tests.bench.servers import Contender, Server
from tests.bench.stage import raw_loop_rate

CLIENTS: Final = 8  # of the rows with a goal
FEW_AND_MANY: Final = (1, 32)
OURS: Final = "Sightline"
PEERS: Final = ("LitServe", "BentoML", "MLServer", "MLflow")
OVERLOAD: Final = 3  # times the peak
_WARM_UP_SECONDS: Final = 0.5
PLACES: Final = 8  # of our queue under overload: the setting's default


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a row takes."""

    rounds: int
    seconds: float  # of an attack by the usual number of clients
    other_seconds: float  # by few and by many
    raw_frames: int = 0


FULL: Final = {
    "serving": Effort(rounds=5, seconds=5, other_seconds=3, raw_frames=120),
    "serving-noop": Effort(rounds=5, seconds=2, other_seconds=2),
    "overload": Effort(rounds=5, seconds=10, other_seconds=10),
}
QUICK: Final = {
    "serving": Effort(rounds=1, seconds=3, other_seconds=2, raw_frames=50),
    "serving-noop": Effort(rounds=1, seconds=1, other_seconds=1),
    "overload": Effort(rounds=1, seconds=4, other_seconds=4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one server did in one round."""

    loads: Mapping[int, Load]  # by number of clients
    cpu_seconds: float  # of all its processes under the usual number


def serving(folder: Path, *, is_quick: bool = False) -> Iterator[Row]:
    """The real engine, as fast as its core allows."""
    effort = (QUICK if is_quick else FULL)["serving"]
    with a_field(folder, engine="openvino") as field:
        sides = [make(field) for make in (contenders.ours, contenders.fastapi, *_PEERS)]
        raw: list[float] = []
        turns = _measured(
            field,
            sides,
            effort,
            before=lambda: raw.append(raw_loop_rate(field.model, field.folder / "images", effort.raw_frames)),
        )
    ours = _rates(turns[OURS])
    yield _ratios(ours, raw).row("serving: ours ÷ raw loop, 8 clients, token verified", unit="images/s", goal="≥ 0.95")
    best = max(PEERS, key=lambda name: statistics.median(_rates(turns[name])))
    yield _ratios(ours, _rates(turns[best])).row(
        f"serving: ours ÷ {best}, the best peer", unit="images/s", goal="≥ 1.05"
    )
    yield from _lines("serving", turns, raw, "of the raw loop")


def serving_noop(folder: Path, *, is_quick: bool = False) -> Iterator[Row]:
    """No engine: the server alone."""
    effort = (QUICK if is_quick else FULL)["serving-noop"]
    with a_field(folder, engine="fake") as field:
        sides = [make(field) for make in (contenders.ours, contenders.fastapi, contenders.bare_fastapi, *_PEERS)]
        turns = _measured(field, sides, effort)
    ours, ceiling = _rates(turns[OURS]), _rates(turns["FastAPI"])
    yield _ratios(ours, ceiling).row(
        "no engine: ours ÷ plain FastAPI, 8 clients, token verified", unit="requests/s", goal="≥ 0.8"
    )
    yield _ratios(ours, _rates(turns["LitServe"])).row("no engine: ours ÷ LitServe", unit="requests/s", goal="≥ 5")
    yield from _lines("no engine", turns, ceiling, "of plain FastAPI")


def overload(folder: Path, *, is_quick: bool = False) -> Iterator[Row]:
    """Our bounded queue, and a peer's that takes everything."""
    effort = (QUICK if is_quick else FULL)["overload"]
    with a_field(folder, engine="openvino") as field:
        yield from _overloaded(field, contenders.ours(field, places=PLACES), effort, goals=("≥ 0.95", "< 2"))
        # Each round leaves it seconds of work that nobody waits for: two are enough to show it.
        fewer = Effort(rounds=min(2, effort.rounds), seconds=effort.seconds, other_seconds=effort.other_seconds)
        yield from _overloaded(field, contenders.litserve(field), fewer, goals=("none", "none"))


_PEERS: Final = (contenders.litserve, contenders.bentoml, contenders.mlserver, contenders.mlflow)
ROWS: Final = {"serving": serving, "serving-noop": serving_noop, "overload": overload}


def _measured(
    field: Field, sides: Sequence[Contender], effort: Effort, before: Callable[[], None] = lambda: None
) -> Mapping[str, list[Turn]]:
    """Every contender's turns; `before` has its own in each round, next to ours."""
    with ExitStack() as stack:
        servers = {side.name: stack.enter_context(Server(side, field.folder)) for side in sides}
        for server in servers.values():
            field.check(server)
        turns: dict[str, Callable[[], Turn | None]] = {"": before}
        turns |= {name: lambda server=server: _turn(server, field, effort) for name, server in servers.items()}

        def tell(number: int, found: Mapping[str, list[Turn]]) -> None:
            rates = ", ".join(f"{name} {_rates(found[name])[-1]:.1f}" for name in servers)
            print(f"  round {number} of {effort.rounds}: {rates}", flush=True)

        return in_turns(turns, rounds=effort.rounds, tell=tell)


def _turn(server: Server, field: Field, effort: Effort) -> Turn:
    target, name = server.contender.target, server.contender.name
    loads = {}
    with server.turn():
        attack(target, field.folder, clients=CLIENTS, seconds=_WARM_UP_SECONDS)
        before = server.cpu_seconds()
        loads[CLIENTS] = attack(target, field.folder, clients=CLIENTS, seconds=effort.seconds)
        spent = server.cpu_seconds() - before
        for clients in FEW_AND_MANY:
            loads[clients] = attack(target, field.folder, clients=clients, seconds=effort.other_seconds)
    for clients, load in loads.items():
        assert set(load.statuses) == {200}, f"{name}, {clients} clients: {load.statuses}"
    return Turn(loads=loads, cpu_seconds=spent)


def _overloaded(field: Field, side: Contender, effort: Effort, *, goals: tuple[str, str]) -> Iterator[Row]:
    goodput: list[tuple[float, float]] = []
    latency: list[tuple[float, float]] = []
    refused = 0
    with Server(side, field.folder) as server:
        field.check(server)
        for number in range(effort.rounds):
            with server.turn():
                peak = attack(side.target, field.folder, clients=CLIENTS, seconds=effort.seconds)
                flood = attack(side.target, field.folder, rate=OVERLOAD * peak.goodput, seconds=effort.other_seconds)
            assert set(flood.statuses) <= {200, 503}, f"{side.name}: {flood.statuses}"
            goodput.append((flood.goodput, peak.goodput))
            latency.append((flood.percentile(0.99), peak.percentile(0.99)))
            refused += len(flood.replies) - len(flood.accepted)
            print(f"  round {number + 1}: {flood.goodput:.1f} of {peak.goodput:.1f}, {flood.statuses}", flush=True)
    in_time = Ratios(ours=tuple(one for one, _ in goodput), reference=tuple(one for _, one in goodput))
    slower = Ratios(ours=tuple(one * 1000 for one, _ in latency), reference=tuple(one * 1000 for _, one in latency))
    what = f"overload, {OVERLOAD} times the peak, {side.name}"
    yield in_time.row(f"{what}: answers within 1 s ÷ peak", unit="images/s", goal=goals[0])
    yield slower.row(f"{what}: p99 of the accepted ÷ the peak's", unit=f"ms, {refused} refused with 503", goal=goals[1])


def _lines(what: str, turns: Mapping[str, list[Turn]], reference: Sequence[float], of: str) -> Iterator[Row]:
    """One row for each server and number of clients."""
    for name, rounds in turns.items():
        if not name:
            continue
        for clients in sorted({CLIENTS, *FEW_AND_MANY}):
            loads = [turn.loads[clients] for turn in rounds]
            ratios = _ratios([load.rate for load in loads], reference)
            detail = f"{statistics.median(ratios.ours):.1f}/s, p50 {_milliseconds(loads, 0.5)}, p99 {_milliseconds(loads, 0.99)}"
            if clients == CLIENTS:
                answers = sum(len(load.accepted) for load in loads)
                spent = sum(turn.cpu_seconds for turn in rounds)
                busy = spent / sum(len(load.accepted) / load.rate for load in loads)
                detail += f", {spent / answers * 1e6:.0f} µs of CPU an answer, core {busy:.0%} busy"
            yield Row(
                name=f"{what}, {clients} clients: {name}",
                figure=f"{ratios.median:.3f} ({min(ratios.ratios):.3f} to {max(ratios.ratios):.3f}) {of}",
                goal="none",
                detail=detail,
            )


def _milliseconds(loads: Sequence[Load], share: float) -> str:
    return f"{statistics.median(load.percentile(share) for load in loads) * 1000:.1f} ms"


def _rates(turns: Sequence[Turn]) -> list[float]:
    return [turn.loads[CLIENTS].rate for turn in turns]


def _ratios(ours: Sequence[float], reference: Sequence[float]) -> Ratios:
    return Ratios(ours=tuple(ours), reference=tuple(reference))
