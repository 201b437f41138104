"""`python -m inference.batch JOB …`: one front door for all jobs.

arguments, settings ─► the job's module ─► result ─► --result FILE, or the last line of stdout ─► exit code
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from contracts import logs
from contracts.errors import PipelineError
from contracts.settings import Settings
from inference.batch.job import hand_over

# Imported when named: scoring needs no dataframes, and a check no engine.
JOBS: Final = {
    "score": "inference.batch.score",
    "check": "inference.batch.check",
    "drift": "inference.batch.drift",
    "expire": "inference.batch.expire",
    "watch": "inference.batch.watch",
    "export-labels": "inference.batch.export_labels",
    "fetch-labels": "inference.batch.fetch_labels",
}


def parser_of(name: str) -> tuple[argparse.ArgumentParser, ModuleType]:
    """The options of one job, and its module.

    Raises:
        KeyError: there is no such job.
    """
    module = import_module(JOBS[name])
    parser = argparse.ArgumentParser(prog=f"python -m inference.batch {name}", description=module.ABOUT)
    parser.add_argument("--result", type=Path, help="write the result, one JSON document, into this file")
    module.add_arguments(parser)
    return parser, module


def main(arguments: list[str] | None = None) -> int:
    """Runs one job. Returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    front = argparse.ArgumentParser(prog="python -m inference.batch", description=__doc__, add_help=True)
    front.add_argument("job", choices=sorted(JOBS))
    name = front.parse_args(words[:1]).job
    parser, module = parser_of(name)
    given = parser.parse_args(words[1:])
    try:
        settings = Settings.load()
        logs.configure(level=settings.log.level, as_json=settings.log.format == "json", service=f"batch-{name}")
        result = module.run(settings, given, say)
        hand_over(json.dumps(result.fields, default=str), given.result)
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return int(result.exit_code)


def say(line: str) -> None:
    """Progress, for whoever reads the log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
