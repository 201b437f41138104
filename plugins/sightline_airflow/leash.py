"""Runs a command that ends when whoever started it is gone: `python leash.py WORD…`.

    starter ──pipe──► leash ──► the command, in a process group of its own
              │
              └─ closed, by a word or by the starter's death ──► TERM to the group, 3 s later KILL

A task that is cleared, a scheduler that is killed -9: the job and its children never outlive them. Needs nothing but
Python, for it starts with each job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Final

GRACE_SECONDS: Final = 3.0  # Airflow itself kills a task 5 s after it asked
_KILLED: Final = 128


def main(words: list[str]) -> int:
    """Runs the command. Returns its exit code; of a signal, 128 and its number, as a shell says it."""
    heard: list[int] = []
    groups: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        for group in groups:
            _signal_group(group, signal.SIGTERM)

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, hear)
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    groups.append(child.pid)
    if heard:  # while the command was being started
        _signal_group(child.pid, signal.SIGTERM)
    threading.Thread(target=_end_with_the_starter, args=(child.pid,), daemon=True).start()
    code = child.wait()
    _end_group(child.pid)
    return code if code >= 0 else _KILLED - code


def _end_with_the_starter(group: int) -> None:
    """Waits for the end of the pipe."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    _end_group(group)


def _end_group(group: int) -> None:
    if not _signal_group(group, signal.SIGTERM):
        return
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        if not _signal_group(group, 0):
            return
        time.sleep(0.05)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, what: int) -> bool:
    """Whether there was anybody to hear it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(group, what)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
