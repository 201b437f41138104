from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from contracts.errors import Misconfigured, Transient
from sightline_airflow import triggers
from sightline_airflow.triggers import ChallengerTrigger


class Store:
    """The asset's memory, as Airflow gives it to a watcher."""

    def __init__(self, seen: str | None = None) -> None:
        self.seen = seen

    async def aget(self, _: str) -> str | None:
        return self.seen

    async def aset(self, _: str, value: str) -> None:
        self.seen = value


def models(challenger: str | None) -> dict[str, Any]:
    items = [{"version": str(number), "aliases": []} for number in range(1, 9)]
    for one in items:
        if one["version"] == challenger:
            one["aliases"] = ["challenger"]
    return {"items": items}


def told(monkeypatch: pytest.MonkeyPatch, answers: Iterable[Any], store: Store | None) -> list[Any]:
    """The events of a trigger whose API answers so, one answer a look."""
    left = iter(answers)

    def answer() -> Any:
        try:
            one = next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        if isinstance(one, Exception):
            raise one
        return models(one)

    async def at_once(function: Any, *rest: Any) -> Any:
        return function(*rest)

    monkeypatch.setattr(triggers, "models", answer)
    monkeypatch.setattr(triggers.asyncio, "to_thread", at_once)
    trigger = ChallengerTrigger(poll_seconds=0)
    trigger.asset_state_store = store
    events: list[Any] = []

    async def follow() -> None:
        async for event in trigger.run():
            events.append(event.payload)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(follow())
    return events


def test_each_new_challenger_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, [None, "3", "3", None, "3", "4"], Store()) == [{"version": "3"}, {"version": "4"}]


def test_a_version_seen_before_a_restart_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(seen="3")
    assert told(monkeypatch, ["3", "3"], store) == []
    assert told(monkeypatch, ["3", "4"], store) == [{"version": "4"}]
    assert store.seen == "4"


def test_a_triggerer_killed_before_the_event_has_left_it_tells_the_version_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow keeps an event in memory until its next sync, and resumes the trigger at once."""
    monkeypatch.setattr(triggers, "models", lambda: models("3"))
    store = Store()

    async def one_life() -> list[Any]:
        trigger = ChallengerTrigger(poll_seconds=30)
        trigger.asset_state_store = store
        events: list[Any] = []

        async def follow() -> None:
            async for event in trigger.run():
                events.append(event.payload)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follow(), 0.3)
        return events

    assert asyncio.run(one_life()) == [{"version": "3"}]
    assert store.seen is None
    assert asyncio.run(one_life()) == [{"version": "3"}]


def test_an_api_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away = [Transient("the API does not answer"), Misconfigured("401"), Transient("the API does not answer")]
    assert told(monkeypatch, [*away, "3"], Store()) == [{"version": "3"}]


def test_without_a_memory_it_still_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, ["3", "3"], None) == [{"version": "3"}]
