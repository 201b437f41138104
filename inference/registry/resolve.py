"""From an alias or a number to a model version whose files lie in the local cache.

    alias ──MLflow──► number ──MLflow──► digest ──cache or download (source.py)──► verified folder ──► ModelVersion
      └── MLflow away ──► the last one served from here, with a warning; none: Transient

cache/
  <model>/<version>-<digest>/    model.onnx, model.json, ...; there only when whole and verified
  <model>/version-<n>.json       what MLflow last said of that version
  <model>/<alias>.json           the version that served under the alias last
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
from inference.registry import tags
from inference.registry.mlflow_client import NotFound, connect, translated
from inference.registry.model_version import ModelVersion
from inference.registry.record import aliases_of
from inference.registry.source import source_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

UNKNOWN_LICENCE: Final = "unknown"

_log = get_logger(__name__)


def resolve(settings: Settings, alias: str) -> ModelVersion:
    """The version that the alias points to, its files verified and here.

    Raises:
        Transient: MLflow is away, or the cache cannot be written, and nothing is cached; no version has the alias yet.
        Misconfigured: the version's files are not what its digests say, or it has none.
        Rejected: they lie elsewhere than its run's, or are too many.
    """
    cache = _cache(settings)
    client = connect(settings)
    name = settings.mlflow.model_name
    try:
        version = _from_mlflow(client, settings, _number_of(client, name, alias), cache)
    except NotFound as error:
        raise Transient(
            f"no version of {name} has the alias {alias} yet; `sightline up` gives it to the demo model",
            is_public=True,
        ) from error
    except Transient as error:
        return _last_one(cache, alias, error)
    remember(settings, alias, version)
    return version


def resolve_version(settings: Settings, number: str) -> ModelVersion:
    """The version of that number, its files verified and here; without MLflow as it was known here last.

    Raises:
        Transient: MLflow is away, or the cache cannot be written, and the version is not cached whole.
        Misconfigured: MLflow has no such version, or its files are not what its digests say.
        Rejected: they lie elsewhere than its run's, or are too many.
    """
    cache = _cache(settings)
    try:
        version = _from_mlflow(connect(settings), settings, number, cache)
    except NotFound as error:
        raise Misconfigured(
            f"MLflow has no version {number} of {settings.mlflow.model_name}: deliver it again, or promote another"
        ) from error
    except Transient as error:
        return _last_one(cache, _numbered(number), error)
    _write(cache, _numbered(number), version)
    return version


def remember(settings: Settings, alias: str, version: ModelVersion) -> None:
    """Writes down what serves under the alias, for a start while nobody can be asked."""
    _write(_cache(settings), alias, version)


def remembered(settings: Settings, alias: str) -> ModelVersion | None:
    """What served under the alias last, with its files whole and here; None where there is no such thing."""
    return _read(_cache(settings), alias)


def _cache(settings: Settings) -> Path:
    return settings.stream.cache_folder / quote(settings.mlflow.model_name, safe="")


def _numbered(number: str) -> str:
    return f"version-{number}"


def _number_of(client: MlflowClient, name: str, alias: str) -> str:
    number = aliases_of(client, name).get(alias)
    if number is None:
        raise NotFound(f"no version of {name} has the alias {alias}")
    return number


def _from_mlflow(client: MlflowClient, settings: Settings, number: str, cache: Path) -> ModelVersion:
    name = settings.mlflow.model_name
    with translated(f"asking for version {number} of {name}"):
        found: Any = client.get_model_version(name, number)
    digest = found.tags.get(tags.DIGEST, "")
    if not SHA256.fullmatch(digest):
        raise Misconfigured(f"version {found.version} of {name} has no tag {tags.DIGEST}; deliver the model again")
    version = ModelVersion(
        name=name,
        version=str(found.version),
        digest=digest,
        folder=_folder(cache, str(found.version), digest),
        licence=found.tags.get(tags.LICENCE, UNKNOWN_LICENCE),
        spec_digest=found.tags.get(tags.SPEC_DIGEST, ""),
    )
    if not version.is_whole():
        _fetch(settings, version, source_of(client, settings, found))
    return version


def _fetch(settings: Settings, version: ModelVersion, source: str) -> None:
    folder = version.folder
    assert folder is not None
    try:
        _download(source, settings.mlflow.tracking_uri, folder, version)
    except OSError as error:
        raise Transient(
            f"version {version.version} of {version.name} cannot be put into {folder.parent} "
            f"({error.strerror or error}): make room and let it be written, or set SIGHTLINE_STREAM__CACHE_FOLDER"
        ) from error


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
                f"{MODEL_FILE_NAME}, {FILE_NAME} or a golden image of {folder.name} is not what its digest says; "
                "deliver the model again"
            )
        if folder.exists() and not version.is_whole():
            shutil.rmtree(folder)  # damaged here; what was downloaded is right
        try:
            got.rename(folder)
        except OSError:
            if not version.is_whole():  # another process was quicker, or the disk failed
                raise
    _log.info("model_downloaded", folder=folder.name)


def _write(cache: Path, name: str, version: ModelVersion) -> None:
    """Keeps what a version is under that name. Where it cannot, it warns: the version itself is known."""
    content = {field: getattr(version, field) for field in ("name", "version", "digest", "spec_digest", "licence")}
    try:
        with tempfile.TemporaryDirectory(dir=cache, prefix=".alias-") as scratch:
            file = Path(scratch) / "alias.json"
            file.write_text(json.dumps(content), "utf-8")
            file.replace(_file(cache, name))
    except OSError as error:
        _log.warning(
            "version_not_remembered", known_as=name, model_version=version.version, folder=str(cache),
            reason=f"{error.strerror or error}: make room and let it be written, or a start without MLflow has to wait",
        )  # fmt: skip


def _read(cache: Path, name: str) -> ModelVersion | None:
    """The version kept under that name, its files whole; else None."""
    try:
        last = json.loads(_file(cache, name).read_text("utf-8"))
        version = ModelVersion(
            name=last["name"],
            version=last["version"],
            digest=last["digest"],
            folder=_folder(cache, last["version"], last["digest"]),
            licence=last["licence"],
            spec_digest=last.get("spec_digest", ""),
        )
    except (OSError, ValueError, KeyError):
        return None
    return version if version.is_whole() else None


def _file(cache: Path, name: str) -> Path:
    return cache / f"{quote(name, safe='')}.json"


def _last_one(cache: Path, name: str, error: Transient) -> ModelVersion:
    version = _read(cache, name)
    if version is None:
        raise error
    _log.warning("version_from_cache", known_as=name, model_version=version.version, reason=str(error))
    return version
