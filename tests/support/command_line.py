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


def environment(stack: Settings) -> dict[str, str]:
    """This process's environment with the stack under test as the one that is used."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    return kept | {"SIGHTLINE_STACK__HOME": str(stack.stack.home)}


def start(stack: Settings, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sightline.cli", *map(str, arguments)],
        env=environment(stack),
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


def run(stack: Settings, *arguments: str | Path, seconds: float = 300) -> Outcome:
    return finish(start(stack, *arguments), seconds=seconds)


def succeed(stack: Settings, *arguments: str | Path, seconds: float = 300) -> Outcome:
    outcome = run(stack, *arguments, seconds=seconds)
    assert outcome.code == 0, (
        f"sightline {' '.join(map(str, arguments))}: exit {outcome.code}\n{outcome.out}\n{outcome.err}"
    )
    return outcome
