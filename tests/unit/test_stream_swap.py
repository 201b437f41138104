"""The worker while its model changes: every frame predicted once, by one version, in order; and the shadow's manners."""

from __future__ import annotations

import time
from collections import Counter
from itertools import groupby

import pytest

from inference.serving.served_models import ServedModels
from tests.support.images import jpeg
from tests.support.records import a_frame_record
from tests.support.served import Gate, a_model
from tests.support.waiting import eventually
from tests.unit.test_stream_worker import Running


def test_a_swap_in_the_middle_of_the_stream_skips_no_frame_repeats_none_and_keeps_the_order() -> None:
    engines = [Gate(seconds_per_image=0.001) for _ in range(6)]
    models = ServedModels(a_model("1", engine=engines[0]))
    with Running(engines[0], models=models, batch_size=3) as running:
        sent = []
        for number in range(300):
            sent.append(running.send(partition=0)["frame_id"])
            if number % 50 == 49 and number < 299:
                eventually(lambda number=number: len(running.predicted()) > number - 40, seconds=10, every=0.005)
                version = number // 50 + 2
                models.put(a_model(str(version), engine=engines[version - 1]))
        eventually(lambda: running.consumer.committed == {0: 300}, seconds=20, every=0.02)
        written = running.producer.predictions()
    assert [one["frame_id"] for one in written] == sent
    versions = [one["model_version"] for one in written]
    assert [version for version, _ in groupby(versions)] == ["1", "2", "3", "4", "5", "6"]
    assert dict(Counter(versions)) == {str(n + 1): sum(engine.batches) for n, engine in enumerate(engines)}
    assert [engine.closed for engine in engines] == [1, 1, 1, 1, 0, 0]  # the one before stays warm


def test_a_batch_under_way_is_finished_by_the_old_version_and_the_next_is_the_new_ones() -> None:
    old, new = Gate(is_open=False), Gate()
    models = ServedModels(a_model("1", engine=old))
    with Running(old, models=models, batch_size=2) as running:
        sent = [running.send()["frame_id"] for _ in range(6)]
        eventually(lambda: old.batches == [2], seconds=10, every=0.01)
        models.put(a_model("2", engine=new))
        time.sleep(0.1)
        assert (new.batches, old.closed) == ([], 0)
        old.open.set()
        eventually(lambda: len(running.predicted()) == 6, seconds=10, every=0.01)
        by_frame = {one["frame_id"]: one["model_version"] for one in running.producer.predictions()}
    assert [by_frame[frame_id] for frame_id in sent] == ["1", "1", "2", "2", "2", "2"]
    assert (sum(old.batches), sum(new.batches), old.closed) == (2, 4, 0)  # warm, for a rollback


def test_a_shadow_scores_as_challenger_and_leaves_dead_letters_to_the_champion() -> None:
    engine = Gate()
    models = ServedModels(a_model("2", role="challenger", engine=engine))
    with Running(engine, models=models, role="challenger") as running:
        running.consumer.append(b"garbage")
        frame = running.send()
        running.send(sha256="0" * 64)
        eventually(lambda: running.consumer.committed == {0: 3}, seconds=10, every=0.02)
        (written,) = running.producer.predictions()
        assert running.dead_letters() == []
    assert (written["frame_id"], written["model_version"], written["role"]) == (frame["frame_id"], "2", "challenger")


def test_a_shadow_rests_without_a_challenger_and_goes_on_at_the_end() -> None:
    models = ServedModels()
    with Running(Gate(), models=models, role="challenger") as running:
        eventually(lambda: running.consumer.paused == {0, 1}, seconds=10, every=0.01)
        for _ in range(20):
            running.send()
        polls = running.consumer.polls
        time.sleep(0.2)
        assert running.consumer.polls > polls
        assert running.predicted() == {}
        models.put(a_model("2", role="challenger", engine=Gate()))
        eventually(lambda: running.consumer.paused == set(), seconds=10, every=0.01)
        live = [running.send()["frame_id"] for _ in range(5)]
        eventually(lambda: running.consumer.committed == {0: 25}, seconds=10, every=0.02)
        assert list(running.predicted()) == live


def test_frames_that_lose_their_challenger_are_let_go_and_never_scored_by_another_role() -> None:
    engine = Gate(is_open=False)
    models = ServedModels(a_model("2", role="challenger", engine=engine))
    models.put(a_model("1", engine=Gate()))
    with Running(engine, models=models, role="challenger", batch_size=2) as running:
        for _ in range(7):
            running.send()
        eventually(lambda: engine.batches == [2], seconds=10, every=0.01)
        models.crown("2")
        engine.open.set()
        eventually(lambda: running.consumer.committed.get(0) == 7, seconds=10, every=0.02)
        assert {(one["model_version"], one["role"]) for one in running.producer.predictions()} == {("2", "challenger")}
        assert len(running.predicted()) == 2


def test_a_resting_shadow_takes_partitions_that_come_later_as_resting_too() -> None:
    models = ServedModels()
    with Running(Gate(), models=models, role="challenger") as running:
        eventually(lambda: running.consumer.paused == {0, 1}, seconds=10, every=0.01)
        running.in_polling_thread.append(lambda: running.consumer.rebalance("on_assign", [3]))
        eventually(lambda: running.consumer.paused == {0, 1, 3}, seconds=10, every=0.01)
        running.consumer.append(running.codec.encode("frames", a_frame_record(jpeg())), partition=3)
        time.sleep(0.2)
        assert running.predicted() == {}


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_batch_carries_the_role_of_its_model(role: str) -> None:
    engine = Gate()
    models = ServedModels(a_model("4", role=role, engine=engine))  # type: ignore[arg-type]
    with Running(engine, models=models, role=role) as running:  # type: ignore[arg-type]
        running.send()
        eventually(running.predicted, seconds=10, every=0.02)
        assert running.producer.predictions()[0]["role"] == role
