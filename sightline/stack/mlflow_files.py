"""The files of a registered version stay what they are.

    upload      ─► announced ─► overlaps a version, or one that is being made? 403
    new version ─► announced ─► overlaps an upload that is under way? 409

Each is announced before it looks, in the one process that MLflow is: of two at the same moment, one sees the other. An
upload that began before the version was made can so not end after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from anyio import to_thread

from contracts.errors import Transient
from sightline.stack.mlflow_places import Place, overlap, place_of

Locations = Callable[[], Iterable[str]]
Resolve = Callable[[str], str]


class Files:
    """What of MLflow's files may be written. For one event loop."""

    def __init__(self, registered: Locations | None = None, resolve: Resolve | None = None) -> None:
        self._registered = registered or registered_locations
        self._resolve = resolve or location_of
        self._uploads: list[Place] = []
        self._versions: list[Place] = []

    @contextmanager
    def writing(self, place: Place) -> Iterator[None]:
        """While an upload is under way."""
        yield from _announced(self._uploads, place)

    @contextmanager
    def registering(self, place: Place) -> Iterator[None]:
        """While a version is made."""
        yield from _announced(self._versions, place)

    async def is_fixed(self, place: Place) -> bool:
        """Whether a version's files would be touched.

        Raises:
            Transient: MLflow's database is away.
        """
        if any(overlap(place, version) for version in self._versions):
            return True
        return await to_thread.run_sync(self._is_registered, place)

    def is_being_written(self, place: Place) -> bool:
        """Whether an upload is under way there."""
        return any(overlap(place, upload) for upload in self._uploads)

    async def place_of_source(self, source: str) -> Place | None:
        """Where the files of a new version lie; None where MLflow will refuse the source itself.

        Raises:
            Transient: MLflow's database is away.
        """
        return place_of(await to_thread.run_sync(self._resolve, source))

    def _is_registered(self, place: Place) -> bool:
        return any(overlap(place, found) for found in map(place_of, self._registered()) if found)


def registered_locations() -> list[str]:
    """Where the files of every version lie, as MLflow's database has it; blocks.

    Raises:
        Transient: the database is away.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_model_registry_store
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion

    try:
        with _get_model_registry_store().ManagedSessionMaker() as session:
            rows = session.query(SqlModelVersion.source, SqlModelVersion.storage_location).all()
    except MlflowException as error:
        raise Transient("MLflow's database is away, so nobody can tell what may be written") from error
    return [location for row in rows for location in row if location]


def location_of(source: str) -> str:
    """The location that a version's source stands for: that of the logged model where it names one; blocks.

    Raises:
        Transient: the database is away.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_tracking_store
    from mlflow.store.artifact.utils.models import _parse_model_uri

    try:
        model_id = _parse_model_uri(source).model_id if source.startswith("models:") else None
        return str(_get_tracking_store().get_logged_model(model_id).artifact_location) if model_id else source
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return source
        raise Transient("MLflow's database is away, so nobody can tell whose files these are") from error


def _announced(known: list[Place], place: Place) -> Iterator[None]:
    known.append(place)
    try:
        yield
    finally:
        known.remove(place)
