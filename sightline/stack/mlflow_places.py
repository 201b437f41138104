"""Where MLflow keeps files, as segments below its artifact root: what a request would write, what a location names. Pure.

    PUT /api/2.0/mlflow-artifacts/artifacts/1/<run>/artifacts/model/model.json ──► 1, <run>, artifacts, model, model.json
    mlflow-artifacts:/1/<run>/artifacts/model                                  ──► 1, <run>, artifacts, model

Paths are read by MLflow's own rule, which decodes again and again: what it would reach is what is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Place = tuple[str, ...]

SCHEME: Final = "mlflow-artifacts:"
ROOT: Final[Place] = ()

_API_OF_FILES: Final = re.compile(r"^/+(ajax-)?api/+\d+\.\d+/+mlflow-artifacts(/|$)")
_UPLOAD: Final = re.compile(
    r"/(?:ajax-)?api/\d+\.\d+/mlflow-artifacts/(?:artifacts|mpu/(?:create|complete|abort))/(.+)", re.DOTALL
)
_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCATION: Final = re.compile(rf"{SCHEME}/(?!/)([^?#;\\]*)")  # no host: clients would send their login there
_MODELS: Final = re.compile(r"models:/(?!/)[^?#;\\]+")


def written_by(method: str, path: str) -> Place | None:
    """What a request would write or remove; None where it touches no file.

    The root where nobody can tell: everything lies below it.

    Args:
        method: upper-case.
        path: decoded, without the query.
    """
    if method in _LOOKING or not _API_OF_FILES.match(path):
        return None
    named = _UPLOAD.fullmatch(path)
    return (named and _segments(named[1])) or ROOT


def place_of(location: str) -> Place | None:
    """Where a location lies below MLflow's own root; None: elsewhere, or where nobody can tell."""
    named = _LOCATION.fullmatch(location)
    return _segments(named[1]) if named else None


def overlap(one: Place, other: Place) -> bool:
    """Whether one lies in the other, or is it."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def refused_location(said: Mapping[str, object]) -> str | None:
    """Why a new experiment's files may not go where its body says; None: they may."""
    for location in (said.get("artifact_location"), said.get("artifactLocation")):
        if location not in (None, "") and (not isinstance(location, str) or place_of(location) is None):
            return (
                f"artifact_location may be left out or begin with {SCHEME}/, without '..': files lie in MLflow's bucket"
            )
    return None


def refused_source(said: Mapping[str, object]) -> str | None:
    """Why a new version's files may not lie where its body says; None: they may."""
    source = said.get("source")
    if isinstance(source, str) and (place_of(source) or _MODELS.fullmatch(source)):
        return None
    return (
        f"source must be below the artifact URI of a run ({SCHEME}/…, as mlflow.get_artifact_uri() says) "
        "or a model (models:/…): log the files first"
    )


def _segments(path: str) -> Place | None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

    try:
        safe: str = validate_path_is_safe(path) if path else ""
    except (MlflowException, ValueError):
        return None
    return tuple(part for part in safe.split("/") if part not in ("", "."))
