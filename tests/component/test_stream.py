"""The stream worker's process on the real stack: two share the work, none loses a frame, whatever is killed.

Each test runs workers of its own consumer group, which writes under a model name of its own; the stack's own worker
goes on beside them.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uuid_utils
from confluent_kafka import Consumer, TopicPartition

from connectors import dead_letters
from connectors.kafka import make_consumer, make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.settings import Settings
from inference.persistence import connect
from inference.persistence.heartbeats import replicas
from tests.support.command_line import environment
from tests.support.images import huge_png, jpeg
from tests.support.model_store import WEAKER_MODEL, point, register
from tests.support.records import a_frame_record
from tests.support.topic_reader import read_topic
from tests.support.waiting import eventually

MODEL = Path(__file__).parents[2] / "inference/delivery/demo_model"
# The fake engine, slow enough that a kill finds work under way.
SLOW_FAKE = """
import sys
from inference.engines import fake_engine
fake_engine.load = lambda folder, **_: fake_engine.FakeEngine(seconds_per_image={seconds})
from inference.stream.__main__ import main
sys.exit(main())
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Workers:
    """Worker processes of one group."""

    def __init__(self, stack: Settings, logs: Path) -> None:
        self._stack, self._logs = stack, logs
        self.name = f"test-{uuid_utils.uuid7()}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports: dict[int, int] = {}

    @property
    def settings(self) -> Settings:
        """The stack's, with the group's own model."""
        return self._stack.model_copy(
            update={"mlflow": self._stack.mlflow.model_copy(update={"model_name": self.name})}
        )

    def start(self, *, seconds_per_image: float = 0.0, **stream: object) -> subprocess.Popen[bytes]:
        port = free_port()
        given = {"engine": "fake", "group": self.name, "metrics_port": port, "batch_size": 8} | stream
        variables = {f"SIGHTLINE_STREAM__{name.upper()}": str(value) for name, value in given.items()}
        code = SLOW_FAKE.format(seconds=seconds_per_image)
        with (self._logs / f"worker-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment(self._stack) | variables | {"SIGHTLINE_MLFLOW__MODEL_NAME": self.name},
                cwd=MODEL.parents[2],
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        self._ports[process.pid] = port
        return process

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self._logs.glob("worker-*.log")))

    def metric(self, process: subprocess.Popen[bytes], name: str) -> float | None:
        """A metric without labels; None while the worker does not answer."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self._ports[process.pid]}/metrics").text
        except httpx.TransportError:
            return None
        return next((float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} ")), None)

    def predictions(self) -> dict[str, list[dict[str, Any]]]:
        """What the group wrote, by frame."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in read_topic(self._stack, "predictions", lambda record: record["model_name"] == self.name):
            found.setdefault(one["frame_id"], []).append(one)
        return found

    def committed(self) -> dict[int, int]:
        consumer: Consumer = make_consumer(self._stack, self.name)
        try:
            places = consumer.committed([TopicPartition("frames", number) for number in range(6)], timeout=20)
            return {place.partition: place.offset for place in places}
        finally:
            consumer.close()

    def begin_at_the_end(self) -> None:
        """Commits the topic's ends, so that the group reads what the test sends and nothing older."""
        consumer: Consumer = make_consumer(self._stack, self.name)
        try:
            ends = [
                TopicPartition("frames", number, consumer.get_watermark_offsets(TopicPartition("frames", number))[1])
                for number in range(6)
            ]
            consumer.commit(offsets=ends, asynchronous=False)
        finally:
            consumer.close()

    def kill_all(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def workers(stack: Settings, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(stack, tmp_path)
    made.begin_at_the_end()
    try:
        yield made
    finally:
        made.kill_all()
        print(made.logs())  # shown when the test fails


@pytest.fixture
def send(stack: Settings) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    registry = SchemaRegistry(stack.registry)
    codec, producer = Codec(registry), make_producer(stack)

    def sent(count: int, image: bytes | None = None, **changes: Any) -> list[dict[str, Any]]:
        frames = [a_frame_record(image or jpeg(), **{"camera_id": f"stream-{n % 12}", **changes}) for n in range(count)]
        for frame in frames:
            producer.produce("frames", key=frame["camera_id"], value=codec.encode("frames", frame))
            producer.poll(0)
        assert producer.flush(30) == 0
        return frames

    yield sent
    registry.close()


def ids(frames: list[dict[str, Any]]) -> set[str]:
    return {frame["frame_id"] for frame in frames}


def test_two_workers_share_the_partitions_and_lose_no_frame(workers: Workers, send: Any) -> None:
    first, second = workers.start(), workers.start()
    for process in (first, second):
        eventually(lambda process=process: workers.metric(process, "sightline_stream_partitions") == 3)
    frames = send(300)
    eventually(lambda: set(workers.predictions()) == ids(frames))
    assert all(len(written) == 1 for written in workers.predictions().values())


def test_a_killed_workers_frames_are_done_by_the_other(workers: Workers, send: Any) -> None:
    first, second = workers.start(seconds_per_image=0.02), workers.start(seconds_per_image=0.02)
    for process in (first, second):
        eventually(lambda process=process: workers.metric(process, "sightline_stream_partitions") == 3)
    frames = send(400)
    eventually(lambda: len(workers.predictions()) > 40)
    second.kill()
    eventually(lambda: set(workers.predictions()) == ids(frames), seconds=90)


def test_a_worker_that_leaves_and_one_that_joins_repeat_nothing(workers: Workers, send: Any) -> None:
    first = workers.start(seconds_per_image=0.02)
    eventually(lambda: workers.metric(first, "sightline_stream_partitions") == 6)
    frames = send(400)
    eventually(lambda: len(workers.predictions()) > 40)
    second = workers.start(seconds_per_image=0.02)
    eventually(lambda: workers.metric(second, "sightline_stream_partitions") == 3)
    first.send_signal(signal.SIGTERM)
    assert first.wait(12) == 0
    eventually(lambda: set(workers.predictions()) == ids(frames), seconds=90)
    assert all(len(written) == 1 for written in workers.predictions().values())


def test_told_to_stop_it_finishes_its_batch_commits_and_exits_with_0(workers: Workers, send: Any) -> None:
    process = workers.start(seconds_per_image=0.1)
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    before = workers.committed()
    frames = send(200)
    eventually(lambda: len(workers.predictions()) >= 8)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert time.monotonic() - began < 11
    after, written = workers.committed(), workers.predictions()
    assert sum(after.values()) - sum(before.values()) == len(written) < len(frames)


def test_told_to_stop_during_one_long_inference_it_still_exits_with_0(workers: Workers, send: Any) -> None:
    process = workers.start(seconds_per_image=60)
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    before = workers.committed()
    send(1)
    eventually(lambda: (workers.metric(process, "sightline_stream_in_flight_bytes") or 0) > 0)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(12) == 0
    assert workers.committed() == before


def test_inference_slower_than_the_session_timeout_keeps_its_partitions(workers: Workers, send: Any) -> None:
    process = workers.start(seconds_per_image=7, batch_size=2, queued_megabytes=1)
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    frames = send(4, jpeg().ljust(400_000, b"\0"))
    eventually(lambda: set(workers.predictions()) == ids(frames), seconds=60)
    assert workers.logs().count("partitions_assigned") == 1
    assert "partitions_paused" in workers.logs()


def test_bad_input_has_one_outcome_each_and_the_stream_goes_on(stack: Settings, workers: Workers, send: Any) -> None:
    already = sum(1 for _ in dead_letters.read(stack, ["stream"]))
    process = workers.start(engine="onnxruntime", model_folder=MODEL, max_pixels=50_000_000)
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    expected = {
        send(1, image, encoding=encoding)[0]["frame_id"]: status
        for image, encoding, status in [
            (jpeg()[:-30], "jpeg", "undecodable"),
            (b"text", "jpeg", "undecodable"),
            (huge_png(20_000, 10_000), "png", "too_large"),
            (jpeg(), "jpeg", "ok"),
        ]
    }
    send(1, sha256="0" * 64)
    producer = make_producer(stack)
    producer.produce("frames", key="stream-1", value=b"garbage of a foreign producer")
    producer.flush(30)
    expected[send(1)[0]["frame_id"]] = "ok"
    eventually(lambda: {one: found[0]["status"] for one, found in workers.predictions().items()} == expected)
    ours = lambda: [one.code for one in list(dead_letters.read(stack, ["stream"]))[already:]]  # noqa: E731
    # The stack's own worker refuses them too.
    eventually(lambda: ours().count("sha256_mismatch") >= 2 and ours().count("undecodable") >= 2)


def test_champion_of_the_registry_is_served_and_named(stack: Settings, send: Any) -> None:
    """The stack's own worker serves what the bootstrap registered."""
    (frame,) = send(1)
    written = eventually(
        lambda: read_topic(
            stack,
            "predictions",
            lambda record: record["frame_id"] == frame["frame_id"] and record["model_name"] == stack.mlflow.model_name,
        )
    )
    assert written[0]["status"] == "ok"
    assert written[0]["engine"] == stack.stream.engine
    assert written[0]["traceparent"] == frame["traceparent"]


@pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn
def test_a_new_champion_takes_over_between_two_batches_and_each_frame_is_predicted_once(
    workers: Workers, send: Any, tmp_path: Path
) -> None:
    old, new = register(workers.settings), register(workers.settings, WEAKER_MODEL)
    point(workers.settings, "champion", old)
    point(workers.settings, "challenger", new)
    process = workers.start(engine="onnxruntime", cache_folder=tmp_path / "models")
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    eventually(lambda: [(one.version, one.warmed_version) for one in heartbeats(workers)] == [(old, new)])
    frames = send(120)
    point(workers.settings, "champion", new)
    while new not in versions(workers, frames):
        frames += send(60)
        assert len(frames) < 3000, "it is not followed"
    frames += send(60)
    eventually(lambda: set(workers.predictions()) == ids(frames), seconds=90)
    assert all(len(written) == 1 for written in workers.predictions().values())
    for camera in {frame["camera_id"] for frame in frames}:
        by_version = versions(workers, [frame for frame in frames if frame["camera_id"] == camera])
        assert by_version == sorted(by_version)
    assert set(versions(workers, frames)) == {old, new}
    assert [(one.kind, one.version, one.state) for one in heartbeats(workers)] == [("stream", new, "serving")]
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert heartbeats(workers) == []


@pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn
def test_a_shadow_scores_what_the_champion_scores_until_its_challenger_is_champion(
    stack: Settings, workers: Workers, send: Any, tmp_path: Path
) -> None:
    old, new = register(workers.settings), register(workers.settings, WEAKER_MODEL)
    point(workers.settings, "champion", old)
    shared = {"engine": "onnxruntime", "cache_folder": tmp_path / "models"}
    workers.start(**shared)
    shadow = workers.start(**shared, role="challenger", challenger_group=f"{workers.name}-shadow")
    eventually(
        lambda: [(one.kind, one.state) for one in heartbeats(workers)] == [("shadow", "idle"), ("stream", "serving")]
    )
    before = send(12)
    eventually(lambda: set(workers.predictions()) == ids(before))
    point(workers.settings, "challenger", new)
    eventually(lambda: [one.state for one in heartbeats(workers)] == ["serving", "serving"])
    eventually(lambda: new in versions(workers, send(12), wait=True), seconds=90)  # from now on it reads what comes
    already = sum(1 for _ in dead_letters.read(stack, ["stream"]))
    (bad,) = send(1, sha256="0" * 64)
    both = send(48)
    eventually(
        lambda: all(roles(workers, frame) == {("champion", old), ("challenger", new)} for frame in both), seconds=90
    )
    assert not any(("challenger", new) in roles(workers, frame) for frame in before)
    assert bad["frame_id"] not in workers.predictions()
    eventually(
        lambda: len(list(dead_letters.read(stack, ["stream"]))) == already + 2
    )  # the champion's, the stack's own
    point(workers.settings, "champion", new)
    point(workers.settings, "challenger", None)
    eventually(lambda: [(one.kind, one.version, one.state) for one in heartbeats(workers)] == [
        ("shadow", "", "idle"), ("stream", new, "serving")])  # fmt: skip
    after = send(24)
    eventually(lambda: all(roles(workers, frame) == {("champion", new)} for frame in after))
    time.sleep(2)
    assert all(roles(workers, frame) == {("champion", new)} for frame in after)
    assert len(list(dead_letters.read(stack, ["stream"]))) == already + 2
    shadow.send_signal(signal.SIGTERM)
    assert shadow.wait(15) == 0


def heartbeats(workers: Workers) -> list[Any]:
    """Of the group's own model, by kind."""
    with connect(workers.settings) as connection:
        return [one for one in replicas(connection, seconds=10) if one.model == workers.name]


def versions(workers: Workers, frames: list[dict[str, Any]], *, wait: bool = False) -> list[str]:
    """Of the frames' predictions that are written, in the order of the frames."""
    if wait:
        eventually(lambda: ids(frames) <= set(workers.predictions()))
        time.sleep(1)
    written = workers.predictions()
    return [one["model_version"] for frame in frames for one in written.get(frame["frame_id"], [])]


def roles(workers: Workers, frame: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["role"], one["model_version"]) for one in workers.predictions().get(frame["frame_id"], [])}


def test_a_stopped_worker_leaves_no_process_behind(workers: Workers) -> None:
    process = workers.start(engine="openvino", model_folder=MODEL)
    eventually(lambda: workers.metric(process, "sightline_stream_partitions") == 6)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(12) == 0
    assert not [child for child in children if child.is_running()]
