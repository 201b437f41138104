"""Which process gets which core, and how the port is taken."""

from __future__ import annotations

import socket

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import ServingSettings, Settings
from inference.api import processes
from inference.api.parts import make_parts
from inference.api.processes import bind, plan_cores, usable_cores
from inference.persistence import pool


def test_each_process_has_a_core_of_its_own():
    assert plan_cores(0, [0, 1], is_ours=True) == [frozenset({0}), frozenset({1})]
    assert plan_cores(3, [4, 5], is_ours=True) == [frozenset({4}), frozenset({5}), frozenset({4})]


def test_fewer_processes_than_cores_are_left_to_the_system():
    assert plan_cores(1, [0, 1], is_ours=True) == [None]


def test_in_a_share_of_a_machine_nobody_is_bound_to_the_first_cores(tmp_path, monkeypatch: pytest.MonkeyPatch):
    quota = tmp_path / "cpu.max"
    quota.write_text("150000 100000\n")
    monkeypatch.setattr(processes, "_QUOTA", quota)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _pid: set(range(8)))
    cores, is_ours = usable_cores()
    assert (len(cores), is_ours) == (2, False)
    assert plan_cores(0, cores, is_ours=is_ours) == [None, None]
    quota.write_text("max 100000\n")
    assert usable_cores() == (list(range(8)), True)


def test_a_port_that_is_let_go_in_time_is_taken_and_one_that_stays_held_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Transient, match=f"port {port} is held"):
            bind("127.0.0.1", port, patience_seconds=0.1)
    bind("127.0.0.1", port, patience_seconds=5).close()


def test_an_address_of_another_machine_is_a_wrong_setting():
    with pytest.raises(Misconfigured, match="SIGHTLINE_API__HOST"):
        bind("192.0.2.1", 40_000)


@pytest.mark.parametrize(("processes", "size"), [(1, 8), (2, 8), (4, 8), (8, 4), (16, 2), (64, 2)])
def test_all_processes_together_leave_connections_to_others(processes: int, size: int):
    assert pool.size_among(processes) == size


def test_one_process_of_a_service_reconciles_and_its_pool_is_its_share(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    kept = pool.ConnectionPool

    def noted(*given, max_size: int, **named):
        sizes.append(max_size)
        return kept(*given, max_size=max_size, **named)

    noted.check_connection = kept.check_connection  # type: ignore[attr-defined]
    monkeypatch.setattr(pool, "ConnectionPool", noted)
    settings = Settings(serving=ServingSettings(follows_ledger=True))
    made = [make_parts(settings, number=number, processes=16) for number in range(3)]
    for parts in made:
        parts.database.close()
    assert [parts.reconciler is not None for parts in made] == [True, False, False]
    assert sizes == [2, 2, 2]
