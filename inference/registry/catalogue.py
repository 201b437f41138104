"""All versions as MLflow has them, for a page of them. MLflow answers slowly: what it said is kept for 2 s.

listing(settings) ──► versions, newest first, each with its tags' words, aliases and its run's metrics
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import Transient
from contracts.identifiers import from_milliseconds
from contracts.settings import Settings
from inference.registry import tags
from inference.registry.mlflow_client import connect, translated
from inference.registry.record import aliases_of, versions_of
from inference.registry.resolve import UNKNOWN_LICENCE

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEPT_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 5.0  # for another thread's question to MLflow
_RUNS_AT_ONCE: Final = 100
_ENDED: Final = frozenset({"FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One version as MLflow knows it."""

    version: str
    digest: str  # sha256 of model.onnx; empty: nobody wrote it down, so it cannot be served
    licence: str  # SPDX
    source: str  # who registered it; empty: nobody said
    created_at: datetime
    run_id: str | None
    aliases: tuple[str, ...]
    metrics: Mapping[str, float]  # of its run; finite ones


class Catalogue:
    """What MLflow said last, for all threads of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asking = threading.Lock()
        self._said: tuple[object, float, tuple[Registered, ...] | Transient] | None = None
        self._age = object()  # what was asked in another age than this one is forgotten
        self._ended: dict[str, Mapping[str, float]] = {}  # metrics of runs that ended: they do not change

    def versions(self, settings: Settings) -> tuple[Registered, ...]:
        """Every version, the newest first.

        Raises:
            Transient: MLflow is away, or was within the last 2 s.
        """
        if not self._asking.acquire(timeout=_WAIT_SECONDS):
            raise Transient("MLflow does not answer in time: try again", is_public=True)
        try:
            said = self._kept()
            if said is None:
                age = self._age  # of before the question: what changes meanwhile is asked again
                said = self._ask(settings)
                self._said = (age, self._clock(), said)  # after it: a failure may have taken longer than 2 s
        finally:
            self._asking.release()
        if isinstance(said, Transient):
            raise Transient(str(said), store=said.store)
        return said

    def forget(self) -> None:
        """Has the next question asked anew: something was changed. Waits for nobody."""
        self._age = object()

    def _kept(self) -> tuple[Registered, ...] | Transient | None:
        """What MLflow said last, while that still counts."""
        if self._said is None:
            return None
        age, at, said = self._said
        return said if age is self._age and self._clock() - at < KEPT_SECONDS else None

    def _ask(self, settings: Settings) -> tuple[Registered, ...] | Transient:
        client = connect(settings)
        name = settings.mlflow.model_name
        try:
            with translated(f"listing the versions of {name}"):
                found = sorted(versions_of(client, name), key=lambda one: -int(one.version))
                metrics = self._metrics_of(client, [str(one.run_id) for one in found if one.run_id])
            aliases = aliases_of(client, name)
        except Transient as error:
            return error
        return tuple(_registered(one, aliases, metrics.get(one.run_id, {})) for one in found)

    def _metrics_of(self, client: MlflowClient, run_ids: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """By run. Runs that were deleted have none."""
        open_ones: dict[str, Mapping[str, float]] = {}
        wanted = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._ended]
        experiments = [one.experiment_id for one in client.search_experiments()] if wanted else []
        for begin in range(0, len(wanted), _RUNS_AT_ONCE):
            listed = ", ".join(f"'{run_id}'" for run_id in wanted[begin : begin + _RUNS_AT_ONCE])
            for run in client.search_runs(experiments, f"attributes.run_id IN ({listed})", max_results=_RUNS_AT_ONCE):
                metrics = {name: value for name, value in run.data.metrics.items() if math.isfinite(value)}
                kept = self._ended if run.info.status in _ENDED else open_ones
                kept[run.info.run_id] = metrics
        return self._ended | open_ones


def _registered(one: Any, aliases: Mapping[str, str], metrics: Mapping[str, float]) -> Registered:
    return Registered(
        version=str(one.version),
        digest=one.tags.get(tags.DIGEST, ""),
        licence=one.tags.get(tags.LICENCE, UNKNOWN_LICENCE),
        source=one.tags.get(tags.SOURCE, ""),
        created_at=from_milliseconds(one.creation_timestamp),
        run_id=one.run_id or None,
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == str(one.version))),
        metrics=metrics,
    )
