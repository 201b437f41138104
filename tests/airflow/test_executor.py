from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

WORKERS = 4
STARTS = f"""
import sys
import time
from pathlib import Path
from sightline_airflow.executor import LocalExecutor

executor = LocalExecutor(parallelism={WORKERS})
executor.start()
told = Path(sys.argv[1])
told.with_suffix(".new").write_text(" ".join(map(str, executor.workers)))
told.with_suffix(".new").rename(told)
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


def test_workers_end_when_their_scheduler_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "workers"
    with subprocess.Popen([sys.executable, "-c", STARTS, str(told)]) as scheduler:
        try:
            while not told.exists():
                assert scheduler.poll() is None, "it ended"
                time.sleep(0.1)
            workers = [int(pid) for pid in told.read_text().split()]
            assert len(workers) == WORKERS
            time.sleep(3)
            assert live(workers) == workers  # as long as it lives, so do they
        finally:
            os.kill(scheduler.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while live(workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert live(workers) == []
