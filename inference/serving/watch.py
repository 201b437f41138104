"""Watches who is champion and who is challenger while batches run: two threads, one per role.

    champion    who is it? ─► decide ─► warm already? ── yes ─► swapped in between two batches
                                             └── no ─► loaded, checked ─► swapped in
    challenger  who is it? ─► decide ─► loaded, checked, kept warm

What goes wrong leaves the old model where it is:

    those asked are away    the last champion serves on; at a start, the last one from the cache
    a version is refused    the old one serves on, and the reason is told; tried again after a minute

A thread per role, so that a download for the challenger does not keep a rollback waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Final

from contracts.errors import PipelineError, Rejected, Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.registry.model_version import ModelVersion
from inference.serving.decision import Act, decide
from inference.serving.loading import Loader
from inference.serving.metrics import ServingMetrics
from inference.serving.refusals import Refusals
from inference.serving.served_models import Role, ServedModel, ServedModels
from inference.serving.threads import have_ended
from inference.serving.words import Words

# A promotion takes the alias away before it writes that it is done: what is warm stays so long enough to be crowned.
GRACE_SECONDS: Final = 15.0
_LEAVE_SECONDS: Final = 2.0

_log = get_logger(__name__)


class Watch:
    """Keeps `models` as they should be.

    A process that leads as champion holds the challenger too, warm; a shadow leads as challenger and holds it alone.
    """

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        words: Words,
        loader: Loader,
        metrics: ServingMetrics,
        *,
        lead: Role = "champion",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poll_seconds = settings.serving.poll_seconds
        self._model_name = settings.mlflow.model_name
        self._models = models
        self._words = words
        self._loader = loader
        self._metrics = metrics
        self._lead = lead
        self._clock = clock
        self._unnamed_since: float | None = None  # when the challenger held here was first no longer named
        self._refusals = Refusals(clock=clock)
        self._unheard: dict[Role, str] = {}  # why, while those asked are away
        self._named_champion: str | None = None
        self._loading = threading.Lock()  # one model at a time: it takes all cores
        self._stopping = threading.Event()
        self.failure: PipelineError | None = None  # nothing can be served, and waiting will not help
        self._threads = [
            # In a copy of this thread's context, so that its log fields are on their events too.
            threading.Thread(target=copy_context().run, args=(self._run, step), name=f"follow-{role}", daemon=True)
            for role, step in (("champion", self.follow_champion), ("challenger", self.follow_challenger))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads; one in the middle of a load is left to the process's end."""
        self._stopping.set()
        if have_ended(self._threads, within_seconds=_LEAVE_SECONDS):
            self._words.close()

    def refusal(self, role: Role) -> PipelineError | None:
        """Why the version that should have the role does not have it; None where all is well."""
        return self._refusals.newest(role)

    def unheard(self, role: Role) -> str | None:
        """Why nobody says who should have the role; None while they do."""
        return self._unheard.get(role)

    def _run(self, step: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except Exception:  # noqa: BLE001 - a watch that ends in silence would leave an old champion there for ever
                _log.exception("following_failed")
            self._stopping.wait(self._poll_seconds)

    # The champion.

    def follow_champion(self) -> None:
        """One round: asks who is champion and serves it."""
        try:
            named = self._words.champion()
        except PipelineError as error:
            self._note_unheard("champion", error)
            self._serve_last(error)
            return
        if named is None and self._lead == "champion" and self._held("champion") is None:
            nobody = f"no version of {self._model_name} is champion yet: `sightline up` makes the demo model one"
            self._note_unheard("champion", Transient(nobody))
            return
        self._note_heard("champion")
        self._named_champion = named or self._named_champion
        if self._lead == "champion":
            self._serve(named)
        elif named is not None and named == self._held("challenger"):
            self._release_challenger()  # a shadow never scores with the champion's version

    def _serve(self, named: str | None) -> None:
        self._forget_refusals("champion", but=named)
        held = self._held("champion")
        decision = decide("champion", named=named, held=held, refused=self._refusals.resting("champion"))
        if decision.act is Act.LOAD:
            begin = time.perf_counter()
            model = self._models.crown(decision.version) or self._load("champion", decision.version)
            if model is not None:
                self._crowned(model, held, seconds=time.perf_counter() - begin)
        if self._held("champion") is None and named is not None:
            self._serve_last(self._refusals.error("champion", named) or Transient(f"version {named} is awaited"))

    def _crowned(self, model: ServedModel, previous: str | None, *, seconds: float) -> None:
        self._forget_refusals("champion")
        self._loader.keep(model.version)
        _log.info(
            "champion_swapped", model_version=model.version.version, previous_version=previous or "",
            engine=model.engine.name, seconds=round(seconds, 3),
        )  # fmt: skip

    def _serve_last(self, error: PipelineError) -> None:
        """At a start: the champion that served here last, or the reason why nothing can serve."""
        if self._lead != "champion" or self._held("champion") is not None:
            return
        last = self._loader.last()
        refused = last and self._refusals.error("champion", last.version)
        if last is not None and (refused is None or isinstance(refused, Transient)):
            if self._make_ready("champion", last) is not None:
                _log.warning("champion_from_cache", model_version=last.version, reason=str(error))
                return
            error = self._refusals.error("champion", last.version) or error
        if not isinstance(error, Transient):
            self.failure = error

    # The challenger.

    def follow_challenger(self) -> None:
        """One round: asks who is challenger and has it warm; in a shadow, serving."""
        try:
            named = self._words.challenger()
        except PipelineError as error:
            self._note_unheard("challenger", error)
            return
        self._note_heard("challenger")
        self._forget_refusals("challenger", but=named)
        decision = decide(
            "challenger",
            named=named,
            held=self._held("challenger"),
            champions=self._champions(),
            refused=self._refusals.resting("challenger"),
        )
        if decision.act is not Act.RELEASE:
            self._unnamed_since = None
        elif self._is_grace_over():
            self._release_challenger()
        if decision.act is Act.LOAD and self._may_load_challenger():
            self._load("challenger", decision.version)

    def _may_load_challenger(self) -> bool:
        """Not before the champion serves, which comes first; a shadow must only know whom it may not be."""
        known = self._held("champion") if self._lead == "champion" else self._named_champion
        return known is not None

    def _is_grace_over(self) -> bool:
        if self._lead == "challenger":  # who is none must not score as one
            return True
        if self._unnamed_since is None:
            self._unnamed_since = self._clock()
        return self._clock() - self._unnamed_since >= GRACE_SECONDS

    def _champions(self) -> frozenset[str]:
        return frozenset(filter(None, (self._named_champion, self._held("champion"))))

    def _release_challenger(self) -> None:
        released = self._models.release("challenger")
        if released is not None:
            _log.info("challenger_released", model_version=released.version.version)

    # Both.

    def _load(self, role: Role, version: str) -> ServedModel | None:
        """Gives the version its role. None: it does not have it, and why is noted."""
        try:
            fetched = self._loader.fetch(version)
        except PipelineError as error:
            self._refuse(role, version, error)
            return None
        model = self._make_ready(role, fetched)
        if model is not None:
            self._forget_refusals(role)
        return model

    def _make_ready(self, role: Role, version: ModelVersion) -> ServedModel | None:
        with self._loading:
            if role == "champion" and (crowned := self._models.crown(version.version)):
                return crowned  # it became warm while this thread waited
            if role == "challenger" and version.version in self._champions():
                return None
            try:
                model = self._loader.ready(version, role)
            except PipelineError as error:
                self._refuse(role, version.version, error)
                return None
            if self._lead == "challenger" and version.version in self._champions():
                model.engine.close()  # it became champion meanwhile
                return None
            self._models.put(model)
        return model

    def _refuse(self, role: Role, version: str, error: PipelineError) -> None:
        is_news = self._refusals.note(role, version, error)
        if isinstance(error, Transient):
            if is_news:
                _log.warning("version_awaited", role=role, model_version=version, reason=str(error))
            return
        code = error.code if isinstance(error, Rejected) else "misconfigured"
        self._metrics.refused.labels(role, code).inc()
        self._show_refusal(role)
        _log.error("version_refused", role=role, model_version=version, code=code, reason=str(error))

    def _forget_refusals(self, role: Role, *, but: str | None = None) -> None:
        self._refusals.forget(role, but=but)
        self._show_refusal(role)

    def _show_refusal(self, role: Role) -> None:
        error = self._refusals.newest(role)
        self._metrics.is_refused.labels(role).set(error is not None and not isinstance(error, Transient))

    def _note_unheard(self, role: Role, error: PipelineError) -> None:
        if role not in self._unheard:
            _log.warning("word_awaited", role=role, reason=str(error))
        self._unheard[role] = str(error)
        self._metrics.is_unheard.labels(role).set(1)

    def _note_heard(self, role: Role) -> None:
        if self._unheard.pop(role, None) is not None:
            _log.info("word_heard", role=role)
        self._metrics.is_unheard.labels(role).set(0)

    def _held(self, role: Role) -> str | None:
        model = self._models.get(role)
        return model.version.version if model else None
