"""What supervisord starts for every service: waits for what it needs, then becomes it.

    launch.py <home>/run/<service>.json <home>/run/<service>.lives

    {"argv": [...], "environment": {...}, "folder": "...", "needs": [["127.0.0.1", 19092], ...],
     "room": ["<home>/data/kafka", 67108864]}

Secrets come by this 0600 file, never on a command line. A service that dies young is started again after 1, 2, 4 … 30
seconds, without limit: supervisord itself would give up, or spin. Standard library only: nothing stays after the exec.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

YOUNG_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 30.0
UNRECORDED_PAUSE_SECONDS = 5.0


def main() -> None:
    """Runs as the service's process from here on."""
    order = json.loads(Path(sys.argv[1]).read_text())
    _pause(Path(sys.argv[2]))
    for host, port in order["needs"]:
        _wait_for(host, port)
    if order.get("room"):
        _wait_for_room(*order["room"])
    os.chdir(order["folder"])
    os.execve(order["argv"][0], order["argv"], {**os.environ, **order["environment"]})  # noqa: S606 - no shell wanted


def next_pause(*, lived_seconds: float, last_pause: float) -> float:
    """Seconds to wait before the next start: none after a long life, twice the last pause after a short one."""
    if lived_seconds > YOUNG_SECONDS:
        return 0.0
    return min(max(1.0, 2 * last_pause), LONGEST_PAUSE_SECONDS)


def _pause(lives: Path) -> None:
    """Counts this start and waits its turn. `up` removes the file, so that a start by hand is at once."""
    try:
        before = json.loads(lives.read_text())
    except (OSError, ValueError):
        before = None
    pause = 0.0
    if before:
        pause = next_pause(lived_seconds=time.time() - before["at"], last_pause=before["pause"])
        if pause:
            print(f"died young: next start in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)
    starts = before["starts"] + 1 if before else 1
    try:
        lives.write_text(json.dumps({"starts": starts, "at": time.time(), "pause": pause}))
    except OSError as error:  # each start is like the first then: without a pause, who dies of the full disk would spin
        print(f"{lives}: {error.strerror}: starts are not counted", file=sys.stderr, flush=True)
        time.sleep(UNRECORDED_PAUSE_SECONDS)


def _wait_for(host: str, port: int) -> None:
    """Until something listens there. Without limit: a neighbour that is away is waited for."""
    is_told = False
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            if not is_told:
                print(f"waiting for port {port}", file=sys.stderr, flush=True)
                is_told = True
            time.sleep(0.2)
        else:
            return


def _wait_for_room(folder: str, wanted: int) -> None:
    """Until so many bytes are free there. Without limit: a service that recovers on a full disk may lose its data."""
    is_told = False
    while shutil.disk_usage(folder).free < wanted:
        if not is_told:
            print(f"the disk of {folder} is full: waiting for {wanted >> 20} MiB", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(0.5)


if __name__ == "__main__":
    main()
