"""supervisord's logs: what befalls their disk costs lines, never the process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from supervisor import loggers

from sightline.stack.supervisord import LogFile


def say(log: LogFile, text: str) -> None:
    log.emit(loggers.LogRecord(loggers.LevelsByName.INFO, text.encode()))


def test_what_cannot_be_written_is_dropped_without_a_word_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log = LogFile("/dev/full", maxBytes=0)
    for _ in range(100):
        say(log, 500 * "x")
    log.close()
    assert capsys.readouterr().err == ""


def test_a_rotation_that_was_broken_off_is_made_up_for_and_the_gap_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(str(folder / "s3.log"), maxBytes=10, backupCount=1)
    shutil.rmtree(folder)
    say(log, "a long enough line\n")
    say(log, "lost\n")
    folder.mkdir()
    say(log, "here\n")
    log.close()
    [rotated] = folder.glob("s3.log.1")
    assert rotated.read_text() == "[lines may be missing here: No such file or directory]\nhere\n"


def test_other_failures_are_still_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = LogFile(str(tmp_path / "s3.log"), maxBytes=0)
    log.setFormat("%(nothing)s")
    say(log, "x")
    log.close()
    assert "KeyError" in capsys.readouterr().err
