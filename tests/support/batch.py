"""What batch jobs work on, for tests: rows of frames that are to be scored, a store in memory, a job's run.

frame = a_frame_to_score(image=jpeg())     digest and key fit the image
store = MemoryStore({frame.object_key: jpeg()})
score(stack, "--camera", "c1", ...)        `python -m inference.batch score` as a process
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from contracts.errors import Rejected, Transient
from contracts.identifiers import from_milliseconds, new_id
from contracts.settings import Settings
from inference.persistence.outstanding import FrameToScore
from tests.support.command_line import environment, finish

AT = from_milliseconds(1_763_884_800_000)


def a_frame_to_score(image: bytes = b"image", **changes: Any) -> FrameToScore:
    frame_id = new_id(AT)
    values: dict[str, Any] = {
        "frame_id": frame_id,
        "camera_id": "c1",
        "captured_at": AT,
        "width": 64,
        "height": 48,
        "sha256": sha256(image).hexdigest(),
        "object_key": f"{frame_id}.jpg",
        "traceparent": None,
    }
    return FrameToScore(**(values | changes))


class MemoryStore:
    """Objects in memory; away for the first `failures` reads."""

    def __init__(self, objects: dict[str, bytes], *, failures: int = 0) -> None:
        self._objects = objects
        self._failures = failures

    def get(self, key: str) -> bytes:
        if self._failures:
            self._failures -= 1
            raise Transient("away")
        if key not in self._objects:
            raise Rejected("no such object", code="no_object")
        return self._objects[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    code: int
    result: dict[str, Any]  # empty: it wrote none
    log: str


def start_score(stack: Settings, *arguments: str, result: Path, **extra: str) -> subprocess.Popen[str]:
    """The job over the last hour, unless told otherwise."""
    now = datetime.now(UTC)
    times = {"--since": now - timedelta(hours=1), "--until": now + timedelta(minutes=1)}
    given = [word for name, at in times.items() if name not in arguments for word in (name, at.isoformat())]
    return subprocess.Popen(
        [sys.executable, "-m", "inference.batch", "score", "--result", str(result), *given, *arguments],
        env=environment(stack, **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def score(stack: Settings, *arguments: str, seconds: float = 240, **extra: str) -> Scored:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        ended = finish(start_score(stack, *arguments, result=result, **extra), seconds=seconds)
        written = json.loads(result.read_text()) if result.exists() else {}
        return Scored(code=ended.code, result=written, log=ended.out)
