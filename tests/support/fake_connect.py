"""ConnectAdmin in memory: what is configured runs, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from connectors.connect_admin import Config, Connector, TaskStatus
from contracts.errors import Rejected

ALL_PLUGINS = frozenset({"io.debezium.connector.jdbc.JdbcSinkConnector", "sightline.connect.FrameS3SinkConnector"})


@dataclass
class FakeConnect:
    running: dict[str, Connector] = field(default_factory=dict)
    have_plugins: frozenset[str] = ALL_PLUGINS
    fails: dict[str, int] = field(default_factory=dict)  # starts of a connector that still end in FAILED
    trace: str = "org.x.E: the table is missing"
    calls: list[tuple[str, str]] = field(default_factory=list)
    error: Exception | None = None  # what every call raises

    def connectors(self) -> dict[str, Connector]:
        if self.error:
            raise self.error
        return dict(self.running)

    def config(self, name: str) -> Config | None:
        return dict(self.running[name].config) if name in self.running else None

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        self.calls.append(("put", name))
        self._start(name, dict(config))

    def delete(self, name: str) -> None:
        self.calls.append(("delete", name))
        self.running.pop(name, None)

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        self.calls.append(("restart", name))
        if self.error:
            raise self.error
        if name not in self.running:
            raise Rejected(name, code="unknown_connector")
        self._start(name, dict(self.running[name].config))

    def resume(self, name: str) -> None:
        self.calls.append(("resume", name))
        self.running[name] = replace(self.running[name], state="RUNNING")

    def progress(self, name: str) -> int | None:
        return 0

    def plugins(self) -> frozenset[str]:
        return self.have_plugins

    def problems(self, config: Mapping[str, str]) -> tuple[str, ...]:
        return ()

    def _start(self, name: str, config: Config) -> None:
        left = self.fails.get(name, 0)
        self.fails[name] = max(left - 1, 0)
        task = TaskStatus(task=0, state="FAILED" if left else "RUNNING", worker="w", trace=self.trace if left else "")
        self.running[name] = Connector(name=name, config=config, state="RUNNING", tasks=(task,))
