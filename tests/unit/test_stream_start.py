"""How the worker's process starts: nothing is subscribed before the registry answered for its schemas."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Self

import pytest

from connectors.schema_registry import SchemaRegistry
from contracts.errors import Misconfigured
from contracts.settings import Settings, StreamSettings
from contracts.topics import MAX_DEAD_LETTER_BYTES
from inference.domain.batching import BatchPlan
from inference.stream import __main__ as process
from inference.stream.in_flight import FrameInFlight, PartitionInFlight
from inference.stream.metrics import Metrics
from inference.stream.ready import ReadyFrames
from tests.support.fake_kafka import FakeRegistry
from tests.support.served import a_model

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


@pytest.mark.parametrize(
    ("role", "group", "start"),
    [("champion", "stream-champion", "earliest"), ("challenger", "stream-challenger", "latest")],
)
def test_a_shadow_reads_in_a_group_of_its_own_from_the_end(
    role: str, group: str, start: str, producers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    registry.is_up = True
    use(registry, monkeypatch)
    made: list[tuple[str, dict[str, Any]]] = []

    def subscribe(_settings: Settings, group: str, **given: Any) -> None:
        made.append((group, given))
        raise Subscribed

    monkeypatch.setattr(process, "make_consumer", subscribe)
    with pytest.raises(Subscribed):
        process.run(Settings(stream=StreamSettings(engine="fake", role=role)), threading.Event())  # type: ignore[arg-type]
    [(found, given)] = made
    assert (found, given["auto.offset.reset"]) == (group, start)


def test_a_swap_changes_when_a_batch_is_due_and_what_the_metrics_name() -> None:
    ready, metrics = ReadyFrames(size=100, age_seconds=600), Metrics()
    frame = FrameInFlight(PartitionInFlight(0), 0, 1, None)
    ready.put([frame])
    process._swapped(replace(a_model("7"), plan=BatchPlan(size=1, age_seconds=0.0)), ready, metrics)
    assert ready.take() == [frame]
    labels = {"name": "pcb", "version": "7", "digest": "7" * 64, "engine": "fake"}
    assert metrics.registry.get_sample_value("sightline_stream_model_info", labels) == 1
    process._swapped(a_model("8"), ready, metrics)
    assert metrics.registry.get_sample_value("sightline_stream_model_info", labels) is None


def test_what_the_registry_stands_in_for_has_the_same_calls() -> None:
    assert all(hasattr(SchemaRegistry, name) for name in ("id_of", "schema_by_id", "__enter__", "__exit__"))
