"""From an alias to a model version whose files lie in the local cache.

    alias ──MLflow──► version, digest ──cache or download──► verified folder ──► ModelVersion
      └── MLflow away ──► the last one served from here, with a warning; none: Transient

cache/
  <model>/<version>-<digest>/    model.onnx, model.json, ...; there only when whole and verified
  <model>/<alias>.json           what the alias was when MLflow last answered
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from contracts.errors import Misconfigured, Transient
from contracts.identifiers import SHA256
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.domain.model_spec import MODEL_FILE_NAME
from inference.registry.mlflow_client import NotFound, connect, translated, version_of_alias
from inference.registry.model_version import ModelVersion, digest_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG: Final = "digest"  # sha256 of model.onnx
LICENCE_TAG: Final = "licence"  # SPDX
UNKNOWN_LICENCE: Final = "unknown"

_log = get_logger(__name__)


def resolve(settings: Settings, alias: str) -> ModelVersion:
    """The version that the alias points to, its files verified and here.

    Raises:
        Transient: MLflow is away and nothing is cached, or no version has the alias yet.
        Misconfigured: the version's files are not what its digest says, or it has none.
    """
    cache = settings.stream.cache_folder / quote(settings.mlflow.model_name, safe="")
    client = connect(settings)
    try:
        version = _from_mlflow(client, settings, alias, cache)
    except NotFound as error:
        raise Transient(
            f"no version of {settings.mlflow.model_name} has the alias {alias} yet; `sightline up` gives it to the "
            "demo model"
        ) from error
    except Transient as error:
        return _last_one(cache, alias, error)
    _remember(cache, alias, version)
    return version


def _from_mlflow(client: MlflowClient, settings: Settings, alias: str, cache: Path) -> ModelVersion:
    name = settings.mlflow.model_name
    number = version_of_alias(client, name, alias)
    if number is None:
        raise NotFound(f"no version of {name} has the alias {alias}")
    with translated(f"asking for version {number} of {name}"):
        found: Any = client.get_model_version(name, number)
    digest = found.tags.get(DIGEST_TAG, "")
    if not SHA256.fullmatch(digest):
        raise Misconfigured(f"version {found.version} of {name} has no tag {DIGEST_TAG}; deliver the model again")
    folder = cache / f"{quote(str(found.version), safe='')}-{digest}"
    if not _is_whole(folder, digest):
        with translated(f"downloading version {found.version} of {name}"):
            source = client.get_model_version_download_uri(name, found.version)
        _download(source, settings.mlflow.tracking_uri, folder, digest)
    return ModelVersion(
        name=name,
        version=str(found.version),
        digest=digest,
        folder=folder,
        licence=found.tags.get(LICENCE_TAG, UNKNOWN_LICENCE),
    )


def _is_whole(folder: Path, digest: str) -> bool:
    file = folder / MODEL_FILE_NAME
    return file.is_file() and digest_of(file) == digest


def _download(source: str, tracking_uri: str, folder: Path, digest: str) -> None:
    """Puts the files into place in one step: another process sees the whole folder or none."""
    from mlflow.artifacts import download_artifacts

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as scratch:
        with translated(f"downloading {folder.name}"):
            got = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=tracking_uri))
        if not _is_whole(got, digest):
            raise Misconfigured(
                f"{MODEL_FILE_NAME} of {folder.name} is not what its digest says; deliver the model again"
            )
        if folder.exists() and not _is_whole(folder, digest):
            shutil.rmtree(folder)  # damaged here; what was downloaded is right
        try:
            got.rename(folder)
        except OSError:
            if not _is_whole(folder, digest):  # another process was quicker, or the disk failed
                raise
    _log.info("model_downloaded", folder=folder.name)


def _remember(cache: Path, alias: str, version: ModelVersion) -> None:
    """Writes down what the alias is now, for a start without MLflow."""
    content = {"version": version.version, "digest": version.digest, "licence": version.licence}
    handle, scratch = tempfile.mkstemp(dir=cache, prefix=".alias-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"name": version.name, **content}, file)
    Path(scratch).replace(cache / f"{quote(alias, safe='')}.json")


def _last_one(cache: Path, alias: str, error: Transient) -> ModelVersion:
    try:
        last = json.loads((cache / f"{quote(alias, safe='')}.json").read_text("utf-8"))
        folder = cache / f"{quote(last['version'], safe='')}-{last['digest']}"
    except (OSError, ValueError, KeyError):
        raise error from None
    if not _is_whole(folder, last["digest"]):
        raise error
    _log.warning("champion_from_cache", model_version=last["version"], alias=alias, reason=str(error))
    return ModelVersion(
        name=last["name"], version=last["version"], digest=last["digest"], folder=folder, licence=last["licence"]
    )
