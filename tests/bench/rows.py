"""The rows: each measures one thing on a bench stack and returns lines of the report."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psycopg

from connectors.cameras.boards import encode_jpeg, simulate_board
from connectors.connect_admin import KafkaConnectAdmin
from connectors.reconcile import desired
from contracts.settings import Settings
from contracts.topics import SINKS
from inference.stream.ready import MAX_PIXEL_BYTES
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.bench import backfill, serving
from tests.bench.harness import ROOT, Row, paired
from tests.bench.stage import (
    MEASURED,
    THE_REST,
    Worker,
    bench_stack,
    boards,
    count_objects,
    count_rows,
    model_at,
    noisy_jpeg,
    raw_loop_rate,
    send_folder,
    stop_connectors,
)
from tests.support.stack import sightline


def stream_against_raw(folder: Path, *, frames: int = 220, rounds: int = 5) -> Iterator[Row]:
    """Frames per second of the stream worker against a loop of decode, letterbox, infer and NMS, both on one core.

    The worker decodes ahead. Counted are frames in between, so that as many are decoded for later while the clock runs
    as were before it ran: else the worker would be spared the decoding that the loop has to do.
    """
    ahead = MAX_PIXEL_BYTES // (640 * 640 * 3) + 1
    topic = (2 * ahead + frames) // 6 * 6
    model, images = model_at(640, folder / "model"), boards(folder)
    with bench_stack() as settings:
        stop_connectors(settings, *SINKS)
        send_folder(settings, images, count=topic, cameras=6)

        def ours() -> float:
            worker = Worker(settings, engine="openvino", model_folder=model, engine_threads=1, decode_threads=1)
            try:
                return worker.rate(ahead // 2 + frames, warm_up=ahead // 2)
            finally:
                worker.stop()

        def raw() -> float:
            return raw_loop_rate(model, images, frames)

        found = paired(ours, raw, rounds=rounds)
    yield found.row("stream ÷ raw loop (demo model, 640 px, f32, OpenVINO)", unit="frames/s", goal="≥ 0.85 (0.90)")


def platform_cost(folder: Path, *, frames: int = 6_000, rounds: int = 5) -> Iterator[Row]:
    """Frames of 60 kB per second through Kafka and the worker on one core, with a fake engine."""
    images = _noisy_images(folder)
    with bench_stack() as settings:
        stop_connectors(settings, *SINKS)
        send_folder(settings, images, count=frames, cameras=6)
        for name, module, goal in (
            ("platform per core, fake engine, 60 kB frames, no decoding", "inference.stream", "≥ 800 frames/s"),
            ("the same with the image decoded", "tests.bench.decoding_worker", "none"),
        ):
            rates = []
            for _ in range(rounds):
                worker = Worker(settings, module, engine="fake", batch_size=32)
                rates.append(worker.rate(frames, warm_up=200))
                worker.stop()
            yield Row(
                name=name,
                figure=f"{statistics.median(rates):.0f} frames/s ({min(rates):.0f} to {max(rates):.0f})",
                goal=goal,
                detail=f"{frames} frames, {rounds} rounds",
            )


def s3_sink_against_puts(folder: Path, *, frames: int = 3_000, rounds: int = 5) -> Iterator[Row]:
    """Objects per second of the S3 sink against 16 threads that put the same bytes, the store shared."""
    images = _noisy_images(folder)
    with bench_stack() as settings:
        stop_connectors(settings, *SINKS)
        send_folder(settings, images, count=frames, cameras=6)
        admin = KafkaConnectAdmin(settings.connect)
        s3 = _s3(settings)
        config = desired(settings)["frames_to_s3"]
        number = 0

        def ours() -> float:
            nonlocal number
            number += 1
            name, bucket = f"bench_s3_{number}", f"bench-{number}"
            s3.create_bucket(Bucket=bucket)
            admin.put_config(name, {**config, "name": name, "s3.bucket": bucket})
            rate = _rate(lambda: count_objects(settings, bucket), frames, warm_up=200)
            admin.delete(name)
            return rate

        def raw() -> float:
            nonlocal number
            number += 1
            bucket = f"bench-{number}"
            s3.create_bucket(Bucket=bucket)
            command = [sys.executable, "-m", "tests.bench.raw_puts", bucket, str(images), str(frames)]
            environment = {**os.environ, "SIGHTLINE_STACK__HOME": str(settings.stack.home)}
            return float(
                subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
            )

        found = paired(ours, raw, rounds=rounds)
    yield found.row("S3 sink ÷ raw parallel puts (60 kB objects)", unit="objects/s", goal="≥ 0.80")


def capture_to_row(_folder: Path, *, frames: int = 300) -> Iterator[Row]:
    """Capture to the prediction's row at 10 frames per second, seen by a reader that looks every 20 ms."""
    with bench_stack() as settings:
        Supervisor(Home(settings.stack.home)).start_service("stream-0")
        sightline(settings.stack.home, "send", "simulator:?size=320", "--camera", "warm", "--count", "20")
        sightline(
            settings.stack.home, "audit", "--camera", "warm", "--wait", "120"
        )  # the worker and the sinks run warm
        sending = subprocess.Popen(
            [sys.executable, "-m", "sightline.cli", "send", "simulator:?size=320", "--camera", "bench", "--fps", "10"]
            + ["--count", str(frames)],
            env={**os.environ, "SIGHTLINE_STACK__HOME": str(settings.stack.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds: dict[str, float] = {}
        with psycopg.connect(settings.postgres.conninfo, autocommit=True) as connection:
            deadline = time.monotonic() + frames / 10 + 60
            while len(seconds) < frames and time.monotonic() < deadline:
                for frame_id, age in connection.execute(
                    "SELECT frame_id::text, extract(epoch FROM clock_timestamp() AT TIME ZONE 'UTC' - captured_at)::float"
                    " FROM predictions WHERE camera_id = 'bench' AND frame_id > uuid7_floor((now() AT TIME ZONE 'UTC') - interval '20 seconds')"
                ):
                    seconds.setdefault(frame_id, age)
                time.sleep(0.02)
        sending.wait(timeout=60)
    found = sorted(seconds.values())
    assert len(found) == frames, f"{len(found)} of {frames} rows were seen"
    yield Row(
        name="capture → prediction row at 10 frames/s, 320 px",
        figure=f"p50 {found[len(found) // 2]:.2f} s, p99 {found[int(len(found) * 0.99)]:.2f} s",
        goal="p99 < 2 s",
        detail=f"{frames} frames",
    )


def rows_of_the_jdbc_sink(folder: Path, *, frames: int = 6_000) -> Iterator[Row]:
    """Rows per second into predictions, six detections each, triggers and day partitions included."""
    images = folder / "images"
    images.mkdir()
    (images / "small.jpg").write_bytes(encode_jpeg(simulate_board(seed=1, index=0, size=64)))
    with bench_stack() as settings:
        config = desired(settings)["predictions_to_postgres"]
        stop_connectors(settings, *SINKS)
        send_folder(settings, images, count=frames, cameras=6)
        worker = Worker(settings, "tests.bench.detecting_worker", engine="fake", batch_size=32)
        worker.rate(frames, warm_up=1)
        worker.stop()
        KafkaConnectAdmin(settings.connect).put_config("predictions_to_postgres", config)
        rate = _rate(lambda: count_rows(settings, "predictions"), frames, warm_up=500)
        assert count_rows(settings, "detections") == 6 * frames
    yield Row(name="JDBC sink, predictions", figure=f"{rate:.0f} rows/s", goal="none", detail=f"{frames} rows, once")


def cold_start(_folder: Path, *, rounds: int = 3) -> Iterator[Row]:
    """`up` after `down`, data kept, binaries there."""
    os.sched_setaffinity(0, (*THE_REST, *MEASURED))
    from tests.support.stack import a_home, free_port_base

    first, again = [], []
    for _ in range(rounds):
        with a_home() as home:
            try:
                first.append(_seconds(lambda home=home: sightline(home, "up", "--port-base", str(free_port_base()))))
                sightline(home, "down")
                again.append(_seconds(lambda home=home: sightline(home, "up")))
            finally:
                sightline(home, "down")
    yield Row(
        name="cold start of profile core",
        figure=f"{statistics.median(first):.0f} s with empty data, {statistics.median(again):.0f} s with data",
        goal="< 60 s",
        detail=f"{rounds} rounds: {', '.join(f'{value:.0f}' for value in first)}",
    )


def _noisy_images(folder: Path) -> Path:
    """A folder of eight JPEG of 60 kB."""
    images = folder / "images"
    images.mkdir()
    for index in range(8):
        (images / f"{index}.jpg").write_bytes(noisy_jpeg(60_000, seed=index))
    return images


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _rate(count: Callable[[], int], wanted: int, *, warm_up: int) -> float:
    """Units per second between the first `warm_up` and the last of `wanted`."""
    begin: tuple[float, int] | None = None
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = count()
        if begin is None and done >= warm_up:
            begin = (time.perf_counter(), done)
        if begin is not None and done >= wanted:
            return (done - begin[1]) / (time.perf_counter() - begin[0])
        time.sleep(0.05)
    raise AssertionError(f"{done} of {wanted} after 300 s")


def _s3(settings: Settings):
    return boto3.client(
        "s3",
        endpoint_url=settings.s3.endpoint_url,
        region_name=settings.s3.region,
        aws_access_key_id=settings.s3.access_key,
        aws_secret_access_key=settings.s3.secret_key.get_secret_value(),
    )


ROWS = {
    "stream": stream_against_raw,
    "batch": backfill.backfill_against_raw,
    "platform": platform_cost,
    "s3": s3_sink_against_puts,
    "jdbc": rows_of_the_jdbc_sink,
    "latency": capture_to_row,
    "start": cold_start,
    **serving.ROWS,
}
# Rows that `--quick` knows how to cut short.
QUICK = frozenset({"batch", *serving.ROWS})
