"""What a process that serves a model holds: the models, followed, with a heartbeat.

    follower = Follower(settings, kind="api", engine_kind="openvino", threads=1)
    follower.start()
    follower.wait(stopping)                  until a champion serves
    with follower.lease() as model:          one batch; the model stays open for it
        model.engine.infer(images)
    follower.close()

With a model folder or the fake engine nothing is followed: benchmarks and tests need neither MLflow nor Postgres. The
heartbeat needs Postgres settings; without any there is none.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from contracts.errors import Transient
from contracts.settings import Settings
from inference.domain.batching import BatchPlan
from inference.persistence import heartbeats
from inference.persistence.heartbeats import Heartbeat
from inference.registry.model_version import ModelVersion, of_folder
from inference.serving.loading import RegistryLoader, make_ready
from inference.serving.metrics import ServingMetrics
from inference.serving.pulse import Pulse, instance_name
from inference.serving.served_models import ROLES, Role, ServedModel, ServedModels
from inference.serving.watch import Watch
from inference.serving.words import words_of

FAKE: Final = "fake"

_WAIT_SECONDS: Final = 0.05


class Follower:
    """One process's models."""

    def __init__(
        self,
        settings: Settings,
        *,
        kind: str,
        engine_kind: str,
        threads: int,
        lead: Role = "champion",
        model_folder: Path | None = None,
        plan: BatchPlan | None = None,
        registry: CollectorRegistry | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """Loads nothing and asks nobody yet.

        Args:
            settings: the whole tree.
            kind: of the process: stream | shadow | api.
            engine_kind: one of engines.KINDS.
            threads: for inference, per model; 0 = one per core.
            lead: the role that this process serves in: what `current` and `lease()` mean.
            model_folder: serve this folder's model and follow nobody.
            plan: of the batches; None: measured for each model.
            registry: where the metrics are read from.
            stopping: set when the process was told to stop: its heartbeat says so.
        """
        self._settings = settings
        self._kind = kind
        self._engine_kind = engine_kind
        self._threads = threads
        self._folder = model_folder
        self._plan = plan
        self._stopping = stopping or threading.Event()
        self._instance, self._started_at = instance_name(), datetime.now(UTC)
        self.lead: Role = lead
        self.models = ServedModels()
        metrics = ServingMetrics(registry or CollectorRegistry())
        self._watch: Watch | None = None
        if model_folder is None and engine_kind != FAKE:
            loader = RegistryLoader(settings, engine_kind=engine_kind, threads=threads, plan=plan)
            self._watch = Watch(settings, self.models, words_of(settings), loader, metrics, lead=lead)
        self._pulse = Pulse(settings, self.heartbeat) if "postgres" in settings.model_fields_set else None
        for role in ROLES:
            self.models.on_change(role, lambda model, role=role: metrics.show(role, model))  # type: ignore[misc]

    def start(self) -> None:
        """Begins to follow. Returns at once, but with a folder or the fake engine loads the model first.

        Raises:
            Misconfigured: the folder's model or the engine does not fit.
        """
        if self._watch is None:
            self.models.put(self._fixed_model())
        if self._pulse is not None:
            for role in ROLES:
                self.models.on_change(role, self._pulse.tell)
            self._pulse.start()
        if self._watch is not None:
            self._watch.start()

    def wait(self, stopping: threading.Event) -> ServedModel | None:
        """The model that serves, however long it takes; None when told to stop meanwhile.

        Raises:
            PipelineError: none can serve, and waiting will not help.
        """
        while not stopping.is_set():
            if (model := self.current) is not None:
                return model
            if self._watch is not None and self._watch.failure is not None:
                raise self._watch.failure
            stopping.wait(_WAIT_SECONDS)
        return None

    @property
    def current(self) -> ServedModel | None:
        """What serves. To run it, take a lease."""
        return self.models.get(self.lead)

    @property
    def warmed(self) -> ServedModel | None:
        """The challenger, loaded, warm and checked beforehand."""
        return self.models.get("challenger")

    @property
    def state(self) -> str:
        """As the heartbeat says it."""
        if self._stopping.is_set():
            return heartbeats.DRAINING
        if self._is_refused():
            return heartbeats.REFUSED
        if self.current is not None:
            return heartbeats.SERVING
        return heartbeats.IDLE if self.lead == "challenger" else heartbeats.STARTING

    @property
    def reason(self) -> str | None:
        """Why it does not serve, or has not warmed, what it should; None where all is well."""
        if self._watch is None:
            return None
        found: list[str] = []
        for role in ROLES:
            refusal = self._watch.refusal(role)
            why = str(refusal) if refusal else self._watch.unheard(role)
            if why:
                found.append(f"{role}: {why}")
        return "; ".join(found) or None

    def lease(self, which: str | None = None) -> AbstractContextManager[ServedModel]:
        """A model that stays open for the block: what serves, or a role, or a version's number.

        Raises:
            NotLoaded: no loaded model is that, on entering.
        """
        return self.models.lease(which or self.lead)

    def on_swap(self, callback: Callable[[ServedModel | None], None]) -> None:
        """Calls back at once and after every swap of what serves, in another thread."""
        self.models.on_change(self.lead, callback)

    def heartbeat(self) -> Heartbeat:
        """This process, now."""
        current, warmed = self.current, self.warmed
        return Heartbeat(
            instance=self._instance,
            kind=self._kind,
            model=self._settings.mlflow.model_name,
            version=current.version.version if current else "",
            state=self.state,
            warmed_version=warmed.version.version if warmed else None,
            engine=current.engine.name if current else self._engine_kind,
            reason=self.reason,
            started_at=self._started_at,
        )

    def close(self) -> None:
        """Stops following, takes the heartbeat's row away, closes the engines when nobody uses them."""
        if self._pulse is not None:
            self._pulse.close()  # first: it is what others see
        if self._watch is not None:
            self._watch.close()
        self.models.close()

    def _is_refused(self) -> bool:
        refusal = self._watch.refusal(self.lead) if self._watch is not None else None
        return refusal is not None and not isinstance(refusal, Transient)

    def _fixed_model(self) -> ServedModel:
        name = self._settings.mlflow.model_name
        if self._folder is not None:
            version = of_folder(self._folder, name=name)
        else:
            digest = hashlib.sha256(FAKE.encode()).hexdigest()
            version = ModelVersion(name=name, version="0", digest=digest, folder=None, licence="none")
        return make_ready(
            version, self.lead, engine_kind=self._engine_kind, threads=self._threads, plan=self._plan, is_checked=False
        )
