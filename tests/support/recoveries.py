"""What the fault tests measured, for the table at the end of the run."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One scenario."""

    scenario: str
    seconds: float  # from the fault's end until a frame captured after it is object, row and prediction
    fault_seconds: float  # how long the fault lasted
    frames: int  # acknowledged, and all accounted for
    frames_per_second: float
    is_closed: bool
    note: str = ""


MEASURED: list[Recovery] = []


def table() -> list[str]:
    """Lines for a terminal."""
    if not MEASURED:
        return []
    width = max(len(each.scenario) for each in MEASURED)
    head = f"{'scenario':<{width}}  {'fault':>8}  {'recovery':>9}  {'frames':>6}  {'per s':>5}  audit"
    return [
        head,
        *(
            f"{each.scenario:<{width}}  {each.fault_seconds:>6.1f} s  {each.seconds:>7.1f} s  {each.frames:>6}  "
            f"{each.frames_per_second:>5.1f}  {'closed' if each.is_closed else 'NOT closed'}"
            f"{'   ' + each.note if each.note else ''}"
            for each in MEASURED
        ),
    ]


def write(file: Path) -> None:
    """The same as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": psutil.cpu_count(),
        "load": psutil.getloadavg(),
        "machine": platform.platform(),
    }
    file.write_text(json.dumps(about | {"scenarios": [asdict(each) for each in MEASURED]}, indent=1) + "\n")
