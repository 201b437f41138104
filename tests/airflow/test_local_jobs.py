from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from pydantic import BaseModel, SecretStr

from contracts.settings import Settings
from sightline_airflow import leash
from sightline_airflow.jobs import Kind, job
from sightline_airflow.local import LocalJobOperator, environment_of

KIND = Kind(name="score")
LOG = "airflow.task.operators.sightline_airflow.local.LocalJobOperator"


@pytest.fixture
def script(tmp_path: Path, settings_of: Callable[..., Any]) -> Callable[[str], LocalJobOperator]:
    """A job that runs this Python."""
    settings_of(JOBS__PYTHON=sys.executable, JOBS__FOLDER=str(tmp_path))

    def made(code: str, *, kind: Kind = KIND) -> LocalJobOperator:
        file = tmp_path / "job.py"
        file.write_text(code)
        return job(kind, task_id="job", command=("python", str(file)))

    return made


ENDS = "import json, sys; open(sys.argv[2], 'w').write(json.dumps({'scored': 3})); print('last words'); sys.exit(%d)"


def test_a_job_that_is_done_gives_its_result(script: Any, context: dict[str, Any]) -> None:
    assert script(ENDS % 0).execute(context) == {"scored": 3}


@pytest.mark.parametrize("code", [65, 78])
def test_bad_data_and_a_wrong_setting_are_not_tried_again(script: Any, context: dict[str, Any], code: int) -> None:
    with pytest.raises(AirflowFailException, match=f"score ended with exit code {code}") as failed:
        script(ENDS % code).execute(context)
    assert "last words" in str(failed.value)
    assert context["ti"].xcoms == {"return_value": {"scored": 3}}


@pytest.mark.parametrize("code", [1, 75])
def test_a_neighbour_that_is_away_or_a_fault_is_tried_again(script: Any, context: dict[str, Any], code: int) -> None:
    with pytest.raises(AirflowException) as failed:
        script(ENDS % code).execute(context)
    assert not isinstance(failed.value, AirflowFailException | AirflowSkipException)


def test_a_job_that_is_killed_is_tried_again(script: Any, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowException, match="exit code 137") as failed:
        script("import os; os.kill(os.getpid(), 9)").execute(context)
    assert not isinstance(failed.value, AirflowFailException | AirflowSkipException)


def test_hold_is_a_skip_and_its_result_is_kept(script: Any, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException):
        script(ENDS % 99).execute(context)
    assert context["ti"].xcoms == {"return_value": {"scored": 3}}


