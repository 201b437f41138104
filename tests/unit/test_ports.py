"""The port table: offsets, overrides, and a held port named with its holder."""

from __future__ import annotations

import os
import socket

import pytest

from contracts.errors import Misconfigured
from contracts.settings import StackSettings
from sightline.stack.ports import TABLE, holder, is_held, ports, refuse_held


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


def test_free_ports_pass():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert not is_held(port)
    refuse_held([("kafka", port)])
