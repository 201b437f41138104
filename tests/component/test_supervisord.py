"""A real supervisord whose log folder is on a small disk of its own."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sightline.stack.disk_room import full_folders
from sightline.stack.home import Home
from sightline.stack.service import Service
from sightline.stack.supervision import Supervisor, end
from tests.support import small_disk
from tests.support.small_disk import SmallDisk
from tests.support.stack import a_home

# Says in its folder how far it came: its own log is what is full.
TALKER = """
import time
n = 0
while True:
    n += 1
    print(f"line {n} " + 200 * "x", flush=True)
    open("said", "w").write(str(n))
    time.sleep(0.005)
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as folder:
        found = Home(folder)
        found.make()
        yield found


@pytest.fixture
def disk(home: Home) -> Iterator[SmallDisk]:
    small_disk.need_one()
    found = small_disk.mount(home.logs, megabytes=8)
    try:
        yield found
    finally:
        found.unmount()


@pytest.fixture
def supervisor(home: Home, disk: SmallDisk) -> Iterator[Supervisor]:
    found = Supervisor(home)
    found.write([a_service("talker", TALKER), a_service("dying", "raise SystemExit('no')")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it lives on without its Popen, as after `up`
        found.start(os.environ)
    try:
        yield found
    finally:
        found.shut_down()  # and its services
        end(found.leftovers())


def a_service(name: str, program: str) -> Service:
    return Service(
        name=name, purpose="test", command=(sys.executable, "-c", program), environment={}, stop_level=0, stop_seconds=2
    )


def wait_for(is_so: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def said(home: Home) -> int:
    file: Path = home.run / "said"
    return int(file.read_text() or 0) if file.is_file() else 0


def test_a_full_disk_of_logs_ends_neither_supervisord_nor_a_service_and_is_named(
    home: Home, disk: SmallDisk, supervisor: Supervisor
) -> None:
    supervisor.start_service("talker")
    wait_for(lambda: said(home) > 20)
    before = supervisor.processes()["talker"].pid
    with disk.full():
        assert full_folders(home) == [home.logs]
        supervisor.start_service("dying")  # supervisord has something to say for itself, too
        reached = said(home)
        wait_for(lambda: said(home) > reached + 300)  # as much as a pipe and the log's last block hold
        assert supervisor.is_running
        assert supervisor.processes()["talker"].pid == before
    assert full_folders(home) == []
    wait_for(lambda: b"lines may be missing here: No space left on device" in home.log("talker").read_bytes())
    reached = said(home)
    wait_for(lambda: f"line {reached} ".encode() in home.log("talker").read_bytes())