def test_a_job_with_torch_has_an_interpreter_of_its_own(
    settings_of: Callable[..., Any], context: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("plain", "torch"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{{\\"ran\\": \\"{name}\\"}}" > "$2"\n')
        (tmp_path / name).chmod(0o755)
    settings_of(
        JOBS__PYTHON=str(tmp_path / "plain"), JOBS__TRAIN_PYTHON=str(tmp_path / "torch"), JOBS__FOLDER=str(tmp_path)
    )
    for kind, name in ((KIND, "plain"), (Kind(name="train", has_torch=True), "torch")):
        assert job(kind, task_id="job", command=("python",)).execute(context) == {"ran": name}


def test_the_log_comes_while_the_job_runs(
    script: Any, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job waits for a file that is made when its first line is seen in the log."""
    seen = tmp_path / "seen"
    operator = script(
        "import pathlib, sys, time\n"
        "print('begun')\n"
        f"while not pathlib.Path({str(seen)!r}).exists(): time.sleep(0.02)\n"
        "print('ended', file=sys.stderr)"
    )
    lines: list[str] = []

    def told(line: str, *values: Any) -> None:
        lines.append(line % values if values else line)
        if line == "begun":
            seen.touch()

    monkeypatch.setattr(operator.log, "info", told)
    threading.Timer(20, seen.touch).start()
    started = time.monotonic()
    operator.execute(context)
    assert lines[-2:] == ["begun", "ended"]
    assert time.monotonic() - started < 15


PARENT = """
import pathlib, signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", {child!r}])
pathlib.Path({pids!r}).write_text(str(child.pid))
time.sleep(120)
"""
CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"


@pytest.mark.parametrize("ignore", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"], ids=["polite", "deaf"])
def test_a_cleared_task_ends_its_job_and_the_jobs_children(
    script: Any, context: dict[str, Any], tmp_path: Path, ignore: str
) -> None:
    pids = tmp_path / "pids"
    operator = script(PARENT.format(ignore=ignore, child=CHILD, pids=str(pids)))
    threading.Thread(target=lambda: (wait_for(pids.is_file), time.sleep(0.3), operator.on_kill())).start()
    with pytest.raises(AirflowException):
        operator.execute(context)
    child = int(pids.read_text())
    wait_for(lambda: not is_alive(child))


def test_a_job_ends_when_its_task_is_killed_dead(tmp_path: Path) -> None:
    """As when the scheduler's machine takes the worker away: nobody is left to ask."""
    pids = tmp_path / "pids"
    code = PARENT.format(ignore="", child=CHILD, pids=str(pids))
    worker = subprocess.Popen(
        [
            sys.executable, "-c",
            ("import subprocess, sys, time\n"
            "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
            "time.sleep(120)"),
            sys.executable, "-I", leash.__file__, sys.executable, "-c", code,
        ]
    )  # fmt: skip
    wait_for(pids.is_file)
    child = int(wait_for(pids.read_text))
    assert is_alive(child)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not is_alive(child))


TASK = """
import os, pathlib, signal, sys
from sightline_airflow import local
os.setpgid(0, 0)  # as Airflow has it
local.LocalJobOperator(task_id="job", kind=local.Kind(name="score"), command=sys.argv[1:])._run(sys.argv[1:], pathlib.Path.cwd())
"""


def test_a_job_ends_when_its_tasks_whole_group_is_killed_dead(tmp_path: Path) -> None:
    """As Airflow does it when a task does not end by itself, or is one that it no longer knows."""
    pids = tmp_path / "pids"
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = PARENT.format(ignore=deaf, child=CHILD, pids=str(pids)).replace(
        "str(child.pid)", "f'{child.pid} {__import__(\"os\").getpid()}'"
    )
    task = subprocess.Popen([sys.executable, "-c", TASK, sys.executable, "-c", code])
    wait_for(pids.is_file)
    family = [int(pid) for pid in wait_for(pids.read_text).split()]
    assert all(map(is_alive, family))
    os.killpg(task.pid, signal.SIGKILL)
    task.wait()
    wait_for(lambda: not any(map(is_alive, family)))


def test_a_leash_that_is_told_to_end_while_it_starts_the_job_passes_it_on() -> None:
    code = (
        "import os, runpy, signal, subprocess, sys\n"
        "class Told(subprocess.Popen):\n"
        "    def __init__(self, *words, **how):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        super().__init__(*words, **how)\n"
        "subprocess.Popen = Told\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    )
    words = [sys.executable, "-c", code, leash.__file__, sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as told:
        assert told.wait(20) == 128 + signal.SIGTERM


def test_a_job_sees_nothing_of_airflows_own(tmp_path: Path) -> None:
    around = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "secret", "PYTHONPATH": "x", "SIGHTLINE_LOG__LEVEL": "INFO"}
    kept = environment_of(around, tmp_path)
    assert kept == {"SIGHTLINE_LOG__LEVEL": "INFO", "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def test_a_job_without_a_result_is_given_no_file(script: Any, context: dict[str, Any]) -> None:
    operator = script("import sys; sys.exit(len(sys.argv) - 1)", kind=Kind(name="train", has_result=False))
    assert operator.execute(context) is None


def test_a_secret_of_the_settings_is_masked(
    script: Any, context: dict[str, Any], settings_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("sightline_airflow.local.mask_secret", told.append)
    operator = script("")
    settings_of(LOGIN__SERVICE_SECRET="s3cr3t-of-jobs")
    operator.execute(context)
    assert "s3cr3t-of-jobs" in told


def test_every_secret_of_the_settings_tree_is_masked(
    script: Any, context: dict[str, Any], settings_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section that gets one later, at any depth, is not forgotten."""

    class Deep(BaseModel):
        table: dict[str, SecretStr] = {"a": SecretStr("in-a-table")}
        several: tuple[SecretStr, ...] = (SecretStr("in-a-list"), SecretStr(""))

    class Later(Settings):
        later: Deep = Deep()

    told: list[str] = []
    monkeypatch.setattr("sightline_airflow.local.mask_secret", told.append)
    operator = script("")
    tree = Later(**dict(settings_of(API__TICKET_KEY="a-key-of-tickets")))
    monkeypatch.setattr("sightline_airflow.local.settings", lambda: tree)
    operator.execute(context)
    assert set(told) == {"in-a-table", "in-a-list", "a-key-of-tickets"}


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
