"""Kafka Connect's REST API in a few verbs.

ConnectAdmin              what the rest of Sightline speaks
  KafkaConnectAdmin       through kafka-connect-python, whose gaps are filled here and nowhere else

no connection, 5xx, 429                  Transient
409 (a rebalance), tried again, still    Transient
400, 401, 403, not Connect at all        Misconfigured, in Connect's own words
404                                      None where asking is normal, else Rejected(unknown_connector)
"""

from __future__ import annotations

import collections
import collections.abc
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.logs import without_credentials
from contracts.settings import ConnectSettings

# kafka-connect-python imports it from where Python 3.9 still had it.
if not hasattr(collections, "MutableMapping"):
    collections.MutableMapping = collections.abc.MutableMapping  # type: ignore[attr-defined]

import kafka_connect

Config = dict[str, str]

FAILED: Final = "FAILED"
RUNNING: Final = "RUNNING"
HALTED: Final = frozenset({"PAUSED", "STOPPED"})  # by a person

REBALANCE_PATIENCE_SECONDS: Final = 60.0
_STORE: Final = "Kafka Connect"  # for clients, who learn no address
_REBALANCE_PAUSE_SECONDS: Final = 0.5
_LONGEST_WORDS: Final = 1000

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_BUSY: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """One task of a connector."""

    task: int
    state: str  # UNASSIGNED | RUNNING | PAUSED | FAILED | RESTARTING
    worker: str
    trace: str = ""  # the Java stack trace of a failed one


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """One connector as it runs: its settings, its state and that of its tasks."""

    name: str
    config: Mapping[str, str]
    state: str
    worker: str = ""
    trace: str = ""
    tasks: tuple[TaskStatus, ...] = ()

    @property
    def traces(self) -> tuple[str, ...]:
        """The stack traces of what has failed, the connector's own first."""
        own = (self.trace,) if self.state == FAILED else ()
        return own + tuple(task.trace for task in self.tasks if task.state == FAILED)

    @property
    def is_failed(self) -> bool:
        """Whether the connector or a task of it has failed."""
        return bool(self.traces)

    @property
    def is_running(self) -> bool:
        """Whether the connector and all of its tasks run."""
        return self.state == RUNNING and bool(self.tasks) and all(task.state == RUNNING for task in self.tasks)


class ConnectAdmin(Protocol):
    """What Sightline asks of Kafka Connect. Every verb may raise Transient or Misconfigured."""

    def connectors(self) -> dict[str, Connector]:
        """Every connector with its configuration and status, by name."""
        ...

    def config(self, name: str) -> Config | None:
        """The configuration of one connector; None where there is no such connector."""
        ...

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Creates the connector, or replaces its configuration."""
        ...

    def delete(self, name: str) -> None:
        """Removes the connector; harmless when it is not there."""
        ...

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        """Restarts the connector and its tasks, all of them or only what has failed.

        Raises:
            Rejected: there is no such connector.
        """
        ...

    def resume(self, name: str) -> None:
        """Lets a paused or stopped connector go on.

        Raises:
            Rejected: there is no such connector.
        """
        ...

    def progress(self, name: str) -> int | None:
        """The sum of the offsets that a sink has committed: it grows when records are done. None if unknown."""
        ...

    def plugins(self) -> frozenset[str]:
        """The class names of the connectors that this Connect has."""
        ...

    def problems(self, config: Mapping[str, str]) -> tuple[str, ...]:
        """What Connect finds wrong with a configuration, "setting: problem" each."""
        ...


class KafkaConnectAdmin:
    """ConnectAdmin by kafka-connect-python."""

    def __init__(
        self,
        settings: ConnectSettings,
        *,
        rebalance_patience_seconds: float = REBALANCE_PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = _Api(settings)
        self._patience_seconds = rebalance_patience_seconds
        self._sleep = sleep

    def connectors(self) -> dict[str, Connector]:
        """Every connector with its configuration and status, by name."""
        answer = self._ask("listing the connectors", self._api.get, "/connectors?expand=status&expand=info")
        return {name: _connector(name, entry) for name, entry in answer.items()}

    def config(self, name: str) -> Config | None:
        """The configuration of one connector; None where there is no such connector."""
        try:
            answer: Config = self._ask(f"reading {name}", self._api.get, f"{_path(name)}/config")
        except Rejected:
            return None
        return answer

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Creates the connector, or replaces its configuration: one request, one rebalance."""
        self._ask(f"configuring {name}", self._api.put, f"{_path(name)}/config", dict(config))

    def delete(self, name: str) -> None:
        """Removes the connector; harmless when it is not there."""
        try:
            self._ask(f"deleting {name}", self._api.delete, _path(name))
        except Rejected:
            return

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        """Restarts the connector and its tasks, all of them or only what has failed."""
        query = f"includeTasks=true&onlyFailed={'true' if only_failed else 'false'}"
        self._ask(f"restarting {name}", self._api.post, f"{_path(name)}/restart?{query}")

    def resume(self, name: str) -> None:
        """Lets a paused or stopped connector go on."""
        self._ask(f"resuming {name}", self._api.put, f"{_path(name)}/resume")

    def progress(self, name: str) -> int | None:
        """The sum of the offsets that a sink has committed; None if unknown."""
        answer = self._ask(f"reading the offsets of {name}", self._api.get, f"{_path(name)}/offsets")
        committed = [entry.get("offset") or {} for entry in answer.get("offsets", [])]
        if not all("kafka_offset" in offset for offset in committed):
            return None
        return sum(int(offset["kafka_offset"]) for offset in committed)

    def plugins(self) -> frozenset[str]:
        """The class names of the connectors that this Connect has."""
        return frozenset(
            plugin["class"] for plugin in self._ask("listing plugins", self._api.get, "/connector-plugins")
        )

    def problems(self, config: Mapping[str, str]) -> tuple[str, ...]:
        """What Connect finds wrong with a configuration, "setting: problem" each."""
        kind = config["connector.class"].rsplit(".", 1)[-1]
        path = f"/connector-plugins/{quote(kind, safe='')}/config/validate"
        answer = self._ask(f"validating a {kind}", self._api.put, path, dict(config))
        values = [entry["value"] for entry in answer.get("configs", [])]
        return tuple(
            without_credentials(f"{value['name']}: {error}") for value in values for error in value.get("errors", [])
        )

    def _ask(self, doing: str, verb: Callable[..., Any], *arguments: Any) -> Any:
        """One request; while Connect rebalances (409) it is made again."""
        waited = 0.0
        while True:
            try:
                return verb(*arguments)
            except _AnsweredError as answer:
                if answer.status != _CONFLICT or waited >= self._patience_seconds:
                    raise _translated(answer, doing) from None
                self._sleep(_REBALANCE_PAUSE_SECONDS)
                waited += _REBALANCE_PAUSE_SECONDS
            except (URLError, HTTPException, OSError) as error:
                raise Transient(
                    f"{doing}: Kafka Connect does not answer ({_reason(error)}); is it up?", store=_STORE
                ) from error
            except ValueError as error:
                raise Misconfigured(
                    f"{doing}: what answers is not Kafka Connect; check SIGHTLINE_CONNECT__URL"
                ) from error


