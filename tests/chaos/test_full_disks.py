"""Not a byte is free for Postgres, then for the broker. Each has a small filesystem of its own."""

from __future__ import annotations

import time

from contracts.settings import Settings
from tests.support.breakage import log_end, said
from tests.support.flow import flowing
from tests.support.small_disk import SmallDisk
from tests.support.waiting import eventually

FULL_SECONDS = 10  # after it was noticed
NO_SPACE = "No space left on device"


def disk_of(plant, name: str) -> SmallDisk:
    assert plant.disks, "a small disk is mounted for this test, and mounting needs root: run it as root"
    return plant.disks[name]


def test_postgres_with_a_full_disk_goes_on_when_there_is_room(plant, stack: Settings) -> None:
    fill(plant, stack, "postgres", scenario="disk full, Postgres")


def test_a_broker_with_a_full_disk_goes_on_when_there_is_room(plant, stack: Settings) -> None:
    fill(plant, stack, "kafka", scenario="disk full, broker")


def fill(plant, stack: Settings, name: str, *, scenario: str) -> None:
    disk = disk_of(plant, name)
    with flowing(stack, scenario) as flow:
        flow.fault_begins()
        with disk.full():
            mark = log_end(stack, name)
            eventually(lambda: NO_SPACE in said(stack, name, since=mark), seconds=120)
            time.sleep(FULL_SECONDS)
        flow.fault_ends()
    assert disk.free_bytes > 0
