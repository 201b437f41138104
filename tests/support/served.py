"""Stand-ins for what a serving process watches and loads with, and models to serve.

words = FakeWords(champion="1"); loader = FakeLoader(); watch = a_watch(words, loader)
watch.follow_champion()         one round, in this thread
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from contracts.errors import PipelineError
from contracts.settings import Settings
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.engines.fake_engine import FakeEngine
from inference.registry.model_version import ModelVersion
from inference.serving.metrics import ServingMetrics
from inference.serving.served_models import Role, ServedModel, ServedModels
from inference.serving.watch import Watch


class Closable(FakeEngine):
    """Says whether it was closed, and fails when it is used after that."""

    def __init__(self, *, needs_pixels: bool = False, seconds_per_image: float = 0.0) -> None:
        super().__init__(needs_pixels=needs_pixels, seconds_per_image=seconds_per_image)
        self.closed = 0

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        assert not self.closed, "a closed engine was used"
        answers = super().infer(images)
        assert not self.closed, "an engine was closed while it was used"
        return answers

    def close(self) -> None:
        self.closed += 1


class Gate(Closable):
    """Remembers the sizes of its batches, and can be held in the middle of one."""

    def __init__(self, *, is_open: bool = True, needs_pixels: bool = True, seconds_per_image: float = 0.0) -> None:
        super().__init__(needs_pixels=needs_pixels, seconds_per_image=seconds_per_image)
        self.batches: list[int] = []
        self.open = threading.Event()
        if is_open:
            self.open.set()

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        self.batches.append(len(images))
        self.open.wait()
        return super().infer(images)


def a_version(number: str = "1", **changes: object) -> ModelVersion:
    values = {"name": "pcb", "digest": number[-1] * 64, "folder": None, "licence": "none"} | changes
    return ModelVersion(version=number, **values)  # type: ignore[arg-type]


def a_model(number: str = "1", *, role: Role = "champion", engine: FakeEngine | None = None) -> ServedModel:
    return ServedModel(version=a_version(number), engine=engine or Closable(), role=role)


class FakeWords:
    """Says what it is told to say; an error is raised."""

    def __init__(self, *, champion: str | None = None, challenger: str | None = None) -> None:
        self.named: dict[str, str | PipelineError | None] = {"champion": champion, "challenger": challenger}

    def champion(self) -> str | None:
        return self._say("champion")

    def challenger(self) -> str | None:
        return self._say("challenger")

    def close(self) -> None:
        pass

    def _say(self, role: str) -> str | None:
        named = self.named[role]
        if isinstance(named, PipelineError):
            raise named
        return named


class FakeLoader:
    """Loads any version, except those with an error; remembers the last champion, as the cache does."""

    def __init__(self, *, last: str | None = None) -> None:
        self.loaded: list[tuple[str, str]] = []  # version, role
        self.errors: dict[str, PipelineError] = {}
        self.unreachable: dict[str, PipelineError] = {}
        self.kept = last

    def fetch(self, number: str) -> ModelVersion:
        if number in self.unreachable:
            raise self.unreachable[number]
        return a_version(number)

    def ready(self, version: ModelVersion, role: Role) -> ServedModel:
        self.loaded.append((version.version, role))
        if version.version in self.errors:
            raise self.errors[version.version]
        return a_model(version.version, role=role)

    def last(self) -> ModelVersion | None:
        return None if self.kept is None else a_version(self.kept)

    def keep(self, version: ModelVersion) -> None:
        self.kept = version.version


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watch with everything that a test wants to look at."""

    def __init__(self, words: FakeWords, loader: FakeLoader | None = None, *, lead: Role = "champion") -> None:
        self.words, self.loader, self.clock = words, loader or FakeLoader(), Clock()
        self.models, self.registry = ServedModels(), CollectorRegistry()
        metrics = ServingMetrics(self.registry)
        self.watch = Watch(Settings(), self.models, words, self.loader, metrics, lead=lead, clock=self.clock)

    def round(self) -> None:
        """Both threads' next look, one after the other."""
        self.watch.follow_champion()
        self.watch.follow_challenger()

    def held(self) -> tuple[str | None, str | None]:
        """The versions held as champion and as challenger."""
        champion, challenger = self.models.get("champion"), self.models.get("challenger")
        return champion and champion.version.version, challenger and challenger.version.version
