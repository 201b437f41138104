"""The port table: offsets, overrides, and a held port named with its holder."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from contracts.settings import StackSettings
from sightline.stack import ports as module
from sightline.stack.ports import TABLE, ephemeral_range, holder, is_held, ports, refuse_held, warning_about


def test_every_port_is_the_base_plus_its_offset():
    assert ports(StackSettings(port_base=21000)) == {name: 21000 + use.offset for name, use in TABLE.items()}
    assert ports(StackSettings())["kafka"] == 19092


def test_an_override_moves_one_port_and_no_other():
    table = ports(StackSettings(ports={"kafka": 29092}))
    assert table.pop("kafka") == 29092
    assert table.items() <= ports(StackSettings()).items()


def test_an_override_of_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(Misconfigured, match="names kafak; the names are mlflow, postgres"):
        ports(StackSettings(ports={"kafak": 29092}))


@pytest.mark.parametrize("override", [{"kafka": 19054}, {"kafka": 19103}])
def test_two_names_never_share_a_port_not_even_a_later_workers(override: dict[str, int]):
    with pytest.raises(Misconfigured, match="share port"):
        ports(StackSettings(ports=override))


def test_a_base_too_high_for_the_last_worker_is_refused():
    with pytest.raises(Misconfigured, match="does not exist"):
        ports(StackSettings(port_base=65000, ports={}).model_copy(update={"port_base": 65_500}))


def test_a_held_port_is_refused_with_its_holder_and_the_settings_that_move_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        assert is_held(port)
        assert holder(port).pid == os.getpid()
        with pytest.raises(Misconfigured) as caught:
            refuse_held([("kafka", port)])
    said = str(caught.value)
    assert f"port {port} (Kafka: clients) is held by process {os.getpid()}" in said
    assert "SIGHTLINE_STACK__PORT_BASE" in said
    assert "SIGHTLINE_STACK__PORTS='{\"kafka\": PORT}'" in said


def test_a_port_held_on_all_addresses_is_held():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        assert is_held(taken.getsockname()[1])


@contextmanager
def a_connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of an outgoing connection, and the other end."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as ours:
            theirs, _ = server.accept()
            with theirs:
                yield ours, theirs


def test_a_live_connection_holds_its_port_and_its_process_is_named():
    with a_connection() as (ours, _):
        port = ours.getsockname()[1]
        assert is_held(port)
        assert holder(port).pid == os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port whose connection ended can be bound at once")
def test_a_connection_that_ended_holds_no_port_and_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LINGER_SECONDS", 0.5)
    with a_connection() as (ours, theirs):
        port = ours.getsockname()[1]
        ours.close()
        assert theirs.recv(1) == b""
    said: list[str] = []
    assert not is_held(port)
    begun = time.monotonic()
    refuse_held([("kafka", port)], said.append)
    assert said == [f"port {port} (Kafka: clients) was a connection's a moment ago: free in a minute at most"]
    assert 0.5 <= time.monotonic() - begun < 5


def test_ports_that_outgoing_connections_are_given_are_warned_of(tmp_path: Path):
    file = tmp_path / "ip_local_port_range"
    file.write_text("40000\t50000\n")
    assert ephemeral_range(file) == (40_000, 50_000)
    assert ephemeral_range(tmp_path / "none") == (32_768, 60_999)
    assert warning_about(ports(StackSettings()), (32_768, 60_999)) is None
    for given in (StackSettings(port_base=33_000), StackSettings(ports={"kafka": 32_768})):
        said = warning_about(ports(given), (32_768, 60_999))
        assert said is not None
        assert "ports from 32768 to 60999" in said
        assert "SIGHTLINE_STACK__PORT_BASE" in said


def test_free_ports_pass():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert not is_held(port)
    refuse_held([("kafka", port)])
