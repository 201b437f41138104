"""The models that are loaded, and who is using which. No I/O, no thread of its own.

lease("champion") ─► model, for one batch            swap: new leases get the new model at once,
lease("7")        ─► the same, asked by its number         the old engine is closed when its last lease ends

The champion that was replaced stays warm until the next is: a rollback loads nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from contracts.logs import get_logger
from inference.domain.batching import UNMEASURED, BatchPlan
from inference.engines import Engine
from inference.registry.model_version import ModelVersion

Role = Literal["champion", "challenger"]
ROLES: Final[tuple[Role, Role]] = ("champion", "challenger")

_log = get_logger(__name__)


class NotLoaded(LookupError):  # noqa: N818 - an answer rather than an error
    """No loaded model is what was asked for; the message names those that are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model version and the engine that runs it, ready."""

    version: ModelVersion
    engine: Engine
    role: Role = "champion"
    plan: BatchPlan = UNMEASURED
    sweep: Mapping[int, float] = field(default_factory=dict)  # images per call → seconds; empty: not measured


class _Held:
    """A model and the number of those who use it."""

    __slots__ = ("is_retired", "leases", "model")

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.leases = 0
        self.is_retired = False


class ServedModels:
    """At most one model per role. Any thread may call anything."""

    def __init__(self, model: ServedModel | None = None) -> None:
        self._lock = threading.Lock()
        self._held: dict[Role, _Held] = {}
        self._previous: _Held | None = None  # the champion before this one
        self._callbacks: dict[Role, list[Callable[[ServedModel | None], None]]] = {role: [] for role in ROLES}
        if model is not None:
            self.put(model)

    def get(self, role: Role) -> ServedModel | None:
        """The model in that role. To run it, take a lease: it may be closed at any time."""
        with self._lock:
            held = self._held.get(role)
            return held.model if held else None

    @contextlib.contextmanager
    def lease(self, which: str = "champion") -> Iterator[ServedModel]:
        """A model that stays open for the block.

        Args:
            which: a role, or a version's number.

        Raises:
            NotLoaded: no loaded model is that.
        """
        with self._lock:
            held = self._find(which)
            held.leases += 1
            model = held.model
        try:
            yield model
        finally:
            with self._lock:
                held.leases -= 1
                is_last = held.is_retired and not held.leases
            if is_last:
                _close(model)

    def put(self, model: ServedModel) -> None:
        """Makes it the model of its role; the one before is closed when nobody uses it any more."""
        with self._lock:
            old = self._held.get(model.role)
            self._held[model.role] = _Held(model)
            old = self._set_aside(old) if model.role == "champion" else old
        self._changed(model.role, model)
        _retire(self._lock, old)

    def crown(self, version: str) -> ServedModel | None:
        """Makes the challenger or the champion before this one the champion, where one of them is that version. None:
        neither is, and nothing happened.
        """
        with self._lock:
            held = self._warm(version)
            if held is None:
                return None
            was_challenger = self._held.get("challenger") is held
            if was_challenger:
                del self._held["challenger"]
            else:
                self._previous = None
            held.model = replace(held.model, role="champion")
            old = self._held.get("champion")
            self._held["champion"] = held
            old = self._set_aside(old)
            model = held.model
        if was_challenger:
            self._changed("challenger", None)
        self._changed("champion", model)
        _retire(self._lock, old)
        return model

    def release(self, role: Role) -> ServedModel | None:
        """Takes the role's model away. Returns it, closed or about to be; None: there was none."""
        with self._lock:
            old = self._held.pop(role, None)
        if old is None:
            return None
        self._changed(role, None)
        _retire(self._lock, old)
        return old.model

    def on_change(self, role: Role, callback: Callable[[ServedModel | None], None]) -> None:
        """Calls back at once and after every change of that role, in the thread that changed it."""
        self._callbacks[role].append(callback)
        callback(self.get(role))

    def close(self) -> None:
        """Releases every engine as soon as nobody uses it."""
        for role in ROLES:
            self.release(role)
        with self._lock:
            previous, self._previous = self._previous, None
        _retire(self._lock, previous)

    def _warm(self, version: str) -> _Held | None:
        found = (self._held.get("challenger"), self._previous)
        return next((held for held in found if held is not None and held.model.version.version == version), None)

    def _set_aside(self, champion: _Held | None) -> _Held | None:
        """Keeps a replaced champion; returns the one that was kept so far, which nobody needs any more."""
        if champion is None:
            return None
        dropped, self._previous = self._previous, champion
        return dropped

    def _find(self, which: str) -> _Held:
        for role in ROLES:
            held = self._held.get(role)
            if held is not None and which in (role, held.model.version.version):
                return held
        loaded = ", ".join(f"{role} {held.model.version.version}" for role, held in self._held.items())
        raise NotLoaded(f"{which} is not loaded here; loaded: {loaded or 'nothing yet'}")

    def _changed(self, role: Role, model: ServedModel | None) -> None:
        for callback in self._callbacks[role]:
            callback(model)


def _retire(lock: threading.Lock, held: _Held | None) -> None:
    if held is None:
        return
    with lock:
        held.is_retired = True
        is_unused = not held.leases
    if is_unused:
        _close(held.model)


def _close(model: ServedModel) -> None:
    model.engine.close()
    _log.info("model_closed", model_version=model.version.version, engine=model.engine.name)
