"""Which model serves. Resolved once at the start; a later issue swaps it between two batches.

settings.stream.model_folder, else the registry's alias ──► files ──► engine, warmed up ──► Champion.current
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from contracts.logs import get_logger
from contracts.settings import Settings
from inference import engines
from inference.engines import Engine
from inference.registry.model_version import ModelVersion, of_folder
from inference.registry.resolve import resolve

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model version and the engine that runs it, ready."""

    version: ModelVersion
    engine: Engine


class Champion:
    """Holds the model that serves. Whoever scores reads `current` once per batch."""

    def __init__(self, model: ServedModel) -> None:
        self.current = model

    def close(self) -> None:
        """Releases the engine."""
        self.current.engine.close()


def load_champion(settings: Settings) -> Champion:
    """The champion as the settings name it, loaded and warmed up.

    Raises:
        Transient: the registry is away and no champion was cached, or it has none yet.
        Misconfigured: the model or the engine does not fit.
    """
    version = _version(settings)
    stream = settings.stream
    engine = engines.load(stream.engine, version.folder, threads=stream.engine_threads)
    engine.warm_up()
    _log.info(
        "champion_loaded", model_name=version.name, model_version=version.version, digest=version.digest,
        engine=engine.name,
    )  # fmt: skip
    return Champion(ServedModel(version=version, engine=engine))


def _version(settings: Settings) -> ModelVersion:
    if settings.stream.model_folder is not None:
        return of_folder(settings.stream.model_folder, name=settings.mlflow.model_name)
    if settings.stream.engine == "fake":
        digest = hashlib.sha256(b"fake").hexdigest()
        return ModelVersion(name=settings.mlflow.model_name, version="0", digest=digest, folder=None, licence="none")
    return resolve(settings, settings.mlflow.alias)
