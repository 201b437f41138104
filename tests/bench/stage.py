"""What the rows share: a stack of their own, cores, filled topics, a worker that is measured.

core 1   the engine, the raw loop, the worker under measurement
core 0   everything else
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import psycopg
import simplejpeg

from connectors.cameras.boards import encode_jpeg, simulate_board
from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.ports import is_held
from sightline.stack.supervision import Supervisor
from tests.bench.harness import ROOT, pin
from tests.support.stack import running_stack, sightline

MEASURED: Final = (1,)
THE_REST: Final = (0,)
DEMO_MODEL: Final = ROOT / "inference/delivery/demo_model"


@contextmanager
def bench_stack() -> Iterator[Settings]:
    """A stack on core 0 whose stream worker is stopped: the rows start their own."""
    with running_stack() as settings:
        supervisor = Supervisor(Home(settings.stack.home))
        supervisor.stop_service("stream-0")
        for process in supervisor.processes().values():
            if process.pid:
                pin(process.pid, THE_REST)
        os.sched_setaffinity(0, THE_REST)
        yield settings


def stop_connectors(settings: Settings, *names: str) -> None:
    """Takes sinks out, so that they do not share core 0 with what is measured."""
    Supervisor(Home(settings.stack.home)).stop_service("watchdog")  # it would put them back
    for name in names:
        httpx.delete(f"{settings.connect.url}/connectors/{name}").raise_for_status()


def send_folder(settings: Settings, folder: Path, *, count: int, cameras: int = 1) -> None:
    """Fills the topic frames, spread over the partitions by camera."""
    for number in range(cameras):
        share = count // cameras
        sightline(
            settings.stack.home, "send", str(folder), "--camera", f"bench-{number}", "--loop", "--count", str(share)
        )


def boards(folder: Path) -> Path:
    """A folder of twenty boards of 640 px."""
    images = folder / "images"
    images.mkdir()
    for index in range(20):
        (images / f"{index:02}.jpg").write_bytes(encode_jpeg(simulate_board(seed=77, index=index, size=640)))
    return images


def count_objects(settings: Settings, bucket: str) -> int:
    """Counted in the store's own folder: listing over S3 would cost what is measured."""
    return sum(len(files) for _, _, files in os.walk(settings.stack.home / "data" / "s3" / bucket))


def count_rows(settings: Settings, table: str) -> int:
    with psycopg.connect(settings.postgres.conninfo) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def model_at(side: int, folder: Path) -> Path:
    """The demo model, told to see its input at `side` pixels."""
    shutil.copytree(DEMO_MODEL, folder)
    file = folder / "model.json"
    spec = json.loads(file.read_text())
    spec["input"] |= {"width": side, "height": side}
    file.write_text(json.dumps(spec))
    return folder


def noisy_jpeg(size_bytes: int, *, side: int = 640, seed: int = 0) -> bytes:
    """A JPEG of about that size: noise of the strength that gives it."""
    noise = np.random.default_rng(seed)
    for strength in range(1, 128):
        picture = np.clip(noise.normal(128, strength, (side, side, 3)), 0, 255).astype(np.uint8)
        encoded: bytes = simplejpeg.encode_jpeg(picture, quality=75, colorspace="RGB")
        if len(encoded) >= size_bytes:
            return encoded
    raise AssertionError(f"no noise makes a JPEG of {size_bytes} bytes")


def raw_loop_rate(model: Path, images: Path, frames: int) -> float:
    """Images a second of decode, letterbox, infer and NMS in a loop on the measured core."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.raw_loop", str(model), str(images), str(frames)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, MEASURED),
    )
    return float(ran.stdout)


def environment(settings: Settings, **stream: object) -> dict[str, str]:
    """A process's of its own: the bench stack, and these of the stream's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    kept |= {"SIGHTLINE_STACK__HOME": str(settings.stack.home), "SIGHTLINE_LOG__LEVEL": "WARNING"}
    return kept | {f"SIGHTLINE_STREAM__{name.upper()}": str(value) for name, value in stream.items()}


class Worker:
    """A stream worker of its own consumer group, reading the topic from its start, on the measured core."""

    def __init__(self, settings: Settings, module: str = "inference.stream", **stream: object) -> None:
        self.port = _free_port()
        variables = environment(settings, group=f"bench-{uuid.uuid4()}", metrics_port=self.port, **stream)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=variables,
            cwd=ROOT,
            preexec_fn=lambda: os.sched_setaffinity(0, MEASURED),
        )

    def rate(self, frames: int, *, warm_up: int = 20) -> float:
        """Frames per second between the first `warm_up` frames and the last."""
        begin = self._await(warm_up)
        end = self._await(frames)
        return (end[1] - begin[1]) / (end[0] - begin[0])

    def stop(self) -> None:
        self._process.terminate()
        if self._process.wait(timeout=30) != 0:
            raise AssertionError(f"the worker ended with {self._process.returncode}")

    def _await(self, frames: int) -> tuple[float, float]:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            done = self._predicted()
            if done >= frames:
                return time.perf_counter(), done
            time.sleep(0.02)
        raise AssertionError(f"{done} of {frames} frames after 300 s")

    def _predicted(self) -> float:
        try:
            page = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        except httpx.TransportError:  # it is starting
            return 0
        return sum(_values(page, "sightline_stream_frames_total").values())


def _values(page: str, name: str) -> Mapping[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith(f"{name}{{")
    }


def _free_port() -> int:
    return next(port for port in range(36_000, 37_000) if not is_held(port))
