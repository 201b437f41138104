"""The worker's promises, with a broker in memory: one outcome per record, offsets last, polling never stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import numpy as np
import pytest
from confluent_kafka import KafkaError, TopicPartition

from contracts.errors import PipelineError, Transient
from inference.engines.fake_engine import FakeEngine
from inference.registry.model_version import ModelVersion
from inference.serving.served_models import Role, ServedModel, ServedModels
from inference.stream.intake import Intake
from inference.stream.metrics import Metrics
from inference.stream.outbox import Outbox
from inference.stream.ready import MAX_PIXEL_BYTES, ReadyFrames
from inference.stream.stages import Stages
from inference.stream.worker import Worker
from tests.support.fake_kafka import FakeConsumer, FakeProducer, FakeRegistry, a_codec
from tests.support.images import huge_png, jpeg
from tests.support.records import a_frame_record
from tests.support.served import Gate
from tests.support.waiting import eventually

VERSION = ModelVersion(name="pcb", version="1", digest="a" * 64, folder=None, licence="none")


class Running:
    """A worker in a thread, with everything that a test wants to look at."""

    def __init__(
        self,
        engine: FakeEngine,
        *,
        limit: int = 10_000_000,
        batch_size: int = 4,
        models: ServedModels | None = None,
        role: Role = "champion",
        pixel_bytes: int = MAX_PIXEL_BYTES,
    ) -> None:
        self.consumer, self.producer, self.registry = FakeConsumer(), FakeProducer(), FakeRegistry()
        self.codec, self.metrics = a_codec(), Metrics()
        self.failure: BaseException | None = None
        self._stopping, abandoned = threading.Event(), threading.Event()
        self.in_polling_thread: list[Callable[[], None]] = []
        codec = a_codec(self.registry)
        self.models = models or ServedModels(ServedModel(version=VERSION, engine=engine))
        self.worker = worker = Worker(
            self.producer, in_flight_limit=limit, metrics=self.metrics, has_model=lambda: bool(self.models.get(role))
        )
        outbox = Outbox(
            self.producer, codec, finished=worker.finished, abandoned=abandoned, is_shadow=role == "challenger"
        )
        ready = ReadyFrames(size=batch_size, age_seconds=0.01, max_bytes=pixel_bytes)
        intake = Intake(
            codec, ready, outbox, self.metrics, retention=timedelta(days=90), max_pixels=100_000, decode_threads=2,
            needs_pixels=engine.needs_pixels, abandoned=abandoned,
        )  # fmt: skip
        self.stages = Stages(intake, ready, self.models, outbox, self.metrics, role=role, abandoned=abandoned)
        step = worker.step

        def stepping() -> None:
            while self.in_polling_thread:
                self.in_polling_thread.pop()()
            step()

        worker.step = stepping  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run, args=(worker, outbox), daemon=True)

    def _run(self, worker: Worker, outbox: Outbox) -> None:
        try:
            worker.run(self.consumer, self.stages, outbox, stopping=self._stopping)
        except PipelineError as error:
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.stages.stop(within_seconds=1)

    def send(self, image: bytes | None = None, *, partition: int = 0, **changes: Any) -> dict[str, Any]:
        frame = a_frame_record(image or jpeg(), **changes)
        self.consumer.append(self.codec.encode("frames", frame), partition=partition)
        return frame

    def predicted(self) -> dict[str, str]:
        return {one["frame_id"]: one["status"] for one in self.producer.predictions()}

    def dead_letters(self) -> list[dict[str, Any]]:
        return self.producer.sent["dead-letters.stream"]


def reason(letter: dict[str, Any]) -> str:
    return dict(letter["headers"])["__connect.errors.exception.message"].decode()


def test_every_frame_gets_one_prediction_and_then_its_offset_moves() -> None:
    with Running(FakeEngine(needs_pixels=True)) as running:
        sent = [running.send(partition=number % 2) for number in range(50)]
        eventually(lambda: running.consumer.committed == {0: 25, 1: 25}, seconds=10, every=0.02)
        assert running.predicted() == {frame["frame_id"]: "ok" for frame in sent}
        assert len(running.producer.predictions()) == 50
        keys = {record["key"] for record in running.producer.sent["predictions"]}
        assert keys == {frame["frame_id"] for frame in sent}


def test_bad_images_become_predictions_with_their_status() -> None:
    with Running(FakeEngine(needs_pixels=True)) as running:
        sent = {
            running.send(image, encoding=encoding)["frame_id"]: status
            for image, encoding, status in [
                (jpeg(), "jpeg", "ok"),
                (jpeg()[:-40], "jpeg", "undecodable"),
                (b"text, whatever its name", "jpeg", "undecodable"),
                (huge_png(20_000, 10_000), "png", "too_large"),
                (jpeg(500, 500), "jpeg", "too_large"),
            ]
        }
        eventually(lambda: running.predicted() == sent, seconds=10, every=0.02)


def test_bad_records_go_to_the_dead_letters_with_their_reason_and_the_stream_goes_on() -> None:
    with Running(FakeEngine()) as running:
        append, encode = running.consumer.append, running.codec.encode
        good = encode("frames", a_frame_record(jpeg()))
        append(b"garbage", headers=[("theirs", b"kept")])
        append(b"")
        append(None)
        append(b"\0\0\0\0\x63" + good[5:])
        append(good, key="another-camera")
        append(good, key=b"\xff")
        append(good, key=None)
        append(encode("frames", a_frame_record(jpeg(), sha256="0" * 64)))
        append(encode("frames", a_frame_record(jpeg(), traceparent="00\x00")))
        append(encode("frames", a_frame_record(jpeg(), captured_at=1)))
        last = running.send()
        eventually(lambda: running.consumer.committed == {0: 11}, seconds=10, every=0.02)
        assert running.predicted() == {last["frame_id"]: "ok"}
        letters = running.dead_letters()
        assert [reason(letter).partition(":")[0] for letter in letters] == [
            "undecodable", "undecodable", "not_a_record", "unknown_schema", "key_mismatch", "key_mismatch",
            "key_mismatch", "sha256_mismatch", "unstorable_text", "captured_at_out_of_window",
        ]  # fmt: skip
        headers = dict(letters[0]["headers"])
        assert (letters[0]["value"], letters[0]["key"]) == (b"garbage", b"c1")
        assert headers["theirs"] == b"kept"
        assert headers["__connect.errors.topic"] == b"frames"
        assert headers["__connect.errors.partition"] == b"0"
        assert headers["__connect.errors.offset"] == b"0"
        assert headers["__connect.errors.connector.name"] == b"stream"
        counted = running.metrics.registry.get_sample_value(
            "sightline_stream_dead_letters_total", {"reason": "key_mismatch"}
        )
        assert counted == 3


@pytest.mark.parametrize("key", [b"c1", b"k" * 5_000_000], ids=["large value", "large key"])
def test_a_bad_record_at_the_size_limit_is_parked_without_its_content(key: bytes) -> None:
    with Running(FakeEngine()) as running:
        running.consumer.append(b"g" * (5 * 1024 * 1024 - len(key)), key=key)
        last = running.send()
        eventually(lambda: running.consumer.committed == {0: 2}, seconds=10, every=0.02)
        (letter,) = running.dead_letters()
        assert letter["value"] is None
        assert reason(letter).startswith("undecodable:")
        assert "sightline.omitted_bytes" in dict(letter["headers"])
        assert set(running.predicted()) == {last["frame_id"]}


def test_registry_outage_is_waited_for_and_nothing_good_is_refused() -> None:
    with Running(FakeEngine()) as running:
        running.registry.is_up = False
        frame = running.send()
        polls = running.consumer.polls
        time.sleep(0.6)
        assert running.consumer.polls > polls
        assert not running.predicted()
        running.registry.is_up = True
        eventually(lambda: running.predicted() == {frame["frame_id"]: "ok"}, seconds=10, every=0.02)
        assert running.dead_letters() == []


def test_slow_inference_pauses_the_partitions_and_polling_goes_on() -> None:
    engine = Gate(is_open=False)
    with Running(engine, limit=3 * len(jpeg())) as running:
        sent = [running.send() for _ in range(200)]
        eventually(lambda: running.consumer.paused == {0, 1}, seconds=10, every=0.02)
        polls = running.consumer.polls
        time.sleep(0.3)
        assert running.consumer.polls > polls
        assert running.consumer.committed == {}
        engine.open.set()
        eventually(lambda: running.consumer.committed == {0: 200}, seconds=20, every=0.02)
        assert running.consumer.paused == set()
        assert len(running.producer.predictions()) == len(sent)


def test_offsets_wait_for_the_brokers_confirmation() -> None:
    with Running(FakeEngine()) as running:
        running.producer.is_up = False
        running.send()
        time.sleep(1.5)
        assert running.consumer.committed == {}
        running.producer.is_up = True
        eventually(lambda: running.consumer.committed == {0: 1}, seconds=10, every=0.02)


def test_revoked_partition_is_committed_up_to_what_was_begun_and_the_rest_is_left_to_its_new_owner() -> None:
    engine = Gate(is_open=False)
    with Running(engine, batch_size=2) as running:
        sent = [running.send() for _ in range(10)]
        eventually(lambda: engine.batches, seconds=10, every=0.01)
        running.in_polling_thread.append(lambda: running.consumer.rebalance("on_revoke", [0]))
        time.sleep(0.2)
        engine.open.set()
        eventually(lambda: running.consumer.committed, seconds=10, every=0.02)
        begun = sum(engine.batches)
        assert running.consumer.committed == {0: begun}
        time.sleep(0.2)
        assert [one["frame_id"] for one in running.producer.predictions()] == [one["frame_id"] for one in sent[:begun]]
        other = running.send(partition=1)
        eventually(lambda: other["frame_id"] in running.predicted(), seconds=10, every=0.02)
        running.in_polling_thread.append(lambda: running.consumer.rebalance("on_assign", [0]))
        eventually(lambda: len(running.predicted()) == 11, seconds=10, every=0.02)


def test_lost_partition_is_not_committed() -> None:
    engine = Gate(is_open=False)
    with Running(engine) as running:
        running.send()
        eventually(lambda: engine.batches, seconds=10, every=0.01)
        done = threading.Event()

        def lose() -> None:
            running.consumer.rebalance("on_lost", [0])
            done.set()

        running.in_polling_thread.append(lose)
        assert done.wait(5)
        engine.open.set()
        eventually(running.predicted, seconds=10, every=0.02)
        time.sleep(1.2)
        assert running.consumer.committed == {}


def test_stopping_finishes_what_is_begun_and_commits_it() -> None:
    engine = Gate(is_open=False)
    running = Running(engine, batch_size=3)
    with running:
        for _ in range(3):
            running.send()
        eventually(lambda: sum(engine.batches) == 3, seconds=10, every=0.01)
        threading.Timer(0.3, engine.open.set).start()
        running.stop()
    assert running.consumer.committed == {0: 3}
    assert len(running.producer.predictions()) == 3


def test_a_refused_confirmation_ends_the_worker_without_moving_an_offset() -> None:
    with Running(FakeEngine()) as running:
        running.producer.error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        running.send()
        eventually(lambda: running.failure is not None, seconds=10, every=0.02)
        assert isinstance(running.failure, Transient)
        assert running.consumer.committed == {}


def test_a_full_queue_is_waited_for() -> None:
    with Running(FakeEngine()) as running:
        running.producer._queue = 3
        sent = [running.send() for _ in range(40)]
        eventually(lambda: len(running.predicted()) == len(sent), seconds=20, every=0.02)


def test_many_large_images_never_take_more_memory_than_reserved() -> None:
    ready = ReadyFrames(size=4, age_seconds=0.0, max_bytes=100)
    ready.reserve(1000)  # one always may
    entered = threading.Event()

    def second() -> None:
        ready.reserve(10)
        entered.set()

    threading.Thread(target=second, daemon=True).start()
    assert not entered.wait(0.1)
    ready.release(1000)
    assert entered.wait(2)


def test_no_more_is_decoded_ahead_than_the_memory_for_pixels_holds_and_scored_frames_give_theirs_back() -> None:
    engine = Gate(is_open=False)
    with Running(engine, batch_size=1, pixel_bytes=3 * 64 * 48 * 3) as running:
        sent = [running.send(jpeg(64, 48)) for _ in range(20)]
        eventually(lambda: decoded(running) == 3, seconds=10, every=0.02)
        time.sleep(0.3)
        assert decoded(running) == 3
        engine.open.set()
        eventually(lambda: len(running.predicted()) == len(sent), seconds=10, every=0.02)


def decoded(running: Running) -> float | None:
    return running.metrics.registry.get_sample_value("sightline_stream_stage_seconds_count", {"stage": "decode"})


def test_a_commit_that_the_broker_refuses_is_made_again() -> None:
    with Running(FakeEngine()) as running:
        running.send()
        eventually(lambda: running.consumer.committed == {0: 1}, seconds=10, every=0.02)
        running.consumer.committed.clear()  # the broker has it not
        offset = TopicPartition("frames", 0, 1)
        refusal = KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE)
        running.in_polling_thread.append(lambda: running.worker.on_commit(refusal, [offset]))
        eventually(lambda: running.consumer.committed == {0: 1}, seconds=10, every=0.02)


def test_a_partition_that_comes_while_the_worker_is_full_rests_like_the_others() -> None:
    engine = Gate(is_open=False)
    with Running(engine, limit=3 * len(jpeg())) as running:
        running.in_polling_thread.append(lambda: running.consumer.rebalance("on_revoke", [1]))
        for _ in range(20):
            running.send()
        eventually(lambda: 0 in running.consumer.paused, seconds=10, every=0.02)
        running.in_polling_thread.append(lambda: running.consumer.rebalance("on_assign", [1]))
        eventually(lambda: running.consumer.paused >= {0, 1}, seconds=10, every=0.02)
        engine.open.set()


def test_frames_of_different_sizes_are_scored_together() -> None:
    engine = Gate()
    with Running(engine, batch_size=2) as running:
        first, second = running.send(jpeg(64, 48)), running.send(jpeg(32, 32))
        eventually(lambda: set(running.predicted()) == {first["frame_id"], second["frame_id"]}, seconds=10, every=0.02)
        assert np.sum(engine.batches) == 2
