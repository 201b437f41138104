"""Real boards and a real video, which the repository does not hold: `make test BOARDS=folder VIDEO=file`.

Without them these tests are listed as not run.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import pytest

from contracts.settings import Settings
from tests.e2e.test_spine import assert_audit_closes, frames_of, object_bytes
from tests.support.command_line import succeed


def given(name: str) -> Path:
    if not os.environ.get(name):
        pytest.skip(f"not run: give {name}=path")
    path = Path(os.environ[name])
    assert path.exists(), f"{name}={path} is not there"
    return path


@pytest.mark.boards
def test_all_boards_are_stored_byte_for_byte(stack: Settings) -> None:
    folder = given("BOARDS")
    files = [file for file in folder.rglob("*") if file.suffix in {".jpg", ".jpeg", ".png"}]
    succeed(stack, "send", folder, "--camera", "real-boards", seconds=600)
    assert_audit_closes(stack, "real-boards", stored=len(files), wait=900)
    stored = [
        hashlib.sha256(object_bytes(stack, row["object_key"])).hexdigest() for row in frames_of(stack, "real-boards")
    ]
    assert sorted(stored) == sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


@pytest.mark.boards
def test_every_frame_of_the_video_is_stored_as_its_record_says(stack: Settings) -> None:
    video = given("VIDEO")
    reader = cv2.VideoCapture(str(video))
    frames = 0
    while reader.grab():
        frames += 1
    succeed(stack, "send", video, "--camera", "real-video", seconds=600)
    assert_audit_closes(stack, "real-video", stored=frames, wait=900)
    for row in frames_of(stack, "real-video"):
        assert hashlib.sha256(object_bytes(stack, row["object_key"])).hexdigest() == row["sha256"]
