"""supervisord around the services: it restarts what dies, without limit.

    up ──► <home>/run/supervisord.conf ──► supervisord ──► launch.py ──► the service itself
    down ─► supervisord over its unix socket; what it can no longer reach is found by its environment and ended

supervisord's own counting is left out of it: launch.py paces restarts, so a program is never given up.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from contracts.errors import Transient
from sightline.stack.home import Home, write_private
from sightline.stack.proxies import past_proxies
from sightline.stack.service import Service

LAUNCH: Final = Path(__file__).with_name("launch.py")

_SUPERVISORD: Final = ("-P", "-m", "sightline.stack.supervisord")

# In the environment of supervisord and all that it starts: how a stray process is known as this home's.
MARK: Final = "SUPERVISED_BY"

# A neighbour's settings in the user's shell (an AWS profile, a PGHOST, Java options) must not reach our services.
_FOREIGN: Final = (
    "AIRFLOW_", "AWS_", "MLFLOW_", "PG", "QUARKUS_", "APICURIO_", "VGW_", "ROOT_ACCESS_KEY", "ROOT_SECRET", "KAFKA_", "CONNECT_", "KC_",
    "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "SUPERVISOR_",
)  # fmt: skip

_START_SECONDS: Final = 10.0
_TERM_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A service as supervisord sees it."""

    state: str  # RUNNING, STOPPED, STARTING, BACKOFF, STOPPING, EXITED, FATAL
    pid: int | None
    uptime_seconds: float


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def is_running(self) -> bool:
        """Whether this home's supervisord lives."""
        return self._process() is not None

    def write(self, services: Sequence[Service]) -> set[str]:
        """Writes the start orders and supervisord's configuration.

        Returns:
            The services whose order is not what it was.
        """
        changed = {service.name for service in services if self._write_order(service)}
        write_private(self._home.supervisor_config, _config(self._home, services))
        return changed

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts supervisord, with no service yet.

        Raises:
            Transient: it does not answer; the message holds the end of its log.
        """
        log = self._home.log("supervisord")
        clean = {name: value for name, value in environment.items() if not name.startswith(_FOREIGN)}
        clean |= {
            MARK: str(self._home.folder),
            "SIGHTLINE_STACK__HOME": str(self._home.folder),
            "PYTHONUNBUFFERED": "1",
            **past_proxies(clean),
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *_SUPERVISORD, "-n", "-s", "-c", str(self._home.supervisor_config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean,
                cwd=self._home.run,
                start_new_session=True,  # Ctrl-C in the terminal is not for the stack
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._answers():
                return
            time.sleep(0.05)
        raise Transient(f"supervisord does not answer. The end of {log}:\n{tail(log)}")

    def reload(self) -> None:
        """Lets a running supervisord know the services that came or went (another number of workers)."""
        with self._rpc() as rpc:
            ((added, changed, removed),) = rpc.reloadConfig()
            for name in (*changed, *removed):
                self.stop_service(name)
                rpc.removeProcessGroup(name)
            for name in (*changed, *added):
                rpc.addProcessGroup(name)

    def processes(self) -> dict[str, Process]:
        """Every service by name; empty when supervisord is not running.

        Raises:
            Transient: it lives but does not answer.
        """
        if not self.is_running:
            return {}
        try:
            with self._rpc() as rpc:
                rows = rpc.getAllProcessInfo()
        except (OSError, Fault) as error:
            raise Transient(f"supervisord does not answer ({type(error).__name__}): sightline down, then up") from error
        return {
            row["name"]: Process(
                state=row["statename"], pid=row["pid"] or None, uptime_seconds=max(0, row["now"] - row["start"])
            )
            for row in rows
        }

    def start_service(self, name: str) -> None:
        """Starts one service at once, whatever its past. Harmless when it runs."""
        known = self.processes().get(name)
        if known is not None and known.pid:
            return
        self._home.lives(name).unlink(missing_ok=True)
        try:
            with self._rpc() as rpc:
                rpc.startProcess(name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise Transient(f"{name} does not start: {fault.faultString}. See {self._home.log(name)}") from fault

    def stop_service(self, name: str) -> None:
        """Stops one service and waits until it is gone; after its time it is killed. Harmless when it is stopped."""
        try:
            with self._rpc() as rpc:
                rpc.stopProcess(name, True)
        except Fault as fault:
            if fault.faultCode not in {Faults.NOT_RUNNING, Faults.BAD_NAME}:
                raise Transient(f"{name} does not stop: {fault.faultString}") from fault

    def shut_down(self) -> None:
        """Ends supervisord, whose services are stopped already."""
        process = self._process()
        if process is None:
            return
        try:
            with self._rpc() as rpc:
                rpc.shutdown()
            process.wait(_TERM_SECONDS)
        except (OSError, Fault, psutil.TimeoutExpired):
            end([process])

    def leftovers(self) -> list[psutil.Process]:
        """Every process of this home that lives, supervisord among them."""
        own = os.getpid()
        return [process for process in psutil.process_iter() if process.pid != own and self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.environ().get(MARK) == str(self._home.folder):
                return True
        except (psutil.Error, OSError):
            pass
        try:  # Postgres writes its title over its environment, but stands in its data
            return process.name() == "postgres" and Path(process.cwd()) == self._home.data / "postgres"
        except (psutil.Error, OSError):
            return False

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._home.supervisor_pid.read_text()))
            is_ours = str(self._home.supervisor_config) in process.cmdline()
            return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _answers(self) -> bool:
        try:
            with self._rpc() as rpc:
                return bool(rpc.getState()["statename"] == "RUNNING")
        except (OSError, Fault):
            return False

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        # A proxy is one connection and not for two threads: each call has its own.
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._home.socket}")
        try:
            yield ServerProxy("http://127.0.0.1", transport=transport).supervisor
        finally:
            transport.close()

    def _write_order(self, service: Service) -> bool:
        order = {
            "argv": list(service.command),
            "environment": dict(service.environment),
            "folder": str(self._home.run),
            "needs": [["127.0.0.1", port] for port in service.needs],
            "room": [str(service.room[0]), service.room[1]] if service.room else None,
        }
        text = json.dumps(order, indent=1)
        file = self._home.order(service.name)
        if file.is_file() and file.read_text() == text:
            return False
        write_private(file, text)
        return True


def end(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Asks processes to end, waits, then kills. Postgres is asked to end fast. Returns those that would not die."""
    waiting = list(processes)
    for process in waiting:
        try:
            # The master ends its own backends; all others take SIGTERM.
            process.send_signal(2 if process.name() == "postgres" else 15)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(waiting, timeout=_TERM_SECONDS)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(alive, timeout=5)
    return alive


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    if not log.is_file():
        return "(no log yet)"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 64 * 1024))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])


