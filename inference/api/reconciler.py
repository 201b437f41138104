"""A thread of a service's first API process that ends half-done promotions and puts aliases back, every 5 s.

every ~5 s ──► registry.promotion.reconcile, where no other process is at it ──► changes to the log
  └── Postgres or MLflow away: told once, tried again
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from contracts.errors import Misconfigured, PipelineError
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.registry import promotion

SECONDS: Final = 5.0
_JITTER: Final = 0.2  # so that several processes do not ask at the same moment

_log = get_logger(__name__)


class Reconciler:
    """start() and close(); what it does in between needs nobody."""

    def __init__(
        self,
        settings: Settings,
        *,
        seconds: float = SECONDS,
        reconcile: Callable[[Settings], list[str]] = promotion.reconcile,
    ) -> None:
        self._settings = settings
        self._seconds = seconds
        self._reconcile = reconcile
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._said: list[str] = []
        self._failure = ""

    def start(self) -> None:
        """Begins at once: a process that was killed in the middle is often the one that starts again."""
        self._thread.start()

    def close(self, *, within_seconds: float = 10.0) -> None:
        """Ends after the round that is under way; a longer one dies with the process, as a killed one would."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=within_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._round()
            self._stopping.wait(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret

    def _round(self) -> None:
        """One look. Only news are logged: what cannot be mended would be said again every time."""
        try:
            said = self._reconcile(self._settings)
        except PipelineError as error:
            self._fail(str(error), is_ours=isinstance(error, Misconfigured))
            return
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread, or nobody would mend anything
            self._fail(repr(error), is_ours=True)
            return
        if self._failure:
            _log.info("reconciler_recovered")
            self._failure = ""
        if said and said != self._said:
            _log.warning("champion_reconciled", changes=said)
        self._said = said

    def _fail(self, reason: str, *, is_ours: bool) -> None:
        if not self._failure:
            (_log.error if is_ours else _log.warning)("reconciler_waits", reason=reason)
        self._failure = reason
