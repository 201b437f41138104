"""The row `batch`: a job that scores stored frames, against the raw loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from contracts.settings import Settings
from contracts.topics import SINKS
from tests.bench.harness import ROOT, Row, paired
from tests.bench.stage import (
    MEASURED,
    bench_stack,
    boards,
    count_objects,
    count_rows,
    environment,
    model_at,
    raw_loop_rate,
    send_folder,
    stop_connectors,
)


def backfill_against_raw(folder: Path, *, is_quick: bool = False) -> Iterator[Row]:
    """Frames per second of a batch job over stored frames against the same loop as the stream's row, both on one core.

    The job's clock runs from its first page of rows to the broker's last acknowledgement: reading from S3, checking
    sha256, decoding, the engine and sending, for every frame that it counts. Loading the model is left out of both.
    """
    frames, rounds = (60, 1) if is_quick else (360, 5)
    model, images = model_at(640, folder / "model"), boards(folder)
    with bench_stack() as settings:
        send_folder(settings, images, count=frames, cameras=6)
        _await_stored(settings, frames)
        stop_connectors(settings, *SINKS)
        found = paired(
            lambda: _backfill_rate(settings, engine="openvino", model_folder=model, engine_threads=1, decode_threads=1),
            lambda: raw_loop_rate(model, images, frames),
            rounds=rounds,
        )
    yield found.row("backfill ÷ raw loop (demo model, 640 px, f32, OpenVINO)", unit="frames/s", goal="≥ 0.90 (0.95)")


def _backfill_rate(settings: Settings, **stream: object) -> float:
    """Frames a second of a batch job that scores every stored frame, on the measured core, by its own result."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "inference.batch", "score", "--since", "2000-01-01", "--until", "2100-01-01"]
        command += ["--only", "all", "--explicit", "--run-id", f"bench-{uuid.uuid4()}", "--result", str(result)]
        subprocess.run(
            command,
            env=environment(settings, **stream),
            cwd=ROOT,
            check=True,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, MEASURED),
        )
        return float(json.loads(result.read_text())["frames_per_second"])


def _await_stored(settings: Settings, frames: int) -> None:
    """Waits for rows and objects."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        stored = (count_rows(settings, "frames"), count_objects(settings, settings.s3.frames_bucket))
        if min(stored) >= frames:
            return
        time.sleep(0.2)
    raise AssertionError(f"{stored} rows and objects of {frames} after 120 s")
