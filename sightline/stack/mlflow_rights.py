"""Which right a request to MLflow asks for. Pure: method, path and, for tags, the key.

    PUBLIC    is it alive
    READ      whatever looks: GET, the searches that are POST, GraphQL (whose mutations are searches)
    WRITE     whatever else: experiments, runs, model versions, tags, files
    ALIASES   who is champion, and what would take a champion away: aliases, renames, removals of models, versions and
              files, and the tags that say which files a version is
    NOBODY    the assistant (it runs programs on this machine), gateways, webhooks, workspaces: not offered here

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
FIXED_TAGS: Final = re.compile(r"(digest|spec_digest|licence|source|gate(\..*)?|approved_(by|at))", re.DOTALL)

_PUBLIC: Final = frozenset({"/health", "/version"})
_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_API: Final = re.compile(r"^/(ajax-)?api/\d+\.\d+")

# Looked for anywhere in the path, so that no way of writing it evades them.
_CLOSED: Final = re.compile(r"/(assistant|gateway-proxy|gateway/secrets)(/|$)")
_SHOWN: Final = re.compile(r"/(gateway|webhooks|workspaces|scorer/invoke|issues/invoke)(/|$)")  # its pages ask for them
_ALIASES: Final = re.compile(
    r"/registered-models/(alias|delete|rename)(/|$)|/model-versions/(delete|transition-stage)(/|$)"
)
_TAGS: Final = re.compile(r"/model-versions/(set-tag|delete-tag)(/|$)")
_FILES: Final = re.compile(r"/mlflow-artifacts(/|$)")  # what follows is a file's name: it may end in "search"
_SEARCHES: Final = re.compile(
    r"(/mlflow)?/([a-z-]+/)*(search|search-datasets|get-latest-versions|get-history-bulk|batchGetInfos"
    r"|calculate-filter-correlation)/?$|^/mlflow/traces/metrics/?$|^/mlflow/ui-telemetry/?$|^/graphql/?$"
)


def right_of(method: str, path: str) -> Right:
    """The right that a request asks for.

    Args:
        method: upper-case.
        path: decoded, without the query.
    """
    path = re.sub(r"/+", "/", path)
    inside = _API.sub("", path)
    is_looking = method in _LOOKING
    if path in _PUBLIC and is_looking:
        return Right.PUBLIC
    if _CLOSED.search(inside) or (_SHOWN.search(inside) and not is_looking):
        return Right.NOBODY
    if is_looking:
        return Right.READ
    if _ALIASES.search(inside) or (method == "DELETE" and _FILES.search(inside)):
        return Right.ALIASES
    is_search = method == "POST" and _SEARCHES.search(inside) and not _FILES.search(inside)
    return Right.READ if is_search else Right.WRITE


def names_a_tag(method: str, path: str) -> bool:
    """Whether the right depends on the tag that the body names."""
    return method not in _LOOKING and _TAGS.search(re.sub(r"/+", "/", path)) is not None


def right_of_tag(key: object) -> Right:
    """The right to write or remove a tag of a model version."""
    if not isinstance(key, str):
        return Right.NOBODY
    return Right.ALIASES if FIXED_TAGS.fullmatch(key) else Right.WRITE
