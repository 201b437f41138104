"""Airflow's LocalExecutor, whose workers do not outlive their scheduler.

scheduler ──queue──► worker, worker, …      a scheduler that ends hands each of them a "no more"
    └─ killed -9: nobody does, and they would wait for ever beside those of the next one. Here each hands itself one.

A task that was running is tried again, as Airflow has it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import Any, Final

from airflow.executors import local_executor

LOOK_SECONDS: Final = 1.0


class LocalExecutor(local_executor.LocalExecutor):
    """Named in the setting core.executor."""

    def _spawn_worker(self) -> None:
        """As Airflow's own, with another function in the process."""
        worker = multiprocessing.Process(
            target=work,
            kwargs={
                "scheduler": os.getpid(),
                "logger_name": self.log.name,
                "input": self.activity_queue,
                "output": self.result_queue,
                "unread_messages": self._unread_messages,
                "team_conf": self.conf,
            },
        )
        worker.start()
        self.workers[worker.pid] = worker


def work(*, scheduler: int, **given: Any) -> None:
    """A worker's life: Airflow's loop, which ends with its scheduler."""
    threading.Thread(target=_end_with, args=(scheduler, given["input"]), daemon=True).start()
    local_executor._run_worker(**given)  # noqa: SLF001 - Airflow has no other way in
    if os.getppid() != scheduler:  # a sibling's word may have come here, and our own thread ends with us unheard
        given["input"].put(None)


def _end_with(scheduler: int, queue: Any) -> None:
    """Says "no more" when the scheduler is gone. What the queue held before is done first."""
    while os.getppid() == scheduler:
        time.sleep(LOOK_SECONDS)
    queue.put(None)
