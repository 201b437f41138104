"""SIGTERM and SIGINT as calls in an ordinary thread.

signal ──► handler: puts its number in a queue ──► thread "signals": obey()

Setting an Event inside a handler can deadlock: the main thread may be in the middle of a wait on the same Event, and
holds its lock. A SimpleQueue may be used there.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable


def on_signals(obey: Callable[[], None]) -> None:
    """Has each SIGTERM and SIGINT from now on call `obey`, outside the handler. For the main thread."""
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            arrived.get()
            obey()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signalled, _frame: arrived.put(signalled))
    threading.Thread(target=listen, name="signals", daemon=True).start()
