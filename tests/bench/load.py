"""Load on a server, by vegeta: a program of its own, so that Python's lock is not part of what is measured.

attack(target, clients=8, seconds=5)   closed loop: each client sends its next request when it has its answer
attack(target, rate=75, seconds=10)    open loop: requests come at that rate, whatever becomes of them
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.go_tools import VEGETA

_NANOSECONDS: Final = 1e9
GIVE_UP_SECONDS: Final = 30.0
IN_TIME_SECONDS: Final = 1.0  # an answer that comes later is of no use to a caller; what counts as goodput


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go, and what they carry."""

    url: str
    headers: Mapping[str, str]
    bodies: Sequence[Path]  # sent in turn

    def write(self, file: Path) -> None:
        """As vegeta reads it."""
        # Go's client asks for gzip unless told otherwise, and some servers then spend their time on it.
        headers = {"Accept-Encoding": "identity", **self.headers}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        file.write_text("\n\n".join("\n".join([f"POST {self.url}", *lines, f"@{body}"]) for body in self.bodies) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One request's end."""

    began: float  # seconds
    seconds: float
    status: int  # 0: no answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of an attack."""

    seconds: float  # for which requests were sent
    replies: tuple[Reply, ...]

    @property
    def accepted(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status == 200]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self._per_second(self.accepted)

    @property
    def goodput(self) -> float:
        """Answers a second that came in time."""
        return self._per_second([reply for reply in self.accepted if reply.seconds <= IN_TIME_SECONDS])

    def _per_second(self, replies: Sequence[Reply]) -> float:
        begin = min(reply.began for reply in self.replies)
        end = max((reply.began + reply.seconds for reply in replies), default=begin)
        return len(replies) / max(self.seconds, end - begin)

    def percentile(self, share: float) -> float:
        """Seconds, of the accepted."""
        ordered = sorted(reply.seconds for reply in self.accepted)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")

    @property
    def statuses(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for reply in self.replies:
            found[reply.status] = found.get(reply.status, 0) + 1
        return found


def attack(target: Target, folder: Path, *, seconds: float, clients: int = 0, rate: float = 0.0) -> Load:
    """Sends for so many seconds, then waits for the answers that are still due.

    Args:
        clients: of a closed loop; or
        rate: of an open loop, requests a second.
    """
    targets, results = folder / "targets", folder / "results"
    target.write(targets)
    # Exactly one of the two is given: 0 in -rate means as fast as the workers get answers.
    pace = (
        [f"-rate={round(rate * 100)}/100s"] if rate else ["-rate=0", f"-workers={clients}", f"-max-workers={clients}"]
    )
    vegeta = str(VEGETA.path())
    subprocess.run(
        [vegeta, "attack", f"-targets={targets}", "-format=http", f"-duration={seconds}s", "-max-body=0"]
        + [f"-timeout={GIVE_UP_SECONDS}s", f"-output={results}", *pace],
        check=True,
        timeout=seconds + 2 * GIVE_UP_SECONDS,
    )
    encoded = subprocess.run(
        [vegeta, "encode", "-to=csv", str(results)], check=True, capture_output=True, text=True, timeout=60
    )
    return Load(seconds=seconds, replies=tuple(_replies(encoded.stdout)))


def _replies(text: str):
    for line in csv.reader(text.splitlines()):
        yield Reply(began=int(line[0]) / _NANOSECONDS, seconds=int(line[2]) / _NANOSECONDS, status=int(line[1]))
