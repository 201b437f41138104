"""Between Connect and its stores: cut, refused, slow, 503. The watchdog reaches them directly all the while.

Connect ──► toxiproxy ──► Postgres
        ──► toxiproxy ──► registry
        ──► toxiproxy ──► faulty S3 ──► S3
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from connectors.apply import apply
from contracts.settings import Settings
from sightline.stack.ports import ports
from tests.support.faulty_s3 import FaultyS3, faulty_s3
from tests.support.flow import flowing
from tests.support.toxiproxy import Way, toxiproxy
from tests.support.waiting import eventually

CUT_SECONDS = 20
FAULT_SECONDS = 15
LATENCY_MS = 800
KILOBYTES_PER_SECOND = 20  # of each connection: a frame takes a second, and sixteen at a time still suffice
LATE_SECONDS = 4.0
LATE_AT_LEAST_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What Connect's traffic goes through."""

    postgres: Way
    s3: Way
    registry: Way
    s3_server: FaultyS3


@pytest.fixture(scope="module")
def ways(plant) -> Iterator[Ways]:
    stack: Settings = plant.settings
    table = ports(stack.stack)
    with toxiproxy() as network, faulty_s3(table["s3"]) as server:
        found = Ways(
            postgres=network.lead_to(table["postgres"], name="postgres"),
            s3=network.lead_to(server.port, name="s3"),
            registry=network.lead_to(table["registry"], name="registry"),
            s3_server=server,
        )
        apply(detour(stack, found))
        yield found
        apply(stack)


def detour(stack: Settings, ways: Ways) -> Settings:
    """The same stack, with its stores at the other end of the proxies."""
    there = "http://127.0.0.1"
    return stack.model_copy(
        update={
            "postgres": stack.postgres.model_copy(update={"port": ways.postgres.port}),
            "s3": stack.s3.model_copy(update={"endpoint_url": f"{there}:{ways.s3.port}"}),
            "registry": stack.registry.model_copy(update={"url": f"{there}:{ways.registry.port}"}),
        }
    )


@pytest.mark.parametrize("store", ["postgres", "s3", "registry"])
def test_a_cut_network_is_waited_for(stack: Settings, ways: Ways, store: str) -> None:
    with flowing(stack, f"network cut, Connect to {store}") as flow:
        flow.fault_begins()
        with getattr(ways, store).cut():
            begun = datetime.now(UTC)
            time.sleep(CUT_SECONDS)
            # The registry's answers are kept: nobody needs it for a schema that is known.
            assert flow.is_stored_since(begun) == (store == "registry")
        flow.fault_ends()


@pytest.mark.parametrize("store", ["postgres", "s3"])
def test_a_slow_network_stores_late_and_loses_nothing(stack: Settings, ways: Ways, store: str) -> None:
    with flowing(stack, f"network slow, Connect to {store}") as flow:
        flow.fault_begins()
        with getattr(ways, store).slow(latency_ms=LATENCY_MS, kilobytes_per_second=KILOBYTES_PER_SECOND):
            begun, began_at = datetime.now(UTC), time.monotonic()
            eventually(lambda: flow.is_stored_since(begun), seconds=60, every=0.1)
            late = time.monotonic() - began_at
            assert late > LATE_AT_LEAST_SECONDS, "nothing was slowed"
            flow.note = f"{late:.1f} s from camera to store meanwhile"
            time.sleep(FAULT_SECONDS)
        flow.fault_ends()


def test_an_s3_server_that_answers_503_is_waited_for(stack: Settings, ways: Ways) -> None:
    with flowing(stack, "S3 answers 503") as flow:
        flow.fault_begins()
        with ways.s3_server.answering_503():
            refused, begun = ways.s3_server.refused, datetime.now(UTC)
            time.sleep(FAULT_SECONDS)
            assert ways.s3_server.refused > refused
            assert not flow.is_stored_since(begun)
        flow.fault_ends()


def test_an_s3_server_that_is_slow_stores_late_and_loses_nothing(stack: Settings, ways: Ways) -> None:
    with flowing(stack, f"S3 answers after {LATE_SECONDS:.0f} s") as flow:
        flow.fault_begins()
        with ways.s3_server.answering_late(seconds=LATE_SECONDS):
            delayed, begun = ways.s3_server.delayed, datetime.now(UTC)
            time.sleep(FAULT_SECONDS)
            assert ways.s3_server.delayed > delayed
            eventually(lambda: flow.is_stored_since(begun), seconds=60)
        flow.fault_ends()
