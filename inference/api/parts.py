"""What the routes work with, made once per process and given to the application: no route reads a setting's source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from fastapi import Request

from contracts.settings import Settings
from inference.api.identity import TokenVerifier
from inference.api.recent import Recent
from inference.api.tickets import Tickets

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
    tickets: Tickets  # links to images for browsers
    classes: Callable[[], Sequence[str]]  # the champion's, in its model's order; Transient while none is loaded
    recent: Recent[Any] = field(default_factory=lambda: Recent(2.0))  # how the pipeline is: many askers ask once
    auditing: Lock = field(default_factory=Lock)  # held while an audit is made: one at a time


def parts_of(request: Request) -> Parts:
    """For routes, as `Depends(parts_of)`."""
    parts: Parts = request.app.state.parts
    return parts
