"""A server under measurement: on the measured core with all its processes, frozen while others have their turn.

with Server(contender) as server:     started, ready
    with server.turn():               thawed; frozen again afterwards: idle peers burn a fifth of a core
        attack(...)
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psutil

from sightline.stack.ports import is_held
from tests.bench.harness import ROOT
from tests.bench.load import Target
from tests.bench.stage import MEASURED

READY_SECONDS: Final = 120
_PORTS: Final = iter(range(36_000, 37_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server, how it is started and how it is spoken to."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    target: Target
    boxes: Callable[[Any], list[list[float]]]  # from its answer's JSON


class Server:
    """One contender's processes."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        self.contender = contender
        self._log = folder / f"{contender.name.replace(' ', '-')}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.contender.command,
                cwd=ROOT,
                env={**_clean_environment(), **self.contender.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, MEASURED),
            )
        try:
            self.first_answer = self._await_answer()
        except BaseException:
            self.__exit__()
            raise
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        processes = self._processes()
        self._signal(signal.SIGCONT)
        self._process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=15)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Its processes run for a while."""
        self._signal(signal.SIGCONT)
        try:
            for body in self.contender.target.bodies[:3]:
                self._ask(body).raise_for_status()
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def cpu_seconds(self) -> float:
        """Of all its processes until now."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(one.user + one.system for one in times)

    def _await_answer(self) -> list[list[float]]:
        """Boxes of the first image, once it answers."""
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        reason = ""
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                answer = self._ask(self.contender.target.bodies[0])
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if answer.status_code == 200:
                    return self.contender.boxes(answer.json())
                reason = f"{answer.status_code} {answer.text[:500]}"
            time.sleep(0.2)
        raise AssertionError(f"{self.contender.name} does not answer: {reason}\n{self._log.read_text()[-3000:]}")

    def _ask(self, body: Path) -> httpx.Response:
        target = self.contender.target
        return httpx.post(target.url, content=body.read_bytes(), headers=dict(target.headers), timeout=30)

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def a_free_port() -> int:
    """Another one at each call."""
    return next(port for port in _PORTS if not is_held(port))


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
