"""The end of a process's threads: waited for, but not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection


def have_ended(threads: Collection[threading.Thread], *, within_seconds: float) -> bool:
    """Waits for those that were started, so long for all of them together. False: one is still busy."""
    deadline = time.monotonic() + within_seconds
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
