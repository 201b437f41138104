"""The command line as a user runs it: a process of its own against the stack under test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """What --json printed."""
        return json.loads(self.out)


def environment(stack: Settings, **extra: str) -> dict[str, str]:
    """This process's environment with the stack under test as the one that is used, and what is given beside it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    return kept | {"SIGHTLINE_STACK__HOME": str(stack.stack.home)} | extra


def start(stack: Settings, *arguments: str | Path, **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sightline.cli", *map(str, arguments)],
        env=environment(stack, **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], *, seconds: float = 300) -> Outcome:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args} did not end within {seconds} s:\n{out}\n{err}") from None
    return Outcome(code=process.returncode, out=out, err=err)


def run(stack: Settings, *arguments: str | Path, seconds: float = 300, **extra: str) -> Outcome:
    return finish(start(stack, *arguments, **extra), seconds=seconds)


def run_as(stack: Settings, person: str, *arguments: str | Path, seconds: float = 300) -> Outcome:
    """As a demo user of profile full, each with a login of their own."""
    kept = {"SIGHTLINE_LOGIN__TOKEN_FILE": str(stack.stack.home / f"login-{person}.json")}
    if not Path(kept["SIGHTLINE_LOGIN__TOKEN_FILE"]).is_file():
        logged_in = run(stack, "login", "--user", person, **kept)
        assert logged_in.code == 0, logged_in.err
    return run(stack, *arguments, seconds=seconds, **kept)


def succeed(stack: Settings, *arguments: str | Path, seconds: float = 300) -> Outcome:
    outcome = run(stack, *arguments, seconds=seconds)
    assert outcome.code == 0, (
        f"sightline {' '.join(map(str, arguments))}: exit {outcome.code}\n{outcome.out}\n{outcome.err}"
    )
    return outcome
