"""The real local stack for tests: a home in a temporary folder, free ports, stopped and checked at the end.

    def test_something(stack: Settings): ...          one stack per session, started when first asked for
    def test_something(full_stack: Settings): ...     the same in profile full, which tests may promote on
    with running_stack() as settings: ...             one of your own, to break

Binaries come from the developer's cache.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.ports import is_held, ports
from sightline.stack.supervision import Supervisor

UP_SECONDS = 540
DOWN_SECONDS = 180
_TAKEN: list[IO[str]] = []
CACHE = "SIGHTLINE_STACK__CACHE"


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """The stack that all tests of a session share: do not break it."""
    with running_stack(workers=2) as settings:
        yield settings


@pytest.fixture(scope="session")
def full_stack() -> Iterator[Settings]:
    """The stack of profile full that all tests of a session share. Who is champion is nobody's to rely on."""
    with running_stack(profile="full") as settings:
        yield settings


@contextmanager
def running_stack(
    *,
    workers: int = 1,
    profile: str = "core",
    first_model: Path | None = None,
    airflow: bool = False,
    dags: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Settings]:
    """A stack that takes frames. Airflow, which few tests need, when asked for. Leaves no process and no file.

    `extra` are settings that `up` finds in its environment.
    """
    with a_home() as home:
        try:
            base = str(free_port_base())
            first = ["--first-model", str(first_model)] if first_model else []
            given = {"SIGHTLINE_STACK__DAGS": str(dags)} if dags else {}
            jobs = "--airflow" if airflow else "--no-airflow"
            sightline(
                home,
                "up",
                "--profile",
                profile,
                "--port-base",
                base,
                "--workers",
                str(workers),
                jobs,
                *first,
                extra={**given, **(extra or {})},
            )
            yield settings_of(home)
        finally:
            sightline(home, "down", seconds=DOWN_SECONDS)
            left = Supervisor(Home(home)).leftovers()
            assert not left, f"still alive after sightline down: {left}"


@contextmanager
def a_home() -> Iterator[Path]:
    """An empty home."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def free_port_base() -> int:
    """A base whose whole table is free, and stays this process's until it ends: others may be testing too."""
    folder = Path(tempfile.gettempdir()) / "sightline-test-ports"
    folder.mkdir(exist_ok=True)
    while True:
        base = random.randrange(20_000, 31_000, 120)
        table = ports(Settings().stack.model_copy(update={"port_base": base}))
        if any(map(is_held, table.values())):
            continue
        lock = (folder / str(base)).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _TAKEN.append(lock)
        return base


def settings_of(home: Path) -> Settings:
    """What a command of this home reads."""
    return Settings.load(home=home) if not _foreign() else _refuse()


def environment(home: Path) -> dict[str, str]:
    """This process's environment, with this home and nothing else of Sightline's but the cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_") or name == CACHE}
    return kept | {"SIGHTLINE_STACK__HOME": str(home)}


def sightline(
    home: Path, *arguments: str, seconds: float = UP_SECONDS, code: int = 0, extra: Mapping[str, str] | None = None
) -> str:
    """Runs the command line, asserts its exit code, returns what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "sightline.cli", *arguments],
        env={**environment(home), **(extra or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == code, f"sightline {' '.join(arguments)}: exit {ended.returncode}, not {code}\n{said}"
    return said


def _foreign() -> list[str]:
    return [name for name in os.environ if name.startswith("SIGHTLINE_") and name != CACHE]


def _refuse() -> Settings:
    raise AssertionError(f"unset {', '.join(_foreign())}: the tests bring a stack of their own")
