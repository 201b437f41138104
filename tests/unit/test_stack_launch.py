"""The launcher: becomes the service, waits for what it needs, paces one that dies young."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.stack import launch


@pytest.mark.parametrize(
    ("lived", "last", "expected"),
    [(0.1, 0.0, 1.0), (0.1, 1.0, 2.0), (0.1, 16.0, 30.0), (0.1, 30.0, 30.0), (21.0, 30.0, 0.0)],
)
def test_pauses_double_up_to_a_bound_and_end_after_a_long_life(lived: float, last: float, expected: float):
    assert launch.next_pause(lived_seconds=lived, last_pause=last) == expected


def started(tmp_path: Path, program: str, *, needs: list[list[object]] | None = None) -> subprocess.Popen[str]:
    order = {
        "argv": [sys.executable, "-c", program],
        "environment": {"A_SECRET": "hush"},
        "folder": str(tmp_path),
        "needs": needs or [],
    }
    (tmp_path / "order").write_text(json.dumps(order))
    command = [sys.executable, "-S", "-E", launch.__file__, str(tmp_path / "order"), str(tmp_path / "lives")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_becomes_the_service_in_its_folder_with_its_environment(tmp_path: Path):
    process = started(tmp_path, "import os; print(os.getpid(), os.getcwd(), os.environ['A_SECRET'])")
    out, _ = process.communicate(timeout=30)
    assert out.split() == [str(process.pid), str(tmp_path), "hush"]
    assert json.loads((tmp_path / "lives").read_text())["starts"] == 1


def test_a_second_start_soon_after_is_counted_and_paused(tmp_path: Path):
    (tmp_path / "lives").write_text(json.dumps({"starts": 3, "at": time.time(), "pause": 0.0}))
    begun = time.monotonic()
    _, said = started(tmp_path, "").communicate(timeout=30)
    assert 1.0 <= time.monotonic() - begun < 10
    assert "next start in 1 s" in said
    assert json.loads((tmp_path / "lives").read_text())["starts"] == 4


def test_a_torn_record_of_lives_is_no_obstacle(tmp_path: Path):
    (tmp_path / "lives").write_text('{"starts": 1')
    process = started(tmp_path, "print('here')")
    assert process.communicate(timeout=30)[0] == "here\n"


def test_a_start_that_cannot_be_counted_is_slow_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    slept: list[float] = []
    monkeypatch.setattr(launch.time, "sleep", slept.append)
    (tmp_path / "lives").mkdir()  # nothing can be written there
    launch._pause(tmp_path / "lives")
    assert slept == [launch.UNRECORDED_PAUSE_SECONDS]
    assert "Is a directory: starts are not counted" in capsys.readouterr().err


def test_it_waits_for_the_port_of_what_it_needs(tmp_path: Path):
    with socket.socket() as neighbour:
        neighbour.bind(("127.0.0.1", 0))
        port = neighbour.getsockname()[1]
        process = started(tmp_path, "print('here')", needs=[["127.0.0.1", port]])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        neighbour.listen()
        out, said = process.communicate(timeout=30)
    assert (out, said) == ("here\n", f"waiting for port {port}\n")
