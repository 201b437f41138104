"""What the routes work with, made once per process and given to the application: no route reads a setting's source."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from contracts.settings import Settings
from inference.api.detector import Detector
from inference.api.identity import TokenVerifier
from inference.api.images import Bodies
from inference.api.ingest import Ingest
from inference.api.metrics import Metrics
from inference.api.serving import FixedModel, Models
from inference.api.stores import Stores
from inference.persistence.objects import FrameStore
from inference.registry.catalogue import Catalogue

if TYPE_CHECKING:
    from inference.persistence.pool import Database

_LAST_ACKNOWLEDGEMENTS_SECONDS: Final = 1.0  # after the requests are answered: what cameras still owe the broker
_ENGINE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One process's neighbours."""

    settings: Settings
    tokens: TokenVerifier
    database: Database  # a pool; `with parts.database.connection() as connection`
    frames: FrameStore  # the images
    detector: Detector  # a bounded queue in front of the champion
    ingest: Ingest  # frames by HTTP into the topic
    metrics: Metrics
    stores: Stores  # whether they answer, for /readyz
    catalogue: Catalogue = field(default_factory=Catalogue)  # what MLflow said last of all versions
    bodies: Bodies = field(default_factory=Bodies)  # bounds the memory of bodies being read
    draining: threading.Event = field(default_factory=threading.Event)  # told to end: no longer ready

    async def start(self) -> None:
        """On the running loop, before the first request."""
        self.detector.start()
        self.ingest.start()

    async def close(self) -> None:
        """After the last request."""
        await self.ingest.close(within_seconds=_LAST_ACKNOWLEDGEMENTS_SECONDS)
        await asyncio.to_thread(self.detector.close, within_seconds=_ENGINE_SECONDS)
        self.database.close()


def make_parts(settings: Settings) -> Parts:
    """All of them, for one process. Nothing is asked or loaded yet.

    Raises:
        Misconfigured: a part cannot be made with these settings.
    """
    metrics = Metrics()
    return Parts(
        settings=settings,
        tokens=_tokens(settings),
        database=_database(settings),
        frames=FrameStore(settings.s3),
        detector=Detector(settings.api, _models(settings), metrics),
        ingest=Ingest(settings, metrics),
        metrics=metrics,
        stores=Stores(settings),
    )


def _tokens(settings: Settings) -> TokenVerifier:
    from inference.api.tokens import Verifier

    return Verifier(settings.auth)


def _database(settings: Settings) -> Database:
    from inference.persistence.pool import Database

    return Database(settings)


def _models(settings: Settings) -> Models:
    return FixedModel(settings)
