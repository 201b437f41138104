"""`sightline down`: the other way round, bounded in time, and nothing is left.

stream, watchdog ─► connect ─► registry, mlflow ─► kafka, s3, postgres ─► supervisord ─► whatever still carries our mark
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from contracts.errors import Transient
from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.install import Say
from sightline.stack.locks import locked
from sightline.stack.service import Service
from sightline.stack.supervision import Supervisor, end
from sightline.stack.up import load


def down(settings: Settings, say: Say = print, *, delete_data: bool = False) -> None:
    """Stops everything of this home. The data stays, unless it is to be deleted.

    Raises:
        Transient: a process would not die; it is named.
    """
    home = Home(settings.stack.home.expanduser().absolute())
    if not home.run.is_dir():
        say(f"nothing to stop: there is no stack in {home.folder}")
        return
    with locked(home.lock, waiting=lambda: say("another up or down is at work: waiting for it")):
        supervisor = Supervisor(home)
        if not supervisor.is_running:
            say(f"the stack in {home.folder} is not running")
        else:
            _stop_services(supervisor, load(settings).services, say)
            supervisor.shut_down()
        _end_leftovers(supervisor, say)
        home.forget_socket()
        if delete_data:
            _delete(home, say)


def _stop_services(supervisor: Supervisor, known: Sequence[Service], say: Say) -> None:
    running = {name for name, process in supervisor.processes().items() if process.state not in {"STOPPED", "EXITED"}}
    levels = {service.name: service.stop_level for service in known}
    # A worker that this home no longer asks for is stopped first.
    ordered = sorted(running, key=lambda name: -levels.get(name, 9))
    for _, names in groupby(ordered, key=lambda name: levels.get(name, 9)):
        level = list(names)
        begun = time.monotonic()
        with ThreadPoolExecutor(max_workers=len(level)) as pool:
            list(pool.map(supervisor.stop_service, level))
        say(f"  {', '.join(level):<24} stopped {time.monotonic() - begun:5.1f} s")


def _end_leftovers(supervisor: Supervisor, say: Say) -> None:
    strays = supervisor.leftovers()
    if strays:
        say(f"  {len(strays)} processes without a supervisor: ending them")
        end(strays)
    if left := supervisor.leftovers():
        names = ", ".join(f"{process.pid} ({process.name()})" for process in left)
        raise Transient(f"still alive: {names}. Kill them by hand")


def _delete(home: Home, say: Say) -> None:
    """Data, logs and secrets; the settings and logins too, for their passwords belong to the data."""
    for folder in (home.data, home.logs):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (home.settings_file, home.logins_file, home.tokens_file):
        file.unlink(missing_ok=True)
    say(f"  deleted the data in {home.folder}")
