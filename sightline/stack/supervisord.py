"""supervisord itself, with logs that endure a full disk: `python -m sightline.stack.supervisord`, and its arguments.

    a line that cannot be written ──► dropped, supervision goes on ──► room again: a line tells of the gap

Left to itself it dies of its own log: it reports the failed line on stderr, which is on the same disk, and the error of
that report ends it, and with it the stack.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import loggers, supervisord


class LogFile(loggers.RotatingFileHandler):  # type: ignore[misc]  # supervisor has no types
    """A rotating log that failures of its disk interrupt, and never more."""

    stream: Any
    _gap: str | None = None  # why lines are missing that came since the last one written

    def emit(self, record: Any) -> None:
        """Writes a record, or drops it."""
        try:
            if self.stream.closed:  # a rotation was broken off
                self.stream = Path(self.baseFilename).open("ab")  # noqa: SIM115 - for as long as supervisord lives
            if self._gap is not None:
                self.stream.write(f"[lines may be missing here: {self._gap}]\n".encode())
                self.stream.flush()
                self._gap = None
        except OSError as error:
            self._gap = error.strerror
            return
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 - supervisor's name
        """Rotates; where that fails, the next record opens the log again."""
        try:
            super().doRollover()
        except OSError:
            self.handleError()

    def close(self) -> None:
        """Closes the file, with or without its last lines."""
        with suppress(OSError):
            super().close()

    def handleError(self) -> None:  # noqa: N802 - supervisor's name
        """Remembers what befell the disk; tells of anything else, where that can be written."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._gap = error.strerror
            return
        with suppress(OSError):
            super().handleError()


def main() -> None:
    """Runs supervisord until it is told to end."""
    loggers.RotatingFileHandler = LogFile  # both for its own log and for the services'
    supervisord.main()


if __name__ == "__main__":
    main()
