from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

WORKERS = 4
STARTS = f"""
import time
from sightline_airflow.executor import LocalExecutor

executor = LocalExecutor(parallelism={WORKERS})
executor.start()
print(*executor.workers, flush=True)
time.sleep(600)
"""


def live(pids: list[int]) -> list[int]:
    """Those that are neither gone nor dead and not yet fetched by whoever inherited them."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_workers_end_when_their_scheduler_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        workers = []
        while len(workers) != WORKERS:  # after whatever Airflow says on the way
            line = scheduler.stdout.readline()
            assert line, "it ended"
            workers = [int(word) for word in line.split() if word.isdigit()]
        time.sleep(3)
        assert live(workers) == workers  # as long as it lives, so do they
        os.kill(scheduler.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while live(workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert live(workers) == []
