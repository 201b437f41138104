"""The launcher waits until the disk has room for a service that would recover badly without."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sightline.stack import launch


def test_a_full_disk_is_waited_for_and_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = iter([0, 63, 64])
    asked: list[str] = []

    def usage(folder: str) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=next(free) << 20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(launch.time, "sleep", lambda _seconds: None)
    launch._wait_for_room("/data", 64 << 20)
    assert asked == ["/data"] * 3
    assert capsys.readouterr().err == "the disk of /data is full: waiting for 64 MiB\n"


def test_the_broker_is_not_started_on_a_full_disk(tmp_path: Path) -> None:
    """Its metadata log was recovered as an empty one there, and every topic was gone."""
    from contracts.settings import Settings
    from sightline.stack import install
    from sightline.stack.home import Home
    from sightline.stack.services import services

    settings = Settings()
    known = {each.name: each for each in services(Home(tmp_path), settings, install.binaries(settings))}
    assert known["kafka"].room == (tmp_path / "data" / "kafka", 64 << 20)
