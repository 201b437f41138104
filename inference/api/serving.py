"""Which models this process can run: the seam between the detector and whatever follows the champion.

a folder │ the fake engine │ the alias │ the ledger ──► inference.serving.follow ──► FollowedModels ──► detector
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from contracts.errors import PipelineError, Transient
from contracts.logs import get_logger
from inference.api.problems import Problem
from inference.engines import Engine
from inference.registry.model_version import ModelVersion
from inference.serving.served_models import ServedModel

CHAMPION: Final = "champion"
_LONGEST_WAIT_SECONDS: Final = 10.0

_log = get_logger(__name__)


class Plan(Protocol):
    """How many images go to the engine at once, as inference.domain.batching chooses it."""

    @property
    def size(self) -> int:
        """Images at most."""
        ...

    @property
    def age_seconds(self) -> float:
        """The longest an image waits for others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOne:
    """No batches: what pays on a CPU."""

    size: int = 1
    age_seconds: float = 0.0


class Served(Protocol):
    """A model version and the engine that runs it, ready."""

    @property
    def version(self) -> ModelVersion:
        """Which model it is."""
        ...

    @property
    def engine(self) -> Engine:
        """What runs it; one thread at a time."""
        ...

    @property
    def role(self) -> str:
        """Champion or challenger, as predictions carry it."""
        ...


class Models(Protocol):
    """The models that are loaded and warmed up."""

    @property
    def current(self) -> Served | None:
        """The champion; None before it is there."""
        ...

    @property
    def plan(self) -> Plan:
        """How to batch for the champion."""
        ...

    @property
    def failure(self) -> PipelineError | None:
        """Why there will never be one: the process must end with it."""
        ...

    def start(self) -> None:
        """Begins to load; returns at once."""
        ...

    def find(self, version: str | None) -> Served:
        """The model that a request means: champion (also None), challenger, or the number of one that is loaded.

        Raises:
            Problem: 404, that version is not loaded.
            Transient: no champion yet.
        """
        ...

    def lease(self, version: str | None) -> AbstractContextManager[Served]:
        """As `find`; its engine stays open while it is used."""
        ...

    def close(self) -> None:
        """Releases engines and threads."""
        ...


def not_loaded(version: str, loaded: str) -> Problem:
    """404: the version is not one that this process runs."""
    return Problem(404, "version_not_loaded", f"version {version[:128]} is not loaded here; loaded are: {loaded}")


def not_yet() -> Transient:
    """503: started, but without a model."""
    return Transient("the champion is not loaded yet: /readyz says when it is", is_public=True)


class Followed(Protocol):
    """What is needed of inference.serving.follow.Follower."""

    @property
    def current(self) -> Served | None:
        """What serves."""
        ...

    @property
    def warmed(self) -> Served | None:
        """The challenger."""
        ...

    def start(self) -> None:
        """Begins to follow; with a folder or the fake engine it loads first."""
        ...

    def wait(self, stopping: threading.Event) -> Served | None:
        """Until a champion serves; raises what waiting will not mend."""
        ...

    def lease(self, which: str | None = None) -> AbstractContextManager[Served]:
        """A role or a version; LookupError where it is not loaded."""
        ...

    def close(self) -> None:
        """The end."""
        ...


class FollowedModels:
    """The models of a follower: swapped between two batches, the challenger warm beside the champion."""

    def __init__(self, follower: Followed) -> None:
        self.failure: PipelineError | None = None
        self._follower = follower
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._begin, name="follow", daemon=True)

    @property
    def current(self) -> Served | None:
        """See Models."""
        return self._follower.current

    @property
    def plan(self) -> Plan:
        """See Models."""
        model = self._follower.current
        # What was not measured is not batched: whoever asks waits for the whole batch.
        return model.plan if isinstance(model, ServedModel) and model.sweep else OneByOne()

    def start(self) -> None:
        """See Models."""
        self._thread.start()

    def find(self, version: str | None) -> Served:
        """See Models."""
        champion, challenger = self._follower.current, self._follower.warmed
        if champion is None:
            raise not_yet()
        if version in {None, CHAMPION, champion.version.version}:
            return champion
        if challenger is not None and version in {challenger.role, challenger.version.version}:
            return challenger
        loaded = [f"{model.role} {model.version.version}" for model in (champion, challenger) if model is not None]
        raise not_loaded(str(version), ", ".join(loaded))

    @contextmanager
    def lease(self, version: str | None) -> Iterator[Served]:
        """See Models."""
        with ExitStack() as held:
            try:
                model = held.enter_context(self._follower.lease(version))
            except LookupError as error:  # gone since the request came
                self.find(version)
                raise not_yet() from error
            yield model

    def close(self) -> None:
        """See Models."""
        self._stopping.set()
        self._follower.close()

    def _begin(self) -> None:
        try:
            self._follower.start()
            self._follower.wait(self._stopping)
        except PipelineError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - what a model's runtime raises has no common root
            self.failure = Transient(f"the model cannot be started: {error}")
