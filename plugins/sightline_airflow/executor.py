"""Airflow's LocalExecutor, whose workers do not outlive their scheduler.

scheduler ──queue──► worker, worker, …      a scheduler that ends hands each of them a "no more"
    └─ killed -9: nobody does, and they would wait for ever beside those of the next one. Here they look after it.

A task that was running is tried again, as Airflow has it.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Final

from airflow.executors import local_executor

LOOK_SECONDS: Final = 1.0


class LocalExecutor(local_executor.LocalExecutor):
    """Named in the setting core.executor."""

    def _spawn_worker(self) -> None:
        """As Airflow's own, with another end of the queue."""
        worker = multiprocessing.Process(
            target=local_executor._run_worker,  # noqa: SLF001 - Airflow has no other way in
            kwargs={
                "logger_name": self.log.name,
                "input": Input(self.activity_queue, scheduler=os.getpid()),
                "output": self.result_queue,
                "unread_messages": self._unread_messages,
                "team_conf": self.conf,
            },
        )
        worker.start()
        self.workers[worker.pid] = worker


class Input:
    """What a worker reads: a SimpleQueue that is at its end when the scheduler is gone."""

    def __init__(self, queue: Any, *, scheduler: int) -> None:
        self._queue = queue
        self._scheduler = scheduler

    def get(self) -> Any:
        """The next workload.

        Raises:
            EOFError: the scheduler is gone; Airflow's loop ends with it.
        """
        while os.getppid() == self._scheduler:
            with self._queue._rlock:  # noqa: SLF001 - its own get waits without limit
                if self._queue._reader.poll(LOOK_SECONDS):  # noqa: SLF001
                    return self._queue._reader.recv()  # noqa: SLF001
        raise EOFError
