"""The watch window against a real stack: a gate file with the wanted thresholds, the job itself, frames of every kind.

gate.write_text(gate_text(frames=20, p99_ms=5000))
watch(settings, promotion, gate)                         as Airflow runs it, but here: exit code, result
with sending(settings, "c1", source): …                  4 frames a second, until the end of the block
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
import simplejpeg

from connectors.api_client import Api
from connectors.cameras.boards import encode_jpeg, simulate_board
from contracts.settings import Settings
from inference.registry.gate_files import GATES
from sightline.stack.airflow_services import jobs_environment
from sightline.stack.home import Home
from sightline.stack.logins import read as read_logins
from tests.support.command_line import environment, finish, start
from tests.support.rest_load import token_of

FPS: Final = "4"
# A window that finds nothing: what a test is about is named over it.
BLIND: Final[dict[str, Any]] = {
    "frames": 20,
    "minutes": 20,
    "max_failed_share": 1,
    "p99_ms": 3_600_000,
    "min_agreement": 0,
    "detections_per_frame": [0, 1000],
    "min_precision": 0,
    "min_reviews": 1000,
}


def gate_text(**watch: Any) -> str:
    """The committed gate file, for a machine that does much beside, with a watch window of one's own."""
    text = (GATES / "pcb-defects.toml").read_text()
    above, section, _ = text.partition("[watch]\n")
    budget = tomllib.loads(text)["latency"]["median_ms"]
    above = above.replace(f"median_ms = {budget}", "median_ms = 5000")
    return above + section + "".join(f"{name} = {json.dumps(value)}\n" for name, value in (BLIND | watch).items())


def start_watch(settings: Settings, promotion: int, gate: Path, *more: str) -> subprocess.Popen[str]:
    """As the account of jobs."""
    words = ("watch", "--promotion", str(promotion), "--gate", str(gate), "--poll-seconds", "1", *more)
    account = jobs_environment(read_logins(Home(settings.stack.home)))
    return subprocess.Popen(
        [sys.executable, "-m", "inference.batch", *words],
        env=environment(settings, **account),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(watching: subprocess.Popen[str], *, seconds: float = 600) -> tuple[dict[str, Any], int]:
    """The result and the exit code."""
    outcome = finish(watching, seconds=seconds)
    assert outcome.out, outcome.err
    return json.loads(outcome.out.splitlines()[-1]), outcome.code


@contextmanager
def sending(settings: Settings, camera: str, source: str | Path = "simulator:?size=320") -> Iterator[None]:
    loop = ("--loop",) if isinstance(source, Path) else ()
    camera_process = start(settings, "send", source, "--camera", camera, "--fps", FPS, *loop, "--json")
    try:
        yield
    finally:
        camera_process.send_signal(2)
        outcome = finish(camera_process, seconds=120)
    assert outcome.code == 0, outcome.err
    assert outcome.answer["acknowledged"] > 0


def cut_off(folder: Path) -> Path:
    """JPEGs whose second half is missing."""
    whole = encode_jpeg(simulate_board(1, 0, size=320))
    return _file(folder, whole[: len(whole) // 2])


def empty_boards(folder: Path) -> Path:
    """Grey from edge to edge: nothing to detect."""
    grey = np.full((320, 320, 3), 128, np.uint8)
    return _file(folder, simplejpeg.encode_jpeg(grey, quality=90, colorspace="RGB"))


def _file(folder: Path, image: bytes) -> Path:
    folder.mkdir()
    (folder / "board.jpg").write_bytes(image)
    return folder


def captured_after(settings: Settings, camera: str, promotion: int) -> int:
    """Frames in the window: it begins ten seconds after the promotion."""
    return int(
        _rows(
            settings,
            "SELECT count(*) FROM frames WHERE camera_id = %s AND captured_at > "
            "(SELECT done_at + interval '10 seconds' FROM promotions WHERE id = %s)",
            camera,
            promotion,
        )[0][0]
    )


def seen_after(settings: Settings, promotion: int, version: str, *, least: int) -> list[str]:
    """Frames in which the version found something, once there are enough."""
    found = _rows(
        settings,
        "SELECT frame_id::text FROM predictions JOIN frames USING (frame_id) WHERE model_version = %s AND frames.captured_at > "
        "(SELECT done_at + interval '10 seconds' FROM promotions WHERE id = %s) AND cardinality(labels) > 0 LIMIT %s",
        version,
        promotion,
        least,
    )
    return [frame for (frame,) in found] if len(found) == least else []


def _rows(settings: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.postgres.conninfo) as connection:
        return connection.execute(query, values).fetchall()


def review_as_empty(settings: Settings, frame: str) -> None:
    """A reviewer says: there is nothing in it."""
    token = token_of(settings, "reviewer")
    with Api(settings, token=lambda _: token) as api:
        api.post("/v1/reviews", {"frame_id": frame, "verdict": "empty", "boxes": [], "request_id": f"empty-{frame}"})
