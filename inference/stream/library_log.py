"""What librdkafka says, as far as it helps: a broker that is away for a minute is not worth 400 errors.

FAIL Connection refused, FAIL Connection refused, ... ──► one warning every ten seconds, with the number left out
"""

from __future__ import annotations

import logging
import time
from typing import Final

LIBRARY: Final = "librdkafka"  # the logger that connectors.kafka gives to the clients
_QUIET_SECONDS: Final = 10.0


class Sparingly(logging.Filter):
    """Lets one line of a kind (its first word) through per interval, as a warning."""

    def __init__(self, *, seconds: float = _QUIET_SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}  # when it was last let through, how many were not since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line; the waiting itself is the clients' work, so nothing here is an error."""
        message = record.getMessage()
        kind = message.partition(" ")[0]
        last, left_out = self._kinds.get(kind, (-self._seconds, 0))
        now = time.monotonic()
        if now - last < self._seconds:
            self._kinds[kind] = (last, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        if left_out:
            record.msg, record.args = f"{message} ({left_out} more like it)", ()
        return True
