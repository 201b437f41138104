"""`sightline logs`: the end of one log or of all, and what follows, across a rotation."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from contracts.settings import Settings, StackSettings
from sightline.stack import log_files
from sightline.stack.home import Home


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Home(tmp_path).make()
    (tmp_path / "logs" / "kafka.log").write_text("k1\nk2\nk3\n")
    (tmp_path / "logs" / "stream-0.log").write_text("s1\n")
    (tmp_path / "logs" / "stream-1.log").write_text("t1\n")
    return Settings(stack=StackSettings(home=tmp_path))


def shown(settings: Settings, capsys: pytest.CaptureFixture[str], service: str | None, lines: int = 2) -> list[str]:
    log_files.show(settings, service, lines=lines, follow=False)
    return capsys.readouterr().out.splitlines()


def test_one_service_is_shown_as_it_is(settings: Settings, capsys: pytest.CaptureFixture[str]):
    assert shown(settings, capsys, "kafka") == ["k2", "k3"]
    assert shown(settings, capsys, "kafka", lines=0) == []


def test_stream_stands_for_all_workers_and_lines_carry_their_names(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    assert [line.split() for line in shown(settings, capsys, "stream")] == [["stream-0", "s1"], ["stream-1", "t1"]]
    assert len(shown(settings, capsys, None)) == 4


def test_an_unknown_service_is_answered_with_the_known_ones(settings: Settings):
    with pytest.raises(Misconfigured, match="the logs are kafka, stream-0, stream-1"):
        log_files.show(settings, "kafak", lines=1, follow=False)


def test_a_home_without_logs_says_how_to_start(tmp_path: Path):
    with pytest.raises(Misconfigured, match="sightline up"):
        log_files.show(Settings(stack=StackSettings(home=tmp_path)), None, lines=1, follow=False)


def test_following_gives_whole_lines_and_survives_a_rotation(tmp_path: Path):
    file = tmp_path / "a.log"
    file.write_text("old\n")
    lines = log_files._followed({file: file.stat().st_size})
    with file.open("a") as stream:
        stream.write("one\ntw")
    assert next(lines) == (file, "one")
    with file.open("a") as stream:
        stream.write("o\n")
    assert next(lines) == (file, "two")
    file.rename(tmp_path / "a.log.1")
    file.write_text("new\n")
    assert next(lines) == (file, "new")
