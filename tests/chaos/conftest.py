"""One stack for all faults, and the table of what they cost, printed at the end and written under runs/chaos/.

Only when asked for by path: `make chaos`, or pytest tests/chaos.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.settings import Settings, StackSettings
from sightline.stack import install, storage
from sightline.stack.home import Home, write_settings
from sightline.stack.supervision import Supervisor
from tests.support import recoveries, small_disk
from tests.support.stack import DOWN_SECONDS, a_home, free_port_base, settings_of, sightline

# Frames are on both: at 10 a second they last for hours.
BROKER_MEGABYTES = 1536
POSTGRES_MEGABYTES = 2048

MEASUREMENTS = Path(__file__).resolve().parents[2] / "runs" / "chaos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The stack to break."""

    settings: Settings
    disks: dict[str, small_disk.SmallDisk]  # kafka and postgres, where this user may mount


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if any("chaos" in argument for argument in config.args) else True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not recoveries.MEASURED:
        return
    terminalreporter.section("faults and recoveries")
    for line in recoveries.table():
        terminalreporter.line(line)
    file = MEASUREMENTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    recoveries.write(file)
    terminalreporter.line(f"\nwritten to {file.relative_to(MEASUREMENTS.parents[1])}")


@pytest.fixture(scope="session")
def plant() -> Iterator[Plant]:
    """Broker and Postgres on small disks of their own, mounted before their first start."""
    with a_home() as folder:
        disks = _small_disks(folder)
        try:
            sightline(folder, "up")
            yield Plant(settings=settings_of(folder), disks=disks)
        finally:
            try:
                sightline(folder, "down", seconds=DOWN_SECONDS)
                left = Supervisor(Home(folder)).leftovers()
                assert not left, f"still alive after sightline down: {left}"
            finally:
                for disk in disks.values():
                    disk.unmount()


@pytest.fixture
def stack(plant: Plant) -> Settings:
    return plant.settings


def _small_disks(folder: Path) -> dict[str, small_disk.SmallDisk]:
    """Without root there are none, and only the two tests that need them fail."""
    home = Home(folder)
    home.make()
    settings = Settings(stack=StackSettings(home=folder, port_base=free_port_base()))
    write_settings(home, settings, {})
    if os.geteuid() != 0:
        return {}
    settings = settings_of(folder)
    storage.prepare_postgres(home, settings, install.ensure(settings))
    return {
        "postgres": small_disk.mount(home.data / "postgres", megabytes=POSTGRES_MEGABYTES),
        "kafka": small_disk.mount(home.data / "kafka", megabytes=BROKER_MEGABYTES),
    }
