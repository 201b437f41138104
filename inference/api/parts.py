"""What the routes work with, made once per process and given to the application: no route reads a setting's source."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from fastapi import Request

from contracts.errors import Transient
from contracts.settings import Settings
from inference.api.agreement import AgreementGauges
from inference.api.detector import Detector
from inference.api.identity import TokenVerifier
from inference.api.images import Bodies
from inference.api.ingest import Ingest
from inference.api.metrics import Metrics
from inference.api.recent import Recent
from inference.api.reconciler import Reconciler
from inference.api.serving import FollowedModels
from inference.api.stores import Stores
from inference.api.tickets import Tickets
from inference.api.tokens import Verifier
from inference.engines import read_spec
from inference.persistence.objects import FrameStore
from inference.persistence.pool import Database, size_among
from inference.registry.catalogue import Catalogue
from inference.serving.follow import Follower

_LAST_ACKNOWLEDGEMENTS_SECONDS: Final = 1.0  # after the requests are answered: what cameras still owe the broker
_ENGINE_SECONDS: Final = 1.0
_RECONCILER_SECONDS: Final = 0.5


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
    tickets: Tickets  # links to images for browsers
    classes: Callable[[], Sequence[str]]  # the champion's, in its model's order; Transient while none is loaded
    reconciler: Reconciler | None = None  # where the ledger is followed, in the first process
    agreement: AgreementGauges | None = None  # there, too
    catalogue: Catalogue = field(default_factory=Catalogue)  # what MLflow said last of all versions
    bodies: Bodies = field(default_factory=Bodies)  # bounds the memory of bodies being read
    recent: Recent[Any] = field(default_factory=lambda: Recent(2.0))  # how the pipeline is: many askers ask once
    auditing: Lock = field(default_factory=Lock)  # held while an audit is made: one at a time
    draining: threading.Event = field(default_factory=threading.Event)  # told to end: no longer ready

    async def start(self) -> None:
        """On the running loop, before the first request."""
        self.detector.start()
        self.ingest.start()
        if self.reconciler is not None:
            self.reconciler.start()
        if self.agreement is not None:
            self.agreement.start()

    async def close(self) -> None:
        """After the last request."""
        if self.reconciler is not None:
            await asyncio.to_thread(self.reconciler.close, within_seconds=_RECONCILER_SECONDS)
        if self.agreement is not None:
            self.agreement.close()
        await self.ingest.close(within_seconds=_LAST_ACKNOWLEDGEMENTS_SECONDS)
        await asyncio.to_thread(self.detector.close, within_seconds=_ENGINE_SECONDS)
        self.database.close()


def make_parts(settings: Settings, *, number: int = 0, processes: int = 1) -> Parts:
    """All of them, for one process. Nothing is asked or loaded yet.

    Args:
        settings: as read at the start.
        number: of this process among its siblings; the first one reconciles for all.
        processes: of the service, which share its connections to Postgres.

    Raises:
        Misconfigured: a part cannot be made with these settings.
    """
    metrics, draining, api = Metrics(), threading.Event(), settings.api
    follower = Follower(
        settings, kind="api", engine_kind=api.engine, threads=1, model_folder=api.model_folder,
        registry=metrics.registry, stopping=draining,
    )  # fmt: skip
    database = Database(settings, size=size_among(processes))
    is_first = settings.serving.follows_ledger and number == 0
    return Parts(
        settings=settings,
        tokens=Verifier(settings.auth),
        database=database,
        frames=FrameStore(settings.s3),
        detector=Detector(api, FollowedModels(follower), metrics),
        ingest=Ingest(settings, metrics),
        metrics=metrics,
        stores=Stores(settings),
        tickets=Tickets(api),
        classes=lambda: _classes(follower),
        reconciler=Reconciler(settings) if is_first else None,
        agreement=AgreementGauges(database, metrics, lambda: (follower.current, follower.warmed)) if is_first else None,
        draining=draining,
    )


def _classes(follower: Follower) -> Sequence[str]:
    champion = follower.current
    if champion is None:
        raise Transient(
            "no champion is loaded yet, so its classes are not known: /readyz says when it is", is_public=True
        )
    folder = champion.version.folder
    return () if folder is None else read_spec(folder).classes


def parts_of(request: Request) -> Parts:
    """For routes, as `Depends(parts_of)`."""
    parts: Parts = request.app.state.parts
    return parts
