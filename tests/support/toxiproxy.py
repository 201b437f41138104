"""A network that can be cut and slowed: toxiproxy between a client and a server, driven over its HTTP interface.

with toxiproxy() as network:
    way = network.lead_to(5432)              a port that leads there
    with way.cut(): ...                      bytes vanish, connections stay open; afterwards they are closed
    with way.slow(latency_ms=500, kilobytes_per_second=20): ...
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.go_tools import TOXIPROXY
from tests.support.postgres import free_port

START_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One proxied port."""

    name: str
    port: int
    api: httpx.Client

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Bytes vanish in both directions, new connections open and stay mute; connections end when it is over."""
        with self._toxic("upstream", "timeout", timeout=0), self._toxic("downstream", "timeout", timeout=0):
            yield

    @contextmanager
    def slow(self, *, latency_ms: int, kilobytes_per_second: int) -> Iterator[None]:
        """Every answer comes late, and each connection takes few bytes."""
        with (
            self._toxic("downstream", "latency", latency=latency_ms, jitter=latency_ms // 4),
            self._toxic("upstream", "bandwidth", rate=kilobytes_per_second),
        ):
            yield

    @contextmanager
    def _toxic(self, stream: str, kind: str, **attributes: int) -> Iterator[None]:
        name = f"{kind}-{stream}"
        self._post(f"/{self.name}/toxics", name=name, type=kind, stream=stream, attributes=attributes)
        try:
            yield
        finally:
            self.api.delete(f"/proxies/{self.name}/toxics/{name}").raise_for_status()

    def _post(self, path: str, **body: Any) -> None:
        self.api.post(f"/proxies{path}", json=body).raise_for_status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A running toxiproxy."""

    api: httpx.Client

    def lead_to(self, port: int, *, name: str) -> Way:
        """A new port on loopback that leads to this one."""
        listen = free_port()
        order = {"name": name, "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{port}", "enabled": True}
        self.api.post("/proxies", json=order).raise_for_status()
        return Way(name=name, port=listen, api=self.api)


@contextmanager
def toxiproxy() -> Iterator[Network]:
    program = TOXIPROXY.path()
    port = free_port()
    log = Path(tempfile.mkdtemp(prefix="sightline-toxiproxy-")) / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(program), "-host", "127.0.0.1", "-port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for(port, process, log)
        # Its interface refuses what looks like a browser, and a proxy of the user's shell has no business here.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as api:
            yield Network(api=api)
    finally:
        process.kill()
        process.wait(20)
        shutil.rmtree(log.parent)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"toxiproxy does not listen:\n{log.read_text()}"
            time.sleep(0.05)
