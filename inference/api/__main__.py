"""The API's process: `python -m inference.api`.

settings ─► port ─► one process per core (inference.api.processes) ─► SIGTERM ─► drained ─► exit

Exit codes: 0 told to stop · 75 start again · 78 a person must change a setting.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from contracts import logs
from contracts.errors import PipelineError
from contracts.settings import Settings

_log = logs.get_logger(__name__)


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    try:
        settings = Settings.load()
    except PipelineError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no log settings yet
        return error.exit_code
    logs.configure(level=settings.log.level, as_json=settings.log.format == "json", service="api")
    try:
        code = run(settings)
    except PipelineError as error:
        _log.error("service_failed", reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    _log.info("service_stopped", exit_code=code)
    return code


def run(settings: Settings) -> int:
    """The service's life. Returns the exit code.

    Raises:
        PipelineError: the port cannot be had.
    """
    # Late: every process of the service imports this module when it starts.
    from inference.api.metrics import share
    from inference.api.processes import Processes, bind

    listener = bind(settings.api.host, settings.api.port)
    with share() as folder:
        processes = Processes(settings, listener, Path(folder))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: processes.stop())
        return processes.run()


if __name__ == "__main__":
    raise SystemExit(main())
