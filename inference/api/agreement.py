"""How far challenger and champion agree, for Prometheus: measured on a slow timer, never for a request.

every minute ─► the versions loaded here ─► the newest frames that both looked at ─► gauges
  ├── no challenger, or the two are one: no frames, the ratio is NaN
  └── Postgres away: told once, the gauges stay, and their timestamp says how old they are

GET /v1/models/{version}/agreement answers the same for any two versions and any range.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from contracts.errors import PipelineError
from contracts.logs import get_logger
from inference.api.metrics import Metrics
from inference.domain.agreement import Agreement
from inference.persistence.agreement import agreement_between
from inference.persistence.pool import Database
from inference.registry.model_version import ModelVersion

SECONDS: Final = 60.0
MOST_FRAMES: Final = 500  # a tenth of a second of one core, once a minute
_BACK: Final = timedelta(hours=1)
_JITTER: Final = 0.2  # so that several processes do not ask at the same moment

_log = get_logger(__name__)


class Loaded(Protocol):
    """A model, as far as it is of interest here."""

    @property
    def version(self) -> ModelVersion:
        """Which it is."""
        ...


class AgreementGauges:
    """start() and close(); what it does in between needs nobody."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        models: Callable[[], tuple[Loaded | None, Loaded | None]],
        *,
        seconds: float = SECONDS,
    ) -> None:
        """`models` gives champion and challenger, as far as they are loaded here."""
        self._database = database
        self._metrics = metrics
        self._models = models
        self._seconds = seconds
        self._is_away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="agreement", daemon=True)

    def start(self) -> None:
        """Begins to measure, the first time after a pause: at a start there is more urgent work."""
        self._metrics.agreement_ratio.set(math.nan)
        self._thread.start()

    def close(self) -> None:
        """No further round; the one under way is left to the process's end."""
        self._stopping.set()

    def refresh(self) -> None:
        """One round."""
        try:
            self._show(self._measured())
        except PipelineError as error:
            if not self._is_away:
                _log.warning("agreement_not_measured", reason=str(error))
            self._is_away = True
            return
        self._is_away = False

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER)):  # noqa: S311 - no secret
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - a defect must not end the thread: the gauges would stay as they are
                _log.exception("agreement_failed")

    def _measured(self) -> Agreement:
        champion, challenger = (None if model is None else model.version for model in self._models())
        if champion is None or challenger is None or champion.version == challenger.version:
            return Agreement()
        until = datetime.now(UTC)
        with self._database.connection() as connection:
            return agreement_between(
                connection, champion.name, first=champion.version, second=challenger.version, since=until - _BACK,
                until=until, most=MOST_FRAMES,
            )  # fmt: skip

    def _show(self, found: Agreement) -> None:
        gauges = self._metrics
        gauges.agreement_ratio.set(math.nan if found.share is None else found.share)
        gauges.agreement_frames.set(found.frames)
        for kind, boxes in (
            ("agreed", found.agreed), ("label_flip", found.label_flips), ("missing", found.missing),
            ("extra", found.extra),
        ):  # fmt: skip
            gauges.agreement_boxes.labels(kind).set(boxes)
        gauges.agreement_measured.set(time.time())
