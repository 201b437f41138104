"""How the worker's process starts: nothing is subscribed before the registry answered for its schemas."""

from __future__ import annotations

import threading
from typing import Any, Self

import pytest

from connectors.schema_registry import SchemaRegistry
from contracts.errors import Misconfigured
from contracts.settings import Settings, StreamSettings
from contracts.topics import MAX_DEAD_LETTER_BYTES
from inference.stream import __main__ as process
from tests.support.fake_kafka import FakeRegistry

SETTINGS = Settings(stream=StreamSettings(engine="fake"))


class Subscribed(Exception):  # noqa: N818 - a signal, not an error
    """The worker reached its consumer."""


class Registry(FakeRegistry):
    """Away at first, or of no use at all."""

    def __init__(self, *, is_wrong: bool = False) -> None:
        super().__init__()
        self.is_up, self._is_wrong = False, is_wrong
        self.asked: list[str] = []

    def id_of(self, topic: str) -> int:
        if self._is_wrong:
            raise Misconfigured("Check its URL")
        number = super().id_of(topic)
        self.asked.append(topic)
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Patience(threading.Event):
    """A stop event; after two waits the registry is back, or the worker is told to stop."""

    def __init__(self, registry: Registry, *, is_stopped: bool = False) -> None:
        super().__init__()
        self._registry, self._is_stopped = registry, is_stopped
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        if len(self.waits) == 2:
            self._registry.is_up = True
            if self._is_stopped:
                self.set()
        return self.is_set()


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every producer that was made."""
    made: list[dict[str, Any]] = []

    def subscribe(*_: object, **__: object) -> None:
        raise Subscribed

    monkeypatch.setattr(process, "make_producer", lambda _settings, **given: made.append(given))
    monkeypatch.setattr(process, "make_consumer", subscribe)
    return made


def use(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SchemaRegistry", lambda _settings: registry)


def test_a_registry_that_is_away_is_waited_for_before_frames_are_read(
    producers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    use(registry, monkeypatch)
    patience = Patience(registry)
    with pytest.raises(Subscribed):
        process.run(SETTINGS, patience)
    assert patience.waits == [1.0, 2.0]
    assert registry.asked == ["frames", "predictions"]
    assert [made["message.max.bytes"] for made in producers] == [MAX_DEAD_LETTER_BYTES]


def test_a_registry_that_is_none_ends_the_worker_before_it_reads_a_frame(
    producers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Registry(is_wrong=True), monkeypatch)
    with pytest.raises(Misconfigured):
        process.run(SETTINGS, threading.Event())
    assert producers == []


def test_a_worker_that_waits_for_the_registry_can_be_stopped(
    producers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    use(registry, monkeypatch)
    process.run(SETTINGS, Patience(registry, is_stopped=True))
    assert producers == []


def test_what_the_registry_stands_in_for_has_the_same_calls() -> None:
    assert all(hasattr(SchemaRegistry, name) for name in ("id_of", "schema_by_id", "__enter__", "__exit__"))
