"""`sightline logs`: the end of the services' logs, and what comes after."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.supervision import tail

_POLL_SECONDS: Final = 0.3


def show(settings: Settings, service: str | None, *, lines: int, follow: bool) -> None:
    """Prints the last lines of one service's log or of all, and with `follow` every line after them until Ctrl-C.

    Raises:
        Misconfigured: there is no such log.
    """
    files = _files(Home(settings.stack.home.expanduser().absolute()), service)
    ends = {file: file.stat().st_size for file in files}  # before the tail is read: a line twice rather than none
    for file in files:
        for line in tail(file, lines).splitlines() if lines else ():
            print(_named(file, line, files))
    if follow:
        try:
            for file, line in _followed(ends):
                print(_named(file, line, files), flush=True)
        except KeyboardInterrupt:
            return


def _files(home: Home, service: str | None) -> list[Path]:
    present = {file.stem: file for file in sorted(home.logs.glob("*.log"))}
    if not present:
        raise Misconfigured(f"no logs in {home.logs}: sightline up starts the stack")
    if service is None:
        return list(present.values())
    # `stream` stands for all its workers
    wanted = [file for name, file in present.items() if name == service or name.partition("-")[0] == service]
    if not wanted:
        raise Misconfigured(f"there is no service {service}: the logs are {', '.join(present)}")
    return wanted


def _followed(ends: dict[Path, int]) -> Iterator[tuple[Path, str]]:
    """Lines as they come; a file that became shorter was rotated and is read from its start."""
    rest = dict.fromkeys(ends, "")
    while True:
        for file, end in ends.items():
            size = file.stat().st_size if file.is_file() else 0
            start = 0 if size < end else end
            if size == start:
                ends[file] = size
                continue
            with file.open("rb") as stream:
                stream.seek(start)
                text = rest[file] + stream.read(size - start).decode(errors="replace")
            *whole, rest[file] = text.split("\n")
            ends[file] = size
            for line in whole:
                yield file, line
        time.sleep(_POLL_SECONDS)


def _named(file: Path, line: str, files: Sequence[Path]) -> str:
    return line if len(files) == 1 else f"{file.stem:<11} {line}"