def _config(home: Home, services: Sequence[Service]) -> str:
    """The ini file of supervisord: a percent sign is doubled in it, and a command is split as a shell would."""
    head = [
        "[supervisord]",
        f"logfile={_ini(home.log('supervisord'))}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={_ini(home.supervisor_pid)}",
        f"childlogdir={_ini(home.logs)}",
        "identifier=sightline",
        "umask=077",
        "[unix_http_server]",
        f"file={_ini(home.socket)}",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    return "\n".join([*head, *(line for service in services for line in _program(home, service))]) + "\n"


def _program(home: Home, service: Service) -> list[str]:
    command = [sys.executable, "-S", "-E", str(LAUNCH), str(home.order(service.name)), str(home.lives(service.name))]
    return [
        f"[program:{service.name}]",
        f"command={_ini(shlex.join(command))}",
        "autostart=false",  # `up` starts them, each when what it needs is there
        "autorestart=true",
        "startsecs=0",  # started is started: launch.py waits and paces
        "startretries=1000000000",
        f"stopsignal={service.stop_signal}",
        f"stopwaitsecs={service.stop_seconds}",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_ini(_ini(home.log(service.name)))}",  # this one supervisord expands twice
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=3",
    ]


def _ini(text: object) -> str:
    return str(text).replace("%", "%%")
