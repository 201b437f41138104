"""Which groups the broker is asked about, and how far behind they are."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from connectors import topic_figures
from connectors.topic_figures import Lag
from contracts.settings import ServingSettings, Settings

END = 100  # of every partition; each begins at 0
COMMITTED = {"stream-champion": 90, "stream-challenger": 60}


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


class Admin:
    """A broker whose groups have committed as above, or nothing."""

    def list_offsets(self, wanted: Mapping[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        return {
            one: done(SimpleNamespace(offset=0 if "earliest" in repr(spec) else END)) for one, spec in wanted.items()
        }

    def list_consumer_group_offsets(
        self, asked: list[ConsumerGroupTopicPartitions], **_: Any
    ) -> dict[str, Future[Any]]:
        [group] = [one.group_id for one in asked]
        at = COMMITTED.get(group)
        committed = [] if at is None else [TopicPartition("frames", number, at) for number in range(6)]
        return {group: done(SimpleNamespace(topic_partitions=committed))}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(topic_figures, "make_admin", lambda _settings: Admin())
    monkeypatch.setattr(
        topic_figures, "OffsetSpec",
        SimpleNamespace(latest=lambda: "latest", earliest=lambda: "earliest", for_timestamp=lambda _: "since"),
    )  # fmt: skip
    return topic_figures.topic_figures


def test_the_shadow_is_asked_about_beside_the_champion_where_there_is_one(asked: Any) -> None:
    full = asked(Settings(serving=ServingSettings(follows_ledger=True))).lags
    assert full[:2] == (
        Lag(group="stream-champion", topic="frames", records=60),
        Lag(group="stream-challenger", topic="frames", records=240),
    )
    core = asked(Settings()).lags
    assert [lag.group for lag in core if lag.group.startswith("stream-")] == ["stream-champion"]
    assert len(full) == len(core) + 1
