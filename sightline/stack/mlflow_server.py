"""MLflow's server in one process: `python -m sightline.stack.mlflow_server HOST PORT [--login]`.

`mlflow server` is a command that starts uvicorn as a second process and stays beside it: half the memory and half the
start are its own. This does what it does, without it. The names come from MLflow, so that a change there fails here.

    MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION   by the environment, for one of them holds a password
    --login                                                  behind the gate (profile full): mlflow_gate.py
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def main() -> None:
    """Serves until SIGTERM."""
    host, port = sys.argv[1], int(sys.argv[2])
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from mlflow.server import constants
    from mlflow.store.tracking import DEFAULT_ARTIFACTS_URI

    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = DEFAULT_ARTIFACTS_URI
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, DEFAULT_ARTIFACTS_URI)  # creates or upgrades the tables
    import uvicorn

    app = _behind_login() if "--login" in sys.argv[3:] else "mlflow.server.fastapi_app:app"
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="info")


def _behind_login() -> ASGIApp:
    from mlflow.server.fastapi_app import app

    from contracts.settings import Settings
    from sightline.stack.mlflow_gate import Gate
    from sightline.stack.mlflow_visitors import Visitors

    return Gate(app, Visitors(Settings.load()))


if __name__ == "__main__":
    main()
