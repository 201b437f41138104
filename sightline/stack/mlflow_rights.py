"""Which right a request to MLflow asks for. Pure: method, path and, for tags, the key.

    PUBLIC    is it alive
    READ      whatever looks: GET, the searches that are POST, GraphQL (whose mutations are searches)
    WRITE     whatever else: experiments, runs, model versions, tags, files
    ALIASES   who is champion, and what would take a champion away: aliases, renames, removals of models, versions and
              files, and the tags that say which files a version is
    NOBODY    the assistant (it runs programs on this machine), gateways, webhooks, workspaces, traces (their tags say
              where MLflow looks for files), ways to upload that name a run instead of a path: not offered here

What the table does not know is a WRITE: a new route of MLflow is never open by being new.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """A role of the client sightline-mlflow in Keycloak, or one of two that nobody needs and nobody has."""

    PUBLIC = "public"
    READ = "read"
    WRITE = "write"
    ALIASES = "aliases"
    NOBODY = "nobody"


# Tags of a model version that say what it is: written with it, and by nobody but the platform afterwards.
FIXED_TAGS: Final = re.compile(
    r"((spec_|training_)?digest|licence|source|gate(\..*)?|promoted|approved_(by|at))", re.DOTALL
)
# Those of them that come after: who makes a version does not write them with it either.
_LATER_TAGS: Final = re.compile(r"(gate(\..*)?|promoted|approved_(by|at))", re.DOTALL)

_PUBLIC: Final = frozenset({"/health", "/version"})
_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_API: Final = re.compile(r"^/(ajax-)?api/\d+\.\d+")

# Looked for anywhere in the path, so that no way of writing it evades them.
_CLOSED: Final = re.compile(r"/(assistant|gateway-proxy|gateway/secrets)(/|$)")
_SHOWN: Final = re.compile(  # its pages ask for them
    r"/(gateway|webhooks|workspaces|scorer/invoke|issues/invoke|traces|upload-artifact|presigned-upload-url)(/|$)"
)
_ALIASES: Final = re.compile(
    r"/registered-models/(alias|delete|rename)(/|$)|/model-versions/(delete|transition-stage)(/|$)"
)
_TAGS: Final = re.compile(r"/model-versions/(set-tag|delete-tag)(/|$)")
_NEW_VERSION: Final = re.compile(r"/model-versions/create(/|$)")
_NEW_EXPERIMENT: Final = re.compile(r"/experiments/create(/|$)")
_LOGGED_MODEL: Final = re.compile(r"/logged-models/[^/]+/?$")
_FILES: Final = re.compile(r"^/mlflow-artifacts(/|$)")  # what follows is a file's name: it may end in "search"
_SEARCHES: Final = re.compile(
    r"^(/mlflow)?/([a-z-]+/)*(search|search-datasets|get-latest-versions|get-history-bulk|batchGetInfos"
    r"|calculate-filter-correlation)/?$|^/mlflow/traces/metrics/?$|^/mlflow/ui-telemetry/?$|^/graphql/?$"
)


def right_of(method: str, path: str) -> Right:
    """The right that a request asks for.

    Args:
        method: upper-case.
        path: decoded, without the query.
    """
    path = _single(path)
    inside = _API.sub("", path)
    is_looking = method in _LOOKING
    if path in _PUBLIC and is_looking:
        return Right.PUBLIC
    is_file = _FILES.search(inside) is not None
    is_search = method == "POST" and not is_file and _SEARCHES.search(inside) is not None
    if is_file and not is_looking:
        return Right.ALIASES if method == "DELETE" else Right.WRITE
    if _CLOSED.search(inside) or (_SHOWN.search(inside) and not (is_looking or is_search)):
        return Right.NOBODY
    if is_looking or is_search:
        return Right.READ
    takes_away = _ALIASES.search(inside) or (method == "DELETE" and _LOGGED_MODEL.search(inside))
    return Right.ALIASES if takes_away else Right.WRITE


def names_a_tag(method: str, path: str) -> bool:
    """Whether the right depends on the tag that the body names."""
    return _is_at(_TAGS, method, path)


def makes_a_version(method: str, path: str) -> bool:
    """Whether the body names where a version's files lie, and its tags."""
    return _is_at(_NEW_VERSION, method, path)


def makes_an_experiment(method: str, path: str) -> bool:
    """Whether the body may name where the files of an experiment's runs go."""
    return _is_at(_NEW_EXPERIMENT, method, path)


def right_of_tag(key: object) -> Right:
    """The right to write or remove a tag of a model version."""
    if not isinstance(key, str):
        return Right.NOBODY
    return Right.ALIASES if FIXED_TAGS.fullmatch(key) else Right.WRITE


def right_of_new_version(tags: object) -> Right:
    """The right to make a version with these tags, as the body lists them."""
    if tags is None:
        return Right.WRITE
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        return Right.NOBODY
    keys = [tag.get("key") for tag in tags]
    return Right.ALIASES if any(isinstance(key, str) and _LATER_TAGS.fullmatch(key) for key in keys) else Right.WRITE


def _is_at(pattern: re.Pattern[str], method: str, path: str) -> bool:
    inside = _API.sub("", _single(path))
    return method not in _LOOKING and not _FILES.search(inside) and pattern.search(inside) is not None


def _single(path: str) -> str:
    return re.sub(r"/+", "/", path)
