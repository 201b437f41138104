"""Where a version's files are fetched from: nothing is believed that the version says of itself.

version ─► its download URI ─► below the artifacts of its run, or of its logged model? no: Rejected
        ─► listed, folder by folder, and added up ─► more than the setting allows? Rejected
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from contracts.errors import Rejected
from contracts.settings import Settings
from inference.registry.mlflow_client import NotFound, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_FILES: Final = 10_000
_MEBIBYTE: Final = 1024 * 1024
_LOGGED_MODEL: Final = "models:/m-"


def source_of(client: MlflowClient, settings: Settings, found: Any) -> str:
    """The URI of a version's files.

    Args:
        client: of MLflow.
        settings: how much may be fetched.
        found: the version, MLflow's own object.

    Raises:
        Rejected: they lie elsewhere than its run's files do (source_elsewhere), or are too many (version_too_large).
        Transient: MLflow is away.
    """
    named = f"version {found.version} of {found.name}"
    with translated(f"asking where {named} lies"):
        source: str = client.get_model_version_download_uri(found.name, found.version)
    if not any(lies_below(source, root) for root in _roots(client, found)):
        raise Rejected(
            f"the files of {named} are said to lie outside the artifacts of its run, so nobody can tell whose they are: "
            "deliver the model again",
            code="source_elsewhere",
        )
    with translated(f"asking how large {named} is"):
        _refuse_too_much(source, settings, named)
    return source


def lies_below(uri: str, root: str) -> bool:
    """Whether a URI is one of root's files; never where it climbs, or where root is a whole store."""
    given, wanted = _parts(uri), _parts(root)
    if given is None or wanted is None or not wanted[1]:
        return False
    return given[0] == wanted[0] and given[1][: len(wanted[1])] == wanted[1]


def _parts(uri: str) -> tuple[tuple[str, str], list[str]] | None:
    """Scheme and host, and the path's segments; None where a part of it is no path."""
    while (decoded := unquote(uri)) != uri:
        uri = decoded
    split = urlsplit(uri)
    segments = [part for part in split.path.split("/") if part not in ("", ".")]
    if split.query or split.fragment or ".." in segments or "\\" in uri:
        return None
    return (split.scheme, split.netloc), segments


def _roots(client: MlflowClient, found: Any) -> list[str]:
    """Where the version's run and its logged model, if it has them, put their files."""
    roots: list[str] = []
    model_id = found.model_id or (
        found.source.removeprefix("models:/") if found.source.startswith(_LOGGED_MODEL) else None
    )
    try:
        with translated(f"asking for the run of version {found.version} of {found.name}"):
            if found.run_id:
                roots.append(client.get_run(found.run_id).info.artifact_uri)
            if model_id:
                roots.append(client.get_logged_model(model_id).artifact_location)
    except NotFound:
        pass  # what is gone holds nothing
    return roots


def _refuse_too_much(source: str, settings: Settings, named: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(source, tracking_uri=settings.mlflow.tracking_uri)
    most = settings.mlflow.largest_version_mib * _MEBIBYTE
    files, size = 0, 0
    folders: list[str | None] = [None]
    while folders:
        for entry in repository.list_artifacts(folders.pop()):
            files += 1
            size += entry.file_size or 0
            if entry.is_dir:
                folders.append(entry.path)
            if size > most or files > MOST_FILES:
                raise Rejected(
                    f"{named} has more than {settings.mlflow.largest_version_mib} MiB or {MOST_FILES} files, which is no "
                    "model: deliver it without what does not belong to it, or raise "
                    "SIGHTLINE_MLFLOW__LARGEST_VERSION_MIB",
                    code="version_too_large",
                )