class _AnsweredError(Exception):
    """Connect answered with an error."""

    def __init__(self, status: int, words: str | None) -> None:
        super().__init__(status)
        self.status = status
        self.words = words  # None: it was not JSON, so not Connect's


class _Api(kafka_connect.API):  # type: ignore[misc]
    """The library's requests with what it leaves out: a timeout, the words of an error, a start without a ping."""

    def __init__(self, settings: ConnectSettings) -> None:
        # Not the parent's: it asks Connect at once, and takes no path in the URL.
        self.url = settings.url.rstrip("/")
        self.host = urlsplit(settings.url).hostname
        self.port = urlsplit(settings.url).port
        self.autocommit = True
        self._timeout_seconds = settings.timeout_seconds
        # Connect is a neighbour, never behind the proxy that a machine has for the world outside.
        self._open = build_opener(ProxyHandler({})).open

    def response(self, request: Request) -> Any:
        """Connect's answer, {} for an empty one."""
        try:
            with self._open(request, timeout=self._timeout_seconds) as response:
                body = response.read()
        except HTTPError as error:
            with error:
                raise _AnsweredError(error.code, _words(error.read())) from None
        return json.loads(body) if body else {}


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _words(body: bytes) -> str | None:
    try:
        return without_credentials(str(json.loads(body)["message"]))[:_LONGEST_WORDS]
    except (ValueError, KeyError, TypeError):
        return None


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    return str(inner) or type(inner).__name__


def _translated(answer: _AnsweredError, doing: str) -> PipelineError:
    words = answer.words or "no message"
    if answer.status == _CONFLICT:
        return Transient(f"{doing}: Kafka Connect is still rebalancing: {words}", store=_STORE)
    if answer.status >= 500 or answer.status in _BUSY:
        return Transient(f"{doing}: Kafka Connect answered {answer.status}: {words}", store=_STORE)
    if answer.words is None:
        return Misconfigured(
            f"{doing}: what answers with {answer.status} is not Kafka Connect; check SIGHTLINE_CONNECT__URL"
        )
    if answer.status == _NOT_FOUND:
        return Rejected(f"{doing}: Kafka Connect does not know it: {words}", code="unknown_connector")
    return Misconfigured(f"{doing}: Kafka Connect refused ({answer.status}): {words}", store=_STORE)


def _connector(name: str, entry: Mapping[str, Any]) -> Connector:
    status = entry.get("status") or {}
    own = status.get("connector") or {}
    return Connector(
        name=name,
        config=(entry.get("info") or {}).get("config") or {},
        state=own.get("state", "UNASSIGNED"),
        worker=own.get("worker_id", ""),
        trace=own.get("trace", ""),
        tasks=tuple(
            TaskStatus(
                task=task["id"], state=task["state"], worker=task.get("worker_id", ""), trace=task.get("trace", "")
            )
            for task in sorted(status.get("tasks", []), key=lambda task: task["id"])
        ),
    )
