"""The one place that imports MLflow, late (it takes seconds) and with its patience set to ours.

MlflowException ──► NotFound | Transient (away) | Misconfigured (refused)
OSError of files ──► Transient (a disk of ours), which names the folder and never MLflow
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import requests

from connectors import access
from contracts.errors import Misconfigured, PipelineError, Transient
from contracts.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

# Left to itself, MLflow asks 7 times for up to 2 minutes each: an outage at the start would look like a hang.
_STORE: Final = "MLflow"  # for clients, who learn no address
_REQUEST_SECONDS: Final = 10
_RETRIES: Final = 1

_ABSENT: Final = frozenset({"RESOURCE_DOES_NOT_EXIST"})
_LOGIN: Final = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED"})
_REFUSED: Final = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
# What a file of ours may meet. MLflow's client hides it in the text of an error of its own.
_OF_A_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS})
_DOWNLOAD_FAILED: Final = "The following failures occurred while downloading"
_ERRNO: Final = re.compile(r"^\[Errno (\d+)\]", re.MULTILINE)
_LOGIN_ADVICE: Final = (
    "Run `sightline login` as somebody who may, or set SIGHTLINE_MLFLOW__USERNAME and SIGHTLINE_MLFLOW__PASSWORD"
)


class NotFound(PipelineError):  # noqa: N818 - reads like the three in contracts.errors
    """MLflow answered that there is no such thing."""


def connect(settings: Settings) -> MlflowClient:
    """A client of the installation's MLflow. Talks to Keycloak where MLflow is behind a login, to MLflow not yet.

    Raises:
        Misconfigured: the login has ended.
        Transient: a token is needed, and Keycloak is away.
    """
    # Read while MLflow is imported: an installation on premises reports to nobody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.environment_variables import (
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
    )

    _log_in(settings)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(_REQUEST_SECONDS)
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(_RETRIES)
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # its import sets INFO, and tells people of its own waiting
    return MlflowClient(tracking_uri=settings.mlflow.tracking_uri, registry_uri=settings.mlflow.tracking_uri)


def _log_in(settings: Settings) -> None:
    """Tells MLflow's client who we are: the account that is set, else whoever logged in, for as long as a token lives.

    Its environment is the only way: MlflowClient takes no login. A client that is used for longer is made anew.
    """
    from mlflow.environment_variables import (
        MLFLOW_TRACKING_PASSWORD,
        MLFLOW_TRACKING_TOKEN,
        MLFLOW_TRACKING_USERNAME,
    )

    if settings.mlflow.username:
        MLFLOW_TRACKING_USERNAME.set(settings.mlflow.username)
        MLFLOW_TRACKING_PASSWORD.set(settings.mlflow.password.get_secret_value())
        MLFLOW_TRACKING_TOKEN.unset()
    elif access.is_somebody(settings):
        MLFLOW_TRACKING_TOKEN.set(access.access_token(settings))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns what MLflow raises into ours; `doing` says what was tried.

    Raises:
        NotFound: MLflow has no such thing.
        Misconfigured: it refuses us.
        Transient: it is away, or failed by itself; or files cannot be written here.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if (number := _of_our_disk(error)) is not None:
            raise _cannot_write(doing, number) from error
        if error.error_code in _ABSENT:
            raise NotFound(f"{doing}: MLflow has no such thing") from error
        if error.error_code in _LOGIN:
            raise Misconfigured(
                f"{doing}: MLflow refused ({error.error_code}): {_short(error)}. {_LOGIN_ADVICE}", store=_STORE
            ) from error
        if error.error_code in _REFUSED:
            raise Misconfigured(
                f"{doing}: MLflow refused ({error.error_code}): {_short(error)}", store=_STORE
            ) from error
        raise Transient(f"{doing}: MLflow is away or failed: {_short(error)}", store=_STORE) from error
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code in {401, 403}:
            raise Misconfigured(
                f"{doing}: MLflow refused ({error.response.status_code}). {_LOGIN_ADVICE}", store=_STORE
            ) from error
        raise Transient(f"{doing}: MLflow or its store is away ({type(error).__name__})", store=_STORE) from error
    except (requests.RequestException, OSError) as error:
        if error.errno in _OF_A_DISK:
            raise _cannot_write(doing, error.errno) from error
        raise Transient(f"{doing}: MLflow or its store is away ({type(error).__name__})", store=_STORE) from error


def _of_our_disk(error: MlflowException) -> int | None:
    """The errno of the file that a download could not write here."""
    said = str(error)
    numbers = map(int, _ERRNO.findall(said)) if said.startswith(_DOWNLOAD_FAILED) else ()
    return next((number for number in numbers if number in _OF_A_DISK), None)


def _cannot_write(doing: str, number: int) -> Transient:
    return Transient(f"{doing}: {os.strerror(number)}, on this machine: make room, or let it be written")


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:160]
