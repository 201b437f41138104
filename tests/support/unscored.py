"""Frames that the stream did not score: its workers stand still while these are sent.

with standing_still(settings) as workers:
    frames = send(settings, "c1", 500)           rows and objects are there, predictions are not
    workers.start()                              sooner than the end of the block
predictions_of(settings, "c1")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from contracts.settings import Settings
from inference.persistence.objects import FrameStore
from sightline.stack.home import Home
from sightline.stack.supervision import Supervisor
from tests.support.command_line import run, succeed
from tests.support.waiting import eventually

SINK_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The stream workers of one stack."""

    supervisor: Supervisor

    def names(self) -> list[str]:
        return [name for name in self.supervisor.processes() if name.startswith("stream-")]

    def stop(self) -> None:
        assert self.names()
        for name in self.names():
            self.supervisor.stop_service(name)

    def start(self) -> None:
        for name in self.names():
            self.supervisor.start_service(name)


@contextmanager
def standing_still(settings: Settings) -> Iterator[Workers]:
    """No frame is scored by the stream, until they are started again."""
    workers = Workers(supervisor=Supervisor(Home(settings.stack.home)))
    workers.stop()
    try:
        yield workers
    finally:
        workers.start()


def rows(settings: Settings, query: str, *values: object) -> list[dict[str, Any]]:
    with psycopg.connect(settings.postgres.conninfo, row_factory=dict_row) as connection:
        return connection.execute(query, values).fetchall()


def frames_of(settings: Settings, camera: str) -> list[dict[str, Any]]:
    return rows(
        settings,
        "SELECT frame_id::text, captured_at, object_key FROM frames WHERE camera_id = %s ORDER BY frame_id",
        camera,
    )


def predictions_of(settings: Settings, camera: str) -> list[dict[str, Any]]:
    return rows(
        settings,
        "SELECT frame_id::text, model_version, role, run_id, status, labels FROM predictions WHERE camera_id = %s"
        " ORDER BY frame_id, model_version",
        camera,
    )


def send(settings: Settings, camera: str, count: int, *, size: int = 320) -> list[dict[str, Any]]:
    """Frames whose rows and objects are there."""
    succeed(settings, "send", f"simulator:?size={size}", "--camera", camera, "--count", str(count))
    eventually(lambda: len(frames_of(settings, camera)) == count, seconds=SINK_SECONDS, every=0.5)
    frames = frames_of(settings, camera)
    store = FrameStore(settings.s3)
    missing = {frame["object_key"] for frame in frames}

    def all_stored() -> bool:
        missing.difference_update([key for key in missing if store.head(key)])
        return not missing

    eventually(all_stored, seconds=SINK_SECONDS, every=0.5)
    store.close()
    return frames


def form_of(camera: str, frames: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What a person fills in who wants exactly these."""
    return {
        "cameras": [camera],
        "since": f"{frames[0]['captured_at'].isoformat()}Z",
        "until": f"{(frames[-1]['captured_at'] + timedelta(milliseconds=1)).isoformat()}Z",
        **more,
    }


def assert_audit_closes(settings: Settings, camera: str, *, stored: int) -> None:
    outcome = run(settings, "audit", "--camera", camera, "--wait", "180", "--json", seconds=240)
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.answer["stored"] == stored, outcome.out
