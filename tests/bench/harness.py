"""Ratios, not timings: a shared machine's seconds are noise, two sides measured in turns on it are not.

    paired(ours, reference, rounds=5)   A B, B A, A B, ...  → median of the paired ratios, their spread
    in_turns(sides, rounds=5)           A B C, C B A, ...   → what each side returned, round by round
    Report.write()                      a section in docs/benchmarks.md: machine, commit, command, one line a row

A side is a function that does its work once and returns a rate (units a second) or a duration (seconds).
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"

Side = Callable[[], float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report."""

    name: str
    figure: str  # what was measured, with its unit
    goal: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """What a paired measurement found. Rates are per second."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(ours / reference for ours, reference in zip(self.ours, self.reference, strict=True))

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def row(self, name: str, *, unit: str, goal: str) -> Row:
        return Row(
            name=name,
            figure=f"{self.median:.2f} ({min(self.ratios):.2f} to {max(self.ratios):.2f})",
            goal=goal,
            detail=f"{statistics.median(self.ours):.1f} against {statistics.median(self.reference):.1f} {unit}, "
            f"{len(self.ratios)} rounds",
        )


def paired(ours: Side, reference: Side, *, rounds: int = 5, announce: Callable[[str], None] = print) -> Ratios:
    """Measures both sides `rounds` times, the order changing from round to round so that drift hits both alike."""

    def tell(number: int, found: Mapping[str, list[float]]) -> None:
        announce(f"  round {number} of {rounds}: {found['ours'][-1]:.1f} against {found['reference'][-1]:.1f}")

    found = in_turns({"ours": ours, "reference": reference}, rounds=rounds, tell=tell)
    return Ratios(ours=tuple(found["ours"]), reference=tuple(found["reference"]))


def in_turns(
    sides: Mapping[str, Callable[[], T]], *, rounds: int, tell: Callable[[int, Mapping[str, list[T]]], None]
) -> Mapping[str, list[T]]:
    """Measures several sides `rounds` times: forwards, backwards, forwards, ... `tell` hears of each round's end."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(sides):
            found[name].append(sides[name]())
        tell(number + 1, found)
    return found


def pin(pid: int, cores: Sequence[int]) -> None:
    """Binds a process, all its threads and its children to cores."""
    import psutil

    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)


@dataclass(slots=True, kw_only=True)
class Report:
    """The rows of one run, appended to docs/benchmarks.md with what is needed to run them again."""

    command: str
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(f"{row.name}: {row.figure} (goal {row.goal}) {row.detail}", flush=True)

    def write(self, page: Path = PAGE) -> None:
        lines = [
            "",
            f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}",
            "",
            f"`{self.command}` on {_machine()}",
            "",
            "| row | figure | goal | detail |",
            "|---|---|---|---|",
            *(f"| {row.name} | {row.figure} | {row.goal} | {row.detail} |" for row in self.rows),
            "",
        ]
        with page.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines))


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")


def _machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f} at the end"
