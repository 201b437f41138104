"""What the routes work with, made once per process and given to the application: no route reads a setting's source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.settings import Settings
from inference.api.identity import TokenVerifier
from inference.registry.catalogue import Catalogue

if TYPE_CHECKING:
    from inference.api.detector import Detector
    from inference.api.ingest import Ingest
    from inference.persistence.objects import FrameStore
    from inference.persistence.pool import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One process's neighbours."""

    settings: Settings
    tokens: TokenVerifier
    database: Database  # a pool; `with parts.database.connection() as connection`
    frames: FrameStore  # the images
    detector: Detector  # a bounded queue in front of the champion
    ingest: Ingest  # frames by HTTP into the topic
    catalogue: Catalogue = field(default_factory=Catalogue)  # what MLflow said last of all versions
