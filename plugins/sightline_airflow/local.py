"""A job as a process beside Airflow: its output in the task's log as it comes, its result as XCom.

task ──► leash ──► the job, each in a process group of its own
  └─ cleared, timed out, killed -9 with all of its group: the leash ends the job's
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.log import mask_secret
from pydantic import BaseModel, SecretStr

from contracts.settings import Settings
from sightline_airflow import leash
from sightline_airflow.commands import PYTHON
from sightline_airflow.ending import end, literally, resolved
from sightline_airflow.jobs import Kind, Words, settings
from sightline_airflow.links import LINKS

TAIL_LINES: Final = 12
_AIRFLOWS_OWN: Final = ("AIRFLOW", "_AIRFLOW", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


class LocalJobOperator(BaseOperator):
    """Runs one job here."""

    template_fields: Sequence[str] = ("command",)
    template_fields_renderers = {"command": "json"}  # noqa: RUF012 - Airflow's own way
    operator_extra_links = LINKS
    ui_color = "#e8f0fe"

    def __init__(self, *, kind: Kind, command: Words, **rest: Any) -> None:
        super().__init__(**rest)
        self.kind = kind
        self.command = command
        self._leash: subprocess.Popen[bytes] | None = None

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """A function becomes its words first, so that the page shows them. No word is a template: a form's would run."""
        self.command = literally(resolved(self.command, context))
        super().render_template_fields(context, jinja_env)

    def execute(self, context: Any) -> Any:
        """Runs the job to its end. Its outcome is the task's, as outcome.py says."""
        chosen = settings()
        _hide_secrets(chosen)
        with tempfile.TemporaryDirectory(prefix="sightline-job-") as scratch:
            file = Path(scratch) / "result.json"
            words = [*self._words(chosen), *(("--result", str(file)) if self.kind.has_result else ())]
            exit_code, tail = self._run(words, chosen.jobs.folder.absolute())
            result = _read(file)
        return end(context, self.kind.name, exit_code, result=result, tail=tail)

    def on_kill(self) -> None:
        """Lets the leash go; it ends the job and its children, whatever becomes of this process."""
        if self._leash is not None and self._leash.stdin is not None:
            self._leash.stdin.close()

    def _words(self, chosen: Settings) -> list[str]:
        python = chosen.jobs.train_interpreter if self.kind.has_torch else chosen.jobs.interpreter
        first, *rest = (str(word) for word in resolved(self.command, None))
        return [python if first == PYTHON else first, *rest]

    def _run(self, words: list[str], folder: Path) -> tuple[int, list[str]]:
        self.log.info("%s runs: %s", self.kind.name, " ".join(words))
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with subprocess.Popen(
            [sys.executable, "-I", leash.__file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment_of(os.environ, folder),
            start_new_session=True,  # Airflow kills the task's whole group; the leash must be there to see it
        ) as self._leash:
            assert self._leash.stdout is not None
            for raw in self._leash.stdout:
                line = raw.decode(errors="replace").rstrip()
                tail.append(line)
                self.log.info(line)
        return self._leash.returncode, list(tail)


def environment_of(around: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What a job sees of Airflow's environment: nothing of Airflow's own, whose database's password is there too."""
    kept = {name: value for name, value in around.items() if not name.startswith(_AIRFLOWS_OWN)}
    return kept | {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}


def _read(file: Path) -> Any:
    """The result, if the job came so far as to write one."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _hide_secrets(chosen: Settings) -> None:
    """Should a job print one, the log has *** in its place."""
    for secret in _secrets(chosen):
        mask_secret(secret)


def _secrets(part: Any) -> Iterator[str]:
    """Every one in a part of the settings tree, however deep."""
    if isinstance(part, SecretStr):
        if part.get_secret_value():
            yield part.get_secret_value()
    elif isinstance(part, BaseModel):
        for _, value in part:
            yield from _secrets(value)
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _secrets(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _secrets(value)
