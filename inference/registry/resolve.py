"""From an alias to a model version whose files lie in the local cache.

    alias ──MLflow──► version, digest ──cache or download──► verified folder ──► ModelVersion
      └── MLflow away ──► the last one served from here, with a warning; none: Transient

cache/
  <model>/<version>-<digest>/    model.onnx, model.json, ...; there only when whole and verified
  <model>/<alias>.json           what the alias was when MLflow last answered
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from contracts.errors import Misconfigured, Transient
from contracts.identifiers import SHA256
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME
from inference.registry.mlflow_client import NotFound, connect, translated, version_of_alias
from inference.registry.model_version import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG: Final = "digest"  # sha256 of model.onnx
SPEC_DIGEST_TAG: Final = "spec_digest"  # sha256 of model.json; versions of others may lack it
LICENCE_TAG: Final = "licence"  # SPDX
UNKNOWN_LICENCE: Final = "unknown"

_log = get_logger(__name__)


def resolve(settings: Settings, alias: str) -> ModelVersion:
    """The version that the alias points to, its files verified and here.

    Raises:
        Transient: MLflow is away, or the cache cannot be written, and nothing is cached; no version has the alias yet.
        Misconfigured: the version's files are not what its digests say, or it has none.
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


def resolve_version(settings: Settings, number: str) -> ModelVersion:
    """The version of that number, its files verified and here.

    Raises:
        Transient: MLflow is away, or the cache cannot be written.
        Misconfigured: MLflow has no such version, or its files are not what its digests say.
    """
    cache = settings.stream.cache_folder / quote(settings.mlflow.model_name, safe="")
    try:
        return _of_version(connect(settings), settings, number, cache)
    except NotFound as error:
        raise Misconfigured(
            f"MLflow has no version {number} of {settings.mlflow.model_name}: deliver it again, or promote another"
        ) from error


def _from_mlflow(client: MlflowClient, settings: Settings, alias: str, cache: Path) -> ModelVersion:
    name = settings.mlflow.model_name
    number = version_of_alias(client, name, alias)
    if number is None:
        raise NotFound(f"no version of {name} has the alias {alias}")
    return _of_version(client, settings, number, cache)


def _of_version(client: MlflowClient, settings: Settings, number: str, cache: Path) -> ModelVersion:
    name = settings.mlflow.model_name
    with translated(f"asking for version {number} of {name}"):
        found: Any = client.get_model_version(name, number)
    digest = found.tags.get(DIGEST_TAG, "")
    if not SHA256.fullmatch(digest):
        raise Misconfigured(f"version {found.version} of {name} has no tag {DIGEST_TAG}; deliver the model again")
    folder = _folder(cache, str(found.version), digest)
    version = ModelVersion(
        name=name,
        version=str(found.version),
        digest=digest,
        folder=folder,
        licence=found.tags.get(LICENCE_TAG, UNKNOWN_LICENCE),
        spec_digest=found.tags.get(SPEC_DIGEST_TAG, ""),
    )
    if not version.is_whole():
        with translated(f"downloading version {found.version} of {name}"):
            source = client.get_model_version_download_uri(name, found.version)
        try:
            _download(source, settings.mlflow.tracking_uri, folder, version)
        except OSError as error:
            raise Transient(
                f"version {found.version} of {name} cannot be put into {cache} ({error.strerror or error}): make room "
                "and let it be written, or set SIGHTLINE_STREAM__CACHE_FOLDER"
            ) from error
    return version


def _folder(cache: Path, number: str, digest: str) -> Path:
    return cache / f"{quote(number, safe='')}-{digest}"


def _download(source: str, tracking_uri: str, folder: Path, version: ModelVersion) -> None:
    """Puts the files into place in one step: another process sees the whole folder or none."""
    from mlflow.artifacts import download_artifacts

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as scratch:
        with translated(f"downloading {folder.name} into {folder.parent}"):
            got = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=tracking_uri))
        if not replace(version, folder=got).is_whole():
            raise Misconfigured(
                f"{MODEL_FILE_NAME} or {FILE_NAME} of {folder.name} is not what its digest says; deliver the model again"
            )
        if folder.exists() and not version.is_whole():
            shutil.rmtree(folder)  # damaged here; what was downloaded is right
        try:
            got.rename(folder)
        except OSError:
            if not version.is_whole():  # another process was quicker, or the disk failed
                raise
    _log.info("model_downloaded", folder=folder.name)


def _remember(cache: Path, alias: str, version: ModelVersion) -> None:
    """Writes down what the alias is now, for a start without MLflow. Where it cannot, it warns: the champion is known."""
    content = {name: getattr(version, name) for name in ("name", "version", "digest", "spec_digest", "licence")}
    try:
        with tempfile.TemporaryDirectory(dir=cache, prefix=".alias-") as scratch:
            file = Path(scratch) / "alias.json"
            file.write_text(json.dumps(content), "utf-8")
            file.replace(cache / f"{quote(alias, safe='')}.json")
    except OSError as error:
        _log.warning(
            "champion_not_remembered", alias=alias, model_version=version.version, folder=str(cache),
            reason=f"{error.strerror or error}: make room and let it be written, or a start without MLflow has to wait",
        )  # fmt: skip


def _last_one(cache: Path, alias: str, error: Transient) -> ModelVersion:
    try:
        last = json.loads((cache / f"{quote(alias, safe='')}.json").read_text("utf-8"))
        version = ModelVersion(
            name=last["name"],
            version=last["version"],
            digest=last["digest"],
            folder=_folder(cache, last["version"], last["digest"]),
            licence=last["licence"],
            spec_digest=last.get("spec_digest", ""),
        )
    except (OSError, ValueError, KeyError):
        raise error from None
    if not version.is_whole():
        raise error
    _log.warning("champion_from_cache", model_version=version.version, alias=alias, reason=str(error))
    return version
